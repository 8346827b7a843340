//! The bed: the network, the three etcd, the three daemons of one fleet, and the faults done to them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::Fault;
use super::cluster::Cluster;
use super::network::{Network, address};
use crate::daemon::binaries;
use crate::ffi;
use crate::module::Module;
use crate::peers::{program, run, succeed};
use crate::served::Served;
use crate::wait;

/// Where applications run.
pub const APPLICATIONS: usize = 0;
/// Where daemons run.
pub const NODES: [usize; 3] = [1, 2, 3];
/// Where etcd runs.
const ETCD: [usize; 3] = [4, 5, 6];
/// The setting with which daemons answer monitors: each on a host of its own, so that the port is free.
pub const MONITORED: (&str, &str) = ("metrics.listen", "\"127.0.0.1:9793\"");
/// The port of every daemon.
const PORT: u16 = 4433;

/// A fleet of three in a network of its own.
pub struct Bed {
    /// The daemons.
    pub nodes: Vec<Served>,
    /// The etcd.
    pub cluster: Cluster,
    /// The cables.
    pub network: Network,
    /// By how much the clock of each daemon is wrong.
    clocks: Clocks,
    /// strace at work.
    meddler: Option<Child>,
}

/// What a fault was done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Which.
    pub fault: Fault,
    /// The daemon, or the etcd.
    pub at: usize,
    /// Another etcd, where there are two.
    also: usize,
}

impl Bed {
    /// Builds it; every daemon serves.
    #[must_use]
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let network = Network::new(7);
        let cluster = Cluster::start(&network, &ETCD);
        let url = cluster.url("hsmd");
        let listen: Vec<_> = NODES.iter().map(|host| format!("{}:{PORT}", address(*host))).collect();
        let arguments = |at: usize| ["--store", &url, "--listen", &listen[at], "--advertise", &listen[at]];
        let clocks = Clocks::new();
        let host = |at: usize| [network.under(NODES[at]), clocks.under(at)].concat();
        let first = Served::start_on(&host(0), &arguments(0), settings);
        let others: Vec<_> = (1..3)
            .map(|at| first.join_on(&host(at), &arguments(at), settings))
            .collect();
        let mut nodes = vec![first];
        nodes.extend(others);
        let bed = Self {
            nodes,
            cluster,
            network,
            clocks,
            meddler: None,
        };
        bed.write_client_file(&listen);
        bed.wait_until_all_serve();
        bed
    }

    /// A client file that names all daemons, in each order for another application.
    fn write_client_file(&self, listen: &[String]) {
        let first = &self.nodes[0];
        let file = |name: &str| first.folder().join(name);
        let mut openssl = Command::new(program("openssl"));
        openssl.args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=app",
        ]);
        openssl.arg("-out").arg(file("app.pem"));
        succeed(openssl.arg("-keyout").arg(file("appKey.pem")));
        let ctl = |arguments: &str| {
            let text = succeed(first.hsmctl().args(["-o", "json"]).args(arguments.split_whitespace())).output;
            serde_json::from_slice::<Value>(&text).expect("JSON")
        };
        let partition = ctl("partition list")[0]["serial"]
            .as_str()
            .expect("a serial number")
            .to_owned();
        ctl("group create web");
        ctl(&format!("group add web {partition}"));
        let certificate = file("app.pem");
        ctl(&format!(
            "client create --label app --certificate-file {}",
            certificate.display()
        ));
        ctl("client assign app web");
        let config = ctl("client config app web --client-version 5.3");
        fs::write(file("ca.pem"), config["config_cred"].as_str().expect("authorities")).expect("a file");
        let write = |to: PathBuf, servers: &[String]| {
            let text = format!(
                "servers = {servers:?}\nca = {:?}\ncertificate = {certificate:?}\nkey = {:?}\ndeadline_ms = 20000\n",
                file("ca.pem"),
                file("appKey.pem")
            );
            fs::write(to, text).expect("a client file");
        };
        for turn in 0..listen.len() {
            let mut servers = listen.to_vec();
            servers.rotate_left(turn);
            write(self.client_file(turn), &servers);
            write(self.lone_file(turn), &servers[..1]);
        }
    }

    /// The client file that begins with this daemon.
    #[must_use]
    pub fn client_file(&self, node: usize) -> PathBuf {
        self.nodes[0].folder().join(format!("all-{node}.toml"))
    }

    /// The client file that knows this daemon alone.
    fn lone_file(&self, node: usize) -> PathBuf {
        self.nodes[0].folder().join(format!("only-{node}.toml"))
    }

    /// A copy of the module that begins with this daemon; an application on [`APPLICATIONS`] may load it.
    #[must_use]
    pub fn module_copy(&self, node: usize) -> PathBuf {
        self.copy_with(&self.client_file(node))
    }

    /// A copy of the module that knows this daemon alone.
    #[must_use]
    pub fn lone_module(&self, node: usize) -> PathBuf {
        self.copy_with(&self.lone_file(node))
    }

    fn copy_with(&self, file: &Path) -> PathBuf {
        let module = binaries().join("libhsmd_pkcs11.so");
        Module::copy(&module, file, self.nodes[0].folder()).1
    }

    /// How each daemon stands, as one of them sees it; empty if it does not say, or answers no requests itself.
    #[must_use]
    pub fn standings(&self, node: usize) -> Vec<String> {
        let shown = run(self.nodes[node].hsmctl().args(["fleet", "status", "-o", "json"]));
        if !shown.good {
            return Vec::new();
        }
        let value: Value = serde_json::from_slice(&shown.output).unwrap_or_default();
        let nodes = value["nodes"].as_array().cloned().unwrap_or_default();
        let standing = |node: &Value| node["standing"].as_str().unwrap_or("?").to_owned();
        nodes.iter().map(standing).collect()
    }

    /// What a daemon tells a monitor on its own host, if it was started with `metrics.listen` there ([`MONITORED`]).
    #[must_use]
    pub fn figures(&self, node: usize) -> String {
        let ask =
            "exec 3<>/dev/tcp/127.0.0.1/9793; printf 'GET /metrics HTTP/1.1\\r\\nHost: hsmd\\r\\n\\r\\n' >&3; cat <&3";
        let mut bash = self.network.command(NODES[node], &program("bash"));
        run(bash.args(["-c", ask])).text
    }

    /// Waits until each daemon sees all three serving.
    pub fn wait_until_all_serve(&self) {
        let serving = wait::until(wait::PATIENCE, || {
            let all = (0..3).all(|node| self.standings(node) == ["serving"; 3]);
            all.then_some(())
        });
        let logs = || self.nodes.iter().map(Served::log).collect::<Vec<_>>().join("\n-----\n");
        assert!(serving.is_some(), "not all serve: {:?}\n{}", self.standings(0), logs());
    }

    /// Starts the daemons again with a mistake of this name, if they were built to make one.
    pub fn plant(&mut self, mistake: &str) {
        for node in &mut self.nodes {
            node.stop();
            fs::write(node.data_dir().join("planted"), mistake).expect("a file");
            node.launch(&[]).expect("the daemon starts");
        }
        self.wait_until_all_serve();
    }

    /// Does a fault, to this daemon or to an etcd of its own choice.
    pub fn inject(&mut self, fault: Fault, node: usize) -> Done {
        let mut done = Done {
            fault,
            at: node,
            also: 0,
        };
        match fault {
            Fault::KillNode => drop(self.nodes[node].kill9()),
            Fault::StopNode => freeze(&self.nodes[node]),
            Fault::CutClients => self.network.part(NODES[node], &[APPLICATIONS]),
            Fault::MuteNode => self.network.silence(NODES[node], &[APPLICATIONS]),
            Fault::CutNodeFromEtcd | Fault::Compact => self.network.part(NODES[node], &ETCD),
            Fault::UnplugNode => self.network.plug(NODES[node], false),
            Fault::SlowNodeDisk => self.meddle(self.nodes[node].process(), SYNCS, SLOW),
            Fault::FullNodeDisk => self.meddle(self.nodes[node].process(), WRITES, "error=ENOSPC"),
            Fault::StepClock => {
                let mapped = fs::read_to_string(format!("/proc/{}/maps", self.nodes[node].process()));
                let asks = mapped.is_ok_and(|maps| maps.contains("libfaketime"));
                assert!(
                    asks,
                    "the daemon's clock cannot be set: libfaketime is not loaded (cargo xtask setup installs it)"
                );
                self.clocks.set(node, HOUR);
            }
            _ => {
                done.at = self.cluster.wait_for_a_leader();
                done.also = (done.at + 1) % ETCD.len();
                self.inject_at_leader(done);
            }
        }
        done
    }

    fn inject_at_leader(&mut self, done: Done) {
        match done.fault {
            Fault::KillLeader => self.cluster.kill(done.at),
            Fault::StopLeader => self.cluster.freeze(done.at, true),
            Fault::CutLeader => self.network.part(ETCD[done.at], &others(done.at)),
            Fault::SplitEtcd => {
                self.network.part(ETCD[done.at], &[ETCD[done.also]]);
                self.network.silence(ETCD[third(done)], &[ETCD[done.also]]);
            }
            Fault::SlowLeaderDisk => self.meddle(self.cluster.process(done.at), SYNCS, SLOW),
            Fault::FailingLeaderDisk => self.meddle(self.cluster.process(done.at), SYNCS, "error=EIO"),
            Fault::LoseQuorum => {
                self.cluster.kill(done.at);
                self.cluster.kill(done.also);
            }
            _ => {}
        }
    }

    /// Undoes it.
    pub fn undo(&mut self, done: Done) {
        let at = done.at;
        match done.fault {
            Fault::KillNode => self.nodes[at].launch(&[]).expect("the daemon starts"),
            Fault::StopNode => ffi::signal(self.nodes[at].process(), libc::SIGCONT).expect("it is there"),
            Fault::CutClients => self.network.join(NODES[at], &[APPLICATIONS]),
            Fault::MuteNode => self.network.heal(NODES[at], &[APPLICATIONS]),
            Fault::CutNodeFromEtcd => self.network.join(NODES[at], &ETCD),
            Fault::Compact => {
                self.cluster.compact();
                self.network.join(NODES[at], &ETCD);
            }
            Fault::UnplugNode => self.network.plug(NODES[at], true),
            Fault::SlowNodeDisk | Fault::FullNodeDisk | Fault::SlowLeaderDisk => self.leave_alone(),
            Fault::StepClock => self.clocks.set(at, 0),
            Fault::StopLeader => self.cluster.freeze(at, false),
            Fault::CutLeader => self.network.join(ETCD[at], &others(at)),
            Fault::SplitEtcd => {
                self.network.join(ETCD[at], &[ETCD[done.also]]);
                self.network.heal(ETCD[third(done)], &[ETCD[done.also]]);
            }
            Fault::KillLeader => self.cluster.launch(at),
            Fault::FailingLeaderDisk => {
                self.leave_alone();
                self.cluster.kill(at);
                self.cluster.launch(at);
            }
            Fault::LoseQuorum => {
                self.cluster.launch(at);
                self.cluster.launch(done.also);
            }
        }
    }

    /// From now on these system calls of a process are slow or fail.
    fn meddle(&mut self, process: u32, calls: &str, what: &str) {
        let mut strace = Command::new(program("strace"));
        strace.args(["-f", "-qqq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
        strace.args(["-e", &format!("inject={calls}:{what}"), "-p", &process.to_string()]);
        strace.stdin(Stdio::null()).stderr(Stdio::null());
        self.meddler = Some(strace.spawn().expect("strace starts"));
    }

    fn leave_alone(&mut self) {
        if let Some(mut meddler) = self.meddler.take() {
            // SIGTERM: strace lets go of the process first.
            let _ = ffi::signal(meddler.id(), libc::SIGTERM);
            let _ = meddler.wait();
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.leave_alone();
    }
}

/// The clocks of the daemons that say what time it is: libfaketime, loaded before each of them, adds what a file says. Clocks that
/// only run are left alone, as when an administrator or NTP sets a clock.
struct Clocks(TempDir);

impl Clocks {
    fn new() -> Self {
        let clocks = Self(TempDir::new().expect("a folder"));
        (0..NODES.len()).for_each(|node| clocks.set(node, 0));
        clocks
    }

    fn file(&self, node: usize) -> PathBuf {
        self.0.path().join(format!("clock-{node}"))
    }

    /// The words that a daemon runs under.
    fn under(&self, node: usize) -> Vec<String> {
        let file = self.file(node);
        [
            program("env").display().to_string(),
            "LD_PRELOAD=/usr/$LIB/faketime/libfaketimeMT.so.1".to_owned(),
            format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
            // The file is read again after a second.
            "FAKETIME_CACHE_DURATION=1".to_owned(),
            "DONT_FAKE_MONOTONIC=1".to_owned(),
        ]
        .to_vec()
    }

    /// From now on it is wrong by so many seconds. A whole file takes the place of the one before: half of one would be another time.
    fn set(&self, node: usize, seconds: i64) {
        let (new, file) = (self.0.path().join("new"), self.file(node));
        fs::write(&new, format!("{seconds:+}\n")).expect("a file");
        fs::rename(new, file).expect("the file is replaced");
    }
}

/// In seconds.
const HOUR: i64 = 3_600;

/// Both ways to wait for the disk.
const SYNCS: &str = "fdatasync,fsync";
/// What writes at a place in a file, or makes it longer; sockets and pipes use neither.
const WRITES: &str = "pwrite64,ftruncate,fallocate";
/// 200 ms for each.
const SLOW: &str = "delay_exit=200000";

/// The etcd that is neither of the two.
const fn third(done: Done) -> usize {
    ETCD.len() - done.at - done.also
}

fn others(member: usize) -> Vec<usize> {
    let others = ETCD.iter().enumerate().filter(|(number, _)| *number != member);
    others.map(|(_, host)| *host).collect()
}

/// Stops a daemon, all of its threads.
pub fn freeze(served: &Served) {
    ffi::signal(served.process(), libc::SIGSTOP).expect("it runs");
    let stopped = |task: fs::DirEntry| {
        let state = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        state.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T"))
    };
    let all = || {
        let mut tasks = fs::read_dir(format!("/proc/{}/task", served.process())).ok()?;
        tasks.all(|task| task.is_ok_and(stopped)).then_some(())
    };
    wait::until(Duration::from_secs(10), all).expect("it stops");
}
