//! Another PSK for a key set: every private object is sealed anew under it, and it is wrapped anew under the PINs of all roles, so
//! the PINs of all roles are needed. The new records are put under a prefix to which nothing refers, in passes, while others go on
//! to use and to change objects; the last batch switches the incarnation. A kill before it leaves what the next start purges;
//! after it, nothing that the old PSK opens is in use: its wraps, its objects and its logins are gone (INV-2, INV-7).
//! Not here: the barrier keys, which seal every record of the store, and the master key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hsmd_crypto::random;
use hsmd_crypto::seal::equal;
use hsmd_crypto::secret::SecretArray;
use hsmd_proto::ck::Rv;
use hsmd_proto::ids::OperationId;
use hsmd_store::{Batch, Compare, Path, Record, Write};

use super::lifecycle::prefix_of;
use super::{KeySet, Root};
use crate::audit::{Act, Event};
use crate::caller::Caller;
use crate::core::{Committed, Core, settle};
use crate::error::Error;
use crate::login::Role;
use crate::objects::merging::{Content, Envelope};
use crate::pin::{self, Place};
use crate::records::{PinRecord, TriesRecord};
use crate::seal::{Kind, Psk};
use crate::tries;

/// Most records of one batch, and about how many bytes.
const BATCH: usize = 90;
const BATCH_BYTES: usize = 256 << 10;
/// So many records may be left to the pass during which nobody else writes objects.
const LAST: usize = 60;
/// Passes before others are held up.
const PASSES: usize = 50;
/// Counters of PIN tries that one batch takes over.
const COUNTERS: usize = 60;
/// What versions of the new records have more than those of the old ones: whoever has read an object before the switch does not
/// write over it after the switch.
const AHEAD: u64 = 1 << 20;

/// Why a key set keeps its PSK. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    /// A role's PIN is not right, or was not asked for, and why.
    #[error("the PIN of the role {0:?}: {1}")]
    Pin(Role, Rv),
    /// A role has a PIN that was not given: its wrap of the PSK could not be made anew.
    #[error("the PIN of the role {0:?} is needed")]
    PinNeeded(Role),
    /// It is being copied to a group's key set.
    #[error("the key set is being merged")]
    Protected,
    /// Somebody else changed the key set or a PIN, or initialised the token anew.
    #[error("the key set was changed meanwhile")]
    Changed,
    /// More clients have failures counted than one batch takes over.
    #[error("wrong PINs of too many clients are counted")]
    TooManyCounters,
    /// A record does not open (INV-7): it would be lost.
    #[error("the record {0} is damaged")]
    Damaged(String),
    /// From the store.
    #[error(transparent)]
    Store(#[from] Error),
}

/// A key set that gets another PSK: its PINs were right.
pub struct Rekey {
    key_set: Arc<KeySet>,
    source: Arc<Root>,
    /// The root in the incarnation to which objects are brought.
    target: Root,
    old: Psk,
    new: Psk,
    pins: Vec<NewPin>,
    /// By the rest of the path: the version of the source that was brought, and the version of what was made of it.
    done: BTreeMap<String, (u64, u64)>,
    /// Records written.
    written: u64,
    finished: bool,
}

/// A wrap of the new PSK.
struct NewPin {
    role: Role,
    /// The version of the record whose PIN was right.
    proven: u64,
    record: PinRecord,
}

impl KeySet {
    /// Begins to change the PSK: checks the PINs of all roles, which are tries like any other, and wraps a new PSK under them.
    /// [`Rekey::run`] does the rest. `None` is for a role without a PIN.
    ///
    /// # Errors
    /// [`RekeyError`]; nothing was changed.
    pub fn begin_rekey(
        self: &Arc<Self>,
        caller: &Caller,
        so_pin: &[u8],
        user_pin: Option<&[u8]>,
        crypto_user_pin: Option<&[u8]>,
    ) -> Result<Rekey, RekeyError> {
        let source = self.root();
        if !source.initialized() {
            return Err(RekeyError::Pin(Role::So, Rv::USER_PIN_NOT_INITIALIZED));
        }
        if source.protected {
            return Err(RekeyError::Protected);
        }
        if let Some(record) = self.damaged().into_iter().next() {
            return Err(RekeyError::Damaged(record));
        }
        let roles = self.roles_with_pin(&source);
        // Looked at before any PIN is tried.
        let mut given = vec![(Role::So, so_pin)];
        for (role, pin) in [(Role::User, user_pin), (Role::CryptoUser, crypto_user_pin)] {
            match (roles.contains(&role), pin) {
                (true, None) => return Err(RekeyError::PinNeeded(role)),
                (false, Some(_)) => return Err(RekeyError::Pin(role, Rv::USER_PIN_NOT_INITIALIZED)),
                (true, Some(pin)) => given.push((role, pin)),
                (false, None) => {}
            }
        }
        let mut target = source.next_incarnation();
        // Where neither C_InitToken nor an interrupted restore or rekey has left something.
        let step = u32::from(u16::from_le_bytes(random::array())) + 2;
        target.incarnation = source.incarnation.saturating_add(step);
        let (new, mut old) = (Psk::new(SecretArray::random()), None);
        let mut pins = Vec::new();
        for (role, pin) in given {
            let (made, psk) = self.prove_and_wrap(caller, (role, pin), &source, &target, &new)?;
            if old.as_ref().is_some_and(|old: &Psk| !equal(old.expose(), psk.expose())) {
                return Err(RekeyError::Damaged(self.pin_path(&source, role).to_string()));
            }
            old = Some(psk);
            pins.push(made);
        }
        Ok(Rekey {
            key_set: Arc::clone(self),
            old: old.ok_or(RekeyError::PinNeeded(Role::So))?,
            source,
            target,
            new,
            pins,
            done: BTreeMap::new(),
            written: 0,
            finished: false,
        })
    }

    fn roles_with_pin(&self, root: &Root) -> Vec<Role> {
        let has = |role: &Role| self.core.store.get(&self.pin_path(root, *role)).is_some();
        let all = [Role::So, Role::User, Role::CryptoUser];
        all.into_iter().filter(has).collect()
    }

    fn prove_and_wrap(
        &self,
        caller: &Caller,
        (role, pin): (Role, &[u8]),
        source: &Root,
        target: &Root,
        new: &Psk,
    ) -> Result<(NewPin, Psk), RekeyError> {
        let path = self.pin_path(source, role);
        let found = self.core.read::<PinRecord>(&path, Kind::Pin)?;
        let (before, version) = found.ok_or(RekeyError::Pin(role, Rv::USER_PIN_NOT_INITIALIZED))?;
        let attempt = OperationId(random::array());
        let proven = self.prove(caller, role, pin, attempt);
        let proven = proven.map_err(|rv| RekeyError::Pin(role, rv))?;
        if !self.is_still(source) {
            return Err(RekeyError::Changed);
        }
        let place = Place {
            key_set: self.id,
            incarnation: target.incarnation,
            role,
        };
        let wrapped = pin::wrap(new, pin, place, &self.core.options.pin_cost);
        let mut record = wrapped.map_err(|rv| RekeyError::Pin(role, rv))?;
        // INV-10: a C_SetPIN whose reply was lost is recognised.
        record.operations = before.operations;
        let made = NewPin {
            role,
            proven: version,
            record,
        };
        Ok((made, proven.psk))
    }

    /// Whether objects are where they were.
    fn is_still(&self, source: &Root) -> bool {
        let now = self.root();
        now.incarnation == source.incarnation && !now.deleted && !now.protected
    }
}

impl Rekey {
    /// Seals everything anew and switches to it: when this returns, the old PSK opens nothing that is in use, and all logins have
    /// ended. `progress` is told how many records are written, and of how many. Says how many objects there were.
    ///
    /// # Errors
    /// [`RekeyError`]; then everything is as it was.
    pub fn run(mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<u64, RekeyError> {
        for _ in 0..PASSES {
            let changed = self.pass(progress)?;
            if changed <= LAST {
                break;
            }
        }
        let key_set = Arc::clone(&self.key_set);
        // From here on nobody writes objects: what changed since the last pass is little.
        let gate = key_set.gate.write();
        self.pass(progress)?;
        let switched = self.switch();
        // Whether it was written may not be known: what it refers to stays then, for the next start to judge.
        self.finished = match &switched {
            Ok(_) => true,
            Err(RekeyError::Store(error)) => matches!(error, Error::OutcomeUnknown | Error::Stopped),
            Err(_) => false,
        };
        let root = switched?;
        key_set.switch(root, None);
        let damaged = key_set.objects.load_public(&key_set);
        key_set.damaged.lock().extend(damaged);
        drop(gate);
        Ok(key_set.used().objects)
    }

    /// Brings what is new or has changed; says how much that was.
    fn pass(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<usize, RekeyError> {
        if !self.key_set.is_still(&self.source) {
            return Err(RekeyError::Changed);
        }
        let key_set = Arc::clone(&self.key_set);
        let core = &key_set.core;
        let base = self.source.path("o").to_string() + "/";
        let all = core.store.scan(&base);
        let of = all.len() as u64;
        let (mut there, mut changed) = (BTreeSet::new(), 0);
        // New records name their versions, later ones follow them: two kinds of batches.
        let (mut fresh, mut next) = (Pending::new(true), Pending::new(false));
        for (path, record) in &all {
            let rest = format!("o/{}", path.as_str().strip_prefix(&base).unwrap_or_default());
            let before = self.done.get(&rest).copied();
            if before.is_none_or(|(version, _)| version != record.version) {
                let version = before.map_or(record.version + AHEAD, |(_, own)| own + 1);
                if let Some(write) = self.seal(path, record, (&rest, version))? {
                    let pending = if before.is_none() { &mut fresh } else { &mut next };
                    pending.writes.push(write);
                    self.done.insert(rest.clone(), (record.version, version));
                    changed += 1;
                    self.written += u64::from(before.is_none());
                    if pending.is_full() {
                        pending.flush(core)?;
                        progress(self.written, of);
                    }
                }
            }
            there.insert(rest);
        }
        let gone: Vec<_> = self
            .done
            .keys()
            .filter(|rest| !there.contains(*rest))
            .cloned()
            .collect();
        for rest in gone {
            let Some((_, own)) = self.done.remove(&rest) else {
                continue;
            };
            changed += 1;
            next.writes.push(Write {
                path: self.target.path(&rest),
                version: own + 1,
                value: None,
            });
            if next.is_full() {
                next.flush(core)?;
            }
        }
        fresh.flush(core)?;
        next.flush(core)?;
        progress(self.written, of);
        Ok(changed)
    }

    /// The record as it is in the new incarnation; `None`: it was copied for a join that is not done, and is nothing yet.
    fn seal(&self, from: &Path, record: &Record, (rest, version): (&str, u64)) -> Result<Option<Write>, RekeyError> {
        let damaged = || RekeyError::Damaged(from.to_string());
        let barrier = &self.key_set.core.barrier;
        let open = |kind| barrier.open(from, record.version, kind, &record.value);
        let to = self.target.path(rest);
        let write = |kind, plain: &[u8]| {
            let value = barrier.seal(&to, version, kind, plain);
            Some(Write {
                path: to.clone(),
                version,
                value: Some(value),
            })
        };
        let Ok(plain) = open(Kind::Object) else {
            let plain = open(Kind::Tombstone).map_err(|_| damaged())?;
            return Ok(write(Kind::Tombstone, &plain));
        };
        let mut envelope = Envelope::decode(&plain).ok_or_else(damaged)?;
        if envelope.join.is_some_and(|join| !self.source.has_joined(&join)) {
            return Ok(None);
        }
        envelope.join = None;
        if let Content::Private(sealed) = &envelope.content {
            let sealed_at = envelope.sealed_at.unwrap_or(record.version);
            let body = self.old.open(&envelope.id, sealed_at, Kind::Object, sealed);
            let body = body.map_err(|_| damaged())?;
            envelope.content = Content::Private(self.new.seal(&envelope.id, version, Kind::Object, &body));
            envelope.sealed_at = None;
        }
        Ok(write(Kind::Object, &envelope.encode()))
    }

    /// The batch that makes the new incarnation the one in use. The caller holds the gate.
    fn switch(&self) -> Result<Root, RekeyError> {
        let (key_set, core) = (&self.key_set, &self.key_set.core);
        let mut root = Root::clone(&key_set.root());
        root.incarnation = self.target.incarnation;
        root.epoch += 1;
        root.joins.clear();
        let mut batch = Batch {
            operation: random::array(),
            ..Batch::default()
        };
        for pin in &self.pins {
            batch.compares.push(Compare {
                path: key_set.pin_path(&self.source, pin.role),
                version: pin.proven,
            });
            let path = key_set.pin_path(&root, pin.role);
            batch.writes.push(core.put(&path, 0, Kind::Pin, &pin.record));
        }
        self.counters(&root, &mut batch)?;
        batch.writes.push(key_set.put_root(&mut root));
        let event = Event::new(Act::KeySetRekey).of(key_set.id);
        match core.commit_act(batch, vec![event])? {
            Committed::Done(_) => Ok(root),
            Committed::Conflict(_) => Err(RekeyError::Changed),
        }
    }

    /// INV-8: failures and locks go along, and a try without a verdict counts as a failure: a new PSK gives nobody fresh tries.
    /// Nobody counts while the caller holds the gate.
    fn counters(&self, root: &Root, batch: &mut Batch) -> Result<(), RekeyError> {
        let core = &self.key_set.core;
        let prefix = self.source.path("tries").to_string() + "/";
        let mut count = 0;
        for (path, record) in core.store.scan(&prefix) {
            let found = core.decode::<TriesRecord>(&path, Kind::Tries, &record)?;
            let settled = tries::all_settled(&found);
            if !settled.failures.is_empty() || settled.locked {
                count += 1;
                if count > COUNTERS {
                    return Err(RekeyError::TooManyCounters);
                }
                let rest = path.as_str().strip_prefix(&prefix).unwrap_or_default();
                let to = root.path(&format!("tries/{rest}"));
                batch.writes.push(core.put(&to, 0, Kind::Tries, &settled));
            }
        }
        Ok(())
    }
}

impl Drop for Rekey {
    fn drop(&mut self) {
        if !self.finished {
            let prefix = prefix_of(self.key_set.id, self.target.incarnation);
            self.key_set.core.background.purge(prefix);
        }
    }
}

/// Writes on their way.
struct Pending {
    writes: Vec<Write>,
    /// The paths are not there yet, and get the versions that the writes name.
    fresh: bool,
}

impl Pending {
    fn new(fresh: bool) -> Self {
        Self {
            writes: Vec::new(),
            fresh,
        }
    }

    fn is_full(&self) -> bool {
        let bytes: usize = self
            .writes
            .iter()
            .filter_map(|write| write.value.as_ref())
            .map(Vec::len)
            .sum();
        self.writes.len() >= BATCH || bytes >= BATCH_BYTES
    }

    fn flush(&mut self, core: &Core) -> Result<(), RekeyError> {
        if self.writes.is_empty() {
            return Ok(());
        }
        let batch = Batch {
            operation: random::array(),
            writes: std::mem::take(&mut self.writes),
            ..Batch::default()
        };
        let operation = batch.operation;
        let outcome = match self.fresh {
            true => core.store.import(batch),
            false => core.store.commit(batch),
        };
        match settle(&core.store, &operation, outcome.map_err(Error::from)?)? {
            Committed::Done(_) => Ok(()),
            Committed::Conflict(_) => Err(RekeyError::Changed),
        }
    }
}
