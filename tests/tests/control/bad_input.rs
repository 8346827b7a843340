//! Every method of HsmAdmin, Identity, Backup and Audit with each field missing, empty, too long, of a wrong form, of another
//! account; twice; from several callers at once. What is refused is refused in words and by a code that tells whose fault it is,
//! and has changed nothing. The methods and their fields come from the descriptors: one without a row fails the test. CloudHsm
//! and Records have tests of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use hsmd_tests::daemon::Daemon;
use prost_reflect::{DynamicMessage, Kind, MethodDescriptor, ReflectMessage as _, Value};
use serde_json::{Value as Json, json};
use tonic::{Code, Status};

use super::raw::{Raw, message};
use super::{expect, hsmctl};

const SERVICES: [&str; 4] = [
    "hsmd.admin.v1.HsmAdmin",
    "hsmd.identity.v1.Identity",
    "hsmd.backup.v1.Backup",
    "hsmd.audit.v1.Audit",
];

/// Bytes of a backup's clear header (docs/backup-format.md).
const HEADER: usize = 89;

/// The caller's fault, or the state of things. Never Internal, Unknown, DataLoss of what is ours, Unavailable, Unimplemented.
const GOOD: [Code; 8] = [
    Code::InvalidArgument,
    Code::NotFound,
    Code::AlreadyExists,
    Code::FailedPrecondition,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::Aborted,
    Code::OutOfRange,
];

/// A method, a request that it takes, and the fields that may be missing or empty, or may hold any text.
struct Row(
    &'static str,
    fn() -> Json,
    &'static [&'static str],
    &'static [&'static str],
);

const ROWS: &[Row] = &[
    Row(
        "CreatePartition",
        || {
            json!({ "hsm": "$hsm", "label": "new $n", "policy": "strict", "so_pin": { "value": "87654321" },
        "user_pin": { "value": "123456" }, "max_objects": 5, "max_bytes": 100_000 })
        },
        &["policy", "so_pin", "user_pin", "max_objects", "max_bytes", "hsm_so_pin"],
        &["max_objects", "max_bytes"],
    ),
    Row("ListPartitions", || json!({ "hsm": "$hsm" }), &["hsm"], &[]),
    Row(
        "DeletePartition",
        || json!({ "partition": "$doomed" }),
        &["hsm_so_pin"],
        &[],
    ),
    Row(
        "ResizePartition",
        || json!({ "partition": "$partition", "max_objects": 50, "max_bytes": 500_000 }),
        &["max_objects", "max_bytes", "hsm_so_pin"],
        &["max_objects", "max_bytes"],
    ),
    Row(
        "TightenPartition",
        || json!({ "partition": "$partition", "policy": "standard" }),
        &["hsm_so_pin"],
        &[],
    ),
    Row(
        "ResetPartitionPin",
        || {
            json!({ "partition": "$partition", "so_pin": { "value": "87654321" },
        "user_pin": { "value": "123456" } })
        },
        &[],
        &["user_pin"],
    ),
    Row(
        "SetCryptoUserPin",
        || {
            json!({ "partition": "$partition", "user_pin": { "value": "123456" },
        "crypto_user_pin": { "value": "654321" } })
        },
        &[],
        &["crypto_user_pin"],
    ),
    Row(
        "RekeyPartition",
        || {
            json!({ "partition": "$partition", "so_pin": { "value": "87654321" },
        "user_pin": { "value": "123456" } })
        },
        &["hsm_so_pin"],
        &[],
    ),
    Row("ListRoles", || json!({ "partition": "$partition" }), &[], &[]),
    Row(
        "UnlockRole",
        || json!({ "partition": "$partition", "role": "user" }),
        &[],
        &[],
    ),
    Row("ListLogins", || json!({ "partition": "$partition" }), &[], &[]),
    Row(
        "RevokeLogin",
        || json!({ "partition": "$partition", "login": "00112233445566778899aabbccddeeff" }),
        &[],
        &[],
    ),
    Row("ListConnections", || json!({}), &[], &[]),
    Row("SetLogLevel", || json!({ "level": "info" }), &[], &[]),
    Row("DescribeSecurityOfficer", || json!({ "hsm": "$hsm" }), &[], &[]),
    Row(
        "InitializeHsm",
        || {
            json!({ "hsm": "$empty", "label": "vault", "so_pin": { "value": "87654321" },
        "domain": { "value": "demo" } })
        },
        &[],
        &["so_pin", "domain", "label"],
    ),
    Row("ZeroizeHsm", || json!({ "hsm": "$empty" }), &[], &[]),
    Row("SuspendHsm", || json!({ "hsm": "$empty" }), &[], &[]),
    Row("ResumeHsm", || json!({ "hsm": "$empty" }), &[], &[]),
    Row("VerifyGroup", || json!({ "group": "$group" }), &[], &[]),
    Row(
        "CloneGroup",
        || json!({ "source": "$group", "destination": "$other", "user_pin": { "value": "123456" } }),
        &[],
        &[],
    ),
    Row(
        "AssignClient",
        || json!({ "client": "$client", "partition": "$partition" }),
        &[],
        &[],
    ),
    Row(
        "RevokeClient",
        || json!({ "client": "$client", "partition": "$partition" }),
        &[],
        &[],
    ),
    Row("ListAssignments", || json!({ "client": "$client" }), &["client"], &[]),
    Row(
        "CreateLocalClient",
        || json!({ "user": 4711, "label": "batch" }),
        &["user", "label"],
        &["user", "label"],
    ),
    Row("DeleteLocalClient", || json!({ "client": "user-4712" }), &[], &[]),
    Row(
        "DescribeAccess",
        || json!({ "partitions": ["$partition"] }),
        &["partitions"],
        &[],
    ),
    Row("Status", || json!({}), &[], &[]),
    Row(
        "IssueCertificate",
        || json!({ "name": "dora", "role": "operator", "request": "$request", "days": 7 }),
        &["days"],
        &[],
    ),
    Row(
        "RegisterCertificate",
        || json!({ "name": "emil", "role": "operator", "certificate": "$certificate" }),
        &[],
        &[],
    ),
    Row("ListCertificates", || json!({}), &[], &[]),
    Row("RevokeCertificate", || json!({ "certificate": "$issued" }), &[], &[]),
    Row("WhoAmI", || json!({}), &[], &[]),
    Row("ListDenials", || json!({}), &["id"], &[]),
    Row(
        "Create",
        || json!({ "key": { "header": "$header", "key": "$key" }, "partition": "$partition" }),
        &["hsm", "partition"],
        &[],
    ),
    Row(
        "Restore",
        || {
            json!({ "begin": { "key": { "header": "$header", "key": "$key" }, "hsm": "$hsm", "label": "again",
        "dry_run": true } })
        },
        &["label", "replace", "resurrect", "dry_run"],
        &[],
    ),
    Row("ListAutomatic", || json!({}), &[], &[]),
    Row("Head", || json!({}), &[], &[]),
    Row(
        "Export",
        || {
            json!({ "from": 1, "to": 2, "since": "2020-01-01", "until": "2999-01-01T00:00:00.000Z",
        "filter": { "partition": "$partition", "hsm": "$hsm", "act": "login", "who": "uid:0", "failed": true } })
        },
        &[
            "from",
            "to",
            "since",
            "until",
            "filter",
            "partition",
            "hsm",
            "act",
            "who",
            "failed",
        ],
        // A filter may name what is not here any more, and then nothing fits it.
        &["to", "partition", "hsm", "act", "who"],
    ),
    Row(
        "Tail",
        || json!({ "filter": { "partition": "$partition", "act": "login" } }),
        &["filter", "partition", "hsm", "act", "who", "failed"],
        &["partition", "hsm", "act", "who"],
    ),
    Row("Verify", || json!({}), &[], &[]),
    Row(
        "SetUse",
        || json!({ "partition": "$partition", "record": true }),
        &["record"],
        &[],
    ),
    Row("ListUse", || json!({}), &[], &[]),
];

/// What a field is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Missing,
    Empty,
    Long,
    Form,
    Other,
}

const ALL: [Wrong; 5] = [Wrong::Missing, Wrong::Empty, Wrong::Long, Wrong::Form, Wrong::Other];

/// A daemon with something of everything, and what the rows call it.
struct World {
    daemon: Daemon,
    names: BTreeMap<&'static str, Json>,
    /// A backup after its header.
    file: Vec<u8>,
    count: u32,
}

fn one(daemon: &Daemon, line: &str, key: &str) -> Json {
    let run = expect(0, hsmctl(daemon, &format!("-o json {line}")));
    let answer: Json = serde_json::from_slice(&run.output).expect("JSON");
    let record = answer.as_array().map_or(&answer, |list| &list[0]);
    assert!(record[key].is_string(), "{line}: {}", run.text);
    record[key].clone()
}

impl World {
    fn new() -> Self {
        let daemon = Daemon::start();
        let folder = daemon.folder().to_owned();
        for (name, text) in [("so", "87654321"), ("pin", "123456")] {
            fs::write(folder.join(name), text).expect("a file");
        }
        let pins = format!("--so-pin-file {0}/so --pin-file {0}/pin", folder.display());
        let text = |json: &Json| json.as_str().expect("a text").to_owned();
        let hsm = one(&daemon, "hsm create --wait", "id");
        let second = one(&daemon, "hsm create --wait", "id");
        let empty = one(&daemon, "hsm create --wait", "id");
        let create = |label: &str, hsm: &Json| {
            one(
                &daemon,
                &format!("partition create {label} --hsm {} {pins}", text(hsm)),
                "serial",
            )
        };
        let (partition, other) = (create("web", &hsm), create("shop", &second));
        let doomed = create("doomed", &hsm);
        let groups = [("web", &partition), ("shop", &other)].map(|(label, serial)| {
            let group = one(&daemon, &format!("group create {label}"), "id");
            one(&daemon, &format!("group add {label} {}", text(serial)), "id");
            group
        });
        let certificate = |name: &str| {
            let file = folder.join(format!("{name}.pem"));
            let params = rcgen::CertificateParams::new(vec![format!("{name}.a-host-of-the-tests.example.org")]);
            let mut params = params.expect("a name");
            // CreateLunaClient wants 600 characters.
            let unit = rcgen::DnType::OrganizationalUnitName;
            params.distinguished_name.push(unit, "tests of bad input ".repeat(3));
            let pair = rcgen::KeyPair::generate().expect("a key pair");
            let pem = params.self_signed(&pair).expect("a certificate").pem();
            fs::write(&file, &pem).expect("a file");
            let request = params.serialize_request(&pair).expect("a request").pem().expect("PEM");
            (file, pem, request)
        };
        let (file, ..) = certificate("app");
        let client = format!("client create --certificate-file {} --label app", file.display());
        let client = one(&daemon, &client, "id");
        let (_, pem, request) = certificate("dora");
        let issued = one(
            &daemon,
            &format!(
                "certificate issue carol --role operator --out-dir {}/carol",
                folder.display()
            ),
            "id",
        );
        expect(0, hsmctl(&daemon, "client create-local 4712"));
        let names = BTreeMap::from([
            ("hsm", hsm),
            ("empty", empty),
            ("partition", partition),
            ("doomed", doomed),
            ("group", groups[0].clone()),
            ("other", groups[1].clone()),
            ("client", client),
            ("issued", issued),
            ("certificate", json!(pem)),
            ("request", json!(request)),
            ("header", json!(null)),
            ("key", json!((0..32).collect::<Vec<u8>>())),
        ]);
        let mut world = Self {
            daemon,
            names,
            file: Vec::new(),
            count: 0,
        };
        world.back_up();
        world
    }

    /// A backup by hsmctl, for its header; its key is not known here, so restores are refused as of a wrong key.
    fn back_up(&mut self) {
        let folder = self.daemon.folder().to_owned();
        let (key, file) = (folder.join("backup.key"), folder.join("web.backup"));
        expect(0, hsmctl(&self.daemon, &format!("backup key-create {}", key.display())));
        let partition = self.names["partition"].as_str().expect("a serial").to_owned();
        let line = format!(
            "backup create {} --partition {partition} --key-file {}",
            file.display(),
            key.display()
        );
        expect(0, hsmctl(&self.daemon, &line));
        let bytes = fs::read(file).expect("the backup");
        self.names.insert("header", json!(bytes[..HEADER].to_vec()));
        self.file = bytes[HEADER..].to_vec();
    }

    /// The request of a row with the names of this world.
    fn fill(&mut self, row: &Row) -> Json {
        self.count += 1;
        let count = self.count;
        let names = &self.names;
        replace(row.1(), &|text| match text.strip_prefix('$') {
            Some(name) => names[name].clone(),
            None => json!(text.replace("$n", &count.to_string())),
        })
    }

    /// Everything that a refused call must not change.
    fn state(&self) -> Vec<String> {
        let lines = [
            "partition list",
            "hsm list",
            "group list",
            "client list",
            "client assignments",
            "certificate list",
            "audit use",
        ];
        let shown = lines.iter().map(|line| {
            let run = hsmctl(&self.daemon, &format!("-o json {line}"));
            String::from_utf8_lossy(&run.output).into_owned()
        });
        shown.collect()
    }

    fn messages(&self, method: &MethodDescriptor, first: DynamicMessage) -> Vec<DynamicMessage> {
        let mut all = vec![first];
        if method.is_client_streaming() {
            for piece in self.file.chunks(64 << 10) {
                all.push(message(&method.input(), &json!({ "piece": piece })));
            }
        }
        all
    }
}

fn replace(json: Json, with: &dyn Fn(&str) -> Json) -> Json {
    match json {
        Json::String(text) => with(&text),
        Json::Array(list) => Json::Array(list.into_iter().map(|one| replace(one, with)).collect()),
        Json::Object(map) => Json::Object(
            map.into_iter()
                .map(|(name, value)| (name, replace(value, with)))
                .collect(),
        ),
        other => other,
    }
}

/// The paths of all fields of a message, those of messages in it behind them.
fn fields(message: &prost_reflect::MessageDescriptor, base: &[String]) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for field in message.fields() {
        let mut path = base.to_vec();
        path.push(field.name().to_owned());
        if field.name() == "piece" {
            continue;
        }
        all.push(path.clone());
        if let (Kind::Message(inner), false) = (field.kind(), field.is_list()) {
            all.extend(fields(&inner, &path));
        }
    }
    all
}

/// Makes one field wrong; `None`: this field cannot be wrong so.
fn spoil(message: &mut DynamicMessage, path: &[String], wrong: Wrong) -> Option<()> {
    let field = message.descriptor().get_field_by_name(&path[0])?;
    if path.len() > 1 {
        if !message.has_field(&field) {
            return None;
        }
        let Value::Message(inner) = message.get_field_mut(&field) else {
            return None;
        };
        return spoil(inner, &path[1..], wrong);
    }
    if wrong == Wrong::Missing {
        let had = message.has_field(&field);
        message.clear_field(&field);
        return had.then_some(());
    }
    let text = |wrong| match wrong {
        Wrong::Empty => String::new(),
        Wrong::Long => "x".repeat(70_000),
        Wrong::Form => "../\u{1}\n$(x)'\"\u{fc}".to_owned(),
        _ => "arn:aws:cloudhsm:us-east-1:999999999999:hsm-00000000/partition-999999001".to_owned(),
    };
    let value = match (field.kind(), wrong) {
        (Kind::String, _) if field.is_list() && wrong == Wrong::Empty => {
            Value::List(vec![Value::String(String::new())])
        }
        (Kind::String, _) if field.is_list() => Value::List(vec![Value::String(text(wrong))]),
        (Kind::String, wrong) => Value::String(text(wrong)),
        (Kind::Bytes, Wrong::Other) => return None,
        (Kind::Bytes, wrong) => Value::Bytes(text(wrong).into_bytes().into()),
        (Kind::Uint32, Wrong::Long) => Value::U32(u32::MAX),
        (Kind::Uint64, Wrong::Long) => Value::U64(u64::MAX),
        _ => return None,
    };
    message.set_field(&field, value);
    Some(())
}

fn fit(name: &str, answer: &Result<Vec<DynamicMessage>, Status>, wrong: &mut Vec<String>) {
    if let Err(status) = answer
        && (!GOOD.contains(&status.code()) || status.message().is_empty() || status.message().len() > 1000)
    {
        let message: String = status.message().chars().take(200).collect();
        wrong.push(format!("{name}: {:?} {message}", status.code()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_field_is_refused_in_words_and_changes_nothing() {
    let mut world = World::new();
    let raw = Raw::connect(&world.daemon).await;
    let (mut wrong, mut calls, mut seen) = (Vec::new(), 0, BTreeSet::new());
    for service in SERVICES {
        let service = raw.pool.get_service_by_name(service).expect("a service");
        for method in service.methods() {
            let row = ROWS.iter().find(|row| row.0 == method.name());
            let row = row.unwrap_or_else(|| panic!("{} has no row", method.full_name()));
            seen.insert(row.0);
            for path in fields(&method.input(), &[]) {
                for how in ALL {
                    let name = format!("{} {} {how:?}", method.name(), path.join("."));
                    let mut request = message(&method.input(), &world.fill(row));
                    if spoil(&mut request, &path, how).is_none() {
                        continue;
                    }
                    let before = world.state();
                    let answer = raw.call(&method, world.messages(&method, request)).await;
                    calls += 1;
                    fit(&name, &answer, &mut wrong);
                    let may = |list: &[&str]| path.iter().any(|part| list.contains(&part.as_str()));
                    let lenient = match how {
                        Wrong::Missing | Wrong::Empty => may(row.2),
                        // A PIN is bytes of any kind.
                        Wrong::Form if path.last().is_some_and(|part| part == "value") => true,
                        _ => may(row.3),
                    };
                    if answer.is_ok() && !lenient {
                        wrong.push(format!("{name}: was taken"));
                    }
                    if answer.is_err() && world.state() != before {
                        wrong.push(format!("{name}: was refused and changed something"));
                    }
                }
            }
        }
    }
    let stale: Vec<_> = ROWS
        .iter()
        .map(|row| row.0)
        .filter(|name| !seen.contains(name))
        .collect();
    assert!(stale.is_empty(), "rows without a method: {stale:?}");
    assert!(wrong.is_empty(), "{} of {calls}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(calls > 150, "only {calls} calls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_call_twice_and_from_many_at_once_ends_well() {
    let mut world = World::new();
    let raw = Raw::connect(&world.daemon).await;
    let mut wrong = Vec::new();
    for service in SERVICES {
        let service = raw.pool.get_service_by_name(service).expect("a service");
        for method in service.methods() {
            let row = ROWS.iter().find(|row| row.0 == method.name()).expect("a row");
            let request = message(&method.input(), &world.fill(row));
            let messages = world.messages(&method, request);
            let call = || {
                let (raw, method, messages) = (raw.clone(), method.clone(), messages.clone());
                tokio::spawn(async move { raw.call(&method, messages).await })
            };
            let at_once = [call(), call(), call(), call()];
            let mut good = 0;
            for (number, task) in at_once.into_iter().enumerate() {
                let answer = task.await.expect("no panic");
                good += usize::from(answer.is_ok());
                fit(&format!("{} at once, {number}", method.name()), &answer, &mut wrong);
            }
            fit(
                &format!("{} again", method.name()),
                &call().await.expect("no panic"),
                &mut wrong,
            );
            let once = [
                "CreatePartition",
                "DeletePartition",
                "InitializeHsm",
                "IssueCertificate",
            ];
            let most = if once.contains(&method.name()) { 4 } else { usize::MAX };
            assert!(good <= most);
            if method.name() == "CreatePartition" && good != 1 {
                wrong.push(format!("{good} partitions of one label"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    expect(0, hsmctl(&world.daemon, "audit verify"));
    assert!(!world.daemon.log().contains("panicked"), "{}", world.daemon.log());
}
