//! Watching a prefix: a bounded history of committed batches that each watch reads at its own pace. A watch that falls too far
//! behind is told so ([`Compacted`]) and loads anew; it never misses a change silently.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::batch::Revision;
use crate::path::Path;
use crate::state::Staged;

/// One record's change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which record.
    pub path: Path,
    /// Its new version.
    pub version: u64,
    /// Its new value; `None`: purged.
    pub value: Option<Arc<[u8]>>,
}

/// What one committed batch changed under the watched prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The batch.
    pub revision: Revision,
    /// Its operation id.
    pub operation: [u8; 16],
    /// The changes, in the order of the batch.
    pub changes: Vec<Change>,
    /// Another process has written them: whoever keeps copies of records has not seen them yet.
    pub foreign: bool,
}

/// The changes that were asked for are no longer kept: load the prefix again and watch from [`crate::Store::revision`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("changes up to revision {} are no longer kept", .oldest.0)]
pub struct Compacted {
    /// Changes after this revision are kept.
    pub oldest: Revision,
}

/// The bounded history that all watches share.
pub(crate) struct History {
    kept: Mutex<Kept>,
    moved: Condvar,
    at_most: usize,
}

struct Kept {
    entries: VecDeque<Arc<Changes>>,
    /// Everything after this revision is in `entries`.
    oldest: Revision,
    newest: Revision,
    closed: bool,
}

impl History {
    pub(crate) fn new(at: Revision, at_most: usize) -> Arc<Self> {
        let kept = Kept {
            entries: VecDeque::new(),
            oldest: at,
            newest: at,
            closed: false,
        };
        Arc::new(Self {
            kept: Mutex::new(kept),
            moved: Condvar::new(),
            at_most: at_most.max(1),
        })
    }

    /// Adds what has just been applied.
    pub(crate) fn publish(&self, staged: &Staged) {
        let mut kept = self.kept.lock();
        for commit in &staged.commits {
            let changes = commit.writes.iter();
            let changes = changes.map(|put| Change {
                path: put.path.clone(),
                version: put.version,
                value: put.value.clone(),
            });
            kept.entries.push_back(Arc::new(Changes {
                revision: commit.revision,
                operation: commit.operation,
                changes: changes.collect(),
                foreign: staged.foreign,
            }));
            kept.newest = commit.revision;
            if kept.entries.len() > self.at_most
                && let Some(dropped) = kept.entries.pop_front()
            {
                kept.oldest = dropped.revision;
            }
        }
        drop(kept);
        self.moved.notify_all();
    }

    /// What happened up to `at` is not known in detail: every watch loads anew.
    pub(crate) fn restart(&self, at: Revision) {
        let mut kept = self.kept.lock();
        kept.entries.clear();
        kept.oldest = at;
        kept.newest = at;
        drop(kept);
        self.moved.notify_all();
    }

    /// Lets all watches end after what is there.
    pub(crate) fn close(&self) {
        self.kept.lock().closed = true;
        self.moved.notify_all();
    }

    pub(crate) fn watch(self: &Arc<Self>, prefix: &str, after: Revision) -> Result<Watch, Compacted> {
        let oldest = self.kept.lock().oldest;
        if after < oldest {
            return Err(Compacted { oldest });
        }
        Ok(Watch {
            history: Arc::clone(self),
            prefix: prefix.to_owned(),
            after,
        })
    }
}

/// A cursor over the changes under a prefix, in the order of commit, each once.
pub struct Watch {
    history: Arc<History>,
    prefix: String,
    after: Revision,
}

impl Watch {
    /// The next changes if there are any; waits at most `patience` for them.
    ///
    /// `Ok(None)`: nothing in that time, or the store was closed ([`Watch::is_closed`]). Batches that change nothing under the
    /// prefix are passed over, but move [`Watch::after`].
    ///
    /// # Errors
    /// [`Compacted`]: this watch was too slow.
    pub fn next(&mut self, patience: Duration) -> Result<Option<Changes>, Compacted> {
        let until = Instant::now().checked_add(patience);
        let mut kept = self.history.kept.lock();
        loop {
            if self.after < kept.oldest {
                return Err(Compacted { oldest: kept.oldest });
            }
            let start = kept.entries.partition_point(|entry| entry.revision <= self.after);
            for entry in kept.entries.range(start..) {
                self.after = entry.revision;
                let under = entry
                    .changes
                    .iter()
                    .filter(|change| change.path.as_str().starts_with(&self.prefix));
                let changes: Vec<_> = under.cloned().collect();
                if !changes.is_empty() {
                    return Ok(Some(Changes {
                        revision: entry.revision,
                        operation: entry.operation,
                        changes,
                        foreign: entry.foreign,
                    }));
                }
            }
            if kept.closed {
                return Ok(None);
            }
            match until {
                Some(until) => {
                    if self.history.moved.wait_until(&mut kept, until).timed_out() && kept.newest <= self.after {
                        return Ok(None);
                    }
                }
                None => self.history.moved.wait(&mut kept),
            }
        }
    }

    /// As [`Watch::next`], without waiting.
    ///
    /// # Errors
    /// [`Compacted`]: this watch was too slow.
    pub fn try_next(&mut self) -> Result<Option<Changes>, Compacted> {
        self.next(Duration::ZERO)
    }

    /// Everything up to this revision has been seen.
    #[must_use]
    pub fn after(&self) -> Revision {
        self.after
    }

    /// The store was closed; nothing will come any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.history.kept.lock().closed
    }
}
