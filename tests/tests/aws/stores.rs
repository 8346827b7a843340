//! Custom key stores: in groups of partitions, and behind proxies. The daemon and the front end are killed at bad moments; the states say what is, and
//! recover by themselves.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hsmd_tests::daemon::{self, Daemon};
use hsmd_tests::peers::{program, succeed};
use hsmd_tests::wait;

use super::{Front, SECRET, launch};

/// What `stores.py` gives the groups' user.
const PASSWORD: &str = "kmsUser1secret";
const SCRIPT: &str = "stores.py";

fn scenario(name: &str) {
    let front = Front::start();
    front.run(SCRIPT, name);
    no_secrets(&front);
}

fn no_secrets(front: &Front) {
    let log = fs::read_to_string(front.daemon.folder().join("aws.log")).expect("a log");
    for secret in [SECRET, PASSWORD, "wrongPassword1"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => { $(#[test] fn $name() { scenario(stringify!($name)); })* };
}

scenarios! { life_of_a_store, rules_of_stores, connections_that_fail, members_that_are_away }

#[test]
fn a_store_recovers_by_itself_from_the_daemons_kill() {
    let mut front = Front::over(Daemon::start(), "");
    front.run(SCRIPT, "before_a_kill");
    front.daemon.kill9();
    front.run(SCRIPT, "while_the_daemon_is_away");
    front.daemon.restart();
    front.run(SCRIPT, "after_a_kill");
    front.restart();
    front.run(SCRIPT, "after_a_kill");
    no_secrets(&front);
}

/// A proxy that behaves as the scenario says.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An authority, and a certificate of it for the proxy's name.
fn certificates(folder: &Path) {
    let openssl = |arguments: &str| {
        let mut command = Command::new(program("openssl"));
        succeed(command.current_dir(folder).args(arguments.split_whitespace()));
    };
    let make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    openssl(&format!(
        "{make} -keyout authority.key -out authority.pem -subj /CN=authority"
    ));
    openssl(&format!(
        "{make} -keyout proxy.key -out proxy.pem -subj /CN=xks.test -addext subjectAltName=DNS:xks.test \
         -addext basicConstraints=critical,CA:FALSE -CA authority.pem -CAkey authority.key"
    ));
}

fn before_a_proxy(name: &str) {
    let daemon = Daemon::start();
    let folder = daemon.folder().to_owned();
    certificates(&folder);
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/aws/proxy.py");
    let python = daemon::binaries()
        .parent()
        .unwrap_or(Path::new("."))
        .join("venv/bin/python");
    let mut command = daemon.command(&python);
    command
        .arg(script)
        .args(["proxy.pem", "proxy.key"])
        .current_dir(&folder);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the proxy");
    let output = child.stdout.take().expect("a pipe");
    let _proxy = Proxy(child);
    let mut port = String::new();
    BufReader::new(output).read_line(&mut port).expect("its port");
    let address = format!("127.0.0.1:{}", port.trim());
    // Nobody listens at port 1; the certificate is for the first name only.
    let settings = format!(
        "[xks_client]\nauthorities = {:?}\nconnect = {{ \"xks.test\" = {address:?}, \"other.test\" = {address:?}, \
         \"gone.test\" = \"127.0.0.1:1\" }}\n",
        folder.join("authority.pem")
    );
    let front = Front::over(daemon, &settings);
    front.run("external.py", name);
    let log = fs::read_to_string(folder.join("aws.log")).expect("a log");
    // The beginnings of both secrets of `external.py`.
    assert!(
        !log.contains("c2VjcmV0") && !log.contains("YW5vdGhl"),
        "a secret is in the log"
    );
}

#[test]
fn keys_behind_a_proxy_are_encrypted_twice() {
    before_a_proxy("life_of_an_external_store");
}

#[test]
fn what_is_wrong_with_a_proxy_is_said() {
    before_a_proxy("proxies_that_do_not_serve");
}

/// INV-2 for the password of `kmsuser`: whichever of two the token has after a kill, the record has it too.
#[test]
fn a_kill_while_the_password_is_rotated_loses_nothing() {
    let mut front = Front::start();
    front.run(SCRIPT, "before_a_kill");
    for round in 0..6_u64 {
        front.run(SCRIPT, "ask_to_connect");
        // Not a wait for something: another moment of the connecting in each round.
        let _ = wait::until(Duration::from_millis(round * 7), || None::<()>);
        let _ = front.child.kill();
        let _ = front.child.wait();
        (front.child, front.url) = launch(&front.daemon, &front.settings);
        front.run(SCRIPT, "after_a_kill");
    }
}

#[test]
fn pkcs11_tool_sees_the_keys_of_a_store_and_the_aws_command_line_makes_them() {
    let front = Front::start();
    front.run(SCRIPT, "a_store_to_look_into");
    let kept = |name: &str| fs::read_to_string(front.daemon.folder().join(name)).expect("a text");
    let aws = |arguments: &[&str]| {
        let done = succeed(
            front
                .python("aws")
                .arg("kms")
                .args(arguments)
                .args(["--output", "text"]),
        );
        String::from_utf8_lossy(&done.output).trim().to_owned()
    };
    let anchor = format!("file://{}", front.daemon.folder().join("anchor").display());
    let store = aws(&[
        "create-custom-key-store",
        "--custom-key-store-name",
        "first",
        "--cloud-hsm-cluster-id",
        &kept("cluster"),
        "--trust-anchor-certificate",
        &anchor,
        "--key-store-password",
        PASSWORD,
        "--query",
        "CustomKeyStoreId",
    ]);
    let state = |wanted: &str| {
        let query = "CustomKeyStores[0].ConnectionState";
        let reached = wait::until(wait::PATIENCE, || {
            let shown = aws(&[
                "describe-custom-key-stores",
                "--custom-key-store-id",
                &store,
                "--query",
                query,
            ]);
            (shown == wanted).then_some(())
        });
        assert!(reached.is_some(), "the store is never {wanted}");
    };
    aws(&["connect-custom-key-store", "--custom-key-store-id", &store]);
    state("CONNECTED");
    let created = [
        "create-key",
        "--origin",
        "AWS_CLOUDHSM",
        "--custom-key-store-id",
        &store,
    ];
    let arn = aws(&[&created[..], &["--query", "KeyMetadata.Arn"]].concat());
    aws(&["disconnect-custom-key-store", "--custom-key-store-id", &store]);
    state("DISCONNECTED");
    front.run(SCRIPT, "reset_the_password");
    let module = front.daemon.module_path();
    let mut tool = front.daemon.command(&program("pkcs11-tool"));
    tool.arg("--module")
        .arg(module)
        .args(["--token-label", "group-1", "--login", "--pin", PASSWORD]);
    let listed = succeed(tool.args(["--list-objects", "--type", "secrkey"]));
    assert!(
        listed.text.contains(&arn)
            && listed.text.contains("never extractable")
            && listed.text.contains("AES length 32"),
        "{}",
        listed.text
    );
}
