//! Partitions of the model: creation with a slot that is allotted once, deletion that survives a stop, and the one free
//! slot after all others.

use super::model::{Model, ModelError, State, Versioned, now_ms, write};
use super::provision::NewPartition;
use super::records::{Document as _, FORMAT, HsmRecord, HsmState, PartitionRecord, SLOTS, SlotCounter};
use hsmd_keystore::Quota;
use hsmd_proto::ids::{KeySetId, SlotId};
use hsmd_proto::policy::Policy;

impl Model {
    /// Partitions in the order of their slots, of one HSM or, with an empty name, of all.
    ///
    /// # Errors
    /// [`ModelError::NotFound`] for an unknown HSM.
    pub fn partitions(&self, hsm: &str) -> Result<Vec<PartitionRecord>, ModelError> {
        let id = if hsm.is_empty() { None } else { Some(self.hsm(hsm)?.id) };
        let state = self.state.lock();
        let mut records: Vec<_> = state
            .partitions
            .values()
            .map(|entry| &entry.record)
            .filter(|record| !record.deleting && id.as_ref().is_none_or(|id| record.hsm == *id))
            .cloned()
            .collect();
        records.sort_by_key(|record| record.slot);
        Ok(records)
    }

    /// Creates an uninitialised partition. On an HSM with a free slot the free one becomes it, and a new one comes after.
    ///
    /// # Errors
    /// Wrong or taken label, unknown policy or HSM, no room; the keystore's errors.
    pub fn create_partition(
        &self,
        hsm: &str,
        label: &str,
        policy: Option<Policy>,
    ) -> Result<PartitionRecord, ModelError> {
        let quota = Quota::default();
        let new = NewPartition {
            hsm,
            label,
            policy,
            quota,
            ..NewPartition::default()
        };
        self.make_partition(&new, false)
    }

    /// As [`Self::create_partition`], with a quota; a hidden one is recorded as being deleted, until it is ready.
    pub(super) fn make_partition(&self, new: &NewPartition<'_>, hidden: bool) -> Result<PartitionRecord, ModelError> {
        let NewPartition {
            hsm,
            label,
            policy,
            quota,
            ..
        } = *new;
        check_label(label)?;
        let policy = policy.or(self.config.policy()).ok_or(ModelError::Policy)?;
        let hsm = self.hsm(hsm)?.id;
        let record = {
            let mut state = self.state.lock();
            serving(&state, &hsm)?;
            let taken = |entry: &Versioned<PartitionRecord>| entry.record.hsm == hsm && entry.record.label == label;
            if state.partitions.values().any(taken) {
                return Err(ModelError::LabelTaken);
            }
            match free_serial(&state, &hsm) {
                Some(serial) => self.name_free(&mut state, &serial, (label, policy, quota), hidden)?,
                None => self.add(&mut state, &hsm, (label, policy, quota), Kind::named(hidden))?,
            }
        };
        self.ensure_free(&hsm)?;
        self.show();
        Ok(record)
    }

    /// Deletes a partition, named by serial number or ARN, with all its keys.
    ///
    /// # Errors
    /// [`ModelError::NotFound`]; the keystore's errors, after which the next start goes on.
    pub fn delete_partition(&self, name: &str) -> Result<(), ModelError> {
        let serial = name.rsplit_once("/partition-").map_or(name, |(_, serial)| serial);
        {
            let mut state = self.state.lock();
            let missing = ModelError::NotFound("partition of this name");
            if let Some(group) = state.group_of(serial) {
                return Err(ModelError::InGroup(group.id.clone()));
            }
            let entry = state.partitions.get_mut(serial).ok_or(missing)?;
            let mut record = entry.record.clone();
            record.deleting = true;
            self.replace(entry, record)?;
        }
        self.show();
        self.finish_deletion(serial)
    }

    /// A free slot's token was initialised: it is an ordinary partition now, and the next free one appears.
    pub(crate) fn taken(&self, slot: SlotId) -> Result<(), ModelError> {
        self.mark_taken(slot)?;
        let hsm = self.slots.get(slot).map(|slot| slot.hsm.clone());
        if let Some(hsm) = hsm {
            self.ensure_free(&hsm)?;
        }
        self.show();
        Ok(())
    }

    pub(super) fn mark_taken(&self, slot: SlotId) -> Result<(), ModelError> {
        let mut state = self.state.lock();
        let entry = state
            .partitions
            .values_mut()
            .find(|entry| entry.record.slot == slot.0 && entry.record.free);
        if let Some(entry) = entry {
            let mut record = entry.record.clone();
            record.free = false;
            self.replace(entry, record)?;
        }
        Ok(())
    }

    /// Free slots whose token is initialised: a stop came between the two.
    pub(super) fn taken_slots(&self) -> Vec<SlotId> {
        let state = self.state.lock();
        let records = state
            .partitions
            .values()
            .map(|entry| &entry.record)
            .filter(|record| record.free);
        let initialized = |record: &&PartitionRecord| {
            let key_set = KeySetId::from_hex(&record.key_set).and_then(|id| self.keystore.key_set(id));
            key_set.is_some_and(|key_set| key_set.token().initialized)
        };
        records.filter(initialized).map(|record| SlotId(record.slot)).collect()
    }

    pub(super) fn deleting(&self) -> Vec<String> {
        let state = self.state.lock();
        let deleting = state.partitions.values().filter(|entry| entry.record.deleting);
        deleting.map(|entry| entry.record.serial.clone()).collect()
    }

    /// Deletes the keys of a partition that is marked, then its record.
    pub(super) fn finish_deletion(&self, serial: &str) -> Result<(), ModelError> {
        let mut state = self.state.lock();
        let Some(entry) = state.partitions.get(serial) else {
            return Ok(());
        };
        // Former members of a group share their keys: the last partition takes them along.
        let shared = |other: &Versioned<PartitionRecord>| {
            other.record.serial != serial && other.record.key_set == entry.record.key_set
        };
        let last = !state.partitions.values().any(shared);
        if let Some(id) = KeySetId::from_hex(&entry.record.key_set).filter(|_| last) {
            self.keystore.delete_key_set(id)?;
        }
        self.commit(vec![write::<PartitionRecord>(
            &entry.record.name(),
            entry.version,
            None,
        )])?;
        state.partitions.remove(serial);
        Ok(())
    }

    /// Sees to it that an HSM which offers a free slot has exactly one, after all others.
    pub(super) fn ensure_free(&self, hsm: &str) -> Result<(), ModelError> {
        let mut state = self.state.lock();
        let offers = state.hsms.get(hsm).is_some_and(|hsm| {
            hsm.record.free_slot && hsm.record.state == HsmState::Running && !hsm.record.officer.zeroizing
        });
        if offers && free_serial(&state, hsm).is_none() {
            let policy = self.config.policy().ok_or(ModelError::Policy)?;
            self.add(&mut state, hsm, ("", policy, Quota::default()), Kind::Free)?;
        }
        Ok(())
    }

    /// Gives the free partition a name, and a key set of the wanted policy.
    fn name_free(
        &self,
        state: &mut State,
        serial: &str,
        (label, policy, quota): (&str, Policy, Quota),
        hidden: bool,
    ) -> Result<PartitionRecord, ModelError> {
        let entry = state
            .partitions
            .get_mut(serial)
            .ok_or(ModelError::NotFound("free partition"))?;
        let mut record = entry.record.clone();
        label.clone_into(&mut record.label);
        record.free = false;
        record.deleting = hidden;
        let old = (record.policy() != policy).then(|| record.key_set.clone());
        if old.is_some() {
            record.key_set = self.keystore.create_key_set(policy)?.id().to_string();
            policy.name().clone_into(&mut record.policy);
        }
        if let Some(key_set) = self.key_set(&record.key_set) {
            key_set.set_quota(self.quota_or_default(quota))?;
        }
        self.replace(entry, record.clone())?;
        if let Some(id) = old.as_deref().and_then(KeySetId::from_hex) {
            // It is empty and nothing refers to it; left behind it would do no harm.
            let _ = self.keystore.delete_key_set(id);
        }
        Ok(record)
    }

    fn quota_or_default(&self, quota: Quota) -> Quota {
        let or = |number, default| if number == 0 { default } else { number };
        Quota {
            objects: or(quota.objects, self.config.max_objects),
            bytes: or(quota.bytes, self.config.max_bytes),
        }
    }

    /// Adds a partition: key set first, then record, slot and the HSM's count in one batch.
    fn add(
        &self,
        state: &mut State,
        hsm: &str,
        (label, policy, quota): (&str, Policy, Quota),
        kind: Kind,
    ) -> Result<PartitionRecord, ModelError> {
        let owner = serving(state, hsm)?;
        let count = state
            .partitions
            .values()
            .filter(|entry| entry.record.hsm == hsm)
            .count();
        if owner.record.next_partition > 999 || count >= self.config.max_partitions as usize {
            return Err(ModelError::NoRoom);
        }
        let key_set = self.keystore.create_key_set(policy)?;
        key_set.set_quota(self.quota_or_default(quota))?;
        let record = PartitionRecord {
            format: FORMAT,
            serial: format!("{}{:03}", owner.record.serial, owner.record.next_partition),
            hsm: hsm.to_owned(),
            label: label.to_owned(),
            slot: state.counter.record.next,
            policy: policy.name().to_owned(),
            key_set: key_set.id().to_string(),
            free: kind == Kind::Free,
            deleting: kind == Kind::Hidden,
            created_ms: now_ms(),
        };
        let counter = SlotCounter { next: record.slot + 1 };
        let mut owner_record = owner.record.clone();
        owner_record.next_partition += 1;
        self.commit(vec![
            write(&record.name(), 0, Some(&record)),
            write(SLOTS, state.counter.version, Some(&counter)),
            write(&owner_record.name(), owner.version, Some(&owner_record)),
        ])?;
        let version = owner.version + 1;
        state.hsms.insert(
            hsm.to_owned(),
            Versioned {
                version,
                record: owner_record,
            },
        );
        state.counter = Versioned {
            version: state.counter.version + 1,
            record: counter,
        };
        state.partitions.insert(
            record.serial.clone(),
            Versioned {
                version: 1,
                record: record.clone(),
            },
        );
        Ok(record)
    }
}

/// Labels stand in tables, logs and files of other programs: what moves a cursor or begins a line is none.
pub(super) fn check_label(label: &str) -> Result<(), ModelError> {
    if label.is_empty() || label.len() > 32 || label.contains(char::is_control) {
        return Err(ModelError::Label);
    }
    Ok(())
}

/// The HSM, if it may have more partitions.
fn serving<'a>(state: &'a State, hsm: &str) -> Result<&'a Versioned<HsmRecord>, ModelError> {
    let owner = state.hsms.get(hsm).ok_or(ModelError::NotFound("HSM of this name"))?;
    match owner.record.serves() {
        true => Ok(owner),
        false if owner.record.officer.zeroizing => Err(ModelError::State("being zeroized")),
        false => Err(ModelError::State(owner.record.state.name())),
    }
}

/// What a new partition is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Named,
    /// Not ready: as one that is being deleted.
    Hidden,
    /// The one that `free_slot` offers.
    Free,
}

impl Kind {
    const fn named(hidden: bool) -> Self {
        if hidden { Self::Hidden } else { Self::Named }
    }
}

fn free_serial(state: &State, hsm: &str) -> Option<String> {
    let mut partitions = state.partitions.values().map(|entry| &entry.record);
    partitions
        .find(|record| record.hsm == hsm && record.free && !record.deleting)
        .map(|record| record.serial.clone())
}
