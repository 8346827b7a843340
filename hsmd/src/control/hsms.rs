//! HSMs of the model after their creation: changes, suspension, deletion that survives a stop.

use super::model::{Model, ModelError, Versioned, now_ms, write};
use super::records::{Document as _, HsmRecord, HsmState, PartitionRecord};
use hsmd_keystore::KeySet;
use hsmd_proto::ids::KeySetId;
use std::sync::Arc;

/// How long a deleted HSM is described and listed as TERMINATED, in milliseconds.
const REMEMBERED: u64 = 3_600_000;

/// What ModifyHsm is given, checked; `None`: as it is.
#[derive(Clone, Debug, Default)]
pub struct HsmChange {
    /// `subnet-xxxxxxxx`.
    pub subnet_id: Option<String>,
    /// An address.
    pub eni_ip: Option<String>,
    /// The role.
    pub iam_role_arn: Option<String>,
    /// Any text.
    pub external_id: Option<String>,
    /// An address.
    pub syslog_ip: Option<String>,
}

impl Model {
    /// The HSM of an ARN or a serial number, as a request's field names it.
    ///
    /// # Errors
    /// [`ModelError::Unknown`].
    pub(super) fn hsm_of(&self, field: &'static str, name: &str) -> Result<HsmRecord, ModelError> {
        let unknown = ModelError::Unknown(field, "HSM");
        if name.is_empty() {
            return Err(unknown);
        }
        self.hsm(name).map_err(|_| unknown)
    }

    /// Changes a running HSM. A new address or subnet makes it UPDATING until its home node confirms.
    ///
    /// # Errors
    /// No such HSM, not RUNNING, an address that another has; the keystore's errors.
    pub fn modify_hsm(&self, arn: &str, change: HsmChange) -> Result<HsmRecord, ModelError> {
        let id = self.hsm_of("HsmArn", arn)?.id;
        let mut state = self.state.lock();
        let now = state.hsms.get(&id).ok_or(ModelError::Unknown("HsmArn", "HSM"))?;
        let place = match (&change.subnet_id, &change.eni_ip) {
            (None, None) => None,
            (subnet, address) => {
                let subnet = subnet.as_ref().unwrap_or(&now.record.subnet_id);
                Some(self.place(&state, subnet, address.as_deref(), Some(&now.record))?)
            }
        };
        let entry = state.hsms.get_mut(&id).ok_or(ModelError::Unknown("HsmArn", "HSM"))?;
        if entry.record.state != HsmState::Running {
            return Err(ModelError::State(entry.record.state.name()));
        }
        let mut record = entry.record.clone();
        if let Some(subnet) = change.subnet_id {
            record.subnet_id = subnet;
        }
        if let Some(place) = place {
            record.vpc_id = place.vpc;
            record.eni_ip = place.address;
        }
        let fields = [
            (change.iam_role_arn, &mut record.iam_role_arn),
            (change.external_id, &mut record.external_id),
            (change.syslog_ip, &mut record.syslog_ip),
        ];
        for (value, field) in fields {
            if let Some(value) = value {
                *field = value;
            }
        }
        let old = &entry.record;
        if (&record.subnet_id, &record.eni_ip) != (&old.subnet_id, &old.eni_ip) {
            record.state = HsmState::Updating;
        }
        if record != entry.record {
            self.replace(entry, record.clone())?;
        }
        Ok(record)
    }

    /// Takes the tokens of an HSM away; its slots stay.
    ///
    /// # Errors
    /// No such HSM, not RUNNING; the keystore's errors.
    pub fn suspend_hsm(&self, name: &str) -> Result<(), ModelError> {
        self.change_state(&self.hsm(name)?.id, HsmState::Suspended)?;
        self.show();
        Ok(())
    }

    /// Ends a suspension.
    ///
    /// # Errors
    /// No such HSM, not SUSPENDED; the keystore's errors.
    pub fn resume_hsm(&self, name: &str) -> Result<(), ModelError> {
        let hsm = self.hsm(name)?;
        if hsm.state != HsmState::Suspended {
            return Err(ModelError::State(hsm.state.name()));
        }
        self.change_state(&hsm.id, HsmState::Running)?;
        self.show();
        Ok(())
    }

    /// Deletes an HSM: TERMINATING, its uninitialised partitions go, TERMINATED. A stop in between is finished at the next
    /// start. A TERMINATED one is deleted already.
    ///
    /// # Errors
    /// No such HSM, initialised partitions, members of groups; the keystore's errors.
    pub fn delete_hsm(&self, arn: &str) -> Result<(), ModelError> {
        let hsm = self.hsm_of("HsmArn", arn)?;
        match hsm.state {
            HsmState::Terminated => return Ok(()),
            HsmState::Terminating => return self.finish_hsm(&hsm.id),
            _ => {}
        }
        {
            // INV-2: no token comes to be between this look and the change.
            let _still = self.tokens.write();
            let partitions = self.partitions(&hsm.id)?;
            let tokens = partitions.iter().filter(|record| self.has_token(record)).count();
            if tokens > 0 {
                return Err(ModelError::HoldsTokens(tokens));
            }
            for partition in &partitions {
                if let Some(group) = self.state.lock().group_of(&partition.serial) {
                    return Err(ModelError::InGroup(group.id.clone()));
                }
            }
            match self.change_state(&hsm.id, HsmState::Terminating) {
                // Somebody else was faster: it is finished with him.
                Err(ModelError::State("TERMINATING" | "TERMINATED")) => {}
                changed => changed?,
            }
            self.show();
        }
        self.finish_hsm(&hsm.id)
    }

    /// Deletes what an HSM that is TERMINATING still has.
    pub(super) fn finish_hsm(&self, id: &str) -> Result<(), ModelError> {
        for partition in self.partitions(id)? {
            match self.delete_partition(&partition.serial) {
                Err(ModelError::NotFound(_)) => {}
                deleted => deleted?,
            }
        }
        self.dismiss_officer(id)?;
        match self.change_state(id, HsmState::Terminated) {
            // Two callers finish it: one is first.
            Err(ModelError::State("TERMINATED")) => Ok(()),
            other => other,
        }
    }

    /// Forgets HSMs that are TERMINATED for a while.
    pub(super) fn forget_terminated(&self) -> Result<(), ModelError> {
        let now = now_ms();
        let mut state = self.state.lock();
        let old =
            |hsm: &HsmRecord| hsm.state == HsmState::Terminated && now.saturating_sub(hsm.terminated_ms) > REMEMBERED;
        let hsms = state.hsms.values().filter(|hsm| old(&hsm.record));
        let gone: Vec<_> = hsms.map(|hsm| (hsm.record.clone(), hsm.version)).collect();
        for (hsm, version) in gone {
            self.commit(vec![write::<HsmRecord>(&hsm.name(), version, None)])?;
            state.hsms.remove(&hsm.id);
        }
        Ok(())
    }

    /// Deletes empty key sets to which nothing refers: a stop came between making one and the record.
    pub(super) fn sweep_key_sets(&self) -> Result<(), ModelError> {
        // Held to the end: whoever makes a key set holds it until the record is written.
        let state = self.state.lock();
        let key_set = |entry: &Versioned<PartitionRecord>| KeySetId::from_hex(&entry.record.key_set);
        let officers = state
            .hsms
            .values()
            .filter_map(|hsm| KeySetId::from_hex(&hsm.record.officer.key_set));
        let referred: Vec<_> = state.partitions.values().filter_map(key_set).chain(officers).collect();
        let key_sets = self.keystore.key_sets().into_iter();
        let unknown = key_sets
            .filter(|key_set| !key_set.token().initialized)
            .map(|key_set| key_set.id());
        let mut unknown: Vec<_> = unknown
            .filter(|id| !referred.contains(id) && !self.moves.makes(*id))
            .collect();
        if self.keystore.is_shared() {
            unknown = self.strangers.0.settled(&unknown);
        }
        for id in unknown {
            self.keystore.delete_key_set(id)?;
        }
        Ok(())
    }

    /// Whether a partition's token is initialised. Keys that cannot be read count as one.
    pub(super) fn has_token(&self, record: &PartitionRecord) -> bool {
        self.key_set(&record.key_set)
            .is_none_or(|key_set| key_set.token().initialized)
    }

    /// The key set of this id, if it is served.
    pub(super) fn key_set(&self, id: &str) -> Option<Arc<KeySet>> {
        self.keystore.key_set(KeySetId::from_hex(id)?)
    }
}
