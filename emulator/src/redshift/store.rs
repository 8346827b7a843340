//! Resources as records: found, listed, made within their quota, changed by compare-and-set. Changes of this process are one
//! after the other; those of another front end on the same records show as conflicts.

use super::record::{Kind, Resource};
use super::{Redshift, fault, record_fault};
use crate::fault::Fault;
use crate::records::{RecordError, Versioned, Write};

pub(super) fn record_key(kind: Kind, id: &str) -> String {
    format!("{}{id}", kind.words().prefix)
}

/// The write that puts a resource in the place of a version; 0: of none.
pub(super) fn put<T: Resource>(resource: &T, expected: u64) -> Write {
    Write::put(record_key(T::KIND, resource.id()), expected, resource)
}

/// The write that deletes a resource of a version.
pub(super) fn delete<T: Resource>(resource: &T, expected: u64) -> Write {
    Write::delete(record_key(T::KIND, resource.id()), expected)
}

fn no_such(kind: Kind, id: &str) -> Fault {
    let words = kind.words();
    let id = id.get(..128).unwrap_or(id);
    fault(words.not_found, &format!("There is no {} {id}.", words.noun))
}

impl Redshift {
    /// A resource that must be there.
    ///
    /// # Errors
    /// Its NotFound fault.
    pub(super) async fn find<T: Resource>(&self, id: &str) -> Result<Versioned<T>, Fault> {
        // A record's name is not empty and has at most 512 bytes.
        if id.is_empty() || id.len() > 255 {
            return Err(no_such(T::KIND, id));
        }
        let found = self.records.get(&record_key(T::KIND, id)).await;
        found
            .map_err(|error| record_fault(&error))?
            .ok_or_else(|| no_such(T::KIND, id))
    }

    /// All resources of a kind, in the order of their identifiers.
    ///
    /// # Errors
    /// [`RecordError`].
    pub(super) async fn all<T: Resource>(&self) -> Result<Vec<Versioned<T>>, RecordError> {
        let found = self.records.list::<T>(T::KIND.words().prefix).await?;
        let mut all: Vec<_> = found.into_iter().map(|(_, found)| found).collect();
        all.sort_by(|one, other| one.record.id().cmp(other.record.id()));
        Ok(all)
    }

    /// What a Describe selects: one by its identifier, or all, and of these by tags; with their identifiers.
    ///
    /// # Errors
    /// The NotFound fault, InvalidTagFault.
    pub(super) async fn selected<T: Resource>(&self, input: &super::input::Input) -> Result<Vec<(String, T)>, Fault> {
        let wanted = input.wanted()?;
        let found = match input.text(T::KIND.words().identifier) {
            Some(id) => vec![self.find::<T>(id).await?],
            None => self.all::<T>().await.map_err(|error| record_fault(&error))?,
        };
        let found = found.into_iter().map(|found| found.record);
        let found = found.filter(|resource| wanted.matches(resource.tags()));
        Ok(found.map(|resource| (resource.id().to_owned(), resource)).collect())
    }

    /// Makes sure that one more may be made under this identifier.
    ///
    /// # Errors
    /// The AlreadyExists and the QuotaExceeded fault.
    pub(super) async fn room<T: Resource>(&self, id: &str, quota: usize) -> Result<(), Fault> {
        let words = T::KIND.words();
        let all = self.all::<T>().await.map_err(|error| record_fault(&error))?;
        if all.iter().any(|found| found.record.id() == id) {
            return Err(fault(words.exists, &format!("There is a {} {id} already.", words.noun)));
        }
        if all.len() >= quota {
            let message = format!(
                "There are {} {}s already, the most that are allowed.",
                all.len(),
                words.noun
            );
            return Err(fault(words.quota, &message));
        }
        Ok(())
    }

    /// Writes all or nothing.
    ///
    /// # Errors
    /// ServiceUnavailable, also for a conflict.
    pub(super) async fn commit(&self, writes: Vec<Write>) -> Result<(), Fault> {
        self.records
            .commit(writes)
            .await
            .map(drop)
            .map_err(|error| record_fault(&error))
    }
}
