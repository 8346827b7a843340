//! Joining: the objects of one key set are copied into another under the PSK of that one. Nobody sees the copies before the
//! last batch, so that a join that is cancelled or cut off by a crash has changed nothing; what it left is found again by
//! unique id, or removed. Destroyed objects stay destroyed (INV-6): what has a tombstone in the group is not brought back.
//! Cloning is the same, but the source stays in use and what it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use hsmd_crypto::seal::{equal, hmac};
use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::AttributeType as A;
use hsmd_proto::ids::{JoinId, KeySetId, OperationId};
use hsmd_proto::wipe::WipingVec;
use hsmd_store::Write;

use super::{MergeError, TRIES, commit_in_parts};
use crate::caller::Caller;
use crate::error::Error;
use crate::key_set::{KeySet, Quota, Root, Used};
use crate::objects::merging::{Object, Parts, Stored, encode_body, put_for, read_for, record_path};
use crate::seal::Psk;

/// The PSKs of two key sets that one PIN has opened, each with the incarnation that it belongs to.
pub struct MergeKeys {
    from: (Psk, u32),
    into: (Psk, u32),
}

impl MergeKeys {
    /// The same for the way back.
    #[must_use]
    pub fn turned(self) -> Self {
        Self {
            from: self.into,
            into: self.from,
        }
    }

    /// Whether they are the PSKs of these roots. INV-2: what is sealed under the PSK that a token had before it was initialised
    /// anew, restored or rekeyed is lost when it leaves memory.
    fn fit(&self, source: &Root, target: &Root) -> bool {
        (self.from.1, self.into.1) == (source.incarnation(), target.incarnation())
    }
}

/// Proof that every object of one key set is in another, the same, and waits to be seen.
pub struct Joined {
    pub(super) from: Arc<KeySet>,
    pub(super) into: Arc<KeySet>,
    join: JoinId,
    /// The roots that it holds for. No source: objects are there that were in the other one at one moment, for a clone.
    source: Option<Arc<Root>>,
    target: Arc<Root>,
    objects: Vec<Arc<Object>>,
    /// What the copies take of the group's quota.
    used: Used,
}

impl KeySet {
    /// Tries the user's PIN of one key set on another. `caller` has just logged in to this one with it. A wrong one is counted
    /// there once, however often it is tried, and only while there is no other failure: so a join never locks anybody out, and
    /// a PIN cannot be guessed by changing the other (INV-8).
    #[must_use]
    pub fn open_with(&self, other: &Self, caller: &Caller, pin: &[u8]) -> Option<MergeKeys> {
        let from = self
            .prove_user(caller, pin, OperationId(hsmd_crypto::random::array()))
            .ok()?;
        let attempt = hmac(
            self.core().fleet.key("merge").expose(),
            &[&self.user_salt()?, &other.user_salt()?],
        );
        let attempt = OperationId::from_slice(&attempt[..16])?;
        if other.user_has_failures() {
            return None;
        }
        let into = other.prove_user(caller, pin, attempt).ok()?;
        Some(MergeKeys { from, into })
    }

    /// Copies all objects of this key set into another, for a join. This one is protected. Objects that are there already must
    /// be the same. `wanted` is asked before each batch. The copies are seen when [`super::KeySetChange::Adopt`] is committed.
    ///
    /// # Errors
    /// [`MergeError`]; what was copied stays, unseen, for the next try with the same id, until [`KeySet::forget_joins`].
    pub fn copy_objects(
        self: &Arc<Self>,
        into: &Arc<Self>,
        join: JoinId,
        keys: Option<&MergeKeys>,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Joined, MergeError> {
        self.bring_objects(into, (join, false), keys, wanted)
    }

    /// As [`KeySet::copy_objects`], of the objects that are here at one moment: this key set stays in use, and goes its own way.
    ///
    /// # Errors
    /// As [`KeySet::copy_objects`].
    pub fn clone_objects(
        self: &Arc<Self>,
        into: &Arc<Self>,
        join: JoinId,
        keys: Option<&MergeKeys>,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Joined, MergeError> {
        self.bring_objects(into, (join, true), keys, wanted)
    }

    fn bring_objects(
        self: &Arc<Self>,
        into: &Arc<Self>,
        (join, clones): (JoinId, bool),
        keys: Option<&MergeKeys>,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Joined, MergeError> {
        for _ in 0..TRIES {
            let pass = Pass {
                from: self,
                into,
                join,
                clones,
                keys,
                source: self.root(),
                target: into.root(),
            };
            if let Some((objects, used)) = pass.run(wanted)? {
                let Pass { source, target, .. } = pass;
                let source = (!clones).then_some(source);
                return Ok(Joined {
                    from: Arc::clone(self),
                    into: Arc::clone(into),
                    join,
                    source,
                    target,
                    objects,
                    used,
                });
            }
        }
        Err(MergeError::Contended)
    }

    /// The joins, other than these, for which something was copied here that nobody sees yet.
    #[must_use]
    pub fn hidden_joins(&self, but: &[JoinId]) -> Vec<JoinId> {
        let mut joins: Vec<_> = self.hidden_but(but).into_iter().map(|(join, _)| join).collect();
        joins.sort_unstable();
        joins.dedup();
        joins
    }

    /// Removes what was copied for joins other than these and was never seen.
    ///
    /// # Errors
    /// From the store; the next start tries again.
    pub fn forget_joins(&self, but: &[JoinId]) -> Result<(), Error> {
        if self.hidden_but(but).is_empty() {
            return Ok(());
        }
        // Looked up again under the gate: a join that was done meanwhile hides nothing any more.
        let writing = self.begin_write();
        let gone = self.hidden_but(but);
        let purge = |(_, id): &(JoinId, _)| {
            let path = record_path(writing.root(), *id);
            let version = self.core().store.get(&path)?.version + 1;
            Some(Write {
                path,
                version,
                value: None,
            })
        };
        let writes = gone.iter().filter_map(purge).collect();
        match commit_in_parts(self.core(), &[writing.root().compare()], writes, &|| true) {
            Ok(true) => {
                self.unhide(&gone);
                Ok(())
            }
            Err(MergeError::Store(error)) => Err(error),
            _ => Err(Error::Contended),
        }
    }
}

/// One pass over the objects, for roots that must not change.
struct Pass<'a> {
    from: &'a KeySet,
    into: &'a KeySet,
    join: JoinId,
    /// The source goes on: what is copied is what it holds at one moment.
    clones: bool,
    keys: Option<&'a MergeKeys>,
    source: Arc<Root>,
    target: Arc<Root>,
}

/// What stands in the group under an object's id.
enum There {
    Nothing,
    /// The same object, seen there already.
    Same,
    /// The same object, copied for this join, and the bytes of its record.
    Copied(Arc<Object>, u64),
    /// Left by another join, or of another version: its version.
    Stale(u64),
    Destroyed,
}

/// What a pass has copied, and how much of the quota that takes.
type Copied = (Vec<Arc<Object>>, Used);

impl Pass<'_> {
    /// Copies, then reads everything back and compares. `None`: somebody else was writing; begin anew.
    fn run(&self, wanted: &dyn Fn() -> bool) -> Result<Option<Copied>, MergeError> {
        if self.from.policy() != self.into.policy() {
            return Err(MergeError::Policy);
        }
        let still = self.source.protected() || self.clones && self.source.initialized();
        if !still || !self.target.initialized() || self.target.protected() {
            return Err(MergeError::Contended);
        }
        if self.keys.is_some_and(|keys| !keys.fit(&self.source, &self.target)) {
            return Err(MergeError::NeedsPin);
        }
        let objects = self.source_objects()?;
        let mut writes = Vec::new();
        for object in &objects {
            let version = match self.there(object)? {
                There::Nothing => 1,
                There::Stale(version) => version + 1,
                There::Same | There::Copied(..) | There::Destroyed => continue,
            };
            writes.push(self.write(object, version)?);
        }
        let compares = [self.target.compare(), self.source.compare()];
        let compares = if self.clones { &compares[..1] } else { &compares };
        if !commit_in_parts(self.from.core(), compares, writes, wanted)? {
            return Ok(None);
        }
        // INV-2: nothing is left behind; what was written is read back from the store and compared.
        let (mut copied, mut used) = (Vec::new(), Used::default());
        for object in &objects {
            match self.there(object)? {
                There::Same | There::Destroyed => {}
                There::Copied(object, bytes) => {
                    copied.push(object);
                    used.objects += 1;
                    used.bytes += bytes;
                }
                There::Nothing | There::Stale(_) => return Ok(None),
            }
        }
        let (there, quota) = (self.into.used(), self.target.quota());
        let full = |limit: u64, sum: u64| limit > 0 && sum > limit;
        if full(quota.objects, there.objects + used.objects) || full(quota.bytes, there.bytes + used.bytes) {
            return Err(MergeError::Quota);
        }
        Ok(Some((copied, used)))
    }

    /// All objects of the source in the order of their creation.
    fn source_objects(&self) -> Result<Vec<Arc<Object>>, MergeError> {
        if !self.from.damaged().is_empty() {
            return Err(MergeError::Damaged);
        }
        let core = self.from.core();
        let psk = self.keys.map(|keys| &keys.from.0);
        let mut objects = Vec::new();
        for (path, record) in core.store.scan(&format!("{}/", self.source.path("o"))) {
            match read_for(core, &self.source, &path, &record, psk, None) {
                Some(Stored::Live(object)) => objects.push(object),
                Some(Stored::Dead(_) | Stored::Hidden(..)) => {}
                Some(Stored::Locked(_)) => return Err(MergeError::NeedsPin),
                None => return Err(MergeError::Damaged),
            }
        }
        objects.sort_by_key(|object| (object.sequence, object.id));
        Ok(objects)
    }

    fn there(&self, object: &Object) -> Result<There, MergeError> {
        let core = self.into.core();
        let path = record_path(&self.target, object.id);
        let Some(record) = core.store.get(&path) else {
            return Ok(There::Nothing);
        };
        let psk = self.keys.map(|keys| &keys.into.0);
        let differs = Err(MergeError::Differs(object.id));
        match read_for(core, &self.target, &path, &record, psk, Some(self.join)) {
            Some(Stored::Hidden(..)) => Ok(There::Stale(record.version)),
            Some(Stored::Dead(_)) => Ok(There::Destroyed),
            // Of an object that is private there and public here.
            Some(Stored::Locked(_)) => differs,
            None => Err(MergeError::Damaged),
            Some(Stored::Live(found)) => {
                let same = equal(&comparable(&found), &comparable(object));
                match (self.into.hides(self.join, object.id), same) {
                    (true, true) => Ok(There::Copied(found, record.value.len() as u64)),
                    (true, false) => Ok(There::Stale(record.version)),
                    (false, true) => Ok(There::Same),
                    (false, false) => differs,
                }
            }
        }
    }

    fn write(&self, object: &Object, version: u64) -> Result<Write, MergeError> {
        let core = self.into.core();
        let parts = Parts {
            version,
            sequence: self.into.objects().next_sequence(),
            attributes: Arc::new(untrusted(&object.attributes)),
            ..object.successor(object.operation)
        };
        // It was an object a moment ago.
        let copy = Object::new(parts, &core.latches).ok_or(MergeError::Damaged)?;
        let psk = self.keys.map(|keys| &keys.into.0);
        self.into.hide(self.join, object.id);
        put_for(core, &self.target, psk, &copy, Some(self.join)).map_err(|_| MergeError::NeedsPin)
    }
}

impl Joined {
    /// How many objects came along.
    #[must_use]
    pub fn count(&self) -> usize {
        self.objects.len()
    }

    /// The roots must be those for which everything was compared. The caller holds both gates.
    pub(super) fn adopt(&self, roots: &mut BTreeMap<KeySetId, Root>) -> Result<(), Error> {
        let moved = |source: &Arc<Root>| !self.from.root().is_same(source);
        if self.source.as_ref().is_some_and(moved) || !self.into.root().is_same(&self.target) {
            return Err(Error::Contended);
        }
        // INV-2: and every copy must be there still, whatever was cleaned up meanwhile.
        let store = &self.into.core().store;
        let there = |object: &Arc<Object>| {
            let record = store.get(&record_path(&self.target, object.id));
            record.is_some_and(|record| record.version == object.version)
        };
        if !self.objects.iter().all(there) {
            return Err(Error::Contended);
        }
        if let Some(root) = roots.get_mut(&self.into.id()).filter(|_| !self.objects.is_empty()) {
            root.add_join(self.join);
        }
        Ok(())
    }

    /// The batch is durable: the copies are objects like any other.
    pub(super) fn show(self) {
        for object in &self.objects {
            self.into.objects().apply(Arc::clone(object));
        }
        // Creates that took their share meanwhile may have passed the quota by as much: it was looked at before.
        if let Ok(share) = self.into.objects().usage.take(Quota::default(), self.used) {
            share.keep();
        }
        let ids: Vec<_> = self.objects.iter().map(|object| (self.join, object.id)).collect();
        self.into.unhide(&ids);
    }
}

/// What must be equal of two objects that are the same. Where they are in the order of creation, and who wrote them last, need
/// not be; nor CKA_TRUSTED, the word of one token's SO (see [`untrusted`]).
fn comparable(object: &Object) -> WipingVec {
    let attributes = untrusted(&object.attributes);
    encode_body(
        object.origin,
        object.held,
        object.material,
        &object.request,
        &attributes,
        &object.values,
    )
}

/// CKA_TRUSTED lets a key wrap sensitive keys, and only the SO of the token may say so: the word of the SO of another token is
/// not taken over with the key.
fn untrusted(attributes: &Template) -> Template {
    let mut attributes = attributes.clone();
    for entry in attributes.0.iter_mut().filter(|entry| entry.attribute == A::TRUSTED) {
        *entry = Attribute::boolean(A::TRUSTED, false);
    }
    attributes
}
