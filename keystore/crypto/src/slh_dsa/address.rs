//! Where in the structure a hash is computed (FIPS 205, 4.2 and 4.3): no two calls of a key hash under the same address.

/// The kinds of address.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    WotsHash = 0,
    WotsKey = 1,
    Tree = 2,
    ForsTree = 3,
    ForsRoots = 4,
    WotsSecret = 5,
    ForsSecret = 6,
}

/// ADRS.
#[derive(Clone, Copy)]
pub(super) struct Address([u8; 32]);

impl Address {
    /// Of a tree in a layer.
    pub(super) const fn at(layer: u32, tree: u64) -> Self {
        let mut out = [0; 32];
        let (layer, tree) = (layer.to_be_bytes(), tree.to_be_bytes());
        let mut index = 0;
        while index < 4 {
            out[index] = layer[index];
            index += 1;
        }
        let mut index = 0;
        while index < 8 {
            out[8 + index] = tree[index];
            index += 1;
        }
        Self(out)
    }

    /// Of this kind, with its three words: the key pair, the chain or height, the step or index.
    pub(super) fn of(mut self, kind: Kind, words: [u32; 3]) -> Self {
        self.0[16..20].copy_from_slice(&(kind as u32).to_be_bytes());
        for (to, word) in self.0[20..].as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *to = word.to_be_bytes();
        }
        self
    }

    pub(super) const fn whole(&self) -> &[u8; 32] {
        &self.0
    }

    /// ADRSc (FIPS 205, 11.2): what SHA-2 takes.
    pub(super) fn compressed(&self) -> [u8; 22] {
        let mut out = [0; 22];
        out[0] = self.0[3];
        out[1..9].copy_from_slice(&self.0[8..16]);
        out[9] = self.0[19];
        out[10..].copy_from_slice(&self.0[20..]);
        out
    }
}
