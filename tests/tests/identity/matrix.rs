//! {every method} x {no certificate, expired, unknown authority, unregistered, revoked, every role, revoked while open}. The
//! methods come from the descriptors, who may call them from the table in `docs/identity.md`, which a test of the daemon holds
//! against the one in the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hsmd_control::DESCRIPTORS;
use hsmd_tests::wait;
use prost_reflect::DescriptorPool;
use tokio::io::AsyncReadExt as _;
use tonic::Code;
use tonic::transport::Channel;

use super::appliance::{Appliance, Files};
use super::caller::{call, channel, config, denial, dial};

const ROLES: [&str; 4] = ["admin", "operator", "auditor", "service"];
/// Health and reflection; their descriptors are not the daemon's own.
const COMMON: [&str; 4] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
const UNKNOWN: [&str; 3] = ["/cloudhsm.v1.CloudHsm/NoSuchMethod", "/no.such.Service/Method", "/"];

fn methods() -> BTreeSet<String> {
    let pool = DescriptorPool::decode(DESCRIPTORS).expect("the descriptors");
    let own = pool.services().flat_map(|service| {
        let path = |method: prost_reflect::MethodDescriptor| format!("/{}/{}", service.full_name(), method.name());
        service.methods().map(path).collect::<Vec<_>>()
    });
    own.chain(COMMON.map(str::to_owned)).collect()
}

/// Method and the roles that may call it.
fn table() -> BTreeMap<String, BTreeSet<&'static str>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/identity.md");
    let page = fs::read_to_string(page).expect("docs/identity.md");
    let table = page.split("<!-- roles -->").nth(1).expect("the table");
    let rows = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| service"));
    rows.map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let roles = ROLES.iter().zip(&cells[3..]).filter(|(_, cell)| **cell == "yes");
        (
            format!("/{}/{}", cells[1], cells[2]),
            roles.map(|(role, _)| *role).collect(),
        )
    })
    .collect()
}

/// A self-signed certificate that ends so many seconds from now, and began an hour before that.
fn self_signed(folder: &Path, name: &str, ends: i64) -> Files {
    let (cert, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let end = Duration::from_secs(now.as_secs().saturating_add_signed(ends));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + end.saturating_sub(Duration::from_secs(3_600));
    params.not_after = epoch + end;
    let pair = rcgen::KeyPair::generate().expect("a key pair");
    fs::write(&cert, params.self_signed(&pair).expect("a certificate").pem()).expect("a file");
    fs::write(&key, pair.serialize_pem()).expect("a file");
    Files { cert, key }
}

/// A certificate of the daemon's own making that it no longer takes.
fn revoked(appliance: &Appliance, name: &str) -> Files {
    let (files, id) = appliance.issue(name, "admin");
    let run = appliance.local(&format!("certificate revoke {id} --yes"));
    assert!(run.good, "{}", run.text);
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_registered_certificate_reaches_no_method() {
    let appliance = Appliance::start();
    let (good, _) = appliance.issue("good", "admin");
    let folder = appliance.path("certificates");
    let strangers = [
        ("expired", self_signed(&folder, "expired", -60)),
        ("of an unknown authority", self_signed(&folder, "unknown", 600)),
        ("revoked", revoked(&appliance, "revoked")),
    ];
    let ca = appliance.authority();
    assert!(dial(&appliance.address, config(&ca, Some(&good))).await.is_ok());
    let mut alerts = BTreeSet::new();
    for (what, files) in &strangers {
        let config = config(&ca, Some(files));
        for method in methods() {
            // The refusal comes before the first byte of a request: each method is asked for all the same.
            let refused = dial(&appliance.address, config.clone()).await;
            alerts.insert(refused.err().unwrap_or_else(|| panic!("{what}: {method}")).to_string());
            if alerts.len() > 1 {
                break;
            }
        }
        assert!(channel(&appliance.address, config).await.is_err(), "{what}");
    }
    let alerts: Vec<_> = alerts.into_iter().collect();
    assert_eq!(alerts, ["received fatal alert: CertificateUnknown"]);
    for method in methods() {
        let refused = dial(&appliance.address, config(&ca, None)).await;
        let alert = refused
            .err()
            .unwrap_or_else(|| panic!("no certificate: {method}"))
            .to_string();
        assert_eq!(alert, "received fatal alert: CertificateRequired");
    }
    // The reasons are for the log alone.
    assert!(
        appliance.log().contains("not registered; certificate "),
        "{}",
        appliance.log()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_is_for_the_roles_of_the_table_and_denials_are_alike() {
    let appliance = Appliance::start();
    let table = table();
    assert_eq!(table.keys().cloned().collect::<BTreeSet<_>>(), methods());
    let mut channels = BTreeMap::new();
    for role in ROLES {
        let (files, _) = appliance.issue(role, role);
        let config = config(&appliance.authority(), Some(&files));
        channels.insert(role, channel(&appliance.address, config).await.expect(role));
    }
    let (mut messages, mut ids) = (BTreeSet::new(), BTreeMap::new());
    for (method, roles) in &table {
        for role in ROLES {
            let answer = call(channels[role].clone(), method).await;
            let denied = denial(&answer);
            assert_eq!(denied.is_none(), roles.contains(role), "{role} {method}: {answer:?}");
            if let Some((id, message)) = denied {
                messages.insert(message);
                ids.insert(id, (role, method.trim_start_matches('/').to_owned()));
            }
        }
    }
    for method in UNKNOWN {
        for role in ROLES {
            let answer = call(channels[role].clone(), method).await;
            messages.insert(
                denial(&answer)
                    .unwrap_or_else(|| panic!("{role} {method}: {answer:?}"))
                    .1,
            );
        }
    }
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(ids.len() > 20);
    let log = appliance.log();
    for (id, (role, method)) in &ids {
        let line = log
            .lines()
            .find(|line| line.contains(id))
            .unwrap_or_else(|| panic!("{id} is not in the log"));
        assert!(line.contains(role) && line.contains(method), "{line}");
    }
    // And in the audit log, whose chain holds: many of one caller are counted there.
    let denied = appliance.local("audit show --failed -o json").text;
    let logged = ids.keys().filter(|id| denied.contains(&format!("denied {id}"))).count();
    assert!(logged >= ROLES.len() - 1, "{logged} denials in the audit log");
    assert!(appliance.local("audit verify").good);
    let (id, (role, method)) = ids.first_key_value().expect("a denial");
    let told = appliance.local(&format!("certificate denials {id}")).text;
    assert!(told.contains(role) && told.contains(method), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_acts_on_open_connections_within_a_second() {
    let appliance = Appliance::start();
    let (files, id) = appliance.issue("leaver", "admin");
    let (_stays, _) = appliance.issue("stays", "admin");
    let tls = config(&appliance.authority(), Some(&files));
    let channel = channel(&appliance.address, tls.clone()).await.expect("let in");
    let mut idle = dial(&appliance.address, tls.clone()).await.expect("let in");
    let other = config(&appliance.authority(), Some(&_stays));
    let mut neighbour = dial(&appliance.address, other).await.expect("let in");
    let passed = |answer: &Result<(), tonic::Status>| denial(answer).is_none();
    assert!(passed(&call(channel.clone(), "/hsmd.admin.v1.HsmAdmin/Status").await));
    let begin = Instant::now();
    let run = appliance.local(&format!("certificate revoke {id} --yes"));
    assert!(run.good, "{}", run.text);
    for method in methods() {
        let status = call(channel.clone(), &method).await.expect_err(&method);
        let refused = matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::PermissionDenied | Code::Internal
        );
        let reached = status.message().contains("decode");
        assert!(refused && !reached, "{method}: {status:?}");
    }
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), idle.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "an idle connection goes on");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert!(dial(&appliance.address, tls).await.is_err());
    // Others go on.
    let mut byte = [0];
    let quiet = tokio::time::timeout(Duration::from_millis(100), async {
        while neighbour.read(&mut byte).await.is_ok_and(|count| count != 0) {}
    });
    assert!(quiet.await.is_err(), "a neighbour's connection ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_ends_is_refused_on_its_open_connection() {
    let appliance = Appliance::start();
    let (_first, _) = appliance.issue("first", "admin");
    let folder = appliance.path("certificates");
    let short = self_signed(&folder, "short", 4);
    let registered =
        appliance.local("certificate register short --role admin --certificate-file certificates/short.pem");
    assert!(registered.good, "{}", registered.text);
    let tls = config(&appliance.authority(), Some(&short));
    let channel = channel(&appliance.address, tls.clone()).await.expect("let in");
    let status = "/hsmd.admin.v1.HsmAdmin/Status";
    assert!(denial(&call(channel.clone(), status).await).is_none());
    let deadline = Instant::now() + wait::PATIENCE;
    while denial(&call(channel.clone(), status).await).is_none() {
        assert!(Instant::now() < deadline, "it goes on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(dial(&appliance.address, tls).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_handshakes_hold_up_nobody() {
    let appliance = Appliance::start();
    let (files, _) = appliance.issue("alice", "admin");
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(
            tokio::net::TcpStream::connect(&appliance.address)
                .await
                .expect("a connection"),
        );
    }
    let config = config(&appliance.authority(), Some(&files));
    let asked = async {
        let channel: Channel = channel(&appliance.address, config).await.expect("let in");
        call(channel, "/hsmd.admin.v1.HsmAdmin/Status").await
    };
    let answer = tokio::time::timeout(Duration::from_secs(5), asked)
        .await
        .expect("an answer in time");
    assert!(denial(&answer).is_none());
    drop(silent);
}
