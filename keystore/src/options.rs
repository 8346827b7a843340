//! What a keystore can be told: PIN rules, waiting times, sizes, planned faults. Not a configuration file; `hsmd` reads that.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::audit::AuditOptions;
#[cfg(feature = "etcd")]
use crate::engine::EtcdPlace;
use hsmd_crypto::pin::PinCost;
use hsmd_crypto::selftest::Report;
use hsmd_store::{Fatal, Faults};

/// Options of a keystore.
#[derive(Clone)]
pub struct Options {
    /// A store for development: marked as such for ever, and opened only with this set.
    pub dev: bool,
    /// Cost of Argon2id for new PINs. Stored beside each PIN, so that a change holds for later PINs only.
    pub pin_cost: PinCost,
    /// Allowed length of a new PIN in bytes.
    pub pin_length: RangeInclusive<usize>,
    /// Wrong PINs in a row that lock a role (INV-8).
    pub pin_tries: u32,
    /// How long a PIN try waits for one of `pin_tries` places.
    pub try_patience: Duration,
    /// After this time without a request a key set's PSK and private keys are wiped from memory.
    pub idle_wipe: Duration,
    /// A login that was not used for this long ends; `None`: never.
    pub login_idle: Option<Duration>,
    /// Logins of one identity on one key set; with more, those that were unused longest end.
    pub max_logins: usize,
    /// The etcd that holds the records; `None`: sled, in the keystore's folder.
    #[cfg(feature = "etcd")]
    pub etcd: Option<EtcdPlace>,
    /// No other node may have the store in etcd open.
    pub alone: bool,
    /// A store in etcd whose history went backwards is taken as it is: the operator's decision.
    pub accept_rollback: bool,
    /// Size of a journal segment in bytes.
    pub segment_bytes: u64,
    /// The audit log.
    pub audit: AuditOptions,
    /// The power-on self-tests that the policy `fips` asks for; `None`: those of this process.
    pub self_tests: Option<Report>,
    /// Called once when the store stops for good after a failed sync. `None`: the process ends by `abort`.
    pub on_fatal: Option<Arc<dyn Fn(Fatal) + Send + Sync>>,
    /// Planned faults of the store, for tests.
    pub faults: Faults,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dev: false,
            pin_cost: PinCost::default(),
            pin_length: 4..=255,
            pin_tries: 10,
            try_patience: Duration::from_secs(10),
            idle_wipe: Duration::from_secs(3600),
            login_idle: Some(Duration::from_secs(30 * 86_400)),
            max_logins: 4096,
            #[cfg(feature = "etcd")]
            etcd: None,
            alone: false,
            accept_rollback: false,
            segment_bytes: 64 << 20,
            audit: AuditOptions::default(),
            self_tests: None,
            on_fatal: None,
            faults: Faults::default(),
        }
    }
}

impl Options {
    /// The records are in etcd.
    pub(crate) fn is_etcd(&self) -> bool {
        #[cfg(feature = "etcd")]
        return self.etcd.is_some();
        #[cfg(not(feature = "etcd"))]
        false
    }
}
