//! The data plane: a Unix socket, one task per connection, framed requests (`docs/protocol.md`).
//!
//! `listener` accepts and knows the peer, `connection` reads, waits and answers, `dispatch` says where a request runs and
//! by which function, and one file per PKCS#11 function family does it: `token`, `login`, `object`, `find`, `key`,
//! `sign`, `crypt`, `wrap`, `random`.

mod call;
mod clients;
mod connection;
mod crypt;
mod dispatch;
mod find;
pub mod fuzzing;
mod key;
mod listener;
mod login;
mod object;
mod pool;
mod random;
mod reader;
mod sign;
mod token;
mod wrap;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use clients::Clients;
pub(crate) use listener::{Listener, bind_socket};
pub(crate) use pool::Pool;
