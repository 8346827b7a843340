//! Several nodes on one etcd that other hosts reach, and a client of all of them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use hsmd_tests::daemon::binaries;
use hsmd_tests::etcd::{Etcd, free};
use hsmd_tests::module::Module;
use hsmd_tests::peers::{run, succeed};
use hsmd_tests::served::Served;
use hsmd_tests::wait;
use serde_json::Value;

/// A fleet.
pub(crate) struct Nodes {
    // Before etcd: they end in the order of the fields.
    pub(crate) all: Vec<Served>,
    pub(crate) servers: Vec<String>,
    etcd: Etcd,
}

impl Nodes {
    /// So many nodes, serving.
    pub(crate) fn start(count: usize) -> Self {
        let etcd = Etcd::start();
        let url = etcd.url("hsmd");
        let servers: Vec<_> = (0..count).map(|_| format!("127.0.0.1:{}", free())).collect();
        let mut all: Vec<Served> = Vec::new();
        for server in &servers {
            let arguments = ["--store", &url, "--listen", server, "--advertise", server];
            let node = match all.first() {
                None => Served::start_with(&arguments, &[]),
                Some(first) => first.join(&arguments, &[]),
            };
            all.push(node);
        }
        let nodes = Self { all, servers, etcd };
        let all_serve = || (super::standings(&nodes.all[0]) == vec!["serving"; count]).then_some(());
        wait::until(super::SOON, all_serve).expect("all serve");
        nodes
    }

    /// One more node, at the address of the one that it replaces.
    pub(super) fn join_at(&self, server: &str) -> Served {
        let url = self.etcd.url("hsmd");
        self.all[0].join(&["--store", &url, "--listen", server, "--advertise", server], &[])
    }

    /// A module in this process that knows all servers, with further lines in its client file; and that file.
    pub(crate) fn client(&self, more: &str) -> (Module, PathBuf) {
        let file = super::client_of(&self.all[0], &self.servers, more);
        let module = Module::load_copy(&binaries().join("libhsmd_pkcs11.so"), &file, self.all[0].folder());
        (module, file)
    }

    /// Another one, of the same client.
    pub(crate) fn further(&self, file: &std::path::Path) -> Module {
        Module::load_copy(&binaries().join("libhsmd_pkcs11.so"), file, self.all[0].folder())
    }

    /// What `hsmctl` at a node answers; it must succeed.
    pub(crate) fn ctl(&self, at: usize, arguments: &str) -> Value {
        let mut command = self.all[at].hsmctl();
        let done = succeed(command.args(["-o", "json"]).args(arguments.split_whitespace()));
        serde_json::from_slice(&done.output).unwrap_or(Value::Null)
    }

    /// What `hsmctl` at a node says, whether it succeeds or not.
    pub(crate) fn try_ctl(&self, at: usize, arguments: &str) -> (bool, String) {
        let mut command: Command = self.all[at].hsmctl();
        let done = run(command.args(arguments.split_whitespace()));
        (done.good, done.text)
    }
}

/// The lines of `haErrorLog.txt` without their times.
pub(crate) fn ha_log(folder: &std::path::Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("haErrorLog.txt")).unwrap_or_default();
    let words = text.lines().map(|line| line.split("] ").last().unwrap_or_default());
    words.map(str::to_owned).collect()
}
