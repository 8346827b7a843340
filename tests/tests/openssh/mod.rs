//! OpenSSH with keys of the token: `ssh-keygen -D` lists them, and a login on loopback works. The server is started by
//! the test for one connection (`sshd -i`), on a port that the system chose, with a configuration of its own.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hsmd_tests::peers::{Token, program, succeed};
use hsmd_tests::{ffi, wait};

fn listed_keys(token: &Token) -> String {
    let run = succeed(token.command("ssh-keygen").arg("-D").arg(token.module()));
    String::from_utf8_lossy(&run.output).into_owned()
}

fn generate(token: &Token) {
    succeed(&mut token.as_user("--keypairgen --key-type rsa:2048 --id 01 --label login-rsa --usage-sign"));
    succeed(&mut token.as_user("--keypairgen --key-type EC:prime256v1 --id 02 --label login-ec --usage-sign"));
}

#[test]
fn ssh_keygen_lists_the_keys_without_a_login() {
    let token = Token::hsmd();
    generate(&token);
    let keys = listed_keys(&token);
    assert!(
        keys.contains("ssh-rsa ") && keys.contains("ecdsa-sha2-nistp256 "),
        "{keys}"
    );
}

#[test]
fn a_login_on_loopback_with_each_key_works() {
    login_with_each_key(&Token::hsmd());
}

#[test]
fn the_same_login_works_with_softhsm() {
    login_with_each_key(&Token::softhsm());
}

fn login_with_each_key(token: &Token) {
    generate(token);
    let keys = listed_keys(token);
    for kind in ["ssh-rsa", "ecdsa-sha2-nistp256"] {
        let key = keys
            .lines()
            .find(|line| line.starts_with(kind))
            .expect("the key is listed");
        login(token, kind, key);
    }
}

/// One login that runs `echo`, with one key authorised.
fn login(token: &Token, kind: &str, authorized: &str) {
    let folder = token.file(kind);
    fs::create_dir(&folder).expect("a folder");
    let configuration = server_files(token, &folder, authorized);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let port = listener.local_addr().expect("the port").port().to_string();

    let askpass = folder.join("askpass");
    fs::write(&askpass, format!("#!/bin/sh\necho '{}'\n", token.pin())).expect("a file");
    fs::set_permissions(&askpass, fs::Permissions::from_mode(0o700)).expect("an executable file");
    let mut client = token.command("ssh");
    client
        .env("SSH_ASKPASS", &askpass)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .env("DISPLAY", "none");
    client
        .env_remove("SSH_AUTH_SOCK")
        .args(["-F", "/dev/null", "-p", &port, "-I"])
        .arg(token.module());
    for option in [
        "StrictHostKeyChecking=no",
        "PreferredAuthentications=publickey",
        "LogLevel=VERBOSE",
    ] {
        client.args(["-o", option]);
    }
    client
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", folder.join("known_hosts").display()));
    client.args([&format!("{}@127.0.0.1", user()), "echo", "logged-in"]);
    client
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let client = client.spawn().expect("ssh starts");

    listener.set_nonblocking(true).expect("accept with a deadline");
    let connection = wait::until(wait::PATIENCE, || listener.accept().ok()).map(|(stream, _)| stream);
    let log = folder.join("sshd.log");
    let mut server = connection.map(|stream| {
        stream.set_nonblocking(false).expect("a blocking stream");
        let input = OwnedFd::from(stream);
        let output = input.try_clone().expect("a second handle");
        let mut server = Command::new(program("sshd"));
        server.args(["-i", "-f"]).arg(&configuration).arg("-E").arg(&log);
        server
            .stdin(input)
            .stdout(output)
            .stderr(Stdio::null())
            .spawn()
            .expect("sshd starts")
    });
    let output = client.wait_with_output().expect("ssh ends");
    if let Some(server) = &mut server {
        server.wait().expect("sshd ends");
    }
    let text = format!(
        "ssh: {}\nsshd: {}",
        String::from_utf8_lossy(&output.stderr),
        fs::read_to_string(&log).unwrap_or_else(|_| "no log".to_owned())
    );
    assert!(output.status.success(), "{text}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "logged-in", "{text}");
}

/// Host key, authorised key and configuration of the server; gives the configuration's file.
fn server_files(token: &Token, folder: &Path, authorized: &str) -> PathBuf {
    let (host_key, keys) = (folder.join("host_key"), folder.join("authorized_keys"));
    let mut keygen = token.command("ssh-keygen");
    succeed(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&host_key));
    fs::write(&keys, format!("{authorized}\n")).expect("a file");
    if ffi::user_id() == 0 {
        // sshd as root wants its folder; on a machine where it is a service it is there.
        fs::create_dir_all("/run/sshd").expect("the folder of sshd");
    }
    let configuration = folder.join("sshd_config");
    let text = format!(
        "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\nLogLevel VERBOSE\n",
        host_key.display(),
        keys.display()
    );
    fs::write(&configuration, text).expect("a file");
    configuration
}

fn user() -> String {
    let run = succeed(Command::new(program("id")).arg("-un"));
    String::from_utf8_lossy(&run.output).trim().to_owned()
}
