//! Virtual slots: each group has one, with an id and a serial number that never change. It goes on as long as one member
//! serves, whichever that is; without a member that serves it stays, without token. Which keys are behind it is the group's
//! record; how members come to share them is in `groups`.

use super::model::{Model, ModelError, State, write};
use super::records::{Document as _, GroupRecord, SLOTS, SlotCounter};
use crate::slots::Slot;
use hsmd_proto::ids::SlotId;
use hsmd_proto::policy::Policy;

impl Model {
    /// The virtual slots of all groups.
    pub(super) fn virtual_slots<'a>(&'a self, state: &'a State) -> impl Iterator<Item = Slot> + 'a {
        let groups = state.groups.values().map(|group| &group.record);
        groups.filter_map(|group| {
            let key_set = self.key_set(&group.key_set);
            let policy = key_set.as_ref().map(|key_set| key_set.policy());
            Some(Slot {
                id: SlotId(group.slot?),
                serial: group.serial.clone(),
                hsm: String::new(),
                group: Some(group.id.clone()),
                policy: policy.unwrap_or(Policy::Fips),
                free: false,
                key_set: key_set.filter(|_| state.serves(group)),
            })
        })
    }

    /// Gives a slot to groups that were made before there were virtual slots.
    pub(super) fn allot_virtual_slots(&self) -> Result<(), ModelError> {
        let mut state = self.state.lock();
        let without = |group: &&GroupRecord| group.slot.is_none();
        let groups = state.groups.values().map(|entry| &entry.record).filter(without);
        let ids: Vec<_> = groups.map(|group| group.id.clone()).collect();
        for id in ids {
            let Some(entry) = state.groups.get(&id) else { continue };
            let (mut record, version) = (entry.record.clone(), entry.version);
            let slot = state.counter.record.next;
            record.slot = Some(slot);
            let counter = SlotCounter { next: slot + 1 };
            self.commit(vec![
                write(&record.name(), version, Some(&record)),
                write(SLOTS, state.counter.version, Some(&counter)),
            ])?;
            state.counter.version += 1;
            state.counter.record = counter;
            if let Some(entry) = state.groups.get_mut(&id) {
                entry.version += 1;
                entry.record = record;
            }
        }
        Ok(())
    }
}

impl State {
    /// Whether a member that refers to the group's keys is on an HSM that serves.
    fn serves(&self, group: &GroupRecord) -> bool {
        let mut members = group.members.iter().filter_map(|serial| self.partitions.get(serial));
        members.any(|entry| {
            let hsm = self.hsms.get(&entry.record.hsm);
            entry.record.key_set == group.key_set && hsm.is_some_and(|hsm| hsm.record.state.serves())
        })
    }
}
