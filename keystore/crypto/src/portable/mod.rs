//! RustCrypto as the engine: safe Rust alone, for machines without a C compiler. The names, types and promises are those of
//! [`crate::engine`]; `None` stands for any failure. One file per family of algorithms.
//!
//! Slower than aws-lc (docs/providers.md), and RSA's private operations have an open advisory (RUSTSEC-2023-0071): they are
//! blinded and checked, but the arithmetic below is not held to take the same time for each key. Schedules and states are
//! wiped when they are dropped; what a function left on the stack [`ScrubbedStack`] overwrites.
#![cfg_attr(
    feature = "aws-lc",
    allow(
        dead_code,
        unused_imports,
        reason = "aws-lc computes; tests hold this engine against it"
    )
)]

mod aead;
mod aes;
mod curve25519;
mod des;
mod dh;
mod ec;
mod hash;
mod quantum;
mod random;
mod rsa;
mod sha;
mod shake;
#[cfg(all(test, feature = "aws-lc"))]
mod tests;

pub(crate) use aead::{Aead, ccm_open, ccm_seal};
pub(crate) use aes::{Aes, ecb};
pub(crate) use curve25519::{EdPrivate, EdPublic, x25519, x25519_public};
pub(crate) use des::Des3;
pub(crate) use dh::power;
pub(crate) use ec::Ec;
pub(crate) use hash::{Hasher, Hmac, digest, pbkdf2};
pub(crate) use quantum::Lattice;
pub(crate) use random::draw;
pub(crate) use rsa::Rsa;
pub(crate) use sha::Sha;
pub(crate) use shake::{Shake, shake256};

use crate::engine::ScrubbedStack;
use zeroize::Zeroize;

/// Wipes bytes that a crate gave away.
fn wipe(mut bytes: Box<[u8]>) {
    bytes.zeroize();
}
