//! Moves of partitions into groups and out of them, where keys must be copied first. The group's record says who joins and
//! leaves; here it is done, and done again after a stop: the copying is the keystore's, the last batch of each move has the
//! records and the key sets (INV-3). A join with private keys waits for a C_Login whose PIN opens both tokens.

use super::model::{Model, ModelError, State, write};
use super::records::{Document as _, GroupRecord, Joining, PartitionRecord};
use hsmd_keystore::{Caller, Copied, Error, Joined, KeySet, KeySetChange, MergeError, MergeKeys};
use hsmd_proto::ids::{JoinId, KeySetId};
use hsmd_proto::policy::Policy;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How often a move is begun anew when others change the same records.
const TRIES: usize = 5;

/// The moves under way in this process.
#[derive(Default)]
pub(super) struct Moves {
    /// Whether a join waits for a login.
    waits: AtomicBool,
    /// Joins that somebody is at.
    merging: Mutex<BTreeSet<JoinId>>,
    /// Copies that nothing refers to yet.
    copies: Mutex<BTreeSet<KeySetId>>,
    /// One copy at a time.
    copying: Mutex<()>,
    /// Clones under way.
    cloning: Mutex<BTreeSet<JoinId>>,
}

impl Moves {
    /// Sees whether logins have something to do.
    pub(super) fn look(&self, state: &State) {
        let waits = state
            .groups
            .values()
            .any(|group| !state.merging(&group.record).is_empty());
        self.waits.store(waits, Ordering::Release);
    }

    /// Notes a clone until the answer is dropped: what it has copied and nobody sees yet is not to be removed.
    pub(super) fn clones(&self, join: JoinId) -> Cloning<'_> {
        self.cloning.lock().insert(join);
        Cloning(self, join)
    }

    /// Notes a copy of a key set, which nothing refers to yet, until the answer is dropped.
    pub(super) fn copies(&self, id: KeySetId) -> Copying<'_> {
        self.copies.lock().insert(id);
        Copying(self, id)
    }

    /// Whether this key set is a copy that is being made.
    pub(super) fn makes(&self, id: KeySetId) -> bool {
        self.copies.lock().contains(&id)
    }
}

/// See [`Moves::clones`].
pub(super) struct Cloning<'a>(&'a Moves, JoinId);

impl Drop for Cloning<'_> {
    fn drop(&mut self) {
        self.0.cloning.lock().remove(&self.1);
    }
}

/// See [`Moves::copies`].
pub(super) struct Copying<'a>(&'a Moves, KeySetId);

impl Drop for Copying<'_> {
    fn drop(&mut self) {
        self.0.copies.lock().remove(&self.1);
    }
}

/// A join: which one, from where, where to.
struct Job {
    group: String,
    join: JoinId,
    from: Arc<KeySet>,
    into: Arc<KeySet>,
}

impl Model {
    /// Whether a login may merge something: asked before each, without a lock.
    pub(crate) fn joins_wait(&self) -> bool {
        self.moves.waits.load(Ordering::Acquire)
    }

    /// A user has just logged in to `key_set` with this PIN: merges whatever it opens on both sides.
    pub(crate) fn merge_with(&self, key_set: &Arc<KeySet>, caller: &Caller, pin: &[u8]) {
        let jobs = self.jobs(|job| job.from.id() == key_set.id() || job.into.id() == key_set.id());
        for job in jobs {
            let forth = job.from.id() == key_set.id();
            let other = if forth { &job.into } else { &job.from };
            if let Some(keys) = key_set.open_with(other, caller, pin) {
                self.merge(&job, Some(&if forth { keys } else { keys.turned() }));
            }
        }
    }

    /// What a stop interrupted.
    pub(super) fn finish_groups(&self) {
        let groups: Vec<_> = self.groups().into_iter().map(|group| group.id).collect();
        groups.iter().for_each(|group| self.finish_group(group));
    }

    /// Does what can be done now: leaves, and joins that need no PIN; removes what cancelled joins have left.
    pub(super) fn finish_group(&self, group: &str) {
        let leaving = |state: &State| {
            let group = state.groups.get(group)?;
            let leaving = group.record.leaving.iter().find(|leaving| leaving.failed.is_empty());
            leaving.map(|leaving| leaving.serial.clone())
        };
        loop {
            let next = leaving(&self.state.lock());
            let Some(serial) = next else { break };
            if let Err(error) = self.leave(group, &serial) {
                tracing::error!(group, partition = serial, %error, "a partition could not leave its group");
                if self.leave_failed(group, &serial, &error).is_err() {
                    break;
                }
            }
        }
        for job in self.jobs(|job| job.group == group) {
            self.merge(&job, None);
        }
        self.forget_joins();
        self.show();
    }

    /// Removes what was copied for joins that no group knows any more.
    pub(super) fn forget_joins(&self) {
        let joins: Vec<_> = {
            let state = self.state.lock();
            let joining = state.groups.values().flat_map(|group| &group.record.joining);
            let joins = joining.filter_map(|joining| JoinId::from_hex(&joining.join));
            joins.chain(self.moves.cloning.lock().iter().copied()).collect()
        };
        let key_sets = self.keystore.key_sets();
        let mut joins: Vec<_> = joins;
        if self.keystore.is_shared() {
            let hidden: BTreeSet<_> = key_sets
                .iter()
                .flat_map(|key_set| key_set.hidden_joins(&joins))
                .collect();
            let hidden: Vec<_> = hidden.into_iter().collect();
            let settled = self.strangers.1.settled(&hidden);
            joins.extend(hidden.into_iter().filter(|join| !settled.contains(join)));
        }
        for key_set in key_sets {
            if let Err(error) = key_set.forget_joins(&joins) {
                tracing::warn!(key_set = %key_set.id(), %error, "what a cancelled join has left stays until the next start");
            }
        }
    }

    /// The joins that go on.
    fn jobs(&self, which: impl Fn(&Job) -> bool) -> Vec<Job> {
        let state = self.state.lock();
        let groups = state.groups.values().map(|entry| &entry.record);
        let joins = groups.flat_map(|group| group.joining.iter().map(move |joining| (group, joining)));
        joins
            .filter(|(_, joining)| joining.failed.is_empty())
            .filter_map(|(group, joining)| {
                let partition = &state.partitions.get(&joining.serial)?.record;
                Some(Job {
                    group: group.id.clone(),
                    join: JoinId::from_hex(&joining.join)?,
                    from: self.key_set(&partition.key_set)?,
                    into: self.key_set(&group.key_set)?,
                })
            })
            .filter(which)
            .collect()
    }

    /// Merges, if nobody else is at it. What fails for good is recorded; what may succeed later waits.
    fn merge(&self, job: &Job, keys: Option<&MergeKeys>) {
        if !self.moves.merging.lock().insert(job.join) {
            return;
        }
        let merged = self.try_merge(job, keys);
        self.moves.merging.lock().remove(&job.join);
        let (group, from) = (&job.group, job.from.id());
        match merged {
            Ok(count) => tracing::info!(group, objects = count, "the keys of a partition are the group's now"),
            Err(error) if error.lasts() => {
                tracing::error!(group, key_set = %from, %error, "the keys of a partition cannot be merged");
                if let Err(error) = self.merge_failed(job, &error) {
                    tracing::error!(group, %error, "that a join failed could not be recorded");
                }
            }
            Err(MergeError::Cancelled) => self.forget_joins(),
            Err(error) => tracing::debug!(group, key_set = %from, %error, "a join waits"),
        }
        self.show();
    }

    fn try_merge(&self, job: &Job, keys: Option<&MergeKeys>) -> Result<usize, MergeError> {
        let wanted = || self.state.lock().joining(job).is_some();
        for _ in 0..TRIES {
            let joined = job.from.copy_objects(&job.into, job.join, keys, &wanted)?;
            let count = joined.count();
            match self.switch(job, joined) {
                Ok(()) => return Ok(count),
                Err(ModelError::Keystore(Error::Contended) | ModelError::Conflict) => {}
                Err(ModelError::Keystore(error)) => return Err(error.into()),
                Err(_) => return Err(MergeError::Cancelled),
            }
        }
        Err(MergeError::Contended)
    }

    /// The last batch of a join: whoever refers to the old key set and joins refers to the group's; the old one goes.
    fn switch(&self, job: &Job, joined: Joined) -> Result<(), ModelError> {
        let mut state = self.state.lock();
        state.joining(job).ok_or(ModelError::Changed)?;
        let (old, new) = (job.from.id().to_string(), job.into.id().to_string());
        let group = state.groups.get(&job.group).ok_or(ModelError::Changed)?.record.clone();
        let mut after = group.clone();
        let mut moved: Vec<PartitionRecord> = Vec::new();
        for joining in &group.joining {
            let entry = state.partitions.get(&joining.serial);
            if let Some(entry) = entry.filter(|entry| entry.record.key_set == old) {
                let key_set = new.clone();
                moved.push(PartitionRecord {
                    key_set,
                    free: false,
                    ..entry.record.clone()
                });
            }
        }
        after
            .joining
            .retain(|joining| moved.iter().all(|record| record.serial != joining.serial));
        let stays =
            |record: &&PartitionRecord| record.key_set == old && moved.iter().all(|m| m.serial != record.serial);
        let shared = state
            .partitions
            .values()
            .map(|entry| &entry.record)
            .any(|record| stays(&record));
        let mut keys = vec![KeySetChange::Adopt(joined)];
        if !shared {
            keys.push(KeySetChange::Delete(Arc::clone(&job.from)));
        } else if !state.merging_elsewhere(&old, &job.group) {
            keys.push(KeySetChange::Protect(Arc::clone(&job.from), false));
        }
        self.record_move(&mut state, after, moved, keys)
    }

    /// Gives a partition that leaves a copy of the group's keys, to which it refers from then on.
    fn leave(&self, group: &str, serial: &str) -> Result<(), MergeError> {
        let _one = self.moves.copying.lock();
        for _ in 0..TRIES {
            let Some((source, policy)) = self.leaver(group, serial)? else {
                return Ok(());
            };
            let id = KeySetId(hsmd_crypto::random::array());
            let noted = self.moves.copies(id);
            let done = self.copy(group, serial, &source, || self.keystore.create_key_set_as(id, policy));
            drop(noted);
            match done {
                Err(MergeError::Contended) => {}
                done => return done,
            }
        }
        Err(MergeError::Contended)
    }

    fn copy(
        &self,
        group: &str,
        serial: &str,
        source: &Arc<KeySet>,
        make: impl FnOnce() -> Result<Arc<KeySet>, Error>,
    ) -> Result<(), MergeError> {
        let copy = make()?;
        let wanted = || self.state.lock().leaves(group, serial);
        let copied = source.copy_to(&copy, &wanted).and_then(|copied| {
            let done = self.part(group, serial, (source.id(), copy.id()), copied);
            done.map_err(|error| match error {
                ModelError::Keystore(Error::Contended) | ModelError::Conflict => MergeError::Contended,
                ModelError::Keystore(error) => error.into(),
                _ => MergeError::Cancelled,
            })
        });
        match copied {
            Ok(()) => {
                tracing::info!(
                    group,
                    partition = serial,
                    "the partition has left with a copy of the group's keys"
                );
                Ok(())
            }
            Err(error) => {
                // What is left of it goes at the next start if it cannot go now.
                let _ = self.keystore.delete_key_set(copy.id());
                if matches!(error, MergeError::Cancelled) {
                    Ok(())
                } else {
                    Err(error)
                }
            }
        }
    }

    /// The last batch of a leave.
    fn part(
        &self,
        group: &str,
        serial: &str,
        (old, new): (KeySetId, KeySetId),
        copied: Copied,
    ) -> Result<(), ModelError> {
        let mut state = self.state.lock();
        if !state.leaves(group, serial) {
            return Err(ModelError::Changed);
        }
        let mut after = state.groups.get(group).ok_or(ModelError::Changed)?.record.clone();
        after.leaving.retain(|leaving| leaving.serial != serial);
        let mut record = state.partitions.get(serial).ok_or(ModelError::Changed)?.record.clone();
        if record.key_set != old.to_string() {
            return Err(ModelError::Changed);
        }
        record.key_set = new.to_string();
        self.record_move(&mut state, after, vec![record], vec![KeySetChange::Found(copied)])
    }

    /// What a partition that leaves refers to; `None`: it leaves no more.
    fn leaver(&self, group: &str, serial: &str) -> Result<Option<(Arc<KeySet>, Policy)>, MergeError> {
        let state = self.state.lock();
        let Some(partition) = state.partitions.get(serial).filter(|_| state.leaves(group, serial)) else {
            return Ok(None);
        };
        let source = self.key_set(&partition.record.key_set).ok_or(MergeError::Damaged)?;
        Ok(Some((source, partition.record.policy())))
    }

    fn leave_failed(&self, group: &str, serial: &str, error: &MergeError) -> Result<(), ModelError> {
        let mut state = self.state.lock();
        let Some(entry) = state.groups.get_mut(group) else {
            return Ok(());
        };
        let mut record = entry.record.clone();
        let mut leaving = record.leaving.iter_mut();
        if let Some(leaving) = leaving.find(|leaving| leaving.serial == serial) {
            leaving.failed = error.to_string();
        }
        self.replace(entry, record)
    }

    fn merge_failed(&self, job: &Job, error: &MergeError) -> Result<(), ModelError> {
        let mut state = self.state.lock();
        if state.joining(job).is_none() {
            return Ok(());
        }
        let Some(before) = state.groups.get(&job.group).map(|entry| entry.record.clone()) else {
            return Ok(());
        };
        let mut after = before.clone();
        let old = job.from.id().to_string();
        for joining in &mut after.joining {
            let partition = state.partitions.get(&joining.serial);
            if partition.is_some_and(|partition| partition.record.key_set == old) {
                joining.failed = error.to_string();
            }
        }
        let keys = self.protections(&state, &before, &after);
        self.record_move(&mut state, after, Vec::new(), keys)
    }

    /// Commits a group's record with those of partitions and with their key sets.
    pub(super) fn record_move(
        &self,
        state: &mut State,
        group: GroupRecord,
        partitions: Vec<PartitionRecord>,
        keys: Vec<KeySetChange>,
    ) -> Result<(), ModelError> {
        let version = state.groups.get(&group.id).map_or(0, |entry| entry.version);
        let mut writes = vec![write(&group.name(), version, Some(&group))];
        for record in &partitions {
            let version = state.partitions.get(&record.serial).map_or(0, |entry| entry.version);
            writes.push(write(&record.name(), version, Some(record)));
        }
        self.commit_with(writes, keys)?;
        if let Some(entry) = state.groups.get_mut(&group.id) {
            entry.version += 1;
            entry.record = group;
        }
        for record in partitions {
            if let Some(entry) = state.partitions.get_mut(&record.serial) {
                entry.version += 1;
                entry.record = record;
            }
        }
        Ok(())
    }
}

impl State {
    /// The key sets that are being merged into a group's.
    pub(super) fn merging(&self, group: &GroupRecord) -> BTreeSet<String> {
        let going = group.joining.iter().filter(|joining| joining.failed.is_empty());
        let partitions = going.filter_map(|joining| self.partitions.get(&joining.serial));
        partitions.map(|entry| entry.record.key_set.clone()).collect()
    }

    /// Whether a key set is being merged into that of another group.
    pub(super) fn merging_elsewhere(&self, key_set: &str, group: &str) -> bool {
        let mut others = self.groups.values().filter(|other| other.record.id != group);
        others.any(|other| self.merging(&other.record).contains(key_set))
    }

    /// The join of a job, if it still is what it was.
    fn joining(&self, job: &Job) -> Option<&Joining> {
        let group = &self.groups.get(&job.group)?.record;
        let join = job.join.to_string();
        let joining = group.joining.iter().find(|joining| joining.join == join)?;
        let partition = &self.partitions.get(&joining.serial)?.record;
        let same = partition.key_set == job.from.id().to_string() && group.key_set == job.into.id().to_string();
        (same && joining.failed.is_empty()).then_some(joining)
    }

    fn leaves(&self, group: &str, serial: &str) -> bool {
        let group = self.groups.get(group);
        let mut leaving = group.iter().flat_map(|group| &group.record.leaving);
        leaving.any(|leaving| leaving.serial == serial && leaving.failed.is_empty())
    }
}
