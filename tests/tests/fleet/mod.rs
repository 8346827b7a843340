//! A fleet with real processes: two daemons on one etcd. What is made through one is used and destroyed through the other; one is
//! killed, stopped for longer than its right, comes back; PINs are counted once; an etcd that went back serves nobody.

mod administration;
mod failover;
mod figures;
mod levels;
pub(crate) mod nodes;
mod replacing;

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use cryptoki_sys::{CKA_CLASS, CKM_ECDSA, CKO_PRIVATE_KEY, CKR_OK, CKR_PIN_INCORRECT, CKR_PIN_LOCKED, CKU_USER};
use hsmd_tests::daemon::{LABEL, PIN, binaries};
use hsmd_tests::etcd::Etcd;
use hsmd_tests::ffi;
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::peers::{program, run, succeed};
use hsmd_tests::rv::Rv;
use hsmd_tests::served::Served;
use hsmd_tests::template::{Mechanism, number};
use hsmd_tests::wait;

/// How long the other node may take to see something: far more than it takes, far less than anybody waits.
const SOON: Duration = Duration::from_secs(10);

fn pair(etcd: &Etcd) -> (Served, Served) {
    let url = etcd.url("hsmd");
    let first = Served::start_with(&["--store", &url], &[]);
    let second = first.join(&["--store", &url], &[]);
    (first, second)
}

pub(crate) fn make_key(served: &Served, id: &str) {
    let mut tool = Command::new(program("pkcs11-tool"));
    tool.arg("--module").arg(served.module_copy());
    tool.args(["--token-label", LABEL, "--login", "--pin", PIN]);
    succeed(tool.args([
        "--keypairgen",
        "--key-type",
        "EC:prime256v1",
        "--label",
        "k",
        "--id",
        id,
    ]));
}

pub(crate) fn log_in(module: &Module) -> Session {
    module.initialize().expect("C_Initialize");
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
    module.login(session, CKU_USER, PIN).expect("C_Login");
    session
}

pub(crate) fn private_keys(module: &Module, session: Session) -> Vec<Object> {
    let keys = module.find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY)]);
    keys.expect("C_FindObjects")
}

pub(crate) fn sign(module: &Module, session: Session, key: Object) -> Result<Vec<u8>, Rv> {
    module.sign(session, &Mechanism::Plain(CKM_ECDSA), key, &[7; 32])
}

/// Stops a daemon, all of its threads.
fn freeze(served: &Served) {
    ffi::signal(served.process(), libc::SIGSTOP).expect("it runs");
    let stopped = |task: std::fs::DirEntry| {
        let state = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        state.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T"))
    };
    let all = || {
        let mut tasks = std::fs::read_dir(format!("/proc/{}/task", served.process())).ok()?;
        tasks.all(|task| task.is_ok_and(stopped)).then_some(())
    };
    wait::until(SOON, all).expect("it stops");
}

pub(crate) fn standings(served: &Served) -> Vec<String> {
    let shown = run(served.hsmctl().args(["fleet", "status", "-o", "json"]));
    let value: serde_json::Value = serde_json::from_slice(&shown.output).unwrap_or_default();
    let nodes = value["nodes"].as_array().cloned().unwrap_or_default();
    let mut standings: Vec<_> = nodes
        .iter()
        .map(|node| node["standing"].as_str().unwrap_or("?").to_owned())
        .collect();
    standings.sort();
    standings
}

#[test]
fn what_is_made_through_one_node_is_used_and_destroyed_through_the_other() {
    let etcd = Etcd::start();
    let (mut first, second) = pair(&etcd);
    assert_eq!(standings(&second), ["serving", "serving"]);
    let (here, there) = (first.module(), second.module());
    let (a, b) = (log_in(&here), log_in(&there));
    make_key(&first, "01");
    let key = wait::until(SOON, || private_keys(&there, b).first().copied()).expect("the other node has it");
    sign(&there, b, key).expect("C_Sign through the other node");
    // INV-6: when the destroy has returned, no node uses the key any more.
    let own = wait::until(SOON, || private_keys(&here, a).first().copied()).expect("this node has it");
    sign(&here, a, own).expect("C_Sign");
    there.destroy(b, key).expect("C_DestroyObject through the other node");
    assert!(sign(&here, a, own).is_err(), "a destroyed key was used");
    assert!(private_keys(&here, a).is_empty());
    // A node is killed: the other goes on, and a destroy waits until the dead one is fenced.
    make_key(&second, "02");
    first.kill9();
    let begun = Instant::now();
    let key = private_keys(&there, b)[0];
    sign(&there, b, key).expect("C_Sign goes on");
    assert!(begun.elapsed() < Duration::from_secs(1));
    there.destroy(b, key).expect("C_DestroyObject waits, and succeeds");
    eprintln!("a destroy after a kill took {:?}", begun.elapsed());
    assert_eq!(standings(&second), ["fenced", "serving"]);
    make_key(&second, "03");
    // It comes back at once, and has all of it.
    first.launch(&[]).expect("the daemon starts");
    let back = first.module();
    let session = log_in(&back);
    let keys = private_keys(&back, session);
    assert_eq!(keys.len(), 1);
    sign(&back, session, keys[0]).expect("C_Sign");
    assert_eq!(standings(&second), ["serving", "serving"]);
    // One that is stopped in order leaves, and nobody waits for it.
    assert!(first.stop().expect("it ran").success());
    assert_eq!(standings(&second), ["left", "serving"]);
    let begun = Instant::now();
    let key = private_keys(&there, b)[0];
    there.destroy(b, key).expect("C_DestroyObject");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn a_node_that_was_stopped_beyond_its_right_answers_nothing_stale() {
    let etcd = Etcd::start();
    let (first, second) = pair(&etcd);
    make_key(&second, "01");
    let (here, there) = (first.module(), second.module());
    let (a, b) = (log_in(&here), log_in(&there));
    let key = wait::until(SOON, || private_keys(&here, a).first().copied()).expect("the key is here");
    sign(&here, a, key).expect("C_Sign");
    freeze(&first);
    let stopped = Instant::now();
    // A request that it has before it is stopped, as far as its client knows, is one that it reads when it goes on.
    let waiting = thread::scope(|scope| {
        let waiting = scope.spawn(|| sign(&here, a, key));
        let mine = private_keys(&there, b)[0];
        there
            .destroy(b, mine)
            .expect("C_DestroyObject waits until it is fenced");
        eprintln!("fenced and destroyed after {:?}", stopped.elapsed());
        assert_eq!(standings(&second), ["fenced", "serving"]);
        ffi::signal(first.process(), libc::SIGCONT).expect("it is there");
        waiting.join().expect("a thread")
    });
    assert!(waiting.is_err(), "INV-6: a key was used that is destroyed");
    let back = wait::until(SOON, || (standings(&second) == ["serving", "serving"]).then_some(()));
    back.expect("it enters again by itself");
    let gone = wait::until(SOON, || here.find(a, &[number(CKA_CLASS, CKO_PRIVATE_KEY)]).ok());
    assert_eq!(gone.expect("it serves again").len(), 0);
}

#[test]
fn wrong_pins_on_both_nodes_at_once_are_ten_tries() {
    let etcd = Etcd::start();
    let (first, second) = pair(&etcd);
    let modules = [first.module(), second.module()];
    for module in &modules {
        module.initialize().expect("C_Initialize");
    }
    // INV-8: counted once over the whole fleet.
    let answers: Vec<_> = thread::scope(|scope| {
        let tries: Vec<_> = (0..30)
            .map(|number| {
                let module = &modules[number % 2];
                scope.spawn(move || {
                    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
                    module.login(session, CKU_USER, "999999")
                })
            })
            .collect();
        tries.into_iter().map(|each| each.join().expect("a thread")).collect()
    });
    let count = |code| answers.iter().filter(|answer| **answer == Err(Rv(code))).count();
    assert_eq!(count(CKR_PIN_INCORRECT), 10, "{answers:?}");
    assert_eq!(count(CKR_PIN_LOCKED), 20, "{answers:?}");
    for module in &modules {
        let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
        assert_eq!(module.login(session, CKU_USER, PIN), Err(Rv(CKR_PIN_LOCKED)));
    }
    assert_eq!(count(CKR_OK), 0);
}

#[test]
fn an_etcd_that_went_back_serves_nobody_until_an_operator_accepts_it() {
    let mut etcd = Etcd::start();
    let (mut first, mut second) = pair(&etcd);
    make_key(&first, "01");
    etcd.save();
    wait::until(SOON, || (standings(&first) == ["serving", "serving"]).then_some(())).expect("both are back");
    make_key(&second, "02");
    etcd.restore();
    for node in [&mut first, &mut second] {
        wait::until(wait::PATIENCE, || node.ended()).expect("the daemon ends rather than to serve what is old");
        node.kill9();
        assert!(node.launch(&[]).is_err(), "it must not start");
    }
    let accepted = run(Command::new(binaries().join("hsmctl"))
        .args(["fleet", "accept-rollback", "--yes", "--config"])
        .arg(first.config()));
    assert!(accepted.good, "{}", accepted.text);
    for node in [&mut first, &mut second] {
        node.launch(&[]).expect("the daemon starts");
        let module = node.module();
        let session = log_in(&module);
        let keys = private_keys(&module, session);
        assert_eq!(keys.len(), 1, "what the snapshot had");
        sign(&module, session, keys[0]).expect("C_Sign");
    }
    assert_eq!(standings(&first), ["serving", "serving"]);
}

/// A client file with these servers, for a client that sees the token on all, in a group; and further lines.
fn client_of(first: &Served, servers: &[String], more: &str) -> std::path::PathBuf {
    let file = |name: &str| first.folder().join(name);
    let mut openssl = Command::new(program("openssl"));
    openssl.args([
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=app",
    ]);
    succeed(
        openssl
            .arg("-out")
            .arg(file("app.pem"))
            .arg("-keyout")
            .arg(file("appKey.pem")),
    );
    let ctl = |arguments: &str| succeed(first.hsmctl().args(["-o", "json"]).args(arguments.split_whitespace()));
    let certificate = file("app.pem");
    let partitions: serde_json::Value = serde_json::from_slice(&ctl("partition list").output).expect("JSON");
    let partition = partitions[0]["serial"].as_str().expect("a serial number").to_owned();
    ctl("group create web");
    ctl(&format!("group add web {partition}"));
    ctl(&format!(
        "client create --label app --certificate-file {}",
        certificate.display()
    ));
    ctl("client assign app web");
    let config: serde_json::Value =
        serde_json::from_slice(&ctl("client config app web --client-version 5.3").output).expect("JSON");
    std::fs::write(file("ca.pem"), config["config_cred"].as_str().expect("authorities")).expect("a file");
    let text = format!(
        "servers = {servers:?}\nca = {:?}\ncertificate = {certificate:?}\nkey = {:?}\ndeadline_ms = 20000\n{more}",
        file("ca.pem"),
        file("appKey.pem")
    );
    std::fs::write(file("remote.toml"), text).expect("a client file");
    file("remote.toml")
}

#[test]
fn a_module_with_both_servers_goes_on_when_one_is_killed_or_falls_silent() {
    let etcd = Etcd::start();
    let url = etcd.url("hsmd");
    let servers: Vec<_> = (0..2)
        .map(|_| format!("127.0.0.1:{}", hsmd_tests::etcd::free()))
        .collect();
    let at = |at: usize| ["--store", &url, "--listen", &servers[at], "--advertise", &servers[at]].map(str::to_owned);
    let (here, there) = (at(0), at(1));
    let mut first = Served::start_with(&here.each_ref().map(String::as_str), &[]);
    let second = first.join(&there.each_ref().map(String::as_str), &[]);
    make_key(&first, "01");
    let client = client_of(&first, &servers, "spread = false\n");
    let module = Module::load_copy(&binaries().join("libhsmd_pkcs11.so"), &client, first.folder());
    let seen = wait::until(SOON, || (standings(&second) == ["serving", "serving"]).then_some(()));
    seen.expect("both serve");
    let session = log_in(&module);
    let key = private_keys(&module, session)[0];
    let mut stalls = Vec::new();
    let mut signs_for = |module: &Module, what: &str, span: Duration| {
        let (begun, mut worst, mut count) = (Instant::now(), Duration::ZERO, 0);
        while begun.elapsed() < span {
            let at = Instant::now();
            // INV-4: the login, the session and the handle go on, whatever became of their node.
            sign(module, session, key).unwrap_or_else(|rv| panic!("{what}: {rv:?}"));
            (worst, count) = (worst.max(at.elapsed()), count + 1);
        }
        stalls.push(format!("{what}: {count} signatures, longest {worst:?}"));
        worst
    };
    signs_for(&module, "both", Duration::from_secs(1));
    first.kill9();
    let stall = signs_for(&module, "killed", Duration::from_secs(2));
    assert!(stall < Duration::from_millis(1500), "{stall:?}");
    first.launch(&[]).expect("the daemon starts");
    let back = wait::until(SOON, || (standings(&first) == ["serving", "serving"]).then_some(()));
    back.expect("it is back");
    freeze(&second);
    let stall = signs_for(&module, "silent", Duration::from_secs(3));
    ffi::signal(second.process(), libc::SIGCONT).expect("it is there");
    assert!(stall < Duration::from_secs(3), "{stall:?}");
    eprintln!("{}", stalls.join("\n"));
}
