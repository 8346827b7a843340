//! The two seals (DESIGN 7) and the keys under the fleet secret. Outer: every record, under a barrier key, bound to its path,
//! version and kind. Inner: private objects, under the key set's PSK, bound to object id, version and kind.
//! Ciphers are `hsmd-crypto`'s; where the keys come from is `root` and `pin`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hsmd_crypto::seal::{SealError, SealKey, hkdf};
use hsmd_crypto::secret::SecretArray;
use hsmd_proto::ids::UniqueId;
use hsmd_store::Path;
use zeroize::Zeroizing;

/// What was sealed, with its kind.
pub(crate) type Opened = (Kind, Zeroizing<Vec<u8>>);

/// What a sealed value is. Part of the AAD, so that a record put in another's place does not open (INV-7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A key set's root: incarnation, epoch, policy, label.
    KeySet = 1,
    /// The PSK wrapped under a PIN.
    Pin = 2,
    /// Reservations and failures of PIN tries.
    Tries = 3,
    /// A login.
    Login = 4,
    /// A token object.
    Object = 5,
    /// What is left of a destroyed object.
    Tombstone = 6,
    /// The latch of key material.
    Latch = 8,
    /// A document of the control plane.
    Document = 9,
    /// Which store this is.
    Anchor = 10,
    /// A secret of the daemon itself.
    Secret = 11,
    /// What a batch did, for the audit log.
    AuditPending = 20,
    /// Entries of the audit log.
    AuditSegment = 21,
    /// Where the audit log ends.
    AuditHead = 22,
    /// The audit log's own key.
    AuditKey = 23,
    /// The latch key of another fleet, whose objects were restored here.
    LatchKey = 30,
    /// Of a node, or of the fleet itself.
    Node = 40,
}

impl Kind {
    /// The kinds that a backup may hold.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        let kinds = [
            Self::Pin,
            Self::Tries,
            Self::Object,
            Self::Tombstone,
            Self::Latch,
            Self::Document,
            Self::Secret,
            Self::LatchKey,
        ];
        kinds.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// Bytes of the barrier key's version in front of a sealed record.
const BARRIER_VERSION: usize = 4;

/// The barrier keys: the outer seal of every record.
pub(crate) struct Barrier {
    /// Versions ascending; the last one seals.
    keys: ArcSwap<Vec<Arc<BarrierKey>>>,
}

struct BarrierKey {
    version: u32,
    key: SealKey,
}

impl Barrier {
    /// Of these keys; there is at least one, and the last one seals.
    pub(crate) fn new(keys: &[(u32, SecretArray<32>)]) -> Self {
        debug_assert!(!keys.is_empty());
        Self {
            keys: ArcSwap::from_pointee(keys.iter().map(barrier_key).collect()),
        }
    }

    /// Adds a version, which seals from now on.
    pub(crate) fn add(&self, version: u32, key: SecretArray<32>) {
        let key = barrier_key(&(version, key));
        self.keys.rcu(|keys| {
            let mut keys = Vec::clone(keys);
            keys.push(Arc::clone(&key));
            keys
        });
    }

    /// Seals `plain` as the record `path` at `version`.
    pub(crate) fn seal(&self, path: &Path, version: u64, kind: Kind, plain: &[u8]) -> Vec<u8> {
        let keys = self.keys.load();
        let mut out = Vec::new();
        if let Some(newest) = keys.last() {
            let number = newest.version.to_le_bytes();
            let sealed = newest
                .key
                .seal(&aad(path, &version.to_le_bytes(), &[kind as u8], &number), plain);
            out.reserve_exact(BARRIER_VERSION + sealed.len());
            out.extend_from_slice(&number);
            out.extend_from_slice(&sealed);
        }
        out
    }

    /// Opens what [`Barrier::seal`] made for the same path, version and kind (INV-7).
    pub(crate) fn open(
        &self,
        path: &Path,
        version: u64,
        kind: Kind,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (number, body) = sealed.split_first_chunk::<BARRIER_VERSION>().ok_or(SealError)?;
        let wanted = u32::from_le_bytes(*number);
        let keys = self.keys.load();
        let key = keys.iter().rev().find(|key| key.version == wanted).ok_or(SealError)?;
        key.key
            .open(&aad(path, &version.to_le_bytes(), &[kind as u8], number), body)
    }
}

fn barrier_key((version, key): &(u32, SecretArray<32>)) -> Arc<BarrierKey> {
    Arc::new(BarrierKey {
        version: *version,
        key: SealKey::new(key),
    })
}

/// The path is the only part of variable length, so no two records have the same AAD.
fn aad<'a>(path: &'a Path, version: &'a [u8; 8], kind: &'a [u8; 1], key: &'a [u8; 4]) -> [&'a [u8]; 4] {
    [path.as_str().as_bytes(), version, kind, key]
}

/// The key set's own secret: the inner seal of private objects. Only a PIN, or a login that a PIN made, gives it.
pub(crate) struct Psk {
    secret: SecretArray<32>,
    key: SealKey,
}

impl Psk {
    /// From its 32 bytes.
    pub(crate) fn new(secret: SecretArray<32>) -> Self {
        let key = SealKey::new(&hkdf(secret.expose(), b"hsmd psk", &[b"objects"]));
        Self { secret, key }
    }

    /// The bytes, to be wrapped under a PIN or sealed into a login; never to be kept elsewhere.
    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.secret.expose()
    }

    /// Seals the private part of an object.
    pub(crate) fn seal(&self, id: &UniqueId, version: u64, kind: Kind, plain: &[u8]) -> Vec<u8> {
        self.key.seal(&[&id.0, &version.to_le_bytes(), &[kind as u8]], plain)
    }

    /// Opens what [`Psk::seal`] made for the same object, version and kind (INV-7).
    pub(crate) fn open(
        &self,
        id: &UniqueId,
        version: u64,
        kind: Kind,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        self.key.open(&[&id.0, &version.to_le_bytes(), &[kind as u8]], sealed)
    }
}

/// The secret that all nodes of a fleet share; each use has a key of its own.
pub(crate) struct FleetSecret {
    secret: SecretArray<32>,
    /// Keys by their labels that came with a backup of the whole daemon: what they name or hash is in the restored records.
    adopted: Vec<(String, SecretArray<32>)>,
}

impl FleetSecret {
    /// From its 32 bytes, with the keys that are used in place of its own.
    pub(crate) fn new(secret: SecretArray<32>, adopted: Vec<(String, SecretArray<32>)>) -> Self {
        Self { secret, adopted }
    }

    /// The key for `label`: "ticket", "session object", "latch", "document", ...
    pub(crate) fn key(&self, label: &str) -> SecretArray<32> {
        let adopted = self.adopted.iter().find(|(known, _)| known == label);
        adopted.map_or_else(
            || hkdf(self.secret.expose(), b"hsmd fleet", &[label.as_bytes()]),
            |(_, key)| key.duplicate(),
        )
    }
}
