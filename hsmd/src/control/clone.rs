//! CloneGroup: the keys of one group, as they are at one moment, in another one as well. Luna does it by one group made of all
//! partitions of both and a synchronisation; here the copies come into sight in one batch, or not at all (INV-3). A stop before
//! it leaves what the next start removes.

use super::model::{Model, ModelError, State, now_ms};
use super::officers::{administrator, operation, refused};
use super::provision::USER;
use super::records::GroupRecord;
use hsmd_keystore::{Error, KeySet, KeySetChange, MergeError};
use hsmd_proto::ids::{JoinId, KeySetId};
use std::sync::Arc;

/// How often it is begun anew when others change the same groups.
const TRIES: usize = 5;

/// A group and its keys.
struct Side {
    group: GroupRecord,
    keys: Arc<KeySet>,
}

impl Model {
    /// Copies the keys of a group to another one; says how many objects were copied, and how many are there now. The PIN of the
    /// user opens both; a destination without a token becomes one like the source.
    ///
    /// # Errors
    /// No such group, one without members or that is being changed; a PIN that does not open both; other policies, no room, an
    /// object that is another one there; the keystore's errors. Then nothing has changed.
    pub fn clone_group(&self, source: &str, destination: &str, pin: &[u8]) -> Result<(u64, u64), ModelError> {
        for _ in 0..TRIES {
            let (from, to) = {
                let state = self.state.lock();
                (
                    self.side(&state, "Source", source)?,
                    self.side(&state, "Destination", destination)?,
                )
            };
            if !from.keys.token().initialized {
                return Err(ModelError::NoPin(USER));
            }
            for serial in &to.group.members {
                self.administered_partition(serial)?;
            }
            let proven = from.keys.check_user(&administrator(), pin, operation());
            proven.map_err(|rv| refused(rv, USER))?;
            let done = match to.keys.token().initialized {
                _ if Arc::ptr_eq(&from.keys, &to.keys) => Ok(0),
                true => self.clone_into(&from, &to, pin),
                false => self.clone_token(&from, &to),
            };
            self.forget_joins();
            match done {
                Ok(copied) => {
                    self.sweep_key_sets()?;
                    self.show();
                    let state = self.state.lock();
                    let now = self.side(&state, "Destination", destination)?;
                    return Ok((copied, now.keys.used().objects));
                }
                Err(ModelError::Conflict | ModelError::Keystore(Error::Contended)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(ModelError::Conflict)
    }

    fn side(&self, state: &State, field: &'static str, name: &str) -> Result<Side, ModelError> {
        if name.is_empty() {
            return Err(ModelError::Missing(field, "an id, serial number or ARN of a group"));
        }
        let mut groups = state.groups.values().map(|entry| &entry.record);
        let group = groups.find(|group| [&group.id, &group.arn, &group.serial].contains(&&name.to_owned()));
        let group = group.ok_or(ModelError::Unknown(field, "group"))?.clone();
        if group.members.is_empty() {
            return Err(ModelError::NoMembers(group.id));
        }
        if !(group.joining.is_empty() && group.leaving.is_empty()) {
            return Err(ModelError::GroupUpdating(group.id));
        }
        let keys = self.key_set(&group.key_set);
        let keys = keys.ok_or_else(|| ModelError::KeysMissing(group.members.first().cloned().unwrap_or_default()))?;
        Ok(Side { group, keys })
    }

    /// The objects, into a group that has a token.
    fn clone_into(&self, from: &Side, to: &Side, pin: &[u8]) -> Result<u64, ModelError> {
        let keys = from.keys.open_with(&to.keys, &administrator(), pin);
        let keys = keys.ok_or(ModelError::PinWrong("destination's user"))?;
        let join = JoinId(hsmd_crypto::random::array());
        let _noted = self.moves.clones(join);
        let joined = from.keys.clone_objects(&to.keys, join, Some(&keys), &|| true);
        let joined = joined.map_err(not_copied)?;
        let copied = joined.count() as u64;
        if copied > 0 {
            self.record_clone(to, &to.group.key_set, vec![KeySetChange::Adopt(joined)])?;
        }
        Ok(copied)
    }

    /// All of the token, for a group without one: its members refer to the copy.
    fn clone_token(&self, from: &Side, to: &Side) -> Result<u64, ModelError> {
        let (from_policy, to_policy) = (from.keys.policy(), to.keys.policy());
        if from_policy != to_policy {
            return Err(ModelError::PolicyDiffers(
                to.group.members.first().cloned().unwrap_or_default(),
            ));
        }
        let id = KeySetId(hsmd_crypto::random::array());
        let _noted = self.moves.copies(id);
        let copy = self.keystore.create_key_set_as(id, from_policy)?;
        let done = from
            .keys
            .copy_to(&copy, &|| true)
            .map_err(not_copied)
            .and_then(|copied| {
                // INV-2: the empty token is not initialised between the look and the change.
                let _still = self.tokens.write();
                if to.keys.token().initialized {
                    return Err(ModelError::Conflict);
                }
                let changes = vec![KeySetChange::Found(copied)];
                self.record_clone(to, &id.to_string(), changes)
            });
        if done.is_err() {
            // What is left of it goes at the next start if it cannot go now.
            let _ = self.keystore.delete_key_set(id);
        }
        done.map(|()| copy.used().objects)
    }

    /// The last batch: the group, as it was read, and its members refer to these keys.
    fn record_clone(&self, to: &Side, keys: &str, changes: Vec<KeySetChange>) -> Result<(), ModelError> {
        let mut state = self.state.lock();
        let entry = state.groups.get(&to.group.id);
        let same = entry.is_some_and(|entry| entry.record == to.group);
        if !same {
            return Err(ModelError::Conflict);
        }
        let mut after = to.group.clone();
        after.modified_ms = now_ms().max(after.modified_ms + 1);
        keys.clone_into(&mut after.key_set);
        let mut moved = Vec::new();
        // Former members of the group may share its keys still: they stay with them.
        for serial in &to.group.members {
            let entry = state.partitions.get(serial).ok_or(ModelError::Conflict)?;
            if entry.record.key_set != keys {
                let mut record = entry.record.clone();
                keys.clone_into(&mut record.key_set);
                record.free = false;
                moved.push(record);
            }
        }
        self.record_move(&mut state, after, moved, changes)
    }
}

fn not_copied(error: MergeError) -> ModelError {
    match error {
        MergeError::Store(error) => ModelError::Keystore(error),
        MergeError::Contended | MergeError::NeedsPin | MergeError::Cancelled => ModelError::Conflict,
        lasts => ModelError::NotCopied(lasts.to_string()),
    }
}
