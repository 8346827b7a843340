//! What an application has under way survives the loss of its node (INV-4), and a node that comes back is used again, without a call
//! beside the usual ones.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use cryptoki_sys::*;
use hsmd_tests::daemon::{LABEL, PIN};
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::peers::{program, succeed};
use hsmd_tests::rv::Rv;
use hsmd_tests::template::{Mechanism, flag, number};
use hsmd_tests::wait;

use super::nodes::{Nodes, ha_log};
use super::{SOON, log_in, make_key, private_keys, sign};

/// Below what the module keeps of a stream.
const PART: usize = 300 << 10;

fn session_key(module: &Module, session: Session) -> Object {
    let template = [
        number(CKA_VALUE_LEN, 32),
        flag(CKA_TOKEN, false),
        flag(CKA_ENCRYPT, true),
        flag(CKA_DECRYPT, true),
    ];
    let key = module.generate_key(session, &Mechanism::Plain(CKM_AES_KEY_GEN), &template);
    key.expect("C_GenerateKey")
}

fn gcm(byte: u8) -> Mechanism {
    Mechanism::Gcm {
        iv: vec![byte; 12],
        aad: b"header".to_vec(),
        tag_bits: 128,
    }
}

fn signs_until<T>(
    module: &Module,
    (session, key): (Session, Object),
    mut done: impl FnMut() -> Option<T>,
) -> Option<T> {
    wait::until(SOON, || {
        sign(module, session, key).unwrap_or_else(|rv| panic!("C_Sign: {rv:?}"));
        done()
    })
}

#[test]
fn a_login_a_session_object_and_a_stream_survive_the_loss_of_their_node_and_it_is_used_again() {
    let mut nodes = Nodes::start(2);
    make_key(&nodes.all[0], "01");
    let folder = tempfile::tempdir().expect("a folder");
    let more = format!(
        "spread = false\nreconnect_interval_s = 1\nha_log = {:?}\n",
        folder.path()
    );
    let (module, _) = nodes.client(&more);
    let session = log_in(&module);
    let key = private_keys(&module, session)[0];
    let temporary = session_key(&module, session);
    let text = vec![0x5a; 3 * PART];
    module
        .start("C_EncryptInit", session, &gcm(1), temporary)
        .expect("C_EncryptInit");
    let more = module
        .finish("C_EncryptUpdate", session, &text[..PART])
        .expect("C_EncryptUpdate");
    assert!(more.is_empty());
    let other = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");

    nodes.all[0].kill9();
    // INV-4: another node goes on with all of it.
    let killed = Instant::now();
    module
        .finish("C_EncryptUpdate", session, &text[PART..2 * PART])
        .expect("C_EncryptUpdate");
    sign(&module, other, key).expect("the login, the key's handle and another session");
    assert!(killed.elapsed() < Duration::from_millis(1500), "{:?}", killed.elapsed());
    module
        .finish("C_EncryptUpdate", session, &text[2 * PART..])
        .expect("C_EncryptUpdate");
    let sealed = module.end("C_EncryptFinal", session).expect("C_EncryptFinal");
    assert_eq!(sealed.len(), text.len() + 16);
    let found = module.find(session, &[flag(CKA_TOKEN, false)]).expect("C_FindObjects");
    assert_eq!(found, [temporary], "the session object has its handle");
    assert_eq!(
        module.decrypt(session, &gcm(1), temporary, &sealed).expect("C_Decrypt"),
        text
    );
    let first = format!("server {}", nodes.servers[0]);
    assert_eq!(ha_log(folder.path())[0], format!("{first} dropped: not reached"));

    // It comes back, and is used again.
    nodes.all[0].launch(&[]).expect("the daemon starts");
    let log = || {
        ha_log(folder.path())
            .into_iter()
            .find(|line| line.ends_with("recovered"))
    };
    let line = signs_until(&module, (session, key), log).expect("it is found again");
    assert_eq!(line, format!("{first} recovered"));
    nodes.all[1].kill9();
    sign(&module, session, key).expect("the first one serves again");
    assert_eq!(
        module.decrypt(session, &gcm(1), temporary, &sealed).expect("C_Decrypt"),
        text
    );

    // All are lost, and come back: the same handles.
    nodes.all[0].kill9();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| sign(&module, session, key));
        let [first, second] = nodes.all.as_mut_slice() else {
            unreachable!()
        };
        second.launch(&[]).expect("the daemon starts");
        first.launch(&[]).expect("the daemon starts");
        waiting.join().expect("a thread").expect("C_Sign waits for a node");
    });
    assert_eq!(
        module.decrypt(session, &gcm(1), temporary, &sealed).expect("C_Decrypt"),
        text
    );
    sign(&module, session, key).expect("C_Sign");
}

#[test]
fn threads_are_spread_over_nodes_and_each_reads_what_another_has_written() {
    let nodes = Nodes::start(3);
    let (module, file) = nodes.client("");
    let session = log_in(&module);
    let slot = module.slot_of(LABEL);
    // INV-4: whichever nodes serve them, the second process sees what the first was told is there, at once.
    let processes: Vec<_> = (0..4).map(|_| nodes.further(&file)).collect();
    let sessions: Vec<_> = processes.iter().map(log_in).collect();
    thread::scope(|scope| {
        for thread in 0..6 {
            let module = &module;
            scope.spawn(move || {
                let session = module.open_session(slot).expect("C_OpenSession");
                for round in 0..15 {
                    let label = format!("{thread}-{round}");
                    let template = [
                        hsmd_tests::template::bytes(CKA_LABEL, label.as_bytes()),
                        number(CKA_CLASS, CKO_DATA),
                        flag(CKA_TOKEN, true),
                    ];
                    let made = module.create(session, &template).expect("C_CreateObject");
                    assert_eq!(module.find(session, &template[..1]).expect("C_FindObjects"), [made]);
                    module.destroy(session, made).expect("C_DestroyObject");
                    let left = module.find(session, &template[..1]).expect("C_FindObjects");
                    assert!(left.is_empty(), "{label} is there after its destruction");
                }
            });
        }
    });
    for (process, own) in processes.iter().zip(&sessions) {
        assert!(
            process
                .find(*own, &[number(CKA_CLASS, CKO_DATA)])
                .expect("C_FindObjects")
                .is_empty()
        );
    }
    assert!(
        module
            .find(session, &[number(CKA_CLASS, CKO_DATA)])
            .expect("C_FindObjects")
            .is_empty()
    );
    let connected = |node: usize| {
        let status = nodes.ctl(node, "status");
        status["connections"].as_u64().expect("a number")
    };
    let counts: Vec<_> = (0..3).map(connected).collect();
    assert!(
        counts.iter().all(|count| *count > 0),
        "each node serves some: {counts:?}"
    );
}

#[test]
fn a_node_on_standby_serves_while_no_other_does_and_no_longer() {
    let mut nodes = Nodes::start(2);
    make_key(&nodes.all[0], "01");
    let folder = tempfile::tempdir().expect("a folder");
    let (standby, log) = (&nodes.servers[0], folder.path());
    let (module, _) = nodes.client(&format!("standby = [{standby:?}]\nha_log = {log:?}\n"));
    let session = log_in(&module);
    let key = private_keys(&module, session)[0];
    let connections = |nodes: &Nodes, at: usize| nodes.ctl(at, "status")["connections"].as_u64().expect("a number");
    assert_eq!((connections(&nodes, 0), connections(&nodes, 1)), (0, 1));
    nodes.all[1].kill9();
    sign(&module, session, key).expect("the other one is promoted");
    assert_eq!(connections(&nodes, 0), 1);
    nodes.all[1].launch(&[]).expect("the daemon starts");
    let back = || {
        ha_log(folder.path())
            .into_iter()
            .find(|line| line.ends_with("recovered"))
    };
    signs_until(&module, (session, key), back).expect("it is found again");
    let served = nodes.ctl(0, "status")["requests"].clone();
    (0..10).for_each(|_| drop(sign(&module, session, key).expect("C_Sign")));
    assert_eq!(
        nodes.ctl(0, "status")["requests"],
        served,
        "nothing goes to the one on standby any more"
    );
}

#[test]
fn what_one_node_alone_has_made_is_used_there() {
    let nodes = Nodes::start(3);
    let (module, _) = nodes.client("");
    let session = log_in(&module);
    let slot = module.slot_of(LABEL);
    let curve = Mechanism::Plain(CKM_EC_KEY_PAIR_GEN);
    let p256 = hsmd_tests::template::bytes(CKA_EC_PARAMS, [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]);
    let private = [
        flag(CKA_SIGN, true),
        flag(CKA_ALWAYS_AUTHENTICATE, true),
        flag(CKA_TOKEN, true),
    ];
    let pair = module.generate_key_pair(session, &curve, &[p256], &private);
    let (_, key) = pair.expect("C_GenerateKeyPair");
    // A grant is one node's: with calls of many threads under way, each session goes where its grant is.
    thread::scope(|scope| {
        for _ in 0..6 {
            let module = &module;
            scope.spawn(move || {
                let session = module.open_session(slot).expect("C_OpenSession");
                for _ in 0..15 {
                    let ecdsa = Mechanism::Plain(CKM_ECDSA);
                    module.start("C_SignInit", session, &ecdsa, key).expect("C_SignInit");
                    module
                        .login(session, CKU_CONTEXT_SPECIFIC, PIN)
                        .expect("C_Login for one operation");
                    module.finish("C_Sign", session, &[7; 32]).expect("C_Sign");
                }
            });
        }
    });
}

#[test]
fn wrong_pins_through_three_nodes_and_after_a_kill_are_ten_tries() {
    let mut nodes = Nodes::start(3);
    let (module, file) = nodes.client("");
    let processes: Vec<_> = (0..6).map(|_| nodes.further(&file)).collect();
    module.initialize().expect("C_Initialize");
    let slot = module.slot_of(LABEL);
    let session = module.open_session(slot).expect("C_OpenSession");
    // INV-8: right PINs do not lock, whatever happens to their node.
    module.login(session, CKU_USER, PIN).expect("C_Login");
    module.logout(session).expect("C_Logout");
    let answers: Vec<_> = thread::scope(|scope| {
        let tries: Vec<_> = processes
            .iter()
            .map(|process| {
                scope.spawn(move || {
                    process.initialize().expect("C_Initialize");
                    let session = process.open_session(process.slot_of(LABEL)).expect("C_OpenSession");
                    let wrong = || process.login(session, CKU_USER, "999999");
                    (0..5).map(|_| wrong()).collect::<Vec<_>>()
                })
            })
            .collect();
        nodes.all[1].kill9();
        tries
            .into_iter()
            .flat_map(|each| each.join().expect("a thread"))
            .collect()
    });
    let count = |code| answers.iter().filter(|answer| **answer == Err(Rv(code))).count();
    // A verdict whose node was killed before it could tell is a try as well.
    let told = count(CKR_PIN_INCORRECT);
    assert!((9..=10).contains(&told), "{answers:?}");
    assert_eq!(told + count(CKR_PIN_LOCKED), answers.len(), "{answers:?}");
    assert_eq!(module.login(session, CKU_USER, PIN), Err(Rv(CKR_PIN_LOCKED)));
}

#[test]
fn pkcs11_tool_goes_on_through_the_loss_of_a_node() {
    let mut nodes = Nodes::start(2);
    make_key(&nodes.all[0], "01");
    let (_, file) = nodes.client("spread = false\n");
    let copy = nodes.further(&file);
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    std::fs::write(&input, [7; 32]).expect("a file");
    let sign = || {
        let mut tool = Command::new(program("pkcs11-tool"));
        tool.arg("--module")
            .arg(copy.path())
            .args(["--token-label", LABEL, "--login", "--pin", PIN]);
        tool.args(["--sign", "--mechanism", "ECDSA", "--id", "01", "--input-file"]);
        succeed(tool.arg(&input).arg("--output-file").arg(&output));
        assert_eq!(std::fs::read(&output).expect("a signature").len(), 64);
    };
    sign();
    nodes.all[0].kill9();
    sign();
    nodes.all[0].launch(&[]).expect("the daemon starts");
    nodes.all[1].kill9();
    sign();
}

/// Java, as it runs for months: `Client.java`'s goesOn.
struct Java {
    child: std::process::Child,
    answers: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

impl Java {
    fn start(library: &std::path::Path, folder: &std::path::Path) -> Self {
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java/Client.java");
        succeed(Command::new(program("javac")).arg("-d").arg(folder).arg(source));
        let configuration = folder.join("sun.cfg");
        let text = format!("name = hsmd\nlibrary = {}\nslotListIndex = 0\n", library.display());
        std::fs::write(&configuration, text).expect("a configuration");
        let mut java = Command::new(program("java"));
        java.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(folder);
        java.args(["Client", "goesOn"])
            .env("SUN_CONFIG", configuration)
            .env("HSMD_PIN", PIN);
        let piped = std::process::Stdio::piped;
        let mut child = java.stdin(piped()).stdout(piped()).spawn().expect("java starts");
        let output = std::io::BufReader::new(child.stdout.take().expect("its output"));
        let mut java = Self {
            child,
            answers: std::io::BufRead::lines(output),
        };
        assert_eq!(java.answer(), "ready");
        java
    }

    fn answer(&mut self) -> String {
        self.answers.next().expect("java goes on").expect("a line")
    }

    fn goes_on(&mut self) {
        use std::io::Write as _;
        let input = self.child.stdin.as_mut().expect("its input");
        input.write_all(b"again\n").expect("it listens");
        assert_eq!(self.answer(), "went on");
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn java_goes_on_through_the_loss_of_both_nodes_one_after_the_other() {
    let mut nodes = Nodes::start(2);
    // HAOnly: the slot of the group is the only one.
    let (_, file) = nodes.client("spread = false\nha_only = true\nreconnect_interval_s = 1\n");
    let copy = nodes.further(&file);
    let folder = tempfile::tempdir().expect("a folder");
    let mut java = Java::start(copy.path(), folder.path());
    java.goes_on();
    nodes.all[0].kill9();
    java.goes_on();
    nodes.all[0].launch(&[]).expect("the daemon starts");
    nodes.all[1].kill9();
    java.goes_on();
}
