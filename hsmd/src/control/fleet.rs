//! `hsmd.fleet.v1.Fleet`: the nodes that share this daemon's store.

use super::fault::{again, blocking};
use crate::fleet::{Fleet as Driven, NodeView, levels, phase_name};
use crate::node::Node as Daemon;
use hsmd_control::fleet::fleet_server::Fleet;
use hsmd_control::fleet::{
    DrainRequest, DrainResponse, EvacuateRequest, EvacuateResponse, ListNodesRequest, ListNodesResponse,
    MoveHsmRequest, MoveHsmResponse, Moved, Node, RaiseLevelRequest, RaiseLevelResponse, RemoveNodeRequest,
    RemoveNodeResponse,
};
use hsmd_keystore::{Raised, Standing};
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
                level: 0,
                lowest_level: *levels().start(),
                highest_level: *levels().end(),
            }));
        };
        let nodes = fleet.nodes().map_err(|error| Status::data_loss(error.to_string()))?;
        let mut homes = self.0.model.hsms_by_home();
        Ok(Response::new(ListNodesResponse {
            nodes: nodes.into_iter().map(|node| view(node, &mut homes)).collect(),
            phase: phase_name(fleet.phase()).into(),
            serves: self.0.serves(),
            level: fleet.level().unwrap_or(0),
            lowest_level: *levels().start(),
            highest_level: *levels().end(),
        }))
    }

    async fn raise_level(&self, request: Request<RaiseLevelRequest>) -> Result<Response<RaiseLevelResponse>, Status> {
        let (fleet, level) = (self.fleet()?, request.into_inner().level);
        let names = Arc::clone(&fleet);
        let raised = tokio::task::spawn_blocking(move || fleet.raise(level)).await;
        let raised = raised.map_err(|_| Status::internal("the request failed; see the daemon's log"))?;
        let level = answer_to_raise(raised, |node| name_of(&names, node))?;
        tracing::info!(level, "the fleet has this format level");
        Ok(Response::new(RaiseLevelResponse { level }))
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

/// A node as people know it: its host's name and its id.
fn name_of(fleet: &Driven, node: hsmd_keystore::FleetNodeId) -> String {
    let nodes = fleet.nodes().unwrap_or_default();
    let found = nodes.iter().find(|view| view.records.node == node);
    let name = found.map_or("?", |view| view.facts.name.as_str());
    format!("{name} ({:032x})", node.0)
}

/// The fleet's level, or why it was not raised and what to do about it.
fn answer_to_raise(raised: Raised, name: impl Fn(hsmd_keystore::FleetNodeId) -> String) -> Result<u32, Status> {
    Err(match raised {
        Raised::Done(level) => return Ok(level),
        Raised::NotNext(level) => Status::failed_precondition(format!(
            "the fleet has format level {level}; it is raised one level at a time and never lowered"
        )),
        Raised::OwnProgram(highest) => Status::failed_precondition(format!(
            "this program knows no format level above {highest}: there is nothing to raise until a release brings one"
        )),
        Raised::Older(nodes) => {
            let told = |(node, known): (_, Option<u32>)| {
                let known = known.map_or("none told yet".to_owned(), |known| format!("up to level {known}"));
                format!("{}: {known}", name(node))
            };
            let nodes: Vec<_> = nodes.into_iter().map(told).collect();
            Status::failed_precondition(format!(
                "programs that do not know the level could serve again: {}; install the release there and start it, or remove \
                 nodes that are gone for good (hsmctl fleet remove)",
                nodes.join(", ")
            ))
        }
        Raised::Contended => {
            Status::aborted("a node came or went meanwhile, and nothing was changed: look at the nodes, and try again")
        }
        Raised::Closed => Status::failed_precondition("this node has no right to serve at the moment: ask another one"),
        Raised::Unknown => Status::unavailable(
            "the store has not said whether the level was raised: the same again finds out (hsmctl fleet level show)",
        ),
    })
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
