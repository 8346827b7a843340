//! Whether the daemon can do its work, and if not, why.

use crate::node::Node;
use crate::trouble;
use serde::Serialize;

/// What `/ready` answers.
#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    /// Why not, or what is wrong though it is.
    pub(super) reasons: Vec<String>,
}

/// Not ready: the daemon stops, the store has stopped or is full or cannot be reached, or a group of records is not served.
pub(super) fn readiness(node: &Node) -> Readiness {
    let status = node.keystore.status();
    let mut blocking = Vec::new();
    if node.clients.is_stopping() {
        blocking.push("the daemon is stopping".to_owned());
    }
    let quarantined = status.quarantined.iter();
    blocking.extend(quarantined.map(|name| format!("{name} cannot be trusted and is not served")));
    let troubles = trouble::troubles(&node.keystore);
    let ready = blocking.is_empty() && !status.store.stopped && !status.store.full && node.serves();
    blocking.extend(troubles);
    Readiness {
        ready,
        reasons: blocking,
    }
}
