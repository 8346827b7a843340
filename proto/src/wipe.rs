//! Buffers for data that passes through: wiped like key values, but at the speed of memory.
//!
//! `zeroize` stores byte by byte (about 20 us for 64 KiB, several times a request); here a plain fill is kept from being
//! optimised away by `zeroize`'s own barrier. Key values stay in `hsmd-crypto`'s secret types.

use std::ops::{Deref, DerefMut};
use zeroize::optimization_barrier;

/// Overwrites bytes with zeros; the compiler may not leave it out.
pub fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    optimization_barrier(bytes);
}

/// A vector of bytes whose whole capacity is wiped when it is dropped.
///
/// Growing beyond the capacity would leave a copy in freed memory: [`WipingVec::reserve_wiping`] first.
#[derive(Default, PartialEq, Eq)]
pub struct WipingVec(Vec<u8>);

impl WipingVec {
    /// No bytes, no memory.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// No bytes, room for that many.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Makes room for more bytes without leaving a copy of the old ones in freed memory.
    pub fn reserve_wiping(&mut self, more: usize) {
        let needed = self.0.len() + more;
        if needed > self.0.capacity() {
            let mut larger = Self::with_capacity(needed.next_power_of_two());
            larger.0.extend_from_slice(&self.0);
            *self = larger;
        }
    }

    /// Wipes the bytes and forgets them; the room stays.
    pub fn wipe(&mut self) {
        wipe(&mut self.0);
        self.0.clear();
    }
}

impl Drop for WipingVec {
    fn drop(&mut self) {
        self.0.clear();
        let capacity = self.0.capacity();
        self.0.resize(capacity, 0);
        optimization_barrier(self.0.as_slice());
    }
}

impl From<Vec<u8>> for WipingVec {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for WipingVec {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl Deref for WipingVec {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for WipingVec {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl std::fmt::Debug for WipingVec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wiped_bytes_are_zeros_and_growing_keeps_them() {
        let mut bytes = WipingVec::from(&b"secret"[..]);
        bytes.reserve_wiping(1000);
        assert_eq!(bytes.as_slice(), b"secret");
        wipe(&mut bytes[..3]);
        assert_eq!(bytes.as_slice(), b"\0\0\0ret");
        assert_eq!(format!("{bytes:?}"), "6 bytes");
        bytes.wipe();
        assert!(bytes.is_empty() && bytes.capacity() >= 1006);
    }
}
