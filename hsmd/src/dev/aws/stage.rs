//! What the AWS side of `hsmd dev` works on: a partition for the keys of KMS, one for Redshift, and a group of two HSMs in two
//! zones, published as a cluster, whose crypto officer is `kmsuser`. Found again at every start, finished if a start was
//! interrupted.

use super::settings::Kept;
use crate::audit::as_act;
use crate::cli::Failure;
use crate::control::{GroupChange, HsmRecord, HsmState, ModelError, NewHsm, NewPartition, PartitionRecord};
use crate::dev::token;
use crate::init::first_hsm;
use crate::node::Node;
use hsmd_keystore::Quota;
use hsmd_keystore::audit::Act;

/// The label of the group, and of its token.
const GROUP: &str = "hsmd-dev";
/// Label of the token with the keys of KMS.
pub(super) const KMS: &str = "kms";
/// Name of the partition for Redshift.
pub(super) const REDSHIFT: &str = "redshift";

/// What is there.
pub(super) struct Stage {
    pub(super) kept: Kept,
    /// ARN of the group.
    pub(super) group: String,
    /// Subnet of the first HSM.
    pub(super) subnet: String,
}

impl Stage {
    pub(super) fn prepare(node: &Node, kept: Kept) -> Result<Self, Failure> {
        let explain = |error: ModelError| Failure::Other(format!("setting up the AWS side: {error}"));
        let [first, second] = hsms(node).map_err(explain)?;
        for label in [KMS, REDSHIFT] {
            partition(node, &first, label, Some(&kept)).map_err(explain)?;
        }
        let group = group(node, [&first, &second], &kept).map_err(explain)?;
        let subnet = first.subnet_id;
        Ok(Self { kept, group, subnet })
    }
}

/// The two HSMs, in different zones.
fn hsms(node: &Node) -> Result<[HsmRecord; 2], ModelError> {
    let model = node.model();
    let running = |hsm: &HsmRecord| hsm.state == HsmState::Running;
    let first = model
        .hsms()
        .into_iter()
        .filter(running)
        .min_by_key(|hsm| hsm.created_ms);
    let first = match first {
        Some(hsm) => hsm,
        None => made(node, first_hsm(&node.config))?,
    };
    let elsewhere = |hsm: &HsmRecord| running(hsm) && hsm.availability_zone != first.availability_zone;
    let second = match model.hsms().into_iter().find(elsewhere) {
        Some(hsm) => hsm,
        None => {
            let mut subnets = node.config.subnet.iter();
            let subnet = subnets.find(|subnet| subnet.zone != first.availability_zone);
            let subnet_id = subnet.map(|subnet| subnet.id.clone()).unwrap_or_default();
            let new = NewHsm {
                subnet_id,
                free_slot: false,
                ..first_hsm(&node.config)
            };
            made(node, new)?
        }
    };
    Ok([first, second])
}

fn made(node: &Node, new: NewHsm) -> Result<HsmRecord, ModelError> {
    as_act(Act::HsmCreate, || {
        let hsm = node.model().create_hsm(&new)?;
        node.model().confirm(&hsm.id)?;
        node.model().hsm(&hsm.id)
    })
}

/// The partition of this label on this HSM; with PINs if they are given.
fn partition(node: &Node, hsm: &HsmRecord, label: &str, kept: Option<&Kept>) -> Result<PartitionRecord, ModelError> {
    let found = node.model().partitions(&hsm.id)?;
    if let Some(found) = found.into_iter().find(|partition| partition.label == label) {
        return Ok(found);
    }
    let new = NewPartition {
        hsm: &hsm.id,
        label,
        policy: None,
        quota: Quota::default(),
        so_pin: kept.map(|kept| kept.so_pin.as_bytes()),
        user_pin: kept.map(|kept| kept.partition_password.as_bytes()),
    };
    as_act(Act::PartitionCreate, || node.model().provision(&new))
}

/// The group with a member on each HSM and an initialised token.
fn group(node: &Node, hsms: [&HsmRecord; 2], kept: &Kept) -> Result<String, ModelError> {
    let model = node.model();
    let group = match model.groups().into_iter().find(|group| group.label == GROUP) {
        Some(group) => group,
        None => as_act(Act::GroupCreate, || model.create_group(GROUP))?,
    };
    if group.members.is_empty() {
        let mut members = Vec::new();
        for hsm in hsms {
            members.push(partition(node, hsm, &format!("{GROUP}-member"), None)?.serial);
        }
        let change = GroupChange {
            members: Some(members),
            ..GroupChange::default()
        };
        as_act(Act::GroupModify, || model.modify_group(&group.arn, change))?;
    }
    let slot = group.slot.ok_or(ModelError::NotFound("slot of the group"))?;
    let set_up = token::set_up(node, slot, GROUP, &kept.so_pin, &kept.kmsuser_password);
    set_up.map_err(ModelError::Token)?;
    Ok(group.arn)
}
