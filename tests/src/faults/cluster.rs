//! Three etcd, each on a host of its own, their data in memory. Their leader is found, killed, stopped; they lose their majority;
//! they go back to what they were.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::network::{Network, address};
use crate::ffi;
use crate::peers::{Run, program, run, under};
use crate::wait;

/// The etcd on these hosts, in order.
pub struct Cluster {
    hosts: Vec<usize>,
    under: Vec<Vec<String>>,
    children: Vec<Option<Child>>,
    folder: TempDir,
}

impl Cluster {
    /// Starts one on each of these hosts and waits until they have a leader.
    #[must_use]
    pub fn start(network: &Network, hosts: &[usize]) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .expect("a folder");
        let mut cluster = Self {
            hosts: hosts.to_vec(),
            under: hosts.iter().map(|host| network.under(*host)).collect(),
            children: hosts.iter().map(|_| None).collect(),
            folder,
        };
        for member in 0..hosts.len() {
            cluster.launch(member);
        }
        cluster.wait_for_a_leader();
        cluster
    }

    /// How many.
    #[must_use]
    pub fn members(&self) -> usize {
        self.hosts.len()
    }

    fn data(&self, member: usize) -> PathBuf {
        self.folder.path().join(format!("data-{member}"))
    }

    /// Starts a member that does not run.
    pub fn launch(&mut self, member: usize) {
        let own = address(self.hosts[member]);
        let (client, peer) = (format!("http://{own}:2379"), format!("http://{own}:2380"));
        let all = self.hosts.iter().enumerate();
        let all: Vec<_> = all
            .map(|(number, host)| format!("e{number}=http://{}:2380", address(*host)))
            .collect();
        let mut command = under(&self.under[member], &program("etcd"));
        command
            .args(["--name", &format!("e{member}"), "--data-dir"])
            .arg(self.data(member));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &all.join(",")]);
        command.args(["--heartbeat-interval", "100", "--election-timeout", "1000"]);
        // A member that starts again reads what came since its last snapshot: docs/etcd.md advises this.
        command.args(["--snapshot-count", "10000"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.children[member] = Some(command.spawn().expect("etcd starts"));
    }

    /// Ends a member with SIGKILL.
    pub fn kill(&mut self, member: usize) {
        if let Some(mut child) = self.children[member].take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops a member's process, or lets it go on.
    pub fn freeze(&self, member: usize, frozen: bool) {
        let signal = if frozen { libc::SIGSTOP } else { libc::SIGCONT };
        ffi::signal(self.process(member), signal).expect("etcd runs");
    }

    /// A member's process.
    #[must_use]
    pub fn process(&self, member: usize) -> u32 {
        self.children[member].as_ref().expect("it runs").id()
    }

    /// Keeps a copy of everything that is in it now under a name, as a snapshot does. All members stand still for that moment.
    pub fn save(&self, name: &str) {
        for member in 0..self.members() {
            self.freeze(member, true);
        }
        for member in 0..self.members() {
            copy(&self.data(member), &self.saved(name, member));
        }
        for member in 0..self.members() {
            self.freeze(member, false);
        }
    }

    /// Ends all members, and keeps a copy of the last that is in them under a name.
    pub fn end_and_save(&mut self, name: &str) {
        for member in 0..self.members() {
            self.kill(member);
            copy(&self.data(member), &self.saved(name, member));
        }
    }

    /// Puts the copy of this name in place of what is there.
    pub fn restore(&mut self, name: &str) {
        for member in 0..self.members() {
            self.kill(member);
            copy(&self.saved(name, member), &self.data(member));
        }
        for member in 0..self.members() {
            self.launch(member);
        }
        self.wait_for_a_leader();
    }

    fn saved(&self, name: &str, member: usize) -> PathBuf {
        self.folder.path().join(format!("{name}-{member}"))
    }

    /// The member that leads, if the majority has one.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        (0..self.members()).find(|member| {
            self.children[*member].is_some() && self.status(*member).is_some_and(|(own, leader)| own == leader)
        })
    }

    /// Lets etcd forget everything but the newest version of each key.
    pub fn compact(&self) {
        let leader = self.wait_for_a_leader();
        let told = self.ctl(leader, &["endpoint", "status", "-w", "json"]);
        let value: Value = serde_json::from_slice(&told.output).unwrap_or_default();
        let revision = value[0]["Status"]["header"]["revision"].as_u64().expect("a revision");
        let done = self.ctl(leader, &["compact", &revision.to_string()]);
        assert!(done.good, "{}", done.text);
    }

    fn ctl(&self, member: usize, arguments: &[&str]) -> Run {
        let mut command = under(&self.under[member], &program("etcdctl"));
        command.env("ETCDCTL_API", "3");
        let endpoint = format!("http://{}:2379", address(self.hosts[member]));
        command.args(["--dial-timeout=500ms", "--command-timeout=1s", "--endpoints", &endpoint]);
        run(command.args(arguments))
    }

    /// A member's own number and the leader's, as it knows them; 0 is none.
    fn status(&self, member: usize) -> Option<(u64, u64)> {
        let told = self.ctl(member, &["endpoint", "status", "-w", "json"]);
        let value: Value = serde_json::from_slice(&told.output).ok()?;
        let status = &value[0]["Status"];
        Some((status["header"]["member_id"].as_u64()?, status["leader"].as_u64()?))
    }

    /// Waits until a majority has a leader; gives it.
    pub fn wait_for_a_leader(&self) -> usize {
        let leader = wait::until(wait::PATIENCE, || self.leader());
        leader.expect("etcd has a leader")
    }

    /// What `hsmd init --store` takes.
    #[must_use]
    pub fn url(&self, prefix: &str) -> String {
        let hosts: Vec<_> = self
            .hosts
            .iter()
            .map(|host| format!("{}:2379", address(*host)))
            .collect();
        format!("etcd://{}/{prefix}", hosts.join(","))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in 0..self.members() {
            self.kill(member);
        }
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let _ = std::fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.expect("cp").success());
}
