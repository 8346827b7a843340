//! Leaving: a key set is copied as it is, record by record, while others use it: objects, tombstones, PINs and their counters. No
//! PIN is needed: the copy has the same PSK, wrapped under the same PINs, so that sealed bodies are copied unopened (INV-1).
//! What changes meanwhile is copied again; the last batch, under the gates of both, has what was still missing and makes the
//! copy a token. A copy that was not finished is nothing: an uninitialised key set, which the next start removes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hsmd_proto::ids::KeySetId;
use hsmd_store::{Path, Record, Write};
use parking_lot::Mutex;
use prost::Message;
use zeroize::Zeroizing;

use super::{MergeError, commit_in_parts};
use crate::core::Core;
use crate::error::Error;
use crate::key_set::{KeySet, Root};
use crate::login::Role;
use crate::objects::merging::{Content, Envelope};
use crate::pin::{Place, mark_place};
use crate::records::{PinRecord, TriesRecord};
use crate::seal::{Kind, Opened};

/// So many records may be left to the last batch.
const LAST: usize = 40;
/// How often what has changed is copied before the others are held up for it.
const PASSES: usize = 50;
/// What is copied, in this order.
const FOLDERS: [&str; 3] = ["pin", "tries", "o"];

/// A key set that is copied but for the last changes.
pub struct Copied {
    pub(super) source: Arc<KeySet>,
    pub(super) copy: Arc<KeySet>,
    state: Mutex<State>,
}

/// What the copy holds.
struct State {
    /// Of the source, when the copy began; another incarnation has nothing to do with it.
    incarnation: u32,
    /// By the rest of the path: the version of the source that was copied, and the version of the copy.
    done: BTreeMap<String, (u64, u64)>,
}

impl KeySet {
    /// Copies this key set into an unused one. `wanted` is asked before each batch. The copy is a token when
    /// [`super::KeySetChange::Found`] is committed.
    ///
    /// # Errors
    /// [`MergeError`]; then `copy` is of no use.
    pub fn copy_to(self: &Arc<Self>, copy: &Arc<Self>, wanted: &dyn Fn() -> bool) -> Result<Copied, MergeError> {
        let root = self.root();
        if copy.root().initialized() || !root.initialized() {
            return Err(MergeError::Contended);
        }
        let copied = Copied {
            source: Arc::clone(self),
            copy: Arc::clone(copy),
            state: Mutex::new(State {
                incarnation: root.incarnation(),
                done: BTreeMap::new(),
            }),
        };
        for _ in 0..PASSES {
            let changes = copied.changes()?;
            if changes.len() <= LAST && !copied.state.lock().done.is_empty() {
                return Ok(copied);
            }
            copied.write(changes, wanted)?;
        }
        Err(MergeError::Contended)
    }
}

/// A record that the copy lacks or has in an older version.
struct Change {
    /// The rest of the path.
    rest: String,
    write: Write,
    /// The version of the source; `None`: it is gone there.
    version: Option<u64>,
}

impl Copied {
    fn write(&self, changes: Vec<Change>, wanted: &dyn Fn() -> bool) -> Result<(), MergeError> {
        let compares = [self.copy.root().compare()];
        let (mut writes, mut notes) = (Vec::new(), Vec::new());
        for change in changes {
            notes.push((change.rest, change.version, change.write.version));
            writes.push(change.write);
        }
        if !commit_in_parts(self.source.core(), &compares, writes, wanted)? {
            return Err(MergeError::Contended);
        }
        let mut state = self.state.lock();
        for (rest, version, own) in notes {
            match version {
                Some(version) => state.done.insert(rest, (version, own)),
                None => state.done.remove(&rest),
            };
        }
        Ok(())
    }

    /// What differs between source and copy now.
    fn changes(&self) -> Result<Vec<Change>, MergeError> {
        let core = self.source.core();
        let (source, target) = (self.source.root(), self.copy.root().next_incarnation());
        let state = self.state.lock();
        if source.incarnation() != state.incarnation {
            return Err(MergeError::Contended);
        }
        let (mut changes, mut there) = (Vec::new(), BTreeSet::new());
        for folder in FOLDERS {
            let base = source.path(folder);
            for (path, record) in core.store.scan(&format!("{base}/")) {
                let rest = path.as_str()[base.as_str().len() - folder.len()..].to_owned();
                let (done, own) = state.done.get(&rest).copied().unwrap_or_default();
                if done != record.version {
                    let to = target.path(&rest);
                    let Some(write) = convert(core, &source, (&path, &record), (to, own + 1))? else {
                        continue;
                    };
                    let (rest, version) = (rest.clone(), Some(record.version));
                    changes.push(Change { rest, write, version });
                }
                there.insert(rest);
            }
        }
        for (rest, (_, own)) in state.done.iter().filter(|(rest, _)| !there.contains(*rest)) {
            let write = Write {
                path: target.path(rest),
                version: own + 1,
                value: None,
            };
            changes.push(Change {
                rest: rest.clone(),
                write,
                version: None,
            });
        }
        Ok(changes)
    }

    /// The last changes. The caller holds both gates.
    pub(super) fn found(&self, roots: &mut BTreeMap<KeySetId, Root>) -> Result<Vec<Write>, Error> {
        let changes = self.changes().map_err(|error| match error {
            MergeError::Store(error) => error,
            _ => Error::Contended,
        })?;
        if changes.len() > LAST {
            return Err(Error::Contended);
        }
        let source = self.source.root();
        if let Some(root) = roots.get_mut(&self.copy.id()) {
            root.take_after(&source);
        }
        Ok(changes.into_iter().map(|change| change.write).collect())
    }

    /// The batch is durable.
    pub(super) fn show(self) {
        self.copy.load_objects();
    }
}

/// The write that puts a record of the source where it belongs in the copy. `None`: it is nothing that the source has.
fn convert(
    core: &Core,
    source: &Root,
    (from, record): (&Path, &Record),
    (to, version): (Path, u64),
) -> Result<Option<Write>, MergeError> {
    let folder = from.as_str().split('/').nth(4).unwrap_or_default();
    let (kind, plain) = match folder {
        "pin" => (Kind::Pin, pin(core, source, from, record)?),
        "tries" => (Kind::Tries, tries(core, from, record)?),
        _ => match object(core, source, from, record)? {
            Some(found) => found,
            None => return Ok(None),
        },
    };
    let sealed = core.barrier.seal(&to, version, kind, &plain);
    Ok(Some(Write {
        path: to,
        version,
        value: Some(sealed),
    }))
}

fn pin(core: &Core, source: &Root, from: &Path, record: &Record) -> Result<Zeroizing<Vec<u8>>, MergeError> {
    let found = core.decode::<PinRecord>(from, Kind::Pin, record);
    let mut found = found.map_err(|_| MergeError::Damaged)?;
    let place = Place {
        key_set: source.key_set(),
        incarnation: source.incarnation(),
        role: Role::User,
    };
    // Of the place only the key set and the incarnation are in the record: the role is in its path.
    mark_place(&mut found, place);
    Ok(Zeroizing::new(found.encode_to_vec()))
}

/// INV-8: failures and locks count in the copy as well. Tries that are under way are the source's.
fn tries(core: &Core, from: &Path, record: &Record) -> Result<Zeroizing<Vec<u8>>, MergeError> {
    let found = core.decode::<TriesRecord>(from, Kind::Tries, record);
    let mut found = found.map_err(|_| MergeError::Damaged)?;
    found.reservations.clear();
    Ok(Zeroizing::new(found.encode_to_vec()))
}

fn object(core: &Core, source: &Root, from: &Path, record: &Record) -> Result<Option<Opened>, MergeError> {
    let open = |kind| core.barrier.open(from, record.version, kind, &record.value);
    let Ok(plain) = open(Kind::Object) else {
        let plain = open(Kind::Tombstone).map_err(|_| MergeError::Damaged)?;
        return Ok(Some((Kind::Tombstone, plain)));
    };
    let mut envelope = Envelope::decode(&plain).ok_or(MergeError::Damaged)?;
    if envelope.join.is_some_and(|join| !source.has_joined(&join)) {
        return Ok(None);
    }
    envelope.join = None;
    if matches!(envelope.content, Content::Private(_)) && envelope.sealed_at.is_none() {
        envelope.sealed_at = Some(record.version);
    }
    Ok(Some((Kind::Object, Zeroizing::new(envelope.encode().to_vec()))))
}
