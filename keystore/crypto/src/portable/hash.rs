//! The hashes of the table, HMAC and PBKDF2 with them.

use super::ScrubbedStack;
use ::pbkdf2::pbkdf2_hmac;
use hsmd_proto::ck::MechanismType as M;
use sha2::digest::{Digest, FixedOutputReset, Output, Update};
use zeroize::{Zeroize, Zeroizing};

/// A running hash; wiped when it is dropped.
#[derive(Clone)]
pub(super) enum Running {
    Sha1(sha1::Sha1),
    Sha224(sha2::Sha224),
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
    Sha512_224(sha2::Sha512_224),
    Sha512_256(sha2::Sha512_256),
    Sha3_224(sha3::Sha3_224),
    Sha3_256(sha3::Sha3_256),
    Sha3_384(sha3::Sha3_384),
    Sha3_512(sha3::Sha3_512),
}

/// The same for all of them.
macro_rules! each {
    ($of:expr, $hash:ident => $body:expr) => {
        match $of {
            Running::Sha1($hash) => $body,
            Running::Sha224($hash) => $body,
            Running::Sha256($hash) => $body,
            Running::Sha384($hash) => $body,
            Running::Sha512($hash) => $body,
            Running::Sha512_224($hash) => $body,
            Running::Sha512_256($hash) => $body,
            Running::Sha3_224($hash) => $body,
            Running::Sha3_256($hash) => $body,
            Running::Sha3_384($hash) => $body,
            Running::Sha3_512($hash) => $body,
        }
    };
}

impl Running {
    pub(super) fn new(hash: M) -> Option<Self> {
        Some(match hash {
            M::SHA_1 => Self::Sha1(Digest::new()),
            M::SHA224 => Self::Sha224(Digest::new()),
            M::SHA256 => Self::Sha256(Digest::new()),
            M::SHA384 => Self::Sha384(Digest::new()),
            M::SHA512 => Self::Sha512(Digest::new()),
            M::SHA512_224 => Self::Sha512_224(Digest::new()),
            M::SHA512_256 => Self::Sha512_256(Digest::new()),
            M::SHA3_224 => Self::Sha3_224(Digest::new()),
            M::SHA3_256 => Self::Sha3_256(Digest::new()),
            M::SHA3_384 => Self::Sha3_384(Digest::new()),
            M::SHA3_512 => Self::Sha3_512(Digest::new()),
            _ => return None,
        })
    }

    pub(super) fn update(&mut self, data: &[u8]) {
        each!(self, hash => Update::update(hash, data));
    }

    /// The digest into the front of `out`; gives its length, and begins anew. By reference: a move would leave a copy of the
    /// state behind (INV-1).
    pub(super) fn finish(&mut self, out: &mut [u8; 64]) -> usize {
        each!(self, hash => finish(hash, out))
    }

    /// Bytes that it takes at a time.
    fn block(&self) -> usize {
        match self {
            Self::Sha1(_) | Self::Sha224(_) | Self::Sha256(_) => 64,
            Self::Sha384(_) | Self::Sha512(_) | Self::Sha512_224(_) | Self::Sha512_256(_) => 128,
            Self::Sha3_224(_) => 144,
            Self::Sha3_256(_) => 136,
            Self::Sha3_384(_) => 104,
            Self::Sha3_512(_) => 72,
        }
    }
}

fn finish<H: FixedOutputReset>(hash: &mut H, out: &mut [u8; 64]) -> usize {
    let mut digest = Output::<H>::default();
    hash.finalize_into_reset(&mut digest);
    let length = digest.len();
    out[..length].copy_from_slice(&digest);
    digest.as_mut_slice().zeroize();
    length
}

/// An HMAC key: the hash states after both pads (RFC 2104).
pub(crate) struct Hmac(Box<[Running; 2]>);

impl Hmac {
    /// A key of any length.
    pub(crate) fn new(hash: M, key: &[u8]) -> Option<Self> {
        /// The longest block.
        const MOST: usize = 144;
        let _scrubbed = ScrubbedStack;
        let mut states = Box::new([Running::new(hash)?, Running::new(hash)?]);
        let mut padded = Zeroizing::new([0; MOST]);
        let block = states[0].block();
        if key.len() > block {
            let mut short = Zeroizing::new([0; 64]);
            let length = digest(hash, key, &mut short)?;
            padded[..length].copy_from_slice(&short[..length]);
        } else {
            padded[..key.len()].copy_from_slice(key);
        }
        for (state, pad) in states.iter_mut().zip([0x36, 0x36 ^ 0x5c]) {
            padded.iter_mut().for_each(|byte| *byte ^= pad);
            state.update(&padded[..block]);
        }
        Some(Self(states))
    }

    /// The MAC of the parts, one after the other, into the front of `out`; gives its length.
    pub(crate) fn compute(&self, parts: &[&[u8]], out: &mut [u8; 64]) -> Option<usize> {
        let [mut inner, mut outer] = (*self.0).clone();
        parts.iter().for_each(|part| inner.update(part));
        let length = inner.finish(out);
        outer.update(&out[..length]);
        Some(outer.finish(out))
    }
}

/// PBKDF2 (RFC 8018, 5.2) with HMAC.
pub(crate) fn pbkdf2(hash: M, password: &[u8], salt: &[u8], iterations: u32, out: &mut [u8]) -> Option<()> {
    let _scrubbed = ScrubbedStack;
    if iterations == 0 {
        return None;
    }
    match hash {
        M::SHA_1 => pbkdf2_hmac::<sha1::Sha1>(password, salt, iterations, out),
        M::SHA224 => pbkdf2_hmac::<sha2::Sha224>(password, salt, iterations, out),
        M::SHA256 => pbkdf2_hmac::<sha2::Sha256>(password, salt, iterations, out),
        M::SHA384 => pbkdf2_hmac::<sha2::Sha384>(password, salt, iterations, out),
        M::SHA512 => pbkdf2_hmac::<sha2::Sha512>(password, salt, iterations, out),
        M::SHA512_224 => pbkdf2_hmac::<sha2::Sha512_224>(password, salt, iterations, out),
        M::SHA512_256 => pbkdf2_hmac::<sha2::Sha512_256>(password, salt, iterations, out),
        other => return slow_pbkdf2(other, password, salt, iterations, out),
    }
    Some(())
}

/// With SHA-3, whose HMAC the crate does not take.
fn slow_pbkdf2(hash: M, password: &[u8], salt: &[u8], iterations: u32, out: &mut [u8]) -> Option<()> {
    let (hmac, mut last) = (Hmac::new(hash, password)?, Zeroizing::new([0; 64]));
    let length = hsmd_proto::mechanism::digest_length(hash)?;
    for (number, target) in (1_u32..).zip(out.chunks_mut(length)) {
        hmac.compute(&[salt, &number.to_be_bytes()], &mut last)?;
        target.copy_from_slice(&last[..target.len()]);
        for _ in 1..iterations {
            let previous = last.clone();
            hmac.compute(&[&previous[..length]], &mut last)?;
            target.iter_mut().zip(&last[..]).for_each(|(sum, byte)| *sum ^= byte);
        }
    }
    Some(())
}

/// A running digest.
pub(crate) struct Hasher(Box<Running>);

impl Hasher {
    pub(crate) fn new(hash: M) -> Option<Self> {
        Running::new(hash).map(|running| Self(Box::new(running)))
    }

    #[expect(clippy::unnecessary_wraps, reason = "the other engine may fail")]
    pub(crate) fn update(&mut self, data: &[u8]) -> Option<()> {
        self.0.update(data);
        Some(())
    }

    /// The digest into the front of `out`; gives its length.
    #[expect(clippy::unnecessary_wraps, reason = "the other engine may fail")]
    pub(crate) fn finish(mut self, out: &mut [u8; 64]) -> Option<usize> {
        Some(self.0.finish(out))
    }
}

/// The digest of data into the front of `out`; gives its length.
pub(crate) fn digest(hash: M, data: &[u8], out: &mut [u8; 64]) -> Option<usize> {
    let mut running = Running::new(hash)?;
    running.update(data);
    Some(running.finish(out))
}
