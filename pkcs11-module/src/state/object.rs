//! Objects as the module knows them: handles, and the attributes that replies brought along. Never a key value.

use super::{lock, read, write};
use crate::local::PublicKey;
use crate::transport::Failure;
use hsmd_proto::attribute::{Template, may_be_key_value};
use hsmd_proto::ck::{AttributeType, ObjectClass};
use hsmd_proto::convert::template_from_wire;
use hsmd_proto::frame::Sections;
use hsmd_proto::ids::{Hit, UniqueId};
use hsmd_proto::meta::KeyMeta;
use hsmd_proto::wire;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::{Duration, Instant};

/// How long attributes that may change serve without asking again (DESIGN 5, "Caching").
const FRESH: Duration = Duration::from_millis(100);

/// A CK_OBJECT_HANDLE of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectHandle(pub(crate) u64);

/// A CK_SESSION_HANDLE of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionHandle(pub(crate) u64);

/// Hands out handles: a random start below 2^31, increasing, none twice in an instance.
pub(crate) struct Handles(AtomicU64);

impl Handles {
    /// Starts somewhere that nobody can guess or rely on.
    pub(crate) fn new() -> Self {
        let start = u32::from_le_bytes(crate::local::random()) >> 1;
        Self(AtomicU64::new(u64::from(start).max(1)))
    }

    /// The next handle.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// What a reply told of an object, as it was then.
pub(crate) struct View {
    /// The sealed blob of a session object; empty for token objects.
    pub(crate) blob: Vec<u8>,
    /// Everything but key values.
    pub(crate) attributes: Template,
    /// For Init checks; `None` if it is no key.
    pub(crate) meta: Option<KeyMeta>,
    fetched: Instant,
    /// The public key, opened once: its values cannot change.
    opened: Arc<OnceLock<Option<PublicKey>>>,
}

impl View {
    /// Reads what came over the wire, checking it as hostile.
    ///
    /// # Errors
    /// [`Failure::Lost`] for what is not an object.
    pub(crate) fn from_wire(object: wire::Object, sections: &Sections<'_>) -> Result<(UniqueId, Self), Failure> {
        let id = UniqueId::from_slice(&object.unique_id).ok_or(Failure::Lost)?;
        let attributes = template_from_wire(&object.attributes, sections).map_err(|_| Failure::Lost)?;
        let meta = KeyMeta::from_template(&attributes, object.wrapping);
        Ok((
            id,
            Self {
                blob: object.blob,
                attributes,
                meta,
                fetched: Instant::now(),
                opened: Arc::default(),
            },
        ))
    }

    /// The object's class.
    pub(crate) fn class(&self) -> ObjectClass {
        ObjectClass(
            self.attributes
                .ulong(AttributeType::CLASS)
                .ok()
                .flatten()
                .unwrap_or(u64::MAX),
        )
    }

    /// A boolean attribute; absent is `false`.
    pub(crate) fn flag(&self, attribute: AttributeType) -> bool {
        matches!(self.attributes.boolean(attribute), Ok(Some(true)))
    }

    /// Whether this may still be told without asking: it is young, or the attribute cannot change.
    pub(crate) fn serves(&self, attribute: AttributeType) -> bool {
        use AttributeType as A;
        let fixed = matches!(
            attribute,
            A::CLASS
                | A::TOKEN
                | A::PRIVATE
                | A::KEY_TYPE
                | A::UNIQUE_ID
                | A::CERTIFICATE_TYPE
                | A::MODULUS
                | A::MODULUS_BITS
                | A::PUBLIC_EXPONENT
                | A::PRIME
                | A::BASE
                | A::EC_PARAMS
                | A::EC_POINT
                | A::PUBLIC_KEY_INFO
                | A::PARAMETER_SET
                | A::VALUE_LEN
                | A::LOCAL
                | A::KEY_GEN_MECHANISM
        );
        // A session object changes through this module only.
        fixed || !self.blob.is_empty() || self.fetched.elapsed() < FRESH
    }

    /// The public key ready to use, if it can be opened in this process.
    pub(crate) fn public_key(&self) -> Option<&PublicKey> {
        self.opened.get_or_init(|| PublicKey::open(&self.attributes)).as_ref()
    }
}

/// One object under one handle.
pub(crate) struct Object {
    /// The handle.
    pub(crate) handle: ObjectHandle,
    /// The unique id.
    pub(crate) id: UniqueId,
    /// The session that a session object dies with.
    pub(crate) owner: Option<SessionHandle>,
    /// CKA_PRIVATE, which no call changes: its handle ends with the login (PKCS#11 3.2, 5.6.10), a public object's does not,
    /// however little is known of it.
    pub(crate) private: bool,
    view: RwLock<Option<Arc<View>>>,
    destroyed: AtomicBool,
    family: OnceLock<Arc<Family>>,
    /// Held over a change, so that blobs of a session object follow one another.
    pub(crate) change: Mutex<()>,
}

impl Object {
    /// What is known of it, if anything.
    pub(crate) fn view(&self) -> Option<Arc<View>> {
        read(&self.view).clone()
    }

    /// Replaces what is known. An opened public key stays open.
    pub(crate) fn set_view(&self, mut view: View) {
        let mut place = write(&self.view);
        if let Some(old) = place.as_ref() {
            view.opened = Arc::clone(&old.opened);
        }
        *place = Some(Arc::new(view));
    }

    /// Makes the next question go to the daemon.
    pub(crate) fn forget(&self) {
        if self.owner.is_none() {
            *write(&self.view) = None;
        }
    }

    /// Says that another object has the same material. Both are new, or one of them is.
    pub(crate) fn joins(&self, other: &Self) {
        // A new object has no family yet; one that a race gave one keeps it: the daemon knows better in any case.
        let _ = self.family.set(Arc::clone(other.family()));
    }

    /// The material has wrapped a sensitive key: from now on Init refuses what is no longer left to it, also for a
    /// session object, whose metadata nobody can ask for again.
    pub(crate) fn has_wrapped(&self) {
        self.family().wrapped.store(true, Ordering::SeqCst);
        self.forget();
    }

    /// Whether this application knows that the material has wrapped a sensitive key.
    pub(crate) fn is_wrapping(&self) -> bool {
        self.family
            .get()
            .is_some_and(|family| family.wrapped.load(Ordering::SeqCst))
    }

    fn family(&self) -> &Arc<Family> {
        self.family.get_or_init(Arc::default)
    }

    /// Whether this application destroyed it: operations with it have ended.
    pub(crate) fn is_destroyed(&self) -> bool {
        self.destroyed.load(Ordering::SeqCst)
    }

    /// How requests name it.
    pub(crate) fn reference(&self) -> wire::ObjectRef {
        let blob = self.view().map(|view| view.blob.clone()).unwrap_or_default();
        wire::ObjectRef {
            unique_id: self.id.0.to_vec(),
            blob,
        }
    }
}

/// What objects of one material share: copies, and the halves of a pair, as far as this application made them.
#[derive(Default)]
pub(crate) struct Family {
    /// The material has wrapped a sensitive key (DESIGN 8): the daemon's latch, known here without asking.
    wrapped: AtomicBool,
}

/// The objects of one slot that have a handle.
#[derive(Default)]
pub(crate) struct ObjectTable {
    by_handle: RwLock<Tables>,
    /// Ids that were destroyed while a search was open: its snapshot skips them.
    graves: Mutex<Graves>,
}

#[derive(Default)]
struct Tables {
    objects: BTreeMap<ObjectHandle, Arc<Object>>,
    handles: HashMap<UniqueId, ObjectHandle>,
}

#[derive(Default)]
struct Graves {
    open_searches: usize,
    ids: HashSet<UniqueId>,
}

impl ObjectTable {
    /// The object of a handle.
    pub(crate) fn get(&self, handle: u64) -> Option<Arc<Object>> {
        read(&self.by_handle).objects.get(&ObjectHandle(handle)).cloned()
    }

    /// The one handle of what a search found, made if there is none.
    pub(crate) fn intern(&self, handles: &Handles, hit: Hit) -> Arc<Object> {
        self.place(handles, hit, None, None)
    }

    /// The one handle of an object that a reply told of, made if there is none; the view replaces an older one.
    pub(crate) fn intern_view(
        &self,
        handles: &Handles,
        id: UniqueId,
        view: View,
        owner: Option<SessionHandle>,
    ) -> Arc<Object> {
        let private = view.flag(AttributeType::PRIVATE);
        self.place(handles, Hit { id, private }, Some(view), owner)
    }

    fn place(&self, handles: &Handles, hit: Hit, view: Option<View>, owner: Option<SessionHandle>) -> Arc<Object> {
        let Hit { id, private } = hit;
        let mut tables = write(&self.by_handle);
        let known = tables
            .handles
            .get(&id)
            .and_then(|handle| tables.objects.get(handle))
            .cloned();
        if let Some(object) = known {
            drop(tables);
            if let Some(view) = view {
                object.set_view(view);
            }
            return object;
        }
        let object = Arc::new(Object {
            handle: ObjectHandle(handles.next()),
            id,
            owner,
            private,
            view: RwLock::new(view.map(Arc::new)),
            destroyed: AtomicBool::new(false),
            family: OnceLock::new(),
            change: Mutex::new(()),
        });
        tables.handles.insert(id, object.handle);
        tables.objects.insert(object.handle, Arc::clone(&object));
        object
    }

    /// Objects from this handle on that nothing is known of: libraries read what they found in order, so one request
    /// fetches many.
    pub(crate) fn unknown_from(&self, handle: ObjectHandle, most: usize) -> Vec<Arc<Object>> {
        let tables = read(&self.by_handle);
        let following = tables.objects.range(handle..).take(most).map(|(_, object)| object);
        following
            .filter(|object| read(&object.view).is_none())
            .cloned()
            .collect()
    }

    /// Session objects, oldest first.
    pub(crate) fn of_sessions(&self) -> Vec<Arc<Object>> {
        let tables = read(&self.by_handle);
        tables
            .objects
            .values()
            .filter(|object| object.owner.is_some())
            .cloned()
            .collect()
    }

    /// Removes one that is gone.
    pub(crate) fn remove(&self, object: &Object) {
        object.destroyed.store(true, Ordering::SeqCst);
        let mut tables = write(&self.by_handle);
        tables.objects.remove(&object.handle);
        tables.handles.remove(&object.id);
        drop(tables);
        let mut graves = lock(&self.graves);
        if graves.open_searches > 0 {
            graves.ids.insert(object.id);
        }
    }

    /// Removes all that `dead` says, for good: their handles never become valid again.
    pub(crate) fn remove_if(&self, dead: impl Fn(&Object) -> bool) {
        let mut tables = write(&self.by_handle);
        let Tables { objects, handles } = &mut *tables;
        objects.retain(|_, object| {
            let gone = dead(object);
            if gone {
                object.destroyed.store(true, Ordering::SeqCst);
                handles.remove(&object.id);
            }
            !gone
        });
    }

    /// A search begins: destroyed ids are remembered until all searches have ended.
    pub(crate) fn search_begins(&self) {
        lock(&self.graves).open_searches += 1;
    }

    /// A search ends.
    pub(crate) fn search_ends(&self) {
        let mut graves = lock(&self.graves);
        graves.open_searches = graves.open_searches.saturating_sub(1);
        if graves.open_searches == 0 {
            graves.ids.clear();
        }
    }

    /// Whether an id was destroyed while a search was open.
    pub(crate) fn is_buried(&self, id: UniqueId) -> bool {
        lock(&self.graves).ids.contains(&id)
    }
}

/// Whether an attribute must be asked for each time: the module keeps no key value (INV-1), and origin and latch are the
/// material's, not the object's.
pub(crate) fn is_hidden(view: &View, attribute: AttributeType) -> bool {
    let of_the_material = matches!(attribute, AttributeType::HSMD_ORIGIN | AttributeType::HSMD_WRAPPING);
    let value = may_be_key_value(attribute) && hsmd_proto::attribute::is_key_value(view.class(), attribute);
    value || of_the_material
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_start_below_two_to_the_31_and_are_never_used_twice() {
        let handles = Handles::new();
        let first = handles.next();
        assert!((1..1 << 31).contains(&first));
        assert_eq!(handles.next(), first + 1);
    }

    #[test]
    fn an_object_has_one_handle_and_a_new_one_after_it_was_removed() {
        let (table, handles) = (ObjectTable::default(), Handles::new());
        let hit = Hit {
            id: UniqueId([7; 16]),
            private: true,
        };
        let first = table.intern(&handles, hit);
        assert_eq!(table.intern(&handles, hit).handle, first.handle);
        table.remove(&first);
        assert!(first.is_destroyed() && table.get(first.handle.0).is_none());
        assert_ne!(table.intern(&handles, hit).handle, first.handle);
    }

    #[test]
    fn what_is_destroyed_during_a_search_is_remembered_until_it_ends() {
        let (table, handles) = (ObjectTable::default(), Handles::new());
        let hit = Hit {
            id: UniqueId([1; 16]),
            private: true,
        };
        let object = table.intern(&handles, hit);
        table.search_begins();
        table.remove(&object);
        assert!(table.is_buried(object.id));
        table.search_ends();
        assert!(!table.is_buried(object.id));
    }
}
