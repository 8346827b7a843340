//! Clients, and the configuration file with which they reach groups.

use super::DONE;
use crate::control::chrystoki::{self, Version, Virtual, render};
use crate::control::model::ModelError;
use crate::control::page::page;
use crate::node::{Cut, Node};
use hsmd_control::cloudhsm::*;
use std::sync::Arc;

pub(super) fn create(
    node: &Arc<Node>,
    request: CreateLunaClientRequest,
) -> Result<CreateLunaClientResponse, ModelError> {
    let pem = request.certificate.unwrap_or_default();
    let client = node.model.create_client(request.label.as_deref(), &pem)?;
    tracing::info!(client = client.id, "client registered");
    Ok(CreateLunaClientResponse { client_arn: client.arn })
}

pub(super) fn describe(
    node: &Arc<Node>,
    request: DescribeLunaClientRequest,
) -> Result<DescribeLunaClientResponse, ModelError> {
    let print = request.certificate_fingerprint.as_deref();
    let client = match (&request.client_arn, print) {
        (Some(arn), _) => node.model.client(arn)?,
        (None, Some(print)) => node.model.client_with(print)?,
        (None, None) => return Err(ModelError::Missing("ClientArn", "given, or CertificateFingerprint")),
    };
    // Both given: they must be the same client's.
    if print.is_some_and(|print| !print.eq_ignore_ascii_case(&client.fingerprint)) {
        return Err(ModelError::Unknown("CertificateFingerprint", "client"));
    }
    Ok(DescribeLunaClientResponse {
        client_arn: client.arn,
        certificate: client.certificate,
        certificate_fingerprint: client.fingerprint,
        last_modified_timestamp: client.modified_ms.to_string(),
        label: client.label,
    })
}

pub(super) fn list(node: &Arc<Node>, request: ListLunaClientsRequest) -> Result<ListLunaClientsResponse, ModelError> {
    let all = node.model.clients().into_iter().map(|client| (client.id, client.arn));
    let (client_list, next_token) = page("ListLunaClients", all, request.next_token.as_deref())?;
    Ok(ListLunaClientsResponse {
        client_list,
        next_token,
    })
}

pub(super) fn modify(
    node: &Arc<Node>,
    request: ModifyLunaClientRequest,
) -> Result<ModifyLunaClientResponse, ModelError> {
    let (arn, pem) = (
        request.client_arn.unwrap_or_default(),
        request.certificate.unwrap_or_default(),
    );
    let (client, was) = node.model.modify_client(&arn, &pem)?;
    if let Some(was) = was {
        node.cut(&was, Cut::Everywhere)?;
    }
    tracing::info!(client = client.id, "certificate of a client replaced");
    Ok(ModifyLunaClientResponse { client_arn: client.arn })
}

pub(super) fn delete(
    node: &Arc<Node>,
    request: DeleteLunaClientRequest,
) -> Result<DeleteLunaClientResponse, ModelError> {
    let arn = request.client_arn.unwrap_or_default();
    if let Some(was) = node.model.delete_client(&arn)? {
        node.cut(&was, Cut::Everywhere)?;
    }
    tracing::info!(client = arn, "client deleted");
    Ok(DeleteLunaClientResponse { status: DONE.into() })
}

pub(super) fn config(node: &Arc<Node>, request: GetConfigRequest) -> Result<GetConfigResponse, ModelError> {
    const LIST: &str = "HapgList";
    let client = node.model.client(&request.client_arn.unwrap_or_default())?;
    let version = request.client_version.as_deref().and_then(Version::from_name);
    let version = version.ok_or(ModelError::Invalid("ClientVersion", "5.1 or 5.3"))?;
    let partitions = node.model.partitions("")?;
    let (mut servers, mut hsms) = (Vec::new(), Vec::new());
    let mut groups: Vec<Virtual> = Vec::new();
    for arn in &request.hapg_list {
        let group = node.model.group(arn).map_err(|error| match error {
            ModelError::Unknown(_, what) => ModelError::Unknown(LIST, what),
            other => other,
        })?;
        let group = group.record;
        if group.members.is_empty() {
            return Err(ModelError::NoMembers(group.arn));
        }
        // Sections of the file are keyed by label.
        if groups.iter().any(|other| other.label == group.label) {
            return Err(ModelError::Invalid(LIST, "groups with different labels"));
        }
        // In the order of the members: the first server is the first member's.
        for serial in &group.members {
            let Some(partition) = partitions.iter().find(|partition| partition.serial == *serial) else {
                continue;
            };
            let address = node.model.hsm(&partition.hsm)?.eni_ip;
            hsms.push(partition.hsm.clone());
            if !servers.contains(&address) {
                servers.push(address);
            }
        }
        groups.push(Virtual {
            label: group.label,
            serial: group.serial,
            members: group.members,
        });
    }
    let nodes = node.model.addresses(&hsms);
    let servers = if nodes.is_empty() {
        chrystoki::servers(&node.config.data, &servers)
    } else {
        chrystoki::nodes(&node.config.data, &nodes)
    };
    Ok(GetConfigResponse {
        config_type: "server.pem".into(),
        config_file: render(version, &client.label, &servers, &groups),
        config_cred: node.pki.bundle(),
    })
}
