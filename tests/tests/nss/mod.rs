//! NSS: modutil adds the module to a database of the test's own, certutil makes keys, requests and certificates with it.

use std::fs;
use std::process::Command;

use hsmd_tests::peers::{Token, succeed};

/// A program of NSS on this test's database; the arguments are separated by blanks.
fn nss(token: &Token, program: &str, arguments: &str) -> Command {
    let mut command = token.command(program);
    let option = if program == "modutil" { "-dbdir" } else { "-d" };
    command
        .arg(option)
        .arg(format!("sql:{}", token.file("nss").display()))
        .args(arguments.split_whitespace());
    command
}

/// certutil with the token's PIN and seed for its random generator.
fn on_token(token: &Token, arguments: &str) -> Command {
    let mut command = nss(token, "certutil", "-h demo -f");
    command.arg(token.file("pin")).args(arguments.split_whitespace());
    command
}

#[test]
fn keys_requests_and_certificates_are_made_with_the_token() {
    let token = Token::hsmd();
    fs::create_dir(token.file("nss")).expect("a folder");
    fs::write(token.file("pin"), format!("{}\n", token.pin())).expect("a file");
    let (noise, request) = (token.file("noise"), token.file("request.pem"));
    fs::write(&noise, (0..=255).collect::<Vec<u8>>()).expect("a file");
    succeed(&mut nss(&token, "certutil", "-N --empty-password"));
    succeed(nss(&token, "modutil", "-force -add hsmd -libfile").arg(token.module()));
    let modules = succeed(&mut nss(&token, "modutil", "-list"));
    assert!(modules.text.contains("token: demo"), "{}", modules.text);
    let slots = succeed(&mut nss(&token, "modutil", "-list hsmd"));
    assert!(slots.text.contains("Login Type: Login required"), "{}", slots.text);

    let make = "-R -k rsa -g 2048 -s CN=request -a -z";
    succeed(on_token(&token, make).arg(&noise).arg("-o").arg(&request));
    succeed(
        token
            .command("openssl")
            .args(["req", "-verify", "-noout", "-in"])
            .arg(&request),
    );
    let make = "-S -n self -k ec -q nistp256 -s CN=self -x -t ,, -m 1 -z";
    succeed(on_token(&token, make).arg(&noise));
    let keys = succeed(&mut on_token(&token, "-K"));
    assert!(
        keys.text.contains("rsa ") && keys.text.contains("demo:self"),
        "{}",
        keys.text
    );
    let certificates = succeed(&mut on_token(&token, "-L"));
    assert!(
        certificates.text.contains("u,u,u"),
        "the key of the certificate is found:\n{}",
        certificates.text
    );
    let certificate = token.file("certificate.pem");
    let shown = succeed(&mut on_token(&token, "-L -a -n demo:self"));
    fs::write(&certificate, &shown.output).expect("a file");
    let mut verify = token.command("openssl");
    verify.args(["verify", "-check_ss_sig", "-CAfile"]);
    succeed(verify.arg(&certificate).arg(&certificate));
    succeed(&mut on_token(&token, "-F -n demo:self"));
    let keys = succeed(&mut on_token(&token, "-K"));
    assert!(!keys.text.contains("demo:self"), "{}", keys.text);
}
