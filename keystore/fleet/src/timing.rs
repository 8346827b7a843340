//! How long things take: the one place with the fleet's spans. docs/fleet.md says why each is what it is.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The spans of the protocol, and the formats that this program knows.
///
/// What must hold: `right * 1.1 < fence_after`. A node that is fenced after `fence_after` of another's clock has stopped before,
/// by its own, as long as the rates of the two differ by less than a tenth.
#[derive(Clone, Debug)]
pub struct Timing {
    /// From one beat to the next.
    pub beat_every: Duration,
    /// The right to serve, from the moment a successful beat was sent.
    pub right: Duration,
    /// A node whose records have not changed for this long may be fenced.
    pub fence_after: Duration,
    /// With a watch that is this far behind a node does not beat.
    pub lag: Duration,
    /// How long a request waits for a revision that the node has not applied; and how long the node may know of a change without
    /// having applied it before it says that it is behind.
    pub patience: Duration,
    /// Before a question that stayed without answer is put again.
    pub pause: Duration,
    /// How often the rules of a write run anew after a conflict.
    pub reruns: u32,
    /// The format levels that this program reads and writes.
    pub levels: RangeInclusive<u32>,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            beat_every: Duration::from_secs(1),
            right: Duration::from_secs(5),
            fence_after: Duration::from_secs(6),
            lag: Duration::from_millis(500),
            patience: Duration::from_millis(250),
            pause: Duration::from_millis(100),
            reruns: 5,
            levels: 1..=1,
        }
    }
}
