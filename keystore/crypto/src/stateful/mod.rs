//! Verification of the signatures that are made of hashes with a state: LMS and HSS (RFC 8554), XMSS and XMSS^MT (RFC 8391), with the
//! parameter sets of SP 800-208. Nothing here signs, and nothing is secret (docs/decisions/0021).

mod lms;
mod xmss;

use crate::engine::{Sha, Shake};
use hsmd_proto::ck::{KeyType, MechanismType};

/// The longest hash value in bytes.
const MAX_N: usize = 64;

/// A hash value; the first n bytes count.
type Node = [u8; MAX_N];

/// A hash function whose result is cut to n bytes.
struct Hash {
    function: Function,
    n: usize,
}

enum Function {
    /// The state before the first byte.
    Sha(Box<Sha>),
    Shake(Shake),
}

/// Which hash function.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sha256,
    Sha512,
    Shake128,
    Shake256,
}

impl Hash {
    fn new(kind: Kind, n: usize) -> Option<Self> {
        let function = match kind {
            Kind::Sha256 => Function::Sha(Box::new(Sha::new(MechanismType::SHA256)?)),
            Kind::Sha512 => Function::Sha(Box::new(Sha::new(MechanismType::SHA512)?)),
            Kind::Shake128 => Function::Shake(Shake::new_128()?),
            Kind::Shake256 => Function::Shake(Shake::new()?),
        };
        Some(Self { function, n })
    }

    /// The hash value of the parts, one after the other; `None` if the engine failed.
    fn of(&mut self, parts: &[&[u8]]) -> Option<Node> {
        let mut out = [0; MAX_N];
        match &mut self.function {
            Function::Sha(begun) => {
                let mut sha = Sha::clone(begun);
                parts.iter().try_for_each(|part| sha.update(part))?;
                sha.finish(&mut out)?;
            }
            Function::Shake(shake) => shake.hash(parts, &mut out[..self.n])?,
        }
        Some(out)
    }
}

/// Why a signature does not verify.
pub(crate) enum Refused {
    /// It is not as long as its parameter sets say.
    Length,
    /// It is not of this message and this key.
    Wrong,
    /// The engine failed.
    Engine,
}

/// A public key.
pub(crate) struct Public {
    key_type: KeyType,
    bytes: Vec<u8>,
    inner: Inner,
}

enum Inner {
    Hss(lms::Hss),
    Xmss(xmss::Xmss),
}

impl Public {
    /// Reads a key as PKCS#11 3.2 has it in CKA_VALUE (6.65.2, 6.66.2, 6.66.3): `hss_public_key` of RFC 8554, 6.1; or the number of the
    /// parameter set, the root, the seed.
    pub(crate) fn new(key_type: KeyType, bytes: &[u8]) -> Option<Self> {
        let inner = match key_type {
            KeyType::HSS => Inner::Hss(lms::Hss::new(bytes)?),
            KeyType::XMSS | KeyType::XMSSMT => Inner::Xmss(xmss::Xmss::new(key_type, bytes)?),
            _ => return None,
        };
        Some(Self {
            key_type,
            bytes: bytes.to_vec(),
            inner,
        })
    }

    pub(crate) const fn key_type(&self) -> KeyType {
        self.key_type
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether SP 800-208 has the parameter set: not those of XMSS with SHA-512 or SHAKE128 and those of 64 bytes.
    pub(crate) const fn approved(&self) -> bool {
        match &self.inner {
            Inner::Hss(_) => true,
            Inner::Xmss(key) => key.approved(),
        }
    }

    /// Verifies a signature of a message.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Refused> {
        match &self.inner {
            Inner::Hss(key) => key.verify(message, signature),
            Inner::Xmss(key) => key.verify(message, signature),
        }
    }
}

/// A number of four bytes from the front, big-endian.
fn word(bytes: &mut &[u8]) -> Option<u32> {
    let (word, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*word))
}

/// Bytes from the front.
fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}
