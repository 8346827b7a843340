//! Triple DES in CBC mode, of which one block under zeros is the block cipher.

use super::ScrubbedStack;
use crate::engine::{Block8, Way};
use des::TdesEde3;
use des::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};

/// A key of 24 bytes; the bits of parity do not matter.
pub(crate) struct Des3(Box<TdesEde3>);

impl Des3 {
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        let _scrubbed = ScrubbedStack;
        TdesEde3::new_from_slice(key).ok().map(|key| Self(Box::new(key)))
    }

    /// One block, in place.
    pub(crate) fn block(&self, way: Way, block: &mut Block8) -> Option<()> {
        let block = Array::cast_from_core_mut(block);
        match way {
            Way::Encrypt => self.0.encrypt_block(block),
            Way::Decrypt => self.0.decrypt_block(block),
        }
        Some(())
    }

    /// CBC over whole blocks into as many bytes; `iv` becomes the next chaining value.
    pub(crate) fn cbc(&self, way: Way, iv: &mut Block8, data: &[u8], out: &mut [u8]) -> Option<()> {
        if !data.len().is_multiple_of(8) || data.len() != out.len() {
            return None;
        }
        for (from, to) in data.as_chunks::<8>().0.iter().zip(out.as_chunks_mut::<8>().0) {
            *to = *from;
            if way == Way::Encrypt {
                xor(to, iv);
                self.block(way, to)?;
                *iv = *to;
            } else {
                self.block(way, to)?;
                xor(to, iv);
                *iv = *from;
            }
        }
        Some(())
    }
}

fn xor(block: &mut Block8, other: &Block8) {
    *block = (u64::from_ne_bytes(*block) ^ u64::from_ne_bytes(*other)).to_ne_bytes();
}
