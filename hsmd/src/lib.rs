//! The hsmd daemon and its administrator's tool.
//!
//! `data` is what applications talk to (framed requests on a Unix socket), `control` what administrators talk to (gRPC),
//! `node` what both share. Keys and what is done with them are in `hsmd-keystore`; here nothing reads a key. `ctl` is
//! `hsmctl`, a client of the control plane like any other. Code map: `docs/architecture.md`.
#![deny(unsafe_code)]

mod audit;
pub mod cli;
pub mod config;
pub mod control;
pub mod ctl;
mod data;
pub mod dev;
mod files;
mod fleet;
pub mod init;
pub mod join;
pub mod log;
pub mod memory;
mod metrics;
pub mod node;
mod notify;
mod passphrase;
mod pki;
mod provider;
pub mod restore;
pub mod server;
pub mod slots;
mod trouble;

#[doc(hidden)]
pub use data::fuzzing;
