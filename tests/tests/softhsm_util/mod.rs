//! softhsm2-util with `--module`: users of SoftHSM initialise tokens and import keys with it, also on other modules.

mod attributes;

use std::fs;
use std::process::Command;

use hsmd_tests::peers::{Token, run, succeed};

/// softhsm2-util on our module. Its own configuration names an empty folder: some of its commands work on SoftHSM's files
/// whatever the module is (`--delete-token`), and must not find the machine's.
fn util(token: &Token, arguments: &str) -> Command {
    let (folder, configuration) = (token.file("softhsm"), token.file("softhsm2.conf"));
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(&configuration, format!("directories.tokendir = {}\n", folder.display())).expect("a configuration");
    let mut command = token.command("softhsm2-util");
    command
        .env("SOFTHSM2_CONF", configuration)
        .arg("--module")
        .arg(token.module());
    command.args(arguments.split_whitespace());
    command
}

#[test]
fn a_free_slot_is_shown_and_initialised() {
    let token = Token::hsmd_with_free_slot();
    let slots = succeed(&mut util(&token, "--show-slots"));
    assert!(slots.text.contains("Label:            demo"), "{}", slots.text);
    assert_eq!(slots.text.matches("Initialized:      no").count(), 1, "{}", slots.text);
    let initialise = "--init-token --label second --so-pin 11223344 --pin 445566";
    succeed(&mut util(&token, &format!("{initialise} --free")));
    let slots = succeed(&mut util(&token, "--show-slots"));
    assert!(slots.text.contains("Label:            second"), "{}", slots.text);
    assert_eq!(slots.text.matches("User PIN init.:   yes").count(), 2, "{}", slots.text);
    // Again, the token that is in use: the officer's PIN must be right.
    let again = "--init-token --slot 1 --label third --pin 445566 --so-pin";
    assert!(!run(&mut util(&token, &format!("{again} 99999999"))).good);
    succeed(&mut util(&token, &format!("{again} 11223344")));
    let slots = succeed(&mut util(&token, "--show-slots"));
    assert!(slots.text.contains("Label:            third"), "{}", slots.text);
}

#[test]
fn keys_of_pkcs8_files_are_imported_and_sign() {
    let token = Token::hsmd();
    for (id, kind, mechanism) in [
        ("51", "RSA -pkeyopt rsa_keygen_bits:2048", "SHA256-RSA-PKCS"),
        ("52", "EC -pkeyopt ec_paramgen_curve:P-256", "ECDSA-SHA256"),
    ] {
        let [key, public, signature] = ["key.pem", "public.pem", "signature"].map(|name| token.file(name));
        let mut openssl = token.command("openssl");
        openssl.args(format!("genpkey -algorithm {kind} -out").split_whitespace());
        succeed(openssl.arg(&key));
        succeed(
            token
                .command("openssl")
                .args(["pkey", "-pubout", "-in"])
                .arg(&key)
                .arg("-out")
                .arg(&public),
        );
        let import = format!("--token demo --label i --id {id} --pin {} --import", token.pin());
        succeed(util(&token, &import).arg(&key));
        let sign = format!("--sign --mechanism {mechanism} --signature-format openssl --id {id}");
        succeed(token.as_user(&sign).arg("-i").arg(&key).arg("-o").arg(&signature));
        let mut verify = token.command("openssl");
        verify.args(["dgst", "-sha256", "-verify"]).arg(&public);
        succeed(verify.arg("-signature").arg(&signature).arg(&key));
    }
}
