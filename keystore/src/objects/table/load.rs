//! Filling the table from the store: public objects when the key set is opened, private ones when the first PIN or ticket
//! brings the PSK.

use std::sync::Arc;

use hsmd_proto::ids::{JoinId, UniqueId};
use hsmd_store::{Path, Record};

use super::ObjectTable;
use crate::core::Core;
use crate::key_set::{KeySet, Root, Used};
use crate::objects::object::Object;
use crate::objects::record::{Body, Content, Envelope, Tombstone};
use crate::seal::{Kind, Psk};

/// What a record of an object holds.
pub(crate) enum Stored {
    /// An object that could be opened.
    Live(Arc<Object>),
    /// A private object, and no PSK to open it.
    Locked(Envelope),
    /// What is left of a destroyed object.
    Dead(Tombstone),
    /// Copied for a join that is not done.
    Hidden(JoinId, UniqueId),
}

/// Opens a record of this root's; `None`: it is damaged, or not what its path says (INV-7).
pub(crate) fn read(core: &Core, root: &Root, path: &Path, record: &Record, psk: Option<&Psk>) -> Option<Stored> {
    read_for(core, root, path, record, psk, None)
}

/// As [`read`]; what was copied for this join is seen.
pub(crate) fn read_for(
    core: &Core,
    root: &Root,
    path: &Path,
    record: &Record,
    psk: Option<&Psk>,
    join: Option<JoinId>,
) -> Option<Stored> {
    let version = record.version;
    let id = path.as_str().rsplit('/').next().and_then(UniqueId::from_hex)?;
    let Ok(plain) = core.barrier.open(path, version, Kind::Object, &record.value) else {
        let plain = core.barrier.open(path, version, Kind::Tombstone, &record.value).ok()?;
        return Tombstone::decode(&plain)
            .filter(|tombstone| tombstone.id == id)
            .map(Stored::Dead);
    };
    let envelope = Envelope::decode(&plain).filter(|envelope| envelope.id == id)?;
    let others = |join_of: &JoinId| join != Some(*join_of) && !root.has_joined(join_of);
    if let Some(hidden) = envelope.join.filter(others) {
        return Some(Stored::Hidden(hidden, id));
    }
    let sealed_at = envelope.sealed_at.unwrap_or(version);
    let body = match (&envelope.content, psk) {
        (Content::Public(body), _) => Body::decode(body)?,
        (Content::Private(sealed), Some(psk)) => Body::decode(&psk.open(&id, sealed_at, Kind::Object, sealed).ok()?)?,
        (Content::Private(_), None) => return Some(Stored::Locked(envelope)),
    };
    let place = (version, envelope.sequence, envelope.operation);
    let object = Object::from_body(id, place, body, &core.latches)?;
    let private = matches!(envelope.content, Content::Private(_));
    (object.private() == private && object.class() == envelope.class).then(|| Stored::Live(Arc::new(object)))
}

impl ObjectTable {
    /// Reads public objects and tombstones; gives the names of damaged records, which are not served (INV-7).
    pub(crate) fn load_public(&self, key_set: &KeySet) -> Vec<String> {
        self.load(key_set, None)
    }

    /// Reads private objects; from now on the table takes them.
    pub(crate) fn open_private(&self, key_set: &KeySet, psk: &Psk) -> Vec<String> {
        self.indexes.write().private = true;
        self.load(key_set, Some(psk))
    }

    fn load(&self, key_set: &KeySet, psk: Option<&Psk>) -> Vec<String> {
        let root = key_set.root();
        if !root.initialized() {
            return Vec::new();
        }
        let mut damaged = Vec::new();
        let mut used = Used::default();
        for (path, record) in key_set.core().store.scan(&format!("{}/", root.path("o"))) {
            let stored = read(key_set.core(), &root, &path, &record, psk);
            if !matches!(stored, Some(Stored::Dead(_) | Stored::Hidden(..))) {
                used.objects += 1;
                used.bytes += record.value.len() as u64;
            }
            match stored {
                Some(Stored::Live(object)) => self.apply(object),
                Some(Stored::Dead(tombstone)) => self.bury(&tombstone, record.version),
                // Its place in the order of creation is taken, whoever may read it.
                Some(Stored::Locked(envelope)) => self.reserve(envelope.sequence),
                Some(Stored::Hidden(join, id)) => key_set.hide(join, id),
                None => {
                    tracing::error!(record = %path, "an object's record is damaged; it is not served");
                    damaged.push(path.to_string());
                }
            }
        }
        // At the start, before anybody writes; later the counters follow every write.
        if psk.is_none() {
            self.usage.set(used);
        }
        damaged
    }
}
