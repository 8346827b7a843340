//! Opening a store on disk: options, errors, and the order in which sled, journal and backups are tried.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::Limits;
use crate::faults::Faults;
use crate::keys::StoreKeys;
use crate::report::{Fatal, LoadReport};
use crate::store::Parts;

/// How [`crate::Store::open_sled`] opens.
#[derive(Clone)]
pub struct SledOptions {
    /// Limits of batches.
    pub limits: Limits,
    /// Size of a journal segment in bytes (64 MiB; `hsmd dev` 8 MiB). Two to three exist at any time.
    pub segment_bytes: u64,
    /// A backup is made when the journal has grown by this much since the last one, or by half of the data if that is more.
    pub backup_after: u64,
    /// How often a full disk is tried again.
    pub retry_full: Duration,
    /// How long sled may take to open and read before it is given up and rebuilt.
    pub sled_patience: Duration,
    /// Called once when a sync or write failed and the store stops for good. The default ends the process by `abort` (SIGABRT,
    /// exit status 134 in a shell), so that the supervisor starts it anew and the journal says what is durable.
    pub on_fatal: Arc<dyn Fn(Fatal) + Send + Sync>,
    /// Planned faults, for tests.
    pub faults: Faults,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            segment_bytes: 64 << 20,
            backup_after: 64 << 20,
            retry_full: Duration::from_millis(500),
            sled_patience: Duration::from_secs(120),
            on_fatal: Arc::new(|_| std::process::abort()),
            faults: Faults::default(),
        }
    }
}

/// Why a store cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon uses the folder.
    #[error("another daemon uses this folder")]
    Locked,
    /// The keys are not those of this store: a wrong master key.
    #[error("these are not the keys of this store")]
    WrongKeys,
    /// A segment is too small for a batch at the limits.
    #[error("a journal segment of {0} bytes is too small for the limits")]
    SegmentTooSmall(u64),
    /// Input or output failed.
    #[error("store input or output failed: {0}")]
    Io(#[from] io::Error),
}

pub(crate) fn open(
    _dir: &std::path::Path,
    _keys: &StoreKeys,
    _options: SledOptions,
) -> Result<(Parts, LoadReport), OpenError> {
    Err(OpenError::Io(io::ErrorKind::Unsupported.into()))
}
