//! Every figure as a row: name, kind, labels, meaning. The exposition and `docs/metrics.md` are made from it.

/// What kind of figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows, from the start of the daemon. `_total` is added to its name.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size; `_bucket`, `_sum` and `_count` are added to its name.
    Histogram,
}

/// A figure.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

const fn row(name: &'static str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Row {
    Row {
        name,
        kind,
        labels,
        help,
    }
}

/// All figures, in the order in which they are shown.
pub(super) const TABLE: &[Row] = &[
    row(
        "hsmd_build_info",
        Kind::Gauge,
        &["version"],
        "The version that runs; always 1.",
    ),
    row("hsmd_ready", Kind::Gauge, &[], "1 when /ready says so, else 0."),
    row(
        "hsmd_start_time_seconds",
        Kind::Gauge,
        &[],
        "When the daemon started, in seconds since 1970.",
    ),
    row(
        "hsmd_resident_memory_bytes",
        Kind::Gauge,
        &[],
        "Resident memory of the process.",
    ),
    row(
        "hsmd_requests",
        Kind::Counter,
        &["operation", "result"],
        "Requests of applications that were answered, by operation and return value.",
    ),
    row(
        "hsmd_request_seconds",
        Kind::Histogram,
        &["class"],
        "From the last byte of a request to its answer, with waiting. Every write and pin; of crypto and read one in 16 of each thread.",
    ),
    row("hsmd_connections", Kind::Gauge, &[], "Connections of applications."),
    row(
        "hsmd_identities",
        Kind::Gauge,
        &[],
        "Local users and certificates that are connected.",
    ),
    row(
        "hsmd_logins",
        Kind::Gauge,
        &[],
        "Logins that were used since the start or the last idle wipe.",
    ),
    row(
        "hsmd_objects",
        Kind::Gauge,
        &["partition"],
        "Token objects of a partition: public ones, and private ones since its keys were opened. Members of a group show the same ones.",
    ),
    row(
        "hsmd_role_locked",
        Kind::Gauge,
        &["partition", "role"],
        "1 when wrong PINs have locked the role (for the SO: of at least one client), else 0.",
    ),
    row(
        "hsmd_groups",
        Kind::Gauge,
        &["state"],
        "Groups by state: READY, UPDATING, DEGRADED.",
    ),
    row(
        "hsmd_fleet_serving",
        Kind::Gauge,
        &[],
        "In a fleet: 1 when this node answers requests, else 0. It may read 0 for a moment while the node is behind: 250 ms after it \
         learnt of another's change that it has not applied, it leaves requests to other nodes until it has.",
    ),
    row(
        "hsmd_fleet_right_seconds",
        Kind::Gauge,
        &[],
        "In a fleet: how long this node may answer if none of its beats reaches etcd any more; 5 after a beat, 0 without a right.",
    ),
    row(
        "hsmd_fleet_behind_revisions",
        Kind::Gauge,
        &[],
        "In a fleet: changes by other nodes that have arrived and are not applied here.",
    ),
    row(
        "hsmd_fleet_level",
        Kind::Gauge,
        &[],
        "In a fleet: the format level of its records.",
    ),
    row(
        "hsmd_fleet_nodes",
        Kind::Gauge,
        &["standing"],
        "In a fleet: nodes by standing, as this one sees them: loading, serving, left, fenced, removed.",
    ),
    row(
        "hsmd_turnstile_running",
        Kind::Gauge,
        &["turnstile"],
        "Requests that have their turn: cpu (RSA, large data), write (waits for the disk), pin (Argon2).",
    ),
    row(
        "hsmd_turnstile_waiting",
        Kind::Gauge,
        &["turnstile"],
        "Requests that wait for their turn.",
    ),
    row(
        "hsmd_turnstile_refused",
        Kind::Counter,
        &["turnstile"],
        "Requests that were refused because too many waited.",
    ),
    row(
        "hsmd_handshakes_refused",
        Kind::Counter,
        &[],
        "TLS connections refused: no certificate, or one that is not registered or has expired.",
    ),
    row(
        "hsmd_calls",
        Kind::Counter,
        &["method", "code"],
        "Requests of administrators, by gRPC method and code.",
    ),
    row("hsmd_records", Kind::Gauge, &["namespace"], "Records of front ends."),
    row(
        "hsmd_records_bytes",
        Kind::Gauge,
        &["namespace"],
        "Bytes of their names and values.",
    ),
    row(
        "hsmd_store_revision",
        Kind::Gauge,
        &[],
        "Batches that the store has committed since it was made.",
    ),
    row("hsmd_store_records", Kind::Gauge, &[], "Records in the store."),
    row("hsmd_store_bytes", Kind::Gauge, &[], "Bytes of their sealed values."),
    row(
        "hsmd_store_sync_seconds",
        Kind::Histogram,
        &[],
        "Each fdatasync of the journal; one serves all batches that wait for it.",
    ),
    row(
        "hsmd_store_journal_segments",
        Kind::Gauge,
        &[],
        "Journal segments that hold batches.",
    ),
    row(
        "hsmd_store_backup_lag",
        Kind::Gauge,
        &[],
        "Batches since the newest automatic backup; they are in the journal.",
    ),
    row(
        "hsmd_store_free_bytes",
        Kind::Gauge,
        &[],
        "Free space on the disk of the store.",
    ),
    row(
        "hsmd_store_full",
        Kind::Gauge,
        &[],
        "1 when the disk is full and changes are refused, else 0.",
    ),
    row(
        "hsmd_store_stopped",
        Kind::Gauge,
        &[],
        "1 when a sync has failed and the store has stopped for good, else 0.",
    ),
    row(
        "hsmd_quarantined",
        Kind::Gauge,
        &[],
        "Groups and records that cannot be trusted and are not served.",
    ),
];
