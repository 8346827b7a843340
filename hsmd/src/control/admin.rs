//! `hsmd.admin.v1.HsmAdmin`: partitions, who may use them, and the state of the daemon.

mod access;
mod clients;
mod logins;
mod officers;
mod partitions;
mod rekey;
#[cfg(test)]
mod tests;

use super::fault::{self, blocking};
use super::model::ModelError;
use super::records::{HsmRecord, PartitionRecord};
use crate::node::Node;
use crate::trouble;
use hsmd_control::admin::hsm_admin_server::HsmAdmin;
#[allow(clippy::wildcard_imports, reason = "every message of the service")]
use hsmd_control::admin::*;
use hsmd_proto::ids::SlotId;
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
        let partition = Some(self.run_again(request, partitions::create).await?);
        Ok(Response::new(CreatePartitionResponse { partition }))
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
            .map(|record| describe(&self.0, record))
            .collect::<Result<_, _>>()
            .map_err(|error| fault::status(&error))?;
        Ok(Response::new(ListPartitionsResponse { partitions }))
    }

    async fn delete_partition(
        &self,
        request: Request<DeletePartitionRequest>,
    ) -> Result<Response<DeletePartitionResponse>, Status> {
        self.run_again(request, partitions::delete).await?;
        Ok(Response::new(DeletePartitionResponse {}))
    }

    async fn resize_partition(
        &self,
        request: Request<ResizePartitionRequest>,
    ) -> Result<Response<ResizePartitionResponse>, Status> {
        let partition = Some(self.run_again(request, partitions::resize).await?);
        Ok(Response::new(ResizePartitionResponse { partition }))
    }

    async fn tighten_partition(
        &self,
        request: Request<TightenPartitionRequest>,
    ) -> Result<Response<TightenPartitionResponse>, Status> {
        let partition = Some(self.run(request, partitions::tighten).await?);
        Ok(Response::new(TightenPartitionResponse { partition }))
    }

    async fn reset_partition_pin(
        &self,
        request: Request<ResetPartitionPinRequest>,
    ) -> Result<Response<ResetPartitionPinResponse>, Status> {
        self.run(request, partitions::reset_pin).await?;
        Ok(Response::new(ResetPartitionPinResponse {}))
    }

    async fn set_crypto_user_pin(
        &self,
        request: Request<SetCryptoUserPinRequest>,
    ) -> Result<Response<SetCryptoUserPinResponse>, Status> {
        self.run(request, partitions::set_crypto_user_pin).await?;
        Ok(Response::new(SetCryptoUserPinResponse {}))
    }

    type RekeyPartitionStream = rekey::Answers;

    async fn rekey_partition(
        &self,
        request: Request<RekeyPartitionRequest>,
    ) -> Result<Response<Self::RekeyPartitionStream>, Status> {
        let begun = self.run(request, rekey::begin).await?;
        Ok(Response::new(rekey::go(self.0.clone(), begun)))
    }

    async fn list_roles(&self, request: Request<ListRolesRequest>) -> Result<Response<ListRolesResponse>, Status> {
        let roles = self.run(request, partitions::roles).await?;
        Ok(Response::new(ListRolesResponse { roles }))
    }

    async fn unlock_role(&self, request: Request<UnlockRoleRequest>) -> Result<Response<UnlockRoleResponse>, Status> {
        let role = Some(self.run(request, partitions::unlock).await?);
        Ok(Response::new(UnlockRoleResponse { role }))
    }

    async fn list_logins(&self, request: Request<ListLoginsRequest>) -> Result<Response<ListLoginsResponse>, Status> {
        let logins = self.run(request, logins::list).await?;
        Ok(Response::new(ListLoginsResponse { logins }))
    }

    async fn revoke_login(
        &self,
        request: Request<RevokeLoginRequest>,
    ) -> Result<Response<RevokeLoginResponse>, Status> {
        self.run(request, logins::revoke).await?;
        Ok(Response::new(RevokeLoginResponse {}))
    }

    async fn list_connections(
        &self,
        request: Request<ListConnectionsRequest>,
    ) -> Result<Response<ListConnectionsResponse>, Status> {
        let connections = self.run(request, logins::connections).await?;
        Ok(Response::new(ListConnectionsResponse { connections }))
    }

    async fn set_log_level(
        &self,
        request: Request<SetLogLevelRequest>,
    ) -> Result<Response<SetLogLevelResponse>, Status> {
        let before = self.run(request, logins::level).await?;
        Ok(Response::new(SetLogLevelResponse { before }))
    }

    async fn describe_security_officer(
        &self,
        request: Request<DescribeSecurityOfficerRequest>,
    ) -> Result<Response<DescribeSecurityOfficerResponse>, Status> {
        let officer = Some(self.run(request, officers::describe).await?);
        Ok(Response::new(DescribeSecurityOfficerResponse { officer }))
    }

    async fn initialize_hsm(
        &self,
        request: Request<InitializeHsmRequest>,
    ) -> Result<Response<InitializeHsmResponse>, Status> {
        let officer = Some(self.run(request, officers::initialise).await?);
        Ok(Response::new(InitializeHsmResponse { officer }))
    }

    async fn zeroize_hsm(&self, request: Request<ZeroizeHsmRequest>) -> Result<Response<ZeroizeHsmResponse>, Status> {
        let partitions = self.run(request, officers::zeroise).await?;
        Ok(Response::new(ZeroizeHsmResponse { partitions }))
    }

    async fn suspend_hsm(&self, request: Request<SuspendHsmRequest>) -> Result<Response<SuspendHsmResponse>, Status> {
        let (node, name) = (self.0.clone(), request.into_inner().hsm);
        blocking(move || fault::again(&node, || node.model.suspend_hsm(&name))).await?;
        Ok(Response::new(SuspendHsmResponse {}))
    }

    async fn resume_hsm(&self, request: Request<ResumeHsmRequest>) -> Result<Response<ResumeHsmResponse>, Status> {
        let (node, name) = (self.0.clone(), request.into_inner().hsm);
        blocking(move || fault::again(&node, || node.model.resume_hsm(&name))).await?;
        Ok(Response::new(ResumeHsmResponse {}))
    }

    async fn clone_group(&self, request: Request<CloneGroupRequest>) -> Result<Response<CloneGroupResponse>, Status> {
        self.run(request, partitions::clone_group).await.map(Response::new)
    }

    async fn verify_group(
        &self,
        request: Request<VerifyGroupRequest>,
    ) -> Result<Response<VerifyGroupResponse>, Status> {
        self.run(request, partitions::verify_group).await.map(Response::new)
    }

    async fn assign_client(
        &self,
        request: Request<AssignClientRequest>,
    ) -> Result<Response<AssignClientResponse>, Status> {
        let answer = self.run_again(request, clients::assign).await?;
        Ok(Response::new(AssignClientResponse {
            assignment: Some(answer),
        }))
    }

    async fn revoke_client(
        &self,
        request: Request<RevokeClientRequest>,
    ) -> Result<Response<RevokeClientResponse>, Status> {
        let answer = self.run_again(request, clients::revoke).await?;
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
        let answer = self.run_again(request, clients::create_local).await?;
        Ok(Response::new(CreateLocalClientResponse {
            assignment: Some(answer),
        }))
    }

    async fn delete_local_client(
        &self,
        request: Request<DeleteLocalClientRequest>,
    ) -> Result<Response<DeleteLocalClientResponse>, Status> {
        self.run_again(request, clients::delete_local).await?;
        Ok(Response::new(DeleteLocalClientResponse {}))
    }

    async fn describe_access(
        &self,
        request: Request<DescribeAccessRequest>,
    ) -> Result<Response<DescribeAccessResponse>, Status> {
        let answer = access::describe(&self.0, request.into_inner());
        answer.map(Response::new).map_err(|error| fault::status(&error))
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
            self_tests: self_tests(node),
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

    /// The same for what has no secret in it: in a fleet it is done again when another node has changed the same records.
    async fn run_again<Q: Clone + Send + 'static, A: Send + 'static>(
        &self,
        request: Request<Q>,
        act: fn(&Arc<Node>, Q) -> Result<A, ModelError>,
    ) -> Result<A, Status> {
        let (node, request) = (self.0.clone(), request.into_inner());
        blocking(move || fault::again(&node, || act(&node, request.clone()))).await
    }
}

fn self_tests(node: &Node) -> Vec<SelfTest> {
    let outcomes = node.keystore.self_tests().outcomes().iter();
    let tests = outcomes.map(|test| SelfTest {
        name: test.name.to_owned(),
        passed: test.passed,
    });
    tests.collect()
}

fn describe(node: &Node, record: &PartitionRecord) -> Result<Partition, ModelError> {
    let hsm = node.model.hsm(&record.hsm)?;
    Ok(partition(node, &hsm, record))
}

fn partition(node: &Node, hsm: &HsmRecord, record: &PartitionRecord) -> Partition {
    let slot = node.slots.get(SlotId(record.slot));
    let key_set = slot.as_ref().and_then(|slot| slot.key_set.as_ref());
    let token = key_set.map(|key_set| key_set.token());
    let quota = key_set.map(|key_set| key_set.quota()).unwrap_or_default();
    let used = key_set.map(|key_set| key_set.used()).unwrap_or_default();
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
        max_objects: quota.objects,
        max_bytes: quota.bytes,
        objects: used.objects,
        bytes: used.bytes,
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
