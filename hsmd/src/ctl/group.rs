//! `hsmctl group`: high-availability partition groups.

use super::Format;
use super::exit::{Error, Exit};
use super::officer::message;
use super::output::{Table, id_of, list, record, show, the_one};
use super::secret::{PinSource, Secret};
use super::wait::{Wait, after_group};
use clap::Subcommand;
use hsmd_control::IF_LAST_MODIFIED_KEY;
use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use hsmd_control::admin::{CloneGroupRequest, CloneGroupResponse, VerifyGroupRequest, VerifyGroupResponse};
use hsmd_control::cloudhsm::cloud_hsm_client::CloudHsmClient;
use hsmd_control::cloudhsm::{
    CreateHapgRequest, DeleteHapgRequest, DescribeHapgRequest, DescribeHapgResponse, ListHapgsRequest,
    ModifyHapgRequest, PartitionSerialList,
};
use serde::Serialize;
use tonic::Request;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;

/// The verbs.
#[derive(Subcommand)]
pub(super) enum Group {
    /// Creates a group without members.
    #[command(after_help = "Example:\n  hsmctl group create web")]
    Create {
        /// The label.
        label: String,
    },
    /// Lists groups.
    #[command(after_help = "Example:\n  hsmctl group list -o json")]
    List,
    /// Describes a group.
    #[command(after_help = "Example:\n  hsmctl group describe web")]
    Describe {
        /// Id, ARN, serial number or label.
        name: String,
    },
    /// Changes the label.
    #[command(after_help = "Example:\n  hsmctl group modify web --label shop")]
    Modify {
        /// Id, ARN, serial number or label.
        name: String,
        /// The new label.
        #[arg(long, value_name = "LABEL")]
        label: String,
    },
    /// Adds partitions, each of another HSM. One without a token takes on the group's keys at once; the keys of one with a token
    /// are merged at the next login whose PIN opens both (UPDATING until then).
    #[command(after_help = "Example:\n  hsmctl group add web 157826001 157714001 --wait")]
    Add {
        /// Id, ARN, serial number or label.
        name: String,
        /// Serial numbers.
        #[arg(required = true)]
        partitions: Vec<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Takes partitions out. One that leaves has a copy of the keys, with the same PINs, and goes its own way.
    #[command(after_help = "Example:\n  hsmctl group remove web 157714001 --yes")]
    Remove {
        /// Id, ARN, serial number or label.
        name: String,
        /// Serial numbers.
        #[arg(required = true)]
        partitions: Vec<String>,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
        /// Say what there is, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Says whether all members have the same keys, and what the node that is asked has of them; exit code 1 if they differ. In a
    /// fleet, ask several nodes: at one revision their sums are equal.
    #[command(after_help = "Example:\n  hsmctl group verify web")]
    Verify {
        /// Id, ARN, serial number or label.
        name: String,
    },
    /// Copies the keys of a group, as they are now, to another one. The user's PIN is the same in both.
    #[command(after_help = "Example:\n  hsmctl group clone web bank --pin-file pin.txt")]
    Clone {
        /// Id, ARN, serial number or label of the group whose keys are copied.
        source: String,
        /// Id, ARN, serial number or label of the group that gets them.
        destination: String,
        #[command(flatten)]
        pin: PinSource,
    },
    /// Deletes a group. The keys stay in the partitions that were its members.
    #[command(after_help = "Example:\n  hsmctl group delete web --yes")]
    Delete {
        /// Id, ARN, serial number or label.
        name: String,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
        /// Say what would go, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Runs a verb.
pub(super) async fn run(channel: Channel, command: Group, format: Format) -> Result<Exit, Error> {
    let mut client = CloudHsmClient::new(channel.clone());
    let arn = match command {
        Group::Create { label } => {
            let request = CreateHapgRequest { label: Some(label) };
            client.create_hapg(request).await?.into_inner().hapg_arn
        }
        Group::List => return show(&GroupList(all(&mut client).await?), format),
        Group::Describe { name } => find(&mut client, &name).await?.arn,
        Group::Modify { name, label } => {
            let view = find(&mut client, &name).await?;
            change(&mut client, view, Some(label), None).await?
        }
        Group::Add { name, partitions, wait } => {
            let view = find(&mut client, &name).await?;
            let mut members = view.partitions.clone();
            members.extend(
                partitions
                    .into_iter()
                    .filter(|serial| !view.partitions.contains(serial)),
            );
            let arn = change(&mut client, view, None, Some(members)).await?;
            after_group(&mut client, &arn, wait).await?;
            arn
        }
        Group::Remove {
            name,
            partitions,
            yes,
            dry_run,
        } => {
            let view = find(&mut client, &name).await?;
            if dry_run {
                return show(&view, format);
            }
            super::confirm::sure(
                yes,
                &format!(
                    "a partition that leaves {name} has a copy of its keys; what changes in the group is not seen there any more"
                ),
            )?;
            let members = view
                .partitions
                .iter()
                .filter(|serial| !partitions.contains(serial))
                .cloned()
                .collect();
            change(&mut client, view, None, Some(members)).await?
        }
        Group::Verify { name } => {
            let group = find(&mut client, &name).await?.arn;
            return verify(channel, group, format).await;
        }
        Group::Clone {
            source,
            destination,
            pin,
        } => {
            let source = find(&mut client, &source).await?.arn;
            let destination = find(&mut client, &destination).await?.arn;
            let pin = pin.read("pin", "PIN of the user: ")?;
            clone(channel, (source, destination.clone()), &pin).await?;
            destination
        }
        Group::Delete { name, yes, dry_run } => {
            let view = find(&mut client, &name).await?;
            if !dry_run {
                super::confirm::sure(
                    yes,
                    &format!("deleting {name} takes its virtual token away; its partitions keep the keys"),
                )?;
                let hapg_arn = Some(view.arn.clone());
                client.delete_hapg(DeleteHapgRequest { hapg_arn }).await?;
            }
            return show(&view, format);
        }
    };
    show(&describe(&mut client, &arn).await?, format)
}

/// Compares what the members hold.
async fn verify(channel: Channel, group: String, format: Format) -> Result<Exit, Error> {
    let request = VerifyGroupRequest { group };
    let answer = HsmAdminClient::new(channel).verify_group(request).await?.into_inner();
    let equal = answer.equal;
    let shown = show(&Verified::from(answer), format)?;
    Ok(if equal { shown } else { Exit::Failed })
}

/// Copies the keys of one group to another.
pub(super) async fn clone(
    channel: Channel,
    (source, destination): (String, String),
    pin: &Secret,
) -> Result<CloneGroupResponse, Error> {
    let request = CloneGroupRequest {
        source,
        destination,
        user_pin: Some(message(pin)),
    };
    Ok(HsmAdminClient::new(channel).clone_group(request).await?.into_inner())
}

/// Modifies a group as it was read: if somebody else changed it since, nothing happens (exit code 7).
async fn change(
    client: &mut CloudHsmClient<Channel>,
    read: GroupView,
    label: Option<String>,
    members: Option<Vec<String>>,
) -> Result<String, Error> {
    let mut request = Request::new(ModifyHapgRequest {
        hapg_arn: Some(read.arn),
        label,
        partition_serial_list: members.map(|members| PartitionSerialList { members }),
    });
    if let Ok(read) = AsciiMetadataValue::try_from(&read.last_modified) {
        request.metadata_mut().insert(IF_LAST_MODIFIED_KEY, read);
    }
    Ok(client.modify_hapg(request).await?.into_inner().hapg_arn)
}

/// All, page by page.
pub(super) async fn all(client: &mut CloudHsmClient<Channel>) -> Result<Vec<GroupView>, Error> {
    let mut groups = Vec::new();
    let mut next_token = None;
    loop {
        let page = client.list_hapgs(ListHapgsRequest { next_token }).await?.into_inner();
        for arn in page.hapg_list {
            groups.push(describe(client, &arn).await?);
        }
        if page.next_token.is_empty() {
            return Ok(groups);
        }
        next_token = Some(page.next_token);
    }
}

/// The one group of an id, ARN, serial number or label.
pub(super) async fn find(client: &mut CloudHsmClient<Channel>, name: &str) -> Result<GroupView, Error> {
    if name.starts_with("arn:") {
        return describe(client, name).await;
    }
    let end = format!(":{name}");
    let fits = |group: &GroupView| group.arn.ends_with(&end) || group.serial == name || group.label == name;
    the_one(all(client).await?.into_iter().filter(fits), ("group", "groups"), name)
}

/// Describes one.
pub(super) async fn describe(client: &mut CloudHsmClient<Channel>, arn: &str) -> Result<GroupView, Error> {
    let hapg_arn = Some(arn.to_owned());
    Ok(client
        .describe_hapg(DescribeHapgRequest { hapg_arn })
        .await?
        .into_inner()
        .into())
}

/// A group as it is shown.
#[derive(Serialize)]
pub(super) struct GroupView {
    id: String,
    pub(super) arn: String,
    pub(super) label: String,
    pub(super) serial: String,
    pub(super) state: String,
    pub(super) partitions: Vec<String>,
    pending_registration: Vec<String>,
    pending_deletion: Vec<String>,
    last_action_failed: Vec<String>,
    last_modified: String,
}

impl From<DescribeHapgResponse> for GroupView {
    fn from(group: DescribeHapgResponse) -> Self {
        Self {
            id: id_of(&group.hapg_arn),
            arn: group.hapg_arn,
            label: group.label,
            serial: group.hapg_serial,
            state: group.state,
            partitions: group.partition_serial_list,
            pending_registration: group.hsms_pending_registration,
            pending_deletion: group.hsms_pending_deletion,
            last_action_failed: group.hsms_last_action_failed,
            last_modified: group.last_modified_timestamp,
        }
    }
}

impl Table for GroupView {
    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = vec![
            ("ARN", self.arn.clone()),
            ("Label", self.label.clone()),
            ("Serial", self.serial.clone()),
            ("State", self.state.clone()),
        ];
        rows.extend(self.partitions.iter().map(|serial| ("Partition", serial.clone())));
        rows.extend(self.pending_registration.iter().map(|arn| ("Joining", arn.clone())));
        rows.extend(self.pending_deletion.iter().map(|arn| ("Leaving", arn.clone())));
        rows.extend(self.last_action_failed.iter().map(|arn| ("Failed", arn.clone())));
        record(rows)
    }
}

#[derive(Serialize)]
struct GroupList(Vec<GroupView>);

impl Table for GroupList {
    fn rows(&self) -> Vec<Vec<String>> {
        let heading = ["ID", "LABEL", "SERIAL", "STATE", "PARTITIONS"];
        let rows = self.0.iter().map(|group| {
            [
                group.id.clone(),
                group.label.clone(),
                group.serial.clone(),
                group.state.clone(),
                group.partitions.join(","),
            ]
        });
        list(heading, rows)
    }
}

/// What VerifyGroup found.
#[derive(Serialize)]
struct Verified {
    equal: bool,
    sum: String,
    revision: u64,
    members: Vec<VerifiedMember>,
}

#[derive(Serialize)]
struct VerifiedMember {
    partition: String,
    hsm: String,
    node: String,
    serves: bool,
    equal: bool,
    objects: u64,
}

impl From<VerifyGroupResponse> for Verified {
    fn from(answer: VerifyGroupResponse) -> Self {
        let members = answer.members.into_iter().map(|member| VerifiedMember {
            partition: member.partition,
            hsm: member.hsm,
            node: member.node,
            serves: member.serves,
            equal: member.equal,
            objects: member.objects,
        });
        Self {
            equal: answer.equal,
            sum: answer.sum,
            revision: answer.revision,
            members: members.collect(),
        }
    }
}

impl Table for Verified {
    fn rows(&self) -> Vec<Vec<String>> {
        let heading = ["PARTITION", "HSM", "NODE", "SERVES", "EQUAL", "OBJECTS"];
        let member = |member: &VerifiedMember| {
            [
                member.partition.clone(),
                member.hsm.clone(),
                member.node.clone(),
                member.serves.to_string(),
                member.equal.to_string(),
                member.objects.to_string(),
            ]
        };
        let mut rows = list(heading, self.members.iter().map(member));
        rows.push(vec![format!("Sum {} at revision {}", self.sum, self.revision)]);
        rows
    }
}
