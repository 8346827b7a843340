//! What the whole daemon shares: the keystore, the slots, the turnstiles, who is connected.

use crate::audit::{Feed, Uses};
use crate::config::Config;
use crate::control::{Denials, Model, Open};
use crate::data::{Clients, Pulse, Traffic, Turnstile};
use crate::fleet::{Fleet, Inside, NoPlace};
use crate::memory::Protection;
use crate::metrics::{Calls, Requests};
use crate::pki::{Pki, PkiError};
use crate::slots::Slots;
use hsmd_keystore::{Error, Identity, KeySet, Keystore};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// One running daemon.
pub struct Node {
    pub(crate) keystore: Keystore,
    pub(crate) model: Model,
    pub(crate) audit: Feed,
    pub(crate) audit_uses: Uses,
    pub(crate) pki: Pki,
    /// Connections of the control plane over TLS.
    pub(crate) administrators: Arc<Open>,
    pub(crate) denials: Denials,
    pub(crate) slots: Arc<Slots>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) turns: Turns,
    pub(crate) pulse: Pulse,
    pub(crate) traffic: Traffic,
    pub(crate) config: Config,
    pub(crate) protection: Protection,
    pub(crate) started: Instant,
    /// Says when documents of the keystore have changed.
    pub(crate) documents_moved: watch::Receiver<()>,
    pub(crate) requests: Requests,
    /// Requests of the control plane.
    pub(crate) calls: Calls,
    /// `None`: the store is this daemon's alone.
    pub(crate) fleet: Option<Arc<Fleet>>,
    /// The revision of the records that the model was read from last.
    viewed: AtomicU64,
}

/// Where logins end.
pub(crate) enum Cut {
    /// On all key sets.
    Everywhere,
    /// On these.
    At(Vec<Arc<KeySet>>),
}

/// The turnstiles, one per kind of waiting.
pub(crate) struct Turns {
    /// RSA private keys, RSA key generation, large data: as many at a time as there are cores.
    pub(crate) cpu: Turnstile,
    /// Durable writes: many, so that many share a flush.
    pub(crate) write: Turnstile,
    /// PINs: Argon2 has two arenas.
    pub(crate) pin: Turnstile,
}

/// Why a daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The control plane's records cannot be read or made.
    #[error("control records: {0}")]
    Model(#[from] crate::control::ModelError),
    /// The daemon has no certificate.
    #[error("identity: {0}")]
    Pki(#[from] PkiError),
    /// No thread, no socket.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl Node {
    /// Puts a daemon together over an open keystore. Nothing listens yet.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new(keystore: Keystore, config: Config, protection: Protection) -> Result<Self, StartError> {
        crate::provider::warn();
        let slots = Arc::new(Slots::default());
        let model = Model::load(keystore.clone(), config.hsm.clone(), slots.clone())?.over(config.subnet.clone());
        let pki = Pki::open(&keystore, &config, model.client_pins(), model.admin_pins())?;
        pki.cover(model.hsms().into_iter().map(|hsm| hsm.eni_ip))?;
        let audit = Feed::of(&keystore);
        let audit_uses = Uses::open(&keystore, &slots).map_err(crate::control::ModelError::from)?;
        let work = &config.work;
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let cpu_threads = if work.cpu_threads == 0 { cores } else { work.cpu_threads };
        let turnstile = |width| Turnstile::new(width, work.queue, work.queue_per_client);
        let turns = Turns {
            cpu: turnstile(cpu_threads),
            write: turnstile(work.write_threads),
            pin: turnstile(work.pin_threads),
        };
        let (moved, documents_moved) = watch::channel(());
        keystore.on_document_change(move || moved.send_replace(()));
        Ok(Self {
            documents_moved,
            clients: Arc::new(Clients::new(&config.data)),
            keystore,
            model,
            audit,
            audit_uses,
            pki,
            administrators: Arc::default(),
            denials: Denials::default(),
            slots,
            turns,
            pulse: Pulse::start(Duration::from_millis(config.data.heartbeat_ms))?,
            traffic: Traffic::default(),
            config,
            protection,
            started: Instant::now(),
            requests: Requests::default(),
            calls: Calls::default(),
            fleet: None,
            viewed: AtomicU64::new(0),
        })
    }

    /// Takes this node's place among those that share its store, if there can be others.
    ///
    /// # Errors
    /// In words.
    pub fn enter_fleet(&mut self) -> Result<(), String> {
        self.fleet = Fleet::start(&self.keystore, &self.config)?;
        if let Some(fleet) = self.fleet.clone() {
            self.pulse.only_while(move || fleet.may_answer());
        }
        Ok(())
    }

    /// Before a request's work: whether this node may answer it (INV-6).
    ///
    /// # Errors
    /// [`NoPlace`].
    pub(crate) fn enter(&self) -> Result<Option<Inside>, NoPlace> {
        self.fleet.as_ref().map(|fleet| fleet.enter()).transpose()
    }

    /// Before its reply: whether this node may still, and whether all others know what they must (INV-6).
    ///
    /// # Errors
    /// [`NoPlace`]: nothing of the work may leave.
    pub(crate) fn leave(&self, inside: Option<Inside>) -> Result<(), NoPlace> {
        match (&self.fleet, inside) {
            (Some(fleet), Some(inside)) => fleet.leave(inside),
            _ => Ok(()),
        }
    }

    /// Before a request of the control plane: what other nodes have recorded so far is known here. Where the store does not answer in
    /// time, the request sees what there is, and can change nothing.
    pub(crate) fn freshen(&self) {
        let Some(fleet) = &self.fleet else { return };
        if fleet.catch_up() {
            let read = self.keystore.document_at("").map_or(0, |(_, revision)| revision);
            if self.viewed.swap(read, Ordering::AcqRel) != read {
                self.read_again();
            }
        }
    }

    /// Reads the control plane's records, which another node has changed, and ends the connections of those who are no more in them.
    pub(crate) fn read_again(&self) {
        match self.model.refresh() {
            Ok(gone) => {
                for identity in gone {
                    self.clients.cut(&identity);
                }
            }
            Err(error) => tracing::error!(%error, "what another node has changed cannot be read"),
        }
        self.end_strangers();
    }

    /// Whether requests are answered.
    pub(crate) fn serves(&self) -> bool {
        self.fleet.as_ref().is_none_or(|fleet| fleet.serves()) && self.keystore.may_serve()
    }

    /// The control plane's records and what changes them.
    #[must_use]
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// The slots as applications see them.
    #[must_use]
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Ends what an identity has under way: its connections, and its logins on those key sets, durably. Whoever takes away what it
    /// sees calls this afterwards: what comes in between is refused by [`Slots::seen`].
    ///
    /// # Errors
    /// [`Error::LoginsStay`].
    pub(crate) fn cut(&self, identity: &Identity, cut: Cut) -> Result<(), Error> {
        let connections = self.clients.cut(identity);
        let logins = match cut {
            Cut::Everywhere => self.keystore.end_logins(identity)?,
            Cut::At(key_sets) => {
                let ended = key_sets.iter().map(|key_set| key_set.end_logins_of(identity));
                ended.sum::<Result<usize, Error>>()?
            }
        };
        tracing::info!(?identity, connections, logins, "ended");
        Ok(())
    }

    /// Ends the control plane's connections whose certificate is no longer registered or valid; says how many.
    pub(crate) fn end_strangers(&self) -> usize {
        self.administrators
            .retain(|sha256| self.model.caller_of(sha256).is_some())
    }

    /// Requests answered since the start.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.total()
    }
}
