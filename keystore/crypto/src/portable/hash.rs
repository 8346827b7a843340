//! The hashes of the table, HMAC and PBKDF2 with them.

use super::ScrubbedStack;
use crate::sha3::{Sha3, write};
use ::pbkdf2::pbkdf2_hmac;
use hsmd_proto::ck::MechanismType as M;
use hsmd_proto::mechanism::digest_length;
use sha2::digest::Update;
use zeroize::Zeroizing;

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
    Sha3(Sha3),
}

/// The same for SHA-1 and SHA-2; what it is for SHA-3.
macro_rules! each {
    ($of:expr, $hash:ident => $body:expr, $sha3:expr) => {
        match $of {
            Running::Sha1($hash) => $body,
            Running::Sha224($hash) => $body,
            Running::Sha256($hash) => $body,
            Running::Sha384($hash) => $body,
            Running::Sha512($hash) => $body,
            Running::Sha512_224($hash) => $body,
            Running::Sha512_256($hash) => $body,
            Running::Sha3($hash) => $sha3,
        }
    };
}

impl Running {
    pub(super) fn new(hash: M) -> Option<Self> {
        Some(match hash {
            M::SHA_1 => Self::Sha1(sha1::Sha1::default()),
            M::SHA224 => Self::Sha224(sha2::Sha224::default()),
            M::SHA256 => Self::Sha256(sha2::Sha256::default()),
            M::SHA384 => Self::Sha384(sha2::Sha384::default()),
            M::SHA512 => Self::Sha512(sha2::Sha512::default()),
            M::SHA512_224 => Self::Sha512_224(sha2::Sha512_224::default()),
            M::SHA512_256 => Self::Sha512_256(sha2::Sha512_256::default()),
            other => Self::Sha3(Sha3::new(other)?),
        })
    }

    pub(super) fn update(&mut self, data: &[u8]) {
        each!(self, hash => Update::update(hash, data), hash.update(data));
    }

    /// The digest into the front of `out`; gives its length, and begins anew. By reference: a move would leave a copy of the
    /// state behind (INV-1).
    pub(super) fn finish(&mut self, out: &mut [u8; 64]) -> usize {
        each!(self, hash => write(hash, out), hash.finish(out))
    }
}

/// Bytes that a hash takes at a time (FIPS 180-4, 1; FIPS 202, 6.1: what is left of 200 bytes by twice the digest).
fn block(hash: M) -> Option<usize> {
    match hash {
        M::SHA_1 | M::SHA224 | M::SHA256 => Some(64),
        M::SHA384 | M::SHA512 | M::SHA512_224 | M::SHA512_256 => Some(128),
        other => 200_usize.checked_sub(2 * digest_length(other)?),
    }
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
        let block = block(hash)?;
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
    let length = digest_length(hash)?;
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
