//! What the whole daemon shares: the keystore, the slots, the pools of threads, who is connected.

use crate::config::Config;
use crate::control::Model;
use crate::data::{Clients, Pool};
use crate::memory::Protection;
use crate::slots::Slots;
use hsmd_keystore::Keystore;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// One running daemon.
pub struct Node {
    pub(crate) keystore: Keystore,
    pub(crate) model: Model,
    pub(crate) slots: Arc<Slots>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) pools: Pools,
    pub(crate) config: Config,
    pub(crate) protection: Protection,
    pub(crate) started: Instant,
    requests: AtomicU64,
}

/// The pools of threads, one per kind of waiting.
pub(crate) struct Pools {
    /// RSA private keys, RSA key generation, large data: as many threads as cores.
    pub(crate) cpu: Pool,
    /// Durable writes: many threads, so that many writes share a flush.
    pub(crate) write: Pool,
    /// PINs: Argon2 has two arenas.
    pub(crate) pin: Pool,
}

/// Why a daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The control plane's records cannot be read or made.
    #[error("control records: {0}")]
    Model(#[from] crate::control::ModelError),
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
        let slots = Arc::new(Slots::default());
        let model = Model::load(keystore.clone(), config.hsm.clone(), slots.clone())?;
        let work = &config.work;
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let cpu_threads = if work.cpu_threads == 0 { cores } else { work.cpu_threads };
        let pool = |name: &str, threads| Pool::start(name, threads, work.queue, work.queue_per_client);
        let pools = Pools {
            cpu: pool("cpu", cpu_threads)?,
            write: pool("write", work.write_threads)?,
            pin: pool("pin", work.pin_threads)?,
        };
        Ok(Self {
            clients: Arc::new(Clients::new(&config.data)),
            keystore,
            model,
            slots,
            pools,
            config,
            protection,
            started: Instant::now(),
            requests: AtomicU64::new(0),
        })
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

    pub(crate) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}
