//! The life of a key set: create, load, C_InitToken, delete, idle wipe. Everything that changes the root record does it under the
//! gate, as one batch; what follows in memory is in [`KeySet::switch`]. An incarnation that was left, and a deleted key set, are
//! purged later, by prefix: until then nothing refers to them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use hsmd_crypto::random;
use hsmd_crypto::secret::SecretArray;
use hsmd_proto::ck::Rv;
use hsmd_proto::ids::{KeySetId, OperationId};
use hsmd_proto::policy::Policy;
use hsmd_store::{Batch, Path, Record, Write};
use parking_lot::{Mutex, RwLock};

use super::grants::Grants;
use super::pins::login_path;
use super::{KeySet, Quota, Root, root_path};
use crate::audit::{Act, Event};
use crate::caller::{Caller, Identity};
use crate::core::{Committed, Core};
use crate::error::Error;
use crate::login::{Entry, Login, LoginTable, Role};
use crate::objects::ObjectTable;
use crate::pin::{self, Place};
use crate::records::{KeySetRecord, LoginRecord, remember};
use crate::seal::{Kind, Psk};
use crate::tries::Tries;
use crate::verifier::Verifiers;

/// A login's `used` time is written again when it is older than this, in seconds.
const USED_STEP: u64 = 86_400;

/// What a start found of key sets.
#[derive(Default)]
pub(crate) struct LoadedKeySets {
    pub(crate) key_sets: Vec<Arc<KeySet>>,
    /// Groups whose root record does not open (INV-7).
    pub(crate) damaged: Vec<String>,
}

/// Loads every key set of the store but those that are quarantined; orders the purge of what was left behind.
pub(crate) fn load_all(core: &Arc<Core>) -> LoadedKeySets {
    let mut loaded = LoadedKeySets::default();
    let quarantined: Vec<_> = core.store.quarantined().into_iter().map(|(group, _)| group).collect();
    let mut prefixes: Vec<String> = Vec::new();
    for (path, record) in core.store.scan("/ks/") {
        if quarantined.iter().any(|group| group == path.group()) {
            continue;
        }
        match id_of_root(&path) {
            Some(id) => load(core, id, &path, &record, &mut loaded),
            None => note_prefix(&mut prefixes, &path),
        }
    }
    for prefix in prefixes {
        let left = loaded.key_sets.iter().any(|key_set| {
            let root = key_set.root();
            prefix.starts_with(&format!("/ks/{}/", root.id)) && prefix != prefix_of(root.id, root.incarnation)
        });
        // A restore that did not come to its end: by the group's head there never was a root.
        let id = prefix.get(4..36).and_then(KeySetId::from_hex);
        let rootless = id.is_some_and(|id| core.store.get(&root_path(id)).is_none());
        if left || rootless {
            core.background.purge(prefix);
        }
    }
    loaded
}

fn load(core: &Arc<Core>, id: KeySetId, path: &Path, record: &Record, loaded: &mut LoadedKeySets) {
    let root = core.decode::<KeySetRecord>(path, Kind::KeySet, record);
    match root.and_then(|found| Root::from_record(id, record.version, found)) {
        Ok(root) if root.deleted => core.background.purge(format!("/ks/{id}/")),
        Ok(root) => {
            let key_set = KeySet::assemble(core, root);
            let damaged = key_set.objects.load_public(&key_set);
            key_set.damaged.lock().extend(damaged);
            loaded.key_sets.push(key_set);
        }
        Err(error) => {
            tracing::error!(%error, "a key set is not served");
            loaded.damaged.push(path.group().to_owned());
        }
    }
}

/// Paths come in order, so the prefix of the one before is the only one to compare with.
fn note_prefix(prefixes: &mut Vec<String>, path: &Path) {
    let end = path.as_str().match_indices('/').nth(3).map(|(at, _)| at + 1);
    if let Some(prefix) = end.map(|end| &path.as_str()[..end])
        && prefixes.last().is_none_or(|last| last != prefix)
    {
        prefixes.push(prefix.to_owned());
    }
}

pub(crate) fn id_of_root(path: &Path) -> Option<KeySetId> {
    let id = path.as_str().strip_prefix("/ks/")?.strip_suffix("/root")?;
    KeySetId::from_hex(id)
}

pub(super) fn prefix_of(id: KeySetId, incarnation: u32) -> String {
    format!("/ks/{id}/{incarnation:08x}/")
}

impl KeySet {
    pub(super) fn assemble(core: &Arc<Core>, root: Root) -> Arc<Self> {
        let tries = Tries::default();
        tries.limit(root.pin_tries);
        Arc::new(Self {
            id: root.id,
            core: Arc::clone(core),
            root: ArcSwap::from_pointee(root),
            gate: RwLock::new(()),
            psk: ArcSwapOption::empty(),
            opening: Mutex::new(()),
            objects: ObjectTable::new(),
            logins: LoginTable::default(),
            logins_made: AtomicUsize::new(0),
            tries,
            verifiers: Verifiers::default(),
            damaged: Mutex::default(),
            hidden: Mutex::default(),
            grants: Grants::new(),
            audit_use: AtomicBool::new(false),
            used: AtomicU64::new(core.clock.now()),
        })
    }

    /// Makes a new, uninitialised key set; durable when this returns.
    pub(crate) fn create(core: &Arc<Core>, id: KeySetId, policy: Policy) -> Result<Arc<Self>, Error> {
        let mut root = Root {
            id,
            version: 0,
            incarnation: 0,
            epoch: 1,
            policy,
            label: [b' '; 32],
            operations: Vec::new(),
            deleted: false,
            quota: Quota::default(),
            pin_tries: 0,
            protected: false,
            joins: Vec::new(),
            counters: id,
        };
        let write = core.put(&root_path(id), 0, Kind::KeySet, &root.record());
        root.version = write.version;
        let batch = Batch {
            operation: random::array(),
            writes: vec![write],
            ..Batch::default()
        };
        let event = Event::new(Act::KeySetCreate).of(id).detail(policy.name());
        match core.commit_act(batch, vec![event])? {
            Committed::Done(_) => Ok(Self::assemble(core, root)),
            Committed::Conflict(_) => Err(Error::KeySetExists),
        }
    }

    /// The write that makes `root` the record; moves `root.version` on.
    pub(crate) fn put_root(&self, root: &mut Root) -> Write {
        let write = self
            .core
            .put(&root_path(self.id), root.version, Kind::KeySet, &root.record());
        root.version = write.version;
        write
    }

    /// `root` is durable: makes it the one in use. Another epoch ends all logins but `except`; another incarnation forgets all
    /// objects. The caller holds the gate for writing.
    pub(crate) fn switch(&self, root: Root, except: Option<&Login>) {
        let (before, now) = self.switch_memory(root, except);
        if before.epoch == now.epoch {
            return;
        }
        if before.incarnation != now.incarnation {
            if before.incarnation > 0 {
                self.core.background.purge(prefix_of(self.id, before.incarnation));
            }
            return;
        }
        // The records of ended logins are void by their epoch; this only tidies up.
        for (path, _) in self.core.store.scan(now.path("login").as_str()) {
            if except.is_none_or(|except| login_path(&now, except.id) != path) {
                self.core.background.delete(path);
            }
        }
    }

    /// What [`KeySet::switch`] does in memory; the roots before and after.
    pub(super) fn switch_memory(&self, root: Root, except: Option<&Login>) -> (Arc<Root>, Arc<Root>) {
        let before = self.root.swap(Arc::new(root));
        let now = self.root();
        if before.epoch == now.epoch {
            return (before, now);
        }
        let _opening = self.opening.lock();
        for entry in self.logins.take_all() {
            if except.is_some_and(|except| except.id == entry.login.id) {
                let ticket = entry.ticket.duplicate();
                self.logins.insert(Entry {
                    login: Arc::clone(&entry.login),
                    ticket,
                });
            } else {
                entry.login.end();
            }
        }
        self.verifiers.clear();
        if except.is_none() {
            self.psk.store(None);
            self.objects.wipe_private();
        }
        if before.incarnation != now.incarnation {
            self.tries.clear();
            self.objects.clear();
            self.damaged.lock().clear();
            self.hidden.lock().clear();
        }
        (before, now)
    }

    /// `C_InitToken` (PKCS#11 3.2, 5.5.7): a new incarnation with the SO's PIN and this label, without objects and user PIN, and
    /// a new epoch. An initialised token needs its SO's PIN.
    ///
    /// # Errors
    /// `CKR_PIN_INCORRECT` (also for a first PIN of a length that is not allowed: the function has no other code for it),
    /// `CKR_PIN_LOCKED`, `CKR_FUNCTION_FAILED` if the token was changed at the same time; from the store as [`KeySet::login`].
    pub fn init_token(
        &self,
        caller: &Caller,
        so_pin: &[u8],
        label: &[u8; 32],
        operation: OperationId,
    ) -> Result<(), Rv> {
        let before = self.root();
        if before.has_done(&operation) {
            return Ok(());
        }
        if before.protected {
            return Err(Rv::TOKEN_WRITE_PROTECTED);
        }
        if before.initialized() {
            self.prove_so(caller, so_pin, operation)?;
        } else {
            self.check_length(so_pin).map_err(|_| Rv::PIN_INCORRECT)?;
        }
        let psk = Psk::new(SecretArray::random());
        let place = Place {
            key_set: self.id,
            incarnation: before.incarnation + 1,
            role: Role::So,
        };
        let mut pin = pin::wrap(&psk, so_pin, place, &self.core.options.pin_cost)?;
        remember(&mut pin.operations, &operation);
        let _gate = self.gate.write();
        let mut root = Root::clone(&self.root());
        if root.has_done(&operation) {
            return Ok(());
        }
        if root.incarnation != before.incarnation || root.deleted || root.protected {
            return Err(Rv::FUNCTION_FAILED);
        }
        root.joins.clear();
        root.counters = self.id;
        root.incarnation += 1;
        root.epoch += 1;
        root.label = *label;
        remember(&mut root.operations, &operation);
        let mut batch = Batch {
            operation: random::array(),
            ..Batch::default()
        };
        batch.writes.push(self.put_root(&mut root));
        batch
            .writes
            .push(self.core.put(&self.pin_path(&root, Role::So), 0, Kind::Pin, &pin));
        let event = Event::new(Act::TokenInit).of(self.id);
        match self.core.commit_act(batch, vec![event]).map_err(|error| error.rv())? {
            Committed::Done(_) => {
                self.switch(root, None);
                Ok(())
            }
            Committed::Conflict(_) => Err(Rv::FUNCTION_FAILED),
        }
    }

    /// Ends all logins and session objects: revocation, suspension.
    ///
    /// # Errors
    /// From the store.
    pub fn end_logins(&self) -> Result<(), Error> {
        self.change_root(Event::new(Act::LoginsEnd), |root| {
            root.epoch += 1;
            Ok(())
        })
    }

    /// Makes the policy stricter.
    ///
    /// # Errors
    /// [`Error::PolicyLoosened`]; [`Error::SelfTests`]; from the store.
    pub fn tighten(&self, policy: Policy) -> Result<(), Error> {
        self.core.allows(policy)?;
        self.change_root(Event::new(Act::PolicyTighten).detail(policy.name()), |root| {
            if policy < root.policy {
                return Err(Error::PolicyLoosened);
            }
            root.policy = policy;
            Ok(())
        })
    }

    /// Marks the key set as deleted; nothing refers to its records any more. The caller has taken it out of the list.
    pub(crate) fn delete(&self) -> Result<(), Error> {
        self.change_root(Event::new(Act::KeySetDelete), |root| {
            root.deleted = true;
            root.epoch += 1;
            Ok(())
        })?;
        self.objects.clear();
        self.core.background.purge(format!("/ks/{}/", self.id));
        Ok(())
    }

    pub(super) fn change_root(
        &self,
        event: Event,
        change: impl FnOnce(&mut Root) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.core.sharing.catch_up(&self.core.store);
        let _gate = self.gate.write();
        let mut root = Root::clone(&self.root());
        change(&mut root)?;
        let write = self.put_root(&mut root);
        let batch = Batch {
            operation: random::array(),
            writes: vec![write],
            reserve: true,
            ..Batch::default()
        };
        match self.core.commit_act(batch, vec![event.of(self.id)])? {
            Committed::Done(_) => {
                self.switch(root, None);
                Ok(())
            }
            Committed::Conflict(_) => Err(Error::Contended),
        }
    }

    /// Wipes PSK and private objects from memory if no request with a login came for `Options::idle_wipe`. Tickets stay good: the
    /// next one brings the PSK back. True if it wiped.
    pub(crate) fn wipe_if_idle(&self) -> bool {
        let idle = u64::try_from(self.core.options.idle_wipe.as_millis()).unwrap_or(u64::MAX);
        let is_idle = || self.core.clock.now().saturating_sub(self.used.load(Ordering::Relaxed)) >= idle;
        if self.psk.load().is_none() || !is_idle() {
            return false;
        }
        let _opening = self.opening.lock();
        // The secret of a cached login opens the PSK in its record: it goes, too.
        self.keep_used_times(true);
        self.logins.take_all();
        self.psk.store(None);
        self.objects.wipe_private();
        true
    }

    /// Writes the times of last use, to a day, and ends logins that were idle for too long.
    pub(crate) fn keep_login_times(&self) {
        let _opening = self.opening.lock();
        self.keep_used_times(false);
        let root = self.root();
        for (path, record) in self.core.store.scan(root.path("login").as_str()) {
            let Ok(record) = self.core.decode::<LoginRecord>(&path, Kind::Login, &record) else {
                continue;
            };
            if record.epoch != root.epoch {
                // It was on its way when its epoch ended.
                self.core.background.delete(path);
            } else if self.is_idle(&record) {
                let known = self
                    .logins
                    .all()
                    .into_iter()
                    .find(|entry| login_path(&root, entry.login.id) == path);
                if let Some(entry) = known {
                    // Its use is told in seconds that were cut off from milliseconds: one more is no use.
                    if self.used_at(&entry.login) > record.used + 1 {
                        continue;
                    }
                    self.forget(&entry.login.id);
                }
                self.core.background.delete(path);
            }
        }
    }

    /// Ends the logins that were unused longest where an identity has more than `Options::max_logins`: programs that end
    /// without C_Logout leave theirs behind. Looks once in so many logins as make an eighth more.
    pub(crate) fn bound_logins(&self, identity: &Identity) {
        let most = self.core.options.max_logins;
        let step = (most / 8).max(1);
        let made = self.logins_made.fetch_add(1, Ordering::Relaxed) + 1;
        if !made.is_multiple_of(step) {
            return;
        }
        // What is on its way to the store counts.
        self.core.background.flush();
        let _opening = self.opening.lock();
        let root = self.root();
        let known: HashMap<Path, Arc<Entry>> = self
            .logins
            .all()
            .into_iter()
            .map(|entry| (login_path(&root, entry.login.id), entry))
            .collect();
        let mut logins = Vec::new();
        for (path, record) in self.core.store.scan(root.path("login").as_str()) {
            let record = self.core.decode::<LoginRecord>(&path, Kind::Login, &record);
            let Some(record) = record.ok().filter(|record| record.identity == identity.0) else {
                continue;
            };
            let used = known.get(&path).map_or(0, |entry| self.used_at(&entry.login));
            logins.push((used.max(record.used), path));
        }
        let excess = logins.len().saturating_sub(most);
        logins.sort_unstable();
        for (_, path) in logins.drain(..excess) {
            if let Some(entry) = known.get(&path) {
                self.forget(&entry.login.id);
            }
            self.core.background.delete(path);
        }
    }

    /// Versions of the ticket keys that seal tickets of living logins.
    pub(crate) fn ticket_keys_in_use(&self) -> Vec<u32> {
        let root = self.root();
        let found = self.core.store.scan(root.path("login").as_str());
        let records = found
            .iter()
            .filter_map(|(path, record)| self.core.decode::<LoginRecord>(path, Kind::Login, record).ok());
        records.map(|record| record.ticket_key).collect()
    }

    /// Number of logins that this node knows.
    pub(crate) fn login_count(&self) -> usize {
        self.logins.len()
    }

    /// Seconds since 1970 of the login's last use.
    pub(super) fn used_at(&self, login: &Login) -> u64 {
        let ago = self.core.clock.now().saturating_sub(login.used.load(Ordering::Relaxed));
        self.core.clock.unix().saturating_sub(ago / 1000)
    }

    fn keep_used_times(&self, exactly: bool) {
        let root = self.root();
        for entry in self.logins.all() {
            let path = login_path(&root, entry.login.id);
            let Ok(Some((mut record, _))) = self.core.read::<LoginRecord>(&path, Kind::Login) else {
                continue;
            };
            let used = self.used_at(&entry.login);
            if used >= record.used + if exactly { 60 } else { USED_STEP } {
                record.used = used;
                self.core.background.put(path, record);
            }
        }
    }
}
