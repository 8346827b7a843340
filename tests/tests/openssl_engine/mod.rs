//! OpenSSL with the engine of libp11: requests, self-signed certificates, signatures, decryption, ECDH with keys of the
//! token.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use hsmd_tests::peers::{Token, run, succeed};

/// An openssl.cnf that knows engine, module and PIN, as an administrator writes it.
pub(crate) fn configuration(token: &Token) -> PathBuf {
    let engine = run(token.command("openssl").args(["engine", "pkcs11"]));
    assert!(
        engine.good,
        "OpenSSL has no engine `pkcs11`: install the Debian package libengine-pkcs11-openssl (`cargo xtask setup` does)\n{}",
        engine.text
    );
    let file = token.file("openssl.cnf");
    let text = format!(
        "openssl_conf = start\n[start]\nengines = engines\n[engines]\npkcs11 = pkcs11\n[pkcs11]\nengine_id = pkcs11\n\
         MODULE_PATH = {}\nPIN = {}\ninit = 0\n[req]\ndistinguished_name = name\n[name]\n",
        token.module().display(),
        token.pin()
    );
    fs::write(&file, text).expect("a configuration");
    file
}

/// openssl with the engine; the arguments are separated by blanks.
fn with_engine(token: &Token, arguments: &str) -> Command {
    let mut command = token.command("openssl");
    command
        .env("OPENSSL_CONF", configuration(token))
        .args(arguments.split_whitespace());
    command
}

fn plain(token: &Token, arguments: &str) -> Command {
    let mut command = token.command("openssl");
    command.args(arguments.split_whitespace());
    command
}

/// A key pair in the token and its self-signed certificate; gives the certificate's file.
pub(crate) fn certified_key(token: &Token, kind: &str, label: &str) -> PathBuf {
    let id = if kind.starts_with("EC") { "02" } else { "01" };
    succeed(&mut token.as_user(&format!("--keypairgen --key-type {kind} --id {id} --label {label}")));
    let certificate = token.file(&format!("{label}.pem"));
    let make = "req -new -x509 -days 3 -subj /CN=localhost -engine pkcs11 -keyform engine -key";
    let key = format!("pkcs11:token=demo;object={label};type=private");
    succeed(with_engine(token, make).arg(key).arg("-out").arg(&certificate));
    certificate
}

const KINDS: [(&str, &str); 2] = [("rsa:2048", "r"), ("EC:prime256v1", "e")];

#[test]
fn requests_and_certificates_are_signed() {
    let token = Token::hsmd();
    let request = token.file("request.pem");
    for (kind, label) in KINDS {
        let certificate = certified_key(&token, kind, label);
        let mut verify = plain(&token, "verify -check_ss_sig -CAfile");
        succeed(verify.arg(&certificate).arg(&certificate));
        let make = "req -new -subj /CN=request -engine pkcs11 -keyform engine -key";
        let key = format!("pkcs11:token=demo;object={label}");
        succeed(with_engine(&token, make).arg(key).arg("-out").arg(&request));
        succeed(plain(&token, "req -verify -noout -in").arg(&request));
    }
}

#[test]
fn keys_sign_decrypt_and_agree() {
    let token = Token::hsmd();
    let [message, signature, secret, other, other_public, ours, theirs] = [
        "message",
        "signature",
        "secret",
        "other.pem",
        "other-public.pem",
        "ours",
        "theirs",
    ]
    .map(|name| token.file(name));
    fs::write(&message, "a text").expect("a file");
    let publics = KINDS.map(|(kind, label)| {
        let (certificate, public) = (
            certified_key(&token, kind, label),
            token.file(&format!("{label}-public.pem")),
        );
        let shown = succeed(plain(&token, "x509 -pubkey -noout -in").arg(certificate));
        fs::write(&public, shown.output).expect("a file");
        public
    });
    for option in ["", "-sigopt rsa_padding_mode:pss"] {
        let sign =
            format!("dgst -sha256 {option} -engine pkcs11 -keyform engine -sign pkcs11:token=demo;object=r -out");
        succeed(with_engine(&token, &sign).arg(&signature).arg(&message));
        let mut verify = plain(&token, &format!("dgst -sha256 {option} -verify"));
        verify.arg(&publics[0]).arg("-signature").arg(&signature);
        succeed(verify.arg(&message));
    }
    let mut encrypt = plain(&token, "pkeyutl -encrypt -pubin -pkeyopt rsa_padding_mode:oaep -inkey");
    succeed(
        encrypt
            .arg(&publics[0])
            .arg("-in")
            .arg(&message)
            .arg("-out")
            .arg(&secret),
    );
    let decrypt = "pkeyutl -decrypt -engine pkcs11 -keyform engine -pkeyopt rsa_padding_mode:oaep \
                   -inkey pkcs11:token=demo;object=r -in";
    assert_eq!(succeed(with_engine(&token, decrypt).arg(&secret)).output, b"a text");

    succeed(plain(&token, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out").arg(&other));
    succeed(
        plain(&token, "pkey -pubout -in")
            .arg(&other)
            .arg("-out")
            .arg(&other_public),
    );
    let derive = "pkeyutl -derive -engine pkcs11 -keyform engine -inkey pkcs11:token=demo;object=e -peerkey";
    succeed(with_engine(&token, derive).arg(&other_public).arg("-out").arg(&ours));
    let mut derive = plain(&token, "pkeyutl -derive -inkey");
    derive.arg(&other).arg("-peerkey").arg(&publics[1]);
    succeed(derive.arg("-out").arg(&theirs));
    assert!(fs::read(&ours).expect("our secret") == fs::read(&theirs).expect("their secret"));
}
