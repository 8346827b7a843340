//! HMAC (FIPS 198-1), CMAC (SP 800-38B) and GMAC (SP 800-38D), whole or cut to the length that the caller chose.

use super::symmetric::Symmetric;
use super::{cipher, des3, tls};
use crate::blake2b;
use crate::engine::{Aes, Block, Way};
use crate::error::OpError;
use crate::material::Input;
use crate::seal;
use hsmd_proto::mechanism::{Family, Row};
use hsmd_proto::params::{GcmParams, Params};
use zeroize::{Zeroize, Zeroizing};

/// Whether a family is one of MACs.
pub(crate) const fn is_mac(family: Family) -> bool {
    matches!(
        family,
        Family::Hmac | Family::AesCmac | Family::AesGmac | Family::Des3Cmac | Family::TlsMac
    )
}

pub(crate) fn sign(
    key: &Symmetric,
    row: &Row,
    params: &Params,
    input: Input<'_>,
    out: &mut Vec<u8>,
) -> Result<(), OpError> {
    let (mac, length) = compute(key, row, params, input)?;
    out.extend_from_slice(&mac[..length]);
    Ok(())
}

pub(crate) fn verify(
    key: &Symmetric,
    row: &Row,
    params: &Params,
    input: Input<'_>,
    signature: &[u8],
) -> Result<(), OpError> {
    let (mac, length) = compute(key, row, params, input)?;
    if signature.len() != length {
        return Err(OpError::SignatureLength);
    }
    if seal::equal(&mac[..length], signature) {
        Ok(())
    } else {
        Err(OpError::Signature)
    }
}

/// The right MAC is wiped: for C_Verify it would be a forgery.
fn compute(
    key: &Symmetric,
    row: &Row,
    params: &Params,
    input: Input<'_>,
) -> Result<(Zeroizing<[u8; 64]>, usize), OpError> {
    let Input::Message(message) = input else {
        return Err(OpError::Data);
    };
    let mut mac = Zeroizing::new([0; 64]);
    if let (Family::AesGmac, Params::Gcm(gcm)) = (row.family, params) {
        let length = gmac(key, gcm, message, &mut mac)?;
        return Ok((mac, length));
    }
    if let (Family::TlsMac, Params::TlsMac(params)) = (row.family, params) {
        let length = tls::mac(key, params, message, &mut mac)?;
        return Ok((mac, length));
    }
    let whole = match row.family {
        Family::AesCmac => cmac(key.aes()?, message, &mut mac)?,
        Family::Des3Cmac => des3::cmac(key, message, &mut mac)?,
        _ => {
            let hash = row.hash.ok_or(OpError::Mechanism)?;
            match blake2b::hmac(hash, key.value().expose(), message, &mut mac) {
                Some(whole) => whole,
                None => {
                    let key = key.hmac(hash)?;
                    key.compute(&[message], &mut mac).ok_or(OpError::Failed)?
                }
            }
        }
    };
    let length = match params {
        Params::Number(length) => usize::try_from(*length).map_err(|_| OpError::Parameter)?,
        _ => whole,
    };
    if (1..=whole).contains(&length) {
        Ok((mac, length))
    } else {
        Err(OpError::Parameter)
    }
}

/// The tag of GCM over no text and the message as what is authenticated beside it (SP 800-38D, 3).
fn gmac(key: &Symmetric, params: &GcmParams, message: &[u8], out: &mut [u8; 64]) -> Result<usize, OpError> {
    if !params.aad.is_empty() {
        return Err(OpError::Parameter);
    }
    let mut tag = Zeroizing::new(Vec::with_capacity(16));
    cipher::gcm_seal(key, params, message, &[], &mut tag)?;
    out[..tag.len()].copy_from_slice(&tag);
    Ok(tag.len())
}

/// SP 800-38B, 6.2: CBC over all blocks, with a subkey added to the last one.
pub(super) fn cmac(aes: &Aes, message: &[u8], out: &mut [u8; 64]) -> Result<usize, OpError> {
    /// How much is chained at once.
    const PIECE: usize = 4096;
    let mut subkey: Block = [0; 16];
    aes.block(Way::Encrypt, &mut subkey);
    double(&mut subkey);
    let whole = message.len().saturating_sub(1) / 16 * 16;
    let (front, rest) = message.split_at(whole);
    let mut chain: Block = [0; 16];
    let mut buffer = Zeroizing::new([0; PIECE]);
    for piece in front.chunks(PIECE) {
        let thrown_away = &mut buffer[..piece.len()];
        aes.cbc(Way::Encrypt, &mut chain, piece, thrown_away)
            .ok_or(OpError::Failed)?;
    }
    let mut last: Block = [0; 16];
    last[..rest.len()].copy_from_slice(rest);
    if rest.len() < 16 {
        last[rest.len()] = 0x80;
        double(&mut subkey);
    }
    for ((byte, key), chained) in last.iter_mut().zip(&subkey).zip(&chain) {
        *byte ^= key ^ chained;
    }
    aes.block(Way::Encrypt, &mut last);
    out[..16].copy_from_slice(&last);
    subkey.zeroize();
    last.zeroize();
    chain.zeroize();
    Ok(16)
}

/// Doubling in GF(2^128) (SP 800-38B, 6.1), without a branch on the secret bit.
fn double(block: &mut Block) {
    let value = u128::from_be_bytes(*block);
    let carry = (value >> 127).wrapping_neg() & 0x87;
    *block = ((value << 1) ^ carry).to_be_bytes();
}
