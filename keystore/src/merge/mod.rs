//! Key sets that become one, and one that becomes two: what joining a group and leaving one does to keys. Which partition
//! refers to which key set is the control plane's; it hands in its documents, and they change in the same batch (INV-3).
//!
//! * [`join`]: the objects of one key set are copied into another. The source is read-only from the first batch to the last;
//!   the copies are not seen before the last one, which makes the source's partition refer to the other key set.
//! * [`leave`]: a key set is copied as it is, PINs and their counters included, while it is in use.
//! * [`change`]: the batch that does it.

mod change;
mod join;
mod leave;

use hsmd_proto::ids::UniqueId;
use hsmd_store::{Batch, Compare, Write};

pub use self::change::KeySetChange;
pub(crate) use self::change::commit;
pub use self::join::{Joined, MergeKeys};
pub use self::leave::Copied;
use crate::core::{Committed, Core};
use crate::error::Error;

/// Most writes in one batch.
const WRITES: usize = 60;
/// Most bytes in one batch, paths not counted.
const BYTES: usize = 512 << 10;
/// How often something is begun anew when others change the same key sets.
const TRIES: usize = 5;

/// Why objects could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The other key set has another object under the same unique id.
    #[error("the object {0} is another one in the group")]
    Differs(UniqueId),
    /// A record does not open (INV-7): copying the rest would lose it.
    #[error("a record of the key set is damaged")]
    Damaged,
    /// The key sets have different policies.
    #[error("the policies differ")]
    Policy,
    /// The other key set has no room for them.
    #[error("the quota of the group has no room for the objects")]
    Quota,
    /// There are private objects, and no PIN has opened both key sets yet.
    #[error("a PIN that opens both key sets is needed")]
    NeedsPin,
    /// It is not wanted any more.
    #[error("it was cancelled")]
    Cancelled,
    /// Others kept changing the same records.
    #[error("too many conflicting changes")]
    Contended,
    /// From the store.
    #[error(transparent)]
    Store(#[from] Error),
}

impl MergeError {
    /// Whether trying again does not help before somebody has done something about it.
    #[must_use]
    pub const fn lasts(&self) -> bool {
        matches!(self, Self::Differs(_) | Self::Damaged | Self::Policy | Self::Quota)
    }
}

/// Commits writes in batches, each with these conditions. `Ok(false)`: a condition or a version did not hold; what came before is
/// written.
fn commit_in_parts(
    core: &Core,
    compares: &[Compare],
    writes: Vec<Write>,
    wanted: &dyn Fn() -> bool,
) -> Result<bool, MergeError> {
    let mut writes = writes.into_iter().peekable();
    while writes.peek().is_some() {
        if !wanted() {
            return Err(MergeError::Cancelled);
        }
        let (mut part, mut bytes) = (Vec::new(), 0);
        while let Some(write) = writes.peek() {
            bytes += write.value.as_ref().map_or(0, Vec::len);
            if part.len() == WRITES || (bytes > BYTES && !part.is_empty()) {
                break;
            }
            part.extend(writes.next());
        }
        let batch = Batch {
            operation: hsmd_crypto::random::array(),
            compares: compares.to_vec(),
            writes: part,
            reserve: false,
        };
        if let Committed::Conflict(_) = core.commit(batch)? {
            return Ok(false);
        }
    }
    Ok(true)
}
