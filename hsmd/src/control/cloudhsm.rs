//! `cloudhsm.v1.CloudHsm`: the 20 operations of CloudHSM Classic. Each is the same four steps: the fields are held against
//! the model, the model acts on a thread that may wait for the store, the answer is rendered, an error gets its name.

mod client;
mod group;
mod hsm;
mod tag;

use super::fault;
use super::fields::{self, Fields};
use super::model::ModelError;
use crate::node::Node;
use hsmd_control::IF_LAST_MODIFIED_KEY;
use hsmd_control::cloudhsm::cloud_hsm_server::CloudHsm;
use hsmd_control::cloudhsm::*;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// What a change without other results answers.
const DONE: &str = "SUCCESS";

/// The service.
pub(super) struct Service(pub(super) Arc<Node>);

impl Service {
    /// Checks a request and runs what it asks for.
    async fn run<Q, A>(&self, request: Request<Q>, act: fn(&Arc<Node>, Q) -> Result<A, ModelError>) -> Answer<A>
    where
        Q: Fields + Clone + Send + 'static,
        A: Send + 'static,
    {
        let (node, request) = (self.0.clone(), request.into_inner());
        let work = move || {
            fields::check(&request)?;
            fault::again(&node, || act(&node, request.clone()))
        };
        fault::blocking(work).await.map(Response::new)
    }
}

type Answer<A> = Result<Response<A>, Status>;

#[tonic::async_trait]
impl CloudHsm for Service {
    async fn create_hsm(&self, request: Request<CreateHsmRequest>) -> Answer<CreateHsmResponse> {
        self.run(request, hsm::create).await
    }

    async fn describe_hsm(&self, request: Request<DescribeHsmRequest>) -> Answer<DescribeHsmResponse> {
        self.run(request, hsm::describe).await
    }

    async fn list_hsms(&self, request: Request<ListHsmsRequest>) -> Answer<ListHsmsResponse> {
        self.run(request, hsm::list).await
    }

    async fn modify_hsm(&self, request: Request<ModifyHsmRequest>) -> Answer<ModifyHsmResponse> {
        self.run(request, hsm::modify).await
    }

    async fn delete_hsm(&self, request: Request<DeleteHsmRequest>) -> Answer<DeleteHsmResponse> {
        self.run(request, hsm::delete).await
    }

    async fn create_hapg(&self, request: Request<CreateHapgRequest>) -> Answer<CreateHapgResponse> {
        self.run(request, group::create).await
    }

    async fn describe_hapg(&self, request: Request<DescribeHapgRequest>) -> Answer<DescribeHapgResponse> {
        self.run(request, group::describe).await
    }

    async fn list_hapgs(&self, request: Request<ListHapgsRequest>) -> Answer<ListHapgsResponse> {
        self.run(request, group::list).await
    }

    async fn delete_hapg(&self, request: Request<DeleteHapgRequest>) -> Answer<DeleteHapgResponse> {
        self.run(request, group::delete).await
    }

    async fn create_luna_client(&self, request: Request<CreateLunaClientRequest>) -> Answer<CreateLunaClientResponse> {
        self.run(request, client::create).await
    }

    async fn describe_luna_client(
        &self,
        request: Request<DescribeLunaClientRequest>,
    ) -> Answer<DescribeLunaClientResponse> {
        self.run(request, client::describe).await
    }

    async fn list_luna_clients(&self, request: Request<ListLunaClientsRequest>) -> Answer<ListLunaClientsResponse> {
        self.run(request, client::list).await
    }

    async fn delete_luna_client(&self, request: Request<DeleteLunaClientRequest>) -> Answer<DeleteLunaClientResponse> {
        self.run(request, client::delete).await
    }

    async fn get_config(&self, request: Request<GetConfigRequest>) -> Answer<GetConfigResponse> {
        self.run(request, client::config).await
    }

    async fn list_available_zones(
        &self,
        request: Request<ListAvailableZonesRequest>,
    ) -> Answer<ListAvailableZonesResponse> {
        self.run(request, hsm::zones).await
    }

    async fn add_tags_to_resource(
        &self,
        request: Request<AddTagsToResourceRequest>,
    ) -> Answer<AddTagsToResourceResponse> {
        self.run(request, tag::add).await
    }

    async fn remove_tags_from_resource(
        &self,
        request: Request<RemoveTagsFromResourceRequest>,
    ) -> Answer<RemoveTagsFromResourceResponse> {
        self.run(request, tag::remove).await
    }

    async fn list_tags_for_resource(
        &self,
        request: Request<ListTagsForResourceRequest>,
    ) -> Answer<ListTagsForResourceResponse> {
        self.run(request, tag::list).await
    }

    async fn modify_hapg(&self, request: Request<ModifyHapgRequest>) -> Answer<ModifyHapgResponse> {
        let read = request.metadata().get(IF_LAST_MODIFIED_KEY).cloned();
        let (node, request) = (self.0.clone(), request.into_inner());
        let work = move || {
            fields::check(&request)?;
            let read = read.map(|read| read.to_str().ok().and_then(|text| text.parse().ok()));
            // A value that is no time is not one that a group was changed at.
            let read = read.map(|read| read.ok_or(ModelError::Changed)).transpose()?;
            fault::again(&node, || group::modify(&node, request.clone(), read))
        };
        fault::blocking(work).await.map(Response::new)
    }

    async fn modify_luna_client(&self, request: Request<ModifyLunaClientRequest>) -> Answer<ModifyLunaClientResponse> {
        let answer = self.run(request, client::modify).await;
        answer.map_err(fault::service_exception)
    }
}
