//! Heads: per group a sequence, a count and a keyed sum over everything in the group, so that a missing, old, swapped or extra
//! record is noticed (INV-7). A head names the group, not the record; which record it is, journal and backup tell.

use crate::codec::{Malformed, Reader};
use crate::path::Path;
use crate::primitive::{MacKey, sha256};

/// A sum modulo 2^256 of HMAC-SHA-256 values. The key makes it hard to find other records with the same sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum([u64; 4]);

impl Sum {
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        let mut limbs = [0; 4];
        for (limb, chunk) in limbs.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *limb = u64::from_le_bytes(*chunk);
        }
        Self(limbs)
    }

    pub(crate) fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (limb, chunk) in self.0.iter().zip(bytes.as_chunks_mut::<8>().0) {
            *chunk = limb.to_le_bytes();
        }
        bytes
    }

    pub(crate) fn add(&mut self, other: Self) {
        let mut carry = false;
        for (limb, term) in self.0.iter_mut().zip(other.0) {
            let (sum, first) = limb.overflowing_add(term);
            let (sum, second) = sum.overflowing_add(carry.into());
            *limb = sum;
            carry = first || second;
        }
    }

    pub(crate) fn subtract(&mut self, other: Self) {
        let mut borrow = false;
        for (limb, term) in self.0.iter_mut().zip(other.0) {
            let (difference, first) = limb.overflowing_sub(term);
            let (difference, second) = difference.overflowing_sub(borrow.into());
            *limb = difference;
            borrow = first || second;
        }
    }
}

/// The head of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// How many batches have written to the group.
    pub(crate) sequence: u64,
    /// How many records there are.
    pub(crate) count: u64,
    /// Sum of the keyed hashes of the records.
    pub(crate) sum: Sum,
}

impl Head {
    pub(crate) const BYTES: usize = 48;

    /// What is left when `other` is taken away: heads of several writers add up.
    pub(crate) fn minus(mut self, other: &Self) -> Self {
        self.sequence = self.sequence.wrapping_sub(other.sequence);
        self.count = self.count.wrapping_sub(other.count);
        self.sum.subtract(other.sum);
        self
    }

    /// Both together.
    pub(crate) fn plus(mut self, other: &Self) -> Self {
        self.sequence = self.sequence.wrapping_add(other.sequence);
        self.count = self.count.wrapping_add(other.count);
        self.sum.add(other.sum);
        self
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.sum.to_bytes());
    }

    pub(crate) fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            sequence: reader.u64()?,
            count: reader.u64()?,
            sum: Sum::from_bytes(reader.array()?),
        })
    }
}

/// Computes keyed hashes with the head key.
#[derive(Clone)]
pub(crate) struct Hasher {
    key: MacKey,
    /// The revision of a record counts. etcd gives revisions when it commits, after the heads were computed.
    revisions: bool,
}

impl Hasher {
    pub(crate) fn new(key: MacKey, revisions: bool) -> Self {
        Self { key, revisions }
    }

    /// What one record adds to the sum of its group. The length of the path is fixed in the input, so no two records share one.
    pub(crate) fn record(&self, path: &Path, version: u64, revision: u64, value: &[u8]) -> Sum {
        let value = sha256(value);
        let revision = if self.revisions { revision } else { 0 };
        self.sum(&[
            b"record",
            &(path.as_str().len() as u64).to_le_bytes(),
            path.as_str().as_bytes(),
            &version.to_le_bytes(),
            &revision.to_le_bytes(),
            &value,
        ])
    }

    /// What one group adds to the sum over all groups, which notices a group that went back as a whole.
    pub(crate) fn group(&self, group: &str, head: &Head) -> Sum {
        let mut fields = Vec::with_capacity(Head::BYTES);
        head.put(&mut fields);
        self.sum(&[b"group", group.as_bytes(), &[0], &fields])
    }

    /// A tag over bytes that another file of the store keeps in clear.
    pub(crate) fn tag(&self, label: &[u8], bytes: &[u8]) -> [u8; 32] {
        self.sum(&[b"tag", label, &[0], bytes]).to_bytes()
    }

    fn sum(&self, parts: &[&[u8]]) -> Sum {
        Sum::from_bytes(self.key.mac(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_and_subtracting_carry_through_all_limbs() {
        let mut sum = Sum([u64::MAX, u64::MAX, u64::MAX, 0]);
        sum.add(Sum([1, 0, 0, 0]));
        assert_eq!(sum, Sum([0, 0, 0, 1]));
        sum.subtract(Sum([1, 0, 0, 0]));
        assert_eq!(sum, Sum([u64::MAX, u64::MAX, u64::MAX, 0]));
        assert_eq!(Sum::from_bytes(sum.to_bytes()), sum);
    }

    #[test]
    fn every_field_of_a_record_changes_its_hash() {
        let hasher = Hasher::new(MacKey::new(&[7; 32]), true);
        let path = Path::new("/a/b").unwrap();
        let base = hasher.record(&path, 1, 2, b"value");
        assert_ne!(base, hasher.record(&Path::new("/a/c").unwrap(), 1, 2, b"value"));
        assert_ne!(base, hasher.record(&path, 2, 2, b"value"));
        assert_ne!(base, hasher.record(&path, 1, 3, b"value"));
        assert_ne!(base, hasher.record(&path, 1, 2, b"valuf"));
        assert_eq!(base, hasher.record(&path, 1, 2, b"value"));
    }
}
