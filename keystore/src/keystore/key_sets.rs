//! The key sets of a keystore: made, found, deleted, and changed together with documents. What they do is theirs
//! ([`KeySet`]).

use std::sync::Arc;

use hsmd_crypto::random;
use hsmd_proto::ids::{KeySetId, OperationId};
use hsmd_proto::policy::Policy;

use super::Keystore;
use crate::caller::Identity;
use crate::document::{DocumentOutcome, DocumentWrite};
use crate::error::Error;
use crate::key_set::KeySet;
use crate::merge::{self, KeySetChange};

impl Keystore {
    /// What became of the power-on self-tests, on which key sets of the policy `fips` depend.
    #[must_use]
    pub fn self_tests(&self) -> &hsmd_crypto::selftest::Report {
        self.0.core.self_tests()
    }

    /// As [`Keystore::commit_documents`], with changes of key sets in the same batch: a reference and what it refers to change
    /// together (INV-3).
    ///
    /// # Errors
    /// As [`Keystore::commit_documents`]; [`Error::Contended`] if a key set is not what the change was made for: nothing was
    /// written.
    pub fn commit_with_key_sets(
        &self,
        operation: OperationId,
        writes: Vec<DocumentWrite>,
        changes: Vec<KeySetChange>,
    ) -> Result<DocumentOutcome, Error> {
        let deleted: Vec<_> = changes.iter().filter_map(KeySetChange::deletes).collect();
        let outcome = merge::commit(&self.0.core, &self.0.documents, operation, writes, changes)?;
        if matches!(outcome, DocumentOutcome::Committed { .. }) {
            let mut key_sets = self.0.key_sets.write();
            deleted.iter().for_each(|id| drop(key_sets.remove(id)));
        }
        Ok(outcome)
    }

    /// Makes a key set, uninitialised, under a new id.
    ///
    /// # Errors
    /// From the store.
    pub fn create_key_set(&self, policy: Policy) -> Result<Arc<KeySet>, Error> {
        self.create_key_set_as(KeySetId(random::array()), policy)
    }

    /// As [`Keystore::create_key_set`], under an id that the caller has chosen: a repeated call finds what the first one made (INV-10).
    ///
    /// # Errors
    /// [`Error::KeySetExists`] if it has another policy; [`Error::SelfTests`]; from the store.
    pub fn create_key_set_as(&self, id: KeySetId, policy: Policy) -> Result<Arc<KeySet>, Error> {
        // Not the list's own lock: requests must not wait for the disk.
        let _one = self.0.creating.lock();
        if let Some(there) = self.key_set(id) {
            return if there.policy() == policy {
                Ok(there)
            } else {
                Err(Error::KeySetExists)
            };
        }
        self.0.core.allows(policy)?;
        let key_set = KeySet::create(&self.0.core, id, policy)?;
        self.0.key_sets.write().insert(id, Arc::clone(&key_set));
        Ok(key_set)
    }

    /// Deletes a key set: nothing of it is used or found again when this returns; its records are purged in the background.
    /// One that is not there is deleted already.
    ///
    /// # Errors
    /// From the store.
    pub fn delete_key_set(&self, id: KeySetId) -> Result<(), Error> {
        let Some(key_set) = self.key_set(id) else { return Ok(()) };
        key_set.delete()?;
        self.0.key_sets.write().remove(&id);
        Ok(())
    }

    /// Ends the logins of an identity on all key sets; says how many there were.
    ///
    /// # Errors
    /// The first of [`KeySet::end_logins_of`]; the other key sets are done all the same.
    pub fn end_logins(&self, identity: &Identity) -> Result<usize, Error> {
        let ended = self.key_sets();
        let ended = ended.iter().map(|key_set| key_set.end_logins_of(identity));
        ended.reduce(|a, b| Ok(a? + b?)).unwrap_or(Ok(0))
    }

    /// A key set that is served.
    #[must_use]
    pub fn key_set(&self, id: KeySetId) -> Option<Arc<KeySet>> {
        self.0.key_sets.read().get(&id).cloned()
    }

    /// All key sets that are served.
    #[must_use]
    pub fn key_sets(&self) -> Vec<Arc<KeySet>> {
        self.0.key_sets.read().values().cloned().collect()
    }
}
