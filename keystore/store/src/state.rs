//! What the store holds, in memory, and how batches change it: compare, versions, heads. Pure: no I/O, no locks, no threads.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::batch::{Batch, CommitError, Outcome, Record, Revision};
use crate::codec::{Malformed, Reader};
use crate::head::{Hasher, Head, Sum};
use crate::path::Path;
use crate::report::Trouble;

/// A group's head and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) head: Head,
    pub(crate) trouble: Option<Trouble>,
}

impl Group {
    /// Appends head and trouble.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        self.head.put(out);
        let (kind, a, b): (u8, u64, u64) = match &self.trouble {
            None => (0, 0, 0),
            Some(Trouble::HeadMismatch { expected, found }) => (1, *expected, *found),
            Some(Trouble::JournalLost { after }) => (2, *after, 0),
            Some(Trouble::JournalEnd { after }) => (3, *after, 0),
            Some(Trouble::Foreign { after }) => (4, *after, 0),
        };
        out.push(kind);
        out.extend_from_slice(&a.to_le_bytes());
        out.extend_from_slice(&b.to_le_bytes());
    }

    /// Takes what [`Group::put`] wrote.
    pub(crate) fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let head = Head::take(reader)?;
        let (kind, a, b) = (reader.u8()?, reader.u64()?, reader.u64()?);
        let trouble = match kind {
            0 => None,
            1 => Some(Trouble::HeadMismatch { expected: a, found: b }),
            2 => Some(Trouble::JournalLost { after: a }),
            3 => Some(Trouble::JournalEnd { after: a }),
            4 => Some(Trouble::Foreign { after: a }),
            _ => return Err(Malformed),
        };
        Ok(Self { head, trouble })
    }
}

/// Records as they were; `None`: there was none.
pub(crate) type Before = BTreeMap<Path, Option<Record>>;

/// Everything that is stored.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) records: BTreeMap<Path, Record>,
    pub(crate) groups: BTreeMap<Arc<str>, Group>,
    pub(crate) revision: Revision,
    /// Sum over the heads of all groups.
    pub(crate) total: Sum,
    /// Bytes of all values.
    pub(crate) bytes: u64,
    /// How far an engine that others write to has been followed.
    pub(crate) mark: u64,
    /// What changed since each snapshot in progress began: the records as they were then.
    snapshots: Vec<(u64, Before)>,
}

/// One batch as it will be written: revision given, values shared between memory, journal and watchers.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) operation: [u8; 16],
    pub(crate) revision: Revision,
    pub(crate) writes: Vec<Put>,
}

/// One write of a [`Commit`].
#[derive(Clone, Debug)]
pub(crate) struct Put {
    pub(crate) path: Path,
    pub(crate) version: u64,
    pub(crate) value: Option<Arc<[u8]>>,
}

impl Put {
    pub(crate) fn record(&self, revision: Revision) -> Option<Record> {
        let value = self.value.clone()?;
        Some(Record {
            value,
            version: self.version,
            revision,
        })
    }
}

/// The batches that were accepted together and become durable with one sync, and the heads after them.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    pub(crate) commits: Vec<Commit>,
    pub(crate) heads: BTreeMap<Arc<str>, Head>,
    pub(crate) total: Sum,
    pub(crate) revision: Revision,
    overlay: HashMap<Path, Option<Record>>,
    /// Another process has written it.
    pub(crate) foreign: bool,
    /// For engines that others write to.
    pub(crate) shared: Option<Guards>,
}

/// On what a stage rests when others may write meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Guards {
    /// Revision of each record that the stage writes or compares; `None`: it is absent.
    pub(crate) records: BTreeMap<Path, Option<Revision>>,
    /// The heads before the stage.
    pub(crate) heads: BTreeMap<Arc<str>, Head>,
    /// How far the engine had been followed.
    pub(crate) mark: u64,
    /// The state's revision.
    pub(crate) revision: Revision,
    /// A batch may use the reserve: what it destroys must never come back.
    pub(crate) barrier: bool,
}

/// What admission of one batch says.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Staged under this revision; its outcome is known when the stage is durable.
    Staged(Revision),
    /// Nothing to write; the answer is known already.
    Done(Result<Outcome, CommitError>),
}

impl Staged {
    /// An empty stage on top of `state`.
    pub(crate) fn on(state: &State) -> Self {
        Self {
            total: state.total,
            revision: state.revision,
            ..Self::default()
        }
    }

    /// As [`Staged::on`], and it notes on what it rests.
    pub(crate) fn guarded(state: &State) -> Self {
        let guards = Guards {
            mark: state.mark,
            revision: state.revision,
            ..Guards::default()
        };
        Self {
            shared: Some(guards),
            ..Self::on(state)
        }
    }

    /// Checks `batch` against the state and the batches that were staged before it, and stages it if it fits. `import`: the
    /// paths that it writes must be absent, and get the versions that it names.
    pub(crate) fn admit(&mut self, state: &State, hasher: &Hasher, batch: Batch, import: bool) -> Admission {
        for compare in &batch.compares {
            if let Err(conflict) = self.expect_version(state, &compare.path, compare.version) {
                return Admission::Done(Ok(conflict));
            }
        }
        for write in &batch.writes {
            let expected = if import { 0 } else { write.version - 1 };
            if let Err(conflict) = self.expect_version(state, &write.path, expected) {
                return Admission::Done(Ok(conflict));
            }
            if state
                .groups
                .get(write.path.group())
                .is_some_and(|group| group.trouble.is_some())
            {
                return Admission::Done(Err(CommitError::Quarantined(write.path.group().to_owned())));
            }
        }
        if let Some(guards) = &mut self.shared {
            let compared = batch.compares.iter().map(|compare| &compare.path);
            for path in compared.chain(batch.writes.iter().map(|write| &write.path)) {
                if !guards.records.contains_key(path) {
                    let revision = state.records.get(path).map(|record| record.revision);
                    guards.records.insert(path.clone(), revision);
                }
            }
            guards.barrier |= batch.reserve;
        }
        if batch.writes.is_empty() {
            // With compares only, the answer stands on what is staged before: it becomes true when the stage is durable, and
            // nothing was promised until then; the caller waits for the stage.
            return Admission::Staged(self.revision);
        }
        let writes = batch.writes.into_iter().map(|write| Put {
            path: write.path,
            version: write.version,
            value: write.value.map(Arc::from),
        });
        let revision = Revision(self.revision.0 + 1);
        self.stage(
            state,
            hasher,
            Commit {
                operation: batch.operation,
                revision,
                writes: writes.collect(),
            },
        );
        Admission::Staged(revision)
    }

    /// Adds a commit whose conditions hold (or, at replay, that was committed once) and moves the heads.
    pub(crate) fn stage(&mut self, state: &State, hasher: &Hasher, commit: Commit) {
        let mut touched: Vec<Arc<str>> = Vec::new();
        for put in &commit.writes {
            let old = self.current(state, &put.path).cloned();
            let new = put.record(commit.revision);
            let (name, mut head) = self.head(state, put.path.group());
            if let Some(old) = &old {
                head.count = head.count.wrapping_sub(1);
                head.sum
                    .subtract(hasher.record(&put.path, old.version, old.revision.0, &old.value));
            }
            if let Some(new) = &new {
                head.count = head.count.wrapping_add(1);
                head.sum
                    .add(hasher.record(&put.path, new.version, new.revision.0, &new.value));
            }
            if !touched.contains(&name) {
                if let Some(guards) = &mut self.shared {
                    let before = state.groups.get(&name).map_or(Head::default(), |group| group.head);
                    guards.heads.entry(Arc::clone(&name)).or_insert(before);
                }
                if head.sequence > 0 {
                    let before = self.head(state, &name).1;
                    self.total.subtract(hasher.group(&name, &before));
                }
                head.sequence += 1;
                touched.push(Arc::clone(&name));
            }
            self.heads.insert(name, head);
            self.overlay.insert(put.path.clone(), new);
        }
        for name in touched {
            let head = self.heads.get(&name).copied().unwrap_or_default();
            self.total.add(hasher.group(&name, &head));
        }
        self.revision = commit.revision;
        self.commits.push(commit);
    }

    /// The revision that a batch got in the end, of which the stage had thought as `planned`: the first batch got `first`. A batch
    /// that writes nothing stands on what is before it.
    pub(crate) fn given(&self, planned: Revision, first: Revision) -> Revision {
        let base = self.shared.as_ref().map_or(planned, |guards| guards.revision);
        match planned.0.checked_sub(base.0 + 1) {
            Some(at) => Revision(first.0 + at),
            None => base,
        }
    }

    /// Nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.commits.is_empty() && self.heads.is_empty()
    }

    /// Stages a head for `group` that fits what is there: the operator's decision, never automatic.
    pub(crate) fn accept(&mut self, state: &State, hasher: &Hasher, group: &str) {
        let (name, before) = self.head(state, group);
        let mut head = Head {
            sequence: before.sequence + 1,
            ..Head::default()
        };
        for (path, record) in state.records.iter().filter(|(path, _)| path.group() == group) {
            head.count += 1;
            head.sum
                .add(hasher.record(path, record.version, record.revision.0, &record.value));
        }
        if before.sequence > 0 {
            self.total.subtract(hasher.group(group, &before));
        }
        self.total.add(hasher.group(group, &head));
        if let Some(guards) = &mut self.shared {
            guards.heads.entry(Arc::clone(&name)).or_insert(before);
        }
        self.heads.insert(name, head);
    }

    fn expect_version(&self, state: &State, path: &Path, version: u64) -> Result<(), Outcome> {
        let current = self.current(state, path).map_or(0, |record| record.version);
        if current == version {
            Ok(())
        } else {
            Err(Outcome::Conflict {
                path: path.clone(),
                current,
            })
        }
    }

    fn current<'a>(&'a self, state: &'a State, path: &Path) -> Option<&'a Record> {
        match self.overlay.get(path) {
            Some(staged) => staged.as_ref(),
            None => state.records.get(path),
        }
    }

    fn head(&self, state: &State, group: &str) -> (Arc<str>, Head) {
        if let Some((name, head)) = self.heads.get_key_value(group) {
            return (Arc::clone(name), *head);
        }
        match state.groups.get_key_value(group) {
            Some((name, group)) => (Arc::clone(name), group.head),
            None => (Arc::from(group), Head::default()),
        }
    }
}

impl State {
    /// Makes a stage visible.
    pub(crate) fn apply(&mut self, staged: &Staged) {
        for commit in &staged.commits {
            for put in &commit.writes {
                self.put(&put.path, put.record(commit.revision));
            }
        }
        for (name, head) in &staged.heads {
            match self.groups.get_mut(name) {
                Some(group) => group.head = *head,
                None => drop(self.groups.insert(
                    Arc::clone(name),
                    Group {
                        head: *head,
                        trouble: None,
                    },
                )),
            }
        }
        self.total = staged.total;
        self.revision = staged.revision;
    }

    /// Sets or removes one record, without touching heads.
    pub(crate) fn put(&mut self, path: &Path, record: Option<Record>) {
        let added = record.as_ref().map_or(0, |record| record.value.len() as u64);
        let old = match record {
            Some(record) => self.records.insert(path.clone(), record),
            None => self.records.remove(path),
        };
        let removed = old.as_ref().map_or(0, |record| record.value.len() as u64);
        self.bytes = self.bytes.saturating_add(added).saturating_sub(removed);
        for (_, before) in &mut self.snapshots {
            before.entry(path.clone()).or_insert_with(|| old.clone());
        }
    }

    /// Ends a quarantine.
    pub(crate) fn release(&mut self, group: &str) {
        if let Some(group) = self.groups.get_mut(group) {
            group.trouble = None;
        }
    }

    /// All heads fit, or are known not to: what a copy of the state must be before it is trusted.
    pub(crate) fn is_true(&self, hasher: &Hasher) -> bool {
        let (troubles, total) = self.verify(hasher);
        let known = |name: &Arc<str>| self.groups.get(name).is_some_and(|group| group.trouble.is_some());
        total && troubles.iter().all(|(name, _)| known(name))
    }

    /// Starts to keep what changes from now on, so that a slow reader can put together the state as it is now. Its number.
    pub(crate) fn begin_snapshot(&mut self) -> u64 {
        let number = self.snapshots.last().map_or(0, |(number, _)| number + 1);
        self.snapshots.push((number, Before::new()));
        number
    }

    /// What changed since a snapshot began, as it was then.
    pub(crate) fn before(&self, snapshot: u64) -> Option<&Before> {
        let found = self.snapshots.iter().find(|(number, _)| *number == snapshot);
        found.map(|(_, before)| before)
    }

    /// Ends what [`State::begin_snapshot`] began and returns the records that changed, as they were.
    pub(crate) fn end_snapshot(&mut self, snapshot: u64) -> Before {
        let found = self.snapshots.iter().position(|(number, _)| *number == snapshot);
        found.map(|at| self.snapshots.remove(at).1).unwrap_or_default()
    }

    /// Computes all heads anew and returns the groups whose head does not fit, and whether the sum over all groups does.
    pub(crate) fn verify(&self, hasher: &Hasher) -> (Vec<(Arc<str>, Trouble)>, bool) {
        let mut found: BTreeMap<&str, (u64, Sum)> = BTreeMap::new();
        for (path, record) in &self.records {
            let (count, sum) = found.entry(path.group()).or_default();
            *count += 1;
            sum.add(hasher.record(path, record.version, record.revision.0, &record.value));
        }
        let mut troubles = Vec::new();
        let mut total = Sum::default();
        for (name, group) in &self.groups {
            total.add(hasher.group(name, &group.head));
            let (count, sum) = found.remove(&**name).unwrap_or_default();
            if (count, sum) != (group.head.count, group.head.sum) {
                let trouble = Trouble::HeadMismatch {
                    expected: group.head.count,
                    found: count,
                };
                troubles.push((Arc::clone(name), trouble));
            }
        }
        for (name, (count, _)) in found {
            troubles.push((
                Arc::from(name),
                Trouble::HeadMismatch {
                    expected: 0,
                    found: count,
                },
            ));
        }
        (troubles, total == self.total)
    }
}

/// The outcomes of the last operations, bounded: what [`crate::Store::resolve`] reads.
pub(crate) struct Operations {
    outcomes: HashMap<[u8; 16], Outcome>,
    order: VecDeque<[u8; 16]>,
    at_most: usize,
}

impl Operations {
    pub(crate) fn new(at_most: usize) -> Self {
        Self {
            outcomes: HashMap::new(),
            order: VecDeque::new(),
            at_most,
        }
    }

    pub(crate) fn remember(&mut self, operation: [u8; 16], outcome: Outcome) {
        // A conflict never hides an earlier commit: the retry of a done operation conflicts with itself.
        match self.outcomes.get(&operation) {
            Some(Outcome::Committed(_)) => return,
            Some(_) => {}
            None => self.order.push_back(operation),
        }
        self.outcomes.insert(operation, outcome);
        if self.order.len() > self.at_most
            && let Some(oldest) = self.order.pop_front()
        {
            self.outcomes.remove(&oldest);
        }
    }

    pub(crate) fn find(&self, operation: &[u8; 16]) -> Option<Outcome> {
        self.outcomes.get(operation).cloned()
    }
}
