//! The figures as a monitor reads them, over HTTP; and `docs/metrics.md` against the table.

use super::server::Listener;
use super::table::{Kind, TABLE};
use crate::config::Metrics;
use crate::data::tests::node;
use crate::node::Node;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn serving(node: Arc<Node>) -> std::net::SocketAddr {
    let config = Metrics {
        listen: "127.0.0.1:0".into(),
    };
    let listener = Listener::bind(&config).await.unwrap();
    let address = listener.address().unwrap();
    tokio::spawn(listener.run(node));
    address
}

/// The status line and the body of an answer.
async fn ask(address: std::net::SocketAddr, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: hsmd\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// A strict reader of the text form: every sample belongs to the family declared before it, no family comes twice, no sample comes
/// twice, histograms add up, and the text ends as it must.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let body = text.strip_suffix("# EOF\n").expect("the end is marked");
    let (mut families, mut samples) = (BTreeSet::new(), BTreeMap::new());
    let (mut family, mut kind) = (String::new(), String::new());
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (what, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            match what {
                "HELP" => {
                    assert!(families.insert(name.to_owned()), "{name} twice");
                    assert!(!rest.is_empty());
                    family = name.to_owned();
                }
                "TYPE" => {
                    assert_eq!(name, family);
                    kind = rest.to_owned();
                }
                _ => panic!("{line}"),
            }
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        let bare = name.split('{').next().unwrap();
        let suffix = bare
            .strip_prefix(family.as_str())
            .unwrap_or_else(|| panic!("{line} under {family}"));
        let allowed: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_sum", "_count", "_bucket"],
            other => panic!("{other}"),
        };
        assert!(allowed.contains(&suffix), "{line} of a {kind}");
        assert!(samples.insert(name.to_owned(), value).is_none(), "{name} twice");
    }
    samples
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_reads_every_figure() {
    let node = node(|_| {});
    let sign = crate::data::NAMES.iter().position(|name| *name == "Sign");
    node.requests.begin(sign).end(hsmd_proto::ck::Rv::OK);
    node.requests.begin(sign).end(hsmd_proto::ck::Rv::KEY_HANDLE_INVALID);
    let address = serving(node).await;
    let (status, text) = ask(address, "GET", "/metrics").await;
    assert!(status.contains("200"), "{status}");
    let samples = parse(&text);
    assert_eq!(
        samples["hsmd_requests_total{operation=\"Sign\",result=\"CKR_OK\"}"],
        1.0
    );
    assert_eq!(
        samples["hsmd_requests_total{operation=\"Sign\",result=\"CKR_KEY_HANDLE_INVALID\"}"],
        1.0
    );
    assert_eq!(samples["hsmd_ready"], 1.0);
    assert!(samples["hsmd_resident_memory_bytes"] > 1e6);
    assert!(samples.keys().any(|name| name.starts_with("hsmd_objects{partition=")));
    assert_eq!(
        samples["hsmd_request_seconds_bucket{le=\"+Inf\",class=\"crypto\"}"],
        samples["hsmd_request_seconds_count{class=\"crypto\"}"]
    );
    // What needs an event or a disk to be there is absent until then; everything else is shown.
    let shown: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let later = [
        "hsmd_calls",
        "hsmd_records",
        "hsmd_records_bytes",
        "hsmd_store_free_bytes",
    ];
    for row in TABLE.iter().filter(|row| !later.contains(&row.name)) {
        // This daemon is no node of a fleet; what such a one shows is read by the fleet's storm.
        let of_a_fleet = row.name.starts_with("hsmd_fleet_");
        assert_eq!(shown.contains(row.name), !of_a_fleet, "{}", row.name);
    }
    assert!(shown.iter().all(|name| TABLE.iter().any(|row| row.name == *name)));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_readiness_are_told_apart() {
    let node = node(|_| {});
    let address = serving(node.clone()).await;
    assert_eq!(
        ask(address, "GET", "/health").await,
        ("HTTP/1.1 200 OK".into(), "ok\n".into())
    );
    let (status, body) = ask(address, "GET", "/ready").await;
    assert!(
        status.contains("200") && body.contains("\"ready\":true"),
        "{status} {body}"
    );
    node.clients.stop();
    let (status, body) = ask(address, "GET", "/ready").await;
    assert!(status.contains("503") && body.contains("stopping"), "{status} {body}");
    assert!(ask(address, "GET", "/health").await.0.contains("200"), "it lives");
    assert!(ask(address, "GET", "/").await.0.contains("404"));
    assert!(ask(address, "POST", "/metrics").await.0.contains("405"));
}

/// The table of `docs/metrics.md`.
fn page() -> String {
    let mut text = String::new();
    for row in TABLE {
        let (kind, suffix) = match row.kind {
            Kind::Counter => ("counter", "_total"),
            Kind::Gauge => ("gauge", ""),
            Kind::Histogram => ("histogram", ""),
        };
        let labels = row.labels.join(", ");
        writeln!(text, "| `{}{suffix}` | {kind} | {labels} | {} |", row.name, row.help).unwrap();
    }
    text
}

#[test]
fn the_page_of_figures_is_that_of_the_table() {
    let file = include_str!("../../../docs/metrics.md");
    let rows: Vec<_> = file.lines().filter(|line| line.starts_with("| `hsmd_")).collect();
    let wanted = page();
    assert_eq!(
        rows,
        wanted.lines().collect::<Vec<_>>(),
        "the rows should be:\n{wanted}"
    );
}
