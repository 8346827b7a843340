//! The AES block cipher and its modes ECB, CBC, CTR over whole slices.

use super::ScrubbedStack;
use crate::engine::{Block, Way};
use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use zeroize::Zeroizing;

/// Blocks of key stream made at once: enough to keep the processor's AES unit busy.
const STREAM: usize = 32;

/// Both key schedules of an AES key.
pub(crate) enum Aes {
    Short(Box<Aes128>),
    Middle(Box<Aes192>),
    Long(Box<Aes256>),
}

/// The same for all three.
macro_rules! each {
    ($of:expr, $aes:ident => $body:expr) => {
        match $of {
            Self::Short($aes) => $body,
            Self::Middle($aes) => $body,
            Self::Long($aes) => $body,
        }
    };
}

impl Aes {
    /// Expands a key of 16, 24 or 32 bytes.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        let _scrubbed = ScrubbedStack;
        Some(match key.len() {
            16 => Self::Short(Box::new(Aes128::new_from_slice(key).ok()?)),
            24 => Self::Middle(Box::new(Aes192::new_from_slice(key).ok()?)),
            32 => Self::Long(Box::new(Aes256::new_from_slice(key).ok()?)),
            _ => return None,
        })
    }

    /// Each block by itself, in place.
    fn blocks(&self, way: Way, blocks: &mut [Block]) {
        let blocks = Array::cast_slice_from_core_mut(blocks);
        match way {
            Way::Encrypt => each!(self, aes => aes.encrypt_blocks(blocks)),
            Way::Decrypt => each!(self, aes => aes.decrypt_blocks(blocks)),
        }
    }

    /// One block, in place.
    pub(crate) fn block(&self, way: Way, block: &mut Block) {
        self.blocks(way, std::slice::from_mut(block));
    }

    /// CBC over whole blocks into as many bytes; `iv` becomes the next chaining value.
    pub(crate) fn cbc(&self, way: Way, iv: &mut Block, data: &[u8], out: &mut [u8]) -> Option<()> {
        let ((from, []), length) = (data.as_chunks::<16>(), data.len()) else {
            return None;
        };
        if length != out.len() {
            return None;
        }
        out.copy_from_slice(data);
        let to = out.as_chunks_mut::<16>().0;
        match way {
            Way::Encrypt => {
                for block in to {
                    xor(block, iv);
                    self.block(way, block);
                    *iv = *block;
                }
            }
            Way::Decrypt => {
                self.blocks(way, to);
                for (block, sealed) in to.iter_mut().zip(from) {
                    xor(block, iv);
                    *iv = *sealed;
                }
            }
        }
        Some(())
    }

    /// CTR with a 128-bit counter into as many bytes.
    pub(crate) fn ctr(&self, counter: &mut Block, data: &[u8], out: &mut [u8]) -> Option<()> {
        self.stream(counter, data, out, |block| {
            *block = u128::from_be_bytes(*block).wrapping_add(1).to_be_bytes();
        })
    }

    /// CTR as GCM has it: the last 32 bits count (SP 800-38D, 6.2).
    pub(super) fn ctr32(&self, counter: &mut Block, data: &[u8], out: &mut [u8]) -> Option<()> {
        self.stream(counter, data, out, |block| {
            if let Some(low) = block.last_chunk_mut::<4>() {
                *low = u32::from_be_bytes(*low).wrapping_add(1).to_be_bytes();
            }
        })
    }

    fn stream(&self, counter: &mut Block, data: &[u8], out: &mut [u8], next: impl Fn(&mut Block)) -> Option<()> {
        if data.len() != out.len() {
            return None;
        }
        let mut stream = Zeroizing::new([[0; 16]; STREAM]);
        for (data, out) in data.chunks(16 * STREAM).zip(out.chunks_mut(16 * STREAM)) {
            let stream = &mut stream[..data.len().div_ceil(16)];
            for block in &mut *stream {
                *block = *counter;
                next(counter);
            }
            self.blocks(Way::Encrypt, stream);
            for ((out, data), key) in out.iter_mut().zip(data).zip(stream.as_flattened()) {
                *out = data ^ key;
            }
        }
        Some(())
    }
}

/// ECB over whole blocks, in place.
pub(crate) fn ecb(key: &[u8], way: Way, data: &mut [u8]) -> Option<()> {
    let (blocks, []) = data.as_chunks_mut::<16>() else {
        return None;
    };
    Aes::new(key)?.blocks(way, blocks);
    Some(())
}

/// `block` becomes the sum of both.
pub(super) fn xor(block: &mut Block, other: &Block) {
    *block = (u128::from_ne_bytes(*block) ^ u128::from_ne_bytes(*other)).to_ne_bytes();
}
