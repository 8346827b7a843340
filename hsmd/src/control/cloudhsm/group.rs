//! Groups.

use super::DONE;
use crate::control::groups::GroupChange;
use crate::control::model::ModelError;
use crate::control::page::page;
use crate::node::Node;
use hsmd_control::cloudhsm::*;
use std::sync::Arc;

pub(super) fn create(node: &Arc<Node>, request: CreateHapgRequest) -> Result<CreateHapgResponse, ModelError> {
    let group = node.model.create_group(&request.label.unwrap_or_default())?;
    tracing::info!(group = group.id, "group created");
    Ok(CreateHapgResponse { hapg_arn: group.arn })
}

pub(super) fn describe(node: &Arc<Node>, request: DescribeHapgRequest) -> Result<DescribeHapgResponse, ModelError> {
    let view = node.model.group(&request.hapg_arn.unwrap_or_default())?;
    let group = view.record;
    Ok(DescribeHapgResponse {
        hapg_arn: group.arn,
        hapg_serial: group.serial,
        hsms_last_action_failed: view.last_action_failed,
        hsms_pending_deletion: view.pending_deletion,
        hsms_pending_registration: view.pending_registration,
        label: group.label,
        last_modified_timestamp: group.modified_ms.to_string(),
        partition_serial_list: group.members,
        state: view.state.to_owned(),
    })
}

pub(super) fn list(node: &Arc<Node>, request: ListHapgsRequest) -> Result<ListHapgsResponse, ModelError> {
    let all = node.model.groups().into_iter().map(|group| (group.id, group.arn));
    let (hapg_list, next_token) = page("ListHapgs", all, request.next_token.as_deref())?;
    Ok(ListHapgsResponse { hapg_list, next_token })
}

pub(super) fn modify(
    node: &Arc<Node>,
    request: ModifyHapgRequest,
    if_modified: Option<u64>,
) -> Result<ModifyHapgResponse, ModelError> {
    let change = GroupChange {
        label: request.label,
        members: request.partition_serial_list.map(|list| list.members),
        if_modified,
    };
    let group = node.model.modify_group(&request.hapg_arn.unwrap_or_default(), change)?;
    tracing::info!(group = group.id, members = group.members.len(), "group modified");
    Ok(ModifyHapgResponse { hapg_arn: group.arn })
}

pub(super) fn delete(node: &Arc<Node>, request: DeleteHapgRequest) -> Result<DeleteHapgResponse, ModelError> {
    let arn = request.hapg_arn.unwrap_or_default();
    node.model.delete_group(&arn)?;
    tracing::info!(group = arn, "group deleted");
    Ok(DeleteHapgResponse { status: DONE.into() })
}
