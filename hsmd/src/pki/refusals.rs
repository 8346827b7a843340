//! Refused handshakes in the log: one line a second and plane at most, with a count, so that nobody fills the log from
//! outside.

use super::verifier::Refused;
use hsmd_keystore::Keystore;
use parking_lot::Mutex;
use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);

#[derive(Default)]
struct State {
    logged: Option<Instant>,
    unsaid: u64,
    total: u64,
}

/// Counts refused handshakes, and logs them.
pub(crate) struct Refusals {
    keystore: Keystore,
    state: Mutex<State>,
}

impl Refusals {
    /// They are told to the audit log of this keystore, too.
    pub(super) fn new(keystore: Keystore) -> Self {
        Self {
            keystore,
            state: Mutex::default(),
        }
    }

    /// Counts one; `plane` is "data" or "control".
    pub(crate) fn note(&self, plane: &'static str, peer: SocketAddr, error: &std::io::Error) {
        crate::audit::refused(&self.keystore, format!("{plane}: {}", reason(error)));
        let mut state = self.state.lock();
        state.total += 1;
        if state.logged.is_some_and(|logged| logged.elapsed() < EVERY) {
            state.unsaid += 1;
            return;
        }
        state.logged = Some(Instant::now());
        let before = std::mem::take(&mut state.unsaid);
        drop(state);
        let reason = reason(error);
        tracing::warn!(plane, %peer, reason, before, "handshake refused");
    }

    /// How many there were since the start.
    pub(crate) fn total(&self) -> u64 {
        self.state.lock().total
    }
}

/// What the verifier said, or what happened on the connection.
fn reason(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))) = inner
        && let Some(refused) = other.0.downcast_ref::<Refused>()
    {
        return refused.to_string();
    }
    inner.map_or_else(|| error.to_string(), |inner| (inner as &dyn Error).to_string())
}
