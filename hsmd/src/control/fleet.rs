//! `hsmd.fleet.v1.Fleet`: the nodes that share this daemon's store.

use super::fault::{again, blocking};
use crate::fleet::{Fleet as Driven, NodeView, phase_name};
use crate::node::Node as Daemon;
use hsmd_control::fleet::fleet_server::Fleet;
use hsmd_control::fleet::{
    DrainRequest, DrainResponse, EvacuateRequest, EvacuateResponse, ListNodesRequest, ListNodesResponse,
    MoveHsmRequest, MoveHsmResponse, Moved, Node, RemoveNodeRequest, RemoveNodeResponse,
};
use hsmd_keystore::Standing;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// How long a node that is to leave has for the record of that.
const RECORDED: Duration = Duration::from_millis(500);

/// The service.
pub(super) struct Service(pub(super) Arc<Daemon>);

impl Service {
    fn fleet(&self) -> Result<Arc<Driven>, Status> {
        let none = || Status::failed_precondition("this daemon's store is its own: there is no fleet");
        self.0.fleet.clone().ok_or_else(none)
    }
}

#[tonic::async_trait]
impl Fleet for Service {
    async fn list_nodes(&self, _: Request<ListNodesRequest>) -> Result<Response<ListNodesResponse>, Status> {
        let Some(fleet) = &self.0.fleet else {
            return Ok(Response::new(ListNodesResponse {
                nodes: Vec::new(),
                phase: "alone".into(),
                serves: self.0.serves(),
            }));
        };
        let nodes = fleet.nodes().map_err(|error| Status::data_loss(error.to_string()))?;
        let mut homes = self.0.model.hsms_by_home();
        Ok(Response::new(ListNodesResponse {
            nodes: nodes.into_iter().map(|node| view(node, &mut homes)).collect(),
            phase: phase_name(fleet.phase()).into(),
            serves: self.0.serves(),
        }))
    }

    async fn drain(&self, _: Request<DrainRequest>) -> Result<Response<DrainResponse>, Status> {
        let fleet = self.fleet()?;
        // The record of this request in the audit log is the last that this node writes in its place.
        tokio::spawn(async move {
            tokio::time::sleep(RECORDED).await;
            fleet.drain();
        });
        Ok(Response::new(DrainResponse {}))
    }

    async fn remove_node(&self, request: Request<RemoveNodeRequest>) -> Result<Response<RemoveNodeResponse>, Status> {
        let fleet = self.fleet()?;
        let node = u128::from_str_radix(&request.into_inner().node, 16).ok();
        let known = |node: &u128| {
            let nodes = fleet.nodes().unwrap_or_default();
            nodes.iter().any(|view| view.records.node.0 == *node)
        };
        let node = node
            .filter(known)
            .ok_or_else(|| Status::not_found("there is no such node"))?;
        let removed = tokio::task::spawn_blocking(move || fleet.remove(hsmd_keystore::FleetNodeId(node))).await;
        match removed {
            Ok(Ok(())) => Ok(Response::new(RemoveNodeResponse {})),
            Ok(Err(why)) => Err(Status::failed_precondition(why)),
            Err(_) => Err(Status::internal("the request failed; see the daemon's log")),
        }
    }

    async fn move_hsm(&self, request: Request<MoveHsmRequest>) -> Result<Response<MoveHsmResponse>, Status> {
        self.fleet()?;
        let (node, request) = (Arc::clone(&self.0), request.into_inner());
        let moved = blocking(move || again(&node, || node.model.move_hsm(&request.hsm, &request.node))).await?;
        tracing::info!(hsm = moved.id, node = moved.home, "an HSM has another home");
        Ok(Response::new(MoveHsmResponse {}))
    }

    async fn evacuate(&self, request: Request<EvacuateRequest>) -> Result<Response<EvacuateResponse>, Status> {
        self.fleet()?;
        let (node, request) = (Arc::clone(&self.0), request.into_inner());
        let moved = blocking(move || again(&node, || node.model.evacuate(&request.node))).await?;
        tracing::info!(hsms = moved.len(), "a node was evacuated");
        let moved = moved.into_iter().map(|hsm| Moved {
            hsm: hsm.id,
            node: hsm.home,
        });
        Ok(Response::new(EvacuateResponse { moved: moved.collect() }))
    }
}

fn view(node: NodeView, homes: &mut BTreeMap<String, Vec<String>>) -> Node {
    let NodeView { records, facts, own } = node;
    let standing = match records.standing {
        Standing::Loading => "loading",
        Standing::Serving => "serving",
        Standing::Left => "left",
        Standing::Fenced { .. } => "fenced",
        Standing::Removed => "removed",
    };
    let beat = records.beat.as_ref();
    let id = format!("{:032x}", records.node.0);
    Node {
        hsms: homes.remove(&id).unwrap_or_default(),
        id,
        name: facts.name,
        address: facts.address,
        standing: standing.into(),
        generation: records.generation.0,
        beats: records.beat_version,
        applied: beat.map_or(0, |beat| beat.applied.0),
        draining: beat.is_some_and(|beat| beat.draining),
        version: facts.version,
        level: beat.map_or(0, |beat| beat.level),
        own,
    }
}
