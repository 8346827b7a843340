//! Mistakes that a fleet must not make, made on purpose: only in a build with the feature `planted`, which no release can be. The
//! judge of the storm must find each of them (`cargo xtask soak planted`). A build without the feature has none of this code.

use std::sync::OnceLock;

use hsmd_store::{Batch, Store};

use crate::core::{Committed, commit};
use crate::error::Error;

#[cfg(not(debug_assertions))]
compile_error!("the feature `planted` makes mistakes on purpose; a release build cannot have it");

/// Which mistake this process makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// A node that has lost its right goes on: it answers, and its batches rest on nothing.
    NoFencing,
    /// What creates or changes is acknowledged before it is committed.
    EarlyAcknowledgement,
}

static MADE: OnceLock<Mistake> = OnceLock::new();
static LEVEL: OnceLock<u32> = OnceLock::new();

/// From now on the process makes the mistake of this name. Another name: none.
pub fn make(name: &str) {
    let mistake = match name.trim() {
        "no-fencing" => Mistake::NoFencing,
        "early-acknowledgement" => Mistake::EarlyAcknowledgement,
        // No mistake, but what this program is not: the next release.
        name => {
            if let Some(level) = name.strip_prefix("level-").and_then(|level| level.parse().ok()) {
                let _ = LEVEL.set(level);
            }
            return;
        }
    };
    // The first one holds.
    let _ = MADE.set(mistake);
}

/// Whether this process makes it.
#[must_use]
pub fn makes(mistake: Mistake) -> bool {
    MADE.get() == Some(&mistake)
}

/// The highest format level of the fleet that this process says it knows.
#[must_use]
pub fn highest_level() -> Option<u32> {
    LEVEL.get().copied()
}

/// The mistake of the early acknowledgement, for what no other node waits for.
pub(crate) fn commit_later(store: &Store, batch: Batch) -> Result<Committed, Error> {
    let revision = store.revision();
    let store = store.clone();
    std::thread::spawn(move || commit(&store, batch).map(drop));
    Ok(Committed::Done(revision))
}
