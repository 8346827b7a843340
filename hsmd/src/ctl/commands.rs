//! The commands that ask the daemon.

use super::connect::connect;
use super::exit::{Error, Exit};
use super::output::{Table, list, record, show};
use super::{Command, Format, Partition, client, group, hsm, tag};
use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use hsmd_control::admin::{
    self, CreatePartitionRequest, DeletePartitionRequest, ListPartitionsRequest, StatusRequest, StatusResponse,
};
use serde::Serialize;
use tonic::transport::Channel;

/// Runs a command.
pub(super) async fn run(command: Command, endpoint: Option<&str>, format: Format) -> Result<Exit, Error> {
    let channel = connect(endpoint).await?;
    match command {
        Command::Status => status(channel, format).await,
        Command::Hsm(command) => hsm::run(channel, command, format).await,
        Command::Partition(command) => partition(channel, command, format).await,
        Command::Group(command) => group::run(channel, command, format).await,
        Command::Client(command) => client::run(channel, command, format).await,
        Command::Tag(command) => tag::run(channel, command, format).await,
        Command::Zones => hsm::zones(channel, format).await,
        Command::Completion { .. } | Command::Man => Ok(Exit::Ok),
    }
}

async fn status(channel: Channel, format: Format) -> Result<Exit, Error> {
    let status = HsmAdminClient::new(channel)
        .status(StatusRequest {})
        .await?
        .into_inner();
    let view = StatusView::from(status);
    show(&view, format)?;
    Ok(if view.healthy { Exit::Ok } else { Exit::Failed })
}

async fn partition(channel: Channel, command: Partition, format: Format) -> Result<Exit, Error> {
    let mut client = HsmAdminClient::new(channel);
    match command {
        Partition::Create { label, policy, hsm } => {
            let created = client
                .create_partition(CreatePartitionRequest { hsm, label, policy })
                .await?
                .into_inner();
            let created = created
                .partition
                .ok_or_else(|| Error::new(Exit::Failed, "the daemon sent no partition"))?;
            show(&PartitionList(vec![created.into()]), format)
        }
        Partition::List { hsm } => {
            let list = client
                .list_partitions(ListPartitionsRequest { hsm })
                .await?
                .into_inner();
            show(
                &PartitionList(list.partitions.into_iter().map(Into::into).collect()),
                format,
            )
        }
        Partition::Delete {
            partition,
            yes,
            dry_run,
        } => delete(client, partition, yes, dry_run, format).await,
    }
}

async fn delete(
    mut client: HsmAdminClient<Channel>,
    name: String,
    yes: bool,
    dry_run: bool,
    format: Format,
) -> Result<Exit, Error> {
    let list = client
        .list_partitions(ListPartitionsRequest::default())
        .await?
        .into_inner();
    let found = list
        .partitions
        .into_iter()
        .find(|partition| partition.serial == name || partition.arn == name);
    let found = found.ok_or_else(|| Error::new(Exit::NotFound, format!("there is no partition {name}")))?;
    let view = PartitionList(vec![found.into()]);
    if dry_run {
        return show(&view, format);
    }
    super::sure(yes, &format!("deleting {name} destroys all its keys"))?;
    client
        .delete_partition(DeletePartitionRequest { partition: name })
        .await?;
    show(&view, format)
}

#[derive(Serialize)]
struct StatusView {
    healthy: bool,
    version: String,
    node: String,
    dev: bool,
    uptime_seconds: u64,
    hsms: u32,
    partitions: u32,
    connections: u32,
    requests: u64,
    revision: u64,
    memory: String,
    data_socket: String,
    quarantined: Vec<String>,
    troubles: Vec<String>,
    notices: Vec<String>,
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
            partitions: status.partitions,
            connections: status.connections,
            requests: status.requests,
            revision: status.revision,
            memory: status.memory,
            data_socket: status.data_socket,
            quarantined: status.quarantined,
            troubles: status.troubles,
            notices: status.notices,
        }
    }
}

impl Table for StatusView {
    fn rows(&self) -> Vec<Vec<String>> {
        let state = if self.healthy { "ok" } else { "in trouble" };
        let kind = if self.dev { " (development)" } else { "" };
        let mut rows = vec![
            ("State", state.to_owned()),
            ("Version", format!("{}{kind}", self.version)),
            ("Node", self.node.clone()),
            ("Uptime", format!("{} s", self.uptime_seconds)),
            ("HSMs", self.hsms.to_string()),
            ("Partitions", self.partitions.to_string()),
            ("Connections", self.connections.to_string()),
            ("Requests", self.requests.to_string()),
            ("Revision", self.revision.to_string()),
            ("Memory", self.memory.clone()),
            ("Data socket", self.data_socket.clone()),
        ];
        rows.extend(self.quarantined.iter().map(|name| ("Quarantined", name.clone())));
        rows.extend(self.troubles.iter().map(|trouble| ("Trouble", trouble.clone())));
        rows.extend(self.notices.iter().map(|notice| ("Notice", notice.clone())));
        record(rows)
    }
}

#[derive(Serialize)]
struct PartitionView {
    serial: String,
    label: String,
    token_label: String,
    slot: u32,
    policy: String,
    state: &'static str,
    free: bool,
    trouble: String,
    arn: String,
    hsm_arn: String,
}

impl From<admin::Partition> for PartitionView {
    fn from(partition: admin::Partition) -> Self {
        let state = match (partition.initialized, partition.user_pin) {
            _ if !partition.trouble.is_empty() => "in trouble",
            (false, _) if partition.free => "free",
            (false, _) => "not initialised",
            (true, false) => "no user PIN",
            (true, true) => "ready",
        };
        Self {
            serial: partition.serial,
            label: partition.label,
            token_label: partition.token_label,
            slot: partition.slot,
            policy: partition.policy,
            state,
            free: partition.free,
            trouble: partition.trouble,
            arn: partition.arn,
            hsm_arn: partition.hsm_arn,
        }
    }
}

#[derive(Serialize)]
struct PartitionList(Vec<PartitionView>);

impl Table for PartitionList {
    fn rows(&self) -> Vec<Vec<String>> {
        let heading = ["SERIAL", "LABEL", "TOKEN", "SLOT", "POLICY", "STATE"];
        let rows = self.0.iter().map(|partition| {
            [
                partition.serial.clone(),
                partition.label.clone(),
                partition.token_label.clone(),
                partition.slot.to_string(),
                partition.policy.clone(),
                partition.state.to_owned(),
            ]
        });
        list(heading, rows)
    }
}
