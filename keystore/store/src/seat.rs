//! Where the callers of commits wait while one of them commits for all: tickets, seats and answers. Data and one lock; what is done
//! with them is in `store`.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::batch::{Batch, CommitError, Outcome};
use crate::state::Admission;

/// A batch that waits for its turn.
pub(crate) struct Ticket {
    pub(crate) batch: Batch,
    /// Paths must be absent, and their versions are as they are.
    pub(crate) import: bool,
    pub(crate) seat: Arc<Seat>,
}

impl Ticket {
    /// The same once more.
    pub(crate) fn again(&self) -> Self {
        Self {
            batch: self.batch.clone(),
            import: self.import,
            seat: Arc::clone(&self.seat),
        }
    }
}

/// What admission says to one caller.
pub(crate) struct Answer {
    pub(crate) operation: [u8; 16],
    pub(crate) seat: Arc<Seat>,
    pub(crate) admission: Admission,
}

/// Where the caller of one commit waits.
#[derive(Default)]
pub(crate) struct Seat {
    pub(crate) turn: Mutex<Turn>,
    pub(crate) moved: Condvar,
}

/// What the caller does next.
#[derive(Default)]
pub(crate) enum Turn {
    #[default]
    Wait,
    /// It commits for all who wait.
    Lead,
    Done(Result<Outcome, CommitError>),
}

impl Seat {
    /// Tells the caller.
    pub(crate) fn set(&self, turn: Turn) {
        *self.turn.lock() = turn;
        self.moved.notify_one();
    }
}
