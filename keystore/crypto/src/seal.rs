//! Sealing of records and tickets (DESIGN 7): AES-256-GCM-SIV (RFC 8452), HKDF (RFC 5869) and HMAC with SHA-256, and
//! comparison in constant time. Not for keys of applications: those are [`crate::Key`]s.

use crate::digest::Digest;
use crate::engine::{Aead, AeadKind, Hmac, Way};
use crate::random;
use crate::secret::SecretArray;
use hsmd_proto::ck::MechanismType;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

const NONCE: usize = 12;
const TAG: usize = 16;

/// A sealed value that does not open: damaged, of another place, or of another key. Which is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the sealed value does not open")]
pub struct SealError;

/// An AES-256-GCM-SIV key, ready to use. GCM-SIV forgives a repeated nonce, so random ones are safe at any volume that
/// a store can hold.
pub struct SealKey(Aead);

impl SealKey {
    /// How much longer a sealed value is than its plain text.
    pub const OVERHEAD: usize = NONCE + TAG;

    /// Expands the key.
    #[must_use]
    pub fn new(key: &SecretArray<32>) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "key and tag have GCM-SIV's only lengths; what is left is no memory"
        )]
        Self(Aead::new(AeadKind::GcmSiv, key.expose(), TAG).expect("aws-lc makes a GCM-SIV key"))
    }

    /// Seals under a fresh nonce: nonce, ciphertext, tag. Each part of `aad` is bound with its length, so that
    /// `["ab", "c"]` is not `["a", "bc"]`.
    #[must_use]
    pub fn seal(&self, aad: &[&[u8]], plain: &[u8]) -> Vec<u8> {
        // INV-7: place, version and kind of a record are in `aad`.
        let mut sealed = vec![0; plain.len() + Self::OVERHEAD];
        let (nonce, rest) = sealed.split_at_mut(NONCE);
        random::fill(nonce);
        #[expect(
            clippy::expect_used,
            reason = "lengths fit; GCM-SIV's limit of 2^36 bytes is no vector's length"
        )]
        self.0
            .run(Way::Encrypt, nonce, &framed(aad), plain, rest)
            .expect("the engine seals");
        sealed
    }

    /// Opens what [`Self::seal`] made with the same `aad`.
    ///
    /// # Errors
    /// [`SealError`], whatever the reason.
    pub fn open(&self, aad: &[&[u8]], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let length = sealed.len().checked_sub(Self::OVERHEAD).ok_or(SealError)?;
        let (nonce, rest) = sealed.split_at(NONCE);
        let mut plain = Zeroizing::new(vec![0; length]);
        self.0
            .run(Way::Decrypt, nonce, &framed(aad), rest, &mut plain)
            .ok_or(SealError)?;
        Ok(plain)
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(..)")
    }
}

/// Derives a key: HKDF-SHA256 (RFC 5869) of 32 bytes. Each part of `info` is bound with its length.
#[must_use]
pub fn hkdf(ikm: &[u8], salt: &[u8], info: &[&[u8]]) -> SecretArray<32> {
    let pseudo_random = SecretArray::new(hmac(salt, &[ikm]));
    SecretArray::new(hmac(pseudo_random.expose(), &[&framed(info), &[1]]))
}

/// HMAC-SHA256 of the parts, one after the other, without their lengths.
#[must_use]
pub fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut out = Zeroizing::new([0; 64]);
    #[expect(clippy::expect_used, reason = "SHA-256 is built in, and neither call allocates")]
    Hmac::new(MechanismType::SHA256, key)
        .and_then(|key| key.compute(parts, &mut out))
        .expect("the engine computes HMAC-SHA256");
    let mut mac = [0; 32];
    mac.copy_from_slice(&out[..32]);
    mac
}

/// SHA-256 of the parts, one after the other, without their lengths.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut out = [0; 32];
    if let Some(mut digest) = Digest::new(MechanismType::SHA256) {
        parts.iter().for_each(|part| digest.update(part));
        out.copy_from_slice(&digest.finish());
    }
    out
}

/// Compares in constant time (but for the lengths).
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// The parts, each after its length as 8 little-endian bytes.
fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        out.extend_from_slice(&(part.len() as u64).to_le_bytes());
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    // INV-7: a damaged, swapped or older record is noticed, because place, version and kind are in the AAD.
    #[test]
    fn every_flipped_bit_and_every_other_place_is_noticed() {
        let key = SealKey::new(&SecretArray::random());
        let sealed = key.seal(&[b"/ks/1", b"7"], b"value");
        assert_eq!(key.open(&[b"/ks/1", b"7"], &sealed).unwrap().as_slice(), b"value");
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(&[b"/ks/1", b"7"], &damaged), Err(SealError));
        }
        for length in 0..sealed.len() {
            assert_eq!(key.open(&[b"/ks/1", b"7"], &sealed[..length]), Err(SealError));
        }
        for aad in [&[b"/ks/1".as_slice(), b"8"], &[b"/ks/17".as_slice(), b""]] {
            assert_eq!(key.open(aad, &sealed), Err(SealError));
        }
        assert_eq!(SealKey::new(&SecretArray::random()).open(&[], &sealed), Err(SealError));
    }

    #[test]
    fn the_same_value_is_never_sealed_alike() {
        let key = SealKey::new(&SecretArray::random());
        assert_ne!(key.seal(&[], b""), key.seal(&[], b""));
        assert!(key.open(&[], &key.seal(&[], b"")).unwrap().is_empty());
    }

    #[test]
    fn labels_of_hkdf_do_not_run_together() {
        let key = |info: &[&[u8]]| hkdf(b"secret", b"salt", info);
        assert_eq!(key(&[b"ticket"]), key(&[b"ticket"]));
        assert_ne!(key(&[b"tick", b"et"]), key(&[b"ticket"]));
        assert_ne!(key(&[]), key(&[b""]));
    }

    #[test]
    fn parts_of_a_hash_run_together() {
        assert_eq!(sha256(&[b"a", b"bc"]), sha256(&[b"abc"]));
        assert_eq!(hmac(b"k", &[b"a", b"bc"]), hmac(b"k", &[b"abc"]));
        assert_ne!(hmac(b"", &[b"a"]), hmac(b"k", &[b"a"]));
        assert!(equal(b"a", b"a") && !equal(b"a", b"b") && !equal(b"a", b"aa"));
    }

    #[test]
    fn rfc_8452_and_rfc_5869_are_met() {
        // RFC 8452, C.2: the first two results of AES-256-GCM-SIV, after the nonce.
        let mut key = [0; 32];
        key[0] = 1;
        let key = SealKey::new(&SecretArray::new(key));
        let nonce = b"\x03\0\0\0\0\0\0\0\0\0\0\0".as_slice();
        let empty = b"\x07\xf5\xf4\x16\x9b\xbf\x55\xa8\x40\x0c\xd4\x7e\xa6\xfd\x40\x0f".as_slice();
        assert!(key.open(&[], &[nonce, empty].concat()).unwrap().is_empty());
        let one = b"\xc2\xef\x32\x8e\x5c\x71\xc8\x3b\x84\x31\x22\x13\x0f\x73\x64\xb7\x61\xe0\xb9\x74\x27\xe3\xdf\x28";
        let plain = key.open(&[], &[nonce, one].concat()).unwrap();
        assert_eq!(plain.as_slice(), b"\x01\0\0\0\0\0\0\0");
        // RFC 5869, A.3: neither salt nor info.
        let okm = hkdf(&[0x0b; 22], &[], &[]);
        assert_eq!(okm.expose()[..8], *b"\x8d\xa4\xe7\x75\xa5\x63\xc1\x8f");
    }
}
