//! SHA-1 and SHA-2 (FIPS 180-4) whose running state can be taken out and put back: operation state, C_DigestKey. The form is
//! the same as of the other engine, so that a state goes on under either.

use super::hash::Running;
use hsmd_proto::ck::MechanismType as M;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use zeroize::{Zeroize, Zeroizing};

/// A running hash.
#[derive(Clone)]
pub(crate) struct Sha {
    hash: M,
    running: Running,
}

/// Bytes of a state and of a word in it, and of a block; `None` if the hash is neither SHA-1 nor SHA-2.
const fn sizes(hash: M) -> Option<(usize, usize, usize)> {
    Some(match hash {
        M::SHA_1 => (20, 4, 64),
        M::SHA224 | M::SHA256 => (32, 4, 64),
        M::SHA384 | M::SHA512 | M::SHA512_224 | M::SHA512_256 => (64, 8, 128),
        _ => return None,
    })
}

/// Bytes of the count of blocks in the crate's own form.
const fn counter(block: usize) -> usize {
    block / 8
}

/// The same for both kinds.
macro_rules! each {
    ($of:expr, $hash:ident => $body:expr) => {
        match $of {
            Running::Sha1($hash) => Some($body),
            Running::Sha224($hash) => Some($body),
            Running::Sha256($hash) => Some($body),
            Running::Sha384($hash) => Some($body),
            Running::Sha512($hash) => Some($body),
            Running::Sha512_224($hash) => Some($body),
            Running::Sha512_256($hash) => Some($body),
            _ => None,
        }
    };
}

impl Sha {
    /// Begins; `None` if `hash` is neither SHA-1 nor SHA-2.
    pub(crate) fn new(hash: M) -> Option<Self> {
        sizes(hash)?;
        let running = Running::new(hash)?;
        Some(Self { hash, running })
    }

    /// Adds data.
    #[expect(clippy::unnecessary_wraps, reason = "the other engine may fail")]
    pub(crate) fn update(&mut self, data: &[u8]) -> Option<()> {
        self.running.update(data);
        Some(())
    }

    /// The digest into the front of `out`; gives its length, and cannot go on.
    #[expect(clippy::unnecessary_wraps, reason = "the other engine may fail")]
    pub(crate) fn finish(&mut self, out: &mut [u8; 64]) -> Option<usize> {
        Some(self.running.finish(out))
    }

    /// The state: the chaining value, big endian; how many bytes were added, 8 bytes little endian; those of them that fill
    /// no block yet.
    pub(crate) fn export(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(64 + 8 + 128));
        let (Some((state, word, block)), Some(taken)) = (sizes(self.hash), each!(&self.running, hash => taken(hash)))
        else {
            return out;
        };
        // The crate's: the chaining value and the count of whole blocks, both little endian; how many bytes are pending; those.
        let (words, rest) = taken.split_at(state);
        let (blocks, pending) = rest.split_at(counter(block));
        for word in words.chunks(word) {
            out.extend(word.iter().rev());
        }
        let count = usize::from(pending[0]);
        let mut low = [0; 8];
        low.copy_from_slice(&blocks[..8]);
        let total = u64::from_le_bytes(low) * block as u64 + count as u64;
        out.extend_from_slice(&total.to_le_bytes());
        out.extend_from_slice(&pending[1..=count]);
        out
    }

    /// Goes on from a state that [`Self::export`] gave; `None` for bytes that are none.
    pub(crate) fn import(hash: M, bytes: &[u8]) -> Option<Self> {
        let (state, word, block) = sizes(hash)?;
        let (words, rest) = bytes.split_at_checked(state)?;
        let (total, pending) = rest.split_first_chunk::<8>()?;
        let total = u64::from_le_bytes(*total);
        // No message is longer (FIPS 180-4, 5.1.1), and aws-lc counts bits.
        total.checked_mul(8)?;
        if pending.len() as u64 != total % block as u64 {
            return None;
        }
        let mut own = Zeroizing::new(Vec::with_capacity(state + counter(block) + 1 + block));
        for word in words.chunks(word) {
            own.extend(word.iter().rev());
        }
        own.extend_from_slice(&(total / block as u64).to_le_bytes());
        own.resize(state + counter(block), 0);
        own.push(pending.len() as u8);
        own.extend_from_slice(pending);
        let mut sha = Self::new(hash)?;
        each!(&mut sha.running, hash => put_back(hash, &mut own)?)?;
        Some(sha)
    }
}

fn taken<H: SerializableState>(hash: &H) -> Zeroizing<Vec<u8>> {
    let mut state = hash.serialize();
    let taken = Zeroizing::new(state.to_vec());
    state.as_mut_slice().zeroize();
    taken
}

fn put_back<H: SerializableState>(hash: &mut H, bytes: &mut [u8]) -> Option<()> {
    let mut state = SerializedState::<H>::default();
    state.get_mut(..bytes.len())?.copy_from_slice(bytes);
    *hash = H::deserialize(&state).ok()?;
    state.as_mut_slice().zeroize();
    Some(())
}
