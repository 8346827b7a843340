//! `hsmctl fleet`: the nodes that share a store. All but the acceptance of a rollback ask the daemon; that one is done while no
//! daemon can run, with the daemon's own configuration and keys.

use super::exit::{Error, Exit};
use super::output::{Table, list, show};
use super::{Format, confirm};
use crate::cli::Failure;
use crate::config::Config;
use crate::init::keystore_options;
use clap::{Args, Subcommand};
use hsmd_control::fleet::fleet_client::FleetClient;
use hsmd_control::fleet::{DrainRequest, ListNodesRequest, Node, RemoveNodeRequest};
use hsmd_keystore::{Keystore, MasterKey};
use serde::Serialize;
use std::io::Write as _;
use std::path::PathBuf;
use tonic::transport::Channel;

/// The verbs.
#[derive(Subcommand)]
pub(super) enum Fleet {
    /// Lists the nodes; exit code 1 when the one that is asked answers no requests.
    #[command(after_help = "Examples:\n  hsmctl fleet status\n  hsmctl fleet status -o json")]
    Status,
    /// The node that is asked answers what it has begun, takes no more, and leaves the fleet; it enters again when it is started
    /// again.
    #[command(after_help = "With a store in etcd. Example:\n  hsmctl fleet drain --yes")]
    Drain {
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
    },
    /// Keeps a node that has left or is fenced out for good.
    #[command(
        after_help = "With a store in etcd. Example:\n  hsmctl fleet remove 0123456789abcdef0123456789abcdef --yes"
    )]
    Remove {
        /// The node's id: 32 hexadecimal digits.
        node: String,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
    },
    /// Takes a store in etcd that has forgotten something as it is: a new timeline begins, and all logins end. Once for a fleet, on
    /// one node, while its daemon is stopped; then the daemons start again.
    #[command(
        after_help = "With a store in etcd. Example:\n  hsmctl fleet accept-rollback --config /etc/hsmd/hsmd.toml --yes"
    )]
    AcceptRollback(Accept),
}

/// Arguments of `hsmctl fleet accept-rollback`.
#[derive(Args)]
pub(super) struct Accept {
    /// The daemon's configuration file.
    #[arg(long, value_name = "PATH", default_value = "/etc/hsmd/hsmd.toml")]
    config: PathBuf,
    /// Do it without asking.
    #[arg(long)]
    yes: bool,
}

/// Runs a verb that asks the daemon.
pub(super) async fn run(channel: Channel, command: Fleet, format: Format) -> Result<Exit, Error> {
    let mut client = FleetClient::new(channel);
    match command {
        Fleet::Status => {
            let answer = client.list_nodes(ListNodesRequest {}).await?.into_inner();
            let serves = answer.serves;
            let view = FleetView {
                phase: answer.phase,
                serves,
                nodes: answer.nodes.into_iter().map(NodeView::from).collect(),
            };
            let shown = show(&view, format)?;
            Ok(if serves { shown } else { Exit::Failed })
        }
        Fleet::Drain { yes } => {
            confirm::sure(yes, "this node takes no more requests until it is started again")?;
            client.drain(DrainRequest {}).await?;
            Ok(Exit::Ok)
        }
        Fleet::Remove { node, yes } => {
            confirm::sure(yes, &format!("node {node} stays out of the fleet for good"))?;
            client.remove_node(RemoveNodeRequest { node }).await?;
            Ok(Exit::Ok)
        }
        // Answered before a daemon is looked for.
        Fleet::AcceptRollback(options) => accept(&options),
    }
}

/// Runs the verb that needs no daemon.
pub(super) fn accept(options: &Accept) -> Result<Exit, Error> {
    let failed = |failure: Failure| Error::new(Exit::Failed, failure.to_string());
    let config = Config::read(&options.config).map_err(|error| failed(error.into()))?;
    if config.store.url.is_empty() {
        return Err(Error::new(Exit::Usage, "the store is in files: there is no fleet"));
    }
    confirm::sure(
        options.yes,
        &format!("what {} has forgotten is lost, and all logins end", config.store.url),
    )?;
    let (folder, key) = (&config.store.data_dir, &config.store.master_key);
    let master = MasterKey::from_file(key).map_err(|error| failed(Failure::keystore(key, error)))?;
    let accepted = Keystore::accept_rollback(folder, &master, &keystore_options(&config, false));
    let ended = accepted.map_err(|error| failed(Failure::keystore(folder, error)))?;
    let text = format!("Accepted. Logins ended on {ended} key sets; start the daemons of the fleet again.\n");
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Error::failed(&error))?;
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct FleetView {
    phase: String,
    serves: bool,
    nodes: Vec<NodeView>,
}

#[derive(Serialize)]
struct NodeView {
    id: String,
    name: String,
    address: String,
    standing: String,
    generation: u64,
    beats: u64,
    applied: u64,
    draining: bool,
    version: String,
    level: u32,
    own: bool,
}

impl From<Node> for NodeView {
    fn from(node: Node) -> Self {
        Self {
            id: node.id,
            name: node.name,
            address: node.address,
            standing: node.standing,
            generation: node.generation,
            beats: node.beats,
            applied: node.applied,
            draining: node.draining,
            version: node.version,
            level: node.level,
            own: node.own,
        }
    }
}

impl Table for FleetView {
    fn rows(&self) -> Vec<Vec<String>> {
        let heading = [
            "ID",
            "NAME",
            "ADDRESS",
            "STANDING",
            "GENERATION",
            "BEATS",
            "APPLIED",
            "VERSION",
            "OWN",
        ];
        let row = |node: &NodeView| {
            [
                node.id.clone(),
                node.name.clone(),
                node.address.clone(),
                if node.draining {
                    format!("{}, draining", node.standing)
                } else {
                    node.standing.clone()
                },
                node.generation.to_string(),
                node.beats.to_string(),
                node.applied.to_string(),
                node.version.clone(),
                node.own.to_string(),
            ]
        };
        list(heading, self.nodes.iter().map(row))
    }
}
