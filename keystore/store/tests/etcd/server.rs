//! etcd processes for tests: ports that the system gives, data in a folder of their own, a fast heartbeat.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::model::folder;

/// A port that is free now.
pub(crate) fn port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// One member of a cluster, as its command line tells it.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) client: u16,
    pub(crate) peer: u16,
    pub(crate) data: PathBuf,
    /// `--cert-file` and its like; then clients use https.
    pub(crate) tls: Vec<String>,
}

impl Member {
    pub(crate) fn new(name: &str, dir: &Path) -> Self {
        Self {
            name: name.to_owned(),
            client: port(),
            peer: port(),
            data: dir.join(name),
            tls: Vec::new(),
        }
    }

    /// Of all members of a cluster the same.
    pub(crate) fn token(&self) -> String {
        self.data.parent().unwrap().to_string_lossy().into_owned()
    }

    pub(crate) fn command(&self, cluster: &[Member]) -> Command {
        let scheme = if self.tls.is_empty() { "http" } else { "https" };
        let client = format!("{scheme}://127.0.0.1:{}", self.client);
        let peer = format!("http://127.0.0.1:{}", self.peer);
        let peers: Vec<_> = cluster
            .iter()
            .map(|member| format!("{}=http://127.0.0.1:{}", member.name, member.peer))
            .collect();
        let mut command = Command::new("etcd");
        command
            .args(["--name", &self.name, "--data-dir"])
            .arg(&self.data)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args([
                "--initial-cluster",
                &peers.join(","),
                "--initial-cluster-token",
                &self.token(),
            ])
            .args([
                "--heartbeat-interval",
                "100",
                "--election-timeout",
                "1000",
                "--log-level",
                "error",
            ])
            .args(&self.tls)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

/// Waits until something listens there; false if the process has ended instead.
pub(crate) fn listens(child: &mut Child, port: u16) -> bool {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(Instant::now() < deadline, "etcd does not listen");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// The client port of one etcd that all tests share, each with its own prefix. It ends with this process: a shell waits for the
/// end of its standard input.
pub(crate) fn shared() -> u16 {
    static SERVER: OnceLock<(u16, TempDir, Child)> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        started(Command::new("etcd").arg("--version").output());
        for _ in 0..5 {
            let dir = folder();
            let member = Member::new("shared", dir.path());
            let etcd = member.command(std::slice::from_ref(&member));
            let mut shell = Command::new("sh");
            let script = "\"$@\" & read _; kill -9 $!; rm -rf \"$HSMD_ETCD_DATA\"";
            shell
                .args(["-c", script, "sh"])
                .arg(etcd.get_program())
                .args(etcd.get_args());
            shell
                .env("HSMD_ETCD_DATA", dir.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut child = shell.spawn().unwrap();
            if listens(&mut child, member.client) {
                return (member.client, dir, child);
            }
        }
        panic!("etcd does not start");
    });
    server.0
}

/// What came of starting etcd or its tool: a test without its peer fails.
pub(crate) fn started<T>(result: std::io::Result<T>) -> T {
    result.unwrap_or_else(|error| {
        panic!("etcd is not installed: `cargo xtask setup`, or apt-get install etcd-server etcd-client: {error}")
    })
}

/// Runs etcdctl against a port.
pub(crate) fn etcdctl(port: u16, arguments: &[&str]) -> String {
    let child = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .arg(format!("--endpoints=http://127.0.0.1:{port}"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = started(child);
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// Sends a signal.
pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([format!("-{name}"), child.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}
