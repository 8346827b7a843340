//! SHA-1 and SHA-2 (FIPS 180-4) whose running state can be taken out and put back: operation state, C_DigestKey. The digests
//! of whole data and SHA-3 are in `hash.rs`.

use super::{check, cleanse, sys, view};
use hsmd_proto::ck::MechanismType as M;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use zeroize::Zeroizing;

/// A running hash. aws-lc's structures are plain numbers here, so that they may move and be copied.
#[derive(Clone)]
pub(crate) struct Sha {
    hash: M,
    state: State,
}

#[derive(Clone)]
enum State {
    Sha1(sys::SHA_CTX),
    Sha256(sys::SHA256_CTX),
    Sha512(sys::SHA512_CTX),
}

/// A context after its Init.
fn start<T>(init: unsafe extern "C" fn(*mut T) -> c_int) -> Option<T> {
    let mut context = MaybeUninit::zeroed();
    // SAFETY: one of the Init functions of `Sha::new`, which makes the context of its own type whole.
    unsafe {
        check(init(context.as_mut_ptr()))?;
        Some(context.assume_init())
    }
}

impl Sha {
    /// Begins; `None` if `hash` is neither SHA-1 nor SHA-2.
    pub(crate) fn new(hash: M) -> Option<Self> {
        let state = match hash {
            M::SHA_1 => State::Sha1(start(sys::SHA1_Init)?),
            M::SHA224 => State::Sha256(start(sys::SHA224_Init)?),
            M::SHA256 => State::Sha256(start(sys::SHA256_Init)?),
            M::SHA384 => State::Sha512(start(sys::SHA384_Init)?),
            M::SHA512 => State::Sha512(start(sys::SHA512_Init)?),
            M::SHA512_224 => State::Sha512(start(sys::SHA512_224_Init)?),
            M::SHA512_256 => State::Sha512(start(sys::SHA512_256_Init)?),
            _ => return None,
        };
        Some(Self { hash, state })
    }

    /// Adds data.
    pub(crate) fn update(&mut self, data: &[u8]) -> Option<()> {
        let (data, length) = view(data);
        let data = data.cast();
        // SAFETY: initialised contexts, borrowed alone; reads `length` bytes. SHA-224, SHA-384
        // and SHA-512/t differ from their siblings in Init and Final only.
        check(unsafe {
            match &mut self.state {
                State::Sha1(context) => sys::SHA1_Update(context, data, length),
                State::Sha256(context) => sys::SHA256_Update(context, data, length),
                State::Sha512(context) => sys::SHA512_Update(context, data, length),
            }
        })
    }

    /// The digest into the front of `out`; gives its length, and cannot go on. By reference: a move would leave a copy of the last
    /// bytes behind, in the memory that was moved from (INV-1).
    pub(crate) fn finish(&mut self, out: &mut [u8; 64]) -> Option<usize> {
        let (hash, to) = (self.hash, out.as_mut_ptr());
        // SAFETY: initialised contexts; none of these writes more than 64 bytes.
        check(unsafe {
            match (&mut self.state, hash) {
                (State::Sha1(context), _) => sys::SHA1_Final(to, context),
                (State::Sha256(context), M::SHA224) => sys::SHA224_Final(to, context),
                (State::Sha256(context), _) => sys::SHA256_Final(to, context),
                (State::Sha512(context), M::SHA384) => sys::SHA384_Final(to, context),
                (State::Sha512(context), M::SHA512_224) => sys::SHA512_224_Final(to, context),
                (State::Sha512(context), M::SHA512_256) => sys::SHA512_256_Final(to, context),
                (State::Sha512(context), _) => sys::SHA512_Final(to, context),
            }
        })?;
        hsmd_proto::mechanism::digest_length(hash)
    }

    /// The state: the chaining value, big endian; how many bytes were added, 8 bytes little endian; those of them that fill
    /// no block yet.
    pub(crate) fn export(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(64 + 8 + 128));
        let (total, pending) = match &self.state {
            State::Sha1(context) => {
                out.extend(context.h.iter().flat_map(|word| word.to_be_bytes()));
                (narrow(context.Nl, context.Nh), &context.data[..])
            }
            State::Sha256(context) => {
                out.extend(context.h.iter().flat_map(|word| word.to_be_bytes()));
                (narrow(context.Nl, context.Nh), &context.data[..])
            }
            State::Sha512(context) => {
                out.extend(context.h.iter().flat_map(|word| word.to_be_bytes()));
                ((context.Nh << 61) | (context.Nl >> 3), &context.p[..])
            }
        };
        out.extend_from_slice(&total.to_le_bytes());
        out.extend_from_slice(&pending[..total as usize % pending.len()]);
        out
    }

    /// Goes on from a state that [`Self::export`] gave; `None` for bytes that are none.
    pub(crate) fn import(hash: M, bytes: &[u8]) -> Option<Self> {
        let mut sha = Self::new(hash)?;
        let (words, block) = match &sha.state {
            State::Sha1(_) => (20, 64),
            State::Sha256(_) => (32, 64),
            State::Sha512(_) => (64, 128),
        };
        let (words, rest) = bytes.split_at_checked(words)?;
        let (total, pending) = rest.split_first_chunk::<8>()?;
        let total = u64::from_le_bytes(*total);
        // No message is longer (FIPS 180-4, 5.1.1), and aws-lc counts bits.
        let bits = total.checked_mul(8)?;
        if pending.len() as u64 != total % block {
            return None;
        }
        match &mut sha.state {
            State::Sha1(context) => {
                fill(&mut context.h, words, u32::from_be_bytes);
                (context.Nl, context.Nh) = (bits as u32, (bits >> 32) as u32);
                context.data[..pending.len()].copy_from_slice(pending);
                context.num = pending.len() as u32;
            }
            State::Sha256(context) => {
                fill(&mut context.h, words, u32::from_be_bytes);
                (context.Nl, context.Nh) = (bits as u32, (bits >> 32) as u32);
                context.data[..pending.len()].copy_from_slice(pending);
                context.num = pending.len() as u32;
            }
            State::Sha512(context) => {
                fill(&mut context.h, words, u64::from_be_bytes);
                (context.Nl, context.Nh) = (bits, 0);
                context.p[..pending.len()].copy_from_slice(pending);
                context.num = pending.len() as u32;
            }
        }
        Some(sha)
    }
}

/// Bytes from a count of bits in two halves.
fn narrow(low: u32, high: u32) -> u64 {
    (u64::from(high) << 29) | u64::from(low >> 3)
}

fn fill<T, const N: usize>(words: &mut [T], bytes: &[u8], read: fn([u8; N]) -> T) {
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *word = read(*bytes);
    }
}

impl Drop for Sha {
    fn drop(&mut self) {
        match &mut self.state {
            State::Sha1(context) => cleanse(context),
            State::Sha256(context) => cleanse(context),
            State::Sha512(context) => cleanse(context),
        }
    }
}
