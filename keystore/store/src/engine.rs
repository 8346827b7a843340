//! What an engine must do to make staged batches durable; loading is each engine's own constructor. The shared layer above does
//! the rest (compare, versions, heads, watch), so an engine knows nothing of conditions.

use std::collections::HashSet;
use std::time::Duration;

use crate::batch::{Batch, Revision};
use crate::path::Path;
use crate::report::{CloseError, Fatal, StoreStatus};
use crate::state::Staged;

/// Why an engine did not take a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineError {
    /// No room; nothing was written.
    Full,
    /// What the disk holds is unknown; the store must stop.
    Fatal(Fatal),
    /// Another writer was faster; nothing was written, and the state has what it wrote: check again.
    Behind,
    /// The store was closed or has stopped; nothing was written.
    Stopped,
    /// Nothing was written: the engine cannot be reached or refuses.
    Unavailable,
    /// It may have been written, or will be; [`Engine::settle`] finds out.
    Unknown,
}

/// What follows from a stage that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    /// The store applies the stage as it is.
    Apply,
    /// It is applied already, and this is the revision of its first batch; the others follow.
    Applied(Revision),
}

/// How much a stage has taken.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) batches: usize,
    pub(crate) bytes: usize,
    pub(crate) writes: usize,
    pub(crate) groups: HashSet<String>,
    pub(crate) paths: HashSet<Path>,
}

/// Where durable batches go.
pub(crate) trait Engine: Send {
    /// Makes sure that a stage of this many bytes can be written; `reserve`: the spare segment may be used.
    fn prepare(&mut self, bytes: usize, reserve: bool) -> Result<(), EngineError>;

    /// Most bytes of one stage.
    fn stage_bytes(&self) -> usize;

    /// Whether a stage that has taken `load` can take `batch` as well; counts it.
    fn takes(&self, load: &mut Load, batch: &Batch) -> bool {
        load.bytes += batch.frame_bytes();
        load.bytes <= self.stage_bytes()
    }

    /// Others may write to the same engine: stages need [`crate::state::Guards`].
    fn is_shared(&self) -> bool {
        false
    }

    /// Finds out what became of the last stage if that is unknown.
    fn settle(&mut self) {}

    /// Compares what the engine holds with memory; `None`: there is nothing else, or it cannot be read.
    fn check(&mut self) -> Option<bool> {
        None
    }

    /// Makes the stage durable: when it returns, the stage survives loss of power (INV-2).
    fn commit(&mut self, staged: &Staged) -> Result<Durable, EngineError>;

    /// The stage is visible now; slower copies may take it.
    fn applied(&mut self, staged: &Staged);

    /// Adds the engine's figures.
    fn status(&self, status: &mut StoreStatus);

    /// Ends cleanly; `last` is an empty stage on the state.
    fn close(&mut self, last: &Staged) -> Result<(), CloseError>;
}

/// What is asked while a commit may be under way for long: it waits for no lock of the engine.
pub(crate) trait Standing: Send + Sync {
    /// Requests may be answered from memory.
    fn may_serve(&self) -> bool;

    /// Adds the engine's figures.
    fn status(&self, status: &mut StoreStatus);

    /// How far memory follows, in the engine's own numbers.
    fn position(&self) -> u64;

    /// The position of a batch's revision.
    fn position_of(&self, revision: Revision) -> u64;

    /// Waits until memory has come further than `position`, at most so long; says how far it is.
    fn past(&self, position: u64, patience: Duration) -> u64;

    /// Asks the engine's quorum where it is, and waits until memory is there; `None`: no answer in that time.
    fn sync(&self, patience: Duration) -> Option<u64>;
}

/// Keeps nothing: the records live in the shared layer's memory.
pub(crate) struct Memory;

impl Engine for Memory {
    fn prepare(&mut self, _bytes: usize, _reserve: bool) -> Result<(), EngineError> {
        Ok(())
    }

    fn stage_bytes(&self) -> usize {
        usize::MAX
    }

    fn commit(&mut self, _staged: &Staged) -> Result<Durable, EngineError> {
        Ok(Durable::Apply)
    }

    fn applied(&mut self, _staged: &Staged) {}

    fn status(&self, _status: &mut StoreStatus) {}

    fn close(&mut self, _last: &Staged) -> Result<(), CloseError> {
        Ok(())
    }
}
