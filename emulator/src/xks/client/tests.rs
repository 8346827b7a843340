//! The client against a proxy in this process, which says what a test tells it to.

use super::*;
use crate::config;
use crate::listen::{Limits, Listener};
use crate::tls;
use http::Response;
use hyper::body::Incoming;
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

const HOST: &str = "xks.example.com";

/// A proxy that gives one answer to everything.
struct Fake {
    address: SocketAddr,
    folder: TempDir,
    asked: Arc<AtomicUsize>,
}

impl Fake {
    async fn start(delay: Duration, status: u16, body: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("certificate"), made.cert.pem()).unwrap();
        write_private(&file("key"), &made.signing_key.serialize_pem());
        let files = config::Tls {
            certificate: file("certificate"),
            key: file("key"),
            client_authority: None,
            client_name: None,
        };
        let acceptor = tls::acceptor(&files).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(any, Some(acceptor)).await.unwrap();
        let address = listener.url().trim_start_matches("https://").parse().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let handler = move |_: Request<Incoming>| {
            counter.fetch_add(1, Ordering::Relaxed);
            let mut answer = Response::new(Full::new(Bytes::from(body.clone())));
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            async move {
                tokio::time::sleep(delay).await;
                answer
            }
        };
        let limits = Limits {
            connections: 64,
            patience: Duration::from_secs(10),
        };
        tokio::spawn(listener.run(limits, handler));
        Self { address, folder, asked }
    }

    /// A client that knows the proxy's certificate and where it is.
    fn client(&self) -> Proxy {
        proxy(self.address, Some(self.folder.path().join("certificate")))
    }
}

fn write_private(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn proxy(address: SocketAddr, authorities: Option<PathBuf>) -> Proxy {
    let settings = config::XksClient {
        authorities,
        connect: [(HOST.to_owned(), address)].into(),
        identity: None,
    };
    let config = ProxyConfig {
        endpoint: format!("https://{HOST}"),
        path: "/a/kms/xks/v1".into(),
        region: "local-1".into(),
        access_key_id: "ABCDEFGHIJKLMNOPQR27".into(),
        secret: Zeroizing::new("s".repeat(43)),
    };
    Proxy::new(config, &Outbound::new(&settings).unwrap()).unwrap()
}

fn request() -> RequestMetadata<'static> {
    RequestMetadata {
        kms_operation: "Encrypt".into(),
        kms_request_id: "1".into(),
        ..RequestMetadata::default()
    }
}

/// A good answer to an encryption of three bytes under `aad`, with members replaced.
fn answer(changes: serde_json::Value) -> String {
    let (ciphertext, iv, tag, metadata) = ([1, 2, 3], [4; 12], [5; 16], [6; 1]);
    let value = wire::integrity(b"aad", &metadata, &iv, &ciphertext, &tag);
    let mut answer = json!({
        "ciphertext": *wire::text(&ciphertext),
        "initializationVector": *wire::text(&iv),
        "authenticationTag": *wire::text(&tag),
        "ciphertextMetadata": *wire::text(&metadata),
        "ciphertextDataIntegrityValue": *wire::text(&value),
        "later": 1,
    });
    for (name, value) in changes.as_object().unwrap() {
        answer[name] = value.clone();
    }
    answer.to_string()
}

#[tokio::test]
async fn many_requests_go_over_few_connections_and_answers_are_read() {
    let fake = Fake::start(Duration::ZERO, 200, answer(json!({}))).await;
    let client = fake.client();
    for _ in 0..20 {
        let sealed = client.encrypt("key-1", b"abc", b"aad", request()).await.unwrap();
        assert_eq!(
            (sealed.ciphertext.as_slice(), sealed.iv.len()),
            ([1, 2, 3].as_slice(), 12)
        );
        assert_eq!(sealed.metadata, Some(vec![6]));
    }
    assert_eq!(fake.asked.load(Ordering::Relaxed), 20);
}

#[tokio::test]
async fn a_slow_proxy_is_not_waited_for() {
    let fake = Fake::start(Duration::from_secs(30), 200, String::new()).await;
    let started = std::time::Instant::now();
    assert_eq!(
        fake.client().health(request()).await.unwrap_err(),
        ProxyFailure::TimedOut
    );
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn nobody_there_and_a_certificate_of_nobody_known_are_told_apart() {
    let fake = Fake::start(Duration::ZERO, 200, String::new()).await;
    let stranger = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let path = fake.folder.path().join("stranger");
    std::fs::write(&path, stranger.cert.pem()).unwrap();
    let client = proxy(fake.address, Some(path.clone()));
    assert_eq!(client.health(request()).await.unwrap_err(), ProxyFailure::Tls);
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let client = proxy(closed, Some(path));
    assert_eq!(client.health(request()).await.unwrap_err(), ProxyFailure::Unreachable);
}

#[tokio::test]
async fn refusals_are_read_by_their_names() {
    for row in &super::super::error::ROWS {
        let body = json!({"errorName": row.1, "errorMessage": "x"}).to_string();
        let fake = Fake::start(Duration::ZERO, row.2, body).await;
        let refused = fake.client().metadata("key", request()).await.unwrap_err();
        assert_eq!(refused, ProxyFailure::Refused(row.0));
    }
    for body in ["", "{}", "[]", "{\"errorName\": \"Other\"}", "<html>"] {
        let fake = Fake::start(Duration::ZERO, 400, body.into()).await;
        let refused = fake.client().metadata("key", request()).await.unwrap_err();
        assert!(matches!(refused, ProxyFailure::BadResponse(_)), "{body}: {refused}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut() {
    let fake = Fake::start(Duration::ZERO, 200, "x".repeat(LONGEST_ANSWER + 1)).await;
    let failure = fake.client().health(request()).await.unwrap_err();
    assert_eq!(failure, ProxyFailure::BadResponse("the body is too long"));
}

#[test]
fn what_breaks_a_rule_of_an_encryption_is_refused() {
    let read = |changes| sealed(answer(changes).as_bytes(), 3, b"aad");
    read(json!({})).unwrap();
    for (member, value) in [
        ("ciphertext", json!(null)),
        ("ciphertext", json!(1)),
        ("ciphertext", json!("AQI")),
        ("ciphertext", json!(*wire::text(&[1, 2]))),
        ("initializationVector", json!(*wire::text(&[4; 13]))),
        ("authenticationTag", json!(*wire::text(&[5; 15]))),
        ("ciphertextMetadata", json!(*wire::text(&[6; 21]))),
        ("ciphertextMetadata", json!(*wire::text(&[7; 1]))),
        ("ciphertextDataIntegrityValue", json!(null)),
        ("ciphertextDataIntegrityValue", json!(*wire::text(&[0; 32]))),
    ] {
        let failure = read(json!({member: value.clone()})).unwrap_err();
        assert!(matches!(failure, ProxyFailure::BadResponse(_)), "{member} {value}");
    }
    assert!(sealed(answer(json!({})).as_bytes(), 3, b"other").is_err());
}

#[test]
fn what_breaks_a_rule_of_the_other_answers_is_refused() {
    assert_eq!(*opened(b"{\"plaintext\": \"AQID\"}", 3).unwrap(), [1, 2, 3]);
    assert!(opened(b"{\"plaintext\": \"AQID\"}", 4).is_err());
    assert!(opened(b"{}", 0).is_err());
    let key = |usage: &[&str], status: &str| json!({"keySpec": "AES_256", "keyUsage": usage, "keyStatus": status});
    let read = |value: serde_json::Value| metadata(value.to_string().as_bytes());
    assert!(
        read(key(&["ENCRYPT", "DECRYPT", "NEW"], "ENABLED"))
            .unwrap()
            .is_usable()
    );
    assert!(!read(key(&["ENCRYPT"], "ENABLED")).unwrap().is_usable());
    assert!(!read(key(&["ENCRYPT", "DECRYPT"], "DISABLED")).unwrap().is_usable());
    assert!(read(key(&["ENCRYPT"; 11], "ENABLED")).is_err());
    assert!(read(key(&[], "OTHER")).is_err());
    let fleet = |size: i64, members: usize, status: &str| {
        let member = json!({"id": "1", "model": "m", "healthStatus": status});
        json!({"xksProxyFleetSize": size, "xksProxyVendor": "v", "xksProxyModel": "m", "ekmVendor": "e",
               "ekmFleetDetails": vec![member; members]})
    };
    let read = |value: serde_json::Value| health(value.to_string().as_bytes());
    assert!(read(fleet(1, 1, "ACTIVE")).unwrap().serves());
    assert!(!read(fleet(1, 2, "UNAVAILABLE")).unwrap().serves());
    for wrong in [
        fleet(0, 1, "ACTIVE"),
        fleet(-1, 1, "ACTIVE"),
        fleet(1, 0, "ACTIVE"),
        fleet(1, 11, "ACTIVE"),
        fleet(1, 1, "WELL"),
    ] {
        assert!(read(wrong.clone()).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn names_that_would_change_the_path_are_not_sent() {
    let fake = Fake::start(Duration::ZERO, 200, String::new()).await;
    for key in ["", ".", "..", "a/b", "a?b", "a%2fb", &"a".repeat(129)] {
        let refused = fake.client().metadata(key, request()).await.unwrap_err();
        assert_eq!(refused, ProxyFailure::Refused(ErrorName::KeyNotFound), "{key}");
    }
    assert_eq!(fake.asked.load(Ordering::Relaxed), 0);
}
