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
use hsmd_control::fleet::{
    DrainRequest, EvacuateRequest, ListNodesRequest, MoveHsmRequest, Moved, Node, RaiseLevelRequest, RemoveNodeRequest,
};
use hsmd_keystore::{Keystore, MasterKey};
use serde::Serialize;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};
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
    /// Gives an HSM another home. Applications notice nothing: every node serves every HSM.
    #[command(
        after_help = "With a store in etcd. Example:\n  hsmctl fleet move hsm-1a2b3c4d 0123456789abcdef0123456789abcdef"
    )]
    Move {
        /// Id, serial number or ARN.
        hsm: String,
        /// The node's id: 32 hexadecimal digits.
        node: String,
    },
    /// Gives all HSMs of a node to the others that serve, before it goes or after it was lost.
    #[command(after_help = "With a store in etcd. Example:\n  hsmctl fleet evacuate 0123456789abcdef0123456789abcdef")]
    Evacuate {
        /// The node's id: 32 hexadecimal digits.
        node: String,
    },
    /// The node that is asked gives away its HSMs, answers what it has begun, and leaves the fleet; then its daemon can be stopped,
    /// and another node can remove it for good.
    #[command(after_help = "With a store in etcd. Example:\n  hsmctl fleet leave --yes")]
    Leave {
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
    /// The format level of the fleet's records, which programs of two adjacent releases have in common.
    #[command(subcommand)]
    Level(Level),
    /// Takes a store in etcd that has forgotten something as it is: a new timeline begins, and all logins end. Once for a fleet, on
    /// one node, while its daemon is stopped; then the daemons start again.
    #[command(
        after_help = "With a store in etcd. Example:\n  hsmctl fleet accept-rollback --config /etc/hsmd/hsmd.toml --yes"
    )]
    AcceptRollback(Accept),
}

/// The verbs of `hsmctl fleet level`.
#[derive(Subcommand)]
pub(super) enum Level {
    /// Shows the level that the fleet has, and the highest one that each node's program has told.
    #[command(
        after_help = "With a store in etcd. Examples:\n  hsmctl fleet level show\n  hsmctl fleet level show -o json"
    )]
    Show,
    /// Gives the fleet the next level, once every node runs a release that knows it: an older program does not serve any more from
    /// then on, and there is no way back.
    #[command(after_help = "With a store in etcd. Example:\n  hsmctl fleet level raise --yes")]
    Raise {
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
    },
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
        Fleet::Move { hsm, node } => {
            client.move_hsm(MoveHsmRequest { hsm, node }).await?;
            Ok(Exit::Ok)
        }
        Fleet::Evacuate { node } => {
            let answer = client.evacuate(EvacuateRequest { node }).await?.into_inner();
            show(
                &MovedList(answer.moved.into_iter().map(MovedView::from).collect()),
                format,
            )
        }
        Fleet::Leave { yes } => {
            confirm::sure(yes, "this node gives its HSMs to the others and leaves the fleet")?;
            leave(&mut client, format).await
        }
        Fleet::Level(Level::Show) => show(&levels(&mut client).await?, format),
        Fleet::Level(Level::Raise { yes }) => raise(&mut client, yes, format).await,
        // Answered before a daemon is looked for.
        Fleet::AcceptRollback(options) => accept(&options),
    }
}

/// The levels of the fleet that is asked.
async fn levels(client: &mut FleetClient<Channel>) -> Result<LevelView, Error> {
    let answer = client.list_nodes(ListNodesRequest {}).await?.into_inner();
    if answer.level == 0 {
        let why = match answer.phase.as_str() {
            "alone" => "this daemon's store is its own: there is no fleet",
            _ => "the fleet's root record cannot be read; see the daemon's log",
        };
        return Err(Error::new(Exit::Failed, why));
    }
    let known = |node: Node| KnownView {
        id: node.id,
        name: node.name,
        standing: node.standing,
        version: node.version,
        level: (node.level > 0).then_some(node.level),
    };
    Ok(LevelView {
        level: answer.level,
        lowest: answer.lowest_level,
        highest: answer.highest_level,
        nodes: answer.nodes.into_iter().map(known).collect(),
    })
}

/// Raises it, and shows what the fleet has then.
async fn raise(client: &mut FleetClient<Channel>, yes: bool, format: Format) -> Result<Exit, Error> {
    let found = levels(client).await?;
    let level = found.level + 1;
    // What the daemon refuses needs no thought.
    if level <= found.highest {
        let what = format!("the fleet's format level becomes {level}: programs that do not know it serve no more");
        confirm::sure(yes, &what)?;
    }
    client.raise_level(RaiseLevelRequest { level }).await?;
    show(&levels(client).await?, format)
}

/// How long a node may take to answer what it has begun.
const LEAVING: Duration = Duration::from_secs(60);
/// How often it is asked.
const LOOK: Duration = Duration::from_millis(200);

/// Evacuates the node that is asked, drains it, and waits until it has left.
async fn leave(client: &mut FleetClient<Channel>, format: Format) -> Result<Exit, Error> {
    let nodes = client.list_nodes(ListNodesRequest {}).await?.into_inner().nodes;
    let own = nodes.into_iter().find(|node| node.own);
    let own = own.ok_or_else(|| Error::new(Exit::Failed, "the daemon has no place in a fleet"))?;
    let node = own.id;
    let answer = client.evacuate(EvacuateRequest { node }).await?.into_inner();
    client.drain(DrainRequest {}).await?;
    let begun = Instant::now();
    while client.list_nodes(ListNodesRequest {}).await?.into_inner().phase != "left" {
        if begun.elapsed() > LEAVING {
            return Err(Error::new(
                Exit::Failed,
                "the node has not left yet; see `hsmctl fleet status`",
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
    show(
        &MovedList(answer.moved.into_iter().map(MovedView::from).collect()),
        format,
    )
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
    hsms: Vec<String>,
}

#[derive(Serialize)]
struct LevelView {
    /// The fleet's.
    level: u32,
    /// What the program of the node that was asked knows.
    lowest: u32,
    highest: u32,
    nodes: Vec<KnownView>,
}

#[derive(Serialize)]
struct KnownView {
    id: String,
    name: String,
    standing: String,
    version: String,
    /// The highest that its program has told; `None`: nothing yet.
    level: Option<u32>,
}

impl Table for LevelView {
    fn rows(&self) -> Vec<Vec<String>> {
        let fleet = [
            "fleet".to_owned(),
            String::new(),
            String::new(),
            String::new(),
            self.level.to_string(),
        ];
        let node = |node: &KnownView| {
            let level = node.level.map_or("?".to_owned(), |level| format!("up to {level}"));
            let (id, name, standing) = (node.id.clone(), node.name.clone(), node.standing.clone());
            [id, name, standing, node.version.clone(), level]
        };
        let rows = std::iter::once(fleet).chain(self.nodes.iter().map(node));
        list(["ID", "NAME", "STANDING", "VERSION", "LEVEL"], rows)
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct MovedList(Vec<MovedView>);

#[derive(Serialize)]
struct MovedView {
    hsm: String,
    node: String,
}

impl From<Moved> for MovedView {
    fn from(moved: Moved) -> Self {
        let Moved { hsm, node } = moved;
        Self { hsm, node }
    }
}

impl Table for MovedList {
    fn rows(&self) -> Vec<Vec<String>> {
        let row = |moved: &MovedView| [moved.hsm.clone(), moved.node.clone()];
        list(["HSM", "NODE"], self.0.iter().map(row))
    }
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
            hsms: node.hsms,
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
            "HSMS",
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
                node.hsms.join(" "),
                node.own.to_string(),
            ]
        };
        list(heading, self.nodes.iter().map(row))
    }
}
