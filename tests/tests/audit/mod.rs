//! The audit log from outside: what `hsmctl` exports verifies and shows every act, floods stay bounded, a syslog server gets its
//! copy, and after a storm of kills every acknowledged change is there (`kill_storm` asks [`holds_all`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cryptoki_sys::{CKA_UNIQUE_ID, CKU_USER};
use hsmd_tests::daemon::{Daemon, LABEL, PIN, binaries};
use hsmd_tests::module::{Module, Session};
use hsmd_tests::peers::{Run, run};
use hsmd_tests::served::Served;
use hsmd_tests::storm::{Change, End, Entry};
use serde_json::Value;

fn hsmctl(endpoint: &str, arguments: &str) -> Run {
    let mut command = Command::new(binaries().join("hsmctl"));
    run(command
        .args(["--endpoint", endpoint])
        .args(arguments.split_whitespace()))
}

fn good(endpoint: &str, arguments: &str) -> Run {
    let run = hsmctl(endpoint, arguments);
    assert!(run.good, "hsmctl {arguments}\n{}", run.text);
    run
}

fn endpoint(daemon: &Served) -> String {
    format!("unix://{}", daemon.data_dir().join("control.sock").display())
}

/// The entries of the daemon's log.
fn entries(endpoint: &str, filters: &str) -> Vec<Value> {
    let shown = good(endpoint, &format!("audit show {filters} -o json"));
    serde_json::from_slice(&shown.output).expect("JSON")
}

fn acts(entries: &[Value]) -> BTreeMap<&str, usize> {
    let mut acts = BTreeMap::new();
    for entry in entries {
        *acts.entry(entry["act"].as_str().expect("an act")).or_default() += 1;
    }
    acts
}

#[test]
fn what_is_exported_verifies_offline_and_tells_who_did_what() {
    let mut daemon = Daemon::start();
    let endpoint = daemon.variable("HSMD_ENDPOINT").to_owned();
    good(&endpoint, "partition create web");
    good(&endpoint, "hsm create");
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
    assert!(module.login(session, CKU_USER, "wrong").is_err());
    module.login(session, CKU_USER, PIN).expect("C_Login");
    assert!(!hsmctl(&endpoint, "log level nonsense=x=y").good);
    let file = daemon.folder().join("audit.log");
    let head: Value = serde_json::from_slice(&good(&endpoint, "audit head -o json").output).expect("JSON");
    good(&endpoint, &format!("audit export --file {}", file.display()));
    daemon.kill9();

    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let (key, head) = (text(&head["public_key"]), text(&head["head"]));
    let verify = |file: &Path| {
        let arguments = format!("audit verify {} --public-key {key} --head {head}", file.display());
        hsmctl("unix:///nowhere", &arguments)
    };
    let verified = verify(&file);
    assert!(verified.good && verified.text.contains("good"), "{}", verified.text);
    let shown = good(
        "unix:///nowhere",
        &format!("audit show --file {} -o json", file.display()),
    );
    let shown: Vec<Value> = serde_json::from_slice(&shown.output).expect("JSON");
    let acts = acts(&shown);
    for act in [
        "daemon.start",
        "hsm.create",
        "partition.create",
        "token.init",
        "pin.init",
        "login",
    ] {
        assert!(acts.contains_key(act), "no {act}: {acts:?}");
    }
    assert_eq!(acts["hsm.create"], 2, "the first HSM as well: {acts:?}");
    // What an administrator did has a name; a change without one is the daemon's own.
    let unnamed = shown.iter().filter(|entry| entry["act"] == "records.change");
    let by: BTreeSet<_> = unnamed.map(|entry| entry["who"].as_str()).collect();
    assert!(by.iter().all(|who| *who == Some("node")), "{by:?}");
    let is = |entry: &&Value, act: &str, result: &str| entry["act"] == act && entry["result"] == result;
    let wrong = shown
        .iter()
        .find(|entry| is(entry, "login", "CKR_PIN_INCORRECT"))
        .expect("the wrong PIN");
    let user = format!("uid:{}", own_user());
    assert!(wrong["who"] == user.as_str() && wrong["partition"].as_str().is_some_and(|serial| serial.len() == 9));
    let made = shown
        .iter()
        .find(|entry| is(entry, "partition.create", "OK"))
        .expect("the partition");
    assert!(made["who"] == user.as_str(), "{made}");
    assert!(
        shown
            .iter()
            .any(|entry| is(&entry, "control.other", "INVALID_ARGUMENT"))
    );
    let text = fs::read_to_string(&file).expect("the file");
    assert!(
        !text.contains(PIN) && !text.contains("wrong"),
        "INV-1: no PIN in the log"
    );

    fs::write(&file, text.replacen("CKR_PIN_INCORRECT", "CKR_OK", 1)).expect("a forgery");
    let forged = verify(&file);
    assert_eq!(forged.code, Some(1), "{}", forged.text);
    assert!(forged.text.contains("is changed"), "{}", forged.text);
    let cut: Vec<_> = text.lines().take(4).collect();
    fs::write(&file, cut.join("\n")).expect("a short file");
    assert_eq!(verify(&file).code, Some(1));
}

/// The user that the tests run as.
fn own_user() -> u32 {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").expect("/proc/self"))
}

#[test]
fn the_log_goes_on_after_kills_and_says_what_was_found() {
    let mut daemon = Served::start(&[]);
    let endpoint = endpoint(&daemon);
    for _ in 0..3 {
        good(&endpoint, "partition create extra");
        daemon.restart();
        let partition = entries(&endpoint, "--act partition.create");
        let serial = partition.last().expect("an entry")["partition"]
            .as_str()
            .expect("a serial")
            .to_owned();
        good(&endpoint, &format!("partition delete {serial} --yes"));
    }
    let all = entries(&endpoint, "");
    let sequences: Vec<_> = all.iter().filter_map(|entry| entry["sequence"].as_u64()).collect();
    assert!(
        (1..).zip(&sequences).all(|(number, sequence)| number == *sequence),
        "{sequences:?}"
    );
    let acts = acts(&all);
    assert_eq!((acts["partition.create"], acts["partition.delete"]), (4, 3), "{acts:?}");
    assert!(acts["daemon.start"] >= 4, "{acts:?}");
    good(&endpoint, "audit verify");
}

// An application that tries wrong PINs, and clients that are refused, do not drive other entries out.
#[test]
fn floods_of_failures_are_counted() {
    let daemon = Served::start(&[("pin.tries", "1000")]);
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
    for _ in 0..150 {
        assert!(module.login(session, CKU_USER, "wrong").is_err());
    }
    let endpoint = endpoint(&daemon);
    for _ in 0..30 {
        assert!(!hsmctl(&endpoint, "log level nonsense=x=y").good);
    }
    let failed = entries(&endpoint, "--failed");
    let acts = acts(&failed);
    assert!((10..40).contains(&acts["login"]), "{acts:?}");
    assert!(failed.len() < 80, "{} entries", failed.len());
    good(&endpoint, "audit verify");
}

#[test]
fn a_syslog_server_gets_its_copy() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    server
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a deadline");
    let port = server.local_addr().expect("an address").port().to_string();
    let daemon = Served::start(&[("audit.syslog_port", &port)]);
    let endpoint = endpoint(&daemon);
    let listed: Value = serde_json::from_slice(&good(&endpoint, "hsm list -o json").output).expect("JSON");
    let arn = listed[0]["arn"].as_str().expect("an ARN").to_owned();
    good(&endpoint, &format!("hsm modify {arn} --syslog-ip 127.0.0.1"));
    good(&endpoint, "partition create copied");
    let mut buffer = [0; 4096];
    let mut messages = Vec::new();
    while !messages
        .iter()
        .any(|message: &String| message.contains("partition.create"))
    {
        let length = server.recv(&mut buffer).expect("a message");
        messages.push(String::from_utf8(buffer[..length].to_vec()).expect("UTF-8"));
    }
    let exported = good(&endpoint, "audit export").text;
    for message in &messages {
        // RFC 5424: priority and version, time, host, program, process, message id, structured data, message.
        let parts: Vec<_> = message.splitn(7, ' ').collect();
        assert!(
            parts[0].starts_with("<110>1") || parts[0].starts_with("<108>1"),
            "{message}"
        );
        assert_eq!(parts[3], "hsmd");
        let (data, line) = parts[6].split_once("] ").expect("structured data");
        let hash = data.split("hash=\"").nth(1).expect("a hash").trim_end_matches('"');
        assert!(
            exported.contains(&format!("{{\"entry\":{line},\"hash\":\"{hash}\"}}")),
            "{message}"
        );
    }
}

// RFC 6587, octet counting; a server that comes back gets what comes then.
#[test]
fn a_syslog_server_over_tcp_gets_its_copy_also_when_it_has_closed_the_connection() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let port = server.local_addr().expect("an address").port().to_string();
    let daemon = Served::start(&[("audit.syslog_port", &port), ("audit.syslog", "\"tcp\"")]);
    let endpoint = endpoint(&daemon);
    let listed: Value = serde_json::from_slice(&good(&endpoint, "hsm list -o json").output).expect("JSON");
    let arn = listed[0]["arn"].as_str().expect("an ARN").to_owned();
    good(&endpoint, &format!("hsm modify {arn} --syslog-ip 127.0.0.1"));
    for label in ["first", "second"] {
        good(&endpoint, &format!("partition create {label}"));
        let (stream, _) = server.accept().expect("a connection");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a deadline");
        let mut reader = BufReader::new(stream);
        let message = loop {
            let mut digits = Vec::new();
            reader.read_until(b' ', &mut digits).expect("a length");
            let length = String::from_utf8(digits).expect("digits");
            let mut message = vec![0; length.trim().parse().expect("a length")];
            reader.read_exact(&mut message).expect("a message");
            let message = String::from_utf8(message).expect("UTF-8");
            if message.contains("partition.create") {
                break message;
            }
        };
        assert!(
            message.starts_with("<110>1 ") && message.contains("hsmd@32473 sequence="),
            "{message}"
        );
        // The connection is closed here; the next message comes over a new one.
    }
}

/// What an administrator was told that it was done.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) act: &'static str,
    /// A partition's serial number, if it is about one.
    pub(crate) serial: String,
}

/// INV-2: the acknowledged acts of administrators that the log does not hold, in words.
pub(crate) fn holds_acts(daemon: &Served, told: &[Told]) -> Vec<String> {
    let logged = entries(&endpoint(daemon), "");
    let mut wrong = Vec::new();
    let is = |entry: &&Value, told: &Told| {
        let same = told.serial.is_empty() || entry["partition"] == told.serial.as_str();
        // A quota is the key set's: the entry is the keystore's, in the batch of the change.
        let result = if told.act == "partition.modify" { "CKR_OK" } else { "OK" };
        entry["act"] == told.act && entry["result"] == result && same
    };
    let mut wanted: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for one in told {
        *wanted.entry((one.act, &one.serial)).or_default() += 1;
    }
    for ((act, serial), wanted) in wanted {
        let one = Told {
            act: told.iter().find(|one| one.act == act).map_or("", |one| one.act),
            serial: serial.to_owned(),
        };
        let found = logged.iter().filter(|entry| is(entry, &one)).count();
        if found < wanted {
            wrong.push(format!("{act} {serial}: {wanted} acknowledged, {found} in the log"));
        }
    }
    wrong
}

/// INV-2, INV-10: whether the log holds every acknowledged change, and for each object that is left exactly one entry that made it
/// and none that destroyed it; what is wrong, in words.
pub(crate) fn holds_all(daemon: &Served, changes: &[Entry], module: &Module, session: Session) -> Vec<String> {
    let endpoint = endpoint(daemon);
    let mut wrong = Vec::new();
    if !hsmctl(&endpoint, "audit verify").good {
        wrong.push("the log does not verify".to_owned());
    }
    let logged = entries(&endpoint, "");
    let acts = acts(&logged);
    let count = |names: &[&str]| names.iter().filter_map(|name| acts.get(name)).sum::<usize>();
    let acknowledged = |of: fn(&Change) -> usize| {
        let acknowledged = changes.iter().filter(|entry| entry.end == End::Acknowledged);
        acknowledged.map(|entry| of(&entry.change)).sum::<usize>()
    };
    let made = acknowledged(|change| match change {
        Change::Create(_) => 1,
        Change::CreatePair(_) => 2,
        _ => 0,
    });
    let destroyed = acknowledged(|change| usize::from(matches!(change, Change::Destroy | Change::DestroyPublic)));
    let labelled = acknowledged(|change| usize::from(matches!(change, Change::Label(_))));
    let births = [
        "object.create",
        "key.generate",
        "object.copy",
        "key.unwrap",
        "key.derive",
    ];
    for (what, wanted, found) in [
        ("created", made, count(&births)),
        ("destroyed", destroyed, count(&["object.destroy"])),
        ("labelled", labelled, count(&["object.change"])),
    ] {
        if found < wanted {
            wrong.push(format!("{wanted} objects were {what}, the log has {found}"));
        }
    }
    let mut born: BTreeMap<&str, usize> = BTreeMap::new();
    let mut dead = BTreeSet::new();
    for entry in &logged {
        let (Some(act), Some(object)) = (entry["act"].as_str(), entry["object"].as_str()) else {
            continue;
        };
        if births.contains(&act) {
            *born.entry(object).or_default() += 1;
        } else if act == "object.destroy" {
            dead.insert(object);
        }
    }
    wrong.extend(
        born.iter()
            .filter(|(_, times)| **times > 1)
            .map(|(id, times)| format!("{id} was made {times} times")),
    );
    for object in module.find(session, &[]).expect("C_FindObjects") {
        let id = module.get(session, object, CKA_UNIQUE_ID).expect("CKA_UNIQUE_ID");
        let id = String::from_utf8_lossy(&id).into_owned();
        if !born.contains_key(id.as_str()) {
            wrong.push(format!("{id} is there, and the log does not say who made it"));
        }
        if dead.contains(id.as_str()) {
            wrong.push(format!("{id} is there, and the log says that it was destroyed"));
        }
    }
    wrong
}
