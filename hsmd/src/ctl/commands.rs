//! The commands that ask the daemon.

use super::connect::connect;
use super::exit::{Error, Exit};
use super::output::{Table, show};
use super::{Command, Format, Hsm, Partition};
use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use hsmd_control::admin::{
    self, CreatePartitionRequest, DeletePartitionRequest, ListPartitionsRequest, StatusRequest, StatusResponse,
};
use hsmd_control::cloudhsm::cloud_hsm_client::CloudHsmClient;
use hsmd_control::cloudhsm::{CreateHsmRequest, DescribeHsmRequest, DescribeHsmResponse, ListHsmsRequest};
use serde::Serialize;
use tonic::transport::Channel;

/// Runs a command.
pub(super) async fn run(command: Command, endpoint: Option<&str>, format: Format) -> Result<Exit, Error> {
    let channel = connect(endpoint).await?;
    match command {
        Command::Status => status(channel, format).await,
        Command::Hsm(command) => hsm(channel, command, format).await,
        Command::Partition(command) => partition(channel, command, format).await,
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

async fn hsm(channel: Channel, command: Hsm, format: Format) -> Result<Exit, Error> {
    let mut client = CloudHsmClient::new(channel);
    match command {
        Hsm::Create {
            subnet,
            ssh_key,
            iam_role,
            client_token,
        } => {
            let request = CreateHsmRequest {
                subnet_id: subnet,
                ssh_key,
                iam_role_arn: iam_role,
                client_token,
                subscription_type: "PRODUCTION".into(),
                ..CreateHsmRequest::default()
            };
            let arn = client.create_hsm(request).await?.into_inner().hsm_arn;
            show(&describe(&mut client, &arn).await?, format)
        }
        Hsm::List => {
            let mut hsms = Vec::new();
            let mut next_token = String::new();
            loop {
                let page = client.list_hsms(ListHsmsRequest { next_token }).await?.into_inner();
                for arn in page.hsm_list {
                    hsms.push(describe(&mut client, &arn).await?);
                }
                next_token = page.next_token;
                if next_token.is_empty() {
                    return show(&HsmList(hsms), format);
                }
            }
        }
        Hsm::Describe { name } => {
            let view = find_hsm(&mut client, &name).await?;
            show(&view, format)
        }
    }
}

/// Describes an HSM by ARN, serial number or id; the modelled operation knows the first two.
async fn find_hsm(client: &mut CloudHsmClient<Channel>, name: &str) -> Result<HsmView, Error> {
    if !name.starts_with("hsm-") {
        return describe(client, name).await;
    }
    let mut next_token = String::new();
    loop {
        let page = client.list_hsms(ListHsmsRequest { next_token }).await?.into_inner();
        let hit = page.hsm_list.iter().find(|arn| arn.ends_with(&format!(":{name}")));
        if let Some(arn) = hit {
            return describe(client, arn).await;
        }
        next_token = page.next_token;
        if next_token.is_empty() {
            return Err(Error::new(Exit::NotFound, format!("there is no HSM {name}")));
        }
    }
}

async fn describe(client: &mut CloudHsmClient<Channel>, name: &str) -> Result<HsmView, Error> {
    let request = if name.starts_with("arn:") {
        DescribeHsmRequest {
            hsm_arn: name.to_owned(),
            ..DescribeHsmRequest::default()
        }
    } else {
        DescribeHsmRequest {
            hsm_serial_number: name.to_owned(),
            ..DescribeHsmRequest::default()
        }
    };
    Ok(client.describe_hsm(request).await?.into_inner().into())
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
    if !yes {
        let message =
            format!("deleting {name} destroys all its keys\n  remedy: say --yes, or look first with --dry-run");
        return Err(Error::new(Exit::Usage, message));
    }
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
        rows.into_iter()
            .map(|(name, value)| vec![name.to_owned(), value])
            .collect()
    }
}

#[derive(Serialize)]
struct HsmView {
    arn: String,
    serial: String,
    status: String,
    availability_zone: String,
    subnet_id: String,
    vpc_id: String,
    eni_id: String,
    eni_ip: String,
    iam_role_arn: String,
    ssh_public_key: String,
    subscription_type: String,
    subscription_start_date: String,
    software_version: String,
    partitions: Vec<String>,
}

impl From<DescribeHsmResponse> for HsmView {
    fn from(hsm: DescribeHsmResponse) -> Self {
        Self {
            arn: hsm.hsm_arn,
            serial: hsm.serial_number,
            status: hsm.status,
            availability_zone: hsm.availability_zone,
            subnet_id: hsm.subnet_id,
            vpc_id: hsm.vpc_id,
            eni_id: hsm.eni_id,
            eni_ip: hsm.eni_ip,
            iam_role_arn: hsm.iam_role_arn,
            ssh_public_key: hsm.ssh_public_key,
            subscription_type: hsm.subscription_type,
            subscription_start_date: hsm.subscription_start_date,
            software_version: hsm.software_version,
            partitions: hsm.partitions,
        }
    }
}

impl Table for HsmView {
    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = vec![
            ("ARN", self.arn.clone()),
            ("Serial", self.serial.clone()),
            ("Status", self.status.clone()),
            ("Zone", self.availability_zone.clone()),
            ("Address", self.eni_ip.clone()),
            ("Subnet", self.subnet_id.clone()),
        ];
        rows.extend(self.partitions.iter().map(|arn| ("Partition", arn.clone())));
        rows.into_iter()
            .map(|(name, value)| vec![name.to_owned(), value])
            .collect()
    }
}

#[derive(Serialize)]
struct HsmList(Vec<HsmView>);

impl Table for HsmList {
    fn rows(&self) -> Vec<Vec<String>> {
        let heading = ["HSM", "SERIAL", "STATUS", "ADDRESS", "PARTITIONS"]
            .map(str::to_owned)
            .to_vec();
        let rows = self.0.iter().map(|hsm| {
            let id = hsm.arn.rsplit(':').next().unwrap_or_default().to_owned();
            let partitions = hsm.partitions.len().to_string();
            vec![
                id,
                hsm.serial.clone(),
                hsm.status.clone(),
                hsm.eni_ip.clone(),
                partitions,
            ]
        });
        std::iter::once(heading).chain(rows).collect()
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
        let heading = ["SERIAL", "LABEL", "TOKEN", "SLOT", "POLICY", "STATE"]
            .map(str::to_owned)
            .to_vec();
        let rows = self.0.iter().map(|partition| {
            vec![
                partition.serial.clone(),
                partition.label.clone(),
                partition.token_label.clone(),
                partition.slot.to_string(),
                partition.policy.clone(),
                partition.state.to_owned(),
            ]
        });
        std::iter::once(heading).chain(rows).collect()
    }
}
