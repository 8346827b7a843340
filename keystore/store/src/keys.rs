//! The two secrets of the store: the journal key (seals journal and backups) and the head key (sums). Not the keys of records.

use std::fmt;

use zeroize::Zeroizing;

use crate::primitive::MacKey;

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
        Zeroizing::new(MacKey::new(self.journal.as_ref()).mac(&[label, &[0], salt]))
    }

    /// The head key, ready to use.
    pub(crate) fn head(&self) -> MacKey {
        MacKey::new(self.head.as_ref())
    }
}

impl fmt::Debug for StoreKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKeys(..)")
    }
}
