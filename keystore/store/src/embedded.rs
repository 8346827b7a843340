//! The embedded engine: the journal makes stages durable, the keeper takes them to sled. Not a reader: see `open`.

use crate::engine::{Durable, Engine, EngineError};
use crate::journal::Journal;
use crate::journal::frame::Kind;
use crate::keeper::{Message, Outbox};
use crate::report::{CloseError, Fatal, StoreStatus};
use crate::root::RootFiles;
use crate::state::Staged;

pub(crate) struct Embedded {
    journal: Journal,
    outbox: Outbox,
    /// To be written before the first commit: the disk was full when the store was opened.
    pending: Option<(RootFiles, Vec<u8>)>,
    /// The keeper was asked for a spare segment.
    asked: bool,
}

impl Embedded {
    pub(crate) fn new(journal: Journal, outbox: Outbox, pending: Option<(RootFiles, Vec<u8>)>) -> Self {
        Self {
            journal,
            outbox,
            pending,
            asked: false,
        }
    }
}

impl Engine for Embedded {
    fn prepare(&mut self, bytes: usize, reserve: bool) -> Result<(), EngineError> {
        if let Some((root, value)) = &self.pending {
            root.write(value).map_err(|_| EngineError::Full)?;
            self.pending = None;
        }
        self.journal.prepare(bytes, reserve)
    }

    fn stage_bytes(&self) -> usize {
        self.journal.stage_bytes()
    }

    fn commit(&mut self, staged: &Staged) -> Result<Durable, EngineError> {
        self.journal.append(Kind::Batches, staged)?;
        Ok(Durable::Apply)
    }

    fn applied(&mut self, staged: &Staged) {
        self.outbox.leave(staged);
        let wants = self.journal.wants_spare();
        if wants && !self.asked {
            self.outbox.send(Message::Fill);
        }
        self.asked = wants;
    }

    fn status(&self, status: &mut StoreStatus) {
        status.syncs = self.journal.syncs();
        status.sync_times = self.journal.times();
        status.segments = self.journal.segments();
        status.full = self.journal.is_full() || self.pending.is_some();
    }

    fn close(&mut self, last: &Staged) -> Result<(), CloseError> {
        // The mark makes damage to the last batches visible as such. Without room for it the root file's mark does.
        if self.pending.is_some() || self.journal.prepare(0, true).is_err() {
            return Ok(());
        }
        match self.journal.append(Kind::Close, last) {
            Ok(()) | Err(EngineError::Full) => Ok(()),
            Err(EngineError::Fatal(Fatal::SyncFailed(kind) | Fatal::WriteFailed(kind))) => Err(CloseError::Io(kind)),
            Err(_) => Err(CloseError::Stopped),
        }
    }
}
