//! What a keystore does when its store has other writers: the nodes of a fleet. Its caches follow what they write (`follow`), the
//! fleet's own records are encoded and committed here (`port`, `records`), keys that rotate go around (`keyring`), a new node takes
//! its place (`join`). What the nodes agree on is `hsmd-fleet`; who drives that, with clock and threads, is `hsmd`.
//!
//! A keystore on files has none of this: [`Sharing::commit`] is one branch then.

mod follow;
mod join;
mod keyring;
mod port;
mod records;

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hsmd_proto::ck::Rv;
use hsmd_store::{Batch, Path, Revision, Store};
use parking_lot::{Condvar, Mutex, RwLock};

pub use self::follow::Followed;
pub(crate) use self::follow::What;
pub(crate) use self::keyring::read as read_keyring;
pub use self::port::Peers;
pub use self::records::NodeFacts;
pub(crate) use self::records::{is_standing, runs};
use crate::core::{Committed, commit};
use crate::error::Error;
use crate::objects::LATCHES;

/// Operations of which it is not known whether they happened; more are forgotten.
const ORPHANS: usize = 4096;
/// How long whoever writes waits for what others have written before.
const PATIENCE: Duration = Duration::from_millis(250);

thread_local! {
    /// The newest position that others must have applied before what this thread does is answered.
    static BARRIER: Cell<u64> = const { Cell::new(0) };
    /// This thread has sent something of which it does not know what became of it.
    static UNSETTLED: Cell<bool> = const { Cell::new(false) };
    /// The newest position that this thread has written.
    static WROTE: Cell<u64> = const { Cell::new(0) };
}

/// Notes what this thread has written.
pub(crate) fn wrote(position: u64) {
    WROTE.set(WROTE.get().max(position));
}

/// Whether this thread has, since the last call, asked the store for something that may have happened or not. Whoever waits for it is
/// not answered: asked again with the same ids, here or at another node, it is found out (INV-10).
#[must_use]
pub fn take_unsettled() -> bool {
    UNSETTLED.replace(false)
}

/// The position that others must have applied before what this thread has done since the last call is answered; `None`: nothing
/// that it did needs that.
#[must_use]
pub fn take_barrier() -> Option<u64> {
    let position = BARRIER.replace(0);
    (position > 0).then_some(position)
}

/// Of one keystore.
pub(crate) struct Sharing {
    /// Others may write.
    on: bool,
    /// The record on whose version all batches of this node rest.
    standing: RwLock<Option<(Path, u64)>>,
    /// What this process sent and does not know the fate of: if it happened, it is news here as well.
    orphans: Mutex<HashSet<[u8; 16]>>,
    /// The caches have everything up to here.
    followed: Mutex<u64>,
    moved: Condvar,
    /// The same as `followed`, for those who only look.
    reached: AtomicU64,
    /// The newest position at which something happened that an application may see (beats are not), ahead of the caches.
    seen: AtomicU64,
    /// Somebody follows.
    follows: std::sync::atomic::AtomicBool,
}

impl Sharing {
    pub(crate) fn new(on: bool) -> Self {
        Self {
            on,
            standing: RwLock::default(),
            orphans: Mutex::default(),
            followed: Mutex::default(),
            moved: Condvar::new(),
            reached: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            follows: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// Whether others may write.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Commits, and notes what others must apply before the caller is answered.
    pub(crate) fn commit(&self, store: &Store, batch: Batch) -> Result<Committed, Error> {
        if !self.on {
            return commit(store, batch);
        }
        let (operation, barrier) = (batch.operation, is_barrier(&batch));
        let visible = batch
            .writes
            .iter()
            .any(|write| records::name(write.path.as_str()).is_none());
        #[cfg(feature = "planted")]
        if crate::planted::makes(crate::planted::Mistake::EarlyAcknowledgement) && !barrier {
            return crate::planted::commit_later(store, batch);
        }
        let before = self.standing.read().clone();
        let again = batch.clone();
        let mut done = commit(store, batch);
        let own = |path: &Path| before.as_ref().is_some_and(|(standing, _)| standing == path);
        if matches!(&done, Ok(Committed::Conflict(path)) if own(path)) && *self.standing.read() != before {
            // This node has put its standing meanwhile.
            done = commit(store, again);
        }
        match done {
            Ok(Committed::Done(revision)) => {
                let position = store.position_of(revision);
                wrote(position);
                if visible {
                    self.saw(position);
                }
                if barrier {
                    raise(store, revision);
                }
                Ok(Committed::Done(revision))
            }
            Ok(Committed::Conflict(path)) if own(&path) => Err(Error::Fenced),
            Ok(conflict) => Ok(conflict),
            Err(error) => {
                if error.is_passing() {
                    UNSETTLED.set(true);
                }
                let mut orphans = self.orphans.lock();
                if orphans.len() < ORPHANS {
                    orphans.insert(operation);
                }
                Err(error)
            }
        }
    }

    /// The code for a change that met others' every time. In a fleet this node may be what is behind: whoever waits is not answered, and
    /// asks again with the same ids, here or at another node; nothing was done.
    pub(crate) fn contended(&self) -> Rv {
        if self.on {
            UNSETTLED.set(true);
        }
        Rv::FUNCTION_FAILED
    }

    fn is_orphan(&self, operation: &[u8; 16]) -> bool {
        self.orphans.lock().remove(operation)
    }

    fn reached(&self, position: u64) {
        let mut followed = self.followed.lock();
        *followed = position.max(*followed);
        self.reached.store(*followed, Ordering::Release);
        drop(followed);
        self.moved.notify_all();
    }

    /// What an application that is answered now may have seen, in numbers that are the same on all nodes.
    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Acquire)
    }

    /// Something that applications may see is about to be in the caches. Said before it is: an answer that shows it then says so, and no
    /// other node shows less to whoever had that answer.
    fn saw(&self, position: u64) {
        self.seen.fetch_max(position, Ordering::AcqRel);
    }

    /// Waits until the caches have come as far as what this thread has written: what an answer says that it has seen is all there.
    pub(crate) fn await_written(&self) {
        let position = WROTE.replace(0);
        if self.reached.load(Ordering::Acquire) < position && self.follows.load(Ordering::Relaxed) {
            self.wait_until(position, PATIENCE);
        }
    }

    /// Waits until the caches have everything up to a position that an application has seen on another node. False: they have not
    /// come as far in time, although the store has.
    pub(crate) fn await_seen(&self, store: &Store, position: u64) -> bool {
        if self.reached.load(Ordering::Acquire) >= position || self.wait_until(position, PATIENCE) {
            return true;
        }
        // A store that is not as far itself went back and was accepted: nobody waits for what is gone.
        store
            .sync(PATIENCE)
            .is_some_and(|now| self.wait_until(position.min(now), PATIENCE))
    }

    fn wait_until(&self, position: u64, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut followed = self.followed.lock();
        while *followed < position {
            if self.moved.wait_until(&mut followed, until).timed_out() {
                return *followed >= position;
            }
        }
        true
    }

    /// Waits a little until the caches have what the store's memory has: whoever met a conflict sees what it was. Not to be called
    /// with a lock that the follower takes.
    pub(crate) fn catch_up(&self, store: &Store) {
        if !self.on || !self.follows.load(Ordering::Relaxed) {
            return;
        }
        self.wait_until(store.position(), PATIENCE);
    }
}

/// Destroys, roots of key sets (epoch, incarnation, lock, policy), latches: what must hold for every later use on every node (INV-6).
fn is_barrier(batch: &Batch) -> bool {
    batch.writes.iter().any(|write| {
        let path = write.path.as_str();
        let destroy = batch.reserve && path.starts_with("/ks/") && path.contains("/o/");
        destroy || (path.starts_with("/ks/") && path.ends_with("/root")) || path.starts_with(LATCHES)
    })
}

fn raise(store: &Store, revision: Revision) {
    let position = store.position_of(revision);
    BARRIER.set(BARRIER.get().max(position));
}
