//! The ciphertext of a symmetric key: which key and which of its materials made it, the IV, and what AES-GCM gave. The encryption
//! context and both names are authenticated with it, so a ciphertext opens under the same context and material only.

use super::material;
use crate::uuid;
use zeroize::Zeroizing;

/// The form: format, key, material, IV, ciphertext with tag.
const FORMAT: u8 = 2;
/// SP 800-38D, 8.2.2: 96 random bits.
pub(super) const IV: usize = 12;
const TAG: usize = 16;

/// A ciphertext taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Envelope<'a> {
    /// The key's UUID as text.
    pub(super) key: String,
    /// The name of one of the key's materials.
    pub(super) material: [u8; material::ID],
    pub(super) iv: [u8; IV],
    pub(super) sealed: &'a [u8],
}

/// Puts a ciphertext together; `key` is a UUID.
pub(super) fn join(key: &str, material: &[u8; material::ID], iv: &[u8; IV], sealed: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(1 + uuid::LENGTH + material::ID + IV + sealed.len());
    out.push(FORMAT);
    out.extend_from_slice(&uuid::parse(key)?);
    out.extend_from_slice(material);
    out.extend_from_slice(iv);
    out.extend_from_slice(sealed);
    Some(out)
}

/// Takes a ciphertext apart; `None` for what is none.
pub(super) fn split(bytes: &[u8]) -> Option<Envelope<'_>> {
    let (format, rest) = bytes.split_first()?;
    let (key, rest) = rest.split_first_chunk::<{ uuid::LENGTH }>()?;
    let (material, rest) = rest.split_first_chunk::<{ material::ID }>()?;
    let (iv, sealed) = rest.split_first_chunk::<IV>()?;
    (*format == FORMAT && sealed.len() >= TAG).then(|| Envelope {
        key: uuid::text(key),
        material: *material,
        iv: *iv,
        sealed,
    })
}

/// What is authenticated beside the plaintext: key, material and the encryption context, in the order of its names, with lengths,
/// so that no two contexts have the same bytes.
pub(super) fn context(key: &str, material: &[u8; material::ID], pairs: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    let mut pairs = pairs.to_vec();
    pairs.sort_unstable();
    let mut out = Zeroizing::new(b"hsmd-kms\x02".to_vec());
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(material);
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
        let bytes = join(&key, &[5; material::ID], &[7; IV], &[9; 20]).unwrap();
        assert_eq!(
            split(&bytes),
            Some(Envelope {
                key,
                material: [5; material::ID],
                iv: [7; IV],
                sealed: &[9; 20]
            })
        );
        assert_eq!(split(&bytes[..76]), None);
        assert_eq!(split(&[1; 90]), None);
        assert_eq!(split(&[]), None);
        assert_eq!(join("no-uuid", &[0; material::ID], &[0; IV], &[]), None);
    }

    #[test]
    fn contexts_are_the_same_in_any_order_and_different_otherwise() {
        let of = |pairs: &[(&str, &str)]| context("k", &[0; material::ID], pairs).to_vec();
        assert_eq!(of(&[("a", "1"), ("b", "2")]), of(&[("b", "2"), ("a", "1")]));
        assert_ne!(of(&[("a", "1b")]), of(&[("a1", "b")]));
        assert_ne!(of(&[("a", "")]), of(&[]));
        assert_ne!(of(&[]), context("l", &[0; material::ID], &[]).to_vec());
        assert_ne!(of(&[]), context("k", &[1; material::ID], &[]).to_vec());
    }
}
