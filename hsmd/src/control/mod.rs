//! The control plane: HSM and partition records with their state machines, and the gRPC services over them.
//!
//! `records` is what is stored, `model` changes it, `check` knows the patterns of the API, `cloudhsm` and `admin` are the
//! services, `listener` their socket. Keys are none of its business: it makes and deletes key sets.

mod admin;
mod check;
mod cloudhsm;
mod listener;
mod model;
mod partitions;
mod records;

#[cfg(test)]
mod tests;

pub(crate) use listener::serve;
pub use model::{Model, ModelError, NewHsm};
pub use records::{HsmRecord, HsmState, PartitionRecord};
