//! How requests reach the daemon: blocking sockets, one connection per call under way, no thread and no runtime.
//! What requests mean is in `ops/`.

pub(crate) mod connection;
mod ha_log;
pub(crate) mod pool;
mod remote;
mod servers;
pub(crate) mod stream;
#[cfg_attr(not(feature = "aws-lc"), path = "no_tls.rs")]
mod tls;

use hsmd_proto::ck::Rv;

/// Why a request has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There is no daemon and never was one.
    Absent,
    /// There was one; it did not answer within the deadline, or what it sent is not the protocol.
    Lost,
    /// C_Finalize, C_CloseSession or C_SessionCancel ended the call.
    Ended(Rv),
    /// The daemon answered with this code.
    Refused(Rv),
}

impl Failure {
    /// The code for calls on a session: it was connected once, so the device failed (never DEVICE_REMOVED: Java and
    /// others would drop all handles).
    pub(crate) const fn rv(self) -> Rv {
        match self {
            Self::Absent => Rv::TOKEN_NOT_PRESENT,
            Self::Lost => Rv::DEVICE_ERROR,
            Self::Ended(rv) | Self::Refused(rv) => rv,
        }
    }
}

impl From<Failure> for Rv {
    fn from(failure: Failure) -> Self {
        failure.rv()
    }
}

/// Codes of a reply are the daemon's to choose, but for those that speak of the module's own state.
pub(crate) fn believable(rv: u64) -> Rv {
    let rv = Rv(rv);
    match rv {
        Rv::BUFFER_TOO_SMALL
        | Rv::CRYPTOKI_NOT_INITIALIZED
        | Rv::CRYPTOKI_ALREADY_INITIALIZED
        | Rv::SESSION_HANDLE_INVALID
        | Rv::SESSION_CLOSED
        | Rv::OPERATION_ACTIVE
        | Rv::OPERATION_NOT_INITIALIZED
        | Rv::DEVICE_REMOVED => Rv::DEVICE_ERROR,
        known if known.name().is_some() => known,
        _ => Rv::DEVICE_ERROR,
    }
}
