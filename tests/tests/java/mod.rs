//! Java's SunPKCS11 with a configuration of three lines: the scenarios of `Client.java`, keytool and jarsigner.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use hsmd_tests::peers::{Token, program, run, succeed};

/// The compiled program: once for all tests of this process.
fn classes() -> &'static Path {
    static CLASSES: OnceLock<PathBuf> = OnceLock::new();
    CLASSES.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("java-client");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java/Client.java");
        succeed(Command::new(program("javac")).arg("-d").arg(&folder).arg(source));
        folder
    })
}

/// The provider's configuration.
fn configuration(token: &Token) -> PathBuf {
    let file = token.file("sun.cfg");
    let text = format!(
        "name = hsmd\nlibrary = {}\nslotListIndex = 0\n",
        token.module().display()
    );
    fs::write(&file, text).expect("a configuration");
    file
}

fn java(token: &Token, scenario: &str) -> Command {
    let mut command = token.command("java");
    // Small and quick to start: the machine has other tests to run.
    command.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    command.arg(classes()).args(["Client", scenario]);
    command
        .env("SUN_CONFIG", configuration(token))
        .env("HSMD_PIN", token.pin());
    command
}

/// keytool or jarsigner on the token.
fn tool(token: &Token, name: &str, arguments: &str) -> Command {
    let mut command = token.command(name);
    command.args(arguments.split_whitespace());
    command.args(["-keystore", "NONE", "-storetype", "PKCS11", "-storepass", token.pin()]);
    command
        .args(["-providerClass", "sun.security.pkcs11.SunPKCS11", "-providerArg"])
        .arg(configuration(token));
    command
}

fn generate(token: &Token) {
    succeed(&mut tool(
        token,
        "keytool",
        "-genkeypair -alias rsa -keyalg RSA -keysize 2048 -dname CN=rsa",
    ));
    succeed(&mut tool(
        token,
        "keytool",
        "-genkeypair -alias ec -keyalg EC -groupname secp256r1 -dname CN=ec",
    ));
}

#[test]
fn signatures_of_the_token_are_verified_by_java_itself() {
    succeed(&mut java(&Token::hsmd(), "signatures"));
}

#[test]
fn aes_ciphers_work() {
    succeed(&mut java(&Token::hsmd(), "ciphers"));
}

#[test]
fn what_an_rsa_key_of_java_encrypted_the_token_decrypts() {
    succeed(&mut java(&Token::hsmd(), "rsaCipher"));
}

#[test]
fn key_agreement_gives_the_secret_that_java_gets() {
    succeed(&mut java(&Token::hsmd(), "agreement"));
}

#[test]
fn diffie_hellman_of_java_names_the_length_of_the_private_value() {
    succeed(&mut java(&Token::hsmd(), "diffieHellman"));
}

#[test]
fn macs_digests_and_random_work() {
    succeed(&mut java(&Token::hsmd(), "macsAndDigests"));
}

#[test]
fn entries_made_by_keytool_are_listed_and_used() {
    let token = Token::hsmd();
    generate(&token);
    succeed(&mut tool(
        &token,
        "keytool",
        "-genseckey -alias aes -keyalg AES -keysize 256",
    ));
    let listed = succeed(&mut tool(&token, "keytool", "-list"));
    assert!(listed.text.contains("contains 3 entries"), "{}", listed.text);
    succeed(&mut java(&token, "entries"));
    let request = succeed(&mut tool(&token, "keytool", "-certreq -alias rsa"));
    let file = token.file("request.pem");
    fs::write(&file, &request.output).expect("a file");
    succeed(
        token
            .command("openssl")
            .args(["req", "-verify", "-noout", "-in"])
            .arg(file),
    );
    succeed(&mut tool(&token, "keytool", "-delete -alias rsa"));
    let listed = succeed(&mut tool(&token, "keytool", "-list"));
    assert!(listed.text.contains("contains 2 entries"), "{}", listed.text);
}

#[test]
fn entries_of_a_key_store_file_are_stored_used_and_deleted() {
    let token = Token::hsmd();
    let file = token.file("k.p12");
    let make = "-genkeypair -storetype PKCS12 -storepass changeit -alias k -keyalg RSA -keysize 2048 -dname CN=k";
    succeed(
        token
            .command("keytool")
            .args(make.split_whitespace())
            .arg("-keystore")
            .arg(&file),
    );
    succeed(java(&token, "stores").env("KEY_FILE", &file));
}

#[test]
fn a_tls_server_of_java_has_its_key_in_the_token() {
    let token = Token::hsmd();
    generate(&token);
    succeed(&mut java(&token, "tlsServers"));
}

#[test]
fn eight_threads_of_java_sign_and_encrypt() {
    succeed(&mut java(&Token::hsmd(), "threads"));
}

#[test]
fn jarsigner_signs_with_a_key_of_the_token() {
    let token = Token::hsmd();
    generate(&token);
    let archive = token.file("a.jar");
    succeed(
        token
            .command("jar")
            .args(["--create", "--file"])
            .arg(&archive)
            .arg("-C")
            .arg(classes())
            .arg("."),
    );
    for alias in ["rsa", "ec"] {
        succeed(tool(&token, "jarsigner", "").arg(&archive).arg(alias));
        let verified = succeed(token.command("jarsigner").arg("-verify").arg(&archive));
        assert!(verified.text.contains("jar verified."), "{}", verified.text);
    }
}

#[test]
fn a_wrong_pin_is_refused() {
    let token = Token::hsmd();
    assert!(!run(java(&token, "macsAndDigests").env("HSMD_PIN", "654321")).good);
    succeed(&mut java(&token, "macsAndDigests"));
}
