//! One etcd of a test's own, on ports that the system gives, its data in memory.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::ffi;
use crate::peers::program;
use crate::wait;

/// A running etcd; it ends with the value.
pub struct Etcd {
    port: u16,
    child: Child,
    _folder: TempDir,
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
        let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
        let child = Command::new(program("etcd"))
            .args(["--name", "one", "--data-dir"])
            .arg(folder.path().join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}")])
            .args(["--heartbeat-interval", "100", "--election-timeout", "1000"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd starts");
        let mut etcd = Self {
            port,
            child,
            _folder: folder,
        };
        let listens = wait::until(wait::PATIENCE, || {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Some(true);
            }
            etcd.child.try_wait().expect("the state of a child").map(|_| false)
        });
        listens?.then_some(etcd)
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

fn free() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}
