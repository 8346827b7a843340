//! SLH-DSA (FIPS 205), which the engine lacks: the hash functions are the engine's, the trees are here. One body of code serves
//! all twelve parameter sets, so that it stays small in the module. What is signed, and by whom, is decided in
//! [`crate::key`].
//!
//! Nothing branches or reads memory by a secret: which leaves are used follows from the digest of the message, which the
//! signature shows.

mod address;
mod hashes;
mod tree;

use crate::secret::Secret;
use address::{Address, Kind};
use hashes::Hashes;
use hsmd_proto::parameter_set::ParameterSet;
use tree::Tree;

/// The longest hash value in bytes.
const MAX_N: usize = 32;
/// Chains of a one-time key at most: two for each byte, and three of the checksum (FIPS 205, 5).
const MAX_CHAINS: usize = 2 * MAX_N + 3;
/// The Winternitz parameter (FIPS 205, 5: lg_w is 4 in every set).
const W: u8 = 16;

/// A row of table 2 of FIPS 205.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    n: usize,
    /// Layers of the hypertree.
    d: u32,
    /// Height of each tree in it.
    height: u32,
    /// Height of the FORS trees.
    a: u32,
    /// Number of the FORS trees.
    k: usize,
    shake: bool,
}

/// The row of a set; `None` for another algorithm's.
pub(crate) const fn shape(set: ParameterSet) -> Option<Shape> {
    use ParameterSet as P;
    let (n, d, height, a, k) = match set {
        P::SlhDsaSha2_128s | P::SlhDsaShake128s => (16, 7, 9, 12, 14),
        P::SlhDsaSha2_128f | P::SlhDsaShake128f => (16, 22, 3, 6, 33),
        P::SlhDsaSha2_192s | P::SlhDsaShake192s => (24, 7, 9, 14, 17),
        P::SlhDsaSha2_192f | P::SlhDsaShake192f => (24, 22, 3, 8, 33),
        P::SlhDsaSha2_256s | P::SlhDsaShake256s => (32, 8, 8, 14, 22),
        P::SlhDsaSha2_256f | P::SlhDsaShake256f => (32, 17, 4, 9, 35),
        _ => return None,
    };
    let shake = matches!(
        set,
        P::SlhDsaShake128s
            | P::SlhDsaShake128f
            | P::SlhDsaShake192s
            | P::SlhDsaShake192f
            | P::SlhDsaShake256s
            | P::SlhDsaShake256f
    );
    Some(Shape {
        n,
        d,
        height,
        a,
        k,
        shake,
    })
}

impl Shape {
    const fn chains(&self) -> usize {
        2 * self.n + 3
    }

    /// One tree's part of a signature: a one-time signature and the path to the root.
    const fn layer_bytes(&self) -> usize {
        (self.chains() + self.height as usize) * self.n
    }

    /// One FORS tree's part of a signature: a value and the path to the root.
    const fn fors_bytes(&self) -> usize {
        (1 + self.a as usize) * self.n
    }

    const fn signature_bytes(&self) -> usize {
        self.n + self.k * self.fors_bytes() + self.d as usize * self.layer_bytes()
    }

    /// The bits of the index of a tree in the lowest layer.
    const fn tree_bits(&self) -> u32 {
        self.height * (self.d - 1)
    }
}

/// The public half: PK.seed and PK.root.
pub(crate) struct Public {
    set: ParameterSet,
    shape: Shape,
    bytes: Vec<u8>,
}

impl Public {
    /// `None` for another length than the set's.
    pub(crate) fn new(set: ParameterSet, bytes: &[u8]) -> Option<Self> {
        let shape = shape(set)?;
        let bytes = bytes.to_vec();
        (bytes.len() == 2 * shape.n).then_some(Self { set, shape, bytes })
    }

    pub(crate) const fn set(&self) -> ParameterSet {
        self.set
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn seed(&self) -> &[u8] {
        &self.bytes[..self.shape.n]
    }

    fn root(&self) -> &[u8] {
        &self.bytes[self.shape.n..]
    }

    /// Whether it is a signature of the message, which comes in parts (FIPS 205, algorithm 20).
    pub(crate) fn verify(&self, message: &[&[u8]], signature: &[u8]) -> Option<bool> {
        let shape = self.shape;
        if signature.len() != shape.signature_bytes() {
            return Some(false);
        }
        let mut hashes = Hashes::new(shape.shake, self.seed())?;
        let (randomizer, rest) = signature.split_at(shape.n);
        let (fors, layers) = rest.split_at(shape.k * shape.fors_bytes());
        let place = Place::of(shape, &hashes.message(randomizer, self.seed(), self.root(), message)?);
        let mut node = Tree::new(shape, &mut hashes).fors_root(&place, fors)?;
        let (mut tree, mut leaf) = (place.tree, place.leaf);
        for (layer, part) in (0..shape.d).zip(layers.chunks_exact(shape.layer_bytes())) {
            node = Tree::new(shape, &mut hashes).root(Address::at(layer, tree), leaf, &node, part)?;
            (tree, leaf) = above(shape, tree);
        }
        Some(node[..shape.n] == *self.root())
    }
}

/// Tree and leaf of the next layer.
fn above(shape: Shape, tree: u64) -> (u64, u32) {
    let leaf = tree & ((1 << shape.height) - 1);
    (tree >> shape.height, leaf as u32)
}

/// Where in the hypertree a message is signed, and by which FORS values (FIPS 205, 9.2 and algorithm 19).
struct Place {
    tree: u64,
    leaf: u32,
    fors: Vec<u32>,
}

impl Place {
    /// Reads the digest of a message.
    fn of(shape: Shape, digest: &[u8]) -> Self {
        let (mut indices, mut total, mut bits) = (Vec::with_capacity(shape.k), 0_u64, 0);
        let first = (shape.k * shape.a as usize).div_ceil(8);
        for byte in &digest[..first] {
            total = (total << 8 | u64::from(*byte)) & 0xffff_ffff;
            bits += 8;
            while bits >= shape.a && indices.len() < shape.k {
                bits -= shape.a;
                indices.push((total >> bits) as u32 & ((1 << shape.a) - 1));
            }
        }
        let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
        let second = first + (shape.tree_bits() as usize).div_ceil(8);
        let third = second + (shape.height as usize).div_ceil(8);
        let tree = number(&digest[first..second]) & (u64::MAX >> (64 - shape.tree_bits()));
        let leaf = number(&digest[second..third]) & ((1 << shape.height) - 1);
        Self {
            tree,
            leaf: leaf as u32,
            fors: indices,
        }
    }
}

/// The private half: SK.seed and SK.prf, with the public one.
pub(crate) struct Private {
    seed: Secret,
    prf: Secret,
    public: Public,
}

impl Private {
    /// Makes a key of SK.seed, SK.prf and PK.seed, one after the other (FIPS 205, algorithm 18).
    pub(crate) fn from_seeds(set: ParameterSet, seeds: &Secret) -> Option<Self> {
        let shape = shape(set)?;
        if seeds.len() != 3 * shape.n {
            return None;
        }
        let (seed, rest) = seeds.expose().split_at(shape.n);
        let (prf, public) = rest.split_at(shape.n);
        let (seed, prf) = (Secret::from_slice(seed), Secret::from_slice(prf));
        let root = top(shape, &seed, public)?;
        let bytes = [public, &root].concat();
        let public = Public { set, shape, bytes };
        Some(Self { seed, prf, public })
    }

    /// Reads a key: SK.seed, SK.prf, PK.seed, PK.root.
    pub(crate) fn new(set: ParameterSet, bytes: &Secret) -> Option<Self> {
        let shape = shape(set)?;
        if bytes.len() != 4 * shape.n {
            return None;
        }
        let (secret, public) = bytes.expose().split_at(2 * shape.n);
        let (seed, prf) = secret.split_at(shape.n);
        let (seed, prf) = (Secret::from_slice(seed), Secret::from_slice(prf));
        let public = Public::new(set, public)?;
        Some(Self { seed, prf, public })
    }

    /// Whether PK.root is what follows from the seeds: as much work as making the key.
    pub(crate) fn is_whole(&self) -> bool {
        let root = top(self.public.shape, &self.seed, self.public.seed());
        root.is_some_and(|root| root == self.public.root())
    }

    pub(crate) const fn public(&self) -> &Public {
        &self.public
    }

    /// As [`Self::new`] reads it.
    pub(crate) fn bytes(&self) -> Secret {
        let parts = [self.seed.expose(), self.prf.expose(), self.public.bytes()];
        Secret::new(parts.concat())
    }

    /// Signs a message that comes in parts (FIPS 205, algorithm 19); `hedge` is fresh randomness of n bytes, or nothing for the
    /// signature that is always the same. A computer that errs on the way must not give a second signature by one one-time key
    /// away, which would forge: the result is verified.
    pub(crate) fn sign(&self, message: &[&[u8]], hedge: Option<&[u8]>, out: &mut [u8]) -> Option<()> {
        let shape = self.public.shape;
        let public = &self.public;
        if out.len() != shape.signature_bytes() {
            return None;
        }
        let mut hashes = Hashes::new(shape.shake, public.seed())?;
        let (randomizer, rest) = out.split_at_mut(shape.n);
        hashes.randomizer(self.prf.expose(), hedge.unwrap_or(public.seed()), message, randomizer)?;
        let place = Place::of(
            shape,
            &hashes.message(randomizer, public.seed(), public.root(), message)?,
        );
        let (fors, layers) = rest.split_at_mut(shape.k * shape.fors_bytes());
        let mut node = Tree::new(shape, &mut hashes).fors_sign(self.seed.expose(), &place, fors)?;
        let (mut tree, mut leaf) = (place.tree, place.leaf);
        for (layer, part) in (0..shape.d).zip(layers.chunks_exact_mut(shape.layer_bytes())) {
            let at = Address::at(layer, tree);
            node = Tree::new(shape, &mut hashes).sign(self.seed.expose(), at, leaf, &node, part)?;
            (tree, leaf) = above(shape, tree);
        }
        let good = public.verify(message, out)?;
        good.then_some(())
    }

    /// The length of what [`Self::sign`] takes as randomness.
    pub(crate) const fn hedge_bytes(&self) -> usize {
        self.public.shape.n
    }
}

/// PK.root: the root of the one tree in the highest layer.
fn top(shape: Shape, seed: &Secret, public: &[u8]) -> Option<Vec<u8>> {
    let mut hashes = Hashes::new(shape.shake, public)?;
    let mut tree = Tree::new(shape, &mut hashes);
    let at = Address::at(shape.d - 1, 0);
    let root = tree.whole(seed.expose(), at, None)?;
    Some(root[..shape.n].to_vec())
}
