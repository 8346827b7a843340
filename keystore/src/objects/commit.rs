//! From objects in hand to objects in the store and in memory. Every batch carries the root's compare; memory changes only after
//! the store committed (INV-2); a retry of a create finds what the first try made (INV-10).

use std::sync::Arc;

use hsmd_proto::ck::{AttributeType as A, Rv};
use hsmd_proto::ids::{JoinId, OperationId, UniqueId};
use hsmd_store::{Batch, Path, Write};

use super::object::Object;
use super::record::{Content, Envelope, encode_body};
use super::table::{Entry, Stored, read};
use super::{ObjectView, access, session};
use crate::audit::{Act, Event};
use crate::caller::Context;
use crate::core::{Committed, Core};
use crate::key_set::{KeySet, Root, Used};
use crate::seal::{Kind, Psk};

/// How often a write that met a conflict is tried in all (DESIGN 10).
pub(crate) const TRIES: usize = 5;

/// The record of an object.
pub(crate) fn record_path(root: &Root, id: UniqueId) -> Path {
    root.path(&format!("o/{id}"))
}

/// Whether objects may be changed. INV-3: asked under the gate, so that none lands behind the back of whoever copies them.
///
/// # Errors
/// `CKR_TOKEN_WRITE_PROTECTED`.
pub(super) fn may_change(root: &Root) -> Result<(), Rv> {
    if root.protected() {
        Err(Rv::TOKEN_WRITE_PROTECTED)
    } else {
        Ok(())
    }
}

/// The write that makes `object` what its record holds.
///
/// # Errors
/// `CKR_USER_NOT_LOGGED_IN` for a private object while the PSK is not here.
pub(crate) fn put(core: &Core, root: &Root, psk: Option<&Psk>, object: &Object) -> Result<Write, Rv> {
    put_for(core, root, psk, object, None)
}

/// As [`put`]; the object is seen once the join is done.
pub(crate) fn put_for(
    core: &Core,
    root: &Root,
    psk: Option<&Psk>,
    object: &Object,
    join: Option<JoinId>,
) -> Result<Write, Rv> {
    let path = record_path(root, object.id);
    let body = encode_body(
        object.origin,
        object.held,
        object.material,
        &object.request,
        &object.attributes,
        &object.values,
    );
    // INV-7: everything of a private object, label and id included, is under the PSK.
    let content = if object.private() {
        let psk = psk.ok_or(Rv::USER_NOT_LOGGED_IN)?;
        Content::Private(psk.seal(&object.id, object.version, Kind::Object, &body))
    } else {
        Content::Public(body)
    };
    let envelope = Envelope {
        id: object.id,
        operation: object.operation,
        sequence: object.sequence,
        class: object.class(),
        content,
        join,
        sealed_at: None,
    };
    let sealed = core
        .barrier
        .seal(&path, object.version, Kind::Object, &envelope.encode());
    Ok(Write {
        path,
        version: object.version,
        value: Some(sealed),
    })
}

/// What new objects take of the quota.
fn used_by(writes: &[Write]) -> Used {
    let sizes = writes.iter().filter_map(|write| write.value.as_ref());
    Used {
        objects: writes.len() as u64,
        bytes: sizes.map(|value| value.len() as u64).sum(),
    }
}

/// The name under which an object keeps what the call that made it answered besides the object, so that a retry answers the same
/// (INV-10). No rule knows it, so nobody reads it.
pub(crate) const ANSWER: A = A(0x8000_0000 | 0x414e_5357);

impl KeySet {
    /// What an earlier try of the same create made; `None`: nothing yet (INV-10).
    ///
    /// # Errors
    /// `CKR_FUNCTION_FAILED` when the id was used for something else, or for an object that is destroyed.
    pub(crate) fn made_before(
        &self,
        context: &Context,
        id: UniqueId,
        request: &[u8; 32],
    ) -> Result<Option<ObjectView>, Rv> {
        match self.objects().entry(&id) {
            None => Ok(None),
            Some(Entry::Live(object)) if object.request == *request => {
                access::may_write(self, context, true, object.private())?;
                Ok(Some(object.view(Vec::new(), self.policy().latches())))
            }
            Some(_) => Err(Rv::FUNCTION_FAILED),
        }
    }

    /// What the audit log says of an object.
    pub(crate) fn event(&self, act: Act, object: &Object) -> Event {
        let attribute = |attribute| object.attributes.get(attribute);
        let key_type = attribute(A::KEY_TYPE).and_then(hsmd_proto::attribute::Attribute::as_ulong);
        let event = Event::new(act)
            .of(self.id())
            .object(object.id)
            .kind(object.class(), key_type);
        match object.attributes.value(A::LABEL) {
            Some(label) if self.core().audit.tells_labels() => event.label(label),
            _ => event,
        }
    }

    /// Makes new objects durable, all in one batch, or seals them for the module, as their CKA_TOKEN says.
    ///
    /// # Errors
    /// What access and store say; then nothing was made.
    pub(crate) fn settle(&self, context: &Context, act: Act, objects: Vec<Object>) -> Result<Vec<ObjectView>, Rv> {
        self.check_self_tests()?;
        for object in &objects {
            access::may_write(self, context, object.flag(A::TOKEN), object.private())?;
        }
        let objects: Vec<Arc<Object>> = objects.into_iter().map(Arc::new).collect();
        let tokens: Vec<Arc<Object>> = objects.iter().filter(|object| object.flag(A::TOKEN)).cloned().collect();
        let tokens = if tokens.is_empty() {
            tokens
        } else {
            self.commit_new(act, tokens)?
        };
        let latches = self.policy().latches();
        let view = |object: &Arc<Object>| {
            if let Some(stored) = tokens.iter().find(|stored| stored.id == object.id) {
                return Ok(stored.view(Vec::new(), latches));
            }
            Ok(object.view(session::seal(self, context, object)?, latches))
        };
        objects.iter().map(view).collect()
    }

    /// Commits new token objects in one batch; gives them, or what an earlier try made of the same requests.
    fn commit_new(&self, act: Act, objects: Vec<Arc<Object>>) -> Result<Vec<Arc<Object>>, Rv> {
        let operation = objects.first().map_or([0; 16], |object| object.id.0);
        for _ in 0..TRIES {
            let writing = self.begin_write();
            let root = writing.root();
            if !root.initialized() {
                return Err(Rv::TOKEN_NOT_RECOGNIZED);
            }
            may_change(root)?;
            let psk = self.psk();
            let writes = objects
                .iter()
                .map(|object| put(self.core(), root, psk.as_deref(), object))
                .collect::<Result<Vec<_>, _>>()?;
            let share = self.objects().usage.take(root.quota(), used_by(&writes))?;
            let batch = Batch {
                operation,
                compares: vec![root.compare()],
                writes,
                reserve: false,
            };
            let events = objects.iter().map(|object| self.event(act, object)).collect();
            match self.core().commit_objects(batch, events).map_err(|error| error.rv())? {
                Committed::Done(_) => {
                    share.keep();
                    objects
                        .iter()
                        .for_each(|object| self.objects().apply(Arc::clone(object)));
                    return Ok(objects);
                }
                Committed::Conflict(path) if path == root.compare().path => {}
                Committed::Conflict(_) => {
                    return objects
                        .iter()
                        .map(|object| self.earlier(root, psk.as_deref(), object))
                        .collect();
                }
            }
        }
        Err(self.core().sharing.contended())
    }

    /// The object that an earlier try of the same create made.
    fn earlier(&self, root: &Root, psk: Option<&Psk>, object: &Object) -> Result<Arc<Object>, Rv> {
        let path = record_path(root, object.id);
        // The store has it, and this node's memory not yet: in a fleet the earlier try was another node's.
        let Some(record) = self.core().store.get(&path) else {
            return Err(self.core().sharing.contended());
        };
        match read(self.core(), root, &path, &record, psk) {
            Some(Stored::Live(found)) if found.request == object.request => {
                self.objects().apply(Arc::clone(&found));
                Ok(found)
            }
            _ => Err(Rv::FUNCTION_FAILED),
        }
    }

    /// Commits the next version of a token object. `Ok(None)`: somebody else was first; look at it again.
    pub(crate) fn commit_next(&self, next: &Arc<Object>, event: Event) -> Result<Option<()>, Rv> {
        let writing = self.begin_write();
        let root = writing.root();
        may_change(root)?;
        let write = put(self.core(), root, self.psk().as_deref(), next)?;
        let before = self.stored_bytes(&write.path);
        let usage = &self.objects().usage;
        let after = used_by(std::slice::from_ref(&write)).bytes;
        let more = Used {
            objects: 0,
            bytes: after.saturating_sub(before),
        };
        let share = usage.take(root.quota(), more)?;
        self.commit_one((root, next.operation), write, event, false, || {
            share.keep();
            usage.give(Used {
                objects: 0,
                bytes: before.saturating_sub(after),
            });
            self.objects().apply(Arc::clone(next))
        })
    }

    /// The size of the record under a path.
    pub(crate) fn stored_bytes(&self, path: &Path) -> u64 {
        let record = self.core().store.get(path);
        record.map_or(0, |record| record.value.len() as u64)
    }

    /// Commits one write and applies it to memory.
    pub(crate) fn commit_one(
        &self,
        (root, operation): (&Root, OperationId),
        write: Write,
        event: Event,
        reserve: bool,
        apply: impl FnOnce(),
    ) -> Result<Option<()>, Rv> {
        let batch = Batch {
            operation: operation.0,
            compares: vec![root.compare()],
            writes: vec![write],
            reserve,
        };
        let committed = self.core().commit_objects(batch, vec![event]);
        match committed.map_err(|error| error.rv())? {
            Committed::Done(_) => {
                apply();
                Ok(Some(()))
            }
            Committed::Conflict(_) => {
                // The winner applies its version right after its commit.
                std::thread::yield_now();
                Ok(None)
            }
        }
    }
}
