//! The fleet's own records as they are stored: sealed as all others are, one group for each node, so that beats meet nobody.

use hsmd_fleet::{Beat, Generation, NodeId, NodeRecords, Revision, Root, Standing, Survey, Timeline};
use hsmd_store::{Path, Store};
use prost::Message;

use crate::core::{Core, path};
use crate::error::Error;
use crate::records::{FORMAT, Formatted};
use crate::seal::Kind;

/// In front of a node's id: the group of its records.
const NODE: &str = "/node-";
/// The fleet's root record.
const ROOT: &str = "/fleet/timeline";

/// `/node-<id>/standing`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct StandingRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    /// 1 loading, 2 serving, 3 left, 4 fenced, 5 removed.
    #[prost(uint32, tag = "2")]
    standing: u32,
    /// Who has fenced it.
    #[prost(bytes = "vec", tag = "3")]
    by: Vec<u8>,
}

/// `/node-<id>/beat`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct BeatRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(uint64, tag = "2")]
    applied: u64,
    #[prost(bool, tag = "3")]
    draining: bool,
    #[prost(uint32, tag = "4")]
    level: u32,
    /// The run of the node's process: PIN tries of an earlier one have ended.
    #[prost(uint64, tag = "5")]
    run: u64,
    #[prost(string, tag = "6")]
    name: String,
    #[prost(string, tag = "7")]
    address: String,
    #[prost(string, tag = "8")]
    version: String,
}

/// `/fleet/timeline`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct RootRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(uint64, tag = "2")]
    timeline: u64,
    #[prost(uint64, repeated, tag = "3")]
    previous: Vec<u64>,
    #[prost(bytes = "vec", tag = "4")]
    suspected_by: Vec<u8>,
    #[prost(uint32, tag = "5")]
    level: u32,
}

macro_rules! formatted {
    ($($record:ident),*) => {
        $(impl Formatted for $record {
            fn format(&self) -> u32 {
                self.format
            }
        })*
    };
}

formatted!(StandingRecord, BeatRecord, RootRecord);

/// What a node tells of itself with its beats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// The host's name, for people.
    pub name: String,
    /// Where applications reach it; empty: on its own host only.
    pub address: String,
    /// Of the program.
    pub version: String,
}

pub(super) fn root_path() -> Path {
    path(ROOT)
}

pub(super) fn standing_path(node: NodeId) -> Path {
    path(&format!("{NODE}{:032x}/standing", node.0))
}

pub(super) fn beat_path(node: NodeId) -> Path {
    path(&format!("{NODE}{:032x}/beat", node.0))
}

/// What a path is of the fleet's own records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Root,
    Standing(NodeId),
    Beat(NodeId),
}

pub(super) fn name(path: &str) -> Option<Name> {
    if path == ROOT {
        return Some(Name::Root);
    }
    let (id, record) = path.strip_prefix(NODE)?.split_once('/')?;
    let node = NodeId(u128::from_str_radix(id, 16).ok()?);
    match record {
        "standing" => Some(Name::Standing(node)),
        "beat" => Some(Name::Beat(node)),
        _ => None,
    }
}

/// Whether this is a node's standing, on which its batches rest.
pub(crate) fn is_standing(path: &Path) -> bool {
    matches!(name(path.as_str()), Some(Name::Standing(_)))
}

pub(super) fn standing(standing: Standing) -> StandingRecord {
    let (number, by) = match standing {
        Standing::Loading => (1, Vec::new()),
        Standing::Serving => (2, Vec::new()),
        Standing::Left => (3, Vec::new()),
        Standing::Fenced { by } => (4, by.0.to_be_bytes().to_vec()),
        Standing::Removed => (5, Vec::new()),
    };
    StandingRecord {
        format: FORMAT,
        standing: number,
        by,
    }
}

impl StandingRecord {
    pub(super) fn read(&self) -> Option<Standing> {
        match self.standing {
            1 => Some(Standing::Loading),
            2 => Some(Standing::Serving),
            3 => Some(Standing::Left),
            4 => Some(Standing::Fenced { by: node(&self.by)? }),
            5 => Some(Standing::Removed),
            _ => None,
        }
    }
}

pub(super) fn beat(beat: &Beat, run: u64, facts: &NodeFacts) -> BeatRecord {
    BeatRecord {
        format: FORMAT,
        applied: beat.applied.0,
        draining: beat.draining,
        level: beat.level,
        run,
        name: facts.name.clone(),
        address: facts.address.clone(),
        version: facts.version.clone(),
    }
}

impl BeatRecord {
    pub(super) fn read(&self) -> Beat {
        Beat {
            applied: Revision(self.applied),
            draining: self.draining,
            level: self.level,
        }
    }

    pub(super) fn facts(self) -> NodeFacts {
        NodeFacts {
            name: self.name,
            address: self.address,
            version: self.version,
        }
    }
}

pub(super) fn root(root: &Root) -> RootRecord {
    RootRecord {
        format: FORMAT,
        timeline: root.timeline.0,
        previous: root.previous.iter().map(|timeline| timeline.0).collect(),
        suspected_by: root
            .suspected_by
            .map_or_else(Vec::new, |by| by.0.to_be_bytes().to_vec()),
        level: root.level,
    }
}

impl RootRecord {
    pub(super) fn read(&self) -> Root {
        Root {
            timeline: Timeline(self.timeline),
            previous: self.previous.iter().copied().map(Timeline).collect(),
            suspected_by: node(&self.suspected_by),
            level: self.level,
        }
    }
}

fn node(bytes: &[u8]) -> Option<NodeId> {
    Some(NodeId(u128::from_be_bytes(bytes.try_into().ok()?)))
}

/// All of the fleet's records as the store's memory has them.
pub(super) fn survey(core: &Core) -> Result<Survey, Error> {
    let root = core.read::<RootRecord>(&root_path(), Kind::Node)?;
    Ok(Survey {
        // Another cluster is noticed by the engine, which remembers it.
        cluster: 0,
        root: root.map(|(record, version)| (version, record.read())),
        nodes: nodes(core)?.into_iter().map(|(records, _)| records).collect(),
        // Every node loads every key set: barriers wait for all.
        loads: Vec::new(),
    })
}

/// All nodes, with what they tell of themselves.
pub(super) fn nodes(core: &Core) -> Result<Vec<(NodeRecords, NodeFacts)>, Error> {
    let mut nodes = Vec::new();
    for id in ids(&core.store) {
        let standing = core.read::<StandingRecord>(&standing_path(id), Kind::Node)?;
        let beat = core.read::<BeatRecord>(&beat_path(id), Kind::Node)?;
        let damaged = || Error::Damaged(standing_path(id).to_string());
        let (generation, standing) = match standing {
            Some((record, version)) => (version, record.read().ok_or_else(damaged)?),
            None => (0, Standing::Left),
        };
        let (beat_version, beat) = beat.map_or((0, None), |(record, version)| (version, Some(record)));
        let records = NodeRecords {
            node: id,
            generation: Generation(generation),
            standing,
            beat_version,
            beat: beat.as_ref().map(BeatRecord::read),
        };
        nodes.push((records, beat.map(BeatRecord::facts).unwrap_or_default()));
    }
    Ok(nodes)
}

/// For each node the run of its process, or `None` if none of its processes can do anything more. For PIN tries: what an ended
/// run left open has ended.
pub(crate) fn runs(core: &Core) -> Vec<([u8; 16], Option<u64>)> {
    let run = |id: NodeId| {
        let standing = core.read::<StandingRecord>(&standing_path(id), Kind::Node).ok()??;
        let beat = core.read::<BeatRecord>(&beat_path(id), Kind::Node).ok()??;
        let gone = !matches!(standing.0.read()?, Standing::Loading | Standing::Serving);
        Some((id.0.to_be_bytes(), (!gone).then_some(beat.0.run)))
    };
    ids(&core.store).into_iter().filter_map(run).collect()
}

fn ids(store: &Store) -> Vec<NodeId> {
    let paths = store.scan(NODE).into_iter();
    let mut ids: Vec<_> = paths
        .filter_map(|(path, _)| match name(path.as_str())? {
            Name::Standing(node) | Name::Beat(node) => Some(node),
            Name::Root => None,
        })
        .collect();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_read_back() {
        let id = NodeId(7);
        assert_eq!(name(standing_path(id).as_str()), Some(Name::Standing(id)));
        assert_eq!(name(beat_path(id).as_str()), Some(Name::Beat(id)));
        assert_eq!(name(root_path().as_str()), Some(Name::Root));
        assert_eq!(name("/fleet/doc/1"), None);
        for value in [
            Standing::Loading,
            Standing::Serving,
            Standing::Left,
            Standing::Fenced { by: NodeId(9) },
            Standing::Removed,
        ] {
            assert_eq!(standing(value).read(), Some(value));
        }
        let value = Root {
            timeline: Timeline(4),
            previous: vec![Timeline(3)],
            suspected_by: Some(id),
            level: 1,
        };
        assert_eq!(root(&value).read(), value);
    }
}
