//! aws-lc as the engine: [`ffi`] is the only folder of the crate with `unsafe`; what it offers are safe functions over owning
//! types, those that [`crate::engine`] names.
//!
//! aws-lc-sys is used for what aws-lc-rs' safe API lacks (arbitrary DigestInfo, PSS and OAEP with any hash and mask, AES-192,
//! any IV length, keys from their numbers) and where it would allocate or keep secrets in values that move.

pub(crate) mod ffi;
