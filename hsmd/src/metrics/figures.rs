//! The figures at one moment, and their text form (OpenMetrics 1.0).

use super::ready::readiness;
use super::requests::{BOUNDS, Class};
use super::table::{Kind, Row, TABLE};
use crate::data::Turnstile;
use crate::node::Node;
use hsmd_keystore::{Status, SyncTimes};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

/// What the text form is called in HTTP.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One figure with its labels' values.
#[derive(Debug)]
struct Sample {
    labels: Vec<String>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Count(u64),
    Number(f64),
    /// Sum, and bounds with their counts.
    Times(f64, Vec<(f64, u64)>),
}

/// All figures at one moment.
#[derive(Debug, Default)]
struct Figures(BTreeMap<&'static str, Vec<Sample>>);

/// The figures as text.
///
/// # Errors
/// None that a buffer in memory has.
pub(super) fn text(node: &Node) -> Result<String, fmt::Error> {
    let mut figures = Figures::default();
    figures.process(node);
    figures.requests(node);
    figures.partitions(node);
    figures.calls(node);
    figures.fleet(node);
    figures.store(node, &node.keystore.status());
    let mut registry = Registry::default();
    registry.register_collector(Box::new(figures));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

impl Figures {
    fn add(&mut self, name: &'static str, labels: &[&str], value: Value) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.0.entry(name).or_default().push(Sample { labels, value });
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a gauge is a float; 53 bits are enough for what is counted"
    )]
    fn gauge(&mut self, name: &'static str, labels: &[&str], value: u64) {
        self.add(name, labels, Value::Number(value as f64));
    }

    fn process(&mut self, node: &Node) {
        self.gauge("hsmd_build_info", &[env!("CARGO_PKG_VERSION")], 1);
        self.gauge("hsmd_ready", &[], u64::from(readiness(node).ready));
        let started = SystemTime::now().checked_sub(node.started.elapsed());
        let started = started.and_then(|started| started.duration_since(SystemTime::UNIX_EPOCH).ok());
        self.add(
            "hsmd_start_time_seconds",
            &[],
            Value::Number(started.unwrap_or_default().as_secs_f64()),
        );
        if let Some(bytes) = resident_bytes() {
            self.gauge("hsmd_resident_memory_bytes", &[], bytes);
        }
        self.gauge("hsmd_connections", &[], node.clients.count() as u64);
        self.gauge("hsmd_identities", &[], node.clients.identities() as u64);
        self.add(
            "hsmd_handshakes_refused",
            &[],
            Value::Count(node.pki.refusals().total()),
        );
        let turnstiles: [(&str, &Turnstile); 3] = [
            ("cpu", &node.turns.cpu),
            ("write", &node.turns.write),
            ("pin", &node.turns.pin),
        ];
        for (name, turnstile) in turnstiles {
            let (running, waiting, refused) = turnstile.figures();
            self.gauge("hsmd_turnstile_running", &[name], running as u64);
            self.gauge("hsmd_turnstile_waiting", &[name], waiting as u64);
            self.add("hsmd_turnstile_refused", &[name], Value::Count(refused));
        }
    }

    fn requests(&mut self, node: &Node) {
        for (operation, rv, count) in node.requests.by_result() {
            let result = rv.name().unwrap_or("other");
            self.add("hsmd_requests", &[operation, result], Value::Count(count));
        }
        for class in Class::ALL {
            let (sum, counts) = node.requests.times(class);
            let bounds = BOUNDS.into_iter().chain([f64::MAX]);
            let buckets = bounds.zip(counts).collect();
            self.add("hsmd_request_seconds", &[class.name()], Value::Times(sum, buckets));
        }
    }

    fn partitions(&mut self, node: &Node) {
        const USER_PIN_LOCKED: u64 = 0x4_0000;
        const SO_PIN_LOCKED: u64 = 0x40_0000;
        for slot in node.slots.all() {
            let Some(key_set) = &slot.key_set else { continue };
            self.gauge("hsmd_objects", &[&slot.serial], key_set.object_count() as u64);
            let flags = key_set.token().flags;
            for (role, flag) in [("user", USER_PIN_LOCKED), ("so", SO_PIN_LOCKED)] {
                self.gauge("hsmd_role_locked", &[&slot.serial, role], u64::from(flags & flag != 0));
            }
        }
        for (shelf, usage) in node.keystore.document_shelves() {
            let Some(namespace) = shelf.strip_prefix("records/").filter(|_| usage.records > 0) else {
                continue;
            };
            let namespace = namespace.trim_end_matches('/');
            self.gauge("hsmd_records", &[namespace], usage.records);
            self.gauge("hsmd_records_bytes", &[namespace], usage.bytes);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "microseconds of seconds fit")]
    fn fleet(&mut self, node: &Node) {
        let mut groups = BTreeMap::from([("READY", 0), ("UPDATING", 0), ("DEGRADED", 0)]);
        for group in node.model.groups() {
            // One that went away meanwhile is counted no more.
            if let Ok(view) = node.model.group(&group.arn) {
                *groups.entry(view.state).or_default() += 1;
            }
        }
        for (state, count) in groups {
            self.gauge("hsmd_groups", &[state], count);
        }
        let Some(fleet) = &node.fleet else { return };
        let figures = fleet.figures();
        self.gauge("hsmd_fleet_serving", &[], u64::from(figures.serving));
        self.add(
            "hsmd_fleet_right_seconds",
            &[],
            Value::Number(figures.right as f64 / 1e6),
        );
        self.gauge("hsmd_fleet_behind_revisions", &[], figures.behind);
        if let Some(level) = figures.level {
            self.gauge("hsmd_fleet_level", &[], u64::from(level));
        }
        for (standing, count) in figures.nodes {
            self.gauge("hsmd_fleet_nodes", &[standing], count);
        }
    }

    fn calls(&mut self, node: &Node) {
        for (method, code, count) in node.calls.all() {
            self.add("hsmd_calls", &[method, &format!("{code:?}")], Value::Count(count));
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "microseconds of centuries fit")]
    fn store(&mut self, node: &Node, status: &Status) {
        let store = &status.store;
        self.gauge("hsmd_logins", &[], status.logins as u64);
        self.gauge("hsmd_quarantined", &[], status.quarantined.len() as u64);
        self.gauge("hsmd_store_revision", &[], store.revision.0);
        self.gauge("hsmd_store_records", &[], store.records as u64);
        self.gauge("hsmd_store_bytes", &[], store.bytes);
        self.gauge("hsmd_store_journal_segments", &[], store.segments as u64);
        let lag = store.revision.0.saturating_sub(store.backup_revision.0);
        self.gauge("hsmd_store_backup_lag", &[], lag);
        self.gauge("hsmd_store_full", &[], u64::from(store.full));
        self.gauge("hsmd_store_stopped", &[], u64::from(store.stopped));
        if let Ok(free) = rustix::fs::statvfs(&node.config.store.data_dir) {
            self.gauge(
                "hsmd_store_free_bytes",
                &[],
                free.f_bavail.saturating_mul(free.f_frsize),
            );
        }
        let times = &store.sync_times;
        let bounds = SyncTimes::BOUNDS
            .into_iter()
            .map(|micros| micros as f64 / 1e6)
            .chain([f64::MAX]);
        let buckets = bounds.zip(times.counts).collect();
        self.add(
            "hsmd_store_sync_seconds",
            &[],
            Value::Times(times.micros as f64 / 1e6, buckets),
        );
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for row in TABLE {
            let samples = self.0.get(row.name).map(Vec::as_slice).unwrap_or_default();
            if samples.is_empty() {
                continue;
            }
            let kind = match row.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(row.name, row.help, None, kind)?;
            for sample in samples {
                put(row, sample, &mut family)?;
            }
        }
        Ok(())
    }
}

fn put(row: &Row, sample: &Sample, family: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
    let names = row.labels.iter().map(|name| (*name).to_owned());
    let labels: Vec<(String, String)> = names.zip(sample.labels.iter().cloned()).collect();
    // An empty list of labels would be written as `{}`.
    if labels.is_empty() {
        put_value(&sample.value, family)
    } else {
        put_value(&sample.value, &mut family.encode_family(&labels)?)
    }
}

fn put_value(value: &Value, one: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
    type NoLabels = [(String, String); 0];
    let none: Option<&Exemplar<NoLabels, f64>> = None;
    match value {
        Value::Count(count) => one.encode_counter(count, none),
        Value::Number(number) => one.encode_gauge(number),
        Value::Times(sum, buckets) => {
            let count = buckets.iter().map(|(_, count)| count).sum();
            one.encode_histogram::<NoLabels>(*sum, count, buckets, None)
        }
    }
}

/// As the kernel tells it, in KiB.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
