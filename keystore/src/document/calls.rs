//! Documents as callers of the keystore see them.

use hsmd_proto::ids::OperationId;

use super::{
    Document, DocumentBatch, DocumentBatchOutcome, DocumentChanges, DocumentOutcome, DocumentPage, DocumentUsage,
    DocumentWrite, DocumentsForgotten,
};
use crate::error::Error;
use crate::keystore::Keystore;

impl Keystore {
    /// A document; `None` if there is none of this name.
    ///
    /// # Errors
    /// [`Error::Quarantined`], [`Error::Damaged`].
    pub fn document(&self, name: &str) -> Result<Option<Document>, Error> {
        let (documents, core) = self.documents_and_core();
        Ok(documents.get(core, name)?.0)
    }

    /// As [`Keystore::document`], with the revision at which it was read.
    ///
    /// # Errors
    /// [`Error::Quarantined`], [`Error::Damaged`].
    pub fn document_at(&self, name: &str) -> Result<(Option<Document>, u64), Error> {
        let (documents, core) = self.documents_and_core();
        documents.get(core, name)
    }

    /// All documents whose name starts with `prefix`, by name.
    ///
    /// # Errors
    /// [`Error::Quarantined`].
    pub fn documents(&self, prefix: &str) -> Result<Vec<(String, Document)>, Error> {
        self.documents_and_core().0.list(prefix)
    }

    /// A page of the documents whose name starts with `prefix`: those after the name `after`, at most `count`, and no more once
    /// their names and values have `bytes`.
    ///
    /// # Errors
    /// [`Error::Quarantined`].
    pub fn document_page(
        &self,
        prefix: &str,
        after: Option<&str>,
        count: usize,
        bytes: usize,
    ) -> Result<DocumentPage, Error> {
        self.documents_and_core().0.page(prefix, after, count, bytes)
    }

    /// What the documents of a shelf use: those whose names start with `shelf`, two words with a slash after each
    /// ("records/web/") or one ("hsm/", and then only names without a second slash).
    #[must_use]
    pub fn document_usage(&self, shelf: &str) -> DocumentUsage {
        self.documents_and_core().0.usage(shelf)
    }

    /// All shelves with what they use.
    #[must_use]
    pub fn document_shelves(&self) -> Vec<(String, DocumentUsage)> {
        self.documents_and_core().0.shelves()
    }

    /// What changed under `prefix` after revision `after`: at most `count` batches, and the revision up to which that is all.
    /// The last 4,096 batches are kept (and at most 16 MiB of them), not across restarts.
    ///
    /// # Errors
    /// [`DocumentsForgotten`]: not all of these changes are kept, or `after` lies in the future.
    pub fn document_changes(
        &self,
        prefix: &str,
        after: u64,
        count: usize,
    ) -> Result<(Vec<DocumentChanges>, u64), DocumentsForgotten> {
        let (documents, core) = self.documents_and_core();
        documents.changes(core, prefix, after, count)
    }

    /// What is called after each change of documents, from whichever thread made it; it must not wait. It replaces an
    /// older one.
    pub fn on_document_change(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.documents_and_core().0.on_change(Box::new(hook));
    }

    /// Changes documents, all or none, if all compares hold and the quota allows it. The same operation id again is the same
    /// operation (INV-10); [`DocumentBatch::operation`] makes one of what a client chose. Durable when it returns (INV-2).
    ///
    /// # Errors
    /// As [`Keystore::commit_documents`].
    pub fn apply_documents(&self, operation: &[u8; 16], batch: DocumentBatch) -> Result<DocumentBatchOutcome, Error> {
        let (documents, core) = self.documents_and_core();
        documents.apply(core, operation, batch)
    }

    /// Writes documents, all or none, if each has the version that is expected. The same operation id again is the same operation
    /// (INV-10). Durable when it returns (INV-2).
    ///
    /// # Errors
    /// [`Error::TooLarge`] (68 KiB a document with its name, 100 documents, 1 MiB), [`Error::Quarantined`], [`Error::Full`], [`Error::Stopped`],
    /// [`Error::OutcomeUnknown`]: ask again with the same operation id.
    pub fn commit_documents(
        &self,
        operation: OperationId,
        writes: Vec<DocumentWrite>,
    ) -> Result<DocumentOutcome, Error> {
        let (documents, core) = self.documents_and_core();
        documents.commit(core, operation, writes)
    }
}
