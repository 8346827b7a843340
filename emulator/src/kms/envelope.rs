//! The ciphertext of a symmetric key: which key made it, the IV, and what AES-GCM gave. The encryption context and the key's
//! name are authenticated with it, so a ciphertext opens under the same context and key only.

use zeroize::Zeroizing;

/// The form: format, key, IV, ciphertext with tag.
const FORMAT: u8 = 1;
const KEY: usize = 16;
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
    let mut out = Vec::with_capacity(1 + KEY + IV + sealed.len());
    out.push(FORMAT);
    out.extend_from_slice(&uuid(key)?);
    out.extend_from_slice(iv);
    out.extend_from_slice(sealed);
    Some(out)
}

/// Takes a ciphertext apart; `None` for what is none.
pub(super) fn split(bytes: &[u8]) -> Option<Envelope<'_>> {
    let (format, rest) = bytes.split_first()?;
    let (key, rest) = rest.split_first_chunk::<KEY>()?;
    let (iv, sealed) = rest.split_first_chunk::<IV>()?;
    (*format == FORMAT && sealed.len() >= TAG).then(|| Envelope {
        key: uuid_text(key),
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

/// A new UUID (RFC 9562, version 4) as bytes.
pub(super) fn new_uuid() -> Option<[u8; KEY]> {
    let mut bytes = [0; KEY];
    getrandom::fill(&mut bytes).ok()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Some(bytes)
}

/// A UUID as text.
pub(super) fn uuid_text(bytes: &[u8; KEY]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn uuid(text: &str) -> Option<[u8; KEY]> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    let digits = std::str::from_utf8(&digits)
        .ok()
        .filter(|digits| digits.len() == 2 * KEY)?;
    u128::from_str_radix(digits, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ciphertext_comes_apart_as_it_was_put_together() {
        let key = uuid_text(&new_uuid().unwrap());
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
