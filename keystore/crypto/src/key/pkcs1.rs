//! RSA encryption by PKCS #1 v1.5 (RFC 8017, 7.2) with implicit rejection (draft-irtf-cfrg-rsa-guidance, 7): a ciphertext
//! whose padding is wrong decrypts to a synthetic text that is a function of key and ciphertext only, the same on every
//! node and every time. So no code, length or time tells whether the padding was right.
//!
//! aws-lc's own v1.5 decryption answers with an error and is not used. Constant time: what depends on the padded text is
//! computed by masks; the only thing that shows is the length of what is returned, synthetic or not.

use super::append;
use super::rsa::{MAX_BYTES, check_room};
use crate::digest;
use crate::engine::{Hmac, Rsa, RsaHalf};
use crate::error::OpError;
use crate::random;
use crate::secret::{Secret, SecretArray};
use hsmd_proto::ck::MechanismType;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater, ConstantTimeLess};
use zeroize::Zeroizing;

/// Zero byte, type, eight bytes of padding, separator.
const OVERHEAD: usize = 11;
/// How many candidates for the synthetic length are drawn; the chance that none fits is below 2^-128.
const TRIES: usize = 128;
/// Lengths that an unwrapped key may have when the template names none: those of AES keys.
const AES_LENGTHS: [u16; 3] = [16, 24, 32];

/// The part of implicit rejection that depends on the private key alone: SHA-256 of the private exponent.
pub(crate) struct RejectionKey(SecretArray<32>);

impl RejectionKey {
    pub(crate) fn of(key: &Rsa) -> Option<Self> {
        let exponent = key.private_exponent()?;
        let hash = digest::short(MechanismType::SHA256, exponent.expose())?;
        SecretArray::from_slice(hash.as_ref()).map(Self)
    }

    /// The key derivation key of a ciphertext, ready to be used.
    fn for_ciphertext(&self, ciphertext: &[u8]) -> Result<Hmac, OpError> {
        let mut key = Zeroizing::new([0; 64]);
        let length = Hmac::new(MechanismType::SHA256, self.0.expose())
            .and_then(|hmac| hmac.compute(&[ciphertext], &mut key))
            .ok_or(OpError::Failed)?;
        Hmac::new(MechanismType::SHA256, &key[..length]).ok_or(OpError::Failed)
    }
}

/// The draft's IRPRF: as many bytes as `out` has.
fn prf(key: &Hmac, label: &[u8], out: &mut [u8]) -> Result<(), OpError> {
    let bits = (out.len() as u16 * 8).to_be_bytes();
    for (counter, target) in (0_u16..).zip(out.chunks_mut(32)) {
        let mut block = Zeroizing::new([0; 64]);
        key.compute(&[&counter.to_be_bytes(), label, &bits], &mut block)
            .ok_or(OpError::Failed)?;
        target.copy_from_slice(&block[..target.len()]);
    }
    Ok(())
}

/// Encrypts: 00 02, random bytes other than 00, 00, the data.
pub(crate) fn encrypt(key: &Rsa, data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    check_room(key, data)?;
    let mut padded = Zeroizing::new([0; MAX_BYTES]);
    let padded = &mut padded[..key.bytes()];
    let (padding, tail) = padded.split_at_mut(key.bytes() - data.len() - 1);
    tail[1..].copy_from_slice(data);
    padding[1] = 2;
    random::fill(&mut padding[2..]);
    for byte in &mut padding[2..] {
        while *byte == 0 {
            random::fill(std::slice::from_mut(byte));
        }
    }
    append(out, key.bytes(), |target| {
        key.raw(RsaHalf::Public, padded, target).ok_or(OpError::Failed)
    })
}

/// A ciphertext after the private key was applied.
struct Opened {
    padded: Zeroizing<[u8; MAX_BYTES]>,
    bytes: usize,
    /// Whether the padding is right.
    good: Choice,
    /// Where the text begins if it is.
    start: u16,
    /// The key of what is returned if it is not.
    rejection: Hmac,
}

fn open(key: &Rsa, rejection: &RejectionKey, ciphertext: &[u8]) -> Result<Opened, OpError> {
    let bytes = key.bytes();
    if ciphertext.len() != bytes {
        return Err(OpError::EncryptedLength);
    }
    let mut padded = Zeroizing::new([0; MAX_BYTES]);
    // Fails only if the ciphertext is no number below the modulus, which everybody can see.
    key.raw(RsaHalf::Private, ciphertext, &mut padded[..bytes])
        .ok_or(OpError::Encrypted)?;
    let text = &padded[..bytes];
    let mut good = text[0].ct_eq(&0) & text[1].ct_eq(&2);
    let mut found = Choice::from(0);
    let mut separator = 0_u16;
    for (index, byte) in (2_u16..).zip(&text[2..]) {
        let zero = byte.ct_eq(&0);
        separator.conditional_assign(&index, zero & !found);
        found |= zero;
    }
    good &= found & !separator.ct_lt(&10);
    Ok(Opened {
        bytes,
        good,
        start: separator + 1,
        rejection: rejection.for_ciphertext(ciphertext)?,
        padded,
    })
}

/// Decrypts; a ciphertext with wrong padding gives the synthetic text.
///
/// # Errors
/// `EncryptedLength` for a ciphertext of another length than the modulus, `Encrypted` for one that is not below it.
pub(crate) fn decrypt(
    key: &Rsa,
    rejection: &RejectionKey,
    ciphertext: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), OpError> {
    let opened = open(key, rejection, ciphertext)?;
    let mut chosen = Zeroizing::new([0; MAX_BYTES]);
    let chosen = &mut chosen[..opened.bytes];
    prf(&opened.rejection, b"message", chosen)?;
    let length = synthetic_length(&opened)?;
    let start = u16::conditional_select(&(opened.bytes as u16 - length), &opened.start, opened.good);
    for (byte, text) in chosen.iter_mut().zip(&opened.padded[..]) {
        byte.conditional_assign(text, opened.good);
    }
    out.extend_from_slice(&chosen[usize::from(start)..]);
    Ok(())
}

/// The last candidate that is at most as long as a text can be.
fn synthetic_length(opened: &Opened) -> Result<u16, OpError> {
    let most = (opened.bytes - OVERHEAD) as u16;
    let mask = most.next_power_of_two().max(2) - 1;
    let mask = if mask < most { mask << 1 | 1 } else { mask };
    let mut candidates = Zeroizing::new([0; 2 * TRIES]);
    prf(&opened.rejection, b"length", &mut candidates[..])?;
    let mut length = 0_u16;
    for candidate in candidates.as_chunks::<2>().0 {
        let candidate = u16::from_be_bytes(*candidate) & mask;
        length.conditional_assign(&candidate, !candidate.ct_gt(&most));
    }
    Ok(length)
}

/// Decrypts a wrapped key. Wrong padding, or a key of another length than wanted, gives a pseudo-random key of the length
/// wanted; without one, of the length of an AES key. `aes`: no other length is right either.
///
/// # Errors
/// As [`decrypt`]; `DataLength` if no key of the length wanted fits.
pub(crate) fn unwrap(
    key: &Rsa,
    rejection: &RejectionKey,
    ciphertext: &[u8],
    wanted: Option<usize>,
    aes: bool,
) -> Result<Secret, OpError> {
    let opened = open(key, rejection, ciphertext)?;
    let most = opened.bytes - OVERHEAD;
    if wanted.is_some_and(|wanted| wanted == 0 || wanted > most) {
        return Err(OpError::DataLength);
    }
    let mut draw = Zeroizing::new([0; 2]);
    prf(&opened.rejection, b"key length", &mut draw[..])?;
    let drawn = AES_LENGTHS[usize::from(u16::from_be_bytes(*draw) % 3)];
    let found = opened.bytes as u16 - opened.start;
    let fits = match wanted {
        Some(wanted) => found.ct_eq(&(wanted as u16)),
        None if aes => AES_LENGTHS
            .iter()
            .fold(Choice::from(0), |any, length| any | found.ct_eq(length)),
        None => !found.ct_eq(&0),
    };
    let good = opened.good & fits;
    let length = u16::conditional_select(&wanted.map_or(drawn, |wanted| wanted as u16), &found, good);
    let mut chosen = Zeroizing::new([0; MAX_BYTES]);
    let chosen = &mut chosen[..opened.bytes];
    prf(&opened.rejection, b"key", chosen)?;
    for (byte, text) in chosen.iter_mut().zip(&opened.padded[..]) {
        byte.conditional_assign(text, good);
    }
    Ok(Secret::from_slice(&chosen[opened.bytes - usize::from(length)..]))
}
