//! `hsmctl snippet`: those that say that our tests run them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use hsmd_tests::daemon::{Daemon, PIN};
use hsmd_tests::peers::{program, run, succeed};
use hsmd_tests::{ffi, wait};

use super::world::shell;

struct Ready {
    daemon: Daemon,
    out: PathBuf,
}

/// A daemon with a key `web`, and the files of a snippet.
fn ready(app: &str) -> Ready {
    let daemon = Daemon::start();
    let pin = daemon.folder().join("pin");
    fs::write(&pin, PIN).expect("a file");
    let mut generate = daemon.command(&program("pkcs11-tool"));
    generate
        .arg("--module")
        .arg(daemon.module_path())
        .args(["--login", "--pin", PIN, "--keypairgen"]);
    succeed(generate.args([
        "--key-type",
        "EC:prime256v1",
        "--id",
        "01",
        "--label",
        "web",
        "--usage-sign",
    ]));
    let out = daemon.folder().join("out");
    let line = format!(
        "hsmctl snippet {app} --key web --pin-file {} --out {}",
        pin.display(),
        out.display()
    );
    succeed(&mut shell(&daemon, &line));
    Ready { daemon, out }
}

impl Ready {
    fn command(&self) -> Command {
        shell(&self.daemon, &format!("set -e; . {}/run.sh", self.out.display()))
    }
}

#[test]
fn openssl_signs_with_its_snippet() {
    let shown = succeed(&mut ready("openssl").command());
    assert!(shown.text.contains("Verified OK"), "{}", shown.text);
}

#[test]
fn keytool_makes_and_lists_an_entry_with_its_snippet() {
    let shown = succeed(&mut ready("java").command());
    assert!(
        shown.text.contains("java, PrivateKeyEntry") || shown.text.contains("java,"),
        "{}",
        shown.text
    );
}

#[test]
fn ssh_lists_the_key_with_its_snippet() {
    let shown = succeed(&mut ready("ssh").command());
    assert!(shown.text.contains("ecdsa-sha2-nistp256"), "{}", shown.text);
}

#[test]
fn pkcs11_tool_lists_objects_with_its_snippet() {
    let shown = succeed(&mut ready("pkcs11-tool").command());
    assert!(shown.text.contains("web"), "{}", shown.text);
}

#[test]
fn p11_kit_sees_the_token_with_its_snippet() {
    let ready = ready("p11-kit");
    let mut command = if ffi::user_id() == 0 {
        // p11-kit reads a user's own modules only for one who is not root.
        let inner = ready.command();
        let mut outer = Command::new(program("unshare"));
        outer
            .args(["--user", "--map-user=1000"])
            .arg(inner.get_program())
            .args(inner.get_args());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => outer.env(name, value),
                None => outer.env_remove(name),
            };
        }
        outer
    } else {
        ready.command()
    };
    let shown = succeed(&mut command);
    assert!(shown.text.contains("token: demo"), "{}", shown.text);
}

#[test]
fn nginx_serves_with_its_snippet() {
    let ready = ready("nginx");
    let file = ready.out.join("nginx.conf");
    let socket = ready.out.join("web.sock");
    let text = fs::read_to_string(&file).expect("the file");
    // No fixed port in a test; workers of root would become `nobody`.
    let mut text = text.replace("listen 8443 ssl", &format!("listen unix:{} ssl", socket.display()));
    if ffi::user_id() == 0 {
        text.insert_str(0, "user root;\n");
    }
    fs::write(&file, text).expect("the file");
    let started = run(ready.command().stdout(Stdio::null()).stderr(Stdio::null()));
    let log = fs::read_to_string(ready.out.join("error.log")).unwrap_or_default();
    assert!(started.good, "{log}");
    let mut curl = Command::new(program("curl"));
    curl.args(["--silent", "--show-error", "--fail", "--cacert"])
        .arg(ready.out.join("certificate.pem"));
    let answer = wait::until(wait::PATIENCE, || socket.exists().then_some(()))
        .map(|()| run(curl.arg("--unix-socket").arg(&socket).arg("https://localhost/")));
    let pid = fs::read_to_string(ready.out.join("nginx.pid")).expect("nginx runs");
    let _ = ffi::signal(pid.trim().parse().expect("a number"), libc::SIGTERM);
    let answer = answer.expect("nginx listens");
    assert!(answer.good && answer.output == b"hello\n", "{}{log}", answer.text);
}
