//! LMS and HSS (RFC 8554), verification alone; with SP 800-208, 4 also the hash values of 24 bytes and SHAKE256.

use super::{Hash, Kind, Node, Refused, take, word};

/// The most levels of a hierarchy (RFC 8554, 6).
const MAX_LEVELS: u32 = 8;

/// What is hashed (RFC 8554, 7.1).
const D_PBLC: [u8; 2] = [0x80, 0x80];
const D_MESG: [u8; 2] = [0x81, 0x81];
const D_LEAF: [u8; 2] = [0x82, 0x82];
const D_INTR: [u8; 2] = [0x83, 0x83];

/// Hash function and length of hash values: the types come in groups by them, in this order (SP 800-208, 4.1 to 4.4).
const GROUPS: [(Kind, usize); 4] = [
    (Kind::Sha256, 32),
    (Kind::Sha256, 24),
    (Kind::Shake256, 32),
    (Kind::Shake256, 24),
];

/// A type of trees: `lms_algorithm_type`.
#[derive(Clone, Copy)]
struct Tree {
    group: usize,
    height: u32,
}

impl Tree {
    /// From 5: heights 5, 10, 15, 20, 25 of each group.
    fn new(number: u32) -> Option<Self> {
        let index = number.checked_sub(5)?;
        let group = index as usize / 5;
        let height = 5 * (index % 5 + 1);
        (group < GROUPS.len()).then_some(Self { group, height })
    }
}

/// A type of one-time signatures: `lmots_algorithm_type`.
#[derive(Clone, Copy)]
struct OneTime {
    group: usize,
    /// Bits of a digit.
    w: u32,
}

impl OneTime {
    /// From 1: digits of 1, 2, 4, 8 bits of each group.
    fn new(number: u32) -> Option<Self> {
        let index = number.checked_sub(1)?;
        let group = index as usize / 4;
        (group < GROUPS.len()).then_some(Self {
            group,
            w: 1 << (index % 4),
        })
    }

    const fn n(self) -> usize {
        GROUPS[self.group].1
    }

    /// How many digits the digest has: u of RFC 8554, appendix B.
    const fn message_digits(self) -> usize {
        8 * self.n() / self.w as usize
    }

    /// How far the checksum is moved to the left: ls.
    const fn shift(self) -> u32 {
        16 - self.checksum_digits() as u32 * self.w
    }

    /// How many digits the checksum has: v.
    const fn checksum_digits(self) -> usize {
        let most = ((1_u32 << self.w) - 1) * self.message_digits() as u32;
        (u32::BITS - most.leading_zeros()).div_ceil(self.w) as usize
    }

    /// How many hash values a signature has: p.
    const fn digits(self) -> usize {
        self.message_digits() + self.checksum_digits()
    }
}

/// `lms_public_key` (RFC 8554, 5.3).
struct Lms<'a> {
    tree: Tree,
    one_time: OneTime,
    /// I.
    id: &'a [u8],
    /// T\[1\].
    root: &'a [u8],
}

/// `lms_signature` (RFC 8554, 5.4).
struct Signed<'a> {
    q: u32,
    one_time: OneTime,
    /// C.
    randomizer: &'a [u8],
    /// y.
    chains: &'a [u8],
    tree: Tree,
    path: &'a [u8],
}

impl<'a> Lms<'a> {
    fn read(bytes: &mut &'a [u8]) -> Option<Self> {
        let tree = Tree::new(word(bytes)?)?;
        let one_time = OneTime::new(word(bytes)?)?;
        // SP 800-208, 4: one hash function for both.
        if tree.group != one_time.group {
            return None;
        }
        let id = take(bytes, 16)?;
        let root = take(bytes, one_time.n())?;
        Some(Self {
            tree,
            one_time,
            id,
            root,
        })
    }

    /// RFC 8554, algorithm 6a: the root that follows from the signature is the key's.
    fn verify(&self, message: &[u8], signed: &Signed<'_>) -> Result<(), Refused> {
        if signed.tree.group != self.tree.group
            || signed.tree.height != self.tree.height
            || signed.one_time.group != self.one_time.group
            || signed.one_time.w != self.one_time.w
            || signed.q >> self.tree.height != 0
        {
            return Err(Refused::Wrong);
        }
        match self.root_of(message, signed) {
            None => Err(Refused::Engine),
            Some(root) if root[..self.root.len()] == *self.root => Ok(()),
            Some(_) => Err(Refused::Wrong),
        }
    }

    fn root_of(&self, message: &[u8], signed: &Signed<'_>) -> Option<Node> {
        let (kind, n) = GROUPS[self.tree.group];
        let mut hash = Hash::new(kind, n)?;
        let candidate = self.one_time_key(&mut hash, message, signed)?;
        let mut number = (1 << self.tree.height) + signed.q;
        let mut node = hash.of(&[self.id, &number.to_be_bytes(), &D_LEAF, &candidate[..n]])?;
        for sibling in signed.path.chunks_exact(n) {
            let pair: [&[u8]; 2] = if number % 2 == 1 {
                [sibling, &node[..n]]
            } else {
                [&node[..n], sibling]
            };
            number /= 2;
            node = hash.of(&[self.id, &number.to_be_bytes(), &D_INTR, pair[0], pair[1]])?;
        }
        Some(node)
    }

    /// RFC 8554, algorithm 4b: Kc.
    fn one_time_key(&self, hash: &mut Hash, message: &[u8], signed: &Signed<'_>) -> Option<Node> {
        let (kind, n) = GROUPS[self.tree.group];
        let q = signed.q.to_be_bytes();
        let digest = hash.of(&[self.id, &q, &D_MESG, signed.randomizer, message])?;
        let digits = digits(signed.one_time, &digest[..n]);
        let mut ends = Vec::with_capacity(signed.chains.len());
        for ((index, start), digit) in (0_u16..).zip(signed.chains.chunks_exact(n)).zip(digits) {
            let mut node: Node = [0; super::MAX_N];
            node[..n].copy_from_slice(start);
            for step in digit..(1 << signed.one_time.w) - 1 {
                // A digit has at most eight bits.
                node = hash.of(&[self.id, &q, &index.to_be_bytes(), &[step as u8], &node[..n]])?;
            }
            ends.extend_from_slice(&node[..n]);
        }
        Hash::new(kind, n)?.of(&[self.id, &q, &D_PBLC, &ends])
    }
}

/// The digits of a digest and then of its checksum (RFC 8554, 3.1.3 and algorithm 2).
fn digits(kind: OneTime, digest: &[u8]) -> Vec<u32> {
    let most = (1 << kind.w) - 1;
    let of = |bytes: &[u8], count: usize| -> Vec<u32> {
        (0..count as u32)
            .map(|index| {
                let bit = index * kind.w;
                u32::from(bytes[bit as usize / 8]) >> (8 - kind.w - bit % 8) & most
            })
            .collect()
    };
    let mut all = of(digest, kind.message_digits());
    let sum: u32 = all.iter().map(|digit| most - digit).sum();
    let checksum = ((sum << kind.shift()) as u16).to_be_bytes();
    all.extend(of(&checksum, kind.checksum_digits()));
    all
}

impl<'a> Signed<'a> {
    fn read(bytes: &mut &'a [u8]) -> Option<Self> {
        let q = word(bytes)?;
        let one_time = OneTime::new(word(bytes)?)?;
        let randomizer = take(bytes, one_time.n())?;
        let chains = take(bytes, one_time.n() * one_time.digits())?;
        let tree = Tree::new(word(bytes)?)?;
        let path = take(bytes, GROUPS[tree.group].1 * tree.height as usize)?;
        Some(Self {
            q,
            one_time,
            randomizer,
            chains,
            tree,
            path,
        })
    }
}

/// A public key of HSS (RFC 8554, 6.1): how many levels there are, and the key of the highest.
pub(super) struct Hss {
    levels: u32,
    top: Vec<u8>,
}

impl Hss {
    pub(super) fn new(mut bytes: &[u8]) -> Option<Self> {
        let levels = word(&mut bytes).filter(|levels| (1..=MAX_LEVELS).contains(levels))?;
        let top = bytes.to_vec();
        Lms::read(&mut bytes).filter(|_| bytes.is_empty())?;
        Some(Self { levels, top })
    }

    /// RFC 8554, 6.3: each level signs the public key of the next, the last one the message.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Refused> {
        let mut rest = signature;
        let below = word(&mut rest).ok_or(Refused::Length)?;
        if below.checked_add(1) != Some(self.levels) {
            return Err(Refused::Wrong);
        }
        let mut key = Lms::read(&mut &self.top[..]).ok_or(Refused::Engine)?;
        for _ in 0..below {
            let signed = Signed::read(&mut rest).ok_or(Refused::Length)?;
            let before = rest;
            let next = Lms::read(&mut rest).ok_or(Refused::Length)?;
            key.verify(&before[..before.len() - rest.len()], &signed)?;
            key = next;
        }
        let signed = Signed::read(&mut rest)
            .filter(|_| rest.is_empty())
            .ok_or(Refused::Length)?;
        key.verify(message, &signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8554, table 1, and SP 800-208, tables 3 and 7: p and ls.
    #[test]
    fn the_digits_are_those_of_the_tables() {
        let table = [
            (1, 265, 7),
            (2, 133, 6),
            (3, 67, 4),
            (4, 34, 0),
            (5, 200, 8),
            (6, 101, 6),
            (7, 51, 4),
            (8, 26, 0),
        ];
        for (number, p, ls) in table {
            for kind in [number, number + 8] {
                let kind = OneTime::new(kind).unwrap();
                assert_eq!((kind.digits(), kind.shift()), (p, ls), "{number}");
            }
        }
        assert!(OneTime::new(0).is_none() && OneTime::new(17).is_none());
        assert!(Tree::new(4).is_none() && Tree::new(25).is_none());
        assert_eq!(Tree::new(24).map(|tree| (tree.group, tree.height)), Some((3, 25)));
    }
}
