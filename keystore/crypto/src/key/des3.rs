//! Triple DES (PKCS#11 3.2, 6.18 and 6.19): ECB, CBC, CBC with padding, CMAC; and which bytes are a key. For old software only:
//! that the policy is `legacy` is the keystore's to see to.

use super::symmetric::Symmetric;
use super::{append, padding};
use crate::engine::{Block8, Des3, Way};
use crate::error::OpError;
use crate::secret::Secret;
use hsmd_proto::mechanism::Family;
use hsmd_proto::params::Params;
use zeroize::{Zeroize, Zeroizing};

/// Whether these bytes are a key of Triple DES: 24, and no two neighbours alike but for parity, which would be single DES.
#[must_use]
pub fn is_key(value: &[u8]) -> bool {
    let (parts, rest) = value.as_chunks::<8>();
    let [first, second, third] = parts else {
        return false;
    };
    let alike = |one: &Block8, other: &Block8| {
        let differs = one
            .iter()
            .zip(other)
            .fold(0, |all, (one, other)| all | ((one ^ other) & 0xfe));
        differs == 0
    };
    rest.is_empty() && !alike(first, second) && !alike(second, third)
}

/// Sets the lowest bit of each byte so that the byte has an odd number of them (FIPS 46-3).
pub fn set_parity(value: &mut Secret) {
    for byte in value.expose_mut() {
        *byte = (*byte & 0xfe) | u8::from((*byte & 0xfe).count_ones().is_multiple_of(2));
    }
}

/// A new key.
pub(crate) fn generate() -> Secret {
    loop {
        let mut value = Secret::random(24);
        set_parity(&mut value);
        if is_key(value.expose()) {
            return value;
        }
    }
}

fn open(key: &Symmetric) -> Result<Des3, OpError> {
    Des3::new(key.value().expose()).ok_or(OpError::KeySize)
}

/// Encrypts or decrypts.
pub(super) fn crypt(
    key: &Symmetric,
    (family, way): (Family, Way),
    params: &Params,
    data: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), OpError> {
    let partial = match way {
        Way::Encrypt => OpError::DataLength,
        Way::Decrypt => OpError::EncryptedLength,
    };
    let iv = || match params {
        Params::Iv(iv) => Block8::try_from(&iv[..]).map_err(|_| OpError::Parameter),
        _ => Err(OpError::Parameter),
    };
    let pads = family == Family::Des3CbcPad && way == Way::Encrypt;
    if !data.len().is_multiple_of(8) && !pads {
        return Err(partial);
    }
    let des = open(key)?;
    match (family, way) {
        (Family::Des3Ecb, _) => append(out, data.len(), |target| {
            target.copy_from_slice(data);
            let (blocks, _) = target.as_chunks_mut::<8>();
            let one = |block: &mut Block8| des.block(way, block);
            blocks.iter_mut().try_for_each(one).ok_or(OpError::Failed)
        }),
        (Family::Des3Cbc, _) => {
            let mut iv = iv()?;
            append(out, data.len(), |target| {
                des.cbc(way, &mut iv, data, target).ok_or(OpError::Failed)
            })
        }
        (Family::Des3CbcPad, Way::Encrypt) => pad(&des, iv()?, data, out),
        (Family::Des3CbcPad, Way::Decrypt) => unpad(&des, iv()?, data, out),
        _ => Err(OpError::Mechanism),
    }
}

fn pad(des: &Des3, mut iv: Block8, data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    let (whole, rest) = data.split_at(data.len() / 8 * 8);
    let last = padding::last_block::<8>(rest);
    append(out, whole.len() + 8, |target| {
        let (front, back) = target.split_at_mut(whole.len());
        des.cbc(Way::Encrypt, &mut iv, whole, front).ok_or(OpError::Failed)?;
        des.cbc(Way::Encrypt, &mut iv, &*last, back).ok_or(OpError::Failed)
    })
}

fn unpad(des: &Des3, mut iv: Block8, data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    if data.is_empty() {
        return Err(OpError::EncryptedLength);
    }
    let start = out.len();
    let mut kept = 0;
    append(out, data.len(), |target| {
        des.cbc(Way::Decrypt, &mut iv, data, target).ok_or(OpError::Failed)?;
        kept = padding::unpadded_length::<8>(target).ok_or(OpError::Encrypted)?;
        target[kept..].zeroize();
        Ok(())
    })?;
    out.truncate(start + kept);
    Ok(())
}

/// CMAC with blocks of 64 bits (SP 800-38B, 6.2).
pub(super) fn cmac(key: &Symmetric, message: &[u8], out: &mut [u8; 64]) -> Result<usize, OpError> {
    /// How much is chained at once.
    const PIECE: usize = 4096;
    let des = open(key)?;
    let mut subkey = Block8::default();
    des.block(Way::Encrypt, &mut subkey).ok_or(OpError::Failed)?;
    double(&mut subkey);
    let whole = message.len().saturating_sub(1) / 8 * 8;
    let (front, rest) = message.split_at(whole);
    let mut chain = Block8::default();
    let mut buffer = Zeroizing::new([0; PIECE]);
    for piece in front.chunks(PIECE) {
        let thrown_away = &mut buffer[..piece.len()];
        des.cbc(Way::Encrypt, &mut chain, piece, thrown_away)
            .ok_or(OpError::Failed)?;
    }
    let mut last = Block8::default();
    last[..rest.len()].copy_from_slice(rest);
    if rest.len() < 8 {
        last[rest.len()] = 0x80;
        double(&mut subkey);
    }
    for ((byte, key), chained) in last.iter_mut().zip(&subkey).zip(&chain) {
        *byte ^= key ^ chained;
    }
    des.block(Way::Encrypt, &mut last).ok_or(OpError::Failed)?;
    out[..8].copy_from_slice(&last);
    subkey.zeroize();
    last.zeroize();
    chain.zeroize();
    Ok(8)
}

/// Doubling in GF(2^64) (SP 800-38B, 6.1), without a branch on the secret bit.
fn double(block: &mut Block8) {
    let value = u64::from_be_bytes(*block);
    let carry = (value >> 63).wrapping_neg() & 0x1b;
    *block = ((value << 1) ^ carry).to_be_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_equal_neighbours_are_single_des() {
        let key = |bytes: [u8; 3]| bytes.map(|byte| [byte; 8]).concat();
        assert!(is_key(&key([2, 4, 6])) && is_key(&key([2, 4, 2])));
        assert!(!is_key(&key([2, 2, 4])) && !is_key(&key([2, 4, 4])));
        // They differ in parity alone.
        assert!(!is_key(&key([2, 3, 4])));
        assert!(!is_key(&[0; 23]) && !is_key(&[0; 25]) && !is_key(&[0; 16]));
    }

    #[test]
    fn a_new_key_has_odd_parity() {
        let key = generate();
        assert!(key.expose().iter().all(|byte| byte.count_ones() % 2 == 1));
    }
}
