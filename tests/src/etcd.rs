//! One etcd of a test's own, on ports that the system gives, its data in memory.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::ffi;
use crate::peers::program;
use crate::wait;

/// A running etcd; it ends with the value.
pub struct Etcd {
    port: u16,
    peer: u16,
    child: Child,
    folder: TempDir,
}

impl Etcd {
    /// Starts one and waits until it listens.
    #[must_use]
    pub fn start() -> Self {
        // A port may be taken between being found free and being used.
        let started = (0..5).find_map(|_| Self::try_start());
        started.expect("etcd starts")
    }

    fn try_start() -> Option<Self> {
        let folder = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .expect("a folder");
        let (port, peer) = (free(), free());
        let mut etcd = Self {
            port,
            peer,
            child: spawn(folder.path(), port, peer),
            folder,
        };
        etcd.listens().then_some(etcd)
    }

    fn listens(&mut self) -> bool {
        let listens = wait::until(wait::PATIENCE, || {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return Some(true);
            }
            self.child.try_wait().expect("the state of a child").map(|_| false)
        });
        listens.unwrap_or(false)
    }

    /// Keeps a copy of everything that is in it now, as a snapshot does.
    pub fn save(&mut self) {
        self.replace("data", "saved");
    }

    /// Puts that copy in place of what is there: an etcd that was restored from an old snapshot.
    pub fn restore(&mut self) {
        self.replace("saved", "data");
    }

    /// Copies a folder over the other one while no etcd runs.
    fn replace(&mut self, from: &str, to: &str) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let (from, to) = (self.folder.path().join(from), self.folder.path().join(to));
        let _ = std::fs::remove_dir_all(&to);
        let copied = Command::new("cp").arg("-a").args([&from, &to]).status();
        assert!(copied.expect("cp").success());
        self.child = spawn(self.folder.path(), self.port, self.peer);
        assert!(self.listens(), "etcd comes back");
    }

    /// What `hsmd init --store` takes, with a prefix of this name.
    #[must_use]
    pub fn url(&self, prefix: &str) -> String {
        format!("etcd://127.0.0.1:{}/{prefix}", self.port)
    }

    /// Stops the process, or lets it go on.
    pub fn freeze(&self, frozen: bool) {
        let signal = if frozen { libc::SIGSTOP } else { libc::SIGCONT };
        ffi::signal(self.child.id(), signal).expect("etcd runs");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, port: u16, peer: u16) -> Child {
    let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
    Command::new(program("etcd"))
        .args(["--name", "one", "--data-dir"])
        .arg(folder.join("data"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("one={peer}")])
        .args(["--heartbeat-interval", "100", "--election-timeout", "1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd starts")
}

/// A port that nobody listens on.
#[must_use]
pub fn free() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}
