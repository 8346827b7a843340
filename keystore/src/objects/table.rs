//! The objects of a key set in memory: found by unique id without touching the indexes, found by class, key type, id and label
//! through them, in the order of creation. What is applied here was committed before; versions make the order of applying
//! irrelevant.

mod bucket;
mod load;
#[cfg(test)]
mod tests;

pub(crate) use self::load::{Stored, read, read_for};

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hsmd_proto::attribute::Template;
use hsmd_proto::ck::AttributeType as A;
use hsmd_proto::ids::{Hit, LoginId, OperationId, UniqueId};
use parking_lot::RwLock;

use self::bucket::{Bucket, Order};
use super::built_in::BuiltIn;
use super::iv_guard::IvGuards;
use super::iv_issue::IssuedIvs;
use super::object::Object;
use super::record::Tombstone;
use super::session::SessionCache;
use crate::key_set::{Usage, Used};

/// Shards of the map by unique id, so that look-ups from many threads meet on different locks.
const SHARDS: usize = 16;
/// The attributes that have an index.
const INDEXED: [A; 4] = [A::ID, A::LABEL, A::KEY_TYPE, A::CLASS];

/// What is known under a unique id.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// An object.
    Live(Arc<Object>),
    /// A destroyed one.
    Dead {
        /// Of the tombstone.
        version: u64,
        /// Which operation destroyed it.
        operation: OperationId,
        /// When, in seconds since 1970.
        destroyed: u64,
    },
}

impl Entry {
    fn version(&self) -> u64 {
        match self {
            Self::Live(object) => object.version,
            Self::Dead { version, .. } => *version,
        }
    }
}

/// The objects of one key set.
pub(crate) struct ObjectTable {
    shards: [RwLock<HashMap<UniqueId, Entry>>; SHARDS],
    hasher: RandomState,
    /// Locked before a shard by whoever changes both.
    indexes: RwLock<Indexes>,
    sequence: AtomicU64,
    /// Session objects that were opened lately.
    pub(crate) sessions: SessionCache,
    /// What the token has made itself.
    pub(crate) built_in: BuiltIn,
    /// IVs that GCM keys of this node have used.
    pub(crate) ivs: IvGuards,
    /// IVs that this node has made.
    pub(crate) issued: IssuedIvs,
    /// How much is stored, also of private objects that are not open.
    pub(crate) usage: Usage,
}

#[derive(Default)]
struct Indexes {
    all: BTreeMap<Order, Arc<Object>>,
    by: HashMap<(A, Box<[u8]>), Bucket>,
    /// Whether private objects may be here: between `open_private` and `wipe_private`.
    private: bool,
}

impl ObjectTable {
    /// An empty table.
    pub(crate) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
            hasher: RandomState::new(),
            indexes: RwLock::default(),
            sequence: AtomicU64::new(1),
            sessions: SessionCache::new(),
            built_in: BuiltIn::default(),
            ivs: IvGuards::new(),
            issued: IssuedIvs::new(),
            usage: Usage::default(),
        }
    }

    fn shard(&self, id: &UniqueId) -> &RwLock<HashMap<UniqueId, Entry>> {
        let shard = usize::try_from(self.hasher.hash_one(id)).unwrap_or(0) % SHARDS;
        &self.shards[shard]
    }

    /// What is known under an id.
    pub(crate) fn entry(&self, id: &UniqueId) -> Option<Entry> {
        self.shard(id).read().get(id).cloned()
    }

    /// A live object.
    pub(crate) fn get(&self, id: &UniqueId) -> Option<Arc<Object>> {
        match self.shard(id).read().get(id) {
            Some(Entry::Live(object)) => Some(Arc::clone(object)),
            _ => None,
        }
    }

    /// The number of live objects that are open.
    pub(crate) fn len(&self) -> usize {
        self.indexes.read().all.len()
    }

    /// The place in the order of creation of a new object.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// A place in the order of creation that is taken.
    fn reserve(&self, sequence: u64) {
        self.sequence.fetch_max(sequence + 1, Ordering::Relaxed);
    }

    /// Applies an object that is committed, unless a later version is here already. Private ones stay out while the key set's
    /// private objects are not open: loading will bring them.
    pub(crate) fn apply(&self, object: Arc<Object>) {
        self.reserve(object.sequence);
        let mut indexes = self.indexes.write();
        if object.private() && !indexes.private {
            return;
        }
        let mut shard = self.shard(&object.id).write();
        let before = shard.get(&object.id);
        if before.is_some_and(|entry| entry.version() >= object.version) {
            return;
        }
        if let Some(Entry::Live(before)) = before {
            indexes.remove(before);
        }
        indexes.insert(&object);
        shard.insert(object.id, Entry::Live(object));
    }

    /// Applies a committed destroy, unless a later version is here already.
    pub(crate) fn bury(&self, tombstone: &Tombstone, version: u64) {
        let Tombstone {
            id,
            operation,
            destroyed,
        } = *tombstone;
        let mut indexes = self.indexes.write();
        let mut shard = self.shard(&id).write();
        let before = shard.get(&id);
        if before.is_some_and(|entry| entry.version() >= version) {
            return;
        }
        if let Some(Entry::Live(before)) = before {
            indexes.remove(before);
        }
        shard.insert(
            id,
            Entry::Dead {
                version,
                operation,
                destroyed,
            },
        );
    }

    /// Tombstones from before that moment (seconds since 1970), with their versions.
    pub(crate) fn buried_before(&self, moment: u64) -> Vec<(UniqueId, u64)> {
        let mut old = Vec::new();
        for shard in &self.shards {
            old.extend(shard.read().iter().filter_map(|(id, entry)| match entry {
                Entry::Dead { version, destroyed, .. } if *destroyed < moment => Some((*id, *version)),
                _ => None,
            }));
        }
        old
    }

    /// Forgets a tombstone that was purged from the store.
    pub(crate) fn forget(&self, id: &UniqueId) {
        let mut shard = self.shard(id).write();
        if matches!(shard.get(id), Some(Entry::Dead { .. })) {
            shard.remove(id);
        }
    }

    /// All objects that match, in the order of creation: no scan if the template names an indexed attribute.
    pub(crate) fn find(&self, template: &Template, visible: impl Fn(&Object) -> bool) -> Vec<Hit> {
        let fits =
            |object: &Object| visible(object) && template.matches(object.class(), |attribute| object.shown(attribute));
        // The map itself is the index of unique ids.
        if let Some(named) = template.value(A::UNIQUE_ID) {
            let id = std::str::from_utf8(named).ok().and_then(UniqueId::from_hex);
            let object = id.and_then(|id| self.get(&id));
            return object
                .filter(|object| fits(object))
                .map(|object| object.hit())
                .into_iter()
                .collect();
        }
        let indexes = self.indexes.read();
        let mut smallest: Option<&Bucket> = None;
        for entry in template.0.iter().filter(|entry| INDEXED.contains(&entry.attribute)) {
            let Some(bucket) = indexes.bucket(entry.attribute, &entry.value) else {
                return Vec::new();
            };
            if smallest.is_none_or(|smallest| bucket.len() < smallest.len()) {
                smallest = Some(bucket);
            }
        }
        match smallest {
            Some(bucket) => bucket
                .iter()
                .filter(|object| fits(object))
                .map(|object| object.hit())
                .collect(),
            None => indexes
                .all
                .values()
                .filter(|object| fits(object))
                .map(|object| object.hit())
                .collect(),
        }
    }

    /// Wipes what needs the PSK: private objects, opened keys with them, and session objects.
    pub(crate) fn wipe_private(&self) {
        let mut indexes = self.indexes.write();
        indexes.private = false;
        let private: Vec<_> = indexes
            .all
            .values()
            .filter(|object| object.private())
            .cloned()
            .collect();
        for object in private {
            indexes.remove(&object);
            self.shard(&object.id).write().remove(&object.id);
        }
        drop(indexes);
        self.sessions.clear();
    }

    /// Wipes the private session objects of a login that has ended.
    pub(crate) fn forget_login(&self, login: &LoginId) {
        self.sessions.forget_login(login);
    }

    /// Forgets everything: the incarnation was switched.
    pub(crate) fn clear(&self) {
        let mut indexes = self.indexes.write();
        *indexes = Indexes {
            private: indexes.private,
            ..Indexes::default()
        };
        self.shards.iter().for_each(|shard| shard.write().clear());
        self.usage.set(Used::default());
        drop(indexes);
        self.sessions.clear();
    }
}

impl Indexes {
    fn bucket(&self, attribute: A, value: &[u8]) -> Option<&Bucket> {
        // A boxed key cannot be looked up by a borrowed pair; templates are short and this is one small allocation.
        self.by.get(&(attribute, Box::from(value)))
    }

    fn insert(&mut self, object: &Arc<Object>) {
        let order = Order::of(object);
        for (attribute, value) in indexed(object) {
            self.by
                .entry((attribute, value))
                .or_default()
                .insert(order, Arc::clone(object));
        }
        self.all.insert(order, Arc::clone(object));
    }

    fn remove(&mut self, object: &Arc<Object>) {
        let order = Order::of(object);
        for key in indexed(object) {
            if let Some(bucket) = self.by.get_mut(&key) {
                bucket.remove(order);
                if bucket.len() == 0 {
                    self.by.remove(&key);
                }
            }
        }
        self.all.remove(&order);
    }
}

/// The index entries of an object.
fn indexed(object: &Object) -> impl Iterator<Item = (A, Box<[u8]>)> + '_ {
    INDEXED
        .into_iter()
        .filter_map(|attribute| Some((attribute, Box::from(object.attributes.value(attribute)?))))
}
