//! The C edge, and the only place of this crate where `unsafe` is allowed: entry functions, function lists, the caller's
//! pointers, the process record, and what the operating system tells only through C. No PKCS#11 rule lives here.
#![allow(unsafe_code, reason = "STYLE 8: raw pointers become typed values here, once")]

mod entry;
mod kbkdf;
mod lists;
pub(crate) mod mechanism;
pub(crate) mod message;
pub(crate) mod os;
mod password;
pub(crate) mod pointers;
mod process;
pub(crate) mod template;
mod tls;
mod v2;
mod v3;

#[cfg(test)]
mod tests;
