//! RSA keys: their numbers, signatures, raw operations, OAEP. The paddings are here, because the crate's fix their hashes when
//! they are compiled; that of PKCS #1 v1.5 decryption is in `key/pkcs1.rs`.
//!
//! Private operations are blinded and their result is checked with the public key. That does not close RUSTSEC-2023-0071
//! (docs/providers.md).

use super::dh::number;
use super::hash::Running;
use super::random::System;
use super::{draw, wipe};
use crate::engine::{RsaHalf, RsaHashes, RsaNumbers, Way};
use crate::secret::Secret;
use hsmd_proto::ck::MechanismType;
use rsa::hazmat::{rsa_decrypt_and_check, rsa_encrypt};
use rsa::pkcs1::{EncodeRsaPrivateKey, EncodeRsaPublicKey};
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rsa::{BoxedUint, RsaPrivateKey, RsaPublicKey};
use std::ops::RangeInclusive;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

/// The modulus in bits: what `key/rsa.rs` lets through.
const SIZES: RangeInclusive<usize> = 1024..=4096;

/// An RSA key, public or private.
pub(crate) struct Rsa {
    public: RsaPublicKey,
    private: Option<Box<RsaPrivateKey>>,
}

impl Rsa {
    /// Makes a key of its numbers; the crate checks that they belong together, that n is odd, and that e is odd, at least 3 and
    /// at most 33 bits long. Without primes they are computed (SP 800-56B r2, C.2), which needs an e above 65,536.
    pub(crate) fn new(numbers: &RsaNumbers<'_>) -> Option<Self> {
        let (n, e) = (any(numbers.n)?, any(numbers.e)?);
        let public = RsaPublicKey::new_with_size_limits(n.clone(), e.clone(), SIZES).ok()?;
        let Some(d) = numbers.d else {
            return Some(Self { public, private: None });
        };
        let primes = match numbers.crt {
            Some([p, q, ..]) => vec![any(p)?, any(q)?],
            None => Vec::new(),
        };
        let private = Box::new(RsaPrivateKey::from_components(n, e, any(d)?, primes).ok()?);
        if let Some([_, _, dp, dq, qi]) = numbers.crt {
            let mut inverse = private.crt_coefficient()?;
            let fits = any(dp)? == *private.dp()? && any(dq)? == *private.dq()? && any(qi)? == inverse;
            inverse.zeroize();
            if !fits {
                return None;
            }
        }
        private.qinv()?;
        let private = Some(private);
        Some(Self { public, private })
    }

    /// Generates a key. `bits` is a multiple of 128.
    pub(crate) fn generate(bits: u32, e: &[u8]) -> Option<Self> {
        let private = RsaPrivateKey::new_with_exp(&mut System, bits as usize, number(e, 64)?).ok()?;
        let public = private.to_public_key();
        let private = Some(Box::new(private));
        Some(Self { public, private }).filter(|key| key.bits() == bits)
    }

    /// The modulus' length in bits.
    pub(crate) fn bits(&self) -> u32 {
        self.public.n().bits_vartime()
    }

    /// The modulus' length in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bits().div_ceil(8) as usize
    }

    /// `RSAPrivateKey` or `RSAPublicKey` (RFC 8017, A.1).
    pub(crate) fn der(&self, half: RsaHalf) -> Option<Secret> {
        match half {
            RsaHalf::Private => {
                let document = self.private.as_ref()?.to_pkcs1_der().ok()?;
                Some(Secret::from_slice(document.as_bytes()))
            }
            RsaHalf::Public => Some(Secret::from_slice(self.public.to_pkcs1_der().ok()?.as_bytes())),
        }
    }

    /// Pads `data` (PKCS #1 v1.5, type 1) and applies the private key; `out` is as long as the modulus.
    pub(crate) fn sign(&self, data: &[u8], out: &mut [u8]) -> Option<()> {
        let mut padded = Zeroizing::new(vec![0xff; self.bytes()]);
        let at = padded.len().checked_sub(data.len()).filter(|at| *at >= 11)?;
        (padded[0], padded[1], padded[at - 1]) = (0, 1, 0);
        padded[at..].copy_from_slice(data);
        self.raw(RsaHalf::Private, &padded, out)
    }

    /// Applies the public key and takes the padding off; gives the length of what was signed. `out` is as long as the
    /// modulus.
    pub(crate) fn recover(&self, signature: &[u8], out: &mut [u8]) -> Option<usize> {
        self.raw(RsaHalf::Public, signature, out)?;
        let padding = out.strip_prefix(&[0, 1])?;
        let ones = padding.iter().take_while(|byte| **byte == 0xff).count();
        let at = (ones >= 8 && padding.get(ones) == Some(&0)).then_some(2 + ones + 1)?;
        out.copy_within(at.., 0);
        Some(out.len() - at)
    }

    /// The bare operation of one half, without padding; `input` and `out` are as long as the modulus, `input` is less
    /// than it.
    pub(crate) fn raw(&self, half: RsaHalf, input: &[u8], out: &mut [u8]) -> Option<()> {
        let (modulus, bytes) = (self.public.n(), self.bytes());
        if input.len() != bytes || out.len() != bytes {
            return None;
        }
        let mut input = BoxedUint::from_be_slice(input, modulus.bits_precision()).ok()?;
        if input >= *modulus.as_ref() {
            return None;
        }
        let result = match half {
            RsaHalf::Private => rsa_decrypt_and_check(&**self.private.as_ref()?, Some(&mut System), &input).ok(),
            RsaHalf::Public => rsa_encrypt(&self.public, &input).ok(),
        };
        input.zeroize();
        write(&mut result?, out)
    }

    /// The private exponent, as long as the modulus.
    pub(crate) fn private_exponent(&self) -> Option<Secret> {
        let mut out = Secret::zeroed(self.bytes());
        write(&mut self.private.as_ref()?.d().clone(), out.expose_mut())?;
        Some(out)
    }

    /// RSASSA-PSS over a digest (RFC 8017, 9.1.1); `out` is as long as the modulus.
    pub(crate) fn sign_pss(&self, with: RsaHashes, salt: usize, digest: &[u8], out: &mut [u8]) -> Option<()> {
        let (hash, length) = (with.hash, self.bytes());
        let mut encoded = vec![0; length];
        let (block, mask) = self.pss_block(&mut encoded)?;
        let mut bytes = vec![0; salt];
        draw(&mut bytes);
        let made = pss_hash(hash, digest, &bytes)?;
        let (front, [back @ .., end]) = block.split_at_mut_checked(block.len().checked_sub(made.len() + 1)?)? else {
            return None;
        };
        back.copy_from_slice(&made);
        *end = 0xbc;
        let at = front.len().checked_sub(salt + 1)?;
        front[at] = 1;
        front[at + 1..].copy_from_slice(&bytes);
        mask_with(with.mgf, &made, front)?;
        *front.first_mut()? &= mask;
        self.raw(RsaHalf::Private, &encoded, out)
    }

    /// Whether `signature` is RSASSA-PSS over a digest (9.1.2).
    pub(crate) fn verify_pss(&self, with: RsaHashes, salt: usize, digest: &[u8], signature: &[u8]) -> Option<()> {
        let mut encoded = vec![0; self.bytes()];
        self.raw(RsaHalf::Public, signature, &mut encoded)?;
        let length = encoded.len();
        let (block, mask) = self.pss_block(&mut encoded)?;
        let whole = length - block.len();
        let hash_length = hsmd_proto::mechanism::digest_length(with.hash)?;
        let (front, [back @ .., 0xbc]) = block.split_at_mut_checked(block.len().checked_sub(hash_length + 1)?)? else {
            return None;
        };
        if front.first()? & !mask != 0 {
            return None;
        }
        mask_with(with.mgf, back, front)?;
        *front.first_mut()? &= mask;
        let at = front.len().checked_sub(salt + 1)?;
        let (zeros, bytes) = front.split_at(at);
        let padded = zeros.iter().all(|byte| *byte == 0) && bytes.first() == Some(&1);
        let fits = padded && pss_hash(with.hash, digest, &bytes[1..])?.as_slice() == &*back;
        // A modulus of 8 k + 1 bits: the first byte is no part of the block.
        (fits && encoded[..whole].iter().all(|byte| *byte == 0)).then_some(())
    }

    /// The part of a number as long as the modulus that PSS fills, one bit shorter than it, and which bits of its first byte
    /// count.
    fn pss_block<'a>(&self, encoded: &'a mut [u8]) -> Option<(&'a mut [u8], u8)> {
        let bits = self.bits() - 1;
        let block = encoded.get_mut(encoded.len().checked_sub(bits.div_ceil(8) as usize)?..)?;
        Some((block, 0xff >> (block_bits(bits) - bits)))
    }

    /// RSAES-OAEP (7.1); `out` is as long as the modulus. Gives the length written.
    pub(crate) fn oaep(&self, way: Way, with: RsaHashes, label: &[u8], input: &[u8], out: &mut [u8]) -> Option<usize> {
        let bytes = self.bytes();
        let known = hash_of(with.hash, &[label])?;
        let room = bytes.checked_sub(2 * known.len() + 2)?;
        let mut padded = Zeroizing::new(vec![0; bytes]);
        if way == Way::Decrypt {
            self.raw(RsaHalf::Private, input, &mut padded)?;
            return open_oaep(with.mgf, &known, &mut padded, out);
        }
        let (seed, data) = padded.split_first_mut()?.1.split_at_mut(known.len());
        draw(seed);
        data[..known.len()].copy_from_slice(&known);
        let at = known.len() + room.checked_sub(input.len())?;
        data[at] = 1;
        data[at + 1..].copy_from_slice(input);
        mask_with(with.mgf, seed, data)?;
        mask_with(with.mgf, data, seed)?;
        self.raw(RsaHalf::Public, &padded, out.get_mut(..bytes)?)?;
        Some(bytes)
    }
}

/// A length in bits, rounded up to whole bytes.
const fn block_bits(bits: u32) -> u32 {
    bits.div_ceil(8) * 8
}

/// Takes OAEP's padding off; what is wrong with it shows neither in time nor in the result (7.1.2, note).
fn open_oaep(mgf: MechanismType, known: &[u8], padded: &mut [u8], out: &mut [u8]) -> Option<usize> {
    let (first, rest) = padded.split_first_mut()?;
    let (seed, data) = rest.split_at_mut(known.len());
    mask_with(mgf, data, seed)?;
    mask_with(mgf, seed, data)?;
    let (hash, text) = data.split_at(known.len());
    let mut good = first.ct_eq(&0) & hash.ct_eq(known);
    let (mut found, mut start) = (Choice::from(0), 0_u32);
    for (index, byte) in (1_u32..).zip(text) {
        let (one, zero) = (byte.ct_eq(&1), byte.ct_eq(&0));
        start.conditional_assign(&index, one & !found);
        good &= zero | one | found;
        found |= one;
    }
    good &= found;
    // From here on it is known that the ciphertext was good.
    let text = bool::from(good).then(|| &text[start as usize..])?;
    out.get_mut(..text.len())?.copy_from_slice(text);
    Some(text.len())
}

/// A number as long as its bytes without leading zeros: the crate wants a ciphertext as wide as the modulus.
fn any(bytes: &[u8]) -> Option<BoxedUint> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    number(bytes, u32::try_from(bytes.len() - zeros).ok()?.checked_mul(8)?)
}

/// Writes a number that fits, with leading zeros, and wipes it.
fn write(number: &mut BoxedUint, out: &mut [u8]) -> Option<()> {
    let bytes = number.to_be_bytes();
    number.zeroize();
    let (from, to) = match bytes.len().checked_sub(out.len()) {
        Some(spare) => (&bytes[spare..], out),
        None => (&bytes[..], out.split_at_mut(out.len() - bytes.len()).1),
    };
    to.copy_from_slice(from);
    wipe(bytes);
    Some(())
}

fn hash_of(hash: MechanismType, parts: &[&[u8]]) -> Option<Zeroizing<Vec<u8>>> {
    let (mut running, mut out) = (Running::new(hash)?, Zeroizing::new([0; 64]));
    parts.iter().for_each(|part| running.update(part));
    let length = running.finish(&mut out);
    Some(Zeroizing::new(out[..length].to_vec()))
}

/// The hash in a PSS block (9.1.1, step 5); `None` if the digest is of another length.
fn pss_hash(hash: MechanismType, digest: &[u8], salt: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let fits = hsmd_proto::mechanism::digest_length(hash) == Some(digest.len());
    hash_of(hash, &[&[0; 8], digest, salt]).filter(|_| fits)
}

/// Adds MGF1 of the seed (B.2.1).
fn mask_with(hash: MechanismType, seed: &[u8], target: &mut [u8]) -> Option<()> {
    let length = hsmd_proto::mechanism::digest_length(hash)?;
    for (counter, target) in (0_u32..).zip(target.chunks_mut(length)) {
        let block = hash_of(hash, &[seed, &counter.to_be_bytes()])?;
        target
            .iter_mut()
            .zip(block.iter())
            .for_each(|(byte, mask)| *byte ^= mask);
    }
    Some(())
}
