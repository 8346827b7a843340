//! The exported file and its check over random changes, the messages of syslog, and the service over a running node.

use super::check::{Expected, check};
use super::syslog::{Target, message, target};
use super::view::{EntryView, Filter};
use super::{Service, from_hex};
use crate::config::Audit as Config;
use crate::data::tests::node;
use crate::node::Node;
use hsmd_control::audit::audit_server::Audit as _;
use hsmd_control::audit::{self as wire, ExportRequest, HeadRequest, SetUseRequest, TailRequest, VerifyRequest};
use hsmd_keystore::audit::{Act, Chained, Event, Outcome, Who};
use hsmd_proto::ck::Rv;
use std::fmt::Write as _;
use std::sync::Arc;
use tokio_stream::StreamExt as _;
use tonic::Request;

/// A node whose log has some hundred entries in several segments.
fn logged() -> Arc<Node> {
    let node = node(|_| {});
    for number in 0..200_u32 {
        let who = Who::Local {
            user: number % 3,
            process: 1,
        };
        let act = if number % 2 == 0 { Act::Control } else { Act::KeyWrap };
        let event = Event::new(act)
            .by(&who)
            .at("hsm-1", "157541001")
            .detail(format!("number {number}"));
        node.keystore.audit().note(event);
        if number % 11 == 0 {
            assert!(node.keystore.audit().flush());
        }
    }
    node
}

async fn export(node: &Arc<Node>, request: ExportRequest) -> Vec<String> {
    let answers = Service(node.clone())
        .export(Request::new(request))
        .await
        .unwrap()
        .into_inner();
    let answers: Vec<_> = answers.collect().await;
    answers.into_iter().flat_map(|answer| answer.unwrap().lines).collect()
}

fn text(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    })
}

fn troubles(text: &str, expected: &Expected) -> Vec<String> {
    let findings = check(text.as_bytes(), expected, |_| {}).unwrap();
    findings.troubles.into_iter().map(|found| found.what).collect()
}

/// A small generator of numbers, so that a failure replays.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// One random change of a file.
fn spoil(lines: &[String], dice: &mut Dice) -> String {
    let mut lines = lines.to_vec();
    let at = dice.below(lines.len());
    match dice.below(7) {
        0 => drop(lines.remove(at)),
        1 => {
            let other = dice.below(lines.len());
            lines.swap(at, other);
        }
        2 => {
            let again = lines[at].clone();
            let to = dice.below(lines.len());
            lines.insert(to, again);
        }
        3 => lines.truncate(at),
        4 => {
            let mut bytes = text(&lines).into_bytes();
            let place = dice.below(bytes.len());
            bytes[place] ^= 1 << dice.below(8);
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        5 => {
            let mut all = text(&lines);
            all.truncate(dice.below(all.len()));
            return all;
        }
        _ => {
            let end = (at + 1 + dice.below(30)).min(lines.len());
            lines.drain(at..end);
        }
    }
    text(&lines)
}

// B25: a thousand random changes, deletions, reorderings, truncations of an exported file: all are found.
#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_an_exported_file_is_found() {
    let node = logged();
    let lines = export(&node, ExportRequest::default()).await;
    let whole = text(&lines);
    let expected = Expected {
        public_key: Some(node.keystore.audit().public_key()),
        head: None,
    };
    assert_eq!(troubles(&whole, &expected), Vec::<String>::new());
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut spoiled = 0;
    while spoiled < 1_000 {
        let changed = spoil(&lines, &mut dice);
        if changed != whole {
            spoiled += 1;
            assert!(!troubles(&changed, &expected).is_empty(), "not found, change {spoiled}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_names_the_entry() {
    let node = logged();
    let lines = export(&node, ExportRequest::default()).await;
    let place = |entry: u64| {
        let begin = format!("{{\"entry\":{{\"sequence\":{entry},");
        lines.iter().position(|line| line.starts_with(&begin)).unwrap()
    };
    let none = Expected::default();
    let mut changed = lines.clone();
    changed[place(50)] = changed[place(50)].replace("uid:", "uid:9");
    assert_eq!(troubles(&text(&changed), &none), ["entry 50 is changed"]);
    let mut gone = lines.clone();
    gone.drain(place(60)..=place(60));
    assert_eq!(troubles(&text(&gone), &none), ["entry 60 is missing"]);
    let mut cut = lines.clone();
    cut.truncate(place(70));
    assert_eq!(
        troubles(&text(&cut), &none),
        ["the file is cut off after entry 69: the trailer is missing"]
    );
    let other = Expected {
        public_key: Some([7; 32]),
        head: None,
    };
    assert!(troubles(&text(&lines), &other)[0].contains("another key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_head_finds_what_was_cut_off_or_rewritten() {
    let node = logged();
    let early = export(&node, ExportRequest::default()).await;
    node.keystore.audit().note(Event::new(Act::Control).detail("later"));
    let head = Service(node.clone())
        .head(Request::new(HeadRequest {}))
        .await
        .unwrap()
        .into_inner();
    let kept = |sequence| Expected {
        public_key: None,
        head: Some((sequence, from_hex(&head.hash).unwrap())),
    };
    let late = export(&node, ExportRequest::default()).await;
    assert_eq!(troubles(&text(&late), &kept(head.sequence)), Vec::<String>::new());
    let cut = troubles(&text(&early), &kept(head.sequence));
    assert!(cut.len() == 1 && cut[0].contains("kept head"), "{cut:?}");
    let rewritten = troubles(&text(&late), &kept(head.sequence - 1));
    assert!(rewritten[0].contains("not that of the kept head"), "{rewritten:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_withholds_and_the_chain_still_verifies() {
    let node = logged();
    let filter = wire::Filter {
        act: "key".into(),
        who: "uid:1".into(),
        ..wire::Filter::default()
    };
    let request = ExportRequest {
        from: 20,
        to: 150,
        filter: Some(filter),
        ..ExportRequest::default()
    };
    let lines = export(&node, request).await;
    let mut shown = Vec::new();
    let findings = check(text(&lines).as_bytes(), &Expected::default(), |line| {
        shown.push(EntryView::read(line).unwrap());
    });
    let findings = findings.unwrap();
    assert_eq!(findings.troubles, []);
    assert_eq!((findings.from, findings.to), (20, 150));
    assert_eq!(findings.entries + findings.withheld, 131);
    assert!(findings.withheld > 80 && shown.len() > 10);
    assert!(
        shown
            .iter()
            .all(|entry| entry.act == "key.wrap" && entry.who == "uid:1")
    );
    let mut dice = Dice(7);
    let whole = text(&lines);
    for _ in 0..100 {
        let changed = spoil(&lines, &mut dice);
        assert!(changed == whole || !troubles(&changed, &Expected::default()).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_by_time_begin_and_end_there_and_empty_ones_are_good() {
    let node = logged();
    let all = export(&node, ExportRequest::default()).await;
    let request = |since: &str, until: &str| ExportRequest {
        since: since.into(),
        until: until.into(),
        ..ExportRequest::default()
    };
    let today = export(&node, request("2000", "2999-12")).await;
    assert_eq!(today.len(), all.len());
    for (since, until) in [("2999", ""), ("", "2000")] {
        let none = export(&node, request(since, until)).await;
        let findings = check(text(&none).as_bytes(), &Expected::default(), |_| {}).unwrap();
        assert_eq!((findings.troubles.len(), findings.entries), (0, 0), "{none:?}");
    }
    let past = ExportRequest {
        from: 100_000,
        ..ExportRequest::default()
    };
    let mut refused = Service(node).export(Request::new(past)).await.unwrap().into_inner();
    assert_eq!(
        refused.next().await.unwrap().unwrap_err().code(),
        tonic::Code::OutOfRange
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stored_log_verifies_and_a_tail_follows_it() {
    let node = logged();
    let service = Service(node.clone());
    let report = service
        .verify(Request::new(VerifyRequest {}))
        .await
        .unwrap()
        .into_inner();
    assert!(report.troubles.is_empty() && report.entries >= 200, "{report:?}");
    let mut tail = service
        .tail(Request::new(TailRequest::default()))
        .await
        .unwrap()
        .into_inner();
    node.keystore
        .audit()
        .note(Event::new(Act::Control).detail("for the tail"));
    let answer = tail.next().await.unwrap().unwrap();
    assert!(answer.line.contains("for the tail") && answer.sequence == report.to + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recording_of_uses_is_a_setting_that_stays() {
    let node = node(|_| {});
    let service = Service(node.clone());
    let set = |partition: &str| {
        service.set_use(Request::new(SetUseRequest {
            partition: partition.into(),
            record: true,
        }))
    };
    assert_eq!(set("000000000").await.unwrap_err().code(), tonic::Code::NotFound);
    let serial = node.slots.all()[0].serial.clone();
    set(&serial).await.unwrap();
    set(&serial).await.unwrap();
    assert_eq!(node.audit_uses.all(), std::slice::from_ref(&serial));
    let again = super::Uses::open(&node.keystore, &node.slots).unwrap();
    assert_eq!(again.all(), [serial]);
}

#[test]
fn filters_match_acts_by_their_words() {
    let entry = EntryView {
        act: "key.wrap".into(),
        who: "client:client-0a1b2c3d".into(),
        result: "CKR_OK".into(),
        ..EntryView::default()
    };
    let act = |act: &str| {
        Filter {
            act: act.into(),
            ..Filter::default()
        }
        .fits(&entry)
    };
    assert!(act("") && act("key") && act("key.wrap") && !act("key.w") && !act("ke") && !act("login"));
    let who = Filter {
        who: "client-0a1b2c3d".into(),
        ..Filter::default()
    };
    assert!(who.fits(&entry));
    let failed = Filter {
        failed: true,
        ..Filter::default()
    };
    assert!(!failed.fits(&entry));
}

#[test]
fn addresses_of_syslog_servers_are_read() {
    let config = Config::default();
    let udp = |text: &str| Target::Udp(text.parse().unwrap());
    assert_eq!(target("10.0.0.9", &config), Some(udp("10.0.0.9:514")));
    assert_eq!(target("10.0.0.9:1514", &config), Some(udp("10.0.0.9:1514")));
    assert_eq!(target("::1", &config), Some(udp("[::1]:514")));
    let tcp = Target::Tcp("10.0.0.9:514".parse().unwrap());
    assert_eq!(target("tcp://10.0.0.9", &config), Some(tcp));
    let by_tcp = Config {
        syslog: "tcp".into(),
        ..config.clone()
    };
    assert_eq!(target("10.0.0.9", &by_tcp), Some(tcp));
    assert_eq!(target("udp://10.0.0.9", &by_tcp), Some(udp("10.0.0.9:514")));
    assert_eq!(
        (target("somewhere", &config), target("ftp://10.0.0.9", &config)),
        (None, None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_syslog_has_all_parts_of_rfc_5424() {
    let node = node(|_| {});
    let entry: Arc<std::sync::Mutex<Vec<Chained>>> = Arc::default();
    let seen = Arc::clone(&entry);
    node.keystore
        .audit()
        .follow(move |entries| seen.lock().unwrap().extend_from_slice(entries));
    let event = Event::new(Act::Login)
        .at("hsm-1", "157541001")
        .result(Outcome::Rv(Rv::PIN_INCORRECT));
    node.keystore.audit().note(event);
    assert!(node.keystore.audit().flush());
    let entry = entry.lock().unwrap().last().unwrap().clone();
    let view = EntryView::read(&entry.line).unwrap();
    assert!(view.concerns("hsm-1", "000000") && view.concerns("", "157541") && !view.concerns("hsm-2", "157542"));
    let message = message("0a", &entry, &view);
    let (head, rest) = message.split_once(" [").unwrap();
    let fields: Vec<_> = head.split(' ').collect();
    assert_eq!(fields.len(), 6, "{head}");
    assert_eq!(
        (fields[0], fields[2], fields[3], fields[5]),
        ("<108>1", "0a", "hsmd", "login")
    );
    assert_eq!(fields[1], view.time);
    let (data, line) = rest.split_once("] ").unwrap();
    assert!(data.starts_with(&format!("hsmd@32473 sequence=\"{}\" hash=\"", entry.sequence)));
    assert_eq!(line, &*entry.line);
}
