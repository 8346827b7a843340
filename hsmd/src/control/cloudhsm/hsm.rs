//! HSMs and availability zones.

use super::DONE;
use crate::control::hsms::HsmChange;
use crate::control::model::{ModelError, NewHsm};
use crate::control::page::page;
use crate::control::records::HsmRecord;
use crate::node::Node;
use hsmd_control::cloudhsm::*;
use std::net::Ipv4Addr;
use std::sync::Arc;

pub(super) fn create(node: &Arc<Node>, request: CreateHsmRequest) -> Result<CreateHsmResponse, ModelError> {
    address("EniIp", request.eni_ip.as_deref())?;
    address("SyslogIp", request.syslog_ip.as_deref())?;
    let hsm = node.model.create_hsm(&NewHsm {
        subnet_id: request.subnet_id.unwrap_or_default(),
        ssh_key: request.ssh_key.unwrap_or_default(),
        eni_ip: request.eni_ip.unwrap_or_default(),
        iam_role_arn: request.iam_role_arn.unwrap_or_default(),
        external_id: request.external_id.unwrap_or_default(),
        subscription_type: request.subscription_type.unwrap_or_default(),
        client_token: request.client_token.unwrap_or_default(),
        syslog_ip: request.syslog_ip.unwrap_or_default(),
        free_slot: node.config.hsm.free_slot,
    })?;
    tracing::info!(hsm = hsm.id, "HSM created");
    confirm(node, hsm.id);
    Ok(CreateHsmResponse { hsm_arn: hsm.arn })
}

pub(super) fn describe(node: &Arc<Node>, request: DescribeHsmRequest) -> Result<DescribeHsmResponse, ModelError> {
    let (arn, serial) = (request.hsm_arn.as_deref(), request.hsm_serial_number.as_deref());
    let hsm = match (arn, serial) {
        (Some(arn), _) => node.model.hsm_of("HsmArn", arn)?,
        (None, Some(serial)) => node.model.hsm_of("HsmSerialNumber", serial)?,
        (None, None) => return Err(ModelError::Missing("HsmArn", "given, or HsmSerialNumber")),
    };
    // Both given: they must be the same HSM's.
    if serial.is_some_and(|serial| serial != hsm.serial) {
        return Err(ModelError::Unknown("HsmSerialNumber", "HSM"));
    }
    let partitions = node.model.partitions(&hsm.id)?;
    let partitions = partitions
        .iter()
        .map(|partition| hsm.partition_arn(&partition.serial))
        .collect();
    Ok(render(hsm, partitions))
}

pub(super) fn list(node: &Arc<Node>, request: ListHsmsRequest) -> Result<ListHsmsResponse, ModelError> {
    node.model.forget_terminated()?;
    let all = node.model.hsms().into_iter().map(|hsm| (hsm.id, hsm.arn));
    let (hsm_list, next_token) = page("ListHsms", all, request.next_token.as_deref())?;
    Ok(ListHsmsResponse { hsm_list, next_token })
}

pub(super) fn modify(node: &Arc<Node>, request: ModifyHsmRequest) -> Result<ModifyHsmResponse, ModelError> {
    address("EniIp", request.eni_ip.as_deref())?;
    address("SyslogIp", request.syslog_ip.as_deref())?;
    let change = HsmChange {
        subnet_id: request.subnet_id,
        eni_ip: request.eni_ip,
        iam_role_arn: request.iam_role_arn,
        external_id: request.external_id,
        syslog_ip: request.syslog_ip,
    };
    let hsm = node.model.modify_hsm(&request.hsm_arn.unwrap_or_default(), change)?;
    tracing::info!(hsm = hsm.id, "HSM modified");
    confirm(node, hsm.id);
    Ok(ModifyHsmResponse { hsm_arn: hsm.arn })
}

pub(super) fn delete(node: &Arc<Node>, request: DeleteHsmRequest) -> Result<DeleteHsmResponse, ModelError> {
    let arn = request.hsm_arn.unwrap_or_default();
    node.model.delete_hsm(&arn)?;
    tracing::info!(hsm = arn, "HSM deleted");
    Ok(DeleteHsmResponse { status: DONE.into() })
}

pub(super) fn zones(node: &Arc<Node>, _: ListAvailableZonesRequest) -> Result<ListAvailableZonesResponse, ModelError> {
    Ok(ListAvailableZonesResponse {
        az_list: node.model.zones().into_iter().collect(),
    })
}

/// The home node, here this one, confirms what was recorded; the answer does not wait for it, so that clients see PENDING
/// and UPDATING. A stop before it is made up for at the next start.
fn confirm(node: &Arc<Node>, id: String) {
    let node = node.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = node.model.confirm(&id) {
            tracing::error!(hsm = id, %error, "an HSM is not confirmed");
        }
    });
}

/// The model's pattern lets 999.999.999.999 pass.
fn address(field: &'static str, text: Option<&str>) -> Result<(), ModelError> {
    if text.is_none_or(|text| text.parse::<Ipv4Addr>().is_ok()) {
        Ok(())
    } else {
        Err(ModelError::Invalid(field, "an IPv4 address"))
    }
}

fn render(hsm: HsmRecord, partitions: Vec<String>) -> DescribeHsmResponse {
    let ended = if hsm.terminated_ms == 0 {
        String::new()
    } else {
        hsm.terminated_ms.to_string()
    };
    DescribeHsmResponse {
        hsm_arn: hsm.arn,
        status: hsm.state.name().to_owned(),
        status_details: String::new(),
        availability_zone: hsm.availability_zone,
        eni_id: hsm.eni_id,
        eni_ip: hsm.eni_ip,
        subscription_type: hsm.subscription_type,
        subscription_start_date: hsm.created_ms.to_string(),
        subscription_end_date: ended,
        vpc_id: hsm.vpc_id,
        subnet_id: hsm.subnet_id,
        iam_role_arn: hsm.iam_role_arn,
        serial_number: hsm.serial,
        vendor_name: "hsmd".into(),
        hsm_type: "software".into(),
        software_version: env!("CARGO_PKG_VERSION").into(),
        ssh_public_key: hsm.ssh_key,
        ssh_key_last_updated: hsm.created_ms.to_string(),
        server_cert_uri: String::new(),
        server_cert_last_updated: String::new(),
        partitions,
    }
}
