//! Storage of sealed records: one shared layer (compare, versions, revisions, heads, watch, limits) over three engines: memory,
//! sled with a journal, and etcd. It sees ciphertext only, knows nothing of PKCS#11 and depends on no other crate of this project.
//!
//! What is promised, and where it is kept:
//! * INV-2, acknowledged is durable: `journal` (sealed, chained, `fdatasync`ed before the answer).
//! * INV-7, damage is noticed and named: `head` (keyed sums per group), `journal`, `backup`, `open`.
//! * INV-3, one batch is atomic: one journal frame holds whole batches.
//!
//! The folder of a store on disk:
//!
//! | name | what |
//! |---|---|
//! | `lock` | held while a daemon uses the folder |
//! | `store.0`, `store.1` | root value, twice: mark of the keys, where the journal began, whether the end was clean |
//! | `journal/<n>.seg` | segments of fixed size: those in use, then one or two of zeros |
//! | `backup/<revision>.bak` | (`container`) the two newest automatic backups; the journal reaches back to the older one |
//! | `sled.<n>/` | sled's folder, which can be rebuilt from the two above |
//! | `damaged/` | segments and backups that were found damaged, put aside; the operator may remove them |
//!
//! What is deliberately absent: decryption of records, queries other than by path prefix, transactions over several batches.

#![cfg_attr(
    not(feature = "etcd"),
    allow(dead_code, reason = "what an engine can answer, and what only etcd's answers")
)]

mod backup;
mod batch;
mod codec;
pub mod container;
mod disk;
mod embedded;
mod engine;
#[cfg(feature = "etcd")]
mod etcd;
mod faults;
#[doc(hidden)]
pub mod fuzzing;
mod head;
mod journal;
mod keeper;
mod keys;
mod lock;
mod open;
mod path;
mod primitive;
mod replay;
mod report;
mod root;
mod root_value;
mod sealing;
mod seat;
mod snapshot;
mod state;
mod store;
mod tree;
mod watch;

#[cfg(feature = "etcd")]
pub use etcd::{EtcdOptions, EtcdTls, EtcdUrl, EtcdUrlError, WriterId, join_value, offer_join_value};

pub use batch::{Batch, CommitError, Compare, Limit, Limits, Outcome, Record, Revision, Write};
pub use faults::{Fault, Faults, Loss, Step};
pub use keys::StoreKeys;
pub use lock::{FolderLock, LockError};
pub use open::SledOptions;
pub use path::{Path, PathError};
pub use report::{
    BackupError, BackupInfo, CheckReport, CloseError, EtcdStatus, Fatal, LoadReport, Loaded, Notice, OpenError,
    SledFault, StoreStatus, SyncTimes, Trouble,
};
pub use root::{RootError, RootFiles};
pub use snapshot::Snapshot;
pub use store::Store;
pub use watch::{Change, Changes, Compacted, Watch};
