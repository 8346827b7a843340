//! What the merging of key sets (`crate::merge`) needs of them: the gate, changes of the root, the objects that are not seen yet,
//! and the check of a PIN without a login.

use std::sync::Arc;

use hsmd_proto::ck::Rv;
use hsmd_proto::ids::{JoinId, KeySetId, OperationId, UniqueId};
use parking_lot::RwLockWriteGuard;

use super::{KeySet, Root};
use crate::caller::Caller;
use crate::login::Role;
use crate::records::PinRecord;
use crate::seal::{Kind, Psk};

impl Root {
    /// Whether objects may be changed is decided anew.
    pub(crate) fn protect(&mut self, on: bool) {
        self.protected = on;
    }

    /// The key set is deleted; its logins end.
    pub(crate) fn mark_deleted(&mut self) {
        self.deleted = true;
        self.epoch += 1;
    }

    /// What was copied for this join is seen.
    pub(crate) fn add_join(&mut self, join: JoinId) {
        self.joins.push(join);
    }

    /// Makes the root of an unused key set that of a copy of `source`: a token, to which nobody has logged in yet.
    pub(crate) fn take_after(&mut self, source: &Self) {
        self.incarnation += 1;
        self.epoch = self.epoch.max(source.epoch) + 1;
        self.policy = source.policy;
        self.label = source.label;
        self.counters = source.counters;
        self.quota = source.quota;
        self.pin_tries = source.pin_tries;
    }

    /// This root in its next incarnation: where a copy is being put.
    pub(crate) fn next_incarnation(&self) -> Self {
        Self {
            incarnation: self.incarnation + 1,
            ..self.clone()
        }
    }

    /// The id of the key set.
    pub(crate) fn key_set(&self) -> KeySetId {
        self.id
    }

    /// The key set whose id is in the names of the SO's counters.
    pub(crate) fn counters(&self) -> KeySetId {
        self.counters
    }

    /// Whether the record of the other one says something else.
    pub(crate) fn differs(&self, other: &Self) -> bool {
        self.record() != other.record()
    }
}

impl KeySet {
    /// Keeps everybody from writing objects, the root and PIN counters.
    pub(crate) fn hold(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write()
    }

    /// Notes an object that was copied for a join and is not to be seen yet.
    pub(crate) fn hide(&self, join: JoinId, id: UniqueId) {
        self.hidden.lock().insert((join, id));
    }

    /// Whether an object was copied for this join.
    pub(crate) fn hides(&self, join: JoinId, id: UniqueId) -> bool {
        self.hidden.lock().contains(&(join, id))
    }

    /// Forgets such notes.
    pub(crate) fn unhide(&self, ids: &[(JoinId, UniqueId)]) {
        let mut hidden = self.hidden.lock();
        for id in ids {
            hidden.remove(id);
        }
    }

    /// What was copied for joins other than these.
    pub(crate) fn hidden_but(&self, joins: &[JoinId]) -> Vec<(JoinId, UniqueId)> {
        let hidden = self.hidden.lock();
        hidden
            .iter()
            .filter(|(join, _)| !joins.contains(join))
            .copied()
            .collect()
    }

    /// The key set was deleted: nothing of it stays in memory, nor, soon, in the store.
    pub(crate) fn forget_all(&self) {
        self.objects.clear();
        self.core.background.purge(format!("/ks/{}/", self.id));
    }

    /// Checks the user's PIN, as C_Login does, and makes no login. Gives the PSK, and the incarnation that it is the PSK of.
    ///
    /// # Errors
    /// As [`KeySet::login`].
    pub(crate) fn prove_user(&self, caller: &Caller, pin: &[u8], attempt: OperationId) -> Result<(Psk, u32), Rv> {
        let proven = self.prove(caller, Role::User, pin, attempt)?;
        Ok((proven.psk, proven.root.incarnation))
    }

    /// The salt of the user's PIN, another one for each PIN; `None`: there is none.
    pub(crate) fn user_salt(&self) -> Option<Vec<u8>> {
        let root = self.root();
        let path = self.pin_path(&root, Role::User);
        let found = self.core.read::<PinRecord>(&path, Kind::Pin).ok().flatten();
        found.filter(|_| root.initialized()).map(|(record, _)| record.salt)
    }

    /// Whether a wrong PIN of the user was tried since the last right one.
    pub(crate) fn user_has_failures(&self) -> bool {
        let root = self.root();
        let counts = self.worst_counts(&root.path("tries/user"));
        counts.low || counts.locked
    }

    /// The copy is a token: its objects are loaded.
    pub(crate) fn load_objects(self: &Arc<Self>) {
        self.tries.limit(self.root().pin_tries);
        let damaged = self.objects.load_public(self);
        self.damaged.lock().extend(damaged);
    }
}
