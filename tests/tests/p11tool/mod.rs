//! GnuTLS's p11tool: tokens, keys, certificates, test signatures. Not Ed25519: p11tool of GnuTLS 3.7 asks for the pair with
//! the mechanism for signatures (CKM_EDDSA), which no token has for that, and does not sign with one made by others.

use std::fs;
use std::process::Command;

use hsmd_tests::peers::{Token, succeed};

/// p11tool on our module with the user's PIN; the arguments are separated by blanks.
fn p11tool(token: &Token, arguments: &str) -> Command {
    let mut command = token.command("p11tool");
    command
        .env("GNUTLS_PIN", token.pin())
        .env("GNUTLS_SO_PIN", token.so_pin());
    command.arg("--provider").arg(token.module());
    command.args(["--batch"]).args(arguments.split_whitespace());
    command
}

const PAIRS: [(&str, &str); 2] = [("rsa --bits 2048", "r"), ("ecdsa --curve secp256r1", "e")];

fn generate(token: &Token) {
    for (kind, label) in PAIRS {
        succeed(&mut p11tool(
            token,
            &format!(
                "--login --generate-privkey={kind} --label {label} --id 3{} pkcs11:token=demo",
                label.len()
            ),
        ));
    }
}

#[test]
fn tokens_mechanisms_and_objects_are_listed() {
    let token = Token::hsmd();
    let tokens = succeed(&mut p11tool(&token, "--list-tokens"));
    assert!(tokens.text.contains("Label: demo"), "{}", tokens.text);
    let mechanisms = succeed(&mut p11tool(&token, "--list-mechanisms pkcs11:token=demo"));
    assert!(mechanisms.text.contains("CKM_ECDSA "), "{}", mechanisms.text);
    generate(&token);
    let all = succeed(&mut p11tool(&token, "--login --list-all pkcs11:token=demo"));
    assert_eq!(all.text.matches("Type: Private key").count(), 2, "{}", all.text);
    assert!(
        all.text.contains("CKA_NEVER_EXTRACTABLE; CKA_SENSITIVE"),
        "{}",
        all.text
    );
    let public = succeed(&mut p11tool(&token, "--list-all pkcs11:token=demo"));
    assert_eq!(public.text.matches("Type: Public key").count(), 2, "{}", public.text);
    assert!(!public.text.contains("Private key"), "{}", public.text);
    let random = succeed(&mut p11tool(&token, "--generate-random 32 pkcs11:token=demo"));
    assert_eq!(random.output.len(), 32);
}

#[test]
fn generated_keys_sign_and_their_public_keys_are_exported() {
    let token = Token::hsmd();
    generate(&token);
    for (_, label) in PAIRS {
        let url = format!("pkcs11:token=demo;object={label};type=private");
        let signed = succeed(&mut p11tool(&token, &format!("--login --test-sign {url}")));
        assert!(
            signed.text.contains("Verifying against public key in the token... ok"),
            "{}",
            signed.text
        );
        let exported = succeed(&mut p11tool(&token, &format!("--login --export-pubkey {url}")));
        let file = token.file(label);
        fs::write(&file, &exported.output).expect("a file");
        succeed(
            token
                .command("openssl")
                .args(["pkey", "-pubin", "-noout", "-in"])
                .arg(file),
        );
    }
    let url = "pkcs11:token=demo;object=r;type=private";
    let pss = "--login --test-sign --sign-params=RSA-PSS --hash SHA256";
    succeed(&mut p11tool(&token, &format!("{pss} {url}")));
}

#[test]
fn certificates_and_keys_of_files_are_written_used_renamed_and_deleted() {
    let token = Token::hsmd();
    let (key, certificate) = (token.file("key.pem"), token.file("certificate.pem"));
    let request = "req -x509 -newkey rsa:2048 -nodes -subj /CN=p11tool -days 3 -keyout";
    let mut openssl = token.command("openssl");
    succeed(
        openssl
            .args(request.split_whitespace())
            .arg(&key)
            .arg("-out")
            .arg(&certificate),
    );
    let write = "--login --write --label c --id 34 pkcs11:token=demo";
    succeed(p11tool(&token, write).arg("--load-certificate").arg(&certificate));
    succeed(p11tool(&token, write).arg("--load-privkey").arg(&key));
    succeed(&mut p11tool(
        &token,
        "--login --write --label s --secret-key 00112233445566778899aabbccddeeff pkcs11:token=demo",
    ));
    let exported = succeed(&mut p11tool(&token, "--export pkcs11:token=demo;object=c;type=cert"));
    let written = fs::read_to_string(&certificate).expect("the certificate");
    assert!(exported.text.contains(written.trim()), "{}", exported.text);
    let sign = "--login --test-sign pkcs11:token=demo;object=c;type=private";
    let signed = succeed(&mut p11tool(&token, sign));
    assert!(
        signed.text.contains("Verifying against private key parameters... ok"),
        "{}",
        signed.text
    );
    succeed(&mut p11tool(
        &token,
        "--login --set-label renamed pkcs11:token=demo;object=c;type=cert",
    ));
    let delete = "--login --delete pkcs11:token=demo;object=renamed;type=cert";
    let deleted = succeed(&mut p11tool(&token, delete));
    assert!(deleted.text.contains("1 objects deleted"), "{}", deleted.text);
}
