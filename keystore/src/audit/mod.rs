//! The audit log (DESIGN 9): what was done to keys, PINs, partitions and the daemon, by whom, with what result.
//!
//! An act that changes the store puts a *pending record* into the batch of the act, so that neither is without the other (INV-2).
//! One thread, the *chainer*, moves pending records in the order of their commits into the node's gapless hash chain; a record
//! goes in the batch that chains it, so that nothing is chained twice or lost (INV-10). Heads of the chain are signed by the log's
//! own Ed25519 key; its public half is all that a verifier needs.
//!
//! Reading order: `act` (the table), `event` (one record and its line), `scene` (who), `chain` (hashes and signatures),
//! `log` (the handle), `chainer`, `limiter`. It is not the daemon's trace log, and it does not know gRPC, files or syslog: those
//! are `hsmd/src/audit/`. Format and threat model: `docs/audit.md`.

mod act;
mod chain;
mod chainer;
mod event;
mod limiter;
mod log;
mod records;
mod scene;
mod settings;
mod verify;

pub use act::Act;
pub use chain::{Hash, SignedHead, digest, head_text, link, origin, range_text, verify_signature};
pub use event::{Event, Outcome, Who, time_text};
pub use log::{Audit, Chained, Segments};
pub use records::Segment;
pub use scene::{Place, Scene, at, current, within};
pub use settings::AuditOptions;
pub use verify::{Report, Trouble, check_segments};
