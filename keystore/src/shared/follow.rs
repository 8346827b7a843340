//! The thread by which the caches of a keystore follow what other nodes write: in the order of the store, one batch after the
//! other, all of it before anybody is told that it is applied. What this process writes it has applied itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use hsmd_fleet::{Change as FleetChange, Generation, Revision};
use hsmd_proto::ids::KeySetId;
use hsmd_store::{Change, Changes, Compacted, Record, Store, Watch};

use super::port::Peers;
use super::records::{self, BeatRecord, Name, RootRecord, StandingRecord};
use super::{Sharing, keyring};
use crate::core::Core;
use crate::document;
use crate::error::Error;
use crate::key_set::id_of_root;
use crate::keystore::{Keystore, WeakKeystore};
use crate::objects::{LATCH_KEYS, LATCHES};
use crate::seal::Kind;

/// How long nothing may happen before the thread looks whether it is to end.
const SLICE: Duration = Duration::from_millis(200);

/// What was applied.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    /// Everything up to here.
    pub position: Revision,
    /// Somebody waits until it is applied everywhere.
    pub barrier: bool,
    /// What changed of the fleet's own records.
    pub changes: Vec<FleetChange>,
    /// Documents of the control plane, or key sets, came or went by another node's hand.
    pub control: bool,
}

impl Peers {
    /// Follows until the keystore is closed. `tell` is called after each step, on the follower's thread; it must not wait.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn follow(&self, tell: impl Fn(Followed) + Send + 'static) -> std::io::Result<JoinHandle<()>> {
        let keystore = self.0.downgrade();
        let core = Arc::clone(self.0.core());
        let from = self.0.read_from();
        core.sharing.follows.store(true, Ordering::Relaxed);
        let thread = std::thread::Builder::new().name("hsmd-follow".to_owned());
        thread.spawn(move || {
            let watch = core.store.watch("/", from);
            let (store, sharing) = (core.store.clone(), Arc::downgrade(&core));
            drop(core);
            let mut follower = Follower {
                keystore,
                store,
                watch,
                tell,
            };
            follower.run();
            if let Some(core) = sharing.upgrade() {
                core.sharing.follows.store(false, Ordering::Relaxed);
            }
        })
    }
}

struct Follower<T> {
    keystore: WeakKeystore,
    store: Store,
    watch: Result<Watch, Compacted>,
    tell: T,
}

impl<T: Fn(Followed)> Follower<T> {
    fn run(&mut self) {
        let mut told = 0;
        loop {
            // Whatever memory had at this moment is in the history already.
            let position = self.store.position();
            let Some(keystore) = self.keystore.upgrade() else {
                return;
            };
            let mut step = Followed {
                position: Revision(position),
                ..Followed::default()
            };
            if !self.catch_up(&keystore, &mut step) {
                return;
            }
            keystore.core().sharing.reached(position);
            drop(keystore);
            if position > told {
                told = position;
                (self.tell)(step);
            }
            let _ = self.store.past(position, SLICE);
        }
    }

    /// Applies what there is. False: the store is closed.
    fn catch_up(&mut self, keystore: &Keystore, step: &mut Followed) -> bool {
        loop {
            let next = match &mut self.watch {
                Ok(watch) => watch.try_next(),
                Err(compacted) => Err(*compacted),
            };
            match next {
                Ok(Some(changes)) => take(keystore, &changes, step),
                Ok(None) => return self.watch.as_ref().is_ok_and(|watch| !watch.is_closed()),
                Err(compacted) => {
                    tracing::warn!("this node has fallen far behind; everything is read again");
                    self.watch = self.store.watch("/", compacted.oldest.max(self.store.revision()));
                    reload(keystore, step);
                }
            }
        }
    }
}

/// One batch.
fn take(keystore: &Keystore, changes: &Changes, step: &mut Followed) {
    let core = keystore.core();
    let sharing: &Sharing = &core.sharing;
    let foreign = changes.foreign || sharing.is_orphan(&changes.operation);
    let beats = |change: &Change| records::name(change.path.as_str()).is_some();
    if !changes.changes.iter().all(beats) {
        sharing.saw(core.store.position_of(changes.revision));
    }
    let mut documents = Vec::new();
    for change in &changes.changes {
        let record = change.value.clone().map(|value| Record {
            value,
            version: change.version,
            revision: changes.revision,
        });
        let path = change.path.as_str();
        if let Some(name) = records::name(path) {
            match record.map_or(Ok(None), |record| fleet_change(core, name, change, &record)) {
                Ok(Some(change)) => step.changes.push(change),
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "a record of the fleet is not readable"),
            }
            if matches!(name, Name::Standing(_)) {
                keystore.key_sets().iter().for_each(|key_set| key_set.look_at_tries());
            }
        } else if !foreign {
        } else if path.starts_with("/ks/") {
            match key_set_change(keystore, change, record.as_ref()) {
                Ok(what) => {
                    step.barrier |= what != What::Plain;
                    step.control |= what == What::Came;
                }
                Err(error) => tracing::error!(%error, %path, "what another node wrote is not served"),
            }
        } else if path.starts_with(LATCHES) || path.starts_with(LATCH_KEYS) {
            if let Some(record) = &record {
                let value = &record.value;
                core.latches.follow(&core.barrier, &change.path, change.version, value);
                step.barrier = true;
            }
        } else if path.starts_with(document::PREFIX) {
            documents.push((change.path.clone(), record));
        } else if path == keyring::PATH
            && let Err(error) = keystore.follow_keys()
        {
            tracing::error!(%error, "rotated keys cannot be read");
        }
    }
    if !documents.is_empty() {
        keystore
            .documents_and_core()
            .0
            .follow(core, documents, changes.revision.0);
        step.control = true;
    }
}

fn fleet_change(core: &Core, name: Name, change: &Change, record: &Record) -> Result<Option<FleetChange>, Error> {
    let path = &change.path;
    Ok(match name {
        Name::Standing(node) => {
            let found: StandingRecord = core.decode(path, Kind::Node, record)?;
            let standing = found.read();
            standing.map(|standing| FleetChange::Standing(node, Generation(record.version), standing))
        }
        Name::Beat(node) => {
            let found: BeatRecord = core.decode(path, Kind::Node, record)?;
            Some(FleetChange::Beat(node, record.version, found.read()))
        }
        Name::Root => {
            let found: RootRecord = core.decode(path, Kind::Node, record)?;
            Some(FleetChange::Root(record.version, found.read()))
        }
    })
}

/// What a change of a key set is for others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// Nobody waits for it.
    Plain,
    /// Somebody does.
    Barrier,
    /// A key set came or went.
    Came,
}

fn key_set_change(keystore: &Keystore, change: &Change, record: Option<&Record>) -> Result<What, Error> {
    if let Some(id) = id_of_root(&change.path) {
        return keystore.follow_root(id, &change.path, record);
    }
    let mut parts = change.path.as_str().split('/').skip(2);
    let id = parts.next().and_then(KeySetId::from_hex);
    let incarnation = parts.next().and_then(|part| u32::from_str_radix(part, 16).ok());
    let (Some(key_set), Some(incarnation)) = (id.and_then(|id| keystore.key_set(id)), incarnation) else {
        return Ok(What::Plain);
    };
    let barrier = key_set.follow_record(incarnation, parts.next().unwrap_or_default(), &change.path, record);
    Ok(if barrier { What::Barrier } else { What::Plain })
}

/// The changes one by one are not to be had any more: everything is compared with what the store has.
fn reload(keystore: &Keystore, step: &mut Followed) {
    let core = keystore.core();
    let changes = core.store.scan("/").into_iter().map(|(path, record)| Change {
        path,
        version: record.version,
        value: Some(record.value),
    });
    let all = Changes {
        revision: core.store.revision(),
        operation: [0; 16],
        changes: changes
            .filter(|change| !change.path.as_str().starts_with("/ks/") || id_of_root(&change.path).is_some())
            .collect(),
        foreign: true,
    };
    take(keystore, &all, step);
    for key_set in keystore.key_sets() {
        if core.store.get(&crate::key_set::root_path(key_set.id())).is_none() {
            keystore.forget(key_set.id());
        } else {
            key_set.read_again();
        }
    }
    (step.barrier, step.control) = (true, true);
}
