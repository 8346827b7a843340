//! The security officer of an HSM: InitializeHsm, ZeroizeHsm, DescribeSecurityOfficer.

use super::partitions::bytes;
use crate::control::model::ModelError;
use crate::control::officers::OfficerView;
use crate::node::Node;
use hsmd_control::admin::{DescribeSecurityOfficerRequest, InitializeHsmRequest, SecurityOfficer, ZeroizeHsmRequest};
use std::sync::Arc;

pub(super) fn describe(
    node: &Arc<Node>,
    request: DescribeSecurityOfficerRequest,
) -> Result<SecurityOfficer, ModelError> {
    node.model.officer(&request.hsm).map(render)
}

pub(super) fn initialise(node: &Arc<Node>, request: InitializeHsmRequest) -> Result<SecurityOfficer, ModelError> {
    let pin = bytes(&request.so_pin).unwrap_or_default();
    let domain = bytes(&request.domain).unwrap_or_default();
    let officer = node.model.initialise_hsm(&request.hsm, &request.label, pin, domain)?;
    tracing::info!(hsm = officer.hsm_arn, "HSM initialised");
    Ok(render(officer))
}

pub(super) fn zeroise(node: &Arc<Node>, request: ZeroizeHsmRequest) -> Result<u32, ModelError> {
    let partitions = node.model.zeroise_hsm(&request.hsm)?;
    Ok(u32::try_from(partitions).unwrap_or(u32::MAX))
}

fn render(officer: OfficerView) -> SecurityOfficer {
    SecurityOfficer {
        hsm_arn: officer.hsm_arn,
        initialized: officer.initialised,
        label: officer.label,
        domain: officer.domain,
        tried: officer.tried,
        last_try: officer.last_try,
        locked: officer.locked,
    }
}
