//! The ciphertext of a symmetric key: which key made it, the IV, and what AES-GCM gave. The encryption context and the key's
//! name are authenticated with it, so a ciphertext opens under the same context and key only.

use crate::uuid;
use zeroize::Zeroizing;

/// The form: format, key, IV, ciphertext with tag.
const FORMAT: u8 = 1;
/// SP 800-38D, 8.2.2: 96 random bits.
pub(super) const IV: usize = 12;
const TAG: usize = 16;

/// A ciphertext taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Envelope<'a> {
    /// The key's UUID as text.
    pub(super) key: String,
    pub(super) iv: [u8; IV],
    pub(super) sealed: &'a [u8],
}

/// Puts a ciphertext together; `key` is a UUID.
pub(super) fn join(key: &str, iv: &[u8; IV], sealed: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(1 + uuid::LENGTH + IV + sealed.len());
    out.push(FORMAT);
    out.extend_from_slice(&uuid::parse(key)?);
    out.extend_from_slice(iv);
    out.extend_from_slice(sealed);
    Some(out)
}

/// Takes a ciphertext apart; `None` for what is none.
pub(super) fn split(bytes: &[u8]) -> Option<Envelope<'_>> {
    let (format, rest) = bytes.split_first()?;
    let (key, rest) = rest.split_first_chunk::<{ uuid::LENGTH }>()?;
    let (iv, sealed) = rest.split_first_chunk::<IV>()?;
    (*format == FORMAT && sealed.len() >= TAG).then(|| Envelope {
        key: uuid::text(key),
        iv: *iv,
        sealed,
    })
}

/// What is authenticated beside the plaintext: the key and the encryption context, in the order of its names, with lengths, so
/// that no two contexts have the same bytes.
pub(super) fn context(key: &str, pairs: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    let mut pairs = pairs.to_vec();
    pairs.sort_unstable();
    let mut out = Zeroizing::new(b"hsmd-kms\x01".to_vec());
    out.extend_from_slice(key.as_bytes());
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        out.extend_from_slice(&(text.len() as u64).to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ciphertext_comes_apart_as_it_was_put_together() {
        let key = uuid::text(&uuid::random().unwrap());
        let bytes = join(&key, &[7; IV], &[9; 20]).unwrap();
        assert_eq!(
            split(&bytes),
            Some(Envelope {
                key,
                iv: [7; IV],
                sealed: &[9; 20]
            })
        );
        assert_eq!(split(&bytes[..40]), None);
        assert_eq!(split(&[2; 60]), None);
        assert_eq!(split(&[]), None);
        assert_eq!(join("no-uuid", &[0; IV], &[]), None);
    }

    #[test]
    fn contexts_are_the_same_in_any_order_and_different_otherwise() {
        let of = |pairs: &[(&str, &str)]| context("k", pairs).to_vec();
        assert_eq!(of(&[("a", "1"), ("b", "2")]), of(&[("b", "2"), ("a", "1")]));
        assert_ne!(of(&[("a", "1b")]), of(&[("a1", "b")]));
        assert_ne!(of(&[("a", "")]), of(&[]));
        assert_ne!(context("k", &[]).to_vec(), context("l", &[]).to_vec());
    }
}
