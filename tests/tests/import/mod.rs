//! `hsmctl import` of keys that old software has: Triple DES and Diffie-Hellman, of OpenSSL and of SoftHSM2. The other kinds are on
//! the page docs/migration.md, which is run as it is printed (`programs`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cryptoki_sys::*;
use hsmd_proto::dh::DhGroup;
use hsmd_tests::daemon::{Daemon, LABEL, Options, PIN, binaries};
use hsmd_tests::peers::{Run, Token, program, run, succeed};
use hsmd_tests::template::{Mechanism, bytes, flag, number};

fn legacy() -> Token {
    Token::of(Daemon::start_with(Options {
        arguments: vec!["--policy".to_owned(), "legacy".to_owned()],
        ..Options::default()
    }))
}

/// `hsmctl import` into a token.
fn import(token: &Token, arguments: &[&str]) -> Command {
    let daemon = token.daemon.as_ref().expect("a daemon");
    let pin = token.file("pin");
    fs::write(&pin, token.pin()).expect("a file");
    let mut command = daemon.command(&binaries().join("hsmctl"));
    command.arg("import").args(arguments);
    command
        .arg("--module")
        .arg(token.module())
        .args(["--token", LABEL, "--pin-file"])
        .arg(pin);
    command
}

/// A token of SoftHSM2 with both kinds of keys.
fn softhsm() -> Token {
    let token = Token::softhsm();
    succeed(&mut old_keys(&token, "make"));
    token
}

fn old_keys(token: &Token, what: &str) -> Command {
    let mut command = token.command(env!("CARGO_BIN_EXE_hsmd-test-child"));
    command.arg("old-keys").arg(token.module()).args([what, token.pin()]);
    command
}

/// What the keys of a token make of the same input.
fn shown(token: &Token) -> String {
    let run = succeed(&mut old_keys(token, "show"));
    String::from_utf8(run.output).expect("text")
}

fn assert_says(run: &Run, words: &[&str]) {
    for word in words {
        assert!(run.text.contains(word), "`{word}` is not in\n{}", run.text);
    }
}

/// The arguments that name a token of SoftHSM2 as the source: its folder, or its module.
fn sources(token: &Token) -> [Vec<String>; 2] {
    let pin = token.file("from-pin");
    fs::write(&pin, token.pin()).expect("a file");
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let folder = ["--softhsm".to_owned(), text(token.file("tokens"))];
    let module = ["--from-module".to_owned(), text(token.module().to_owned())];
    [folder, module].map(|source| [&source[..], &["--from-pin-file".to_owned(), text(pin.clone())]].concat())
}

#[test]
fn keys_of_softhsm_come_from_its_folder_and_through_its_module() {
    let old = softhsm();
    let expected = shown(&old);
    assert_eq!(expected.lines().count(), 3);
    for source in sources(&old) {
        let new = legacy();
        let words: Vec<&str> = source.iter().map(String::as_str).collect();
        let mut command = import(&new, &words);
        command.env("SOFTHSM2_CONF", old.file("softhsm2.conf"));
        let said = succeed(&mut command);
        assert_says(&said, &["triple", "DES3", "agreement", "DH", "imported"]);
        assert_eq!(shown(&new), expected, "{source:?}");
        let again = succeed(&mut command);
        assert!(
            !again.text.contains("imported") && again.text.contains("present"),
            "{}",
            again.text
        );
    }
}

#[test]
fn where_the_policy_has_no_triple_des_the_remedy_is_named() {
    let old = softhsm();
    let new = Token::hsmd();
    for source in sources(&old) {
        let words: Vec<&str> = source.iter().map(String::as_str).collect();
        let said = run(import(&new, &words).env("SOFTHSM2_CONF", old.file("softhsm2.conf")));
        assert_eq!(said.code, Some(1), "{}", said.text);
        assert_says(
            &said,
            &[
                "CKR_ATTRIBUTE_VALUE_INVALID",
                "no mechanism for keys of kind DES3",
                "hsmctl partition create NAME --policy legacy",
                "1 of 3 objects were not imported",
            ],
        );
    }
}

/// Two keys of OpenSSL and the secret that they agree on: `plain.pem`, the same under a password in `sealed.pem`, its public half in
/// `plain.pub`; the other's public half in `theirs.der`; the secret in `agreed`.
fn agreement_of_openssl(folder: &Path) {
    for line in [
        "genpkey -algorithm DH -pkeyopt group:ffdhe2048 -out plain.pem",
        "genpkey -algorithm DH -pkeyopt group:ffdhe2048 -out theirs.pem",
        "pkcs8 -topk8 -v2 aes-256-cbc -passout pass:secret -in plain.pem -out sealed.pem",
        "pkey -in plain.pem -pubout -out plain.pub",
        "pkey -in theirs.pem -pubout -outform DER -out theirs.der",
        "pkeyutl -derive -inkey theirs.pem -peerkey plain.pub -out agreed",
    ] {
        let mut command = Command::new(program("openssl"));
        succeed(command.args(line.split_whitespace()).current_dir(folder));
    }
}

#[test]
fn a_diffie_hellman_key_of_openssl_agrees_in_the_token() {
    let token = Token::hsmd();
    let daemon = token.daemon.as_ref().expect("a daemon");
    agreement_of_openssl(daemon.folder());
    let read = |name: &str| fs::read(daemon.folder().join(name)).expect("a file");
    fs::write(token.file("password"), "secret").expect("a file");
    let password = token.file("password").to_string_lossy().into_owned();
    // A private key, the same under a password, and the public key by itself.
    for (name, label, id) in [
        ("plain.pem", "one", "01"),
        ("sealed.pem", "two", "02"),
        ("plain.pub", "three", "03"),
    ] {
        let file = daemon.folder().join(name).to_string_lossy().into_owned();
        let words = [&file, "--label", label, "--id", id, "--from-pin-file", &password];
        assert_says(&succeed(&mut import(&token, &words)), &["DH", "imported"]);
    }

    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
    module.login(session, CKU_USER, PIN).expect("C_Login");
    let find = |class, label: &str| {
        let found = module.find(session, &[number(CKA_CLASS, class), bytes(CKA_LABEL, label)]);
        let found = found.expect("C_FindObjects");
        assert_eq!(found.len(), 1, "{label}");
        found[0]
    };
    let value = |label| {
        module
            .get(session, find(CKO_PUBLIC_KEY, label), CKA_VALUE)
            .expect("CKA_VALUE")
    };
    assert!(value("one") == value("two") && value("one") == value("three"));
    // The value is at the end of a SubjectPublicKeyInfo.
    let theirs = read("theirs.der");
    let other = theirs[theirs.len() - DhGroup::Ffdhe2048.bits() / 8..].to_vec();
    for label in ["one", "two"] {
        let template = [
            number(CKA_CLASS, CKO_SECRET_KEY),
            number(CKA_KEY_TYPE, CKK_GENERIC_SECRET),
            flag(CKA_SENSITIVE, false),
            flag(CKA_EXTRACTABLE, true),
        ];
        let mechanism = Mechanism::Bytes(CKM_DH_PKCS_DERIVE, other.clone());
        let made = module.derive(session, &mechanism, find(CKO_PRIVATE_KEY, label), &template);
        let secret = module
            .get(session, made.expect("C_DeriveKey"), CKA_VALUE)
            .expect("CKA_VALUE");
        // OpenSSL writes the number without leading zeros.
        let known = read("agreed");
        assert!(secret.ends_with(&known) && secret[..secret.len() - known.len()].iter().all(|byte| *byte == 0));
    }
}

/// A group of 1,024 bits, which no token of hsmd has.
#[test]
fn a_key_in_another_group_is_refused_with_the_groups_that_there_are() {
    let token = Token::hsmd();
    let folder = token.daemon.as_ref().expect("a daemon").folder().to_owned();
    let parameters = "-----BEGIN DH PARAMETERS-----\n\
        MIGHAoGBAP//////////yQ/aoiFowjTExmKLgNwc0SkCTgiKZ8x0Agu+pjsTmyJR\n\
        Sgh5jjQE3e+VGbPNOkMbMCsKbfJfFDdP4TVtbVHCReSFtXZiXn7G9ExC6aY37WsL\n\
        /1y29Aa37e44a/taiZ+lrp8kEXxLH+ZJKGZR7OZTgf//////////AgEC\n\
        -----END DH PARAMETERS-----\n";
    fs::write(folder.join("oakley.pem"), parameters).expect("a file");
    let mut make = Command::new(program("openssl"));
    make.args(["genpkey", "-paramfile", "oakley.pem", "-out", "weak.pem"])
        .current_dir(&folder);
    succeed(&mut make);
    let said = run(&mut import(&token, &[&folder.join("weak.pem").to_string_lossy()]));
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert_says(&said, &["DH", "CKR_WRAPPED_KEY_INVALID", "RFC 3526 and RFC 7919"]);
}
