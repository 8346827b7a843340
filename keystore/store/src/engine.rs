//! What an engine must do to make staged batches durable; loading is each engine's own constructor. The shared layer above does
//! the rest (compare, versions, heads, watch), so an engine knows nothing of conditions.

use crate::report::{CloseError, Fatal, StoreStatus};
use crate::state::Staged;

/// Why an engine did not take a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineError {
    /// No room; nothing was written.
    Full,
    /// What the disk holds is unknown; the store must stop.
    Fatal(Fatal),
}

/// Where durable batches go.
pub(crate) trait Engine: Send {
    /// Makes sure that a stage of this many bytes can be written; `reserve`: the spare segment may be used.
    fn prepare(&mut self, bytes: usize, reserve: bool) -> Result<(), EngineError>;

    /// Most bytes of one stage.
    fn stage_bytes(&self) -> usize;

    /// Makes the stage durable: when it returns, the stage survives loss of power (INV-2).
    fn commit(&mut self, staged: &Staged) -> Result<(), EngineError>;

    /// The stage is visible now; slower copies may take it.
    fn applied(&mut self, staged: &Staged);

    /// Adds the engine's figures.
    fn status(&self, status: &mut StoreStatus);

    /// Ends cleanly; `last` is an empty stage on the state.
    fn close(&mut self, last: &Staged) -> Result<(), CloseError>;
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

    fn commit(&mut self, _staged: &Staged) -> Result<(), EngineError> {
        Ok(())
    }

    fn applied(&mut self, _staged: &Staged) {}

    fn status(&self, _status: &mut StoreStatus) {}

    fn close(&mut self, _last: &Staged) -> Result<(), CloseError> {
        Ok(())
    }
}
