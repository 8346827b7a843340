//! Who may use which partition: AssignClient, RevokeClient, ListAssignments, CreateLocalClient, DeleteLocalClient.

use crate::config::Locals;
use crate::control::assignments;
use crate::control::model::ModelError;
use crate::node::{Cut, Node};
use hsmd_control::admin::{
    AssignClientRequest, Assignment, CreateLocalClientRequest, DeleteLocalClientRequest, ListAssignmentsRequest,
    RevokeClientRequest,
};
use std::sync::Arc;

pub(super) fn assign(node: &Arc<Node>, request: AssignClientRequest) -> Result<Assignment, ModelError> {
    let done = node.model.assign(&request.client, &request.partition)?;
    tracing::info!(client = done.client, partition = request.partition, "client assigned");
    Ok(render(done))
}

pub(super) fn revoke(node: &Arc<Node>, request: RevokeClientRequest) -> Result<Assignment, ModelError> {
    let done = node.model.revoke(&request.client, &request.partition)?;
    // Local users who see everything lose nothing.
    let loses = !done.left.client.starts_with("user-") || node.config.data.local == Locals::Assigned;
    if let Some(identity) = done.identity.filter(|_| loses) {
        node.cut(&identity, Cut::At(done.key_sets))?;
    }
    tracing::info!(
        client = done.left.client,
        partition = request.partition,
        "client revoked"
    );
    Ok(render(done.left))
}

pub(super) fn list(node: &Arc<Node>, request: ListAssignmentsRequest) -> Result<Vec<Assignment>, ModelError> {
    let clients = node.model.assignments(&request.client)?;
    Ok(clients.into_iter().map(render).collect())
}

pub(super) fn create_local(node: &Arc<Node>, request: CreateLocalClientRequest) -> Result<Assignment, ModelError> {
    let made = node.model.create_local_client(request.user, &request.label)?;
    tracing::info!(client = made.client, "local user registered");
    Ok(render(made))
}

pub(super) fn delete_local(node: &Arc<Node>, request: DeleteLocalClientRequest) -> Result<(), ModelError> {
    let was = node.model.delete_local_client(&request.client)?;
    if let Some(was) = was.filter(|_| node.config.data.local == Locals::Assigned) {
        node.cut(&was, Cut::Everywhere)?;
    }
    tracing::info!(client = request.client, "local user deleted");
    Ok(())
}

fn render(assignment: assignments::Assignment) -> Assignment {
    Assignment {
        client: assignment.client,
        client_arn: assignment.arn,
        label: assignment.label,
        partitions: assignment.partitions,
        groups: assignment.groups,
        slots: assignment.slots,
    }
}
