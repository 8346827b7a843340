//! What computes, chosen when the crate is compiled and in this place alone: aws-lc ([`crate::awslc`], feature `aws-lc`,
//! the default), or RustCrypto (`portable`, for machines without a C compiler). Both offer the names below, with the same
//! promises; with both features aws-lc computes, and tests hold the other against it (decision 0019).
//!
//! Here stand also the plain types that these functions take.

#[cfg(feature = "aws-lc")]
use crate::awslc::ffi as chosen;
#[cfg(not(feature = "aws-lc"))]
use crate::portable as chosen;

pub(crate) use chosen::{
    Aead, Aes, Des3, Ec, EdPrivate, EdPublic, Hasher, Hmac, Lattice, Rsa, Sha, Shake, ccm_open, ccm_seal, digest, draw,
    ecb, pbkdf2, power, shake256, x25519, x25519_public,
};

use hsmd_proto::ck::MechanismType;

/// Encrypt or decrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Encrypt,
    Decrypt,
}

/// An AES block.
pub(crate) type Block = [u8; 16];

/// A block of Triple DES.
pub(crate) type Block8 = [u8; 8];

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

/// An instance of Ed25519 with a context of at most 255 bytes (RFC 8032, 5.1).
#[derive(Clone, Copy)]
pub(crate) struct EdInstance<'a> {
    /// Ed25519ph, which signs the message's SHA-512; else Ed25519ctx.
    pub(crate) prehash: bool,
    pub(crate) context: &'a [u8],
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

/// Overwrites the stack below the function that holds it, when that function ends: there the engine's own frames leave a copy
/// of a scalar (a private key, or the nonce of a signature), a piece of a message, or a key schedule on its way to the heap
/// (INV-1; found by `soak leak-scan`).
pub(crate) struct ScrubbedStack;

/// Deeper than the engine's frames down to that copy; about 0.1 us.
const SCRUBBED: usize = 8 << 10;

impl Drop for ScrubbedStack {
    fn drop(&mut self) {
        #[inline(never)]
        fn overwrite() {
            std::hint::black_box(&mut [0_u8; SCRUBBED]);
        }
        overwrite();
    }
}
