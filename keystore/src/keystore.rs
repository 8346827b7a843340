//! The keystore: opening and closing it, its key sets and documents. Who may do what with them is decided by whoever calls: the
//! control plane for key sets and documents, [`KeySet`] for what PKCS#11 does.

mod key_sets;

use std::collections::HashMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hsmd_crypto::pin::PinCost;
use hsmd_crypto::random;
use hsmd_crypto::seal::hmac;
use hsmd_crypto::secret::{Secret, SecretArray};
use hsmd_proto::ids::{KeySetId, NodeId, OperationId};
use hsmd_store::{
    BackupInfo, Batch, CheckReport, FolderLock, Limits, LoadReport, Revision, RootFiles, Store, StoreKeys, StoreStatus,
};
use parking_lot::{Mutex, RwLock};

use crate::audit::Audit;
use crate::background::Background;
use crate::core::{Clock, Committed, Core, path};
use crate::document::{DocumentWrite, Documents};
use crate::engine;
use crate::error::Error;
use crate::key_set::{self, KeySet};
use crate::master_key::MasterKey;
use crate::objects::Latches;
use crate::options::Options;
use crate::records::{AnchorRecord, FORMAT};
use crate::root::{RootFile, RootRecord};
use crate::seal::{Barrier, FleetSecret, Kind};
use crate::secrets;
use crate::shared::{Sharing, read_keyring};
use crate::ticket::{TicketKey, TicketKeys};

/// The folder of the store, inside the keystore's.
pub(crate) const STORE: &str = "store";
/// The record that says which store this is.
pub(crate) const ANCHOR: &str = "/fleet/anchor";
/// How often logins are looked through, in milliseconds.
const HOUSEKEEPING: u64 = 3_600_000;
/// Age in seconds at which a ticket key gets a successor.
const TICKET_KEY_AGE: u64 = 86_400;

/// A keystore. Clones share it.
#[derive(Clone)]
pub struct Keystore(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    key_sets: RwLock<HashMap<KeySetId, Arc<KeySet>>>,
    /// Held while a key set is made.
    creating: Mutex<()>,
    documents: Documents,
    /// `None`: in memory.
    files: Option<Files>,
    dev: bool,
    /// Groups whose own root record does not open.
    damaged: Vec<String>,
    /// The revision of the store from which on changes of others are news.
    read_from: Revision,
    /// When logins were last looked through.
    housekept: AtomicU64,
}

/// What a keystore on disk has besides its store.
struct Files {
    root: Mutex<(RootFile, RootRecord)>,
    report: LoadReport,
    _lock: FolderLock,
}

/// Figures for status and metrics.
#[derive(Clone, Debug)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// Marked for development.
    pub dev: bool,
    /// Key sets that are served.
    pub key_sets: usize,
    /// Logins that were used since the start or the last idle wipe.
    pub logins: usize,
    /// What is not served; see [`Keystore::quarantined`].
    pub quarantined: Vec<String>,
    /// The store's own figures.
    pub store: StoreStatus,
    /// What the start found; `None` in memory.
    pub load: Option<LoadReport>,
}

impl Keystore {
    /// Makes a new keystore in `dir` (made, mode 0700, if it is absent), sealed by `master`, and opens it. An `init` that did
    /// not finish may be repeated with the same master key.
    ///
    /// # Errors
    /// [`Error::AlreadyInitialized`], [`Error::Locked`], [`Error::Io`] and what the store says.
    pub fn init(dir: &Path, master: &MasterKey, options: &Options) -> Result<Self, Error> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let lock = FolderLock::take(dir)?;
        let files = || RootFiles::named(dir, "root", options.faults.clone());
        let (file, record) = match RootFile::open(files(), master) {
            Ok((_, record)) if record.complete => return Err(Error::AlreadyInitialized),
            Ok((_, record)) if record.restoring => return Err(Error::RestoreUnfinished),
            Ok(unfinished) => unfinished,
            Err(Error::NotInitialized) => {
                let file = RootFile::create(files(), master, &root_cost(options))?;
                let record = RootRecord::random(options.dev, Clock::new().unix());
                file.write(&record)?;
                (file, record)
            }
            Err(Error::WrongMasterKey) => return Err(Error::AlreadyInitialized),
            Err(error) => return Err(error),
        };
        Self::open_store(dir, lock, file, record, options)
    }

    /// Opens the keystore in `dir`.
    ///
    /// # Errors
    /// [`Error::NotInitialized`], [`Error::WrongMasterKey`], [`Error::RootDamaged`], [`Error::DevMark`], [`Error::StoreLost`],
    /// [`Error::Locked`] and what the store says. Nothing is changed by a refused open.
    pub fn open(dir: &Path, master: &MasterKey, options: &Options) -> Result<Self, Error> {
        if !dir.is_dir() {
            return Err(Error::NotInitialized);
        }
        let lock = FolderLock::take(dir)?;
        let (file, record) = RootFile::open(RootFiles::named(dir, "root", options.faults.clone()), master)?;
        if record.restoring {
            return Err(Error::RestoreUnfinished);
        }
        if !record.complete {
            return Err(Error::NotInitialized);
        }
        Self::open_store(dir, lock, file, record, options)
    }

    /// A keystore that keeps nothing on disk, for tests and simulations.
    ///
    /// # Errors
    /// [`Error::Io`] if its thread cannot be started.
    pub fn in_memory(options: &Options) -> Result<Self, Error> {
        let record = RootRecord::random(options.dev, Clock::new().unix());
        let store = Store::memory_with_faults(store_keys(&record), Limits::default(), options.faults.clone());
        Ok(Self::assemble(core(store, &record, options)?, None, record.dev))
    }

    fn open_store(
        dir: &Path,
        lock: FolderLock,
        file: RootFile,
        mut record: RootRecord,
        options: &Options,
    ) -> Result<Self, Error> {
        if record.dev != options.dev {
            return Err(Error::DevMark { dev: record.dev });
        }
        let (store, report) = engine::open(dir, &record, options)?;
        if options.is_etcd() && read_keyring(&store, &mut record)? {
            file.write(&record)?;
        }
        let core = core(store, &record, options)?;
        check_anchor(&core, &record)?;
        if !record.complete {
            record.complete = true;
            file.write(&record)?;
        }
        engine::offer(dir, options, &file.value(&record))?;
        let dev = record.dev;
        let files = Files {
            root: Mutex::new((file, record)),
            report,
            _lock: lock,
        };
        Ok(Self::assemble(core, Some(files), dev))
    }

    fn assemble(core: Arc<Core>, files: Option<Files>, dev: bool) -> Self {
        // Before anything is read: what comes after is followed.
        let read_from = core.store.revision();
        let documents = Documents::load(&core);
        let loaded = key_set::load_all(&core);
        let key_sets = loaded
            .key_sets
            .into_iter()
            .map(|key_set| (key_set.id(), key_set))
            .collect();
        Self(Arc::new(Inner {
            housekept: AtomicU64::new(core.clock.now()),
            core,
            key_sets: RwLock::new(key_sets),
            creating: Mutex::new(()),
            documents,
            files,
            dev,
            damaged: loaded.damaged,
            read_from,
        }))
    }

    /// Whether the keystore is marked for development.
    #[must_use]
    pub fn dev(&self) -> bool {
        self.0.dev
    }

    /// This node's id, made by `init`.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.0.core.node
    }

    /// The newest revision of the store that reads see; in a fleet a number that is the same on all nodes, and what this thread has
    /// written is waited for.
    #[must_use]
    pub fn revision(&self) -> u64 {
        let core = &self.0.core;
        if core.sharing.is_on() {
            core.sharing.await_written();
            core.sharing.seen()
        } else {
            core.store.revision().0
        }
    }

    /// Waits a little until reads see at least this revision, which another node has told. False: they do not, and another node may.
    #[must_use]
    pub fn await_revision(&self, revision: u64) -> bool {
        let core = &self.0.core;
        revision == 0 || !core.sharing.is_on() || core.sharing.await_seen(&core.store, revision)
    }

    /// Whether requests may be answered: false when another process may have taken this node's place (INV-6). To be asked before
    /// the work and again before the reply.
    #[must_use]
    pub fn may_serve(&self) -> bool {
        self.0.core.store.may_serve()
    }

    /// Figures.
    #[must_use]
    pub fn status(&self) -> Status {
        let key_sets = self.key_sets();
        Status {
            node: self.node(),
            dev: self.0.dev,
            key_sets: key_sets.len(),
            logins: key_sets.iter().map(|key_set| key_set.login_count()).sum(),
            quarantined: self.quarantined(),
            store: self.0.core.store.status(),
            load: self.0.files.as_ref().map(|files| files.report.clone()),
        }
    }

    /// Makes a backup of the store now.
    ///
    /// # Errors
    /// [`Error::Backup`]; what was there before stays.
    pub fn backup(&self) -> Result<BackupInfo, Error> {
        Ok(self.0.core.store.backup()?)
    }

    /// Reads everything again and compares.
    #[must_use]
    pub fn check(&self) -> CheckReport {
        self.0.core.store.check()
    }

    /// Ends cleanly: login records that are on their way are written, the store is closed. Later writes are refused.
    ///
    /// # Errors
    /// [`Error::Close`]; nothing acknowledged is lost by it.
    pub fn close(&self) -> Result<(), Error> {
        self.0.core.background.flush();
        self.0.core.audit.stop();
        Ok(self.0.core.store.close()?)
    }

    /// The audit log.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.0.core.audit
    }

    /// The documents, and what they are kept with.
    pub(crate) fn documents_and_core(&self) -> (&Documents, &Core) {
        (&self.0.documents, &self.0.core)
    }

    /// A secret of the daemon itself, such as an authority's private key; `None` if there is none of this name. It is read
    /// from the store each time, and wiped when it is dropped.
    ///
    /// # Errors
    /// [`Error::Quarantined`], [`Error::Damaged`], [`Error::UnknownFormat`].
    pub fn secret(&self, name: &str) -> Result<Option<Secret>, Error> {
        secrets::get(&self.0.core, name)
    }

    /// Writes a secret of the daemon itself, or replaces it. Durable when it returns (INV-2).
    ///
    /// # Errors
    /// [`Error::TooLarge`] (32 KiB, an empty name), [`Error::Contended`] and as [`Keystore::commit_documents`].
    pub fn put_secret(&self, name: &str, value: &Secret) -> Result<(), Error> {
        secrets::put(&self.0.core, name, value)
    }

    /// How long PINs are, in bytes.
    #[must_use]
    pub fn pin_length(&self) -> std::ops::RangeInclusive<usize> {
        self.0.core.options.pin_length.clone()
    }

    /// A name for a text in a record, under a key of this store: equal for equal texts, and telling nothing else of them.
    #[must_use]
    pub fn keyed_name(&self, purpose: &'static str, text: &[u8]) -> String {
        let key = self.0.core.fleet.key("name");
        let name = hmac(key.expose(), &[purpose.as_bytes(), &[0], text]);
        name[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What is not served (INV-7): groups (`/ks/<id>`, `/fleet`) whose records do not fit their head or whose root record does
    /// not open, and single records that do not open: documents, objects.
    #[must_use]
    pub fn quarantined(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .0
            .core
            .store
            .quarantined()
            .into_iter()
            .map(|(group, _)| group)
            .collect();
        names.extend(self.0.damaged.iter().cloned());
        names.extend(self.0.documents.damaged.iter().cloned());
        names.extend(self.key_sets().iter().flat_map(|key_set| key_set.damaged()));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// To be called every few seconds: purges tombstones of documents that are a day old, wipes PSKs and private keys of key sets that were idle for `Options::idle_wipe`; once in an hour
    /// also ends idle logins and renews the ticket key when it is a day old.
    pub fn idle_wipe(&self) {
        if let Err(error) = self.0.documents.purge_tombstones(&self.0.core) {
            tracing::warn!(%error, "old tombstones of documents stay");
        }
        for key_set in self.key_sets() {
            if key_set.wipe_if_idle() {
                tracing::debug!(?key_set, "idle: private keys are wiped from memory");
            }
        }
        let now = self.0.core.clock.now();
        let last = self.0.housekept.load(Ordering::Relaxed);
        if now.saturating_sub(last) >= HOUSEKEEPING {
            self.0.housekept.store(now, Ordering::Relaxed);
            self.keep_house();
        }
    }

    fn keep_house(&self) {
        for key_set in self.key_sets() {
            key_set.keep_login_times();
            if let Err(rv) = key_set.purge_tombstones() {
                tracing::warn!(?key_set, %rv, "old tombstones stay");
            }
        }
        self.0.core.background.flush();
        if let Err(error) = self.renew_ticket_key() {
            tracing::warn!(%error, "the ticket key could not be renewed");
        }
    }

    /// Adds a ticket key if the newest is old, and forgets those that no login needs.
    fn renew_ticket_key(&self) -> Result<(), Error> {
        let core = &self.0.core;
        let Some(files) = &self.0.files else { return Ok(()) };
        let mut root = files.root.lock();
        let (file, record) = &mut *root;
        let Some(newest) = record.tickets.last() else {
            return Ok(());
        };
        if core.clock.unix().saturating_sub(newest.created) < TICKET_KEY_AGE {
            return Ok(());
        }
        let version = newest.version + 1;
        let mut needed: Vec<u32> = vec![newest.version];
        for key_set in self.key_sets() {
            needed.extend(key_set.ticket_keys_in_use());
        }
        let mut keys: Vec<_> = record.tickets.iter().map(TicketKey::duplicate).collect();
        keys.retain(|key| needed.contains(&key.version));
        keys.push(TicketKey {
            version,
            created: core.clock.unix(),
            secret: SecretArray::random(),
        });
        let mut next = record.duplicate();
        next.tickets = keys;
        if !self.share_keys(&next)? {
            // Another node has made one; it comes by itself.
            return Ok(());
        }
        file.write(&next)?;
        core.ticket_keys
            .replace(next.tickets.iter().map(TicketKey::duplicate).collect());
        *record = next;
        Ok(())
    }

    /// Makes a new barrier key, under which everything is sealed that is written from now on. What is there stays under the older
    /// ones, which are kept.
    ///
    /// # Errors
    /// From the root files; then the older key goes on.
    pub fn rotate_barrier_key(&self) -> Result<(), Error> {
        let Some(files) = &self.0.files else { return Ok(()) };
        let mut root = files.root.lock();
        let (file, record) = &mut *root;
        let mut next = record.duplicate();
        let version = next.barrier.last().map_or(1, |(version, _)| version + 1);
        let key = SecretArray::random();
        next.barrier.push((version, key.duplicate()));
        // Durable before the first record is sealed under it, and known to all nodes before.
        file.write(&next)?;
        if !self.share_keys(&next)? {
            file.write(record)?;
            return Err(Error::Contended);
        }
        self.0.core.barrier.add(version, key);
        *record = next;
        Ok(())
    }

    /// Keys of other nodes, which `change` puts into the root record; true: there were new ones.
    pub(crate) fn change_keys(
        &self,
        change: impl FnOnce(&Store, &mut RootRecord) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let core = &self.0.core;
        let Some(files) = &self.0.files else { return Ok(()) };
        let mut root = files.root.lock();
        let (file, record) = &mut *root;
        let mut next = record.duplicate();
        if !change(&core.store, &mut next)? {
            return Ok(());
        }
        file.write(&next)?;
        for (version, key) in &next.barrier {
            if !record.barrier.iter().any(|(known, _)| known == version) {
                core.barrier.add(*version, key.duplicate());
            }
        }
        core.ticket_keys
            .replace(next.tickets.iter().map(TicketKey::duplicate).collect());
        *record = next;
        Ok(())
    }

    /// Where a follower begins.
    pub(crate) fn read_from(&self) -> Revision {
        self.0.read_from
    }

    /// What is weak of it: a thread that holds the keystore would keep it open.
    pub(crate) fn downgrade(&self) -> WeakKeystore {
        WeakKeystore(Arc::downgrade(&self.0))
    }

    /// A key set is gone.
    pub(crate) fn forget(&self, id: KeySetId) {
        self.0.key_sets.write().remove(&id);
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.0.core
    }

    /// Which store this is; zeros in memory.
    pub(crate) fn store_id(&self) -> [u8; 16] {
        let files = self.0.files.as_ref();
        files.map_or([0; 16], |files| files.root.lock().1.store)
    }

    /// Writes documents and what is beside them in one batch. A conflict names the path that was not as expected.
    pub(crate) fn commit_beside(
        &self,
        operation: OperationId,
        documents: &[DocumentWrite],
        beside: Batch,
    ) -> Result<Committed, Error> {
        self.0
            .documents
            .commit_beside(&self.0.core, operation, documents, beside)
    }

    /// A key set is in the store now: serves it.
    pub(crate) fn serve(&self, key_set: Arc<KeySet>) {
        self.0.key_sets.write().insert(key_set.id(), key_set);
    }
}

/// A keystore, if it is still there.
pub(crate) struct WeakKeystore(std::sync::Weak<Inner>);

impl WeakKeystore {
    pub(crate) fn upgrade(&self) -> Option<Keystore> {
        self.0.upgrade().map(Keystore)
    }
}

impl std::fmt::Debug for Keystore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keystore({})", self.node())
    }
}

pub(crate) fn core(store: Store, record: &RootRecord, options: &Options) -> Result<Arc<Core>, Error> {
    let barrier = Arc::new(Barrier::new(&record.barrier));
    let adopted = record
        .adopted
        .iter()
        .map(|(label, key)| (label.clone(), key.duplicate()));
    let fleet = FleetSecret::new(record.fleet.duplicate(), adopted.collect());
    let audit = Audit::open(&store, &barrier, record.node, &options.audit)?;
    Ok(Arc::new(Core {
        latches: Latches::open(&store, &barrier, &fleet),
        background: Background::start(store.clone(), Arc::clone(&barrier), audit.nudger())?,
        audit,
        store,
        barrier,
        fleet,
        options: options.clone(),
        node: record.node,
        generation: u64::from_le_bytes(random::array()),
        node_secret: SecretArray::random(),
        ticket_keys: TicketKeys::new(record.tickets.iter().map(TicketKey::duplicate).collect()),
        clock: Clock::new(),
        sharing: Sharing::new(options.is_etcd()),
    }))
}

/// INV-7: the store in the folder must be the one that `init` made. An empty one in its place is a loss, not a beginning.
pub(crate) fn check_anchor(core: &Core, record: &RootRecord) -> Result<(), Error> {
    let path = path(ANCHOR);
    if core.store.quarantined().iter().any(|(group, _)| group == path.group()) {
        // Named as such; key sets are served.
        return Ok(());
    }
    match core.read::<AnchorRecord>(&path, Kind::Anchor)? {
        Some((anchor, _)) if anchor.store == record.store => Ok(()),
        None if !record.complete && is_fresh(&core.store) => {
            let anchor = AnchorRecord {
                format: FORMAT,
                store: record.store.to_vec(),
            };
            let write = core.put(&path, 0, Kind::Anchor, &anchor);
            let batch = Batch {
                operation: random::array(),
                writes: vec![write],
                ..Batch::default()
            };
            match core.commit(batch)? {
                Committed::Done(_) => Ok(()),
                Committed::Conflict(_) => Err(Error::Contended),
            }
        }
        _ => Err(Error::StoreLost),
    }
}

/// Whether nothing was stored yet but the audit log's beginning.
fn is_fresh(store: &Store) -> bool {
    store
        .scan("/")
        .iter()
        .all(|(path, _)| path.as_str().starts_with("/audit-"))
}

pub(crate) fn store_keys(record: &RootRecord) -> StoreKeys {
    StoreKeys::new(*record.journal.expose(), *record.head.expose())
}

/// The cost of a passphrase: as that of a PIN.
fn root_cost(options: &Options) -> PinCost {
    options.pin_cost
}
