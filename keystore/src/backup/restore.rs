//! Restoring key sets into a keystore that serves. First all records go under prefixes to which nothing refers, while the backup is
//! read; only when it was read to its end and found whole does one batch make the roots refer to them, with the control plane's
//! records. A kill before that batch leaves prefixes that the next start purges; after it, everything is restored.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use hsmd_crypto::random;
use hsmd_crypto::secret::SecretArray;
use hsmd_proto::ids::{KeySetId, OperationId, UniqueId};
use hsmd_store::{Batch, Path, Store, Write};
use prost::Message;

use super::item::Entry;
use super::read::{FleetRecord, Incoming, Part, check_record, contents};
use super::{BackupScope, KeySetContents, Manifest, RestoreError};
use crate::core::{Committed, Core, path, settle};
use crate::document::DocumentWrite;
use crate::error::Error;
use crate::key_set::{KeySet, Place};
use crate::keystore::Keystore;
use crate::objects::latch;
use crate::objects::record::{Envelope, Tombstone};
use crate::records::TriesRecord;
use crate::seal::Kind;
use crate::tries;

/// Most records of one batch, and about how many bytes.
const BATCH: usize = 90;
const BATCH_BYTES: usize = 256 << 10;
/// Most key sets that are switched at once: each is a root, a counter and a record of the control plane, and a batch has a
/// hundred writes.
const MOST: usize = 30;

/// What is asked of a restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageOptions {
    /// Objects that this store knows to be destroyed live again.
    pub resurrect: bool,
    /// Read and count, write nothing. What comes of it cannot be finished.
    pub dry_run: bool,
}

/// Where a key set of a backup goes.
pub enum RestoreTarget {
    /// It becomes a new one, of this id.
    New(KeySetId),
    /// In place of what this one holds.
    Replace(Arc<KeySet>),
}

/// A key set that waits to be made the one in use.
pub struct StagedSet {
    /// What the backup says of it.
    pub contents: KeySetContents,
    /// Where it goes.
    pub target: RestoreTarget,
    /// Objects that were destroyed since the backup and come to life again, or (without `resurrect`) stay destroyed.
    pub destroyed_since: u64,
    /// Objects of the target that the backup does not have: they go. Only in place.
    pub lost: u64,
    place: Place,
    /// Counters of PIN tries in the backup.
    tries: BTreeMap<String, TriesRecord>,
    /// The key set whose id is in the names of those of the SO.
    counters: KeySetId,
    /// Objects of the backup, to see which ones of the target it does not have. Only in place.
    kept: HashSet<UniqueId>,
}

/// A backup that was read to its end, on the disk and not in use yet. Dropped, it leaves nothing.
pub struct Staged {
    keystore: Keystore,
    manifest: Manifest,
    documents: Vec<(String, Vec<u8>)>,
    sets: Vec<StagedSet>,
    dry_run: bool,
    done: bool,
}

/// Records on their way into the store.
pub(super) struct Importer<'a> {
    pub(super) core: &'a Core,
    writes: Vec<Write>,
    bytes: usize,
    /// Nothing is written.
    dry_run: bool,
}

impl<'a> Importer<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self {
            core,
            writes: Vec::new(),
            bytes: 0,
            dry_run: false,
        }
    }

    /// Seals a record for this store and this path.
    pub(super) fn put(&mut self, path: Path, version: u64, kind: Kind, plain: &[u8]) -> Result<(), Error> {
        if self.dry_run {
            return Ok(());
        }
        let value = self.core.barrier.seal(&path, version, kind, plain);
        if self.writes.len() == BATCH || self.bytes + value.len() > BATCH_BYTES {
            self.flush()?;
        }
        self.bytes += value.len();
        self.writes.push(Write {
            path,
            version,
            value: Some(value),
        });
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.bytes = 0;
        if self.writes.is_empty() {
            return Ok(());
        }
        let batch = Batch {
            operation: random::array(),
            writes: std::mem::take(&mut self.writes),
            ..Batch::default()
        };
        import(&self.core.store, batch)
    }
}

fn import(store: &Store, batch: Batch) -> Result<(), Error> {
    let operation = batch.operation;
    let outcome = store.import(batch)?;
    match settle(store, &operation, outcome)? {
        Committed::Done(_) => Ok(()),
        // A path twice in the backup, or somebody uses the prefix.
        Committed::Conflict(_) => Err(RestoreError::Contents("a record is there twice").into()),
    }
}

impl Keystore {
    /// Reads a backup of an HSM or a partition to its end and puts its key sets where nothing refers to them yet. `choose` says for
    /// each key set where it goes. Objects that this store knows to be destroyed stay so unless they are to be resurrected.
    ///
    /// # Errors
    /// [`RestoreError`]; from the store. Then nothing is left of it.
    pub fn stage(
        &self,
        mut incoming: Incoming<'_>,
        mut choose: impl FnMut(KeySetId) -> Option<RestoreTarget>,
        options: StageOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Staged, Error> {
        let manifest = incoming.manifest().clone();
        if manifest.scope == BackupScope::Daemon {
            return Err(RestoreError::Scope(manifest.scope).into());
        }
        // From here on a return, however it comes about, takes back what was staged.
        let mut staged = Staged {
            keystore: self.clone(),
            documents: incoming.documents(),
            manifest,
            sets: Vec::new(),
            dry_run: options.dry_run,
            done: false,
        };
        let core = self.core();
        let mut importer = Importer::new(core);
        importer.dry_run = options.dry_run;
        let mut records = 0;
        while let Some(part) = incoming.part().map_err(Error::from)? {
            match part {
                Part::KeySet(id, root) => {
                    let found = contents(id, &root).ok_or(RestoreError::Contents("a key set does not read"))?;
                    let target = choose(id).ok_or(RestoreError::Contents("a key set that nothing refers to"))?;
                    if staged.sets.len() == MOST {
                        return Err(RestoreError::TooMany(staged.manifest.key_sets as usize).into());
                    }
                    let counters = KeySetId::from_slice(&root.counters).unwrap_or(id);
                    let place = match &target {
                        RestoreTarget::New(id) => Place::new(*id, *root),
                        RestoreTarget::Replace(key_set) => key_set.place_beside(*root),
                    };
                    staged.sets.push(StagedSet {
                        contents: found,
                        target,
                        destroyed_since: 0,
                        lost: 0,
                        place: place?,
                        tries: BTreeMap::new(),
                        counters,
                        kept: HashSet::new(),
                    });
                }
                Part::Record(entry) => {
                    check_record(&entry)?;
                    let set = staged.sets.last_mut().ok_or(RestoreError::Contents("no key set"))?;
                    set.take(self, &mut importer, &entry, options.resurrect)?;
                }
            }
            records += 1;
            progress(records);
        }
        importer.flush()?;
        let reached: u32 = staged.sets.len().try_into().unwrap_or(u32::MAX);
        if reached != staged.manifest.key_sets {
            return Err(RestoreError::Contents("key sets are missing").into());
        }
        for set in &mut staged.sets {
            set.count_lost(self);
        }
        if !options.dry_run {
            // Latches only tighten, so they come before what they are for.
            self.adopt_latches(&incoming.secrets, &incoming.fleet)?;
        }
        Ok(staged)
    }

    /// Takes over latches and the keys under which they are, unless they are here already.
    fn adopt_latches(&self, secrets: &[(String, SecretArray<32>)], fleet: &[FleetRecord]) -> Result<(), Error> {
        let core = self.core();
        let own = core.fleet.key("latch");
        let mut keys: Vec<SecretArray<32>> = Vec::new();
        keys.extend(
            secrets
                .iter()
                .filter(|(label, _)| label == "latch")
                .map(|(_, key)| key.duplicate()),
        );
        let foreign = fleet.iter().filter(|record| record.kind == Kind::LatchKey);
        keys.extend(foreign.filter_map(|record| SecretArray::from_slice(&record.plain)));
        keys.retain(|key| *key != own);
        let mut importer = Importer::new(core);
        let absent = |path: &Path| core.store.get(path).is_none();
        for key in &keys {
            let path = latch_key_path(key);
            if absent(&path) {
                importer.put(path, 1, Kind::LatchKey, key.expose())?;
            }
        }
        let latches = || fleet.iter().filter(|record| record.kind == Kind::Latch);
        for record in latches().filter(|record| absent(&record.path)) {
            importer.put(record.path.clone(), 1, Kind::Latch, &[1])?;
        }
        importer.flush()?;
        let set: Vec<_> = latches()
            .filter_map(|record| latch::material_of(&record.path))
            .collect();
        core.latches.adopt(keys, &set);
        Ok(())
    }
}

/// The name says nothing of the key, and is the same each time.
pub(super) fn latch_key_path(key: &SecretArray<32>) -> Path {
    let id = hsmd_crypto::seal::hkdf(key.expose(), b"hsmd latch key", &[b"id"]);
    let id: String = id.expose()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    path(&format!("{}{id}", latch::KEYS))
}

impl StagedSet {
    /// The policy that holds when it is in use: of what is replaced and of the backup, the stricter one.
    #[must_use]
    pub fn policy(&self) -> hsmd_proto::policy::Policy {
        self.place.policy()
    }

    /// The key set that the backup was made of, if this store has it: what it knows to be destroyed stays so.
    fn source(&self, keystore: &Keystore) -> Option<Arc<KeySet>> {
        keystore
            .key_set(self.contents.id)
            .filter(|key_set| key_set.root().initialized())
    }

    fn take(
        &mut self,
        keystore: &Keystore,
        importer: &mut Importer<'_>,
        entry: &Entry<'_>,
        resurrect: bool,
    ) -> Result<(), Error> {
        let path = self.place.path(entry.rest);
        match entry.kind {
            Kind::Tries => {
                let record = TriesRecord::decode(entry.plain).unwrap_or_default();
                self.tries.insert(entry.rest.to_owned(), record);
                Ok(())
            }
            Kind::Object => {
                self.contents.objects += 1;
                let destroyed = self.is_destroyed(keystore, entry.rest);
                self.destroyed_since += u64::from(destroyed);
                let envelope =
                    Envelope::decode(entry.plain).ok_or(RestoreError::Contents("an object does not read"))?;
                if matches!(self.target, RestoreTarget::Replace(_)) {
                    self.kept.insert(envelope.id);
                }
                if !destroyed || resurrect {
                    return importer.put(path, entry.version, entry.kind, entry.plain);
                }
                // INV-6: what was destroyed comes back by an explicit act only.
                let tombstone = Tombstone {
                    id: envelope.id,
                    operation: envelope.operation,
                    destroyed: keystore.core().clock.unix(),
                };
                importer.put(path, entry.version, Kind::Tombstone, &tombstone.encode())
            }
            kind => {
                super::read::count(&mut self.contents, kind);
                importer.put(path, entry.version, kind, entry.plain)
            }
        }
    }

    /// Whether this store knows that the object is destroyed: the key set of the backup has it no more.
    fn is_destroyed(&self, keystore: &Keystore, rest: &str) -> bool {
        let core = keystore.core();
        let alive = |key_set: &Arc<KeySet>| {
            let path = key_set.root().path(rest);
            let record = core.store.get(&path);
            record.map(|record| {
                core.barrier
                    .open(&path, record.version, Kind::Object, &record.value)
                    .is_ok()
            })
        };
        let source = self.source(keystore).map(|source| alive(&source));
        let target = match &self.target {
            RestoreTarget::Replace(key_set) => alive(key_set),
            RestoreTarget::New(_) => None,
        };
        // A tombstone in the target counts as well; what the target never had does not.
        matches!(source, Some(None | Some(false))) || target == Some(false)
    }

    fn count_lost(&mut self, keystore: &Keystore) {
        let RestoreTarget::Replace(key_set) = &self.target else {
            return;
        };
        let core = keystore.core();
        let root = key_set.root();
        if !root.initialized() {
            return;
        }
        let prefix = root.path("o").to_string() + "/";
        let snapshot = core.store.snapshot();
        let mut last: Option<Path> = None;
        loop {
            let page = snapshot.page(&prefix, last.as_ref(), BATCH);
            for (path, record) in &page {
                let name = path.as_str().strip_prefix(&prefix).unwrap_or_default();
                let kept = UniqueId::from_hex(name).is_some_and(|id| self.kept.contains(&id));
                let opened = || core.barrier.open(path, record.version, Kind::Object, &record.value);
                self.lost += u64::from(!kept && opened().is_ok());
            }
            if page.len() < BATCH {
                return;
            }
            last = page.last().map(|(path, _)| path.clone());
        }
    }

    /// Where the same PINs can be tried already.
    fn tried(&self, keystore: &Keystore) -> Option<Arc<KeySet>> {
        match &self.target {
            RestoreTarget::Replace(key_set) if key_set.root().initialized() => Some(Arc::clone(key_set)),
            _ => self.source(keystore),
        }
    }

    /// The counters that hold from now on, by their paths, and the key set whose id is in their names. INV-8: restoring gives
    /// nobody fresh tries. Those of now are kept where the same PINs can be tried already, and nobody counts while the caller
    /// holds that key set; else those of the backup.
    fn counters(&self, core: &Core, keystore: &Keystore) -> Result<(Vec<(String, TriesRecord)>, KeySetId), Error> {
        let Some(now) = self.tried(keystore) else {
            let tries = self
                .tries
                .iter()
                .map(|(rest, record)| (rest.clone(), tries::all_settled(record)));
            return Ok((tries.collect(), self.counters));
        };
        let root = now.root();
        let mut found = Vec::new();
        let prefix = root.path("tries").to_string() + "/";
        for (path, record) in core.store.scan(&prefix) {
            let tries = core.decode::<TriesRecord>(&path, Kind::Tries, &record)?;
            let rest = format!("tries/{}", path.as_str().strip_prefix(&prefix).unwrap_or_default());
            found.push((rest, tries::all_settled(&tries)));
        }
        Ok((found, root.counters()))
    }
}

impl Staged {
    /// What the backup says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The control plane's records in the backup, by name.
    #[must_use]
    pub fn documents(&self) -> &[(String, Vec<u8>)] {
        &self.documents
    }

    /// Its key sets, in the order of the backup.
    #[must_use]
    pub fn sets(&self) -> &[StagedSet] {
        &self.sets
    }

    /// Makes what is staged the key sets in use, and writes these documents, in one batch: all or nothing. All logins of key sets
    /// that are replaced end.
    ///
    /// # Errors
    /// [`RestoreError::Changed`]; [`Error::Contended`] when a document has another version; from the store.
    pub fn finish(mut self, operation: OperationId, documents: &[DocumentWrite]) -> Result<(), Error> {
        if self.dry_run {
            return Err(RestoreError::Contents("a dry run has nothing to finish").into());
        }
        let keystore = self.keystore.clone();
        let core = keystore.core();
        // In the order of ids: two restores never wait for each other.
        let replaced = self.sets.iter().filter_map(|set| match &set.target {
            RestoreTarget::Replace(key_set) => Some(Arc::clone(key_set)),
            RestoreTarget::New(_) => None,
        });
        let tried = self.sets.iter().filter_map(|set| set.tried(&keystore));
        let mut gates: Vec<_> = replaced.chain(tried).collect();
        gates.sort_by_key(|key_set| key_set.id());
        gates.dedup_by_key(|key_set| key_set.id());
        let held: Vec<_> = gates.iter().map(|key_set| key_set.hold()).collect();
        let mut beside = Batch::default();
        for set in &mut self.sets {
            let (tries, counters) = set.counters(core, &keystore)?;
            set.place.count_as(counters);
            beside.writes.push(set.place.root_write(core));
            let places = tries.iter().map(|(rest, record)| (set.place.path(rest), record));
            beside
                .writes
                .extend(places.map(|(path, record)| core.put(&path, 0, Kind::Tries, record)));
        }
        // Whether it was written may not be known: what it refers to stays then, for the next start to judge.
        self.done = true;
        let outcome = keystore.commit_beside(operation, documents, beside);
        self.done = matches!(outcome, Err(Error::OutcomeUnknown | Error::Stopped));
        match outcome? {
            Committed::Done(_) => {}
            // A root that changed changes the place.
            Committed::Conflict(_) => return Err(RestoreError::Changed.into()),
        }
        self.done = true;
        for set in &self.sets {
            match &set.target {
                RestoreTarget::New(_) => keystore.serve(KeySet::restored(core, &set.place)),
                RestoreTarget::Replace(key_set) => key_set.take_place(&set.place),
            }
        }
        drop(held);
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.done && !self.dry_run {
            for set in &self.sets {
                self.keystore.core().background.purge(set.place.prefix());
            }
        }
    }
}
