//! The store as callers see it: reads from memory, commits in groups, watches. How a group becomes durable is the engine's part.
//!
//! Group commit: whoever finds no commit in progress leads: it takes all waiting batches, checks them one after the other,
//! makes them durable with one sync, applies and answers them, and hands the lead to the first who came meanwhile. Reads take
//! the state's lock, which is held for writing only while a durable stage is applied, so no read waits for a disk.

mod shared;

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::batch::{Batch, CommitError, Compare, Limits, Outcome, Record, Revision};
use crate::engine::{Durable, Engine, EngineError, Load, Memory, Standing};
#[cfg(feature = "etcd")]
use crate::etcd::{self, EtcdOptions};
use crate::faults::{Fault, Faults, Step};
use crate::head::Hasher;
use crate::keeper::Keeper;
use crate::keys::StoreKeys;
use crate::open::{self, SledOptions};
use crate::path::Path;
use crate::report::{
    BackupError, BackupInfo, CheckReport, CloseError, Fatal, LoadReport, OpenError, StoreStatus, Trouble,
};
use crate::seat::{Answer, Seat, Ticket, Turn};
use crate::snapshot::Snapshot;
use crate::state::{Admission, Operations, Staged, State};
use crate::watch::{Compacted, History, Watch};

/// How often a stage is checked again when another writer was faster.
const RESTAGES: u32 = 5;
/// More than a frame without batches needs.
const ACCEPT_BYTES: usize = 2048;

/// The store. Clones share it. Dropping the last clone does not close it cleanly: call [`Store::close`].
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    limits: Limits,
    faults: Faults,
    on_fatal: Arc<dyn Fn(Fatal) + Send + Sync>,
    queue: Mutex<Queue>,
    engine: Mutex<Box<dyn Engine>>,
    history: Arc<History>,
    keeper: Option<Keeper>,
    /// Of an engine that can be cut off; `None`: requests may always be answered, and the engine itself tells its figures.
    standing: Option<Arc<dyn Standing>>,
    /// On what all batches rest.
    guard: RwLock<Option<Compare>>,
}

/// What engine threads need of the store.
pub(crate) struct Shared {
    pub(crate) state: RwLock<State>,
    pub(crate) hasher: Hasher,
    pub(crate) operations: Mutex<Operations>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Ticket>,
    leading: bool,
    stopped: bool,
}

/// What [`Store::open_sled`] puts together.
pub(crate) struct Parts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) limits: Limits,
    pub(crate) faults: Faults,
    pub(crate) on_fatal: Arc<dyn Fn(Fatal) + Send + Sync>,
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) history: Arc<History>,
    pub(crate) keeper: Option<Keeper>,
    pub(crate) standing: Option<Arc<dyn Standing>>,
}

impl Store {
    /// A store that keeps nothing on disk.
    #[must_use]
    pub fn memory(keys: StoreKeys, limits: Limits) -> Self {
        Self::memory_with_faults(keys, limits, Faults::default())
    }

    /// A store that keeps nothing on disk, with planned faults ([`Step::Commit`] only).
    #[must_use]
    pub fn memory_with_faults(keys: StoreKeys, limits: Limits, faults: Faults) -> Self {
        let shared = Shared {
            state: RwLock::new(State::default()),
            hasher: Hasher::new(keys.head(), true),
            operations: Mutex::new(Operations::new(limits.operations)),
        };
        Self::assemble(Parts {
            shared: Arc::new(shared),
            history: History::new(Revision(0), limits.history),
            limits,
            faults,
            on_fatal: Arc::new(|_| {}),
            engine: Box::new(Memory),
            keeper: None,
            standing: None,
        })
    }

    /// Opens the store in `dir`, or makes a new one there if the folder is empty or absent.
    ///
    /// Takes the folder's lock, reads sled, journal and backups, compares everything with the heads, and repairs what it can
    /// without losing anything acknowledged; the report says what. Groups that cannot be made whole are quarantined.
    ///
    /// # Errors
    /// [`OpenError`]: another daemon has the folder, the keys are of another store, or the disk refuses.
    pub fn open_sled(
        dir: &std::path::Path,
        keys: StoreKeys,
        options: SledOptions,
    ) -> Result<(Self, LoadReport), OpenError> {
        let (parts, report) = open::open(dir, &keys, options)?;
        Ok((Self::assemble(parts), report))
    }

    /// Opens the store in etcd, or makes a new one there if [`EtcdOptions::create`] says so.
    ///
    /// # Errors
    /// [`OpenError`]: etcd cannot be reached, another node has the store, the keys are of another store, or its history went
    /// backwards.
    #[cfg(feature = "etcd")]
    pub fn open_etcd(options: EtcdOptions, keys: &StoreKeys) -> Result<(Self, LoadReport), OpenError> {
        let opened = etcd::open(options, keys)?;
        let store = Self::assemble(opened.parts);
        let weak = Arc::downgrade(&store.0);
        opened.cell.when_fatal(move |fatal| {
            if let Some(inner) = weak.upgrade() {
                inner.stop(fatal);
            }
        });
        Ok((store, opened.report))
    }

    fn assemble(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            shared: parts.shared,
            limits: parts.limits,
            faults: parts.faults,
            on_fatal: parts.on_fatal,
            queue: Mutex::default(),
            engine: Mutex::new(parts.engine),
            history: parts.history,
            keeper: parts.keeper,
            standing: parts.standing,
            guard: RwLock::default(),
        }))
    }

    /// The record under this path. Never waits for a disk.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<Record> {
        // Recursive: a commit that waits for a long scan to end does not hold up other readers.
        self.0.shared.state.read_recursive().records.get(path).cloned()
    }

    /// All records whose path starts with `prefix`, in the order of paths, at one revision.
    #[must_use]
    pub fn scan(&self, prefix: &str) -> Vec<(Path, Record)> {
        let state = self.0.shared.state.read();
        let from = state
            .records
            .range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        let under = from.take_while(|(path, _)| path.as_str().starts_with(prefix));
        under.map(|(path, record)| (path.clone(), record.clone())).collect()
    }

    /// The newest revision that reads see.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.0.shared.state.read_recursive().revision
    }

    /// Whether requests may be answered from memory: false when this process may have lost the store to another (INV-6). To be
    /// asked before the work and again before the reply; costs a clock reading.
    #[must_use]
    pub fn may_serve(&self) -> bool {
        self.0.standing.as_ref().is_none_or(|standing| standing.may_serve())
    }

    /// Commits `batch` if all its conditions hold. Returns when it is durable and visible (INV-2), or refused.
    ///
    /// A batch without writes answers `Committed` with a revision at which its compares held.
    ///
    /// # Errors
    /// [`CommitError`]: the batch was not written (for [`CommitError::Stopped`] after a failed sync: may be found written later).
    pub fn commit(&self, mut batch: Batch) -> Result<Outcome, CommitError> {
        let guard = self.0.guard.read().clone();
        batch.compares.extend(guard);
        self.commit_as(batch, false)
    }

    /// As [`Store::commit`], whatever [`Store::guard`] says: for what changes that.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn commit_unguarded(&self, batch: Batch) -> Result<Outcome, CommitError> {
        self.commit_as(batch, false)
    }

    /// Commits records of a backup: as [`Store::commit`], but every path of a write must be absent, and gets the version that the
    /// write names, whatever it is. Purges make no sense here.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn import(&self, batch: Batch) -> Result<Outcome, CommitError> {
        self.commit_as(batch, true)
    }

    /// The state at one revision, to be read slowly while commits go on. What changes meanwhile is kept twice until it is dropped.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::begin(Arc::clone(&self.0.shared))
    }

    fn commit_as(&self, batch: Batch, import: bool) -> Result<Outcome, CommitError> {
        batch.check(&self.0.limits)?;
        let ambiguous = match self.0.faults.at(Step::Commit) {
            Some(Fault::Ambiguous { done: false }) => return Ok(Outcome::Unknown),
            Some(Fault::Ambiguous { done: true }) => true,
            _ => false,
        };
        let seat = Arc::new(Seat::default());
        let lead = {
            let mut queue = self.0.queue.lock();
            if queue.stopped {
                return Err(CommitError::Stopped);
            }
            queue.waiting.push_back(Ticket {
                batch,
                import,
                seat: Arc::clone(&seat),
            });
            !std::mem::replace(&mut queue.leading, true)
        };
        if lead {
            self.0.lead();
        }
        let result = loop {
            let mut turn = seat.turn.lock();
            match std::mem::take(&mut *turn) {
                Turn::Wait => seat.moved.wait(&mut turn),
                Turn::Lead => {
                    drop(turn);
                    self.0.lead();
                }
                Turn::Done(result) => break result,
            }
        };
        if ambiguous {
            result.map(|_| Outcome::Unknown)
        } else {
            result
        }
    }

    /// What became of an operation: `Some` with its outcome if it is among the last [`Limits::operations`], `None` if it was not
    /// committed as far back as that. After a restart, operations since the last backup are known.
    #[must_use]
    pub fn resolve(&self, operation: &[u8; 16]) -> Option<Outcome> {
        if let Some(outcome) = self.0.shared.operations.lock().find(operation) {
            return Some(outcome);
        }
        self.0.engine.lock().settle();
        self.0.shared.operations.lock().find(operation)
    }

    /// Watches what batches after `after` change under `prefix`.
    ///
    /// # Errors
    /// [`Compacted`]: those changes are no longer kept.
    pub fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Compacted> {
        self.0.history.watch(prefix, after)
    }

    /// The groups whose records do not fit their head and could not be made whole. Reads of them answer; commits are refused.
    #[must_use]
    pub fn quarantined(&self) -> Vec<(String, Trouble)> {
        let state = self.0.shared.state.read();
        let groups = state.groups.iter();
        groups
            .filter_map(|(name, group)| Some((name.to_string(), group.trouble.clone()?)))
            .collect()
    }

    /// Ends the quarantine of a group: its records count as right as they are. The operator's decision, after a look at them.
    ///
    /// # Errors
    /// As [`Store::commit`]. [`CommitError::Quarantined`]: etcd was changed since the start, and memory has what was there before;
    /// open the store again first.
    pub fn accept(&self, group: &str) -> Result<(), CommitError> {
        let mut engine = self.0.engine.lock();
        let staged = {
            let state = self.0.shared.state.read();
            let trouble = state.groups.get(group).and_then(|group| group.trouble.as_ref());
            if matches!(trouble, Some(Trouble::Foreign { after: 1.. })) {
                return Err(CommitError::Quarantined(group.to_owned()));
            }
            let mut staged = if engine.is_shared() {
                Staged::guarded(&state)
            } else {
                Staged::on(&state)
            };
            staged.accept(&state, &self.0.shared.hasher, group);
            staged
        };
        engine.prepare(ACCEPT_BYTES, true).map_err(|_| CommitError::Full)?;
        let durable = self.0.make_durable(&mut **engine, &staged);
        if durable.map_err(|error| self.0.refusal(error))? == Durable::Apply {
            self.0.shared.state.write().apply(&staged);
            engine.applied(&staged);
        }
        self.0.shared.state.write().release(group);
        Ok(())
    }

    /// Writes a backup now, reads it back and compares it; then older journal segments go.
    ///
    /// # Errors
    /// [`BackupError`]; what was there before stays.
    pub fn backup(&self) -> Result<BackupInfo, BackupError> {
        self.0.keeper.as_ref().ok_or(BackupError::NoFiles)?.backup()
    }

    /// Reads everything again and compares: memory against the heads, sled and the newest backup against memory.
    #[must_use]
    pub fn check(&self) -> CheckReport {
        let (records, memory) = {
            let state = self.0.shared.state.read();
            (state.records.len(), state.verify(&self.0.shared.hasher).0)
        };
        let mut report = CheckReport {
            records,
            ..CheckReport::default()
        };
        report.memory = memory
            .into_iter()
            .map(|(group, trouble)| (group.to_string(), trouble))
            .collect();
        report.etcd = self.0.engine.lock().check();
        if let Some(keeper) = &self.0.keeper {
            (report.sled, report.backup) = keeper.check();
        }
        report
    }

    /// Figures for status and metrics.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let mut status = StoreStatus {
            stopped: self.0.queue.lock().stopped,
            ..StoreStatus::default()
        };
        match &self.0.standing {
            Some(standing) => standing.status(&mut status),
            None => self.0.engine.lock().status(&mut status),
        }
        let state = self.0.shared.state.read();
        status.revision = state.revision;
        status.records = state.records.len();
        status.bytes = state.bytes;
        status.groups = state.groups.len();
        status.quarantined = state.groups.values().filter(|group| group.trouble.is_some()).count();
        drop(state);
        if let Some(keeper) = &self.0.keeper {
            keeper.status(&mut status);
        }
        status
    }

    /// Ends cleanly: waits for commits in progress, writes the closing mark, lets sled finish, frees the folder's lock. Later
    /// commits answer [`CommitError::Stopped`]; reads go on from memory.
    ///
    /// # Errors
    /// [`CloseError`]; nothing acknowledged is lost by it.
    pub fn close(&self) -> Result<(), CloseError> {
        let mut engine = self.0.engine.lock();
        let refused = {
            let mut queue = self.0.queue.lock();
            if std::mem::replace(&mut queue.stopped, true) {
                return Err(CloseError::Stopped);
            }
            std::mem::take(&mut queue.waiting)
        };
        for ticket in refused {
            ticket.seat.set(Turn::Done(Err(CommitError::Stopped)));
        }
        self.0.history.close();
        let last = Staged::on(&self.0.shared.state.read());
        let closed = engine.close(&last);
        drop(engine);
        if let Some(keeper) = &self.0.keeper {
            keeper.stop(closed.is_ok());
        }
        closed
    }
}

impl Inner {
    /// Serves all waiting batches once, then hands the lead on.
    fn lead(&self) {
        let mut engine = self.engine.lock();
        let taken = std::mem::take(&mut self.queue.lock().waiting);
        let seats: Vec<_> = taken.iter().map(|ticket| Arc::clone(&ticket.seat)).collect();
        let served = catch_unwind(AssertUnwindSafe(|| self.serve(&mut **engine, taken)));
        drop(engine);
        if let Err(panic) = served {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?");
            // Said here, since the hook may end the process.
            let _ = writeln!(io::stderr(), "hsmd-store: a commit panicked: {said}");
            self.stop(Fatal::Panicked);
            for seat in seats {
                let mut turn = seat.turn.lock();
                if !matches!(*turn, Turn::Done(_)) {
                    *turn = Turn::Done(Err(CommitError::Stopped));
                }
                seat.moved.notify_one();
            }
        }
        let mut queue = self.queue.lock();
        match queue.waiting.front() {
            Some(next) => next.seat.set(Turn::Lead),
            None => queue.leading = false,
        }
    }

    /// Serves batches in stages that the engine can take whole.
    fn serve(&self, engine: &mut dyn Engine, mut tickets: VecDeque<Ticket>) {
        while !tickets.is_empty() {
            let mut load = Load::default();
            let fits = |ticket: &&Ticket| engine.takes(&mut load, &ticket.batch);
            let count = tickets.iter().take_while(fits).count().max(1);
            let bytes = tickets
                .iter()
                .take(count)
                .map(|ticket| ticket.batch.frame_bytes())
                .sum();
            let group: Vec<_> = tickets.drain(..count).collect();
            match engine.prepare(bytes, false) {
                Ok(()) => self.stage(engine, group),
                Err(EngineError::Full) => self.serve_one_by_one(engine, group),
                Err(error) => refuse(group, &self.refusal(error)),
            }
        }
    }

    /// With the disk full, what is small or may use the reserve still goes.
    fn serve_one_by_one(&self, engine: &mut dyn Engine, group: Vec<Ticket>) {
        for ticket in group {
            match engine.prepare(ticket.batch.frame_bytes(), ticket.batch.reserve) {
                Ok(()) => self.stage(engine, vec![ticket]),
                Err(EngineError::Full) => refuse(vec![ticket], &CommitError::Full),
                Err(error) => refuse(vec![ticket], &self.refusal(error)),
            }
        }
    }

    /// Checks, makes durable, applies, answers: in this order (INV-2).
    fn stage(&self, engine: &mut dyn Engine, group: Vec<Ticket>) {
        let mut group = group;
        let mut patience = RESTAGES;
        loop {
            // What others wrote meanwhile may be checked against once more.
            let again = (engine.is_shared() && patience > 0).then(|| group.iter().map(Ticket::again).collect());
            let (staged, answers) = self.admit(engine, group);
            match (self.make_durable(engine, &staged), again) {
                (Err(EngineError::Behind), Some(again)) => group = again,
                (durable, _) => return self.answer(engine, &staged, answers, durable),
            }
            patience -= 1;
        }
    }

    /// Checks batches one after the other.
    fn admit(&self, engine: &dyn Engine, group: Vec<Ticket>) -> (Staged, Vec<Answer>) {
        let state = self.shared.state.read();
        let mut staged = if engine.is_shared() {
            Staged::guarded(&state)
        } else {
            Staged::on(&state)
        };
        let answers = group.into_iter().map(|ticket| Answer {
            operation: ticket.batch.operation,
            seat: ticket.seat,
            admission: staged.admit(&state, &self.shared.hasher, ticket.batch, ticket.import),
        });
        let answers = answers.collect();
        (staged, answers)
    }

    fn answer(
        &self,
        engine: &mut dyn Engine,
        staged: &Staged,
        answers: Vec<Answer>,
        durable: Result<Durable, EngineError>,
    ) {
        if durable == Ok(Durable::Apply) && !staged.is_empty() {
            self.shared.state.write().apply(staged);
            self.history.publish(staged);
            engine.applied(staged);
        }
        let refusal = durable.err().map(|error| (error, self.refusal(error)));
        let mut operations = self.shared.operations.lock();
        for answer in answers {
            let result = match (answer.admission, &durable, &refusal) {
                (Admission::Done(result), ..) => result,
                (Admission::Staged(_), _, Some((EngineError::Unknown, _))) => Ok(Outcome::Unknown),
                (Admission::Staged(_), _, Some((_, refusal))) => Err(refusal.clone()),
                (Admission::Staged(revision), Ok(Durable::Applied(first)), _) => {
                    Ok(Outcome::Committed(staged.given(revision, *first)))
                }
                (Admission::Staged(revision), ..) => Ok(Outcome::Committed(revision)),
            };
            if let Ok(outcome) = &result
                && *outcome != Outcome::Unknown
            {
                operations.remember(answer.operation, outcome.clone());
            }
            answer.seat.set(Turn::Done(result));
        }
    }

    fn is_stopped(&self) -> bool {
        self.queue.lock().stopped
    }

    fn make_durable(&self, engine: &mut dyn Engine, staged: &Staged) -> Result<Durable, EngineError> {
        if self.is_stopped() {
            return Err(EngineError::Stopped);
        }
        if staged.is_empty() {
            return Ok(Durable::Apply);
        }
        engine.commit(staged)
    }

    /// What a caller is told when the engine did not take a stage.
    fn refusal(&self, error: EngineError) -> CommitError {
        match error {
            EngineError::Full => CommitError::Full,
            EngineError::Stopped => CommitError::Stopped,
            EngineError::Behind | EngineError::Unavailable | EngineError::Unknown => CommitError::Unavailable,
            EngineError::Fatal(fatal) => {
                self.stop(fatal);
                CommitError::Stopped
            }
        }
    }

    /// Refuses all commits from now on, tells the hook and whoever waits.
    fn stop(&self, fatal: Fatal) {
        let refused = {
            let mut queue = self.queue.lock();
            queue.stopped = true;
            std::mem::take(&mut queue.waiting)
        };
        for ticket in refused {
            ticket.seat.set(Turn::Done(Err(CommitError::Stopped)));
        }
        tracing::error!(?fatal, "the store stops");
        (self.on_fatal)(fatal);
    }
}

fn refuse(group: Vec<Ticket>, error: &CommitError) {
    for ticket in group {
        ticket.seat.set(Turn::Done(Err(error.clone())));
    }
}
