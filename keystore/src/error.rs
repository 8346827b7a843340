//! The one error type of the crate's administrative calls. PKCS#11-level calls answer an [`Rv`]; the table from store errors to
//! return values is here too.

use std::io;

use crate::backup::RestoreError;
use hsmd_proto::ck::Rv;
use hsmd_store::{BackupError, CloseError, CommitError, LockError, OpenError, RootError};

/// Why a keystore cannot be made, opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no keystore in the folder.
    #[error("there is no keystore here; `hsmd init` makes one")]
    NotInitialized,
    /// There is a keystore in the folder already. Nothing was changed.
    #[error("there is a keystore here already")]
    AlreadyInitialized,
    /// Others than the owner may read or write the master key file.
    #[error("the master key file has mode {mode:04o}; it must be 0400 or 0600")]
    MasterKeyExposed {
        /// Its permission bits.
        mode: u32,
    },
    /// The master key file is no plain file of 64 hexadecimal digits.
    #[error("the master key file does not hold a master key")]
    MasterKeyMalformed,
    /// The keystore was sealed with another master key (or passphrase). Nothing was changed.
    #[error("this is not the master key of this keystore")]
    WrongMasterKey,
    /// No copy of the root record is whole.
    #[error("the root record is damaged")]
    RootDamaged,
    /// The root record has a format that this build does not know.
    #[error("the keystore has format {0}, which this version does not know")]
    UnknownFormat(u32),
    /// A development keystore is opened for production, or the other way round.
    #[error("the keystore is {}for development", if *.dev { "" } else { "not " })]
    DevMark {
        /// What the keystore is marked as.
        dev: bool,
    },
    /// The folder holds another store than the one that `init` made, or none.
    #[error("the store of this keystore is not here: restore the folder or a backup")]
    StoreLost,
    /// Another daemon uses the folder.
    #[error("another daemon uses this folder")]
    Locked,
    /// The records of this group do not fit its head (INV-7): it is not served and not changed.
    #[error("the records under {0} do not fit their head; they are not served")]
    Quarantined(String),
    /// One record does not open under its name and version (INV-7).
    #[error("the record {0} is damaged")]
    Damaged(String),
    /// A document or batch is too large.
    #[error("over the limits of the store")]
    TooLarge,
    /// The disk is full; nothing was written.
    #[error("the store is full")]
    Full,
    /// etcd cannot be reached, or refuses; nothing was written.
    #[error("the store in etcd cannot be reached: {0}")]
    Unreachable(String),
    /// The prefix in etcd is not empty: another store, or something else. Nothing was changed.
    #[error("this prefix of etcd is in use already")]
    PrefixTaken,
    /// The store in etcd cannot be used as it is: another node has it, its history went backwards, its version loses data.
    #[error(transparent)]
    Store(OpenError),
    /// The store has stopped, after a failed sync or a close.
    #[error("the store has stopped")]
    Stopped,
    /// This node is out of its fleet, or about to enter it again: nothing was written.
    #[error("this node has no place in the fleet at the moment")]
    Fenced,
    /// No node has offered its place under this prefix of etcd.
    #[error("there is no fleet under this prefix of etcd")]
    NoFleet,
    /// Whether the write happened could not be found out; ask again.
    #[error("the outcome of the write is unknown")]
    OutcomeUnknown,
    /// Somebody else kept changing the same records.
    #[error("too many conflicting changes")]
    Contended,
    /// Records of ended logins could not be removed: they may be good again after a restart. Try again.
    #[error("the records of ended logins could not be removed; try again")]
    LoginsStay,
    /// The key set has this id already, with other properties.
    #[error("a key set of this id exists already")]
    KeySetExists,
    /// A policy may be tightened, not loosened.
    #[error("a policy can be tightened, not loosened")]
    PolicyLoosened,
    /// Nothing becomes `fips` while a power-on self-test has failed. The names of the tests.
    #[error("self-tests have failed ({0}): nothing is served under the policy fips")]
    SelfTests(String),
    /// Stretching a passphrase failed for want of memory or by bad cost parameters.
    #[error("the passphrase cannot be stretched")]
    Stretch,
    /// Reading or writing files failed.
    #[error("keystore input or output failed: {0}")]
    Io(#[from] io::Error),
    /// A backup could not be made; what was there before stays.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A backup that is not restored. Nothing that is served was changed.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// A restore of the whole store was cut off.
    #[error("a restore did not come to its end here; repeat it, or remove the folder")]
    RestoreUnfinished,
    /// Others than the owner may read or write the backup key file.
    #[error("the backup key file has mode {mode:04o}; it must be 0400 or 0600")]
    BackupKeyExposed {
        /// Its permission bits.
        mode: u32,
    },
    /// No backup key file.
    #[error("the file does not hold a backup key")]
    BackupKeyMalformed,
    /// The journal segments are too small for the limits.
    #[error("a journal segment of {0} bytes is too small")]
    SegmentTooSmall(u64),
    /// Closing failed; nothing acknowledged is lost by it.
    #[error(transparent)]
    Close(#[from] CloseError),
}

impl From<CommitError> for Error {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Full => Self::Full,
            CommitError::Quarantined(group) => Self::Quarantined(group),
            CommitError::Stopped => Self::Stopped,
            CommitError::Unavailable => Self::Unreachable("no member answers".to_owned()),
            CommitError::TooLarge { .. } | CommitError::DuplicatePath(_) | CommitError::VersionZero(_) => {
                Self::TooLarge
            }
        }
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Locked => Self::Locked,
            OpenError::WrongKeys => Self::WrongMasterKey,
            OpenError::Lost => Self::StoreLost,
            OpenError::SegmentTooSmall(bytes) => Self::SegmentTooSmall(bytes),
            OpenError::Io(error) => Self::Io(error),
            OpenError::Unreachable(why) => Self::Unreachable(why),
            error @ (OpenError::EtcdVersion { .. } | OpenError::InUse { .. } | OpenError::WentBack { .. }) => {
                Self::Store(error)
            }
        }
    }
}

impl From<RootError> for Error {
    fn from(error: RootError) -> Self {
        match error {
            RootError::Damaged => Self::RootDamaged,
            RootError::Io(error) => Self::Io(error),
        }
    }
}

impl From<LockError> for Error {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Taken => Self::Locked,
            LockError::Io(error) => Self::Io(error),
        }
    }
}

impl Error {
    /// Whether the store did not answer in time, or not so that one knows what became of a batch: the same asked again may succeed.
    pub(crate) const fn is_passing(&self) -> bool {
        matches!(self, Self::OutcomeUnknown | Self::Unreachable(_))
    }

    /// The return value of a PKCS#11 call that met this error.
    #[must_use]
    pub fn rv(&self) -> Rv {
        match self {
            Self::Full | Self::TooLarge => Rv::DEVICE_MEMORY,
            Self::OutcomeUnknown | Self::Contended => Rv::FUNCTION_FAILED,
            Self::Stretch => Rv::HOST_MEMORY,
            _ => Rv::DEVICE_ERROR,
        }
    }
}
