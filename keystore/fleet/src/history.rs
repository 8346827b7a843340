//! Has the store forgotten something? Pure comparison of what a node remembers with what the store says.

use crate::names::{Generation, NodeId, Revision, Timeline};
use crate::records::{Anchor, Survey};

/// How a node sees that the store's history went backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backwards {
    /// The store was at `known` and is at `now`.
    Revision {
        /// What the node knows to have been there.
        known: Revision,
        /// What the store says.
        now: Revision,
    },
    /// The node's own generation is lower than it was.
    Generation {
        /// What it was.
        known: Generation,
        /// What the store says.
        now: Generation,
    },
    /// The node's own beat is older than its last.
    Beat {
        /// Its version when it was written.
        known: u64,
        /// The version in the store.
        now: u64,
    },
    /// It is another store.
    Cluster {
        /// The one that the node knows.
        known: u64,
        /// This one.
        now: u64,
    },
    /// The store is on a history that does not follow the node's.
    Timeline {
        /// The node's.
        known: Timeline,
        /// The store's.
        now: Timeline,
    },
    /// Another node noticed.
    Marked {
        /// Who.
        by: NodeId,
    },
}

/// How the store's history goes on from what a node remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Continuity {
    /// It is the same history, or the node remembers none.
    Same,
    /// An operator accepted that what the node remembers is lost: it forgets, too.
    Successor,
}

/// Compares. `survey` was read at `at` and has a root record.
pub(crate) fn compare(
    node: NodeId,
    anchor: Option<&Anchor>,
    survey: &Survey,
    at: Revision,
) -> Result<Continuity, Backwards> {
    let Some((_, root)) = &survey.root else {
        return Ok(Continuity::Same);
    };
    if let Some(by) = root.suspected_by {
        return Err(Backwards::Marked { by });
    }
    let Some(anchor) = anchor else {
        return Ok(Continuity::Same);
    };
    if root.timeline != anchor.timeline {
        let (known, now) = (anchor.timeline, root.timeline);
        return match root.previous.contains(&known) {
            true => Ok(Continuity::Successor),
            false => Err(Backwards::Timeline { known, now }),
        };
    }
    if survey.cluster != anchor.cluster {
        let (known, now) = (anchor.cluster, survey.cluster);
        return Err(Backwards::Cluster { known, now });
    }
    if at < anchor.revision {
        let (known, now) = (anchor.revision, at);
        return Err(Backwards::Revision { known, now });
    }
    // A store that was restored may have grown past the anchor's revision again, by the writes of nodes that had less to
    // remember. The node's own records cannot have: nobody else writes its beat.
    let own = survey.node(node);
    let (generation, beat) = own.map_or_else(Default::default, |own| (own.generation, own.beat_version));
    if generation < anchor.generation {
        let (known, now) = (anchor.generation, generation);
        return Err(Backwards::Generation { known, now });
    }
    if beat < anchor.beat_version {
        let (known, now) = (anchor.beat_version, beat);
        return Err(Backwards::Beat { known, now });
    }
    Ok(Continuity::Same)
}
