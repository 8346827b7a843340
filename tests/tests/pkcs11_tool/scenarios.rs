//! What a user of any token does with pkcs11-tool and openssl. No scenario knows whose token it is.

use std::fs;
use std::path::{Path, PathBuf};

use hsmd_tests::peers::{Token, run, succeed};

const IV: &str = "000102030405060708090a0b0c0d0e0f";

pub(crate) fn openssl(token: &Token, arguments: &str, files: &[(&str, &Path)]) {
    let mut command = token.command("openssl");
    command.args(arguments.split_whitespace());
    for (option, file) in files {
        if !option.is_empty() {
            command.arg(option);
        }
        command.arg(file);
    }
    succeed(&mut command);
}

fn generate(token: &Token, kind: &str, id: &str, usage: &str) {
    let arguments = format!("--keypairgen --key-type {kind} --id {id} --label key-{id} {usage}");
    succeed(&mut token.as_user(&arguments));
}

/// A file with the public key as SubjectPublicKeyInfo. pkcs11-tool 0.23 exports RSA and P-256 keys itself; for P-384,
/// Ed25519 and X25519 it shows the point, and the rest of the encoding is fixed (RFC 5480, RFC 8410).
pub(crate) fn public_key(token: &Token, id: &str) -> PathBuf {
    let listed = succeed(&mut token.as_user("--list-objects --type pubkey"));
    let objects: Vec<&str> = listed.text.split("Public Key Object").collect();
    let object = objects
        .iter()
        .find(|object| object.lines().any(|line| line.trim() == format!("ID:         {id}")))
        .unwrap_or_else(|| panic!("no public key {id}:\n{}", listed.text));
    let file = token.file(&format!("public-{id}.der"));
    let prefix = if object.contains("384 bits") {
        "3076301006072a8648ce3d020106052b81040022036200"
    } else if object.contains("EC_EDWARDS") {
        "302a300506032b6570032100"
    } else if object.contains("EC_MONTGOMERY") {
        "302a300506032b656e032100"
    } else {
        succeed(
            token
                .as_user("--read-object --type pubkey --id")
                .arg(id)
                .arg("-o")
                .arg(&file),
        );
        return file;
    };
    let point = object
        .lines()
        .find_map(|line| line.trim().strip_prefix("EC_POINT:"))
        .expect("a point")
        .trim();
    // The attribute is an OCTET STRING: two bytes of tag and length.
    fs::write(&file, [hex(prefix), hex(&point[4..])].concat()).expect("a public key");
    file
}

fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len() / 2)
        .map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).expect("hex digits"))
        .collect()
}

fn sign(token: &Token, mechanism: &str, id: &str, data: &Path) -> PathBuf {
    let signature = token.file(&format!("signature-{mechanism}-{id}"));
    let mut command = token.as_user(&format!("--sign --mechanism {mechanism} --id {id}"));
    if mechanism.starts_with("ECDSA") {
        command.args(["--signature-format", "openssl"]);
    }
    succeed(command.arg("-i").arg(data).arg("-o").arg(&signature));
    signature
}

/// A real file of that length, and one with its SHA-256.
fn file_and_digest(token: &Token, length: usize) -> (PathBuf, PathBuf) {
    let (file, digest) = (token.file("file"), token.file("digest"));
    let bytes: Vec<u8> = (0..length).map(|i| (i * 31 % 251) as u8).collect();
    fs::write(&file, bytes).expect("a file");
    openssl(token, "dgst -sha256 -binary", &[("-out", &digest), ("", &file)]);
    (file, digest)
}

pub(crate) fn slots_objects_and_mechanisms_are_listed(token: &Token) {
    let slots = succeed(&mut token.pkcs11_tool("--list-slots"));
    assert!(slots.text.contains("token label        : demo"), "{}", slots.text);
    assert!(slots.text.contains("PIN initialized"), "{}", slots.text);
    let mechanisms = succeed(&mut token.pkcs11_tool("--list-mechanisms --token-label demo"));
    assert!(mechanisms.text.contains("RSA-PKCS-KEY-PAIR-GEN"), "{}", mechanisms.text);
    generate(token, "EC:prime256v1", "01", "--usage-sign");
    let objects = succeed(&mut token.as_user("--list-objects"));
    assert!(objects.text.contains("Private Key Object; EC"), "{}", objects.text);
    assert!(
        objects
            .text
            .contains("sensitive, always sensitive, never extractable, local"),
        "{}",
        objects.text
    );
    let public = succeed(&mut token.pkcs11_tool("--list-objects --token-label demo"));
    assert!(
        public.text.contains("Public Key Object") && !public.text.contains("Private Key"),
        "{}",
        public.text
    );
}

pub(crate) fn openssl_verifies_what_an_rsa_key_signed(token: &Token) {
    let (file, _) = file_and_digest(token, 100_000);
    generate(token, "rsa:2048", "01", "--usage-sign");
    let public = public_key(token, "01");
    for (mechanism, option) in [
        ("SHA256-RSA-PKCS", ""),
        ("SHA256-RSA-PKCS-PSS", "-sigopt rsa_padding_mode:pss"),
    ] {
        let signature = sign(token, mechanism, "01", &file);
        let verify = format!("dgst -sha256 {option} -keyform DER");
        openssl(
            token,
            &verify,
            &[("-verify", &public), ("-signature", &signature), ("", &file)],
        );
    }
}

pub(crate) fn openssl_verifies_what_p256_and_p384_keys_signed(token: &Token) {
    let (file, digest) = file_and_digest(token, 4000);
    for (kind, id) in [("EC:prime256v1", "01"), ("EC:secp384r1", "02")] {
        generate(token, kind, id, "--usage-sign");
        let public = public_key(token, id);
        let signature = sign(token, "ECDSA", id, &digest);
        let verify = [("-verify", public.as_path()), ("-signature", &signature), ("", &file)];
        openssl(token, "dgst -sha256 -keyform DER", &verify);
    }
}

pub(crate) fn openssl_verifies_what_an_ed25519_key_signed(token: &Token) {
    let (_, message) = file_and_digest(token, 4000);
    generate(token, "EC:edwards25519", "01", "--usage-sign");
    let public = public_key(token, "01");
    let signature = sign(token, "EDDSA", "01", &message);
    let files = [
        ("-inkey", public.as_path()),
        ("-sigfile", &signature),
        ("-in", &message),
    ];
    openssl(token, "pkeyutl -verify -pubin -keyform DER -rawin", &files);
}

pub(crate) fn an_aes_key_encrypts_and_decrypts(token: &Token) {
    let (file, _) = file_and_digest(token, 1000);
    let (secret, plain) = (token.file("secret"), token.file("plain"));
    succeed(&mut token.as_user("--keygen --key-type AES:32 --id 01 --label a --usage-decrypt"));
    let encrypt = format!("--encrypt --mechanism AES-CBC-PAD --iv {IV} --id 01");
    succeed(token.as_user(&encrypt).arg("-i").arg(&file).arg("-o").arg(&secret));
    assert_ne!(
        fs::read(&secret).expect("the secret text")[..16],
        fs::read(&file).expect("the file")[..16]
    );
    let decrypt = format!("--decrypt --mechanism AES-CBC-PAD --iv {IV} --id 01");
    succeed(token.as_user(&decrypt).arg("-i").arg(&secret).arg("-o").arg(&plain));
    assert!(fs::read(&plain).expect("the text") == fs::read(&file).expect("the file"));
}

pub(crate) fn an_rsa_key_decrypts_what_openssl_encrypted(token: &Token) {
    let (_, message) = file_and_digest(token, 10);
    let (secret, plain) = (token.file("secret"), token.file("plain"));
    generate(token, "rsa:2048", "01", "--usage-decrypt");
    let public = public_key(token, "01");
    let encrypt = "pkeyutl -encrypt -pubin -keyform DER -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha1";
    openssl(
        token,
        encrypt,
        &[("-inkey", &public), ("-in", &message), ("-out", &secret)],
    );
    let decrypt = "--decrypt --mechanism RSA-PKCS-OAEP --hash-algorithm SHA-1 --id 01";
    succeed(token.as_user(decrypt).arg("-i").arg(&secret).arg("-o").arg(&plain));
    assert!(fs::read(&plain).expect("the text") == fs::read(&message).expect("the message"));
}

pub(crate) fn ecdh_gives_the_secret_that_openssl_gets(token: &Token) {
    let [other, other_public, ours, theirs] = ["other.pem", "other.der", "ours", "theirs"].map(|name| token.file(name));
    generate(token, "EC:prime256v1", "01", "--usage-derive");
    let public = public_key(token, "01");
    openssl(token, "ecparam -name prime256v1 -genkey -noout", &[("-out", &other)]);
    openssl(
        token,
        "pkey -pubout -outform DER",
        &[("-in", &other), ("-out", &other_public)],
    );
    let derive = "--derive --mechanism ECDH1-DERIVE --id 01";
    succeed(token.as_user(derive).arg("-i").arg(&other_public).arg("-o").arg(&ours));
    let files = [("-inkey", other.as_path()), ("-peerkey", &public), ("-out", &theirs)];
    openssl(token, "pkeyutl -derive -peerform DER", &files);
    assert!(fs::read(&ours).expect("our secret") == fs::read(&theirs).expect("their secret"));
}

pub(crate) fn a_certificate_and_data_are_written_read_and_deleted(token: &Token) {
    let (data, _) = file_and_digest(token, 500);
    let [key, certificate, read] = ["key.pem", "certificate.der", "read"].map(|name| token.file(name));
    let request = "req -x509 -newkey rsa:2048 -nodes -subj /CN=test -days 3 -outform DER";
    openssl(token, request, &[("-keyout", &key), ("-out", &certificate)]);
    succeed(
        token
            .as_user("--type cert --id 01 --label c --write-object")
            .arg(&certificate),
    );
    succeed(token.as_user("--read-object --type cert --id 01 -o").arg(&read));
    assert!(fs::read(&read).expect("what was read") == fs::read(&certificate).expect("the certificate"));
    succeed(
        token
            .as_user("--type data --label d --application-label a --write-object")
            .arg(&data),
    );
    succeed(token.as_user("--read-object --type data --label d -o").arg(&read));
    assert!(fs::read(&read).expect("what was read") == fs::read(&data).expect("the data"));
    succeed(&mut token.as_user("--delete-object --type cert --id 01"));
    succeed(&mut token.as_user("--delete-object --type data --label d"));
    assert!(!run(token.as_user("--read-object --type cert --id 01 -o").arg(&read)).good);
    let objects = succeed(&mut token.as_user("--list-objects"));
    assert!(!objects.text.contains("Certificate Object"), "{}", objects.text);
}
