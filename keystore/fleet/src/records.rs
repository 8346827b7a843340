//! The fleet's records in the store, and the one beside it (the anchor). The driver encodes and seals them; it does not look into them.
//!
//! A node has two records, because each batch compares the first and must not conflict with the second: its *standing*, whose
//! version is the node's generation, and its *beat*.

use crate::names::{Generation, KeySetId, NodeId, Revision, Timeline};

/// What a node is to the others. The record's version is the node's [`Generation`]; every change is a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It loads what is there; nobody waits for it, and it serves nothing.
    Loading,
    /// It serves while its beats go on. Barriers wait for it.
    Serving,
    /// It stopped in good order.
    Left,
    /// It fell silent, and another node has closed its generation.
    Fenced {
        /// Who did it.
        by: NodeId,
    },
    /// An operator has removed it for good.
    Removed,
}

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The node serves nothing any more that was not applied up to here.
    pub applied: Revision,
    /// It takes no new requests.
    pub draining: bool,
    /// The highest format level that its program knows.
    pub level: u32,
}

/// The fleet itself: one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The history that the store is on. Epochs hold within one timeline: another one ends all logins.
    pub timeline: Timeline,
    /// The histories that ended when an operator accepted a rollback.
    pub previous: Vec<Timeline>,
    /// A node found that history went backwards. Nobody serves until an operator has decided.
    pub suspected_by: Option<NodeId>,
    /// The format level of all records.
    pub level: u32,
}

/// Both records of a node as they are in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecords {
    /// Whose.
    pub node: NodeId,
    /// Version of the standing; 0: there is none.
    pub generation: Generation,
    /// The standing; a node without one has [`Standing::Left`].
    pub standing: Standing,
    /// Version of the beat; 0: there is none.
    pub beat_version: u64,
    /// The last beat.
    pub beat: Option<Beat>,
}

/// All records of the fleet at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The store's own name; a store that was restored elsewhere has another one. 0 where the engine knows none.
    pub cluster: u64,
    /// Version and value of the root record; `None`: this store has no fleet.
    pub root: Option<(u64, Root)>,
    /// All nodes that ever were.
    pub nodes: Vec<NodeRecords>,
    /// Which nodes load which key sets: those to which a partition of theirs refers.
    pub loads: Vec<(KeySetId, NodeId)>,
}

impl Survey {
    pub(crate) fn node(&self, node: NodeId) -> Option<&NodeRecords> {
        self.nodes.iter().find(|records| records.node == node)
    }
}

/// What a node remembers outside the store, in a file of its own: enough to notice a store that has forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The history.
    pub timeline: Timeline,
    /// The store's name.
    pub cluster: u64,
    /// The store had this revision.
    pub revision: Revision,
    /// The node had this generation,
    pub generation: Generation,
    /// and its beat this version.
    pub beat_version: u64,
}
