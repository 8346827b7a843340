//! Verifiers: after one Argon2id success, a keyed hash of the PIN in memory, so that the same PIN costs microseconds the next
//! time. Bound to key set, role, epoch and version of the PIN record; holds the PSK sealed under HKDF(node secret, PIN), so that a
//! memory image without the PIN shows no PSK. Consulted after the lock state, never instead of it.

use std::collections::HashMap;

use hsmd_crypto::seal::{SealKey, equal, hkdf, hmac};
use hsmd_crypto::secret::SecretArray;
use hsmd_proto::ids::KeySetId;
use parking_lot::Mutex;

use crate::core::Core;
use crate::login::Role;
use crate::seal::Psk;

/// What a verifier is for; anything else does not fit it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) key_set: KeySetId,
    pub(crate) role: Role,
    pub(crate) epoch: u64,
    /// Version of the PIN record: a new PIN has another.
    pub(crate) pin: u64,
}

struct Verifier {
    subject: Subject,
    tag: [u8; 32],
    psk: Vec<u8>,
}

/// The verifiers of a key set.
#[derive(Default)]
pub(crate) struct Verifiers(Mutex<HashMap<Role, Verifier>>);

impl Verifiers {
    /// The PSK if `pin` is the one that was right before.
    pub(crate) fn check(&self, core: &Core, subject: Subject, pin: &[u8]) -> Option<Psk> {
        let verifiers = self.0.lock();
        let verifier = verifiers
            .get(&subject.role)
            .filter(|verifier| verifier.subject == subject)?;
        if !equal(&verifier.tag, &tag(core, subject, pin)) {
            return None;
        }
        let plain = key(core, subject, pin)
            .open(&[&subject.key_set.0], &verifier.psk)
            .ok()?;
        SecretArray::from_slice(&plain).map(Psk::new)
    }

    /// Remembers a PIN that Argon2id has found right.
    pub(crate) fn remember(&self, core: &Core, subject: Subject, pin: &[u8], psk: &Psk) {
        let verifier = Verifier {
            subject,
            tag: tag(core, subject, pin),
            psk: key(core, subject, pin).seal(&[&subject.key_set.0], psk.expose()),
        };
        self.0.lock().insert(subject.role, verifier);
    }

    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }
}

fn parts<'a>(subject: &'a Subject, numbers: &'a [u8; 20], pin: &'a [u8]) -> [&'a [u8]; 4] {
    // Only the PIN, which stands last, has no fixed length.
    [b"verifier", &subject.key_set.0, numbers, pin]
}

fn numbers(subject: &Subject) -> [u8; 20] {
    let mut out = [0; 20];
    out[..4].copy_from_slice(&subject.role.number().to_le_bytes());
    out[4..12].copy_from_slice(&subject.epoch.to_le_bytes());
    out[12..].copy_from_slice(&subject.pin.to_le_bytes());
    out
}

fn tag(core: &Core, subject: Subject, pin: &[u8]) -> [u8; 32] {
    hmac(core.node_secret.expose(), &parts(&subject, &numbers(&subject), pin))
}

fn key(core: &Core, subject: Subject, pin: &[u8]) -> SealKey {
    let info: [&[u8]; 3] = [b"hsmd verifier", &subject.key_set.0, &numbers(&subject)];
    SealKey::new(&hkdf(pin, core.node_secret.expose(), &info))
}
