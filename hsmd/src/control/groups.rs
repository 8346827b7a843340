//! Groups of the model. All members refer to one key set (INV-3): what one member holds, the others hold in the same
//! instant. A partition without a token joins by changing its reference, in the same batch as the group's record. One with keys
//! of its own joins when they are merged, one that leaves goes when it has a copy: `moves` does what this file records.

use super::model::{Model, ModelError, State, Versioned, fresh, hex8, now_ms, write};
use super::records::{
    Document as _, FORMAT, GroupRecord, HsmRecord, HsmState, Joining, Leaving, PartitionRecord, SLOTS, SlotCounter,
    Tags,
};
use hsmd_keystore::KeySetChange;
use hsmd_proto::ids::JoinId;
use std::collections::BTreeSet;

/// The most members of a group.
const MAX_MEMBERS: usize = 32;
const FIELD: &str = "PartitionSerialList";

/// What ModifyHapg is given, checked; `None`: as it is.
#[derive(Clone, Debug, Default)]
pub struct GroupChange {
    /// The label.
    pub label: Option<String>,
    /// All members.
    pub members: Option<Vec<String>>,
    /// Only if the group was last changed then.
    pub if_modified: Option<u64>,
}

/// A group with what is computed.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// What is stored.
    pub record: GroupRecord,
    /// UPDATING while a join or leave is open; DEGRADED while a member does not serve, or one of these has failed; READY.
    pub state: &'static str,
    /// ARNs of the HSMs whose partitions join.
    pub pending_registration: Vec<String>,
    /// ARNs of the HSMs whose partitions leave.
    pub pending_deletion: Vec<String>,
    /// ARNs of the HSMs whose partitions could not join or leave.
    pub last_action_failed: Vec<String>,
}

impl Model {
    /// Records a group without members.
    ///
    /// # Errors
    /// The keystore's.
    pub fn create_group(&self, label: &str) -> Result<GroupRecord, ModelError> {
        let mut state = self.state.lock();
        let id = fresh(|| format!("hapg-{}", hex8()), |id| state.groups.contains_key(id));
        let serial = fresh(ten_digits, |serial| {
            state.groups.values().any(|group| group.record.serial == *serial)
        });
        let now = now_ms();
        let slot = state.counter.record.next;
        let record = GroupRecord {
            format: FORMAT,
            arn: self.arn(&id),
            id,
            serial,
            label: label.to_owned(),
            members: Vec::new(),
            slot: Some(slot),
            joining: Vec::new(),
            leaving: Vec::new(),
            key_set: String::new(),
            created_ms: now,
            modified_ms: now,
            tags: Tags::new(),
        };
        let counter = SlotCounter { next: slot + 1 };
        self.commit(vec![
            write(&record.name(), 0, Some(&record)),
            write(SLOTS, state.counter.version, Some(&counter)),
        ])?;
        state.counter.version += 1;
        state.counter.record = counter;
        let versioned = Versioned {
            version: 1,
            record: record.clone(),
        };
        state.groups.insert(record.id.clone(), versioned);
        drop(state);
        self.show();
        Ok(record)
    }

    /// All groups in the order of their ids.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupRecord> {
        let state = self.state.lock();
        state.groups.values().map(|group| group.record.clone()).collect()
    }

    /// The group of this ARN.
    ///
    /// # Errors
    /// [`ModelError::Unknown`].
    pub fn group(&self, arn: &str) -> Result<GroupView, ModelError> {
        let lost = self.lost_homes();
        let state = self.state.lock();
        let mut groups = state.groups.values().map(|group| &group.record);
        let record = groups.find(|group| group.arn == arn).cloned();
        let record = record.ok_or(ModelError::Unknown("HapgArn", "group"))?;
        let serves = |serial: &String| {
            let partition = state.partitions.get(serial).map(|entry| &entry.record);
            partition.is_some_and(|partition| {
                let hsm = state.hsms.get(&partition.hsm);
                let serves = |hsm: &HsmRecord| hsm.state.serves() && state.is_home_there(hsm, &lost);
                hsm.is_some_and(|hsm| serves(&hsm.record)) && self.key_set(&partition.key_set).is_some()
            })
        };
        let ready = record.members.iter().all(serves);
        let hsms = |serials: Vec<&String>| {
            let records = serials.into_iter().filter_map(|serial| state.partitions.get(serial));
            let hsms = records.filter_map(|partition| state.hsms.get(&partition.record.hsm));
            let arns: BTreeSet<_> = hsms.map(|hsm| hsm.record.arn.clone()).collect();
            arns.into_iter().collect::<Vec<_>>()
        };
        let joining = record
            .joining
            .iter()
            .map(|joining| (&joining.serial, joining.failed.is_empty()));
        let leaving = record
            .leaving
            .iter()
            .map(|leaving| (&leaving.serial, leaving.failed.is_empty()));
        let open = |(serial, going): (&'_ String, bool)| going.then_some(serial).cloned();
        let joins: Vec<_> = joining.clone().filter_map(open).collect();
        let leaves: Vec<_> = leaving.clone().filter_map(open).collect();
        let failed = joining
            .chain(leaving)
            .filter(|(_, going)| !going)
            .map(|(serial, _)| serial);
        let last_action_failed = hsms(failed.collect());
        let view = GroupView {
            state: match (
                joins.is_empty() && leaves.is_empty(),
                ready && last_action_failed.is_empty(),
            ) {
                (false, _) => "UPDATING",
                (true, false) => "DEGRADED",
                (true, true) => "READY",
            },
            pending_registration: hsms(joins.iter().collect()),
            pending_deletion: hsms(leaves.iter().collect()),
            last_action_failed,
            record: record.clone(),
        };
        Ok(view)
    }

    /// Changes the label, the members, or both, in one batch; then lets go who leaves, and merges what needs no PIN. A join that
    /// is not wanted any more is cancelled, one that had failed is tried again.
    ///
    /// # Errors
    /// No such group or partition, two partitions of one HSM, a member of another group, another policy,
    /// [`ModelError::Changed`]; the keystore's errors.
    pub fn modify_group(&self, arn: &str, change: GroupChange) -> Result<GroupRecord, ModelError> {
        let joined = {
            // INV-2: a partition without a token gets none between the look and the change.
            let _still = self.tokens.write();
            let mut state = self.state.lock();
            let done = self.change_group(&mut state, arn, change);
            drop(state);
            self.show();
            done?
        };
        for hsm in &joined.hsms {
            self.ensure_free(hsm)?;
        }
        self.finish_group(&joined.group.id);
        // The keys that joined partitions had: none. A stop here leaves them to the next start.
        self.sweep_key_sets()?;
        self.show();
        Ok(joined.group)
    }

    /// Deletes a group. Its members go on with the keys that they share.
    ///
    /// # Errors
    /// No such group; the keystore's errors.
    pub fn delete_group(&self, arn: &str) -> Result<(), ModelError> {
        let mut state = self.state.lock();
        let entry = state.groups.values().find(|group| group.record.arn == arn);
        let entry = entry.ok_or(ModelError::Unknown("HapgArn", "group"))?;
        let (mut group, version) = (entry.record.clone(), entry.version);
        let before = group.clone();
        group.joining.clear();
        let keys = self.protections(&state, &before, &group);
        self.commit_with(vec![write::<GroupRecord>(&group.name(), version, None)], keys)?;
        state.groups.remove(&group.id);
        drop(state);
        self.forget_joins();
        self.show();
        Ok(())
    }

    fn change_group(&self, state: &mut State, arn: &str, change: GroupChange) -> Result<Changed, ModelError> {
        let entry = state.groups.values().find(|group| group.record.arn == arn);
        let entry = entry.ok_or(ModelError::Unknown("HapgArn", "group"))?;
        let (mut group, version) = (entry.record.clone(), entry.version);
        if change.if_modified.is_some_and(|read| read != group.modified_ms) {
            return Err(ModelError::Changed);
        }
        if let Some(label) = change.label {
            group.label = label;
        }
        let partitions = match change.members {
            Some(members) => self.change_members(state, &mut group, members)?,
            None => Vec::new(),
        };
        let keys = self.protections(state, &entry.record, &group);
        group.modified_ms = now_ms().max(group.modified_ms + 1);
        let mut writes = vec![write(&group.name(), version, Some(&group))];
        let version_of =
            |record: &PartitionRecord| state.partitions.get(&record.serial).map_or(0, |entry| entry.version);
        let documents = partitions
            .iter()
            .map(|record| write(&record.name(), version_of(record), Some(record)));
        writes.extend(documents);
        self.commit_with(writes, keys)?;
        if let Some(entry) = state.groups.get_mut(&group.id) {
            let record = group.clone();
            *entry = Versioned {
                version: version + 1,
                record,
            };
        }
        let hsms = partitions.iter().map(|record| record.hsm.clone()).collect();
        for record in partitions {
            if let Some(entry) = state.partitions.get_mut(&record.serial) {
                entry.version += 1;
                entry.record = record;
            }
        }
        Ok(Changed { group, hsms })
    }

    /// Replaces the members of a group. Answers the partitions whose records change with it.
    fn change_members(
        &self,
        state: &State,
        group: &mut GroupRecord,
        members: Vec<String>,
    ) -> Result<Vec<PartitionRecord>, ModelError> {
        let wanted = find_members(state, group, &members)?;
        self.administered_members(state, group, &members)?;
        let keys = group.key_set.clone();
        let full = |serial: &&String| !group.joining.iter().any(|joining| joining.serial == **serial);
        let gone = |serial: &&String| full(serial) && !members.contains(serial);
        let leavers: Vec<String> = group.members.iter().filter(gone).cloned().collect();
        // The keys stay with the group. When nobody of the group is left, and whoever comes has keys, the member that was
        // first goes with them.
        let stays = wanted.iter().any(|record| record.key_set == keys);
        let own = wanted
            .iter()
            .any(|record| record.key_set != keys && self.has_token(record));
        let left = !stays && (own || wanted.is_empty());
        if left {
            group.key_set.clear();
        }
        group.joining.retain(|joining| members.contains(&joining.serial));
        group.leaving.retain(|leaving| !members.contains(&leaving.serial));
        group.members = members;
        group.leaving.iter_mut().for_each(|leaving| leaving.failed.clear());
        let mut changed = Vec::new();
        if !wanted.is_empty() {
            self.share_keys(group, &wanted, &mut changed)?;
        }
        let shared = self.key_set(&keys).is_some_and(|key_set| key_set.token().initialized);
        for serial in leavers.into_iter().skip(usize::from(left)) {
            let Some(entry) = state.partitions.get(&serial) else {
                continue;
            };
            if shared {
                let failed = String::new();
                group.leaving.push(Leaving { serial, failed });
            } else {
                let mut record = entry.record.clone();
                record.key_set = self.keystore.create_key_set(record.policy())?.id().to_string();
                changed.push(record);
            }
        }
        Ok(changed)
    }

    /// Nobody joins or leaves from an HSM whose administration is locked.
    fn administered_members(&self, state: &State, group: &GroupRecord, members: &[String]) -> Result<(), ModelError> {
        let moves = |serial: &&String| group.members.contains(serial) != members.contains(serial);
        for serial in group.members.iter().chain(members).filter(moves) {
            let hsm = state
                .partitions
                .get(serial)
                .and_then(|entry| state.hsms.get(&entry.record.hsm));
            hsm.map_or(Ok(()), |hsm| self.administered(&hsm.record))?;
        }
        Ok(())
    }

    /// Lets all wanted partitions refer to the group's key set, which is the first one with a token if the group has none.
    /// Those with a token of their own are joining.
    fn share_keys(
        &self,
        group: &mut GroupRecord,
        wanted: &[PartitionRecord],
        changed: &mut Vec<PartitionRecord>,
    ) -> Result<(), ModelError> {
        for record in wanted {
            if self.key_set(&record.key_set).is_none() {
                return Err(ModelError::KeysMissing(record.serial.clone()));
            }
        }
        let token = |id: &str| self.key_set(id).is_some_and(|key_set| key_set.token().initialized);
        let founder = wanted.iter().find(|record| token(&record.key_set)).or(wanted.first());
        let key_set = match founder {
            Some(founder) if !token(&group.key_set) => founder.key_set.clone(),
            _ => group.key_set.clone(),
        };
        let missing = || ModelError::KeysMissing(founder.map(|founder| founder.serial.clone()).unwrap_or_default());
        let policy = self.key_set(&key_set).ok_or_else(missing)?.policy();
        for record in wanted {
            if record.policy() != policy {
                return Err(ModelError::PolicyDiffers(record.serial.clone()));
            }
            // INV-2: keys of its own are merged, not lost.
            if record.key_set != key_set && token(&record.key_set) {
                await_merge(group, record);
                continue;
            }
            group.joining.retain(|joining| joining.serial != record.serial);
            if record.key_set == key_set && !record.free {
                continue;
            }
            let mut record = record.clone();
            record.key_set.clone_from(&key_set);
            record.free = false;
            changed.push(record);
        }
        group.key_set = key_set;
        Ok(())
    }

    /// What the change of a group means for the key sets of those who join: they are read-only as long as it goes on.
    pub(super) fn protections(&self, state: &State, before: &GroupRecord, after: &GroupRecord) -> Vec<KeySetChange> {
        let (old, new) = (state.merging(before), state.merging(after));
        let key_sets = old.symmetric_difference(&new);
        key_sets
            .filter(|id| !state.merging_elsewhere(id, &after.id))
            .filter_map(|id| Some(KeySetChange::Protect(self.key_set(id)?, new.contains(id))))
            .collect()
    }
}

/// Records that a partition joins as soon as its keys are merged.
fn await_merge(group: &mut GroupRecord, record: &PartitionRecord) {
    let mut joining = group.joining.iter_mut();
    if let Some(joining) = joining.find(|joining| joining.serial == record.serial) {
        joining.failed.clear();
        return;
    }
    group.joining.push(Joining {
        serial: record.serial.clone(),
        join: JoinId(hsmd_crypto::random::array()).to_string(),
        failed: String::new(),
    });
}

/// What a change of a group did.
struct Changed {
    group: GroupRecord,
    /// HSMs whose partitions changed.
    hsms: BTreeSet<String>,
}

/// The partitions of a list of members: known, one of an HSM, in no other group.
fn find_members(state: &State, group: &GroupRecord, members: &[String]) -> Result<Vec<PartitionRecord>, ModelError> {
    if members.len() > MAX_MEMBERS {
        return Err(ModelError::Invalid(FIELD, "a list of at most 32"));
    }
    let mut hsms = BTreeSet::new();
    let mut found = Vec::with_capacity(members.len());
    for serial in members {
        let entry = state.partitions.get(serial).filter(|entry| !entry.record.deleting);
        let record = &entry.ok_or(ModelError::Unknown(FIELD, "partition"))?.record;
        let hsm = state.hsms.get(&record.hsm).map(|hsm| hsm.record.state);
        let hsm = hsm.ok_or(ModelError::Unknown(FIELD, "partition"))?;
        if !(hsm.serves() || hsm == HsmState::Suspended) {
            return Err(ModelError::State(hsm.name()));
        }
        if !hsms.insert(&record.hsm) {
            return Err(ModelError::Invalid(FIELD, "partitions of different HSMs"));
        }
        if let Some(other) = state.group_of(serial).filter(|other| other.id != group.id) {
            return Err(ModelError::InGroup(other.id.clone()));
        }
        found.push(record.clone());
    }
    Ok(found)
}

fn ten_digits() -> String {
    let number = u64::from_be_bytes(hsmd_crypto::random::array());
    format!("{}", 1_000_000_000 + number % 9_000_000_000)
}
