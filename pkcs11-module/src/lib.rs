//! `libhsmd_pkcs11.so`: the PKCS#11 module of hsmd. Applications load it; it talks to the daemon and never sees a key.
//!
//! ```text
//! abi/        C functions, function lists, the caller's pointers            the only unsafe code
//! ops/        one file per function family: checks, then at most one request
//! state/      instance, slots, logins, sessions, objects, operation phases
//! transport/  connections, their pool, retries until the deadline
//! config.rs   where the daemon is, config/ and pem.rs: the files that say it
//! local.rs    digests, random and public-key operations in this process
//! ```
//!
//! Deliberately absent: threads, an async runtime, logs, a panic hook, signal handlers, key values that outlive a call
//! (INV-1, INV-9). What the rules are is in `hsmd-proto` (Init validation, mechanism table); what keys do is in the
//! daemon.

mod abi;
mod config;
#[doc(hidden)]
pub mod fuzzing;
mod local;
mod ops;
mod pem;
mod state;
mod transport;
