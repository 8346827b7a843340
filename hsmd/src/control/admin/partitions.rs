//! Partitions: CreatePartition, DeletePartition, ResizePartition, TightenPartition, ResetPartitionPin, ListRoles, UnlockRole; and CloneGroup. PINs
//! are borrowed from the request, which wipes them when it is dropped.

use super::describe;
use crate::control::homes::VerifiedPartition;
use crate::control::model::ModelError;
use crate::control::provision::{NewPartition, RoleView};
use crate::node::Node;
use hsmd_control::admin::{
    CloneGroupRequest, CloneGroupResponse, CreatePartitionRequest, DeletePartitionRequest, ListRolesRequest, Partition,
    Pin, ResetPartitionPinRequest, ResizePartitionRequest, Role, SetCryptoUserPinRequest, TightenPartitionRequest,
    UnlockRoleRequest, VerifiedMember, VerifyGroupRequest, VerifyGroupResponse,
};
use hsmd_keystore::Quota;
use hsmd_proto::policy::Policy;
use std::sync::Arc;

pub(super) fn create(node: &Arc<Node>, request: CreatePartitionRequest) -> Result<Partition, ModelError> {
    let policy = match request.policy.as_str() {
        "" => None,
        name => Some(Policy::from_name(name).ok_or(ModelError::Policy)?),
    };
    node.model.authorise(&request.hsm, bytes(&request.hsm_so_pin))?;
    let record = node.model.provision(&NewPartition {
        hsm: &request.hsm,
        label: &request.label,
        policy,
        quota: Quota {
            objects: request.max_objects,
            bytes: request.max_bytes,
        },
        so_pin: bytes(&request.so_pin),
        user_pin: bytes(&request.user_pin),
    })?;
    tracing::info!(partition = record.serial, slot = record.slot, "partition created");
    describe(node, &record)
}

pub(super) fn delete(node: &Arc<Node>, request: DeletePartitionRequest) -> Result<(), ModelError> {
    authorise(node, &request.partition, &request.hsm_so_pin)?;
    node.model.delete_partition(&request.partition)?;
    tracing::info!(partition = request.partition, "partition deleted");
    Ok(())
}

pub(super) fn resize(node: &Arc<Node>, request: ResizePartitionRequest) -> Result<Partition, ModelError> {
    authorise(node, &request.partition, &request.hsm_so_pin)?;
    let record = node
        .model
        .resize(&request.partition, request.max_objects, request.max_bytes)?;
    tracing::info!(partition = record.serial, "partition resized");
    describe(node, &record)
}

pub(super) fn tighten(node: &Arc<Node>, request: TightenPartitionRequest) -> Result<Partition, ModelError> {
    let policy = Policy::from_name(&request.policy).ok_or(ModelError::Policy)?;
    authorise(node, &request.partition, &request.hsm_so_pin)?;
    let record = node.model.tighten(&request.partition, policy)?;
    tracing::info!(partition = record.serial, policy = record.policy, "policy tightened");
    describe(node, &record)
}

pub(super) fn reset_pin(node: &Arc<Node>, request: ResetPartitionPinRequest) -> Result<(), ModelError> {
    const RULE: &str = "as long as pin.min_length and pin.max_length say";
    let so_pin = bytes(&request.so_pin).ok_or(ModelError::Missing("SoPin", RULE))?;
    let user_pin = bytes(&request.user_pin).ok_or(ModelError::Missing("UserPin", RULE))?;
    node.model.reset_pin(&request.partition, so_pin, user_pin)?;
    tracing::info!(partition = request.partition, "user PIN reset");
    Ok(())
}

pub(super) fn set_crypto_user_pin(node: &Arc<Node>, request: SetCryptoUserPinRequest) -> Result<(), ModelError> {
    const RULE: &str = "as long as pin.min_length and pin.max_length say";
    let user_pin = bytes(&request.user_pin).ok_or(ModelError::Missing("UserPin", RULE))?;
    let pin = bytes(&request.crypto_user_pin).ok_or(ModelError::Missing("CryptoUserPin", RULE))?;
    node.model.set_crypto_user_pin(&request.partition, user_pin, pin)?;
    tracing::info!(partition = request.partition, "crypto user's PIN set");
    Ok(())
}

pub(super) fn roles(node: &Arc<Node>, request: ListRolesRequest) -> Result<Vec<Role>, ModelError> {
    let roles = node.model.roles(&request.partition)?;
    Ok(roles.into_iter().map(render).collect())
}

pub(super) fn unlock(node: &Arc<Node>, request: UnlockRoleRequest) -> Result<Role, ModelError> {
    let role = node.model.unlock(&request.partition, &request.role)?;
    tracing::info!(partition = request.partition, role = role.name, "role unlocked");
    Ok(render(role))
}

pub(super) fn clone_group(node: &Arc<Node>, request: CloneGroupRequest) -> Result<CloneGroupResponse, ModelError> {
    let rule = "as long as pin.min_length and pin.max_length say";
    let pin = bytes(&request.user_pin).ok_or(ModelError::Missing("UserPin", rule))?;
    let (copied, objects) = node.model.clone_group(&request.source, &request.destination, pin)?;
    tracing::info!(
        source = request.source,
        destination = request.destination,
        copied,
        "keys of a group copied to another"
    );
    Ok(CloneGroupResponse { copied, objects })
}

pub(super) fn verify_group(node: &Arc<Node>, request: VerifyGroupRequest) -> Result<VerifyGroupResponse, ModelError> {
    let verified = node.model.verify_group(&request.group)?;
    let member = |member: VerifiedPartition| VerifiedMember {
        partition: member.serial,
        hsm: member.hsm,
        node: member.home,
        serves: member.serves,
        equal: member.equal,
        objects: member.objects,
    };
    Ok(VerifyGroupResponse {
        equal: verified.members.iter().all(|member| member.equal),
        members: verified.members.into_iter().map(member).collect(),
        sum: verified.sum,
        revision: verified.revision,
    })
}

/// A PIN that was given; an empty one is given, and too short.
pub(super) fn bytes(pin: &Option<Pin>) -> Option<&[u8]> {
    pin.as_ref().map(|pin| pin.value.as_slice())
}

pub(super) fn authorise(node: &Node, partition: &str, pin: &Option<Pin>) -> Result<(), ModelError> {
    let hsm = node.model.partition(partition)?.hsm;
    node.model.authorise(&hsm, bytes(pin))
}

fn render(role: RoleView) -> Role {
    Role {
        name: role.name.to_owned(),
        initialized: role.initialised,
        tried: role.tried,
        last_try: role.last_try,
        locked: role.locked,
    }
}
