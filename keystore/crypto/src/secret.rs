//! Types that own secret bytes: boxed, so that moves leave no copy behind; wiped when dropped; never shown by `Debug`;
//! compared in constant time; copied only by [`Secret::duplicate`] (STYLE 12).
//!
//! Not a defence against swap or core dumps: the daemon locks its memory for that (DESIGN 6).

use crate::random;
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Secret bytes of any length.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Takes the bytes over. A vector with spare capacity is copied once and the original wiped, because shrinking it
    /// in place could leave a copy in freed memory.
    #[must_use]
    pub fn new(mut bytes: Vec<u8>) -> Self {
        if bytes.len() == bytes.capacity() {
            return Self(bytes.into_boxed_slice());
        }
        let secret = Self::from_slice(&bytes);
        bytes.zeroize();
        secret
    }

    /// Copies the bytes; the caller's copy is the caller's to wipe.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Self {
        Self(Box::from(bytes))
    }

    /// `length` zero bytes, to be filled in place through [`Self::expose_mut`].
    #[must_use]
    pub fn zeroed(length: usize) -> Self {
        Self(vec![0; length].into_boxed_slice())
    }

    /// `length` random bytes.
    #[must_use]
    pub fn random(length: usize) -> Self {
        let mut secret = Self::zeroed(length);
        random::generator(&mut secret.0);
        secret
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be written.
    #[must_use]
    pub fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// The number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A second copy. Not `Clone`, so that copies of secrets are found by name.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

// INV-1: whatever prints a structure with a secret in it prints no byte of it.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// `N` secret bytes.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretArray<const N: usize>(Box<[u8; N]>);

impl<const N: usize> SecretArray<N> {
    /// Copies the bytes and wipes the array that was passed.
    #[must_use]
    pub fn new(mut bytes: [u8; N]) -> Self {
        let secret = Self::filled(|out| out.copy_from_slice(&bytes));
        bytes.zeroize();
        secret
    }

    /// Copies the bytes; `None` if there are not exactly `N`.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == N).then(|| Self::filled(|out| out.copy_from_slice(bytes)))
    }

    /// Writes the bytes in place, so that no other copy of them exists.
    #[must_use]
    pub fn filled(write: impl FnOnce(&mut [u8; N])) -> Self {
        let mut secret = Self(Box::new([0; N]));
        write(&mut secret.0);
        secret
    }

    /// `N` random bytes.
    #[must_use]
    pub fn random() -> Self {
        Self::filled(|out| random::generator(out))
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// A second copy. Not `Clone`, so that copies of secrets are found by name.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<const N: usize> PartialEq for SecretArray<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl<const N: usize> Eq for SecretArray<N> {}

impl<const N: usize> fmt::Debug for SecretArray<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretArray<{N}>(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // INV-1: no log or error shows a secret, because Debug does not.
    #[test]
    fn debug_shows_no_byte() {
        assert_eq!(format!("{:?}", Secret::new(vec![0x41; 4])), "Secret(..)");
        assert_eq!(format!("{:?}", SecretArray::new([0x41; 4])), "SecretArray<4>(..)");
    }

    #[test]
    fn a_vector_with_spare_room_is_taken_over_whole() {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(b"value");
        assert_eq!(Secret::new(bytes).expose(), b"value");
        assert_eq!(Secret::new(Vec::new()).len(), 0);
    }

    #[test]
    fn equality_looks_at_length_and_bytes() {
        assert_eq!(Secret::from_slice(b"ab"), Secret::from_slice(b"ab"));
        assert_ne!(Secret::from_slice(b"ab"), Secret::from_slice(b"abc"));
        assert_ne!(SecretArray::new([1, 2]), SecretArray::new([1, 3]));
        assert!(SecretArray::<2>::from_slice(b"abc").is_none());
    }

    // INV-1: a dropped secret leaves nothing behind. `ZeroizeOnDrop` is what makes drop call `zeroize`.
    #[test]
    fn wiping_leaves_zeros_and_drop_wipes() {
        fn wiped_when_dropped<T: ZeroizeOnDrop>() {}
        wiped_when_dropped::<Secret>();
        wiped_when_dropped::<SecretArray<32>>();
        let mut secret = SecretArray::new([0x41; 32]);
        secret.zeroize();
        assert_eq!(secret.expose(), &[0; 32]);
        let mut secret = Secret::new(vec![0x41; 32]);
        secret.zeroize();
        assert!(secret.expose().iter().all(|byte| *byte == 0));
    }
}
