//! Authenticated encryption: GCM and CCM over the block cipher, because RustCrypto's own fix the lengths of IV and tag when they
//! are compiled; GCM-SIV and ChaCha20 with Poly1305.

use super::ScrubbedStack;
use super::aes::{Aes, xor};
use crate::engine::{AeadKind, Block, Way};
use aes_gcm_siv::Aes256GcmSiv;
use aes_gcm_siv::aead::{AeadInOut, KeyInit, Tag};
use chacha20poly1305::ChaCha20Poly1305;
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A key for authenticated encryption.
pub(crate) struct Aead(Kind);

enum Kind {
    Gcm(Gcm),
    ChaCha(Box<ChaCha20Poly1305>),
    GcmSiv(Box<Aes256GcmSiv>),
}

impl Aead {
    /// Expands a key; see [`AeadKind`] for the lengths.
    pub(crate) fn new(kind: AeadKind, key: &[u8], tag: usize) -> Option<Self> {
        let _scrubbed = ScrubbedStack;
        Some(Self(match kind {
            AeadKind::Gcm if (1..=16).contains(&tag) => Kind::Gcm(Gcm::new(key, tag)?),
            AeadKind::ChaCha if tag == 16 => Kind::ChaCha(Box::new(ChaCha20Poly1305::new_from_slice(key).ok()?)),
            AeadKind::GcmSiv if tag == 16 => Kind::GcmSiv(Box::new(Aes256GcmSiv::new_from_slice(key).ok()?)),
            _ => return None,
        }))
    }

    /// To encrypt, `out` is as long as `input` and the tag; to decrypt, as `input` without it, and zero if the tag is
    /// wrong.
    pub(crate) fn run(&self, way: Way, nonce: &[u8], aad: &[u8], input: &[u8], out: &mut [u8]) -> Option<()> {
        let done = match &self.0 {
            Kind::Gcm(key) => key.run(way, nonce, aad, input, out),
            Kind::ChaCha(key) => run(&**key, way, nonce, aad, input, out),
            Kind::GcmSiv(key) => run(&**key, way, nonce, aad, input, out),
        };
        if done.is_none() {
            out.zeroize();
        }
        done
    }
}

/// One of RustCrypto's, whose tag follows the text.
fn run<A: AeadInOut>(key: &A, way: Way, nonce: &[u8], aad: &[u8], input: &[u8], out: &mut [u8]) -> Option<()> {
    let nonce = nonce.try_into().ok()?;
    match way {
        Way::Encrypt => {
            let (text, tag) = out.split_at_mut_checked(input.len())?;
            text.copy_from_slice(input);
            let made = key.encrypt_inout_detached(nonce, aad, text.into()).ok()?;
            (tag.len() == made.len()).then(|| tag.copy_from_slice(&made))
        }
        Way::Decrypt => {
            let (text, tag) = input.split_at_checked(out.len())?;
            let tag: &Tag<A> = tag.try_into().ok()?;
            out.copy_from_slice(text);
            key.decrypt_inout_detached(nonce, aad, out.into(), tag).ok()
        }
    }
}

/// GCM (SP 800-38D) with tags of a fixed length.
struct Gcm {
    aes: Aes,
    hash: Box<GHash>,
    tag: usize,
}

impl Gcm {
    fn new(key: &[u8], tag: usize) -> Option<Self> {
        let aes = Aes::new(key)?;
        let mut subkey = Block::default();
        aes.block(Way::Encrypt, &mut subkey);
        let hash = Box::new(GHash::new(&subkey.into()));
        subkey.zeroize();
        Some(Self { aes, hash, tag })
    }

    /// GHASH of two texts, each filled up with zeros, and their lengths (SP 800-38D, 7.1, step 5).
    fn hash(&self, first: &[u8], second: &[u8]) -> Block {
        let bits = |text: &[u8]| text.len() as u128 * 8;
        let lengths = (bits(first) << 64 | bits(second)).to_be_bytes();
        let mut hash = GHash::clone(&self.hash);
        hash.update_padded(first);
        hash.update_padded(second);
        hash.update(&[lengths.into()]);
        hash.finalize().into()
    }

    /// The first counter (7.1, step 2).
    fn counter(&self, nonce: &[u8]) -> Option<Block> {
        if nonce.is_empty() {
            return None;
        }
        if let Ok(nonce) = <&[u8; 12]>::try_from(nonce) {
            let mut counter = [0; 16];
            counter[..12].copy_from_slice(nonce);
            counter[15] = 1;
            return Some(counter);
        }
        Some(self.hash(&[], nonce))
    }

    fn run(&self, way: Way, nonce: &[u8], aad: &[u8], input: &[u8], out: &mut [u8]) -> Option<()> {
        /// The longest text in bytes (5.2.1.1).
        const MOST: u64 = (1 << 36) - 32;
        let mut counter = self.counter(nonce)?;
        let mut mask = Block::default();
        self.aes.ctr32(&mut counter, &Block::default(), &mut mask)?;
        let (text, found) = match way {
            Way::Encrypt => (input, None),
            Way::Decrypt => input.split_at_checked(out.len()).map(|(text, tag)| (text, Some(tag)))?,
        };
        if text.len() as u64 > MOST {
            return None;
        }
        let Some(found) = found else {
            let (sealed, tag) = out.split_at_mut_checked(text.len())?;
            self.aes.ctr32(&mut counter, text, sealed)?;
            let mut made = self.hash(aad, sealed);
            xor(&mut made, &mask);
            return (tag.len() == self.tag).then(|| tag.copy_from_slice(&made[..self.tag]));
        };
        let mut made = self.hash(aad, text);
        xor(&mut made, &mask);
        if !bool::from(made[..self.tag].ct_eq(found)) {
            return None;
        }
        self.aes.ctr32(&mut counter, text, out)
    }
}

/// CCM (SP 800-38C) of one message: the counter blocks' beginning and the MAC of what the message begins with.
struct Ccm {
    aes: Aes,
    counter: Block,
    mac: Block,
}

impl Ccm {
    fn new(key: &[u8], nonce: &[u8], aad: &[u8], text: usize, tag: usize) -> Option<Self> {
        let fits = (7..=13).contains(&nonce.len()) && (4..=16).contains(&tag) && tag.is_multiple_of(2);
        // A.2.1: the length of the text fills what the nonce leaves.
        let room = 15_usize.checked_sub(nonce.len()).filter(|_| fits)?;
        if room < 8 && text as u64 >= 1 << (8 * room) {
            return None;
        }
        let mut first = [0; 16];
        first[8..].copy_from_slice(&(text as u64).to_be_bytes());
        first[1..=nonce.len()].copy_from_slice(nonce);
        first[0] = u8::from(!aad.is_empty()) << 6 | ((tag as u8 - 2) / 2) << 3 | (room as u8 - 1);
        let mut counter = [0; 16];
        counter[1..=nonce.len()].copy_from_slice(nonce);
        counter[0] = room as u8 - 1;
        let (aes, mac) = (Aes::new(key)?, Block::default());
        let mut ccm = Self { aes, counter, mac };
        ccm.absorb(&first);
        if !aad.is_empty() {
            // A.2.2.
            let length = match aad.len() {
                short @ 0..0xff00 => (short as u16).to_be_bytes().to_vec(),
                long => [&[0xff, 0xfe][..], &u32::try_from(long).ok()?.to_be_bytes()].concat(),
            };
            ccm.absorb(&[&length, aad].concat());
        }
        Some(ccm)
    }

    /// Adds data, filled up with zeros, to the MAC.
    fn absorb(&mut self, data: &[u8]) {
        for chunk in data.chunks(16) {
            let mut block = Block::default();
            block[..chunk.len()].copy_from_slice(chunk);
            xor(&mut self.mac, &block);
            block.zeroize();
            self.aes.block(Way::Encrypt, &mut self.mac);
        }
    }

    /// The tag of what was added; the counter goes on to the text.
    fn mask(&mut self) -> Block {
        let (mut mask, mut counter) = (self.counter, self.counter);
        self.aes.block(Way::Encrypt, &mut mask);
        counter[15] = 1;
        self.counter = counter;
        mask
    }
}

impl Drop for Ccm {
    fn drop(&mut self) {
        self.mac.zeroize();
    }
}

/// Encrypts by CCM; `out` is as long as the text.
pub(crate) fn ccm_seal(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    text: &[u8],
    out: &mut [u8],
    tag: &mut [u8],
) -> Option<()> {
    let mut ccm = Ccm::new(key, nonce, aad, text.len(), tag.len())?;
    ccm.absorb(text);
    let (mut made, mut counter) = (ccm.mask(), ccm.counter);
    xor(&mut made, &ccm.mac);
    tag.copy_from_slice(&made[..tag.len()]);
    ccm.aes.ctr(&mut counter, text, out)
}

/// Decrypts by CCM; `out` is as long as the text. `None`: the tag is wrong; what was written is wiped by the caller.
pub(crate) fn ccm_open(key: &[u8], nonce: &[u8], aad: &[u8], data: &[u8], tag: &[u8], out: &mut [u8]) -> Option<()> {
    let mut ccm = Ccm::new(key, nonce, aad, data.len(), tag.len())?;
    let (mut made, mut counter) = (ccm.mask(), ccm.counter);
    ccm.aes.ctr(&mut counter, data, out)?;
    ccm.absorb(out);
    xor(&mut made, &ccm.mac);
    bool::from(made[..tag.len()].ct_eq(tag)).then_some(())
}
