//! AES key wrap: RFC 3394 (KW) and RFC 5649 (KWP), with the default or the caller's initial value.
//!
//! Written over the block cipher, because aws-lc's KWP takes no initial value of the caller's.

use super::append;
use crate::engine::{Aes, Block, Way};
use crate::error::OpError;
use hsmd_proto::params::Params;
use subtle::{Choice, ConstantTimeEq, ConstantTimeGreater};
use zeroize::{Zeroize, Zeroizing};

/// RFC 3394, 2.2.3.1.
const KW_IV: [u8; 8] = [0xa6; 8];
/// RFC 5649, 3.
const KWP_IV: [u8; 4] = [0xa6, 0x59, 0x59, 0xa6];

fn initial_value<const N: usize>(params: &Params, default: [u8; N]) -> Result<[u8; N], OpError> {
    match params {
        Params::None => Ok(default),
        Params::Iv(iv) => iv.as_slice().try_into().map_err(|_| OpError::Parameter),
        _ => Err(OpError::Parameter),
    }
}

/// KW: at least two 8-byte halves (RFC 3394, 2.2.1).
pub(crate) fn kw(aes: &Aes, way: Way, params: &Params, data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    let iv = initial_value(params, KW_IV)?;
    match way {
        Way::Encrypt if data.len() < 16 || !data.len().is_multiple_of(8) => Err(OpError::DataLength),
        Way::Encrypt => append(out, data.len() + 8, |target| {
            target[8..].copy_from_slice(data);
            wrap(aes, iv, target);
            Ok(())
        }),
        Way::Decrypt if data.len() < 24 || !data.len().is_multiple_of(8) => Err(OpError::EncryptedLength),
        Way::Decrypt => {
            let mut buffer = Zeroizing::new(data.to_vec());
            let found = unwrap(aes, &mut buffer);
            if !bool::from(found.ct_eq(&iv)) {
                return Err(OpError::Encrypted);
            }
            out.extend_from_slice(&buffer[8..]);
            Ok(())
        }
    }
}

/// KWP: any length from 1 byte (RFC 5649, 4).
pub(crate) fn kwp(aes: &Aes, way: Way, params: &Params, data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    let iv = initial_value(params, KWP_IV)?;
    match way {
        Way::Encrypt => kwp_wrap(aes, iv, data, out),
        Way::Decrypt => kwp_unwrap(aes, iv, data, out),
    }
}

fn kwp_wrap(aes: &Aes, iv: [u8; 4], data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    let length = u32::try_from(data.len()).map_err(|_| OpError::DataLength)?;
    if length == 0 {
        return Err(OpError::DataLength);
    }
    let mut first = [0; 8];
    first[..4].copy_from_slice(&iv);
    first[4..].copy_from_slice(&length.to_be_bytes());
    append(out, 8 + data.len().next_multiple_of(8), |target| {
        target[8..8 + data.len()].copy_from_slice(data);
        if target.len() == 16 {
            let mut block: Block = [0; 16];
            block[..8].copy_from_slice(&first);
            block[8..].copy_from_slice(&target[8..]);
            aes.block(Way::Encrypt, &mut block);
            target.copy_from_slice(&block);
        } else {
            wrap(aes, first, target);
        }
        Ok(())
    })
}

fn kwp_unwrap(aes: &Aes, iv: [u8; 4], data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    if data.len() < 16 || !data.len().is_multiple_of(8) {
        return Err(OpError::EncryptedLength);
    }
    let mut buffer = Zeroizing::new(data.to_vec());
    let first = if buffer.len() == 16 {
        let mut block = Zeroizing::new([0; 16]);
        block.copy_from_slice(&buffer);
        aes.block(Way::Decrypt, &mut block);
        buffer[8..].copy_from_slice(&block[8..]);
        block.first_chunk().copied().unwrap_or_default()
    } else {
        unwrap(aes, &mut buffer)
    };
    let [a, b, c, d, length @ ..] = first;
    let length = u32::from_be_bytes(length);
    // RFC 5649, 3: the constant, 8 * (n - 1) < length <= 8 * n, and zeros behind. Looked at together, so that a caller
    // does not learn which one failed.
    let room = (buffer.len() - 8) as u64;
    let mut good: Choice = [a, b, c, d].ct_eq(&iv);
    good &= u64::from(length).ct_gt(&(room - 8)) & !u64::from(length).ct_gt(&room);
    for (index, byte) in buffer[8..].iter().enumerate().skip(room as usize - 8) {
        let padding = !u64::from(length).ct_gt(&(index as u64));
        good &= !padding | byte.ct_eq(&0);
    }
    if !bool::from(good) {
        return Err(OpError::Encrypted);
    }
    out.extend_from_slice(&buffer[8..8 + length as usize]);
    Ok(())
}

/// W of RFC 3394, 2.2.1: `buffer` is 8 bytes of room and the plain text, and becomes the ciphertext.
fn wrap(aes: &Aes, iv: [u8; 8], buffer: &mut [u8]) {
    let mut block: Block = [0; 16];
    block[..8].copy_from_slice(&iv);
    let mut step = 0_u64;
    for _ in 0..6 {
        for half in buffer[8..].chunks_exact_mut(8) {
            step += 1;
            block[8..].copy_from_slice(half);
            aes.block(Way::Encrypt, &mut block);
            mix(&mut block, step);
            half.copy_from_slice(&block[8..]);
        }
    }
    buffer[..8].copy_from_slice(&block[..8]);
    block.zeroize();
}

/// The inverse of W: gives the initial value and leaves the plain text behind the first 8 bytes of `buffer`.
fn unwrap(aes: &Aes, buffer: &mut [u8]) -> [u8; 8] {
    let mut block: Block = [0; 16];
    block[..8].copy_from_slice(&buffer[..8]);
    let mut step = 6 * (buffer.len() as u64 / 8 - 1);
    for _ in 0..6 {
        for half in buffer[8..].rchunks_exact_mut(8) {
            mix(&mut block, step);
            step -= 1;
            block[8..].copy_from_slice(half);
            aes.block(Way::Decrypt, &mut block);
            half.copy_from_slice(&block[8..]);
        }
    }
    let mut iv = [0; 8];
    iv.copy_from_slice(&block[..8]);
    block.zeroize();
    iv
}

/// A ^= t.
fn mix(block: &mut Block, step: u64) {
    for (byte, value) in block.iter_mut().zip(step.to_be_bytes()) {
        *byte ^= value;
    }
}
