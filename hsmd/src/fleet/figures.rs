//! What a monitor is told of this node's part in the fleet.

use std::collections::BTreeMap;

use hsmd_keystore::Standing;

use super::{Fleet, now};

/// At one moment.
#[derive(Debug)]
pub(crate) struct Figures {
    /// Requests are answered.
    pub(crate) serving: bool,
    /// How long they are answered if no beat succeeds any more, in microseconds.
    pub(crate) right: u64,
    /// What the store's memory has and the caches have not, in revisions.
    pub(crate) behind: u64,
    /// The format level of the fleet's records; `None`: they cannot be read.
    pub(crate) level: Option<u32>,
    /// How many nodes have each standing.
    pub(crate) nodes: BTreeMap<&'static str, u64>,
}

impl Fleet {
    /// The figures of this moment.
    pub(crate) fn figures(&self) -> Figures {
        let standings = ["loading", "serving", "left", "fenced", "removed"];
        let mut nodes: BTreeMap<_, _> = standings.into_iter().map(|name| (name, 0)).collect();
        // What cannot be read is told by `hsmd_quarantined`.
        for view in self.nodes().unwrap_or_default() {
            *nodes.entry(standing_name(view.records.standing)).or_default() += 1;
        }
        Figures {
            serving: self.serves(),
            right: self.gate.right(now()),
            behind: self.peers.behind(),
            level: self.level(),
            nodes,
        }
    }
}

const fn standing_name(standing: Standing) -> &'static str {
    match standing {
        Standing::Loading => "loading",
        Standing::Serving => "serving",
        Standing::Left => "left",
        Standing::Fenced { .. } => "fenced",
        Standing::Removed => "removed",
    }
}
