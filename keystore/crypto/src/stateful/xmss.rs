//! XMSS and XMSS^MT (RFC 8391), verification alone; with SP 800-208, 5 also the hash values of 24 bytes and SHAKE256.

use super::{Hash, Kind, Node, Refused, take, word};
use hsmd_proto::ck::KeyType;

/// Bits of a digit of WOTS+, and its largest value: all parameter sets have w = 16.
const DIGIT_BITS: usize = 4;
const MOST: u32 = 15;
/// How many digits the checksum has: 3 for each length of hash values (RFC 8391, 3.1.1: len_2).
const CHECKSUM_DIGITS: usize = 3;

/// Hash function and length of hash values: the numbers of parameter sets come in groups by them, in this order (RFC 8391, 8; SP
/// 800-208, 5).
const GROUPS: [(Kind, usize); 7] = [
    (Kind::Sha256, 32),
    (Kind::Sha512, 64),
    (Kind::Shake128, 32),
    (Kind::Shake256, 64),
    (Kind::Sha256, 24),
    (Kind::Shake256, 32),
    (Kind::Shake256, 24),
];

/// Height of the whole tree and how many layers it has, in the order of the numbers: of XMSS, of XMSS^MT.
const SINGLE: [(u32, u32); 3] = [(10, 1), (16, 1), (20, 1)];
const MULTI: [(u32, u32); 8] = [(20, 2), (20, 4), (40, 2), (40, 4), (40, 8), (60, 3), (60, 6), (60, 12)];

/// A public key.
pub(super) struct Xmss {
    kind: Kind,
    n: usize,
    /// The height of a tree of one layer, and how many layers there are.
    height: u32,
    layers: u32,
    /// The length of the index in a signature, in bytes.
    index_bytes: usize,
    root: Vec<u8>,
    seed: Vec<u8>,
}

impl Xmss {
    pub(super) fn new(key_type: KeyType, mut bytes: &[u8]) -> Option<Self> {
        let shapes: &[(u32, u32)] = if key_type == KeyType::XMSS { &SINGLE } else { &MULTI };
        let index = word(&mut bytes)?.checked_sub(1)? as usize;
        let (kind, n) = *GROUPS.get(index / shapes.len())?;
        let (height, layers) = shapes[index % shapes.len()];
        let (root, seed) = bytes.split_at_checked(n).filter(|(_, seed)| seed.len() == n)?;
        let index_bytes = if layers == 1 { 4 } else { height.div_ceil(8) as usize };
        Some(Self {
            kind,
            n,
            height: height / layers,
            layers,
            index_bytes,
            root: root.to_vec(),
            seed: seed.to_vec(),
        })
    }

    /// SP 800-208, 5.
    pub(super) const fn approved(&self) -> bool {
        matches!((self.kind, self.n), (Kind::Sha256 | Kind::Shake256, 24 | 32))
    }

    /// How many hash values a signature of WOTS+ has (RFC 8391, 3.1.1: len).
    const fn chains(&self) -> usize {
        8 * self.n / DIGIT_BITS + CHECKSUM_DIGITS
    }

    /// RFC 8391, algorithms 14 and 17.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Refused> {
        let layer = (self.chains() + self.height as usize) * self.n;
        if signature.len() != self.index_bytes + self.n + self.layers as usize * layer {
            return Err(Refused::Length);
        }
        let mut rest = signature;
        let index = take(&mut rest, self.index_bytes).ok_or(Refused::Length)?;
        let index = index.iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
        // Of a height that fills its bytes nothing is left to check.
        if index.checked_shr(self.height * self.layers).unwrap_or(0) != 0 {
            return Err(Refused::Wrong);
        }
        let randomizer = take(&mut rest, self.n).ok_or(Refused::Length)?;
        match self.root_of(message, index, randomizer, rest) {
            None => Err(Refused::Engine),
            Some(root) if root[..self.n] == self.root => Ok(()),
            Some(_) => Err(Refused::Wrong),
        }
    }

    fn root_of(&self, message: &[u8], index: u64, randomizer: &[u8], layers: &[u8]) -> Option<Node> {
        let mut work = Work::new(self)?;
        let mut whole = [0; super::MAX_N];
        whole[self.n - 8..self.n].copy_from_slice(&index.to_be_bytes());
        let mut node = work.hash(2, &[randomizer, &self.root, &whole[..self.n], message])?;
        let mut tree = index;
        for (layer, signed) in (0..self.layers).zip(layers.chunks_exact(layers.len() / self.layers as usize)) {
            let leaf = (tree & ((1 << self.height) - 1)) as u32;
            tree >>= self.height;
            let (chains, path) = signed.split_at(self.chains() * self.n);
            node = work.layer_root((layer, tree), leaf, &node, chains, path)?;
        }
        Some(node)
    }
}

/// An address (RFC 8391, 2.5): eight words, of which the last ones mean different things for each kind of hashing.
#[derive(Clone, Copy)]
struct Address([u32; 8]);

/// The kinds of hashing, and the words that they set.
const ONE_TIME: u32 = 0;
const COMPRESSION: u32 = 1;
const TREE: u32 = 2;
/// The leaf: of the first two kinds.
const LEAF: usize = 4;
/// The number of a chain, or the height of a node.
const CHAIN: usize = 5;
const HEIGHT: usize = 5;
/// The step in a chain, or the number of a node in its height.
const STEP: usize = 6;
const NODE: usize = 6;
const KEY_AND_MASK: usize = 7;

impl Address {
    const fn new((layer, tree): (u32, u64), kind: u32) -> Self {
        Self([layer, (tree >> 32) as u32, tree as u32, kind, 0, 0, 0, 0])
    }

    const fn with(mut self, at: usize, value: u32) -> Self {
        self.0[at] = value;
        self
    }

    fn bytes(self) -> [u8; 32] {
        let mut out = [0; 32];
        for (bytes, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(self.0) {
            *bytes = word.to_be_bytes();
        }
        out
    }
}

/// The functions of a key (RFC 8391, 5.1; SP 800-208, 5.1 to 5.4).
struct Work<'a> {
    hash: Hash,
    key: &'a Xmss,
    /// The length in bytes of the number in front that tells the functions apart.
    prefix: usize,
}

impl<'a> Work<'a> {
    fn new(key: &'a Xmss) -> Option<Self> {
        let hash = Hash::new(key.kind, key.n)?;
        let prefix = if key.n == 24 { 4 } else { key.n };
        Some(Self { hash, key, prefix })
    }

    /// F is 0, H 1, H_msg 2, PRF 3.
    fn hash(&mut self, function: u8, parts: &[&[u8]]) -> Option<Node> {
        let mut prefix = [0; super::MAX_N];
        prefix[self.prefix - 1] = function;
        let mut all: [&[u8]; 5] = [&[]; 5];
        all[0] = &prefix[..self.prefix];
        all[1..=parts.len()].copy_from_slice(parts);
        self.hash.of(&all)
    }

    /// The key of a function, or a mask for its input.
    fn pseudo_random(&mut self, at: Address, which: u32) -> Option<Node> {
        let at = at.with(KEY_AND_MASK, which).bytes();
        self.hash(3, &[&self.key.seed, &at])
    }

    /// RFC 8391, algorithm 2: one step of a chain.
    fn step(&mut self, at: Address, node: &Node) -> Option<Node> {
        let (key, mask) = (self.pseudo_random(at, 0)?, self.pseudo_random(at, 1)?);
        let n = self.key.n;
        self.hash(0, &[&key[..n], &masked(node, &mask)[..n]])
    }

    /// RFC 8391, algorithm 7: RAND_HASH.
    fn join(&mut self, at: Address, left: &Node, right: &Node) -> Option<Node> {
        let key = self.pseudo_random(at, 0)?;
        let (left, right) = (
            masked(left, &self.pseudo_random(at, 1)?),
            masked(right, &self.pseudo_random(at, 2)?),
        );
        let n = self.key.n;
        self.hash(1, &[&key[..n], &left[..n], &right[..n]])
    }

    /// RFC 8391, algorithm 13: the root of a tree that follows from a signature in it.
    fn layer_root(&mut self, place: (u32, u64), leaf: u32, message: &Node, chains: &[u8], path: &[u8]) -> Option<Node> {
        let n = self.key.n;
        let ends = self.chain_ends(Address::new(place, ONE_TIME).with(LEAF, leaf), message, chains)?;
        let mut node = self.compressed(Address::new(place, COMPRESSION).with(LEAF, leaf), ends)?;
        let mut number = leaf;
        for (height, sibling) in (0..).zip(path.chunks_exact(n)) {
            let sibling = node_of(sibling);
            let left = number.is_multiple_of(2);
            number /= 2;
            let at = Address::new(place, TREE).with(HEIGHT, height).with(NODE, number);
            node = if left {
                self.join(at, &node, &sibling)?
            } else {
                self.join(at, &sibling, &node)?
            };
        }
        Some(node)
    }

    /// RFC 8391, algorithm 6: the public key of WOTS+ that follows from a signature.
    fn chain_ends(&mut self, at: Address, message: &Node, chains: &[u8]) -> Option<Vec<Node>> {
        let n = self.key.n;
        let digits = digits(&message[..n]);
        let mut ends = Vec::with_capacity(digits.len());
        for ((index, start), digit) in (0..).zip(chains.chunks_exact(n)).zip(digits) {
            let mut node = node_of(start);
            for step in digit..MOST {
                node = self.step(at.with(CHAIN, index).with(STEP, step), &node)?;
            }
            ends.push(node);
        }
        Some(ends)
    }

    /// RFC 8391, algorithm 8: the L-tree.
    fn compressed(&mut self, at: Address, mut nodes: Vec<Node>) -> Option<Node> {
        let mut height = 0;
        while nodes.len() > 1 {
            let mut above = Vec::with_capacity(nodes.len().div_ceil(2));
            for (number, pair) in (0..).zip(nodes.chunks(2)) {
                above.push(match pair {
                    [left, right] => self.join(at.with(HEIGHT, height).with(NODE, number), left, right)?,
                    odd => *odd.first()?,
                });
            }
            (nodes, height) = (above, height + 1);
        }
        nodes.first().copied()
    }
}

fn masked(node: &Node, mask: &Node) -> Node {
    let mut out = *node;
    out.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    out
}

fn node_of(bytes: &[u8]) -> Node {
    let mut out = [0; super::MAX_N];
    out[..bytes.len()].copy_from_slice(bytes);
    out
}

/// The digits of a hash value and then of its checksum (RFC 8391, algorithm 6 and 2.6).
fn digits(value: &[u8]) -> Vec<u32> {
    let of = |bytes: &[u8]| -> Vec<u32> {
        bytes
            .iter()
            .flat_map(|byte| [u32::from(byte >> 4), u32::from(byte & 15)])
            .collect()
    };
    let mut all = of(value);
    let sum: u32 = all.iter().map(|digit| MOST - digit).sum();
    // Three digits, from the left of two bytes.
    let checksum = ((sum << 4) as u16).to_be_bytes();
    all.extend(&of(&checksum)[..CHECKSUM_DIGITS]);
    all
}
