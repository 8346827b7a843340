//! KMS in front of a fleet: nodes are killed and stopped under unmodified boto3, which repeats nothing. `hsmd-aws` is not started again.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use hsmd_tests::daemon::{LABEL, PIN, binaries};
use hsmd_tests::faults::bed::freeze;
use hsmd_tests::ffi;
use hsmd_tests::wait;

use super::{ACCESS_KEY, SECRET, write_private};
use crate::fleet::nodes::Nodes;

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `hsmd-aws` with all nodes in its configuration and in its client file, and its address.
fn front(nodes: &Nodes) -> (Process, String) {
    let folder = nodes.all[0].folder();
    let (_, client_file) = nodes.client("");
    let (config, pin) = (folder.join("hsmd-aws.toml"), folder.join("pin"));
    write_private(&pin, &format!("{PIN}\n"));
    let endpoints: Vec<_> = nodes.all.iter().map(|node| node.endpoint()).collect();
    let text = format!(
        "listen = \"127.0.0.1:0\"\nendpoint = {endpoints:?}\n\n[[access_keys]]\nid = {ACCESS_KEY:?}\nsecret = {SECRET:?}\n\n\
         [kms]\nmodule = {:?}\ntoken = {LABEL:?}\npin_file = {pin:?}\n",
        binaries().join("libhsmd_pkcs11.so")
    );
    write_private(&config, &text);
    let log = std::fs::File::create(folder.join("aws.log")).expect("a log");
    let mut command = Command::new(binaries().join("hsmd-aws"));
    command.arg("--config").arg(&config).env("HSMD_CONFIG", &client_file);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("hsmd-aws: `cargo xtask ci` builds it");
    let mut url = String::new();
    let output = child.stdout.take().expect("a pipe");
    BufReader::new(output).read_line(&mut url).expect("the address");
    let said = || std::fs::read_to_string(folder.join("aws.log")).unwrap_or_default();
    assert!(url.starts_with("http://"), "no address: {url:?}: {}", said());
    (Process(child), url.trim().to_owned())
}

#[test]
fn kms_goes_on_through_the_death_of_any_node() {
    let mut nodes = Nodes::start(3);
    let (front, url) = front(&nodes);
    let python = binaries().with_file_name("venv").join("bin/python");
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/aws/fleet.py");
    let mut command = Command::new(python);
    command.arg(script).env("AWS_ENDPOINT_URL", &url);
    command
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_DEFAULT_REGION", "local-1")
        .env("AWS_MAX_ATTEMPTS", "1");
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut driver = Process(spawned.expect("python: `cargo xtask setup` makes its environment"));
    let mut input = driver.0.stdin.take().expect("a pipe");
    let mut lines = BufReader::new(driver.0.stdout.take().expect("a pipe")).lines();
    let log = nodes.all[0].folder().join("aws.log");
    let mut answer = || {
        let line = lines.next().and_then(Result::ok);
        line.unwrap_or_else(|| panic!("a call failed: {}", std::fs::read_to_string(&log).unwrap_or_default()))
    };
    assert_eq!(answer(), "ready");
    // Each turn is at the node whose control plane the last one has led to.
    for turn in 0..6 {
        let (at, stopped) = (turn % 3, turn % 2 == 1);
        writeln!(input, "go").expect("the driver reads");
        assert_eq!(answer(), "going");
        // INV-4: whoever calls notices at most that it takes longer.
        if stopped {
            freeze(&nodes.all[at]);
        } else {
            nodes.all[at].kill9();
        }
        let told = answer();
        eprintln!("node {at} {}: {told}", if stopped { "stopped" } else { "killed" });
        assert!(told.starts_with("good"), "{told}");
        if stopped {
            ffi::signal(nodes.all[at].process(), libc::SIGCONT).expect("it is there");
        } else {
            nodes.all[at].launch(&[]).expect("the daemon starts");
        }
        let whole = || (crate::fleet::standings(&nodes.all[(at + 1) % 3]) == ["serving"; 3]).then_some(());
        wait::until(wait::PATIENCE, whole).expect("all serve again");
    }
    drop(front);
}
