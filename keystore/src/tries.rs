//! Counting PIN tries (INV-8): a try takes a place in the counter record, durably, before the PIN is checked, and its verdict
//! gives the place back or makes it a failure. Places taken and failures together never exceed the limit; a try without
//! room waits; only failures lock. What a PIN opens is `pin`.
//!
//! The user's tries are counted per role; the SO's per client, because a locked SO closes the role to that client only.

mod record;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Instant;

use hsmd_proto::ck::Rv;
use hsmd_proto::ids::OperationId;
use hsmd_store::{Path, Write};
use parking_lot::{Condvar, Mutex};

use crate::core::{Committed, Core};
use crate::error::Error;
use crate::records::TriesRecord;
use crate::seal::Kind;

pub(crate) use self::record::{Counts, Run, all_settled, counts, fuzzing};

/// How often a change is made anew when others change the record, too.
const CONFLICTS: u32 = 100;

/// The counters of a key set.
#[derive(Default)]
pub(crate) struct Tries {
    gates: Mutex<HashMap<Path, Arc<Gate>>>,
    /// 0: as configured.
    limit: AtomicU32,
}

/// One counter.
pub(crate) struct Gate {
    path: Path,
    /// 0: as configured.
    limit: u32,
    state: Mutex<State>,
    /// A place was given back, or a verdict fell.
    changed: Condvar,
    /// Held while the PIN is checked: one check at a time for each counter. Waiters find the verifier when they have it.
    pub(crate) check: Mutex<()>,
    /// Copies for whoever does not want to wait for a write in progress; good while `fresh`.
    fresh: AtomicBool,
    locked: AtomicBool,
    failures: AtomicUsize,
}

#[derive(Default)]
struct State {
    loaded: bool,
    record: TriesRecord,
    version: u64,
}

/// Whose counter it is: commits its writes, where they still count.
pub(crate) trait Lockout {
    /// Commits `write` of the counter, which sets no lock. Refused when another counter has taken this one's place: nothing is
    /// checked that is not counted (INV-8).
    fn count(&self, write: Write) -> Result<Committed, Error>;

    /// Commits `write` of the counter, which sets the lock, together with whatever else a lock-out changes: all logins end.
    fn commit(&self, write: Write) -> Result<Committed, Error>;
}

impl Tries {
    /// The counter under this path.
    pub(crate) fn gate(&self, path: Path) -> Arc<Gate> {
        let limit = self.limit.load(Ordering::Relaxed);
        let mut gates = self.gates.lock();
        let gate = gates
            .entry(path)
            .or_insert_with_key(|path| Arc::new(Gate::new(path.clone(), limit)));
        Arc::clone(gate)
    }

    /// Forgets all counters: their prefix has been left.
    pub(crate) fn clear(&self) {
        self.gates.lock().clear();
    }

    /// Another node has written the counter under this path: copies are read again, and whoever waits for a place looks anew.
    pub(crate) fn follow(&self, path: &Path, version: u64) {
        let gate = self.gates.lock().get(path).cloned();
        if let Some(gate) = gate {
            let mut state = gate.state.lock();
            if state.version != version {
                gate.forget(&mut state);
            }
            gate.changed.notify_all();
        }
    }

    /// Other nodes may have come or gone: who waits for a place that one of them has left looks again.
    pub(crate) fn look_again(&self) {
        let gates: Vec<_> = self.gates.lock().values().cloned().collect();
        for gate in gates {
            gate.fresh.store(false, Ordering::Release);
            gate.changed.notify_all();
        }
    }

    /// Sets how many failures lock; 0: as configured. Before the first try.
    pub(crate) fn limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
        self.clear();
    }
}

/// How a try begins.
pub(crate) enum Begin<'a, T> {
    /// A place was taken; the PIN may be checked.
    Taken(Place<'a>),
    /// No check is needed any more: this is the answer.
    Known(T),
}

/// A place in the counter. Dropped without a verdict it counts as a failure: a check that was not finished may have been one.
pub(crate) struct Place<'a> {
    gate: &'a Gate,
    core: &'a Core,
    lockout: &'a dyn Lockout,
    attempt: OperationId,
    open: bool,
}

impl Gate {
    fn new(path: Path, limit: u32) -> Self {
        Self {
            path,
            limit,
            state: Mutex::default(),
            changed: Condvar::new(),
            check: Mutex::new(()),
            fresh: AtomicBool::new(false),
            locked: AtomicBool::new(false),
            failures: AtomicUsize::new(0),
        }
    }

    fn run(&self, core: &Core) -> Run {
        Run::of(core).limited(self.limit)
    }

    /// Takes a place for `attempt`, waiting for one at most `Options::try_patience`. While it waits it asks `known` (the
    /// verifier) again whenever something changed.
    ///
    /// # Errors
    /// `CKR_PIN_LOCKED`; `CKR_PIN_INCORRECT` if this very attempt failed before; `CKR_FUNCTION_FAILED` if there was no room in
    /// time; what the store answers.
    pub(crate) fn begin<'a, T>(
        &'a self,
        core: &'a Core,
        lockout: &'a dyn Lockout,
        attempt: OperationId,
        known: impl Fn() -> Option<T>,
    ) -> Result<Begin<'a, T>, Rv> {
        let until = Instant::now() + core.options.try_patience;
        let run = self.run(core);
        let mut state = self.state.lock();
        loop {
            self.load(core, &mut state)?;
            if record::has_failed(&state.record, &attempt) {
                return Err(Rv::PIN_INCORRECT);
            }
            let next = record::settle(&state.record, &run, Some(&attempt));
            if next.locked {
                self.write(core, lockout, &mut state, next)?;
                return Err(Rv::PIN_LOCKED);
            }
            // The lock state has been consulted: the verifier may answer.
            if let Some(answer) = known() {
                return Ok(Begin::Known(answer));
            }
            if let Some(next) = record::reserve(next, &run, &attempt) {
                if !self.write(core, lockout, &mut state, next)? {
                    continue;
                }
                return Ok(Begin::Taken(Place {
                    gate: self,
                    core,
                    lockout,
                    attempt,
                    open: true,
                }));
            }
            // INV-8: with places open nobody is told "locked"; their verdicts may be successes.
            if self.changed.wait_until(&mut state, until).timed_out() {
                return Err(Rv::FUNCTION_FAILED);
            }
        }
    }

    /// Whether the role is locked, for a verifier's answer; and how many failures a success would clear.
    pub(crate) fn counts(&self, core: &Core) -> Result<(bool, usize), Rv> {
        if self.fresh.load(Ordering::Acquire) {
            return Ok((
                self.locked.load(Ordering::Acquire),
                self.failures.load(Ordering::Acquire),
            ));
        }
        let mut state = self.state.lock();
        self.load(core, &mut state)?;
        let settled = record::settle(&state.record, &self.run(core), None);
        Ok((settled.locked, settled.failures.len()))
    }

    /// A right PIN without a place (by the verifier): clears the failures that are complete.
    pub(crate) fn clear(&self, core: &Core, lockout: &dyn Lockout) -> Result<(), Rv> {
        let mut state = self.state.lock();
        self.change(core, lockout, &mut state, |record| {
            let began = record.sequence;
            record::clear(record, began);
        })
    }

    /// Runs `write` while no try can begin or end, and forgets what was read of the record: `write` may have removed it.
    pub(crate) fn reset<T>(&self, write: impl FnOnce() -> T) -> T {
        let mut state = self.state.lock();
        let result = write();
        self.forget(&mut state);
        self.changed.notify_all();
        result
    }

    fn change(
        &self,
        core: &Core,
        lockout: &dyn Lockout,
        state: &mut State,
        change: impl Fn(&mut TriesRecord),
    ) -> Result<(), Rv> {
        let run = self.run(core);
        for _ in 0..CONFLICTS {
            self.load(core, state)?;
            let mut next = state.record.clone();
            change(&mut next);
            let next = record::settle(&next, &run, None);
            if self.write(core, lockout, state, next)? {
                self.changed.notify_all();
                return Ok(());
            }
        }
        Err(Rv::FUNCTION_FAILED)
    }

    fn load(&self, core: &Core, state: &mut State) -> Result<(), Rv> {
        if !state.loaded {
            let found = core
                .read::<TriesRecord>(&self.path, Kind::Tries)
                .map_err(|error| error.rv())?;
            let (record, version) = found.unwrap_or_default();
            *state = State {
                loaded: true,
                record,
                version,
            };
            self.publish(core, state);
        }
        Ok(())
    }

    /// Makes `next` the record, durably. False: somebody else has changed it; `state` is to be loaded again.
    fn write(&self, core: &Core, lockout: &dyn Lockout, state: &mut State, next: TriesRecord) -> Result<bool, Rv> {
        if next == state.record {
            return Ok(true);
        }
        let write = core.put(&self.path, state.version, Kind::Tries, &next);
        let version = write.version;
        let locks = next.locked && !state.record.locked;
        let outcome = if locks {
            lockout.commit(write)
        } else {
            lockout.count(write)
        };
        match outcome {
            Ok(Committed::Done(_)) => {
                *state = State {
                    loaded: true,
                    record: next,
                    version,
                };
                self.publish(core, state);
                Ok(true)
            }
            Ok(Committed::Conflict(_)) => {
                self.forget(state);
                Ok(false)
            }
            Err(error) => {
                // It may have been written: the record says.
                self.forget(state);
                Err(error.rv())
            }
        }
    }

    /// The copies hold only what no earlier run has left open, so that nothing is to be settled any more.
    fn publish(&self, core: &Core, state: &State) {
        self.locked.store(state.record.locked, Ordering::Release);
        self.failures.store(state.record.failures.len(), Ordering::Release);
        let settled = record::settle(&state.record, &self.run(core), None) == state.record;
        self.fresh.store(settled, Ordering::Release);
    }

    /// The record is to be read again.
    fn forget(&self, state: &mut State) {
        self.fresh.store(false, Ordering::Release);
        *state = State::default();
    }
}

impl Place<'_> {
    /// The PIN was right: gives the place back and clears the failures that were complete when the try began.
    pub(crate) fn succeed(self) -> Result<(), Rv> {
        self.verdict(record::succeed)
    }

    /// The PIN was wrong.
    pub(crate) fn fail(self) -> Result<(), Rv> {
        self.verdict(record::fail)
    }

    /// Nothing was checked.
    pub(crate) fn release(self) -> Result<(), Rv> {
        self.verdict(record::release)
    }

    fn verdict(mut self, change: fn(&mut TriesRecord, &OperationId)) -> Result<(), Rv> {
        self.open = false;
        self.give(change)
    }

    fn give(&self, change: fn(&mut TriesRecord, &OperationId)) -> Result<(), Rv> {
        let mut state = self.gate.state.lock();
        self.gate.change(self.core, self.lockout, &mut state, |record| {
            change(record, &self.attempt)
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.open && self.give(record::fail).is_err() {
            tracing::warn!("an unfinished PIN try could not be counted; it counts after a restart");
        }
    }
}
