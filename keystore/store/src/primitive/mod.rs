//! The cryptography that the store needs for its own files: SHA-256, HMAC with it, AES-256-GCM, random bytes. Chosen when the
//! crate is compiled, like the engine of `hsmd-crypto`, on which the store does not depend: aws-lc (feature `aws-lc`, the
//! default), or RustCrypto (`portable`).

#[cfg(feature = "aws-lc")]
mod awslc;
#[cfg(any(test, not(feature = "aws-lc")))]
#[cfg_attr(
    feature = "aws-lc",
    allow(dead_code, reason = "aws-lc computes; a test holds this against it")
)]
mod portable;

#[cfg(not(any(feature = "aws-lc", feature = "portable")))]
compile_error!("hsmd-store needs one of the features `aws-lc` (the default) and `portable`");

#[cfg(feature = "aws-lc")]
use awslc as chosen;
#[cfg(not(feature = "aws-lc"))]
use portable as chosen;

pub(crate) use chosen::{Gcm, MacKey, Sha256, equal, random};

/// Bytes of a nonce of [`Gcm`].
pub(crate) const NONCE_BYTES: usize = 12;
/// Bytes of its tag.
pub(crate) const TAG_BYTES: usize = 16;

/// SHA-256 of data.
pub(crate) fn sha256(data: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(data);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4's example, RFC 4231's second test case, and the last of AES-256-GCM's test cases without text (McGrew and Viega, 13).
    #[test]
    fn published_answers_come_out() {
        assert_eq!(sha256(b"abc")[..4], *b"\xba\x78\x16\xbf");
        let mac = MacKey::new(b"Jefe").mac(&[b"what do ya want ", b"for nothing?"]);
        assert_eq!(mac[..4], *b"\x5b\xdc\xc1\x46");
        let tag = Gcm::new(&[0; 32]).unwrap().seal([0; NONCE_BYTES], b"", &mut []);
        assert_eq!(tag.unwrap()[..4], *b"\x53\x0f\x8a\xfb");
    }

    #[test]
    fn what_was_sealed_opens_once_unchanged() {
        let key = Gcm::new(&[7; 32]).unwrap();
        let mut sealed = b"some text".to_vec();
        let tag = key.seal([1; NONCE_BYTES], b"place", &mut sealed).unwrap();
        sealed.extend_from_slice(&tag);
        assert!(key.open([1; NONCE_BYTES], b"other", &mut sealed.clone()).is_none());
        assert!(key.open([2; NONCE_BYTES], b"place", &mut sealed.clone()).is_none());
        assert!(key.open([1; NONCE_BYTES], b"place", &mut [0; TAG_BYTES - 1]).is_none());
        assert_eq!(key.open([1; NONCE_BYTES], b"place", &mut sealed).unwrap(), b"some text");
        assert!(equal(b"a", b"a") && !equal(b"a", b"b") && !equal(b"a", b"aa"));
        let mut drawn = [[0; 32]; 2];
        drawn.iter_mut().for_each(|out| random(out).unwrap());
        assert!(drawn[0] != drawn[1]);
    }

    /// The two engines read each other's files; the one chosen is aws-lc here.
    #[cfg(feature = "aws-lc")]
    #[test]
    fn both_engines_give_the_same() {
        for length in [0, 1, 15, 16, 17, 63, 64, 65, 300] {
            let data: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            let mut hashes = (Sha256::new(), portable::Sha256::new());
            hashes.0.update(&data);
            hashes.1.update(&data);
            assert_eq!(hashes.0.finish(), hashes.1.finish());
            let keys = (MacKey::new(&data), portable::MacKey::new(&data));
            assert_eq!(keys.0.mac(&[&data, b"x"]), keys.1.mac(&[&data, b"x"]));
            let keys = (Gcm::new(&[3; 32]).unwrap(), portable::Gcm::new(&[3; 32]).unwrap());
            let mut sealed = data.clone();
            let tag = keys.0.seal([5; NONCE_BYTES], &data, &mut sealed).unwrap();
            let mut other = data.clone();
            assert_eq!(keys.1.seal([5; NONCE_BYTES], &data, &mut other).unwrap(), tag);
            assert_eq!(sealed, other);
            sealed.extend_from_slice(&tag);
            assert_eq!(keys.1.open([5; NONCE_BYTES], &data, &mut sealed).unwrap(), data);
        }
    }
}
