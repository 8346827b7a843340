//! SHA-3 (FIPS 202) whose running state can be taken out and put back: operation state, C_DigestKey. aws-lc keeps that state
//! to itself, so the running digests are the `sha3` crate's; digests of whole data are aws-lc's (`awslc`), and tests hold the
//! two against each other.

use hsmd_proto::ck::MechanismType as M;
use sha3::digest::common::hazmat::{SerializableState, SerializedState};
use sha3::digest::{FixedOutputReset, Output, Update};
use zeroize::{Zeroize, Zeroizing};

/// A running hash. It is wiped when it is dropped.
#[derive(Clone)]
pub(crate) enum Sha3 {
    Sha224(sha3::Sha3_224),
    Sha256(sha3::Sha3_256),
    Sha384(sha3::Sha3_384),
    Sha512(sha3::Sha3_512),
}

/// The same for all four.
macro_rules! each {
    ($of:expr, $hash:ident => $body:expr) => {
        match $of {
            Self::Sha224($hash) => $body,
            Self::Sha256($hash) => $body,
            Self::Sha384($hash) => $body,
            Self::Sha512($hash) => $body,
        }
    };
}

impl Sha3 {
    /// Begins; `None` if `hash` is no SHA-3.
    pub(crate) fn new(hash: M) -> Option<Self> {
        Some(match hash {
            M::SHA3_224 => Self::Sha224(sha3::Sha3_224::default()),
            M::SHA3_256 => Self::Sha256(sha3::Sha3_256::default()),
            M::SHA3_384 => Self::Sha384(sha3::Sha3_384::default()),
            M::SHA3_512 => Self::Sha512(sha3::Sha3_512::default()),
            _ => return None,
        })
    }

    /// Adds data.
    pub(crate) fn update(&mut self, data: &[u8]) {
        each!(self, hash => hash.update(data));
    }

    /// The digest into the front of `out`; gives its length, and begins anew. By reference: a move would leave a copy of the state
    /// behind, in the memory that was moved from (INV-1).
    pub(crate) fn finish(&mut self, out: &mut [u8; 64]) -> usize {
        each!(self, hash => write(hash, out))
    }

    /// The state: 200 bytes of it, and how far into a block it is.
    pub(crate) fn export(&self) -> Zeroizing<Vec<u8>> {
        each!(self, hash => taken(hash))
    }

    /// Goes on from a state that [`Self::export`] gave; `None` for bytes that are none.
    pub(crate) fn import(hash: M, bytes: &[u8]) -> Option<Self> {
        Some(match hash {
            M::SHA3_224 => Self::Sha224(put_back(bytes)?),
            M::SHA3_256 => Self::Sha256(put_back(bytes)?),
            M::SHA3_384 => Self::Sha384(put_back(bytes)?),
            M::SHA3_512 => Self::Sha512(put_back(bytes)?),
            _ => return None,
        })
    }
}

/// The digest of a running hash into the front of `out`; gives its length. The hash begins anew.
pub(crate) fn write<H: FixedOutputReset>(hash: &mut H, out: &mut [u8; 64]) -> usize {
    let mut digest = Output::<H>::default();
    hash.finalize_into_reset(&mut digest);
    let length = digest.len();
    out[..length].copy_from_slice(&digest);
    digest.as_mut_slice().zeroize();
    length
}

fn taken<H: SerializableState>(hash: &H) -> Zeroizing<Vec<u8>> {
    let mut state = hash.serialize();
    let taken = Zeroizing::new(state.to_vec());
    state.as_mut_slice().zeroize();
    taken
}

fn put_back<H: SerializableState>(bytes: &[u8]) -> Option<H> {
    let state: &SerializedState<H> = bytes.try_into().ok()?;
    H::deserialize(state).ok()
}
