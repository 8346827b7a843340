//! Documents by name, what each shelf of them uses, their tombstones in the order of deletion, and the history. In memory only;
//! who may change it when is decided in the parent.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::Document;
use super::history::{DocumentChanges, DocumentEvent, History};

/// How long a tombstone stays, in seconds (DESIGN 7).
const TOMBSTONE_LIFE: u64 = 86_400;
/// With more tombstones than this the oldest go earlier: what is lost is that a deletion repeated after a restart is
/// recognised as such. Versions of purged names are never used again all the same (`base`).
const TOMBSTONES: usize = 10_000;

/// A document or its tombstone.
#[derive(Debug)]
pub(super) struct Entry {
    /// `None`: deleted.
    pub(super) value: Option<Arc<[u8]>>,
    /// The version of the record in the store.
    pub(super) stored: u64,
    /// What the document's version has more than the record's.
    pub(super) base: u64,
    /// The operation that wrote it.
    pub(super) operation: [u8; 16],
    /// When it was deleted, in seconds since 1970.
    pub(super) deleted_at: u64,
}

impl Entry {
    /// The version that it has for callers; 0: it does not exist.
    pub(super) fn current(&self) -> u64 {
        if self.value.is_some() { self.version() } else { 0 }
    }

    fn version(&self) -> u64 {
        self.base + self.stored
    }

    /// What callers see.
    pub(super) fn document(&self) -> Option<Document> {
        let value = Arc::clone(self.value.as_ref()?);
        Some(Document {
            value,
            version: self.version(),
        })
    }
}

/// What documents use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DocumentUsage {
    /// How many there are.
    pub records: u64,
    /// Bytes of names and values.
    pub bytes: u64,
}

impl DocumentUsage {
    const fn add(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += bytes as u64;
    }

    const fn remove(&mut self, bytes: usize) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes as u64);
    }
}

/// A page of documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentPage {
    /// In the order of names.
    pub documents: Vec<(String, Document)>,
    /// There are more after these.
    pub more: bool,
    /// Everything up to this revision is in what was read: whoever watches from here misses nothing.
    pub revision: u64,
}

/// Everything.
#[derive(Default)]
pub(super) struct Table {
    entries: BTreeMap<String, Entry>,
    usage: HashMap<String, DocumentUsage>,
    /// Names by the time of deletion; some may live again or be gone.
    tombstones: VecDeque<(u64, String)>,
    history: History,
    revision: u64,
}

impl Table {
    /// Of what was loaded at this revision.
    pub(super) fn new(loaded: Vec<(String, Entry)>, revision: u64) -> Self {
        let mut table = Self {
            history: History::new(revision),
            revision,
            ..Self::default()
        };
        for (name, entry) in loaded {
            table.set(name, entry);
        }
        table.tombstones.make_contiguous().sort_unstable();
        table
    }

    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// All changes up to this revision are in the table.
    pub(super) const fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) const fn history(&self) -> &History {
        &self.history
    }

    /// See [`super::Documents::page`].
    pub(super) fn page(&self, prefix: &str, after: Option<&str>, count: usize, bytes: usize) -> DocumentPage {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let under = self.entries.range::<str, _>((start, Bound::Unbounded));
        let mut under = under
            .take_while(|(name, _)| name.starts_with(prefix))
            .filter_map(|(name, entry)| Some((name, entry.document()?)));
        let (mut documents, mut size) = (Vec::new(), 0_usize);
        let mut more = false;
        for (name, document) in under.by_ref() {
            if documents.len() >= count || size >= bytes {
                more = true;
                break;
            }
            size += name.len() + document.value.len();
            documents.push((name.clone(), document));
        }
        DocumentPage {
            documents,
            more,
            revision: self.revision,
        }
    }

    pub(super) fn usage(&self, shelf: &str) -> DocumentUsage {
        self.usage.get(shelf).copied().unwrap_or_default()
    }

    pub(super) fn shelves(&self) -> Vec<(String, DocumentUsage)> {
        self.usage
            .iter()
            .map(|(shelf, usage)| (shelf.clone(), *usage))
            .collect()
    }

    /// What a shelf uses now, and what it would use after these changes of it.
    pub(super) fn usage_after(
        &self,
        shelf: &str,
        changes: &[(String, Option<Vec<u8>>)],
    ) -> (DocumentUsage, DocumentUsage) {
        let before = self.usage(shelf);
        let mut after = before;
        for (name, value) in changes {
            if let Some(old) = self.get(name).and_then(|entry| entry.value.as_ref()) {
                after.remove(name.len() + old.len());
            }
            if let Some(value) = value {
                after.add(name.len() + value.len());
            }
        }
        (before, after)
    }

    /// Takes over what is durable.
    pub(super) fn apply(&mut self, applied: Vec<(String, Entry)>, revision: u64) {
        let event = |(name, entry): &(String, Entry)| DocumentEvent {
            name: name.clone(),
            version: entry.version(),
            value: entry.value.clone(),
        };
        let events = applied.iter().map(event).collect();
        for (name, entry) in applied {
            self.set(name, entry);
        }
        self.revision = revision;
        self.history.push(DocumentChanges { revision, events });
    }

    /// Takes over what another has written: what came between is not known, so the history begins anew.
    pub(super) fn overrule(&mut self, name: String, entry: Entry, revision: u64) {
        self.set(name, entry);
        self.revision = revision;
        self.history = History::new(revision);
    }

    /// At most `count` tombstones that may go, with the versions of their records.
    pub(super) fn purgeable(&self, now: u64, count: usize) -> Vec<(String, u64)> {
        let surplus = self.tombstones.len().saturating_sub(TOMBSTONES);
        let oldest = self.tombstones.iter().enumerate();
        let due = oldest.take_while(|(at, (deleted, _))| *at < surplus || deleted + TOMBSTONE_LIFE <= now);
        let mut found: Vec<(String, u64)> = Vec::new();
        for (_, (_, name)) in due {
            if let Some(entry) = self.get(name).filter(|entry| entry.value.is_none())
                && found.iter().all(|(known, _)| known != name)
            {
                found.push((name.clone(), entry.stored));
            }
            if found.len() == count {
                break;
            }
        }
        found
    }

    /// Forgets the one tombstone whose name fits: another node has purged it.
    pub(super) fn drop_tombstone(&mut self, fits: impl Fn(&str) -> bool) {
        let mut dead = self.entries.iter().filter(|(_, entry)| entry.value.is_none());
        let name = dead.find(|(name, _)| fits(name)).map(|(name, _)| name.clone());
        if let Some(name) = name {
            self.entries.remove(&name);
            self.trim_tombstones();
        }
    }

    /// Forgets tombstones that are purged.
    pub(super) fn forget(&mut self, purged: &[(String, u64)]) {
        for (name, stored) in purged {
            if self.get(name).is_some_and(|entry| entry.stored == *stored) {
                self.entries.remove(name);
            }
        }
        self.trim_tombstones();
    }

    /// Drops from the front of the list what is no tombstone any more.
    pub(super) fn trim_tombstones(&mut self) {
        while let Some((deleted, name)) = self.tombstones.front() {
            let dead = |entry: &Entry| entry.value.is_none() && entry.deleted_at == *deleted;
            if self.entries.get(name).is_some_and(dead) {
                break;
            }
            self.tombstones.pop_front();
        }
    }

    fn set(&mut self, name: String, entry: Entry) {
        let new = entry.value.as_ref().map(|value| value.len());
        if new.is_none() {
            self.tombstones.push_back((entry.deleted_at, name.clone()));
        }
        let shelf = shelf(&name).to_owned();
        let size = name.len();
        let old = self.entries.insert(name, entry);
        let old = old.and_then(|old| old.value).map(|value| value.len());
        let usage = self.usage.entry(shelf).or_default();
        if let Some(old) = old {
            usage.remove(size + old);
        }
        if let Some(new) = new {
            usage.add(size + new);
        }
    }
}

/// The shelf on which a document lies: its name up to the second slash ("records/web/"), or to the first ("hsm/") if there is no
/// second.
fn shelf(name: &str) -> &str {
    let mut slashes = name.match_indices('/').map(|(at, _)| at + 1);
    let first = slashes.next().unwrap_or(0);
    &name[..slashes.next().unwrap_or(first)]
}
