//! `hsmctl status`: everything at a glance.

use super::exit::{Error, Exit};
use super::expiry::{self, SOON_DAYS};
use super::output::{Table, id_of, line, raw, record, render, show};
use super::{Format, client, group, hsm};
use clap::Args;
use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use hsmd_control::admin::{ListPartitionsRequest, StatusRequest, StatusResponse};
use hsmd_control::backup::ListAutomaticRequest;
use hsmd_control::backup::backup_client::BackupClient;
use hsmd_control::cloudhsm::cloud_hsm_client::CloudHsmClient;
use hsmd_control::identity::ListCertificatesRequest;
use hsmd_control::identity::identity_client::IdentityClient;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;
use tonic::transport::Channel;

/// Clears a terminal and goes to its first line.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Arguments of `hsmctl status`.
#[derive(Args)]
pub(super) struct Options {
    /// Show it again and again; as JSON one line each.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    rhythm: Rhythm,
}

/// How often something is asked that goes on.
#[derive(Args, Clone, Copy)]
pub(super) struct Rhythm {
    /// Between two looks, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(50..))]
    interval: u64,
    /// End after so many; default: at Ctrl-C.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

impl Rhythm {
    /// Pauses before look number `done + 1`; false when there is none.
    pub(super) async fn again(self, done: u64) -> bool {
        if self.count.is_some_and(|count| done >= count) {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(self.interval)).await;
        true
    }

    /// How many there are to be.
    pub(super) const fn count(self) -> Option<u64> {
        self.count
    }
}

/// Runs the command.
pub(super) async fn run(channel: Channel, options: Options, format: Format) -> Result<Exit, Error> {
    let verdict = |view: &StatusView| if view.healthy { Exit::Ok } else { Exit::Failed };
    if !options.watch {
        let view = ask(channel).await?;
        show(&view, format)?;
        return Ok(verdict(&view));
    }
    let terminal = std::io::stdout().is_terminal();
    let mut done = 0;
    loop {
        let view = ask(channel.clone()).await?;
        match format {
            Format::Json => line(&view)?,
            _ if terminal => raw((CLEAR.to_owned() + &render(&view, format)?).as_bytes())?,
            _ => raw((render(&view, format)? + "\n").as_bytes())?,
        };
        done += 1;
        if !options.rhythm.again(done).await {
            return Ok(verdict(&view));
        }
    }
}

async fn ask(channel: Channel) -> Result<StatusView, Error> {
    let mut admin = HsmAdminClient::new(channel.clone());
    let mut cloudhsm = CloudHsmClient::new(channel.clone());
    let mut view = StatusView::from(admin.status(StatusRequest {}).await?.into_inner());
    for hsm in hsm::all(&mut cloudhsm).await? {
        *view.hsm_states.entry(hsm.status).or_default() += 1;
    }
    let partitions = admin
        .list_partitions(ListPartitionsRequest::default())
        .await?
        .into_inner();
    for partition in partitions.partitions {
        let partition = super::partition::PartitionView::from(partition);
        *view.partition_states.entry(partition.state().to_owned()).or_default() += 1;
    }
    for group in group::all(&mut cloudhsm).await? {
        view.groups += 1;
        if group.state == "DEGRADED" {
            view.healthy = false;
            view.degraded.push(format!("{} {}", id_of(&group.arn), group.label));
        }
        *view.group_states.entry(group.state).or_default() += 1;
    }
    for client in client::all(&mut cloudhsm).await? {
        view.clients += 1;
        let Some(end) = expiry::end(&client.certificate) else {
            continue;
        };
        if end.days < SOON_DAYS {
            view.expiring.push(Expiring {
                kind: "client",
                name: client.label,
                not_after: end.date,
                days: end.days,
            });
        }
    }
    // Not every role may see these two.
    if let Ok(answer) = IdentityClient::new(channel.clone())
        .list_certificates(ListCertificatesRequest {})
        .await
    {
        let active = answer
            .into_inner()
            .certificates
            .into_iter()
            .filter(|one| one.state == "active");
        for certificate in active {
            let end = expiry::of(Duration::from_secs(certificate.not_after));
            if end.days < SOON_DAYS {
                view.expiring.push(Expiring {
                    kind: "administrator",
                    name: certificate.name,
                    not_after: end.date,
                    days: end.days,
                });
            }
        }
    }
    if let Ok(answer) = BackupClient::new(channel).list_automatic(ListAutomaticRequest {}).await {
        let backups = answer.into_inner().backups;
        view.last_backup = backups
            .first()
            .map(|newest| expiry::date(Duration::from_millis(newest.modified_ms)));
    }
    Ok(view)
}

/// A certificate that ends soon, or has ended.
#[derive(Serialize)]
struct Expiring {
    kind: &'static str,
    name: String,
    not_after: String,
    days: i64,
}

#[derive(Serialize)]
struct StatusView {
    healthy: bool,
    version: String,
    node: String,
    dev: bool,
    uptime_seconds: u64,
    hsms: u32,
    hsm_states: BTreeMap<String, u32>,
    partitions: u32,
    partition_states: BTreeMap<String, u32>,
    groups: u32,
    group_states: BTreeMap<String, u32>,
    degraded: Vec<String>,
    clients: u32,
    expiring: Vec<Expiring>,
    /// The newest automatic backup of the store.
    last_backup: Option<String>,
    connections: u32,
    requests: u64,
    revision: u64,
    memory: String,
    data_socket: String,
    quarantined: Vec<String>,
    troubles: Vec<String>,
    notices: Vec<String>,
    /// Of the power-on self-tests.
    self_tests: BTreeMap<String, bool>,
}

impl From<StatusResponse> for StatusView {
    fn from(status: StatusResponse) -> Self {
        Self {
            healthy: status.quarantined.is_empty() && status.troubles.is_empty(),
            version: status.version,
            node: status.node,
            dev: status.dev,
            uptime_seconds: status.uptime_seconds,
            hsms: status.hsms,
            hsm_states: BTreeMap::new(),
            partitions: status.partitions,
            partition_states: BTreeMap::new(),
            groups: 0,
            group_states: BTreeMap::new(),
            degraded: Vec::new(),
            clients: 0,
            expiring: Vec::new(),
            last_backup: None,
            connections: status.connections,
            requests: status.requests,
            revision: status.revision,
            memory: status.memory,
            data_socket: status.data_socket,
            quarantined: status.quarantined,
            troubles: status.troubles,
            notices: status.notices,
            self_tests: status
                .self_tests
                .into_iter()
                .map(|test| (test.name, test.passed))
                .collect(),
        }
    }
}

/// `3 (2 RUNNING, 1 SUSPENDED)`
fn counted(count: u32, states: &BTreeMap<String, u32>) -> String {
    let states: Vec<_> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    if states.is_empty() {
        return count.to_string();
    }
    format!("{count} ({})", states.join(", "))
}

/// `19 passed`, or which have failed.
fn tested(tests: &BTreeMap<String, bool>) -> String {
    let failed: Vec<_> = tests
        .iter()
        .filter(|(_, passed)| !**passed)
        .map(|(name, _)| name.as_str())
        .collect();
    match (tests.len(), failed.is_empty()) {
        (0, _) => "none".to_owned(),
        (count, true) => format!("{count} passed"),
        (_, false) => format!("failed: {}", failed.join(", ")),
    }
}

impl Table for StatusView {
    fn rows(&self) -> Vec<Vec<String>> {
        let state = match (self.troubles.is_empty() && self.quarantined.is_empty(), self.healthy) {
            (false, _) => "in trouble",
            (true, false) => "degraded",
            (true, true) => "ok",
        };
        let kind = if self.dev { " (development)" } else { "" };
        let mut rows = vec![
            ("State", state.to_owned()),
            ("Version", format!("{}{kind}", self.version)),
            ("Node", self.node.clone()),
            ("Uptime", format!("{} s", self.uptime_seconds)),
            ("HSMs", counted(self.hsms, &self.hsm_states)),
            ("Partitions", counted(self.partitions, &self.partition_states)),
            ("Groups", counted(self.groups, &self.group_states)),
            ("Clients", self.clients.to_string()),
            ("Connections", self.connections.to_string()),
            ("Requests", self.requests.to_string()),
            ("Revision", self.revision.to_string()),
            (
                "Backup",
                self.last_backup.clone().unwrap_or_else(|| "none yet".to_owned()),
            ),
            ("Memory", self.memory.clone()),
            ("Data socket", self.data_socket.clone()),
            ("Self-tests", tested(&self.self_tests)),
        ];
        rows.extend(self.degraded.iter().map(|name| ("Degraded", name.clone())));
        rows.extend(self.expiring.iter().map(|end| {
            let text = format!("{} {}: {} ({} days)", end.kind, end.name, end.not_after, end.days);
            ("Expires", text)
        }));
        rows.extend(self.quarantined.iter().map(|name| ("Quarantined", name.clone())));
        rows.extend(self.troubles.iter().map(|trouble| ("Trouble", trouble.clone())));
        rows.extend(self.notices.iter().map(|notice| ("Notice", notice.clone())));
        record(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_counted_in_brackets() {
        assert_eq!(counted(0, &BTreeMap::new()), "0");
        let states = BTreeMap::from([("RUNNING".to_owned(), 2), ("SUSPENDED".to_owned(), 1)]);
        assert_eq!(counted(3, &states), "3 (2 RUNNING, 1 SUSPENDED)");
    }
}
