//! The functions of FIPS 205, 11: SHAKE256, or SHA-256 and SHA-512. With SHA-2 the block that PK.seed fills is hashed once.

use super::{Address, MAX_N};
use crate::engine::{Hmac, Sha, Shake};
use hsmd_proto::ck::MechanismType as M;
use zeroize::Zeroizing;

/// The longest digest of a message (FIPS 205, table 2: m).
const MAX_DIGEST: usize = 49;

/// The hash functions of a key.
pub(super) struct Hashes {
    n: usize,
    family: Family,
}

enum Family {
    Shake {
        shake: Shake,
        /// PK.seed.
        seed: Vec<u8>,
    },
    Sha2(Box<Begun>),
}

/// States after PK.seed.
struct Begun {
    /// SHA-256: F and PRF.
    narrow: Sha,
    /// H and T, which are SHA-512 where n is more than 16.
    wide: Sha,
}

impl Hashes {
    /// The functions under a PK.seed, whose length is n.
    pub(super) fn new(shake: bool, seed: &[u8]) -> Option<Self> {
        let n = seed.len();
        let begun = |hash, block| {
            let mut sha = Sha::new(hash)?;
            sha.update(seed)?;
            sha.update(&[0; 128][..block - n])?;
            Some(sha)
        };
        let family = if shake {
            let (shake, seed) = (Shake::new()?, seed.to_vec());
            Family::Shake { shake, seed }
        } else {
            let narrow = begun(M::SHA256, 64)?;
            let wide = if n == 16 {
                narrow.clone()
            } else {
                begun(M::SHA512, 128)?
            };
            Family::Sha2(Box::new(Begun { narrow, wide }))
        };
        Some(Self { n, family })
    }

    /// F and PRF.
    pub(super) fn short(&mut self, at: &Address, input: &[u8], out: &mut [u8]) -> Option<()> {
        self.hash(false, at, input, out)
    }

    /// H and T.
    pub(super) fn long(&mut self, at: &Address, input: &[u8], out: &mut [u8]) -> Option<()> {
        self.hash(true, at, input, out)
    }

    fn hash(&mut self, long: bool, at: &Address, input: &[u8], out: &mut [u8]) -> Option<()> {
        match &mut self.family {
            Family::Shake { shake, seed } => shake.hash(&[seed, at.whole(), input], out),
            Family::Sha2(begun) => {
                let mut sha = if long { &begun.wide } else { &begun.narrow }.clone();
                sha.update(&at.compressed())?;
                sha.update(input)?;
                let mut digest = Zeroizing::new([0; 64]);
                sha.finish(&mut digest)?;
                out.copy_from_slice(&digest[..out.len()]);
                Some(())
            }
        }
    }

    /// PRF_msg: R.
    pub(super) fn randomizer(&mut self, prf: &[u8], hedge: &[u8], message: &[&[u8]], out: &mut [u8]) -> Option<()> {
        if hedge.len() != self.n {
            return None;
        }
        let hash = self.message_hash();
        match &mut self.family {
            Family::Shake { shake, .. } => shake.hash(&[&[prf, hedge][..], message].concat(), out),
            Family::Sha2(_) => {
                let mut digest = [0; 64];
                Hmac::new(hash, prf)?.compute(&[&[hedge][..], message].concat(), &mut digest)?;
                out.copy_from_slice(&digest[..out.len()]);
                Some(())
            }
        }
    }

    /// H_msg: at least as many bytes as any set takes.
    pub(super) fn message(
        &mut self,
        randomizer: &[u8],
        seed: &[u8],
        root: &[u8],
        message: &[&[u8]],
    ) -> Option<[u8; MAX_DIGEST]> {
        let mut out = [0; MAX_DIGEST];
        let parts = [&[randomizer, seed, root][..], message].concat();
        let hash = self.message_hash();
        let Family::Shake { shake, .. } = &mut self.family else {
            let mut inner = [0; 64];
            let length = sha2(hash, &parts, &mut inner)?;
            let mut filled = 0;
            for counter in 0_u32.. {
                let mut block = [0; 64];
                let counter = counter.to_be_bytes();
                let made = sha2(hash, &[randomizer, seed, &inner[..length], &counter], &mut block)?;
                let take = made.min(MAX_DIGEST - filled);
                out[filled..filled + take].copy_from_slice(&block[..take]);
                filled += take;
                if filled == MAX_DIGEST {
                    break;
                }
            }
            return Some(out);
        };
        shake.hash(&parts, &mut out)?;
        Some(out)
    }

    const fn message_hash(&self) -> M {
        if self.n == 16 { M::SHA256 } else { M::SHA512 }
    }
}

fn sha2(hash: M, parts: &[&[u8]], out: &mut [u8; 64]) -> Option<usize> {
    let mut sha = Sha::new(hash)?;
    parts.iter().try_for_each(|part| sha.update(part))?;
    sha.finish(out)
}

/// A hash value; the first n bytes count.
pub(super) type Node = [u8; MAX_N];
