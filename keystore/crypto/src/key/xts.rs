//! AES-XTS (IEEE 1619, SP 800-38E; PKCS#11 3.2, 6.15), with ciphertext stealing: one data unit of at least a block, whose number
//! is the IV.

use super::append;
use crate::engine::{self, Aes, Block, Way};
use crate::error::OpError;
use crate::seal;
use zeroize::{Zeroize, Zeroizing};

const BLOCK: usize = 16;
/// The longest data unit: 2^20 blocks (SP 800-38E, 4).
const LONGEST: usize = BLOCK << 20;

/// Whether a value is a key of XTS: two of AES-128 or AES-256 that differ (FIPS 140-3 IG C.I).
#[must_use]
pub fn is_key(value: &[u8]) -> bool {
    let (data, tweak) = value.split_at(value.len() / 2);
    matches!(value.len(), 32 | 64) && !seal::equal(data, tweak)
}

pub(crate) fn crypt(key: &[u8], way: Way, iv: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
    if !is_key(key) {
        return Err(OpError::KeySize);
    }
    let mut tweak: Block = iv.try_into().map_err(|_| OpError::Parameter)?;
    if !(BLOCK..=LONGEST).contains(&data.len()) {
        return Err(match way {
            Way::Encrypt => OpError::DataLength,
            Way::Decrypt => OpError::EncryptedLength,
        });
    }
    let (first, second) = key.split_at(key.len() / 2);
    Aes::new(second)
        .ok_or(OpError::KeySize)?
        .block(Way::Encrypt, &mut tweak);
    append(out, data.len(), |target| {
        target.copy_from_slice(data);
        let done = unit(first, way, &mut tweak, target);
        tweak.zeroize();
        done.ok_or(OpError::KeySize)
    })
}

/// One data unit, in place (IEEE 1619, 5.3 and 5.4).
fn unit(key: &[u8], way: Way, tweak: &mut Block, data: &mut [u8]) -> Option<()> {
    let tail = data.len() % BLOCK;
    let plain = if tail == 0 {
        data.len()
    } else {
        data.len() - tail - BLOCK
    };
    let (front, rest) = data.split_at_mut(plain);
    let first = Zeroizing::new(*tweak);
    mix_all(front, tweak);
    engine::ecb(key, way, front)?;
    tweak.copy_from_slice(&*first);
    mix_all(front, tweak);
    let Some((block, tail)) = rest.split_first_chunk_mut::<BLOCK>() else {
        return Some(());
    };
    // The last whole block and the tail change places; on the way back the tweaks do as well.
    let mut next = Zeroizing::new(*tweak);
    double(&mut next);
    let (first, second) = match way {
        Way::Encrypt => (&*tweak, &*next),
        Way::Decrypt => (&*next, &*tweak),
    };
    let aes = Aes::new(key)?;
    one(&aes, way, first, block);
    block[..tail.len()].swap_with_slice(tail);
    one(&aes, way, second, block);
    Some(())
}

/// Each block with its tweak; `tweak` becomes that of the block after them.
fn mix_all(data: &mut [u8], tweak: &mut Block) {
    let (blocks, _) = data.as_chunks_mut::<BLOCK>();
    for block in blocks {
        mix(block, tweak);
        double(tweak);
    }
}

fn one(aes: &Aes, way: Way, tweak: &Block, block: &mut Block) {
    mix(block, tweak);
    aes.block(way, block);
    mix(block, tweak);
}

fn mix(block: &mut Block, tweak: &Block) {
    let mixed = u128::from_ne_bytes(*block) ^ u128::from_ne_bytes(*tweak);
    *block = mixed.to_ne_bytes();
}

/// Times x in GF(2^128), the first byte the lowest, without a branch on the secret bit.
fn double(tweak: &mut Block) {
    let value = u128::from_le_bytes(*tweak);
    let carry = (value >> 127).wrapping_neg() & 0x87;
    *tweak = ((value << 1) ^ carry).to_le_bytes();
}
