//! Message digests by PKCS#11 mechanism: SHA-1 and SHA-2 (FIPS 180-4), SHA-3 (FIPS 202).

use crate::awslc::ffi::{self, Hasher};
use aws_lc_rs::digest::{self, Algorithm, Context};
use hsmd_proto::ck::MechanismType;
use zeroize::Zeroize;

/// A running digest. A value: a clone goes on by itself, and so does a forked child's copy.
#[derive(Clone)]
pub struct Digest(Running);

enum Running {
    Engine(Box<Context>),
    /// For SHA3-224, which aws-lc-rs lacks. `None`: the engine failed, for want of memory; the digest is lost.
    Other(Option<Hasher>),
}

impl Clone for Running {
    fn clone(&self) -> Self {
        match self {
            Self::Engine(context) => Self::Engine(context.clone()),
            Self::Other(hasher) => Self::Other(hasher.as_ref().and_then(Hasher::duplicate)),
        }
    }
}

impl Digest {
    /// Begins a digest; `None` if `hash` is no digest mechanism of this build.
    #[must_use]
    pub fn new(hash: MechanismType) -> Option<Self> {
        match algorithm(hash) {
            Some(algorithm) => Some(Self(Running::Engine(Box::new(Context::new(algorithm))))),
            None => Hasher::new(hash).map(|hasher| Self(Running::Other(Some(hasher)))),
        }
    }

    /// Adds data.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.0 {
            Running::Engine(context) => context.update(data),
            Running::Other(hasher) => {
                if hasher.as_mut().and_then(|hasher| hasher.update(data)).is_none() {
                    *hasher = None;
                }
            }
        }
    }

    /// The digest of everything added; empty if the engine failed on the way.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        match self.0 {
            Running::Engine(context) => context.finish().as_ref().to_vec(),
            Running::Other(hasher) => {
                let mut out = [0; 64];
                let length = hasher.and_then(|hasher| hasher.finish(&mut out));
                out[..length.unwrap_or_default()].to_vec()
            }
        }
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

/// A digest on the stack. Wiped: it may be a key's.
pub(crate) struct Short {
    bytes: [u8; 64],
    length: usize,
}

impl AsRef<[u8]> for Short {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Short {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// [`hash`] without a vector, for the hot path.
pub(crate) fn short(hash: MechanismType, data: &[u8]) -> Option<Short> {
    let mut bytes = [0; 64];
    let length = ffi::digest(hash, data, &mut bytes)?;
    Some(Short { bytes, length })
}

/// The digest of parts, one after the other.
pub(crate) fn of_parts(hash: MechanismType, parts: &[&[u8]]) -> Option<Short> {
    let mut hasher = Hasher::new(hash)?;
    parts.iter().try_for_each(|part| hasher.update(part))?;
    let mut bytes = [0; 64];
    let length = hasher.finish(&mut bytes)?;
    Some(Short { bytes, length })
}

fn algorithm(hash: MechanismType) -> Option<&'static Algorithm> {
    Some(match hash {
        MechanismType::SHA_1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        MechanismType::SHA224 => &digest::SHA224,
        MechanismType::SHA256 => &digest::SHA256,
        MechanismType::SHA384 => &digest::SHA384,
        MechanismType::SHA512 => &digest::SHA512,
        MechanismType::SHA3_256 => &digest::SHA3_256,
        MechanismType::SHA3_384 => &digest::SHA3_384,
        MechanismType::SHA3_512 => &digest::SHA3_512,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_goes_on_by_itself() {
        for kind in [MechanismType::SHA256, MechanismType::SHA3_224, MechanismType::SHA3_512] {
            let mut first = Digest::new(kind).unwrap();
            first.update(b"a");
            let mut second = first.clone();
            first.update(b"b");
            second.update(b"c");
            assert_eq!(first.finish(), hash(kind, b"ab").unwrap());
            assert_eq!(second.finish(), hash(kind, b"ac").unwrap());
        }
    }

    #[test]
    fn other_mechanisms_are_no_digests() {
        assert!(Digest::new(MechanismType::AES_CBC).is_none());
        assert!(hash(MechanismType::SHA256_HMAC, b"").is_none());
    }
}
