//! BLAKE2b without a key (RFC 7693) in the four lengths of PKCS#11, and HMAC over it (RFC 2104; PKCS#11 has no keyed BLAKE2b).
//!
//! Of our own, because a running state must be taken out and put back (operation state, C_DigestKey), which the crate `blake2`
//! does not do; it is the oracle of the tests. There are additions, rotations and exclusive ors of words, whose time depends on
//! the length alone.

use hsmd_proto::ck::MechanismType as M;
use hsmd_proto::mechanism::digest_length;
use zeroize::{Zeroize, Zeroizing};

/// The length of a block in bytes.
const BLOCK: usize = 128;

/// RFC 7693, 2.6: the same as SHA-512's.
const IV: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

/// RFC 7693, 2.7: which words of the message a round mixes in; rounds 10 and 11 are as 0 and 1.
const SIGMA: [[usize; 16]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];

/// RFC 7693, 3.2: the columns, then the diagonals.
const MIXED: [[usize; 4]; 8] = [
    [0, 4, 8, 12],
    [1, 5, 9, 13],
    [2, 6, 10, 14],
    [3, 7, 11, 15],
    [0, 5, 10, 15],
    [1, 6, 11, 12],
    [2, 7, 8, 13],
    [3, 4, 9, 14],
];

/// A running hash. Wiped when dropped.
#[derive(Clone)]
pub(crate) struct Blake2b {
    chain: [u64; 8],
    /// How many bytes were added.
    total: u64,
    /// Those of them that are not in the chain yet: of a message that is not empty at least one, because the last block is
    /// compressed in another way.
    pending: [u8; BLOCK],
    /// The digest's length in bytes.
    length: usize,
}

/// Words of a block and of the mixing, wiped after each call.
type Scratch = Zeroizing<[[u64; 16]; 2]>;

impl Blake2b {
    /// Begins; `None` if `hash` is none of the four.
    pub(crate) fn new(hash: M) -> Option<Self> {
        let known = matches!(hash, M::BLAKE2B_160 | M::BLAKE2B_256 | M::BLAKE2B_384 | M::BLAKE2B_512);
        let length = digest_length(hash).filter(|_| known)?;
        let mut chain = IV;
        // RFC 7693, 2.8: one lane, no key.
        chain[0] ^= 0x0101_0000 ^ length as u64;
        Some(Self {
            chain,
            total: 0,
            pending: [0; BLOCK],
            length,
        })
    }

    /// How many bytes of `pending` count.
    const fn waiting(&self) -> usize {
        match self.total {
            0 => 0,
            total => ((total - 1) % BLOCK as u64) as usize + 1,
        }
    }

    /// Adds data.
    pub(crate) fn update(&mut self, mut data: &[u8]) {
        let mut scratch = Scratch::default();
        while !data.is_empty() {
            let mut waiting = self.waiting();
            if waiting == BLOCK {
                self.compress(false, &mut scratch);
                waiting = 0;
            }
            let (now, later) = data.split_at(data.len().min(BLOCK - waiting));
            self.pending[waiting..waiting + now.len()].copy_from_slice(now);
            // A message of 2^64 bytes would take centuries.
            self.total = self.total.wrapping_add(now.len() as u64);
            data = later;
        }
    }

    /// The digest into the front of `out`; gives its length, and cannot go on. By reference: a move would leave a copy of the state
    /// behind, in the memory that was moved from (INV-1).
    pub(crate) fn finish(&mut self, out: &mut [u8; 64]) -> usize {
        let waiting = self.waiting();
        self.pending[waiting..].fill(0);
        self.compress(true, &mut Scratch::default());
        for (bytes, word) in out.as_chunks_mut::<8>().0.iter_mut().zip(&self.chain) {
            *bytes = word.to_le_bytes();
        }
        out[self.length..].zeroize();
        self.length
    }

    /// RFC 7693, 3.2: the pending block goes into the chain.
    fn compress(&mut self, last: bool, scratch: &mut Scratch) {
        let [words, v] = &mut **scratch;
        for (word, bytes) in words.iter_mut().zip(self.pending.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        v[..8].copy_from_slice(&self.chain);
        v[8..].copy_from_slice(&IV);
        v[12] ^= self.total;
        if last {
            v[14] = !v[14];
        }
        for round in 0..12 {
            for (at, of) in MIXED.iter().zip(SIGMA[round % SIGMA.len()].as_chunks::<2>().0) {
                mix(v, *at, words[of[0]], words[of[1]]);
            }
        }
        for (index, word) in self.chain.iter_mut().enumerate() {
            *word ^= v[index] ^ v[index + 8];
        }
    }

    /// The state: the chain, how many bytes were added, those that are not in the chain yet. Numbers are little-endian.
    pub(crate) fn export(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(64 + 8 + BLOCK));
        out.extend(self.chain.iter().flat_map(|word| word.to_le_bytes()));
        out.extend_from_slice(&self.total.to_le_bytes());
        out.extend_from_slice(&self.pending[..self.waiting()]);
        out
    }

    /// Goes on from a state that [`Self::export`] gave; `None` for bytes that are none.
    pub(crate) fn import(hash: M, bytes: &[u8]) -> Option<Self> {
        let mut state = Self::new(hash)?;
        let (chain, rest) = bytes.split_at_checked(64)?;
        let (total, pending) = rest.split_first_chunk::<8>()?;
        state.total = u64::from_le_bytes(*total);
        if pending.len() != state.waiting() {
            return None;
        }
        for (word, bytes) in state.chain.iter_mut().zip(chain.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        state.pending[..pending.len()].copy_from_slice(pending);
        Some(state)
    }
}

/// RFC 7693, 3.1.
fn mix(v: &mut [u64; 16], [a, b, c, d]: [usize; 4], x: u64, y: u64) {
    v[a] = v[a].wrapping_add(v[b]).wrapping_add(x);
    v[d] = (v[d] ^ v[a]).rotate_right(32);
    v[c] = v[c].wrapping_add(v[d]);
    v[b] = (v[b] ^ v[c]).rotate_right(24);
    v[a] = v[a].wrapping_add(v[b]).wrapping_add(y);
    v[d] = (v[d] ^ v[a]).rotate_right(16);
    v[c] = v[c].wrapping_add(v[d]);
    v[b] = (v[b] ^ v[c]).rotate_right(63);
}

impl Drop for Blake2b {
    fn drop(&mut self) {
        self.chain.zeroize();
        self.pending.zeroize();
    }
}

/// HMAC over BLAKE2b (RFC 2104) into the front of `out`; gives its length. `None` if `hash` is no BLAKE2b.
pub(crate) fn hmac(hash: M, key: &[u8], message: &[u8], out: &mut [u8; 64]) -> Option<usize> {
    let mut inner = Blake2b::new(hash)?;
    let mut outer = inner.clone();
    let mut block = Zeroizing::new([0; BLOCK]);
    if key.len() > BLOCK {
        let (mut long, mut digest) = (inner.clone(), Zeroizing::new([0; 64]));
        long.update(key);
        let length = long.finish(&mut digest);
        block[..length].copy_from_slice(&digest[..length]);
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    block.iter_mut().for_each(|byte| *byte ^= 0x36);
    inner.update(&*block);
    inner.update(message);
    let mut digest = Zeroizing::new([0; 64]);
    let length = inner.finish(&mut digest);
    block.iter_mut().for_each(|byte| *byte ^= 0x36 ^ 0x5c);
    outer.update(&*block);
    outer.update(&digest[..length]);
    Some(outer.finish(out))
}
