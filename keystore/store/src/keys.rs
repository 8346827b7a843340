//! The two secrets of the store: the journal key (seals journal and backups) and the head key (sums). Not the keys of records.

use std::fmt;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

/// The store's keys, derived by the caller from the master key. Wiped on drop, never shown.
#[derive(Clone)]
pub struct StoreKeys {
    journal: Zeroizing<[u8; 32]>,
    head: Zeroizing<[u8; 32]>,
}

impl StoreKeys {
    /// Takes the journal key (seals journal segments and backups) and the head key (keyed sums over records).
    #[must_use]
    pub fn new(journal: [u8; 32], head: [u8; 32]) -> Self {
        Self {
            journal: Zeroizing::new(journal),
            head: Zeroizing::new(head),
        }
    }

    /// A 32-byte key for `label` and `salt`, from the journal key: HMAC-SHA-256 as a PRF (SP 800-108 with one block).
    pub(crate) fn derive(&self, label: &[u8], salt: &[u8]) -> Zeroizing<[u8; 32]> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.journal.as_ref());
        let mut context = hmac::Context::with_key(&key);
        context.update(label);
        context.update(&[0]);
        context.update(salt);
        let mut derived = Zeroizing::new([0; 32]);
        derived.copy_from_slice(context.sign().as_ref());
        derived
    }

    /// The head key, ready to use.
    pub(crate) fn head(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.head.as_ref())
    }
}

impl fmt::Debug for StoreKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKeys(..)")
    }
}
