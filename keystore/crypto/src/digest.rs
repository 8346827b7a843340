//! Message digests by PKCS#11 mechanism: SHA-1 and SHA-2 (FIPS 180-4), SHA-3 (FIPS 202), BLAKE2b (RFC 7693).

use crate::blake2b::Blake2b;
use crate::engine::{self, Hasher, Sha};
use crate::sha3::Sha3;
use hsmd_proto::ck::MechanismType;
use zeroize::{Zeroize, Zeroizing};

/// A running digest. A value: a clone goes on by itself, and so does a forked child's copy.
#[derive(Clone)]
pub struct Digest(Running);

/// Hashes whose state can be taken out.
#[derive(Clone)]
enum Running {
    /// SHA-1 and SHA-2. `None`: the engine failed; the digest is lost.
    Sha(Option<Box<Sha>>),
    Sha3(Box<Sha3>),
    Blake2b(Box<Blake2b>),
}

impl Digest {
    /// Begins a digest; `None` if `hash` is no digest mechanism of this build.
    #[must_use]
    pub fn new(hash: MechanismType) -> Option<Self> {
        Running::new(hash).map(Self)
    }

    /// The state that [`Self::resume`] goes on from; `None` if the engine failed on the way. It holds the last bytes that were
    /// added.
    #[must_use]
    pub fn state(&self) -> Option<Zeroizing<Vec<u8>>> {
        match &self.0 {
            Running::Sha(sha) => sha.as_ref().map(|sha| sha.export()),
            Running::Sha3(sha3) => Some(sha3.export()),
            Running::Blake2b(blake) => Some(blake.export()),
        }
    }

    /// Goes on from a state; `None` for bytes that are no state of this hash.
    #[must_use]
    pub fn resume(hash: MechanismType, state: &[u8]) -> Option<Self> {
        Running::import(hash, state).map(Self)
    }

    /// Adds data.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.0 {
            Running::Sha(sha) => {
                if sha.as_mut().and_then(|sha| sha.update(data)).is_none() {
                    *sha = None;
                }
            }
            Running::Sha3(sha3) => sha3.update(data),
            Running::Blake2b(blake) => blake.update(data),
        }
    }

    /// The digest of everything added; empty if the engine failed on the way.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let mut out = [0; 64];
        let length = match self.0 {
            Running::Sha(sha) => sha.and_then(|mut sha| sha.finish(&mut out)),
            Running::Sha3(mut sha3) => Some(sha3.finish(&mut out)),
            Running::Blake2b(mut blake) => Some(blake.finish(&mut out)),
        };
        out[..length.unwrap_or_default()].to_vec()
    }
}

impl Running {
    fn new(hash: MechanismType) -> Option<Self> {
        if let Some(sha) = Sha::new(hash) {
            return Some(Self::Sha(Some(Box::new(sha))));
        }
        match Sha3::new(hash) {
            Some(sha3) => Some(Self::Sha3(Box::new(sha3))),
            None => Blake2b::new(hash).map(|blake| Self::Blake2b(Box::new(blake))),
        }
    }

    fn import(hash: MechanismType, state: &[u8]) -> Option<Self> {
        if let Some(sha) = Sha::import(hash, state) {
            return Some(Self::Sha(Some(Box::new(sha))));
        }
        match Sha3::import(hash, state) {
            Some(sha3) => Some(Self::Sha3(Box::new(sha3))),
            None => Blake2b::import(hash, state).map(|blake| Self::Blake2b(Box::new(blake))),
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
    let length = match Blake2b::new(hash) {
        Some(mut blake) => {
            blake.update(data);
            blake.finish(&mut bytes)
        }
        None => engine::digest(hash, data, &mut bytes)?,
    };
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
    fn a_state_goes_on_where_it_was_taken() {
        let data: Vec<u8> = (0..300_u16).map(|byte| byte as u8).collect();
        for kind in [
            MechanismType::SHA_1,
            MechanismType::SHA224,
            MechanismType::SHA256,
            MechanismType::SHA384,
            MechanismType::SHA512,
            MechanismType::SHA512_224,
            MechanismType::SHA512_256,
            MechanismType::SHA3_224,
            MechanismType::SHA3_256,
            MechanismType::SHA3_384,
            MechanismType::SHA3_512,
            MechanismType::BLAKE2B_160,
            MechanismType::BLAKE2B_256,
            MechanismType::BLAKE2B_384,
            MechanismType::BLAKE2B_512,
        ] {
            for at in [0, 1, 55, 63, 64, 65, 127, 128, 129, 256, 300] {
                let mut first = Digest::new(kind).unwrap();
                first.update(&data[..at]);
                let state = first.state().unwrap();
                let mut second = Digest::resume(kind, &state).unwrap();
                assert_eq!(second.state().unwrap(), state);
                second.update(&data[at..]);
                assert_eq!(second.finish(), hash(kind, &data).unwrap(), "{kind} at {at}");
                assert!(Digest::resume(kind, &state[..state.len() - 1]).is_none());
                assert!(Digest::resume(kind, &[&state[..], b"x"].concat()).is_none());
            }
        }
        // A place within a block that is none.
        let mut state = Digest::new(MechanismType::SHA3_256).unwrap().state().unwrap();
        *state.last_mut().unwrap() = 136;
        assert!(Digest::resume(MechanismType::SHA3_256, &state).is_none());
        assert!(Digest::resume(MechanismType::SHA3_256, &[]).is_none());
        // Bytes of a block that are not as many as the count says.
        let mut state = Digest::new(MechanismType::BLAKE2B_256).unwrap().state().unwrap();
        state[64] = 1;
        assert!(Digest::resume(MechanismType::BLAKE2B_256, &state).is_none());
        // A count of bits that does not fit: nobody has hashed so much.
        let mut state = Digest::new(MechanismType::SHA256).unwrap().state().unwrap();
        state[32..40].copy_from_slice(&(1_u64 << 62).to_le_bytes());
        assert!(Digest::resume(MechanismType::SHA256, &state).is_none());
    }

    #[test]
    fn other_mechanisms_are_no_digests() {
        assert!(Digest::new(MechanismType::AES_CBC).is_none());
        assert!(hash(MechanismType::SHA256_HMAC, b"").is_none());
    }
}
