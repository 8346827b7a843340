//! The engine: [`ffi`] is the only folder of the crate with `unsafe`; what it offers are safe functions over owning types.
//! Here stand the plain types that its functions take.
//!
//! Used for what aws-lc-rs' safe API lacks (arbitrary DigestInfo, PSS and OAEP with any hash and mask, AES-192, any IV
//! length, keys from their numbers) and where it would allocate or keep secrets in values that move.

pub(crate) mod ffi;

use hsmd_proto::ck::MechanismType;

/// Encrypt or decrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Encrypt,
    Decrypt,
}

/// An AES block.
pub(crate) type Block = [u8; 16];

/// Kinds of authenticated encryption.
#[derive(Clone, Copy)]
pub(crate) enum AeadKind {
    /// Keys of 16, 24 or 32 bytes, tags of 1 to 16, any IV but the empty one (SP 800-38D).
    Gcm,
    /// Keys of 32 bytes, tags of 16, nonces of 12 (RFC 8439).
    ChaCha,
    /// Keys of 32 bytes, tags of 16, nonces of 12 (RFC 8452).
    GcmSiv,
}

/// RSA's numbers, big-endian.
pub(crate) struct RsaNumbers<'a> {
    pub(crate) n: &'a [u8],
    pub(crate) e: &'a [u8],
    pub(crate) d: Option<&'a [u8]>,
    /// p, q, dp, dq, qi.
    pub(crate) crt: Option<[&'a [u8]; 5]>,
}

/// Which half of an RSA key.
#[derive(Clone, Copy)]
pub(crate) enum RsaHalf {
    Private,
    Public,
}

/// The hashes of PSS and OAEP.
#[derive(Clone, Copy)]
pub(crate) struct RsaHashes {
    pub(crate) hash: MechanismType,
    pub(crate) mgf: MechanismType,
}
