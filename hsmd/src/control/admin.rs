//! `hsmd.admin.v1.HsmAdmin`: partitions, who may use them, and the state of the daemon.

mod clients;

use super::fault::{self, blocking};
use super::model::ModelError;
use super::records::{HsmRecord, PartitionRecord};
use crate::node::Node;
use crate::trouble;
use hsmd_control::admin::hsm_admin_server::HsmAdmin;
use hsmd_control::admin::{
    AssignClientRequest, AssignClientResponse, CreateLocalClientRequest, CreateLocalClientResponse,
    CreatePartitionRequest, CreatePartitionResponse, DeleteLocalClientRequest, DeleteLocalClientResponse,
    DeletePartitionRequest, DeletePartitionResponse, ListAssignmentsRequest, ListAssignmentsResponse,
    ListPartitionsRequest, ListPartitionsResponse, Partition, ResumeHsmRequest, ResumeHsmResponse, RevokeClientRequest,
    RevokeClientResponse, StatusRequest, StatusResponse, SuspendHsmRequest, SuspendHsmResponse,
};
use hsmd_proto::ids::SlotId;
use hsmd_proto::policy::Policy;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
pub(super) struct Service(pub(super) Arc<Node>);

#[tonic::async_trait]
impl HsmAdmin for Service {
    async fn create_partition(
        &self,
        request: Request<CreatePartitionRequest>,
    ) -> Result<Response<CreatePartitionResponse>, Status> {
        let request = request.into_inner();
        let policy = match request.policy.as_str() {
            "" => None,
            name => Some(Policy::from_name(name).ok_or_else(|| fault::status(&ModelError::Policy))?),
        };
        let node = self.0.clone();
        let record = blocking(move || node.model.create_partition(&request.hsm, &request.label, policy)).await?;
        tracing::info!(partition = record.serial, slot = record.slot, "partition created");
        Ok(Response::new(CreatePartitionResponse {
            partition: Some(self.describe(&record)?),
        }))
    }

    async fn list_partitions(
        &self,
        request: Request<ListPartitionsRequest>,
    ) -> Result<Response<ListPartitionsResponse>, Status> {
        let records = self
            .0
            .model
            .partitions(&request.into_inner().hsm)
            .map_err(|error| fault::status(&error))?;
        let partitions = records
            .iter()
            .map(|record| self.describe(record))
            .collect::<Result<_, _>>()?;
        Ok(Response::new(ListPartitionsResponse { partitions }))
    }

    async fn delete_partition(
        &self,
        request: Request<DeletePartitionRequest>,
    ) -> Result<Response<DeletePartitionResponse>, Status> {
        let name = request.into_inner().partition;
        let node = self.0.clone();
        let partition = name.clone();
        blocking(move || node.model.delete_partition(&name)).await?;
        tracing::info!(partition, "partition deleted");
        Ok(Response::new(DeletePartitionResponse {}))
    }

    async fn suspend_hsm(&self, request: Request<SuspendHsmRequest>) -> Result<Response<SuspendHsmResponse>, Status> {
        let (node, name) = (self.0.clone(), request.into_inner().hsm);
        blocking(move || node.model.suspend_hsm(&name)).await?;
        Ok(Response::new(SuspendHsmResponse {}))
    }

    async fn resume_hsm(&self, request: Request<ResumeHsmRequest>) -> Result<Response<ResumeHsmResponse>, Status> {
        let (node, name) = (self.0.clone(), request.into_inner().hsm);
        blocking(move || node.model.resume_hsm(&name)).await?;
        Ok(Response::new(ResumeHsmResponse {}))
    }

    async fn assign_client(
        &self,
        request: Request<AssignClientRequest>,
    ) -> Result<Response<AssignClientResponse>, Status> {
        let answer = self.run(request, clients::assign).await?;
        Ok(Response::new(AssignClientResponse {
            assignment: Some(answer),
        }))
    }

    async fn revoke_client(
        &self,
        request: Request<RevokeClientRequest>,
    ) -> Result<Response<RevokeClientResponse>, Status> {
        let answer = self.run(request, clients::revoke).await?;
        Ok(Response::new(RevokeClientResponse {
            assignment: Some(answer),
        }))
    }

    async fn list_assignments(
        &self,
        request: Request<ListAssignmentsRequest>,
    ) -> Result<Response<ListAssignmentsResponse>, Status> {
        let assignments = self.run(request, clients::list).await?;
        Ok(Response::new(ListAssignmentsResponse { assignments }))
    }

    async fn create_local_client(
        &self,
        request: Request<CreateLocalClientRequest>,
    ) -> Result<Response<CreateLocalClientResponse>, Status> {
        let answer = self.run(request, clients::create_local).await?;
        Ok(Response::new(CreateLocalClientResponse {
            assignment: Some(answer),
        }))
    }

    async fn delete_local_client(
        &self,
        request: Request<DeleteLocalClientRequest>,
    ) -> Result<Response<DeleteLocalClientResponse>, Status> {
        self.run(request, clients::delete_local).await?;
        Ok(Response::new(DeleteLocalClientResponse {}))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let node = &self.0;
        let partitions = node.model.partitions("").map_err(|error| fault::status(&error))?;
        Ok(Response::new(StatusResponse {
            version: env!("CARGO_PKG_VERSION").into(),
            node: node.keystore.node().to_string(),
            dev: node.keystore.dev(),
            uptime_seconds: node.started.elapsed().as_secs(),
            hsms: count(node.model.hsms().len()),
            partitions: count(partitions.len()),
            connections: count(node.clients.count()),
            requests: node.requests(),
            memory: node.protection.describe(),
            quarantined: node.keystore.quarantined(),
            data_socket: node.config.data.socket.display().to_string(),
            revision: node.keystore.revision(),
            troubles: trouble::troubles(&node.keystore),
            notices: trouble::notices(&node.keystore),
        }))
    }
}

impl Service {
    /// Runs what a request asks for on a thread that may wait for the store.
    async fn run<Q: Send + 'static, A: Send + 'static>(
        &self,
        request: Request<Q>,
        act: fn(&Arc<Node>, Q) -> Result<A, ModelError>,
    ) -> Result<A, Status> {
        let (node, request) = (self.0.clone(), request.into_inner());
        blocking(move || act(&node, request)).await
    }

    fn describe(&self, record: &PartitionRecord) -> Result<Partition, Status> {
        let hsm = self.0.model.hsm(&record.hsm).map_err(|error| fault::status(&error))?;
        Ok(partition(&self.0, &hsm, record))
    }
}

fn partition(node: &Node, hsm: &HsmRecord, record: &PartitionRecord) -> Partition {
    let token = node.slots.get(SlotId(record.slot)).and_then(|slot| slot.token());
    let trouble = match &token {
        Some(_) => "",
        None if !hsm.state.serves() => "the HSM does not serve",
        None => "the key set is missing or cannot be trusted; see `hsmctl status`",
    };
    let label = token
        .as_ref()
        .filter(|token| token.initialized)
        .map(|token| token.label);
    Partition {
        serial: record.serial.clone(),
        arn: hsm.partition_arn(&record.serial),
        hsm_arn: hsm.arn.clone(),
        label: record.label.clone(),
        slot: record.slot,
        policy: record.policy.clone(),
        initialized: label.is_some(),
        token_label: label
            .map(|label| String::from_utf8_lossy(&label).trim_end().to_owned())
            .unwrap_or_default(),
        user_pin: token.is_some_and(|token| token.has_user_pin),
        free: record.free,
        trouble: trouble.to_owned(),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
