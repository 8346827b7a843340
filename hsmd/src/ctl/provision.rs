//! `hsmctl partition rekey|reset-pin|crypto-user|resize|tighten|roles|unlock`: what is done with partitions that are there.

use super::Format;
use super::backup::say;
use super::exit::{Error, Exit};
use super::officer::{HsmSoPin, SoPin, message};
use super::output::{Table, list, show};
use super::partition::{PartitionList, find};
use super::secret::PinSource;
use clap::Args;
use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use hsmd_control::admin::{
    self, ListRolesRequest, RekeyPartitionRequest, ResetPartitionPinRequest, ResizePartitionRequest,
    SetCryptoUserPinRequest, TightenPartitionRequest, UnlockRoleRequest, rekey_partition_response,
};
use serde::Serialize;
use std::path::PathBuf;
use tonic::transport::Channel;

/// Limits of a partition.
#[derive(Args, Clone, Copy, Default)]
pub(super) struct Limits {
    /// The most token objects; 0: no limit.
    #[arg(long, value_name = "NUMBER")]
    pub(super) max_objects: Option<u64>,
    /// The most bytes of them as stored; 0: no limit.
    #[arg(long, value_name = "BYTES")]
    pub(super) max_bytes: Option<u64>,
}

/// `hsmctl partition resize`.
#[derive(Args)]
pub(super) struct Resize {
    /// Serial number, ARN or label.
    partition: String,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    officer: HsmSoPin,
}

/// `hsmctl partition tighten`.
#[derive(Args)]
pub(super) struct Tighten {
    /// Serial number, ARN or label.
    partition: String,
    /// standard, strict or fips.
    #[arg(long, value_name = "NAME")]
    policy: String,
    #[command(flatten)]
    officer: HsmSoPin,
}

/// `hsmctl partition reset-pin`.
#[derive(Args)]
pub(super) struct ResetPin {
    /// Serial number, ARN or label.
    partition: String,
    #[command(flatten)]
    so_pin: SoPin,
    #[command(flatten)]
    pin: PinSource,
}

/// `hsmctl partition crypto-user`.
#[derive(Args)]
pub(super) struct CryptoUser {
    /// Serial number, ARN or label.
    partition: String,
    #[command(flatten)]
    pin: PinSource,
    #[command(flatten)]
    cu_pin: CuPin,
}

/// The PIN of a crypto user.
#[derive(Args, Clone, Default)]
struct CuPin {
    /// Read the crypto user's PIN from a file; default: the systemd credential `cu-pin`, or a prompt.
    #[arg(long, value_name = "PATH")]
    cu_pin_file: Option<PathBuf>,
    /// Read the crypto user's PIN from an open file descriptor.
    #[arg(long, value_name = "NUMBER", conflicts_with = "cu_pin_file")]
    cu_pin_fd: Option<u32>,
}

impl CuPin {
    fn source(&self) -> PinSource {
        PinSource::of(self.cu_pin_file.clone(), self.cu_pin_fd)
    }
}

/// `hsmctl partition rekey`.
#[derive(Args)]
pub(super) struct Rekey {
    /// Serial number, ARN or label.
    partition: String,
    #[command(flatten)]
    so_pin: SoPin,
    #[command(flatten)]
    pin: PinSource,
    #[command(flatten)]
    cu_pin: CuPin,
    #[command(flatten)]
    officer: HsmSoPin,
}

/// Seals everything in a partition anew under a new key.
pub(super) async fn rekey(channel: Channel, rekey: Rekey, format: Format) -> Result<Exit, Error> {
    let mut client = HsmAdminClient::new(channel);
    let found = find(&mut client, &rekey.partition).await?;
    let so_pin = rekey.so_pin.source().read("so-pin", "PIN of the security officer: ")?;
    let user_pin = match found.has_user_pin() {
        true => Some(message(&rekey.pin.read("pin", "PIN of the user: ")?)),
        false => None,
    };
    let crypto_user_pin = match has_crypto_user(&mut client, &found.serial).await? {
        true => Some(message(
            &rekey.cu_pin.source().read("cu-pin", "PIN of the crypto user: ")?,
        )),
        false => None,
    };
    let request = RekeyPartitionRequest {
        partition: found.serial,
        so_pin: Some(message(&so_pin)),
        user_pin,
        crypto_user_pin,
        hsm_so_pin: rekey.officer.read()?,
    };
    let mut parts = client.rekey_partition(request).await?.into_inner();
    let mut done = None;
    while let Some(answer) = parts.message().await? {
        match answer.part {
            Some(rekey_partition_response::Part::Progress(now)) => {
                say(&format!("{} of {} records", now.records, now.of))
            }
            Some(rekey_partition_response::Part::Partition(partition)) => done = Some(partition),
            None => {}
        }
    }
    say("");
    let done = done.ok_or_else(|| Error::new(Exit::Failed, "the daemon did not say that it is done"))?;
    show(&PartitionList::one(done), format)
}

/// Sets how much a partition may hold.
pub(super) async fn resize(channel: Channel, resize: Resize, format: Format) -> Result<Exit, Error> {
    let mut client = HsmAdminClient::new(channel);
    let request = ResizePartitionRequest {
        partition: find(&mut client, &resize.partition).await?.serial,
        max_objects: resize.limits.max_objects,
        max_bytes: resize.limits.max_bytes,
        hsm_so_pin: resize.officer.read()?,
    };
    let partition = client.resize_partition(request).await?.into_inner().partition;
    show(&PartitionList::one(partition.unwrap_or_default()), format)
}

/// Makes the policy of a partition stricter.
pub(super) async fn tighten(channel: Channel, tighten: Tighten, format: Format) -> Result<Exit, Error> {
    let mut client = HsmAdminClient::new(channel);
    let request = TightenPartitionRequest {
        partition: find(&mut client, &tighten.partition).await?.serial,
        policy: tighten.policy,
        hsm_so_pin: tighten.officer.read()?,
    };
    let partition = client.tighten_partition(request).await?.into_inner().partition;
    show(&PartitionList::one(partition.unwrap_or_default()), format)
}

/// Gives the user a new PIN.
pub(super) async fn reset_pin(channel: Channel, reset: ResetPin, format: Format) -> Result<Exit, Error> {
    let mut client = HsmAdminClient::new(channel.clone());
    let partition = find(&mut client, &reset.partition).await?.serial;
    let so_pin = reset.so_pin.source().read("so-pin", "PIN of the security officer: ")?;
    let user_pin = reset.pin.read_new("pin", "New PIN of the user: ")?;
    let request = ResetPartitionPinRequest {
        partition: partition.clone(),
        so_pin: Some(message(&so_pin)),
        user_pin: Some(message(&user_pin)),
    };
    client.reset_partition_pin(request).await?;
    roles(channel, &partition, format).await
}

/// Gives the crypto user a PIN.
pub(super) async fn crypto_user(channel: Channel, pins: CryptoUser, format: Format) -> Result<Exit, Error> {
    let mut client = HsmAdminClient::new(channel.clone());
    let partition = find(&mut client, &pins.partition).await?.serial;
    let user_pin = pins.pin.read("pin", "PIN of the user: ")?;
    let crypto_user_pin = pins
        .cu_pin
        .source()
        .read_new("cu-pin", "New PIN of the crypto user: ")?;
    let request = SetCryptoUserPinRequest {
        partition: partition.clone(),
        user_pin: Some(message(&user_pin)),
        crypto_user_pin: Some(message(&crypto_user_pin)),
    };
    client.set_crypto_user_pin(request).await?;
    roles(channel, &partition, format).await
}

async fn has_crypto_user(client: &mut HsmAdminClient<Channel>, partition: &str) -> Result<bool, Error> {
    let request = ListRolesRequest {
        partition: partition.to_owned(),
    };
    let roles = client.list_roles(request).await?.into_inner().roles;
    Ok(roles.iter().any(|role| role.name == "cu" && role.initialized))
}

/// Lists the roles of a partition.
pub(super) async fn roles(channel: Channel, name: &str, format: Format) -> Result<Exit, Error> {
    let mut client = HsmAdminClient::new(channel);
    let partition = find(&mut client, name).await?.serial;
    let roles = client
        .list_roles(ListRolesRequest { partition })
        .await?
        .into_inner()
        .roles;
    show(&RoleList(roles.into_iter().map(RoleView::from).collect()), format)
}

/// Opens a role that wrong PINs have closed.
pub(super) async fn unlock(channel: Channel, name: &str, role: String, format: Format) -> Result<Exit, Error> {
    let mut client = HsmAdminClient::new(channel);
    let partition = find(&mut client, name).await?.serial;
    let answer = client
        .unlock_role(UnlockRoleRequest { partition, role })
        .await?
        .into_inner();
    show(&RoleList(answer.role.into_iter().map(RoleView::from).collect()), format)
}

#[derive(Serialize)]
struct RoleView {
    role: String,
    pin: &'static str,
    state: &'static str,
}

impl From<admin::Role> for RoleView {
    fn from(role: admin::Role) -> Self {
        Self {
            pin: if role.initialized { "set" } else { "not set" },
            state: match &role {
                role if role.locked => "locked",
                role if role.last_try => "one try left",
                role if role.tried => "wrong PINs were tried",
                _ => "open",
            },
            role: role.name,
        }
    }
}

#[derive(Serialize)]
struct RoleList(Vec<RoleView>);

impl Table for RoleList {
    fn rows(&self) -> Vec<Vec<String>> {
        let rows = self.0.iter();
        let rows = rows.map(|role| [role.role.clone(), role.pin.to_owned(), role.state.to_owned()]);
        list(["ROLE", "PIN", "STATE"], rows)
    }
}
