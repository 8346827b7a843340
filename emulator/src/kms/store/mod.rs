//! Custom key stores: keys in a group of partitions of hsmd (AWS_CLOUDHSM), or behind somebody else's proxy (EXTERNAL_KEY_STORE).
//! An operation writes what is asked for into the store's record; the store's keeper (`keeper`) does it, and goes on where it was
//! when the process was killed. `record` is what is kept, `cluster` and `external` the two kinds of connection, `create`, `change`
//! and `describe` the operations.

mod change;
mod cluster;
mod create;
mod describe;
mod external;
mod keeper;
mod keys;
mod proxies;
mod record;

pub(super) use change::{connect, delete, disconnect, update};
pub(super) use create::create;
pub(super) use describe::describe;
pub(super) use external::{unwrap, wrap};
pub(super) use keys::{place, random};

use super::{Kms, internal, record_fault};
use crate::clusters::Clusters;
use crate::config::Config;
use crate::control::Control;
use crate::fault::Fault;
use crate::module::{Library, Module};
use crate::records::{RecordError, Records, Versioned, Write};
use crate::xks::client::Proxy;
use crate::xks::outbound::Outbound;
use keeper::{Connection, Link};
use record::{Code, Settings, State, StoreRecord};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Mutex, Notify, OnceCell};

/// The most stores of an account (the API's quota).
const MOST: usize = 10;
/// How long to wait for a daemon that does not answer at the start.
const AGAIN: Duration = Duration::from_secs(1);

/// Whatever stores need from outside.
struct Shared {
    library: Library,
    clusters: Clusters,
    records: Records,
    /// Threads for each store.
    threads: usize,
    /// How proxies are reached.
    outbound: Outbound,
    /// For which requests to proxies are signed.
    region: String,
}

/// All stores.
pub(crate) struct Stores {
    shared: Arc<Shared>,
    table: OnceCell<RwLock<BTreeMap<String, Arc<Store>>>>,
    /// Whoever holds a store against the others, and adds or changes one.
    turn: Mutex<()>,
}

/// Whether the token of a store can be asked.
pub(super) enum Holder {
    /// Yes.
    Open(Arc<Module>),
    /// Not now.
    Away,
    /// Not until somebody connects the store.
    Closed,
}

/// A store: its record as it is now, and its connection.
pub(super) struct Store {
    record: RwLock<Arc<Versioned<StoreRecord>>>,
    link: RwLock<Link>,
    /// Tells the keeper to look again.
    nudge: Notify,
    /// One change of the record at a time; and no key is added while the store goes.
    pub(super) writing: Mutex<()>,
}

impl Stores {
    /// None is read yet.
    ///
    /// # Errors
    /// A sentence, for certificates of proxies' authorities that cannot be read.
    pub(crate) fn new(library: Library, control: Control, threads: usize, config: &Config) -> Result<Self, String> {
        Ok(Self {
            shared: Arc::new(Shared {
                library,
                clusters: Clusters::new(control.clone()),
                records: Records::new(control),
                threads,
                outbound: Outbound::new(&config.xks_client)?,
                region: config.region.clone(),
            }),
            table: OnceCell::new(),
            turn: Mutex::new(()),
        })
    }

    async fn table(&self) -> Result<&RwLock<BTreeMap<String, Arc<Store>>>, RecordError> {
        self.table
            .get_or_try_init(|| async {
                let found = self.shared.records.list::<StoreRecord>(record::PREFIX).await?;
                let stores = found.into_iter().map(|(_, record)| self.keep(record));
                Ok(RwLock::new(stores.collect()))
            })
            .await
    }

    /// Starts the keeper of a store.
    fn keep(&self, record: Versioned<StoreRecord>) -> (String, Arc<Store>) {
        let id = record.record.id.clone();
        let store = Arc::new(Store::new(record));
        tokio::spawn(keeper::keep(self.shared.clone(), store.clone()));
        (id, store)
    }

    /// All stores in the order of their ids.
    async fn all(&self) -> Result<Vec<Arc<Store>>, Fault> {
        let table = self.table().await.map_err(|error| record_fault(&error))?;
        let table = table.read().unwrap_or_else(PoisonError::into_inner);
        Ok(table.values().cloned().collect())
    }

    /// The store of this id.
    ///
    /// # Errors
    /// CustomKeyStoreNotFoundException.
    pub(super) async fn find(&self, id: &str) -> Result<Arc<Store>, Fault> {
        let all = self.all().await?;
        let found = all.into_iter().find(|store| store.record().record.id == id);
        found.ok_or_else(|| not_found(id))
    }

    /// The token in which a key of this store is.
    pub(super) async fn token(&self, id: &str) -> Holder {
        let Ok(store) = self.find(id).await else {
            return Holder::Away;
        };
        match (store.record().record.state, store.module()) {
            (State::Connected, Some(module)) if store.is_available() => Holder::Open(module),
            (State::Connected | State::Connecting, _) => Holder::Away,
            _ => Holder::Closed,
        }
    }

    async fn insert(&self, record: StoreRecord) -> Result<(), Fault> {
        let table = self.table().await.map_err(|error| record_fault(&error))?;
        let written = self
            .shared
            .records
            .commit(vec![Write::put(path(&record.id), 0, &record)])
            .await;
        let versions = written.map_err(|error| record_fault(&error))?;
        let version = versions.first().copied().unwrap_or_default();
        let (id, store) = self.keep(Versioned { version, record });
        table.write().unwrap_or_else(PoisonError::into_inner).insert(id, store);
        Ok(())
    }

    async fn remove(&self, store: &Store) -> Result<(), Fault> {
        let record = store.record();
        let path = path(&record.record.id);
        let written = self
            .shared
            .records
            .commit(vec![Write::delete(path, record.version)])
            .await;
        written.map_err(|error| record_fault(&error))?;
        store.link.write().unwrap_or_else(PoisonError::into_inner).gone = true;
        store.nudge.notify_one();
        let table = self.table().await.map_err(|error| record_fault(&error))?;
        table
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&record.record.id);
        Ok(())
    }
}

impl Store {
    fn new(record: Versioned<StoreRecord>) -> Self {
        Self {
            record: RwLock::new(Arc::new(record)),
            link: RwLock::default(),
            nudge: Notify::new(),
            writing: Mutex::new(()),
        }
    }

    fn record(&self) -> Arc<Versioned<StoreRecord>> {
        self.record.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its id.
    pub(super) fn id(&self) -> String {
        self.record().record.id.clone()
    }

    /// The state that the API shows: a connection that does not work now, and may by itself, is a failed one.
    fn shown(&self) -> (State, Option<Code>) {
        let record = self.record();
        if record.record.state != State::Connected {
            return (record.record.state, record.record.error);
        }
        let link = self.link.read().unwrap_or_else(PoisonError::into_inner);
        match link.trouble {
            Some(code) => (State::Failed, Some(code)),
            None if link.connection.is_some() => (State::Connected, None),
            // At the start, until the first attempt.
            None => (State::Connecting, None),
        }
    }

    /// Whether its keys can be used.
    pub(super) fn is_available(&self) -> bool {
        self.shown().0 == State::Connected
    }

    fn connection(&self) -> Option<Connection> {
        self.link
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .connection
            .clone()
    }

    /// The pool of the group's token, while it is connected.
    pub(super) fn module(&self) -> Option<Arc<Module>> {
        match self.connection() {
            Some(Connection::Cluster(module)) => Some(module),
            _ => None,
        }
    }

    /// The proxy, while it is connected.
    fn proxy(&self) -> Option<Arc<Proxy>> {
        match self.connection() {
            Some(Connection::External(proxy)) => Some(proxy),
            _ => None,
        }
    }

    /// From now on another proxy, or another way to sign for it.
    fn replace_proxy(&self, proxy: Arc<Proxy>) {
        let mut link = self.link.write().unwrap_or_else(PoisonError::into_inner);
        link.connection = Some(Connection::External(proxy));
    }

    /// Something did not work: the keeper is to find out what.
    pub(super) fn suspect(&self) {
        self.nudge.notify_one();
    }

    /// The id of its cluster, if it has one.
    pub(super) fn cluster(&self) -> Option<String> {
        match &self.record().record.settings {
            Settings::Cluster(settings) => Some(settings.cluster.clone()),
            Settings::External(_) => None,
        }
    }

    /// Changes the record by compare-and-set; `change` sees it as it is then, and may refuse.
    async fn change(
        &self,
        records: &Records,
        change: impl Fn(&mut StoreRecord) -> Result<(), Fault> + Send,
    ) -> Result<(), Fault> {
        let _writing = self.writing.lock().await;
        let mut found = self.record();
        loop {
            let mut record = found.record.clone();
            change(&mut record)?;
            let path = path(&record.id);
            match records
                .commit(vec![Write::put(path.clone(), found.version, &record)])
                .await
            {
                Ok(versions) => {
                    let version = versions.first().copied().unwrap_or_default();
                    self.take_over(Versioned { version, record });
                    return Ok(());
                }
                // Somebody else's process, or a write of ours whose answer was lost.
                Err(RecordError::Conflict) => {
                    let read = records.get::<StoreRecord>(&path).await;
                    let read = read.map_err(|error| record_fault(&error))?.ok_or_else(internal)?;
                    self.take_over(read);
                    found = self.record();
                }
                Err(error) => return Err(record_fault(&error)),
            }
        }
    }

    fn take_over(&self, record: Versioned<StoreRecord>) {
        *self.record.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(record);
    }
}

fn path(id: &str) -> String {
    format!("{}{id}", record::PREFIX)
}

/// There is no store of this id or name.
fn not_found(name: &str) -> Fault {
    let shown: String = name.chars().take(256).collect();
    let message = format!("there is no custom key store {shown}");
    Fault::new(400, "CustomKeyStoreNotFoundException", message)
}

/// The store is not in a state for this.
fn invalid_state(message: impl Into<String>) -> Fault {
    Fault::new(400, "CustomKeyStoreInvalidStateException", message)
}

/// Whether a store is in the state for changes that need it disconnected.
fn rests(state: State) -> Result<(), Fault> {
    match state {
        State::Disconnected => Ok(()),
        state => Err(invalid_state(format!(
            "the custom key store is {}: this is changed while it is DISCONNECTED",
            state.name()
        ))),
    }
}

/// What the control plane says when it cannot be asked.
fn control_fault(status: &tonic::Status) -> Fault {
    record_fault(&RecordError::Refused(status.clone()))
}

/// Reads the stores and starts their keepers, as soon as hsmd answers.
pub(crate) async fn open(kms: &Kms) {
    while let Err(error) = kms.stores.table().await {
        tracing::warn!(%error, "custom key stores cannot be read yet");
        tokio::time::sleep(AGAIN).await;
    }
}
