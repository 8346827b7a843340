//! One-time signatures, the trees of the hypertree and FORS (FIPS 205, 5 to 8).

use super::hashes::{Hashes, Node};
use super::{Address, Kind, MAX_CHAINS, MAX_N, Place, Shape, W};
use zeroize::Zeroizing;

/// The functions of one key on a tree.
pub(super) struct Tree<'a> {
    shape: Shape,
    hashes: &'a mut Hashes,
}

impl<'a> Tree<'a> {
    pub(super) const fn new(shape: Shape, hashes: &'a mut Hashes) -> Self {
        Self { shape, hashes }
    }

    /// Steps of a chain (algorithm 5); the address is of the chain.
    fn chain(&mut self, at: Address, words: [u32; 2], value: &mut Node, from: u8, steps: u8) -> Option<()> {
        let n = self.shape.n;
        for step in from..from + steps {
            let input = Zeroizing::new(*value);
            let [pair, chain] = words;
            let at = at.of(Kind::WotsHash, [pair, chain, u32::from(step)]);
            self.hashes.short(&at, &input[..n], &mut value[..n])?;
        }
        Some(())
    }

    /// The secret beginning of a chain.
    fn secret(&mut self, seed: &[u8], at: Address, pair: u32, chain: u32) -> Option<Zeroizing<Node>> {
        let mut out = Zeroizing::new([0; MAX_N]);
        let at = at.of(Kind::WotsSecret, [pair, chain, 0]);
        self.hashes.short(&at, seed, &mut out[..self.shape.n])?;
        Some(out)
    }

    /// The public one-time key of a leaf (algorithm 6).
    fn leaf(&mut self, seed: &[u8], at: Address, pair: u32) -> Option<Node> {
        let (n, mut ends) = (self.shape.n, [0; MAX_CHAINS * MAX_N]);
        for (chain, end) in (0..).zip(ends[..self.shape.chains() * n].chunks_exact_mut(n)) {
            let mut value = self.secret(seed, at, pair, chain)?;
            self.chain(at, [pair, chain], &mut value, 0, W - 1)?;
            end.copy_from_slice(&value[..n]);
        }
        self.compress(at, pair, &ends)
    }

    fn compress(&mut self, at: Address, pair: u32, ends: &[u8]) -> Option<Node> {
        let (n, mut out) = (self.shape.n, [0; MAX_N]);
        let at = at.of(Kind::WotsKey, [pair, 0, 0]);
        self.hashes.long(&at, &ends[..self.shape.chains() * n], &mut out[..n])?;
        Some(out)
    }

    /// How many steps each chain takes for a message: its digits and those of the checksum (algorithm 7).
    fn digits(&self, message: &Node) -> [u8; MAX_CHAINS] {
        let (n, mut out) = (self.shape.n, [0; MAX_CHAINS]);
        for (pair, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(&message[..n]) {
            *pair = [byte >> 4, byte & 15];
        }
        let sum: u32 = out[..2 * n].iter().map(|digit| u32::from(W - 1 - digit)).sum();
        for (digit, shift) in out[2 * n..].iter_mut().zip([8, 4, 0]) {
            *digit = (sum >> shift) as u8 & 15;
        }
        out
    }

    /// All of a tree of the hypertree: its root and, into `path`, the way up from a leaf.
    pub(super) fn whole(&mut self, seed: &[u8], at: Address, path: Option<(u32, &mut [u8])>) -> Option<Node> {
        let (shape, mut leaves) = (self.shape, Vec::with_capacity(1 << self.shape.height));
        for pair in 0..1 << shape.height {
            leaves.push(self.leaf(seed, at, pair)?);
        }
        self.grow(leaves, path, |height, index| at.of(Kind::Tree, [0, height, index]))
    }

    /// The root above leaves, and the way to it from one of them.
    fn grow(
        &mut self,
        mut nodes: Vec<Node>,
        mut path: Option<(u32, &mut [u8])>,
        at: impl Fn(u32, u32) -> Address,
    ) -> Option<Node> {
        let n = self.shape.n;
        let mut height = 0;
        while nodes.len() > 1 {
            if let Some((leaf, path)) = &mut path {
                let beside = (*leaf >> height) ^ 1;
                path[height as usize * n..][..n].copy_from_slice(&nodes[beside as usize][..n]);
            }
            height += 1;
            for index in 0..nodes.len() / 2 {
                let (left, right) = (nodes[2 * index], nodes[2 * index + 1]);
                nodes[index] = self.parent(&at(height, index as u32), &left, &right)?;
            }
            nodes.truncate(nodes.len() / 2);
        }
        nodes.first().copied()
    }

    fn parent(&mut self, at: &Address, left: &Node, right: &Node) -> Option<Node> {
        let (n, mut both, mut out) = (self.shape.n, [0; 2 * MAX_N], [0; MAX_N]);
        both[..n].copy_from_slice(&left[..n]);
        both[n..2 * n].copy_from_slice(&right[..n]);
        self.hashes.long(at, &both[..2 * n], &mut out[..n])?;
        Some(out)
    }

    /// The root that a leaf and the way up from it lead to. `index` is the leaf's among all of its height.
    fn climb(&mut self, mut node: Node, index: u32, path: &[u8], at: impl Fn(u32, u32) -> Address) -> Option<Node> {
        let n = self.shape.n;
        for (height, beside) in (0..).zip(path.chunks_exact(n)) {
            let mut other = [0; MAX_N];
            other[..n].copy_from_slice(beside);
            let at = at(height + 1, index >> (height + 1));
            node = if (index >> height) & 1 == 0 {
                self.parent(&at, &node, &other)?
            } else {
                self.parent(&at, &other, &node)?
            };
        }
        Some(node)
    }

    /// Signs a node with a leaf of a tree (algorithm 10) and gives the tree's root.
    pub(super) fn sign(&mut self, seed: &[u8], at: Address, pair: u32, message: &Node, out: &mut [u8]) -> Option<Node> {
        let n = self.shape.n;
        let (values, path) = out.split_at_mut(self.shape.chains() * n);
        let digits = self.digits(message);
        for ((chain, steps), to) in (0..).zip(digits).zip(values.chunks_exact_mut(n)) {
            let mut value = self.secret(seed, at, pair, chain)?;
            self.chain(at, [pair, chain], &mut value, 0, steps)?;
            to.copy_from_slice(&value[..n]);
        }
        self.whole(seed, at, Some((pair, path)))
    }

    /// The root that a signature by a leaf leads to (algorithms 8 and 11).
    pub(super) fn root(&mut self, at: Address, pair: u32, message: &Node, signature: &[u8]) -> Option<Node> {
        let (n, mut ends) = (self.shape.n, [0; MAX_CHAINS * MAX_N]);
        let (values, path) = signature.split_at(self.shape.chains() * n);
        let digits = self.digits(message);
        for (((chain, steps), from), end) in (0..)
            .zip(digits)
            .zip(values.chunks_exact(n))
            .zip(ends.chunks_exact_mut(n))
        {
            let mut value = [0; MAX_N];
            value[..n].copy_from_slice(from);
            self.chain(at, [pair, chain], &mut value, steps, W - 1 - steps)?;
            end.copy_from_slice(&value[..n]);
        }
        let node = self.compress(at, pair, &ends)?;
        self.climb(node, pair, path, |height, index| at.of(Kind::Tree, [0, height, index]))
    }

    /// A secret value of FORS (algorithm 14).
    fn fors_secret(&mut self, seed: &[u8], at: Address, pair: u32, index: u32) -> Option<Zeroizing<Node>> {
        let mut out = Zeroizing::new([0; MAX_N]);
        let at = at.of(Kind::ForsSecret, [pair, 0, index]);
        self.hashes.short(&at, seed, &mut out[..self.shape.n])?;
        Some(out)
    }

    fn fors_leaf(&mut self, at: Address, pair: u32, index: u32, secret: &Node) -> Option<Node> {
        let (n, mut out) = (self.shape.n, [0; MAX_N]);
        let at = at.of(Kind::ForsTree, [pair, 0, index]);
        self.hashes.short(&at, &secret[..n], &mut out[..n])?;
        Some(out)
    }

    /// Signs the digest of a message with FORS (algorithm 16) and gives the public FORS key.
    pub(super) fn fors_sign(&mut self, seed: &[u8], place: &Place, out: &mut [u8]) -> Option<Node> {
        let (shape, n, pair) = (self.shape, self.shape.n, place.leaf);
        let at = Address::at(0, place.tree);
        let mut roots = Vec::with_capacity(shape.k * n);
        for ((tree, leaf), part) in (0_u32..).zip(&place.fors).zip(out.chunks_exact_mut(shape.fors_bytes())) {
            let first = tree << shape.a;
            let mut leaves = Vec::with_capacity(1 << shape.a);
            for index in first..first + (1 << shape.a) {
                let secret = self.fors_secret(seed, at, pair, index)?;
                leaves.push(self.fors_leaf(at, pair, index, &secret)?);
            }
            let (value, path) = part.split_at_mut(n);
            value.copy_from_slice(&self.fors_secret(seed, at, pair, first + leaf)?[..n]);
            let root = self.grow(leaves, Some((*leaf, path)), |height, index| {
                at.of(Kind::ForsTree, [pair, height, (first >> height) + index])
            })?;
            roots.extend_from_slice(&root[..n]);
        }
        self.fors_key(at, pair, &roots)
    }

    /// The public FORS key that a signature leads to (algorithm 17).
    pub(super) fn fors_root(&mut self, place: &Place, signature: &[u8]) -> Option<Node> {
        let (shape, n, pair) = (self.shape, self.shape.n, place.leaf);
        let at = Address::at(0, place.tree);
        let mut roots = Vec::with_capacity(shape.k * n);
        for ((tree, leaf), part) in (0_u32..)
            .zip(&place.fors)
            .zip(signature.chunks_exact(shape.fors_bytes()))
        {
            let index = (tree << shape.a) + leaf;
            let (value, path) = part.split_at(n);
            let mut secret = [0; MAX_N];
            secret[..n].copy_from_slice(value);
            let node = self.fors_leaf(at, pair, index, &secret)?;
            let root = self.climb(node, index, path, |height, index| {
                at.of(Kind::ForsTree, [pair, height, index])
            })?;
            roots.extend_from_slice(&root[..n]);
        }
        self.fors_key(at, pair, &roots)
    }

    fn fors_key(&mut self, at: Address, pair: u32, roots: &[u8]) -> Option<Node> {
        let (n, mut out) = (self.shape.n, [0; MAX_N]);
        let at = at.of(Kind::ForsRoots, [pair, 0, 0]);
        self.hashes.long(&at, roots, &mut out[..n])?;
        Some(out)
    }
}
