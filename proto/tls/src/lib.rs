//! A TLS 1.3 session of the data plane without I/O: the daemon and the module bring the bytes, each with sockets of its own
//! kind, and take frames out ([docs/protocol.md](../../../docs/protocol.md#transport)).
//!
//! rustls does the handshake, the records and the checks; nothing here decides who is trusted (`hsmd/src/pki/`, and the
//! module's `transport/tls.rs`). What this adds is buffers: records are opened where they were read, and what held
//! plaintext is wiped. rustls keeps one copy of a record's plaintext for a moment and frees it unwiped (threat model,
//! "Known limits").

mod buffer;
mod groups;
mod session;
#[cfg(test)]
mod tests;

pub use groups::with_groups;
pub use session::{Read, Session, Side, TlsError};
