//! Clusters of one test alone, whose members can be killed, stopped and replaced.

use std::process::{Child, Command};

use tempfile::TempDir;

use crate::etcd::server::{Member, etcdctl, listens, signal, started};
use crate::etcd::until;
use crate::model::folder;

/// Processes that end with the value.
pub(crate) struct Cluster {
    pub(crate) members: Vec<Member>,
    children: Vec<Option<Child>>,
    pub(crate) dir: TempDir,
}

impl Cluster {
    /// Starts so many members.
    pub(crate) fn start(count: usize) -> Self {
        Self::with(count, &[])
    }

    /// Starts members with these arguments besides.
    pub(crate) fn with(count: usize, tls: &[String]) -> Self {
        for _ in 0..5 {
            let dir = folder();
            let mut members: Vec<_> = (0..count)
                .map(|at| Member::new(&format!("m{at}"), dir.path()))
                .collect();
            for member in &mut members {
                member.tls = tls.to_vec();
            }
            let start = |member: &Member| Some(started(member.command(&members).spawn()));
            let mut children: Vec<_> = members.iter().map(start).collect();
            let mut well = true;
            for (child, member) in children.iter_mut().zip(&members) {
                well &= child.as_mut().is_some_and(|child| listens(child, member.client));
            }
            let cluster = Self { members, children, dir };
            if well {
                return cluster;
            }
            // A port was taken meanwhile.
        }
        panic!("etcd does not start");
    }

    pub(crate) fn ports(&self) -> Vec<u16> {
        self.members.iter().map(|member| member.client).collect()
    }

    /// Which member leads.
    pub(crate) fn leader(&self) -> usize {
        let mut leader = None;
        until("a leader", || {
            let leads = |port| {
                let text = etcdctl(port, &["endpoint", "status", "--write-out", "fields"]);
                let field = |name: &str| {
                    let line = text.lines().find(|line| line.starts_with(name));
                    line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
                };
                field("\"MemberID\"") == field("\"Leader\"")
            };
            leader = self.ports().into_iter().position(leads);
            leader.is_some()
        });
        leader.unwrap()
    }

    pub(crate) fn kill(&mut self, at: usize) {
        if let Some(mut child) = self.children[at].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn signal(&self, at: usize, name: &str) {
        signal(self.children[at].as_ref().unwrap(), name);
    }

    /// Starts a member that was killed, on the data that it has.
    pub(crate) fn restart(&mut self, at: usize) {
        let mut child = self.members[at].command(&self.members).spawn().unwrap();
        assert!(listens(&mut child, self.members[at].client));
        self.children[at] = Some(child);
    }

    /// Replaces the only member's data by a snapshot, as `etcdctl snapshot restore` makes it, and starts it.
    pub(crate) fn restore(&mut self, snapshot: &std::path::Path) {
        self.kill(0);
        let member = &self.members[0];
        std::fs::remove_dir_all(&member.data).unwrap();
        let peer = format!("http://127.0.0.1:{}", member.peer);
        let status = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["snapshot", "restore"])
            .arg(snapshot)
            .args(["--name", &member.name, "--data-dir"])
            .arg(&member.data)
            .args(["--initial-cluster", &format!("{}={peer}", member.name)])
            .args(["--initial-cluster-token", &member.token()])
            .args(["--initial-advertise-peer-urls", &peer])
            .stderr(std::process::Stdio::null())
            .status();
        assert!(status.unwrap().success());
        self.restart(0);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
