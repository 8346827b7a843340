//! The chain's arithmetic: pure functions that the daemon, the verifier and, from `docs/audit.md`, anybody else computes alike.
//!
//! ```text
//! origin   = SHA-256("hsmd-audit-1" | node | public key)
//! digest n = SHA-256(line n)
//! hash n   = SHA-256(hash n-1 | digest n)          hash 0 = origin
//! ```
//! Signatures are Ed25519 (RFC 8032) over one line of text without a line end.

use hsmd_crypto::seal::sha256;
use hsmd_crypto::secret::Secret;
use hsmd_crypto::{Input, Key, Material};
use hsmd_proto::ck::MechanismType;
use hsmd_proto::ids::NodeId;
use hsmd_proto::params::{Mechanism, Params};

use super::event::hex;
use crate::error::Error;

/// A SHA-256.
pub type Hash = [u8; 32];

/// The chain up to an entry, signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    /// The last entry; 0: none.
    pub sequence: u64,
    /// The chain's hash after it.
    pub hash: Hash,
    /// When it was signed, in milliseconds since 1970.
    pub time_ms: u64,
    /// Ed25519 over [`head_text`].
    pub signature: Vec<u8>,
}

/// The hash before the first entry.
#[must_use]
pub fn origin(node: NodeId, public: &[u8; 32]) -> Hash {
    sha256(&[b"hsmd-audit-1", node.as_bytes(), public])
}

/// What the chain takes of an entry.
#[must_use]
pub fn digest(line: &str) -> Hash {
    sha256(&[line.as_bytes()])
}

/// The hash after an entry.
#[must_use]
pub fn link(before: &Hash, digest: &Hash) -> Hash {
    sha256(&[before, digest])
}

/// What a head's signature is over.
#[must_use]
pub fn head_text(node: NodeId, sequence: u64, hash: &Hash, time_ms: u64) -> String {
    format!(
        "hsmd-audit-head-1 node={node} sequence={sequence} hash={} time={time_ms}",
        hex(hash)
    )
}

/// What the signature of an export is over: entries `from` to `to`, the hash before the first and after the last, and how many
/// signed heads are between them.
#[must_use]
pub fn range_text(
    node: NodeId,
    (from, base): (u64, &Hash),
    (to, hash): (u64, &Hash),
    heads: u64,
    time_ms: u64,
) -> String {
    format!(
        "hsmd-audit-export-1 node={node} from={from} base={} to={to} hash={} heads={heads} time={time_ms}",
        hex(base),
        hex(hash)
    )
}

/// Whether `signature` is the log's over `text`.
#[must_use]
pub fn verify_signature(public: &[u8; 32], text: &str, signature: &[u8]) -> bool {
    let Ok(key) = Key::open(&Material::EdPublic { point: *public }) else {
        return false;
    };
    key.verify(&eddsa(), Input::Message(text.as_bytes()), signature).is_ok()
}

/// The log's key.
pub(super) struct Signer {
    key: Key,
    pub(super) public: [u8; 32],
}

impl Signer {
    pub(super) fn open(seed: &[u8]) -> Result<Self, Error> {
        let damaged = || Error::Damaged("the audit log's key".to_owned());
        let seed = Secret::from_slice(seed);
        let key = Key::open(&Material::EdPrivate { seed }).map_err(|_| damaged())?;
        let Some(Material::EdPublic { point: public }) = key.public() else {
            return Err(damaged());
        };
        Ok(Self { key, public })
    }

    pub(super) fn sign(&self, text: &str) -> Result<Vec<u8>, Error> {
        let mut out = Vec::with_capacity(64);
        let signed = self.key.sign(&eddsa(), Input::Message(text.as_bytes()), &mut out);
        signed.map_err(|_| Error::Damaged("the audit log's key".to_owned()))?;
        Ok(out)
    }

    pub(super) fn head(&self, node: NodeId, sequence: u64, hash: Hash, time_ms: u64) -> Result<SignedHead, Error> {
        Ok(SignedHead {
            sequence,
            hash,
            time_ms,
            signature: self.sign(&head_text(node, sequence, &hash, time_ms))?,
        })
    }
}

const fn eddsa() -> Mechanism {
    Mechanism {
        kind: MechanismType::EDDSA,
        params: Params::None,
    }
}
