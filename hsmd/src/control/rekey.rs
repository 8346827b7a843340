//! A new key for a partition and all that share its keys: which key set, and what the keystore's refusals mean here.

use super::model::{Model, ModelError};
use super::officers::{administrator, refused};
use super::provision::{OFFICER, USER};
use hsmd_keystore::{Rekey, RekeyError, Role};

impl Model {
    /// Begins to seal everything in a partition anew under a new key; the PINs of its roles are tries like any other.
    ///
    /// # Errors
    /// As [`Model::partition_keys`]; wrong, missing or locked PINs; a partition that is joining a group; the keystore's errors.
    pub fn begin_rekey(
        &self,
        name: &str,
        so_pin: &[u8],
        user_pin: Option<&[u8]>,
        crypto_user_pin: Option<&[u8]>,
    ) -> Result<Rekey, ModelError> {
        let key_set = self.partition_keys(name)?;
        let begun = key_set.begin_rekey(&administrator(), so_pin, user_pin, crypto_user_pin);
        begun.map_err(|error| rekeyed(error, name))
    }
}

/// A refusal of the keystore's.
pub(super) fn rekeyed(error: RekeyError, partition: &str) -> ModelError {
    match error {
        RekeyError::Pin(Role::So, rv) => refused(rv, OFFICER),
        RekeyError::Pin(_, rv) => refused(rv, USER),
        RekeyError::PinNeeded(Role::CryptoUser) => {
            ModelError::Missing("CryptoUserPin", "the PIN of the crypto user, who has one")
        }
        RekeyError::PinNeeded(_) => ModelError::Missing("UserPin", "the PIN of the user, who has one"),
        RekeyError::Protected => ModelError::Merging,
        RekeyError::Changed => ModelError::Conflict,
        RekeyError::TooManyCounters => ModelError::TooManyCounters,
        RekeyError::Damaged(record) => {
            tracing::error!(partition, record, "a damaged record stands in the way of a rekey");
            ModelError::KeysMissing(partition.to_owned())
        }
        RekeyError::Store(error) => ModelError::Keystore(error),
    }
}
