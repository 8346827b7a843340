//! `hsmctl hsm init|zeroize|officer`: the security officer of an HSM.

use super::exit::{Error, Exit};
use super::output::{Table, record, show};
use super::secret::PinSource;
use super::{Format, confirm, hsm};
use clap::Args;
use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use hsmd_control::admin::{
    DescribeSecurityOfficerRequest, InitializeHsmRequest, ListPartitionsRequest, Pin, SecurityOfficer,
    ZeroizeHsmRequest,
};
use hsmd_control::cloudhsm::cloud_hsm_client::CloudHsmClient;
use serde::Serialize;
use std::path::PathBuf;
use tonic::transport::Channel;

/// `hsmctl hsm init`.
#[derive(Args)]
pub(super) struct Init {
    /// Id, serial number or ARN.
    name: String,
    /// The HSM's label: 1 to 32 bytes.
    #[arg(short, long)]
    label: String,
    #[command(flatten)]
    so_pin: SoPin,
    /// Read the cloning domain from a file; default: the systemd credential `domain`, or a prompt.
    #[arg(long, value_name = "PATH")]
    domain_file: Option<PathBuf>,
    /// Read the cloning domain from an open file descriptor.
    #[arg(long, value_name = "NUMBER", conflicts_with = "domain_file")]
    domain_fd: Option<u32>,
}

/// The PIN of a security officer.
#[derive(Args, Clone, Default)]
pub(super) struct SoPin {
    /// Read the security officer's PIN from a file; default: the systemd credential `so-pin`, or a prompt.
    #[arg(long, value_name = "PATH")]
    so_pin_file: Option<PathBuf>,
    /// Read the security officer's PIN from an open file descriptor.
    #[arg(long, value_name = "NUMBER", conflicts_with = "so_pin_file")]
    so_pin_fd: Option<u32>,
}

impl SoPin {
    /// Where it comes from.
    pub(super) fn source(&self) -> PinSource {
        PinSource::of(self.so_pin_file.clone(), self.so_pin_fd)
    }

    /// Whether the arguments name it.
    pub(super) const fn is_given(&self) -> bool {
        self.so_pin_file.is_some() || self.so_pin_fd.is_some()
    }
}

/// The PIN of the HSM's security officer, for what is done with its partitions.
#[derive(Args, Clone, Default)]
pub(super) struct HsmSoPin {
    /// Read the PIN of the HSM's security officer from a file; needed where the daemon has `hsm.require_so`.
    #[arg(long, value_name = "PATH")]
    hsm_so_pin_file: Option<PathBuf>,
    /// Read the PIN of the HSM's security officer from an open file descriptor.
    #[arg(long, value_name = "NUMBER", conflicts_with = "hsm_so_pin_file")]
    hsm_so_pin_fd: Option<u32>,
}

impl HsmSoPin {
    /// The PIN, if the arguments name one.
    pub(super) fn read(&self) -> Result<Option<Pin>, Error> {
        if self.hsm_so_pin_file.is_none() && self.hsm_so_pin_fd.is_none() {
            return Ok(None);
        }
        let source = PinSource::of(self.hsm_so_pin_file.clone(), self.hsm_so_pin_fd);
        let pin = source.read("hsm-so-pin", "PIN of the HSM's security officer: ")?;
        Ok(Some(message(&pin)))
    }
}

/// A secret as the message that is wiped when it is dropped.
pub(super) fn message(secret: &str) -> Pin {
    Pin {
        value: secret.as_bytes().to_vec(),
    }
}

/// Gives an HSM its security officer.
pub(super) async fn init(channel: Channel, init: Init, format: Format) -> Result<Exit, Error> {
    let hsm = hsm::find(&mut CloudHsmClient::new(channel.clone()), &init.name)
        .await?
        .arn;
    let so_pin = init
        .so_pin
        .source()
        .read_new("so-pin", "New PIN of the HSM's security officer: ")?;
    let domain = PinSource::of(init.domain_file, init.domain_fd).read_new("domain", "Cloning domain: ")?;
    let request = InitializeHsmRequest {
        hsm,
        label: init.label,
        so_pin: Some(message(&so_pin)),
        domain: Some(message(&domain)),
    };
    let answer = HsmAdminClient::new(channel).initialize_hsm(request).await?.into_inner();
    show(&OfficerView::from(answer.officer.unwrap_or_default()), format)
}

/// Says how the security officer of an HSM stands.
pub(super) async fn describe(channel: Channel, name: &str, format: Format) -> Result<Exit, Error> {
    show(&view(channel, name).await?, format)
}

async fn view(channel: Channel, name: &str) -> Result<OfficerView, Error> {
    let hsm = hsm::find(&mut CloudHsmClient::new(channel.clone()), name).await?.arn;
    let request = DescribeSecurityOfficerRequest { hsm };
    let answer = HsmAdminClient::new(channel).describe_security_officer(request).await?;
    Ok(answer.into_inner().officer.unwrap_or_default().into())
}

/// Destroys everything in an HSM.
pub(super) async fn zeroize(
    channel: Channel,
    name: &str,
    (yes, dry_run): (bool, bool),
    format: Format,
) -> Result<Exit, Error> {
    let hsm = hsm::find(&mut CloudHsmClient::new(channel.clone()), name).await?.arn;
    let mut admin = HsmAdminClient::new(channel.clone());
    let request = ListPartitionsRequest { hsm: hsm.clone() };
    let partitions = admin.list_partitions(request).await?.into_inner().partitions.len();
    if !dry_run {
        let what =
            format!("zeroizing {name} destroys its {partitions} partitions with their keys, and its security officer");
        confirm::sure(yes, &what)?;
        admin.zeroize_hsm(ZeroizeHsmRequest { hsm }).await?;
    }
    describe(channel, name, format).await
}

#[derive(Serialize)]
struct OfficerView {
    hsm_arn: String,
    state: &'static str,
    label: String,
    domain: String,
    initialized: bool,
    locked: bool,
}

impl From<SecurityOfficer> for OfficerView {
    fn from(officer: SecurityOfficer) -> Self {
        Self {
            state: match &officer {
                officer if !officer.initialized => "not initialised",
                officer if officer.locked => "locked",
                officer if officer.last_try => "one try left",
                officer if officer.tried => "wrong PINs were tried",
                _ => "ready",
            },
            hsm_arn: officer.hsm_arn,
            label: officer.label,
            domain: officer.domain,
            initialized: officer.initialized,
            locked: officer.locked,
        }
    }
}

impl Table for OfficerView {
    fn rows(&self) -> Vec<Vec<String>> {
        record([
            ("HSM", self.hsm_arn.clone()),
            ("Label", self.label.clone()),
            ("Security officer", self.state.to_owned()),
            ("Domain", self.domain.clone()),
        ])
    }
}
