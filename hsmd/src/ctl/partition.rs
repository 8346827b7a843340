//! `hsmctl partition`: tokens in slots.

use super::Format;
use super::exit::{Error, Exit};
use super::output::{Table, list, show, the_one};
use clap::Subcommand;
use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use hsmd_control::admin::{self, CreatePartitionRequest, DeletePartitionRequest, ListPartitionsRequest};
use serde::Serialize;
use tonic::transport::Channel;

/// The verbs.
#[derive(Subcommand)]
pub(super) enum Partition {
    /// Creates an uninitialised partition; C_InitToken (`pkcs11-tool --init-token`) initialises it.
    #[command(
        after_help = "Examples:\n  hsmctl partition create payments\n  hsmctl partition create web2 --policy strict --hsm hsm-2b3c4d5e"
    )]
    Create {
        /// The label.
        label: String,
        /// standard, strict, fips or legacy; default: the daemon's.
        #[arg(long, value_name = "NAME", default_value = "")]
        policy: String,
        /// Id, serial number or ARN of the HSM; default: the only one.
        #[arg(long, value_name = "HSM", default_value = "")]
        hsm: String,
    },
    /// Lists partitions in the order of their slots.
    #[command(after_help = "Example:\n  hsmctl partition list -o json")]
    List {
        /// Id, serial number or ARN of an HSM; default: all.
        #[arg(long, value_name = "HSM", default_value = "")]
        hsm: String,
    },
    /// Deletes a partition with all its keys.
    #[command(
        after_help = "Examples:\n  hsmctl partition delete old --dry-run\n  hsmctl partition delete 157826003 --yes"
    )]
    Delete {
        /// Serial number, ARN or label.
        partition: String,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
        /// Say what would go, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Runs a verb.
pub(super) async fn run(channel: Channel, command: Partition, format: Format) -> Result<Exit, Error> {
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
    let found = find(&mut client, &name).await?;
    let serial = found.serial.clone();
    let view = PartitionList(vec![found]);
    if dry_run {
        return show(&view, format);
    }
    super::confirm::sure(yes, &format!("deleting {name} destroys all its keys"))?;
    client
        .delete_partition(DeletePartitionRequest { partition: serial })
        .await?;
    show(&view, format)
}

/// The one partition of a serial number, ARN or label.
pub(super) async fn find(client: &mut HsmAdminClient<Channel>, name: &str) -> Result<PartitionView, Error> {
    let list = client
        .list_partitions(ListPartitionsRequest::default())
        .await?
        .into_inner();
    let fits = |found: &admin::Partition| found.serial == name || found.arn == name || found.label == name;
    let hits = list.partitions.into_iter().filter(fits).map(PartitionView::from);
    the_one(hits, ("partition", "partitions"), name)
}

/// A partition as it is shown.
#[derive(Serialize)]
pub(super) struct PartitionView {
    pub(super) serial: String,
    pub(super) label: String,
    pub(super) token_label: String,
    slot: u32,
    policy: String,
    state: &'static str,
    free: bool,
    trouble: String,
    pub(super) arn: String,
    hsm_arn: String,
    /// RFC 7512, for programs that take one.
    pub(super) uri: String,
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
            uri: uri(&partition.token_label),
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

impl PartitionView {
    /// free, not initialised, no user PIN, ready, in trouble.
    pub(super) const fn state(&self) -> &'static str {
        self.state
    }
}

/// The RFC 7512 URI of a token.
pub(super) fn uri(token_label: &str) -> String {
    format!("pkcs11:token={}", escaped(token_label))
}

/// A value in an RFC 7512 URI.
pub(super) fn escaped(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte: u8| {
        if plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    value.bytes().map(escape).collect()
}

#[derive(Serialize)]
struct PartitionList(Vec<PartitionView>);

impl Table for PartitionList {
    fn rows(&self) -> Vec<Vec<String>> {
        let heading = ["SERIAL", "LABEL", "TOKEN LABEL", "SLOT", "POLICY", "STATE"];
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

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn a_label_in_a_uri_is_escaped() {
        assert_eq!(uri("web"), "pkcs11:token=web");
        assert_eq!(uri("my token;1"), "pkcs11:token=my%20token%3B1");
    }
}
