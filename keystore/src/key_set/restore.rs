//! The side of a restore that a key set has: a place where records are put before anything refers to them, and the switch to it.

use std::sync::Arc;

use hsmd_crypto::random;
use hsmd_proto::ids::KeySetId;
use hsmd_store::{Path, Write};
use prost::Message;

use super::{KeySet, Root, root_path};
use crate::core::Core;
use crate::error::Error;
use crate::records::KeySetRecord;
use crate::seal::Kind;

/// Where a key set of a backup is put, and what its root will be.
pub(crate) struct Place {
    root: Root,
    /// The version of the root that is replaced; 0: there is none.
    replaces: u64,
}

impl Place {
    /// Of a key set that is not there yet.
    pub(crate) fn new(id: KeySetId, record: KeySetRecord) -> Result<Self, Error> {
        let initialized = record.incarnation > 0;
        let mut root = Root::from_record(id, 0, record)?;
        root.incarnation = u32::from(initialized);
        // Whatever was sealed to the key set of the backup is not good here.
        root.epoch += 1;
        root.operations.clear();
        root.protected = false;
        root.version = 1;
        Ok(Self { root, replaces: 0 })
    }

    /// Of a key set that is the same in another store: id, incarnation and epoch stay.
    pub(crate) fn kept(id: KeySetId, record: KeySetRecord) -> Result<Self, Error> {
        let root = Root::from_record(id, 1, record)?;
        Ok(Self { root, replaces: 0 })
    }

    /// INV-8: the key set whose id is in the names of the SO's counters that are put here. Under another one nobody would find them,
    /// and whoever is locked would have fresh tries.
    pub(crate) fn count_as(&mut self, counters: KeySetId) {
        self.root.counters = counters;
    }

    /// The root's record, to be sealed.
    pub(crate) fn encode_root(&self) -> Vec<u8> {
        self.root.record().encode_to_vec()
    }

    /// The place of a record; `rest` is "o/<32 hex>" and the like.
    pub(crate) fn path(&self, rest: &str) -> Path {
        self.root.path(rest)
    }

    /// What it will allow.
    pub(crate) fn policy(&self) -> hsmd_proto::policy::Policy {
        self.root.policy
    }

    /// What all its records' paths begin with.
    pub(crate) fn prefix(&self) -> String {
        format!("/ks/{}/{:08x}/", self.root.id, self.root.incarnation)
    }

    /// The write that makes the place the one in use.
    pub(crate) fn root_write(&self, core: &Core) -> Write {
        core.put(
            &root_path(self.root.id),
            self.replaces,
            Kind::KeySet,
            &self.root.record(),
        )
    }
}

impl KeySet {
    /// A place beside what is in use, for what will replace it. The stricter policy holds.
    pub(crate) fn place_beside(&self, record: KeySetRecord) -> Result<Place, Error> {
        let now = self.root();
        let initialized = record.incarnation > 0;
        let mut root = Root::from_record(self.id, now.version + 1, record)?;
        // Far from what C_InitToken takes next, and where no interrupted restore left something.
        let step = u32::from(u16::from_le_bytes(random::array())) + 2;
        root.incarnation = if initialized {
            now.incarnation.saturating_add(step)
        } else {
            0
        };
        root.epoch = now.epoch.max(root.epoch) + 1;
        root.policy = now.policy.max(root.policy);
        // What an administrator has set here holds; of two limits of tries the lower one.
        root.quota = now.quota;
        let usual = self.core.options.pin_tries;
        let tries = |limit: u32| if limit == 0 { usual } else { limit };
        if tries(now.pin_tries) < tries(root.pin_tries) {
            root.pin_tries = now.pin_tries;
        }
        root.operations.clear();
        root.protected = now.protected;
        Ok(Place {
            root,
            replaces: now.version,
        })
    }

    /// The place is durably the one in use: forgets what was, and reads what is. The caller holds the root.
    pub(crate) fn take_place(self: &Arc<Self>, place: &Place) {
        self.switch(place.root.clone(), None);
        self.tries.limit(place.root.pin_tries);
        let damaged = self.objects.load_public(self);
        self.damaged.lock().extend(damaged);
    }

    /// The key set of a place that is durably in use.
    pub(crate) fn restored(core: &Arc<Core>, place: &Place) -> Arc<Self> {
        let key_set = Self::assemble(core, place.root.clone());
        let damaged = key_set.objects.load_public(&key_set);
        key_set.damaged.lock().extend(damaged);
        key_set
    }
}
