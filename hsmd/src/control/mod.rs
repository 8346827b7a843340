//! The control plane: records of HSMs, partitions, groups and clients with their state machines, and the gRPC services over
//! them.
//!
//! `records` is what is stored; `model` with `hsms`, `partitions`, `groups` (with
//! `moves`, `clone` and `virtual_slots`), `clients`, `assignments`, `officers` (of HSMs), `provision` and `rekey` (what is in partitions), `subnets`, `tags` changes it; `shapes` and `fields`
//! are the rules of the API as rows; `fault` is the table of errors; `cloudhsm` and `admin` are the services, `listener` their
//! socket. Keys are none of its business: it makes, shares and deletes key sets.

mod access;
mod admin;
mod administrators;
mod assignments;
mod backup;
mod certificate;
mod chrystoki;
mod clients;
mod clone;
mod cloudhsm;
mod denials;
mod documents;
mod fault;
mod fields;
mod fleet;
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod groups;
mod homes;
mod hsms;
mod identity;
mod incoming;
mod listener;
mod model;
mod moves;
mod officers;
mod origin;
mod page;
mod partitions;
mod provision;
mod records;
mod rekey;
mod restore;
mod shapes;
mod strangers;
mod subnets;
mod tags;
mod virtual_slots;

#[cfg(test)]
mod tests;

pub(crate) use access::Caller;
pub use administrators::AdminRecord;
pub use assignments::{Assignment, Revoked};
pub use certificate::CertificateError;
pub(crate) use denials::Denials;
pub use groups::{GroupChange, GroupView};
pub use hsms::HsmChange;
pub(crate) use incoming::Sockets;
pub(crate) use listener::serve;
pub use model::{Model, ModelError, NewHsm};
pub use officers::OfficerView;
pub(crate) use origin::Open;
pub use provision::{NewPartition, RoleView};
pub use records::{ClientRecord, GroupRecord, HsmRecord, HsmState, PartitionRecord, Tags, UserRecord};
