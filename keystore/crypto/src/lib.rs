//! Cryptographic providers bound to the mechanism table, and the types that hold secrets.
//!
//! [`Material`] is a key's value as data; [`Key`] is the same key parsed once and ready to use. What a mechanism means
//! is decided by `hsmd_proto::mechanism::Row::family`; this crate binds each family to code. The engine is aws-lc
//! (DESIGN 6); RustCrypto is the oracle of the tests.
//!
//! Not here: who may use a key and how (that is `hsmd-keystore`), PKCS#11 attributes, any I/O.

mod awslc;
pub mod check_value;
pub mod digest;
mod encoding;
mod error;
mod generate;
mod key;
mod material;
mod password;
pub mod pin;
pub mod pkcs8;
pub mod point;
pub mod random;
pub mod seal;
pub mod secret;
pub mod selftest;
mod sha3;
mod slh_dsa;

pub use check_value::check_value;
pub use error::{KeyError, OpError};
pub use generate::{Generate, PairCheck, generate, generate_open};
pub use key::Key;
pub use key::des3::{is_key as is_des3_key, set_parity as set_des3_parity};
pub use key::xts::is_key as is_xts_key;
pub use material::{Input, Material, RsaCrt, RsaPrivate};
pub use password::pbkdf2;
