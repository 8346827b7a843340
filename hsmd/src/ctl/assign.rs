//! `hsmctl client assign|revoke|assignments`: which partitions and groups a client sees.

use super::Format;
use super::exit::{Error, Exit};
use super::output::{Table, list, record, show};
use super::{group, partition};
use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use hsmd_control::admin::{
    self, AssignClientRequest, CreateLocalClientRequest, DeleteLocalClientRequest, ListAssignmentsRequest,
    RevokeClientRequest,
};
use hsmd_control::cloudhsm::cloud_hsm_client::CloudHsmClient;
use serde::Serialize;
use tonic::transport::Channel;

/// Gives a client partitions or groups.
pub(super) async fn assign(channel: Channel, client: &str, names: &[String], format: Format) -> Result<Exit, Error> {
    let mut admin = HsmAdminClient::new(channel.clone());
    let mut last = None;
    for partition in resolve(&channel, names).await? {
        let client = client.to_owned();
        last = admin
            .assign_client(AssignClientRequest { client, partition })
            .await?
            .into_inner()
            .assignment;
    }
    show(&AssignmentView::from(last.unwrap_or_default()), format)
}

/// Takes partitions or groups from a client; what it has open there ends.
pub(super) async fn revoke(channel: Channel, client: &str, names: &[String], format: Format) -> Result<Exit, Error> {
    let mut admin = HsmAdminClient::new(channel.clone());
    let mut last = None;
    for partition in resolve(&channel, names).await? {
        let client = client.to_owned();
        last = admin
            .revoke_client(RevokeClientRequest { client, partition })
            .await?
            .into_inner()
            .assignment;
    }
    show(&AssignmentView::from(last.unwrap_or_default()), format)
}

/// Makes a local user a client.
pub(super) async fn create_local(channel: Channel, user: u32, label: String, format: Format) -> Result<Exit, Error> {
    let request = CreateLocalClientRequest { user, label };
    let answer = HsmAdminClient::new(channel).create_local_client(request).await?;
    let assignment = answer.into_inner().assignment;
    show(&AssignmentView::from(assignment.unwrap_or_default()), format)
}

/// Deletes the client that a local user is.
pub(super) async fn delete_local(channel: Channel, client: String, yes: bool, format: Format) -> Result<Exit, Error> {
    let mut admin = HsmAdminClient::new(channel);
    let request = ListAssignmentsRequest { client: client.clone() };
    let was = admin.list_assignments(request).await?.into_inner().assignments;
    super::confirm::sure(yes, &format!("deleting {client} takes away what is assigned to it"))?;
    admin.delete_local_client(DeleteLocalClientRequest { client }).await?;
    show(
        &AssignmentList(was.into_iter().map(AssignmentView::from).collect()),
        format,
    )
}

/// Lists what one client sees, or all of them.
pub(super) async fn assignments(channel: Channel, client: Option<String>, format: Format) -> Result<Exit, Error> {
    let client = client.unwrap_or_default();
    let answer = HsmAdminClient::new(channel)
        .list_assignments(ListAssignmentsRequest { client })
        .await?;
    let views = answer.into_inner().assignments.into_iter().map(AssignmentView::from);
    show(&AssignmentList(views.collect()), format)
}

/// Labels become serial numbers or ids; the daemon knows everything else.
async fn resolve(channel: &Channel, names: &[String]) -> Result<Vec<String>, Error> {
    let mut resolved = Vec::with_capacity(names.len());
    for name in names {
        let known =
            name.starts_with("arn:") || name.starts_with("hapg-") || name.bytes().all(|byte| byte.is_ascii_digit());
        if known {
            resolved.push(name.clone());
            continue;
        }
        match partition::find(&mut HsmAdminClient::new(channel.clone()), name).await {
            Ok(found) => resolved.push(found.serial),
            Err(error) if error.exit() == Exit::NotFound => {
                let found = group::find(&mut CloudHsmClient::new(channel.clone()), name).await;
                let missing = || Error::new(Exit::NotFound, format!("there is no partition or group {name}"));
                resolved.push(found.map_err(|_| missing())?.arn);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(resolved)
}

#[derive(Serialize)]
struct AssignmentView {
    client: String,
    label: String,
    partitions: Vec<String>,
    groups: Vec<String>,
    slots: Vec<u32>,
    client_arn: String,
}

impl From<admin::Assignment> for AssignmentView {
    fn from(assignment: admin::Assignment) -> Self {
        Self {
            client: assignment.client,
            label: assignment.label,
            partitions: assignment.partitions,
            groups: assignment.groups,
            slots: assignment.slots,
            client_arn: assignment.client_arn,
        }
    }
}

fn slots(slots: &[u32]) -> String {
    slots.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

impl Table for AssignmentView {
    fn rows(&self) -> Vec<Vec<String>> {
        record([
            ("Client", self.client.clone()),
            ("Label", self.label.clone()),
            ("Partitions", self.partitions.join(",")),
            ("Groups", self.groups.join(",")),
            ("Slots", slots(&self.slots)),
        ])
    }
}

#[derive(Serialize)]
struct AssignmentList(Vec<AssignmentView>);

impl Table for AssignmentList {
    fn rows(&self) -> Vec<Vec<String>> {
        let rows = self.0.iter().map(|view| {
            [
                view.client.clone(),
                view.label.clone(),
                view.partitions.join(","),
                view.groups.join(","),
                slots(&view.slots),
            ]
        });
        list(["CLIENT", "LABEL", "PARTITIONS", "GROUPS", "SLOTS"], rows)
    }
}
