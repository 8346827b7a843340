//! External key stores: the XKS proxy API, version 1, from both sides. `client` is KMS's side, towards any proxy; `proxy` is a
//! proxy in front of a partition of hsmd. What both say is in `wire`, how it is signed in `sigv4`, which errors a proxy may
//! answer in `error`, and what they mean to callers of KMS in `mapping`.
//!
//! Specification: <https://github.com/aws/aws-kms-xksproxy-api-spec>, version 1.0.3.

pub(crate) mod client;
pub(crate) mod error;
#[doc(hidden)]
pub mod fuzzing;
pub(crate) mod mapping;
pub(crate) mod outbound;
pub(crate) mod proxy;
mod sigv4;
mod wire;

/// Whether a text can name an external key: 1 to 128 letters, digits, `-`, `_` and `.`. The names `.` and `..`, which the
/// specification does not exclude, would be lost on the way: they are parts of paths.
pub(crate) fn is_key_id(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=128).contains(&text.len()) && text.bytes().all(good) && text != "." && text != ".."
}
