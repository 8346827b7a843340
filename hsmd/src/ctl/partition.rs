//! `hsmctl partition`: tokens in slots.

use super::Format;
use super::exit::{Error, Exit};
use super::officer::{HsmSoPin, SoPin, message};
use super::output::{Table, list, show, the_one};
use super::provision::{self, Limits};
use super::secret::PinSource;
use clap::Subcommand;
use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use hsmd_control::admin::{self, CreatePartitionRequest, DeletePartitionRequest, ListPartitionsRequest};
use serde::Serialize;
use tonic::transport::Channel;

/// The verbs.
#[derive(Subcommand)]
pub(super) enum Partition {
    /// Creates a partition: with PINs its token is ready to use, without them C_InitToken initialises it.
    #[command(
        after_help = "Examples:\n  hsmctl partition create payments --hsm hsm-2b3c4d5e\n  hsmctl partition create archive --policy strict --hsm hsm-2b3c4d5e\n  hsmctl partition create api --so-pin-file so.txt --pin-file pin.txt --max-objects 1000 --hsm hsm-2b3c4d5e"
    )]
    Create {
        /// The label, and that of the token if it is initialised.
        label: String,
        /// Initialise the token: what no argument gives is taken from the systemd credentials `so-pin` and `pin`, or asked for.
        #[arg(long)]
        init: bool,
        #[command(flatten)]
        so_pin: SoPin,
        #[command(flatten)]
        pin: PinSource,
        #[command(flatten)]
        limits: Limits,
        #[command(flatten)]
        officer: HsmSoPin,
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
        #[command(flatten)]
        officer: HsmSoPin,
    },
    /// Gives the user a new PIN, by the security officer's; the user's logins end.
    #[command(after_help = "Example:\n  hsmctl partition reset-pin web --so-pin-file so.txt --pin-file pin.txt")]
    ResetPin(provision::ResetPin),
    /// Gives the crypto user a PIN, by the user's: who logs in with it uses keys and changes none. If it had one, all logins end.
    #[command(after_help = "Example:\n  hsmctl partition crypto-user web --pin-file pin.txt --cu-pin-file cu.txt")]
    CryptoUser(provision::CryptoUser),
    /// Seals everything in a partition anew under a new key; the PINs of all its roles are needed and stay, its logins end.
    #[command(after_help = "Example:\n  hsmctl partition rekey web --so-pin-file so.txt --pin-file pin.txt")]
    Rekey(provision::Rekey),
    /// Sets how much a partition may hold; what is not named stays.
    #[command(after_help = "Example:\n  hsmctl partition resize web --max-objects 1000 --max-bytes 1000000")]
    Resize(provision::Resize),
    /// Makes the policy of a partition stricter; it is never loosened.
    #[command(after_help = "Example:\n  hsmctl partition tighten old --policy strict")]
    Tighten(provision::Tighten),
    /// Lists the roles of a partition.
    #[command(after_help = "Example:\n  hsmctl partition roles web")]
    Roles {
        /// Serial number, ARN or label.
        partition: String,
    },
    /// Opens a role that wrong PINs have closed; no PIN changes.
    #[command(after_help = "Example:\n  hsmctl partition unlock web --role user")]
    Unlock {
        /// Serial number, ARN or label.
        partition: String,
        /// so, user or cu.
        #[arg(long, value_name = "ROLE")]
        role: String,
    },
}

/// Runs a verb.
pub(super) async fn run(channel: Channel, command: Partition, format: Format) -> Result<Exit, Error> {
    let mut client = HsmAdminClient::new(channel.clone());
    match command {
        Partition::Create {
            label,
            init,
            so_pin,
            pin,
            limits,
            officer,
            policy,
            hsm,
        } => {
            let (so_pin, user_pin) = if init || so_pin.is_given() || pin.is_given() {
                let so_pin = so_pin
                    .source()
                    .read_new("so-pin", "New PIN of the security officer: ")?;
                let user_pin = pin.read_new("pin", "New PIN of the user: ")?;
                (Some(message(&so_pin)), Some(message(&user_pin)))
            } else {
                (None, None)
            };
            let created = client
                .create_partition(CreatePartitionRequest {
                    hsm,
                    label,
                    policy,
                    so_pin,
                    user_pin,
                    max_objects: limits.max_objects.unwrap_or_default(),
                    max_bytes: limits.max_bytes.unwrap_or_default(),
                    hsm_so_pin: officer.read()?,
                })
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
            officer,
        } => delete(client, partition, (yes, dry_run), &officer, format).await,
        Partition::ResetPin(reset) => provision::reset_pin(channel, reset, format).await,
        Partition::CryptoUser(pins) => provision::crypto_user(channel, pins, format).await,
        Partition::Rekey(rekey) => provision::rekey(channel, rekey, format).await,
        Partition::Resize(resize) => provision::resize(channel, resize, format).await,
        Partition::Tighten(tighten) => provision::tighten(channel, tighten, format).await,
        Partition::Roles { partition } => provision::roles(channel, &partition, format).await,
        Partition::Unlock { partition, role } => provision::unlock(channel, &partition, role, format).await,
    }
}

async fn delete(
    mut client: HsmAdminClient<Channel>,
    name: String,
    (yes, dry_run): (bool, bool),
    officer: &HsmSoPin,
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
        .delete_partition(DeletePartitionRequest {
            partition: serial,
            hsm_so_pin: officer.read()?,
        })
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
    #[serde(skip)]
    user_pin: bool,
    hsm_arn: String,
    /// 0: no limit.
    max_objects: u64,
    /// 0: no limit.
    max_bytes: u64,
    objects: u64,
    bytes: u64,
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
            user_pin: partition.user_pin,
            hsm_arn: partition.hsm_arn,
            max_objects: partition.max_objects,
            max_bytes: partition.max_bytes,
            objects: partition.objects,
            bytes: partition.bytes,
        }
    }
}

impl PartitionView {
    /// Whether its user has a PIN.
    pub(super) const fn has_user_pin(&self) -> bool {
        self.user_pin
    }

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
pub(super) struct PartitionList(Vec<PartitionView>);

impl PartitionList {
    /// One of them.
    pub(super) fn one(partition: admin::Partition) -> Self {
        Self(vec![partition.into()])
    }
}

impl Table for PartitionList {
    fn rows(&self) -> Vec<Vec<String>> {
        let heading = ["SERIAL", "LABEL", "TOKEN LABEL", "SLOT", "POLICY", "OBJECTS", "STATE"];
        let rows = self.0.iter().map(|partition| {
            [
                partition.serial.clone(),
                partition.label.clone(),
                partition.token_label.clone(),
                partition.slot.to_string(),
                partition.policy.clone(),
                match partition.max_objects {
                    0 => partition.objects.to_string(),
                    most => format!("{} of {most}", partition.objects),
                },
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
