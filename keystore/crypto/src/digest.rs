//! Message digests by PKCS#11 mechanism: SHA-1 and SHA-2 (FIPS 180-4).

use aws_lc_rs::digest::{self, Algorithm, Context};
use hsmd_proto::ck::MechanismType;

/// A running digest. A value: a clone goes on by itself, and so does a forked child's copy.
#[derive(Clone)]
pub struct Digest(Context);

impl Digest {
    /// Begins a digest; `None` if `hash` is no digest mechanism of this build.
    #[must_use]
    pub fn new(hash: MechanismType) -> Option<Self> {
        algorithm(hash).map(|algorithm| Self(Context::new(algorithm)))
    }

    /// Adds data.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The digest of everything added.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0.finish().as_ref().to_vec()
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// The digest of `data`; `None` if `hash` is no digest mechanism of this build.
#[must_use]
pub fn hash(hash: MechanismType, data: &[u8]) -> Option<Vec<u8>> {
    short(hash, data).map(|digest| digest.as_ref().to_vec())
}

/// [`hash`] without a vector, for the hot path.
pub(crate) fn short(hash: MechanismType, data: &[u8]) -> Option<digest::Digest> {
    algorithm(hash).map(|algorithm| digest::digest(algorithm, data))
}

fn algorithm(hash: MechanismType) -> Option<&'static Algorithm> {
    Some(match hash {
        MechanismType::SHA_1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        MechanismType::SHA224 => &digest::SHA224,
        MechanismType::SHA256 => &digest::SHA256,
        MechanismType::SHA384 => &digest::SHA384,
        MechanismType::SHA512 => &digest::SHA512,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_goes_on_by_itself() {
        let mut first = Digest::new(MechanismType::SHA256).unwrap();
        first.update(b"a");
        let mut second = first.clone();
        first.update(b"b");
        second.update(b"c");
        assert_eq!(first.finish(), hash(MechanismType::SHA256, b"ab").unwrap());
        assert_eq!(second.finish(), hash(MechanismType::SHA256, b"ac").unwrap());
    }

    #[test]
    fn other_mechanisms_are_no_digests() {
        assert!(Digest::new(MechanismType::AES_CBC).is_none());
        assert!(hash(MechanismType::SHA256_HMAC, b"").is_none());
    }
}
