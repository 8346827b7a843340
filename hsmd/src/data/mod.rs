//! The data plane: a Unix socket, TCP under mutual TLS, one thread per connection, framed requests (`docs/protocol.md`).
//!
//! `listener` (Unix) and `remote` (TCP) accept and know the peer, `stream` is what they give to its connection, `connection` reads and answers, `dispatch` says what a request waits for and
//! which function answers it, `turnstile` keeps order among those that wait, `pulse` sends heartbeats, `traffic`
//! says whether those who wait may poll, and one file per PKCS#11 function family does the work: `token`, `login`, `object`, `find`, `key`,
//! `sign`, `crypt`, `digest`, `wrap`, `random`.

mod call;
mod clients;
mod connection;
mod crypt;
mod digest;
mod dispatch;
mod find;
pub mod fuzzing;
mod key;
mod listener;
mod login;
mod object;
mod pulse;
mod random;
mod reader;
mod remote;
mod sign;
mod stream;
mod token;
mod traffic;
mod turnstile;
mod wrap;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use clients::{Access, Clients, Peer, certificate_identity, local_identity};
pub(crate) use dispatch::NAMES;
pub(crate) use listener::{Listener, bind_socket};
pub(crate) use pulse::Pulse;
pub(crate) use remote::Remote;
pub(crate) use traffic::Traffic;
pub(crate) use turnstile::Turnstile;
