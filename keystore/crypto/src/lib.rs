//! Cryptographic providers bound to the mechanism table, and the types that hold secrets.
//!
//! [`Material`] is a key's value as data; [`Key`] is the same key parsed once and ready to use. What a mechanism means
//! is decided by `hsmd_proto::mechanism::Row::family`; this crate binds each family to code. The engine is aws-lc
//! (DESIGN 6), and RustCrypto the oracle of the tests; with the feature `portable` alone RustCrypto computes (docs/providers.md).
//!
//! Not here: who may use a key and how (that is `hsmd-keystore`), PKCS#11 attributes, any I/O.

#[cfg(not(any(feature = "aws-lc", feature = "portable")))]
compile_error!("hsmd-crypto needs one of the features `aws-lc` (the default) and `portable`");

#[cfg(feature = "aws-lc")]
mod awslc;
mod blake2b;
pub mod check_value;
pub mod digest;
mod encoding;
mod engine;
mod error;
mod generate;
mod key;
mod material;
mod password;
pub mod pin;
pub mod pkcs8;
pub mod point;
#[cfg(any(test, not(feature = "aws-lc")))]
mod portable;
pub mod provider;
pub mod random;
pub mod seal;
pub mod secret;
pub mod selftest;
mod sha3;
mod slh_dsa;
mod stateful;

pub use check_value::check_value;
pub use error::{KeyError, OpError};
pub use generate::{Generate, PairCheck, generate, generate_open};
pub use key::Key;
pub use key::des3::{is_key as is_des3_key, set_parity as set_des3_parity};
pub use key::xts::is_key as is_xts_key;
pub use material::{Input, Material, RsaCrt, RsaPrivate};
pub use password::pbkdf2;
