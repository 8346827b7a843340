//! `cloudhsm.v1.CloudHsm`: CreateHsm, DescribeHsm, ListHsms with the modelled inputs, outputs and patterns.

use super::check::{self, blocking};
use super::model::NewHsm;
use super::records::HsmRecord;
use crate::node::Node;
use hsmd_control::cloudhsm::cloud_hsm_server::CloudHsm;
use hsmd_control::cloudhsm::{
    CreateHsmRequest, CreateHsmResponse, DescribeHsmRequest, DescribeHsmResponse, ListHsmsRequest, ListHsmsResponse,
};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// ARNs in one answer of ListHsms.
const PAGE: usize = 100;

/// The service.
pub(super) struct Service(pub(super) Arc<Node>);

#[tonic::async_trait]
impl CloudHsm for Service {
    async fn create_hsm(&self, request: Request<CreateHsmRequest>) -> Result<Response<CreateHsmResponse>, Status> {
        let new = checked(request.into_inner(), self.0.config.hsm.free_slot)?;
        let node = self.0.clone();
        let hsm = blocking(move || node.model.create_hsm(&new)).await?;
        tracing::info!(hsm = hsm.id, "HSM created");
        let (node, id) = (self.0.clone(), hsm.id.clone());
        // The answer does not wait for the home node, here this one, to confirm: PENDING is seen by clients.
        tokio::spawn(blocking(move || node.model.confirm(&id)));
        Ok(Response::new(CreateHsmResponse { hsm_arn: hsm.arn }))
    }

    async fn describe_hsm(
        &self,
        request: Request<DescribeHsmRequest>,
    ) -> Result<Response<DescribeHsmResponse>, Status> {
        let request = request.into_inner();
        let name = match (request.hsm_arn.as_str(), request.hsm_serial_number.as_str()) {
            ("", "") => return Err(Status::invalid_argument("name the HSM by HsmArn or HsmSerialNumber")),
            ("", serial) => serial,
            (arn, _) => arn,
        };
        let hsm = self.0.model.hsm(name).map_err(|error| check::status(&error))?;
        let partitions = self
            .0
            .model
            .partitions(&hsm.id)
            .map_err(|error| check::status(&error))?;
        let partitions = partitions
            .iter()
            .map(|partition| hsm.partition_arn(&partition.serial))
            .collect();
        Ok(Response::new(describe(hsm, partitions)))
    }

    async fn list_hsms(&self, request: Request<ListHsmsRequest>) -> Result<Response<ListHsmsResponse>, Status> {
        let token = request.into_inner().next_token;
        // A token is the id, without its prefix, of the last HSM that was listed.
        if !token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Status::invalid_argument("NextToken is not one that ListHsms gave"));
        }
        let after = format!("hsm-{token}");
        let hsms = self.0.model.hsms();
        let mut rest = hsms.iter().filter(|hsm| token.is_empty() || hsm.id > after);
        let page: Vec<_> = rest.by_ref().take(PAGE).collect();
        let more = rest.next().is_some();
        let last = page
            .last()
            .filter(|_| more)
            .map(|hsm| hsm.id.trim_start_matches("hsm-").to_owned());
        Ok(Response::new(ListHsmsResponse {
            hsm_list: page.iter().map(|hsm| hsm.arn.clone()).collect(),
            next_token: last.unwrap_or_default(),
        }))
    }
}

fn checked(request: CreateHsmRequest, free_slot: bool) -> Result<NewHsm, Status> {
    check::SUBNET_ID.check(&request.subnet_id)?;
    check::SSH_KEY.check(&request.ssh_key)?;
    check::ENI_IP.check(&request.eni_ip)?;
    check::IAM_ROLE_ARN.check(&request.iam_role_arn)?;
    check::EXTERNAL_ID.check(&request.external_id)?;
    check::SUBSCRIPTION_TYPE.check(&request.subscription_type)?;
    check::CLIENT_TOKEN.check(&request.client_token)?;
    check::SYSLOG_IP.check(&request.syslog_ip)?;
    Ok(NewHsm {
        subnet_id: request.subnet_id,
        ssh_key: request.ssh_key,
        eni_ip: request.eni_ip,
        iam_role_arn: request.iam_role_arn,
        external_id: request.external_id,
        subscription_type: request.subscription_type,
        client_token: request.client_token,
        syslog_ip: request.syslog_ip,
        free_slot,
    })
}

fn describe(hsm: HsmRecord, partitions: Vec<String>) -> DescribeHsmResponse {
    DescribeHsmResponse {
        hsm_arn: hsm.arn,
        status: hsm.state.name().to_owned(),
        status_details: String::new(),
        availability_zone: hsm.availability_zone,
        eni_id: hsm.eni_id,
        eni_ip: hsm.eni_ip,
        subscription_type: hsm.subscription_type,
        subscription_start_date: hsm.created_ms.to_string(),
        subscription_end_date: String::new(),
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
