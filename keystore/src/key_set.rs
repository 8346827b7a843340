//! A key set: where the keys of a partition, or of all members of a group, live. Here is what it is made of and the boundary
//! to `objects`; its life (create, initialise, delete, purge) is in [`lifecycle`], PINs are in `pin` and `tries`, logins in
//! `login`, objects and operations in `objects`.

mod crypto_user;
mod flags;
mod following;
mod grants;
mod lifecycle;
mod lockout;
mod merging;
mod officer;
mod pins;
mod quota;
mod rekey;
mod restore;
mod roster;
mod self_test;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use hsmd_proto::ids::{JoinId, KeySetId, OperationId, UniqueId};
use hsmd_proto::policy::Policy;
use hsmd_store::{Compare, Path};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

pub use self::crypto_user::RoleState;
pub use self::flags::TokenState;
pub use self::grants::GrantId;
pub(crate) use self::lifecycle::{id_of_root, load_all};
pub(crate) use self::quota::Usage;
pub use self::quota::{Quota, Used};
pub use self::rekey::{Rekey, RekeyError};
pub(crate) use self::restore::Place;
pub use self::roster::LoginView;
use crate::core::{Core, path};
use crate::error::Error;
use crate::login::LoginTable;
use crate::objects::ObjectTable;
use crate::records::{FORMAT, KeySetRecord};
use crate::seal::Psk;
use crate::tries::Tries;
use crate::verifier::Verifiers;

/// A key set. All calls may come from any thread.
pub struct KeySet {
    id: KeySetId,
    core: Arc<Core>,
    root: ArcSwap<Root>,
    /// Held for reading by whoever writes objects, for writing by whoever writes the root: so an object never lands in a prefix
    /// that has just been left. Order of locks: a gate of `tries`, this one, `opening`.
    gate: RwLock<()>,
    psk: ArcSwapOption<Psk>,
    /// Held while the PSK comes or goes, with all that hangs on it: opened private objects, cached logins, verifiers.
    opening: Mutex<()>,
    objects: ObjectTable,
    logins: LoginTable,
    /// Logins made since this key set was opened.
    logins_made: AtomicUsize,
    tries: Tries,
    grants: grants::Grants,
    verifiers: Verifiers,
    /// Objects whose records do not open (INV-7).
    damaged: Mutex<BTreeSet<String>>,
    /// Objects that were copied for joins that are not done.
    hidden: Mutex<BTreeSet<(JoinId, UniqueId)>>,
    /// Whether the audit log tells each use of a key.
    audit_use: AtomicBool,
    /// [`crate::core::Clock::now`] of the last request that came with a login.
    used: AtomicU64,
}

/// The key set's root record at one moment. Path and compare that go into one batch must come from the same `Root`.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    id: KeySetId,
    /// The record's version in the store.
    version: u64,
    incarnation: u32,
    epoch: u64,
    policy: Policy,
    label: [u8; 32],
    operations: Vec<Vec<u8>>,
    deleted: bool,
    quota: Quota,
    pin_tries: u32,
    /// Objects may not be changed.
    protected: bool,
    /// The joins that are done.
    joins: Vec<JoinId>,
    /// The key set whose id is in the names of the SO's counters.
    counters: KeySetId,
}

/// The right to write objects: while it is held, the root does not change.
pub(crate) struct Writing<'a> {
    root: Arc<Root>,
    _gate: RwLockReadGuard<'a, ()>,
}

impl Writing<'_> {
    /// The root that stays while this is held.
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }
}

impl Root {
    /// Which prefix is in use; 0: the token was never initialised, and there are no objects.
    pub(crate) fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// Logins and session objects of another epoch are void.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How much the key set may hold.
    pub(crate) fn quota(&self) -> Quota {
        self.quota
    }

    /// Whether C_InitToken has been done (and the key set not been deleted since).
    pub(crate) fn initialized(&self) -> bool {
        self.incarnation > 0 && !self.deleted
    }

    /// `/ks/<id>/<incarnation>/<rest>`; `rest` is made of lower-case words and hexadecimal digits ("o/<32 hex>").
    pub(crate) fn path(&self, rest: &str) -> Path {
        path(&format!("/ks/{}/{:08x}/{rest}", self.id, self.incarnation))
    }

    /// Every batch on this key set carries it: a switched incarnation or epoch makes the batch a conflict.
    pub(crate) fn compare(&self) -> Compare {
        Compare {
            path: root_path(self.id),
            version: self.version,
        }
    }

    /// Whether this and another root are the same version of one record.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.version == other.version
    }

    fn record(&self) -> KeySetRecord {
        KeySetRecord {
            format: FORMAT,
            incarnation: self.incarnation,
            epoch: self.epoch,
            policy: self.policy.name().to_owned(),
            label: self.label.to_vec(),
            operations: self.operations.clone(),
            deleted: self.deleted,
            max_objects: self.quota.objects,
            max_bytes: self.quota.bytes,
            pin_tries: self.pin_tries,
            protected: self.protected,
            joins: self.joins.iter().map(|join| join.0.to_vec()).collect(),
            counters: match self.counters == self.id {
                true => Vec::new(),
                false => self.counters.0.to_vec(),
            },
        }
    }

    fn from_record(id: KeySetId, version: u64, record: KeySetRecord) -> Result<Self, Error> {
        let damaged = || Error::Damaged(root_path(id).to_string());
        Ok(Self {
            id,
            version,
            incarnation: record.incarnation,
            epoch: record.epoch,
            policy: Policy::from_name(&record.policy).ok_or_else(damaged)?,
            label: record.label.try_into().map_err(|_| damaged())?,
            operations: record.operations,
            deleted: record.deleted,
            quota: Quota {
                objects: record.max_objects,
                bytes: record.max_bytes,
            },
            pin_tries: record.pin_tries,
            protected: record.protected,
            joins: record
                .joins
                .iter()
                .map(|join| JoinId::from_slice(join).ok_or_else(damaged))
                .collect::<Result<_, _>>()?,
            counters: match record.counters.as_slice() {
                [] => id,
                counters => KeySetId::from_slice(counters).ok_or_else(damaged)?,
            },
        })
    }

    /// Whether objects may not be changed: they are being copied to a group's key set.
    pub(crate) fn protected(&self) -> bool {
        self.protected
    }

    /// Whether what was copied for this join is seen.
    pub(crate) fn has_joined(&self, join: &JoinId) -> bool {
        self.joins.contains(join)
    }

    /// Whether `operation` is among the last ones on this record (INV-10).
    fn has_done(&self, operation: &OperationId) -> bool {
        crate::records::done_before(&self.operations, operation)
    }
}

/// `/ks/<id>/root`.
pub(crate) fn root_path(id: KeySetId) -> Path {
    path(&format!("/ks/{id}/root"))
}

impl KeySet {
    /// The key set's id.
    #[must_use]
    pub fn id(&self) -> KeySetId {
        self.id
    }

    /// What all key sets share.
    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// The root at this moment.
    pub(crate) fn root(&self) -> Arc<Root> {
        self.root.load_full()
    }

    /// Begins a write of objects: holds the root still until the answer is dropped. Not to be taken twice by one thread.
    pub(crate) fn begin_write(&self) -> Writing<'_> {
        self.core.sharing.catch_up(&self.core.store);
        let gate = self.gate.read();
        Writing {
            root: self.root(),
            _gate: gate,
        }
    }

    /// The PSK, if a PIN or ticket has brought it and it was not wiped since.
    pub(crate) fn psk(&self) -> Option<Arc<Psk>> {
        self.psk.load_full()
    }

    /// The objects.
    pub(crate) fn objects(&self) -> &ObjectTable {
        &self.objects
    }

    /// [`Root::epoch`] now.
    pub(crate) fn epoch(&self) -> u64 {
        self.root.load().epoch
    }

    /// What the key set allows.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.root.load().policy
    }

    /// Records that do not open; the rest is served (INV-7).
    #[must_use]
    pub fn damaged(&self) -> Vec<String> {
        self.damaged.lock().iter().cloned().collect()
    }

    /// Sets whether the audit log tells each use of a key from now on.
    pub fn set_audit_use(&self, tell: bool) {
        self.audit_use.store(tell, Ordering::Relaxed);
    }

    /// Whether the audit log tells each use of a key.
    pub(crate) fn audits_use(&self) -> bool {
        self.audit_use.load(Ordering::Relaxed)
    }

    fn touch(&self) -> u64 {
        let now = self.core.clock.now();
        self.used.store(now, Ordering::Relaxed);
        now
    }
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeySet({})", self.id)
    }
}
