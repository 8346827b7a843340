//! The HSM boundary: key sets, objects, attribute rules, policy, PINs, logins, sealing. Whoever wants something of a key asks
//! the key set to do it; the value of a private or secret key leaves this crate only wrapped, or by `C_GetAttributeValue` on a key
//! that is extractable and not sensitive (INV-1).
//!
//! Fully synchronous; it does I/O only through `hsmd-store` and its own root and master key files. It knows nothing of sockets,
//! slots, HSMs or groups: those are `hsmd`. Architecture: `docs/architecture.md`.
#![forbid(unsafe_code)]

pub mod audit;
mod background;
mod backup;
mod caller;
mod core;
mod document;
mod engine;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod key_set;
mod keystore;
mod login;
mod master_key;
mod merge;
mod migrate;
mod objects;
mod options;
mod pin;
#[cfg(feature = "planted")]
pub mod planted;
mod records;
mod root;
mod seal;
mod secrets;
mod shared;
#[cfg(test)]
mod tests;
mod ticket;
mod tries;
mod verifier;

pub use backup::{
    AutomaticBackup, BackupDocuments, BackupKey, BackupRequest, BackupScope, BackupSecret, Contents, Incoming,
    KeySetContents, Manifest, RestoreError, RestoreTarget, StageOptions, Staged, StagedSet, automatic_backups,
};
pub use caller::{Caller, Context, Identity};
pub use document::{
    Document, DocumentBatch, DocumentBatchOutcome, DocumentChanges, DocumentEvent, DocumentOutcome, DocumentPage,
    DocumentUsage, DocumentWrite, DocumentsForgotten,
};
#[cfg(feature = "etcd")]
pub use engine::EtcdPlace;
pub use error::Error;
pub use hsmd_crypto::Input;
pub use hsmd_crypto::pin::PinCost;
pub use hsmd_crypto::secret::Secret;
pub use hsmd_fleet::{NodeId as FleetNodeId, Raised, Standing};
pub use hsmd_store::container::{
    ContainerError, HEADER_BYTES as BACKUP_HEADER_BYTES, Header as BackupHeader, KeySource as BackupKeySource,
};
pub use hsmd_store::{
    BackupInfo, CheckReport, EtcdStatus, Fatal, Fault, Faults, LoadReport, Notice, Step, StoreStatus, SyncTimes,
};
#[cfg(feature = "etcd")]
pub use hsmd_store::{EtcdTls, EtcdUrl, EtcdUrlError};
pub use key_set::{GrantId, KeySet, LoginView, Quota, Rekey, RekeyError, RoleState, TokenState, Used};
pub use keystore::{Keystore, Status};
pub use login::{Login, Role};
pub use master_key::MasterKey;
pub use merge::{Copied, Joined, KeySetChange, MergeError, MergeKeys};
pub use objects::{DigestFrom, DigestStep, ObjectRef, ObjectView};
pub use options::Options;
pub use shared::{Followed, NodeFacts, Peers, take_barrier, take_unsettled};
pub use ticket::Ticket;
