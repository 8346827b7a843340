//! `hsmctl hsm` and `hsmctl zones`.

use super::exit::{Error, Exit};
use super::output::{Table, id_of, list, record, show, the_one};
use super::wait::{Wait, after_hsm};
use super::{Format, officer};
use clap::Subcommand;
use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use hsmd_control::admin::{ResumeHsmRequest, SuspendHsmRequest};
use hsmd_control::cloudhsm::cloud_hsm_client::CloudHsmClient;
use hsmd_control::cloudhsm::{
    CreateHsmRequest, DeleteHsmRequest, DescribeHsmRequest, DescribeHsmResponse, ListAvailableZonesRequest,
    ListHsmsRequest, ModifyHsmRequest,
};
use serde::Serialize;
use tonic::transport::Channel;

/// The verbs.
#[derive(Subcommand)]
pub(super) enum Hsm {
    /// Creates an HSM.
    #[command(
        after_help = "Examples:\n  hsmctl hsm create --wait --timeout 30\n  hsmctl hsm create --subnet subnet-0a1b2c3d --client-token once1"
    )]
    Create {
        /// The subnet in ARNs and descriptions.
        #[arg(long, value_name = "ID", default_value = "subnet-00000000")]
        subnet: String,
        /// The administrator's SSH public key; kept and described.
        #[arg(long, value_name = "KEY", default_value = "")]
        ssh_key: String,
        /// The role in descriptions.
        #[arg(long, value_name = "ARN", default_value = "arn:aws:iam::000000000000:role/hsmd")]
        iam_role: String,
        /// The address; default: chosen by the daemon.
        #[arg(long, value_name = "ADDRESS")]
        hsm_ip: Option<String>,
        /// Kept and described.
        #[arg(long, value_name = "TEXT")]
        external_id: Option<String>,
        /// Where logs are to go; kept.
        #[arg(long, value_name = "ADDRESS")]
        syslog_ip: Option<String>,
        /// Makes a repeated call answer with the same HSM.
        #[arg(long, value_name = "TOKEN")]
        client_token: Option<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Lists HSMs.
    #[command(after_help = "Example:\n  hsmctl hsm list -o json")]
    List,
    /// Describes an HSM, named by id, serial number or ARN.
    #[command(after_help = "Example:\n  hsmctl hsm describe hsm-1a2b3c4d")]
    Describe {
        /// Id, serial number or ARN.
        name: String,
    },
    /// Changes an HSM; what is not named stays.
    #[command(after_help = "Example:\n  hsmctl hsm modify hsm-1a2b3c4d --hsm-ip 10.0.0.77 --wait")]
    Modify {
        /// Id, serial number or ARN.
        name: String,
        /// The new subnet.
        #[arg(long, value_name = "ID")]
        subnet: Option<String>,
        /// The new address.
        #[arg(long, value_name = "ADDRESS")]
        hsm_ip: Option<String>,
        /// The new role.
        #[arg(long, value_name = "ARN")]
        iam_role: Option<String>,
        /// Kept and described.
        #[arg(long, value_name = "TEXT")]
        external_id: Option<String>,
        /// Where logs are to go; kept.
        #[arg(long, value_name = "ADDRESS")]
        syslog_ip: Option<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Deletes an HSM that holds no initialised partition.
    #[command(
        after_help = "Example:\n  hsmctl hsm delete hsm-3c4d5e6f --dry-run\n  hsmctl hsm delete hsm-3c4d5e6f --yes"
    )]
    Delete {
        /// Id, serial number or ARN.
        name: String,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
        /// Say what would go, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Gives an HSM its security officer, label and cloning domain.
    #[command(
        after_help = "Example:\n  hsmctl hsm init hsm-3c4d5e6f --label vault --so-pin-file so.txt --domain-file pin.txt"
    )]
    Init(officer::Init),
    /// Destroys everything in an HSM: partitions, keys, security officer. The HSM stays.
    #[command(
        after_help = "Examples:\n  hsmctl hsm zeroize hsm-3c4d5e6f --dry-run\n  hsmctl hsm zeroize hsm-3c4d5e6f --yes"
    )]
    Zeroize {
        /// Id, serial number or ARN.
        name: String,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
        /// Say what would go, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Says how the security officer of an HSM stands.
    #[command(after_help = "Example:\n  hsmctl hsm officer hsm-1a2b3c4d")]
    Officer {
        /// Id, serial number or ARN.
        name: String,
    },
    /// Takes the tokens of an HSM away, to rehearse its loss; its slots stay.
    #[command(after_help = "Example:\n  hsmctl hsm suspend hsm-1a2b3c4d")]
    Suspend {
        /// Id, serial number or ARN.
        name: String,
    },
    /// Ends a suspension.
    #[command(after_help = "Example:\n  hsmctl hsm suspend hsm-1a2b3c4d && hsmctl hsm resume hsm-1a2b3c4d")]
    Resume {
        /// Id, serial number or ARN.
        name: String,
    },
}

/// Runs a verb.
pub(super) async fn run(channel: Channel, command: Hsm, format: Format) -> Result<Exit, Error> {
    let mut client = CloudHsmClient::new(channel.clone());
    let arn = match command {
        Hsm::Create {
            subnet,
            ssh_key,
            iam_role,
            hsm_ip,
            external_id,
            syslog_ip,
            client_token,
            wait,
        } => {
            let request = CreateHsmRequest {
                subnet_id: Some(subnet),
                ssh_key: Some(ssh_key),
                eni_ip: hsm_ip,
                iam_role_arn: Some(iam_role),
                external_id,
                subscription_type: Some("PRODUCTION".into()),
                client_token,
                syslog_ip,
            };
            let arn = client.create_hsm(request).await?.into_inner().hsm_arn;
            after_hsm(&mut client, &arn, wait).await?;
            arn
        }
        Hsm::List => return show(&HsmList(all(&mut client).await?), format),
        Hsm::Describe { name } => find(&mut client, &name).await?.arn,
        Hsm::Modify {
            name,
            subnet,
            hsm_ip,
            iam_role,
            external_id,
            syslog_ip,
            wait,
        } => {
            let request = ModifyHsmRequest {
                hsm_arn: Some(find(&mut client, &name).await?.arn),
                subnet_id: subnet,
                eni_ip: hsm_ip,
                iam_role_arn: iam_role,
                external_id,
                syslog_ip,
            };
            let arn = client.modify_hsm(request).await?.into_inner().hsm_arn;
            after_hsm(&mut client, &arn, wait).await?;
            arn
        }
        Hsm::Delete { name, yes, dry_run } => {
            let view = find(&mut client, &name).await?;
            if dry_run {
                return show(&view, format);
            }
            super::confirm::sure(yes, &format!("deleting {name} takes its slots away"))?;
            let hsm_arn = Some(view.arn.clone());
            client.delete_hsm(DeleteHsmRequest { hsm_arn }).await?;
            view.arn
        }
        Hsm::Init(init) => return officer::init(channel, init, format).await,
        Hsm::Zeroize { name, yes, dry_run } => {
            return officer::zeroize(channel, &name, (yes, dry_run), format).await;
        }
        Hsm::Officer { name } => return officer::describe(channel, &name, format).await,
        Hsm::Suspend { name } => {
            let hsm = find(&mut client, &name).await?.arn;
            let request = SuspendHsmRequest { hsm: hsm.clone() };
            HsmAdminClient::new(channel).suspend_hsm(request).await?;
            hsm
        }
        Hsm::Resume { name } => {
            let hsm = find(&mut client, &name).await?.arn;
            let request = ResumeHsmRequest { hsm: hsm.clone() };
            HsmAdminClient::new(channel).resume_hsm(request).await?;
            hsm
        }
    };
    show(&describe(&mut client, &arn).await?, format)
}

/// `hsmctl zones`.
pub(super) async fn zones(channel: Channel, format: Format) -> Result<Exit, Error> {
    let answer = CloudHsmClient::new(channel)
        .list_available_zones(ListAvailableZonesRequest {})
        .await?;
    let zones = answer.into_inner().az_list.into_iter().map(|zone| Zone { zone });
    show(&Zones(zones.collect()), format)
}

/// All, page by page.
pub(super) async fn all(client: &mut CloudHsmClient<Channel>) -> Result<Vec<HsmView>, Error> {
    let mut hsms = Vec::new();
    let mut next_token = None;
    loop {
        let page = client.list_hsms(ListHsmsRequest { next_token }).await?.into_inner();
        for arn in page.hsm_list {
            hsms.push(describe(client, &arn).await?);
        }
        if page.next_token.is_empty() {
            return Ok(hsms);
        }
        next_token = Some(page.next_token);
    }
}

/// The HSM of an ARN, serial number or id; the modelled operation knows the first two.
pub(super) async fn find(client: &mut CloudHsmClient<Channel>, name: &str) -> Result<HsmView, Error> {
    if !name.starts_with("hsm-") {
        return describe(client, name).await;
    }
    let end = format!(":{name}");
    let hits = all(client).await?.into_iter().filter(|hsm| hsm.arn.ends_with(&end));
    the_one(hits, ("HSM", "HSMs"), name)
}

/// Describes one.
pub(super) async fn describe(client: &mut CloudHsmClient<Channel>, name: &str) -> Result<HsmView, Error> {
    let name = Some(name.to_owned());
    let (hsm_arn, hsm_serial_number) = match name {
        Some(name) if name.starts_with("arn:") => (Some(name), None),
        name => (None, name),
    };
    let request = DescribeHsmRequest {
        hsm_arn,
        hsm_serial_number,
    };
    Ok(client.describe_hsm(request).await?.into_inner().into())
}

#[derive(Serialize)]
struct Zone {
    zone: String,
}

#[derive(Serialize)]
struct Zones(Vec<Zone>);

impl Table for Zones {
    fn rows(&self) -> Vec<Vec<String>> {
        list(["ZONE"], self.0.iter().map(|zone| [zone.zone.clone()]))
    }
}

/// An HSM as it is shown.
#[derive(Serialize)]
pub(super) struct HsmView {
    id: String,
    pub(super) arn: String,
    pub(super) serial: String,
    pub(super) status: String,
    availability_zone: String,
    subnet_id: String,
    vpc_id: String,
    eni_id: String,
    address: String,
    iam_role_arn: String,
    ssh_public_key: String,
    subscription_type: String,
    subscription_start_date: String,
    subscription_end_date: String,
    software_version: String,
    partitions: Vec<String>,
}

impl From<DescribeHsmResponse> for HsmView {
    fn from(hsm: DescribeHsmResponse) -> Self {
        Self {
            id: id_of(&hsm.hsm_arn),
            arn: hsm.hsm_arn,
            serial: hsm.serial_number,
            status: hsm.status,
            availability_zone: hsm.availability_zone,
            subnet_id: hsm.subnet_id,
            vpc_id: hsm.vpc_id,
            eni_id: hsm.eni_id,
            address: hsm.eni_ip,
            iam_role_arn: hsm.iam_role_arn,
            ssh_public_key: hsm.ssh_public_key,
            subscription_type: hsm.subscription_type,
            subscription_start_date: hsm.subscription_start_date,
            subscription_end_date: hsm.subscription_end_date,
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
            ("Address", self.address.clone()),
            ("Subnet", self.subnet_id.clone()),
        ];
        rows.extend(self.partitions.iter().map(|arn| ("Partition", arn.clone())));
        record(rows)
    }
}

#[derive(Serialize)]
struct HsmList(Vec<HsmView>);

impl Table for HsmList {
    fn rows(&self) -> Vec<Vec<String>> {
        let heading = ["ID", "SERIAL", "STATUS", "ADDRESS", "PARTITIONS"];
        let rows = self.0.iter().map(|hsm| {
            let serials: Vec<_> = hsm.partitions.iter().filter_map(|arn| arn.rsplit('-').next()).collect();
            [
                hsm.id.clone(),
                hsm.serial.clone(),
                hsm.status.clone(),
                hsm.address.clone(),
                serials.join(","),
            ]
        });
        list(heading, rows)
    }
}
