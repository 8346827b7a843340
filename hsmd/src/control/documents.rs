//! `hsmd.records.v1.Records`: sealed records of trusted front ends, one namespace for each. A record is a document of the keystore
//! named `records/<namespace>/<key>`; what is checked and refused here is `request`, the stream is `watch`. What a record says is
//! the caller's business; values are never logged.

mod request;
mod watch;

use crate::node::Node;
use hsmd_control::records::records_server::Records;
use hsmd_control::records::{
    BatchRequest, BatchResponse, DeleteRequest, DeleteResponse, FailedCompare, GetRequest, GetResponse, ListRequest,
    ListResponse, PutRequest, PutResponse, Record, WatchRequest,
};
use hsmd_control::{RECORD_VERSION_KEY, REVISION_KEY};
use hsmd_keystore::{Document, DocumentBatch, DocumentBatchOutcome, DocumentUsage, Error};
use request::{Change, Namespace, Page};
use std::sync::Arc;
use tokio::sync::watch as signal;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

/// The most records of a page, and the default.
const PAGE: usize = 1_000;
/// A page ends when its keys and values have so many bytes.
const PAGE_BYTES: usize = 1 << 20;

/// The service.
pub(super) struct Service {
    pub(super) node: Arc<Node>,
    /// Turns true when the daemon stops: then watches end.
    pub(super) stop: signal::Receiver<bool>,
}

/// Why a request is refused or failed.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    /// A field that does not fit: its name and rule.
    #[error("{0} must be {1}")]
    Invalid(&'static str, &'static str),
    /// Not the caller's own.
    #[error("a service has the namespace of its own name, and no other")]
    Foreign,
    /// No such record.
    #[error("there is no record of this key")]
    NotFound,
    /// The record has another version than the one that is expected.
    #[error("the record has version {0} (0: it does not exist), not the one that was expected")]
    Version(u64),
    /// More than the namespace may hold.
    #[error("the namespace may hold {0} records and {1} bytes of keys and values")]
    OverQuota(u64, u64),
    /// One namespace too many.
    #[error("there are {0} namespaces already, which is the most")]
    Namespaces(u64),
    /// The changes that a watch asks for are not kept: the revision now.
    #[error("changes after that revision are not kept any more: list again and watch from revision {0}")]
    Forgotten(u64),
    /// The daemon stops.
    #[error("the daemon is stopping")]
    Stopping,
    /// The keystore's word.
    #[error(transparent)]
    Keystore(#[from] Error),
}

impl From<RecordError> for Status {
    fn from(error: RecordError) -> Self {
        let code = match &error {
            RecordError::Invalid(..) => Code::InvalidArgument,
            RecordError::Foreign => Code::PermissionDenied,
            RecordError::NotFound => Code::NotFound,
            RecordError::Version(_) | RecordError::Keystore(Error::Contended) => Code::Aborted,
            RecordError::OverQuota(..) | RecordError::Namespaces(_) => Code::ResourceExhausted,
            RecordError::Keystore(Error::Full | Error::TooLarge) => Code::ResourceExhausted,
            RecordError::Forgotten(_) => Code::OutOfRange,
            RecordError::Stopping | RecordError::Keystore(Error::Stopped | Error::OutcomeUnknown) => Code::Unavailable,
            RecordError::Keystore(Error::Damaged(_) | Error::Quarantined(_)) => Code::DataLoss,
            RecordError::Keystore(_) => Code::Internal,
        };
        if matches!(code, Code::Internal | Code::DataLoss) {
            tracing::error!(%error, "a request for records failed");
        }
        let mut status = Self::new(code, error.to_string());
        match error {
            RecordError::Version(version) => drop(status.metadata_mut().insert(RECORD_VERSION_KEY, version.into())),
            RecordError::Forgotten(now) => drop(status.metadata_mut().insert(REVISION_KEY, now.into())),
            _ => {}
        }
        status
    }
}

#[tonic::async_trait]
impl Records for Service {
    type WatchStream = ReceiverStream<Result<hsmd_control::records::WatchResponse, Status>>;

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let namespace = Namespace::of(&request, &request.get_ref().namespace)?;
        let request = request.into_inner();
        let change = Change::put(&namespace, request.key, request.value)?;
        let done = self
            .change(namespace, request.expected_version, change, request.operation_id)
            .await?;
        Ok(Response::new(PutResponse {
            version: done.versions.first().copied().unwrap_or_default(),
            revision: done.revision,
        }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let namespace = Namespace::of(&request, &request.get_ref().namespace)?;
        let name = namespace.name("key", &request.get_ref().key)?;
        let (found, revision) = self.node.keystore.document_at(&name).map_err(RecordError::from)?;
        let found = found.ok_or(RecordError::NotFound)?;
        let record = record(&namespace, &name, &found, false);
        Ok(Response::new(GetResponse {
            record: Some(record),
            revision,
        }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let namespace = Namespace::of(&request, &request.get_ref().namespace)?;
        let request = request.into_inner();
        let prefix = namespace.prefix(&request.prefix)?;
        let page = Page::read(&request.page_token, &request.prefix)?;
        let size = match request.page_size as usize {
            0 => PAGE,
            size => size.min(PAGE),
        };
        let after = page.as_ref().map(|page| namespace.whole(&page.after));
        let keystore = &self.node.keystore;
        let found = keystore
            .document_page(&prefix, after.as_deref(), size, PAGE_BYTES)
            .map_err(RecordError::from)?;
        let revision = page.map_or(found.revision, |page| page.revision);
        let records: Vec<_> = found
            .documents
            .iter()
            .map(|(name, document)| record(&namespace, name, document, request.keys_only))
            .collect();
        let last = records.last().filter(|_| found.more);
        let next_page_token = last.map(|last| Page::token(revision, &last.key)).unwrap_or_default();
        Ok(Response::new(ListResponse {
            records,
            next_page_token,
            revision,
        }))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        let namespace = Namespace::of(&request, &request.get_ref().namespace)?;
        let request = request.into_inner();
        let change = Change::delete(&namespace, &request.key)?;
        let done = self
            .change(namespace, request.expected_version, change, request.operation_id)
            .await?;
        Ok(Response::new(DeleteResponse {
            revision: done.revision,
        }))
    }

    async fn batch(&self, request: Request<BatchRequest>) -> Result<Response<BatchResponse>, Status> {
        let namespace = Namespace::of(&request, &request.get_ref().namespace)?;
        let request = request.into_inner();
        let plan = request::Plan::new(&namespace, request.operations)?;
        let (compares, changes, length) = (plan.compare_places, plan.change_places, plan.length);
        let compared: Vec<_> = plan.batch.compares.iter().map(|(name, _)| name.clone()).collect();
        let outcome = self.apply(namespace.clone(), plan.batch, request.operation_id).await?;
        let response = match outcome {
            Outcome::Done(done) => {
                let mut versions = vec![0; length];
                for (place, version) in changes.into_iter().zip(done.versions) {
                    versions[place] = version;
                }
                BatchResponse {
                    committed: true,
                    revision: done.revision,
                    versions,
                    failed: None,
                }
            }
            Outcome::Conflict { compare, current } => BatchResponse {
                failed: Some(FailedCompare {
                    operation: u32::try_from(compares[compare]).unwrap_or(u32::MAX),
                    key: namespace.key(&compared[compare]).to_owned(),
                    version: current,
                }),
                ..BatchResponse::default()
            },
        };
        Ok(Response::new(response))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let namespace = Namespace::of(&request, &request.get_ref().namespace)?;
        let request = request.into_inner();
        let prefix = namespace.prefix(&request.prefix)?;
        let watch = watch::Watch::new(&self.node, namespace, prefix, request.after)?;
        Ok(Response::new(watch.start(self.stop.clone())))
    }
}

/// A change that was made.
struct Done {
    revision: u64,
    versions: Vec<u64>,
}

/// What became of a batch.
enum Outcome {
    Done(Done),
    Conflict { compare: usize, current: u64 },
}

impl Service {
    /// One change under one condition.
    async fn change(
        &self,
        namespace: Namespace,
        expected: Option<u64>,
        change: Change,
        operation: Vec<u8>,
    ) -> Result<Done, RecordError> {
        let batch = DocumentBatch {
            compares: expected
                .map(|version| (change.name.clone(), version))
                .into_iter()
                .collect(),
            changes: vec![(change.name, change.value)],
            quota: None,
        };
        match self.apply(namespace, batch, operation).await? {
            Outcome::Done(done) => Ok(done),
            Outcome::Conflict { current, .. } => Err(RecordError::Version(current)),
        }
    }

    /// Applies a batch on a thread that may wait for the store.
    async fn apply(
        &self,
        namespace: Namespace,
        mut batch: DocumentBatch,
        operation: Vec<u8>,
    ) -> Result<Outcome, RecordError> {
        // INV-10: of a caller that names no operation, each request is one of its own.
        let operation = match operation.len() {
            0 => hsmd_crypto::random::array(),
            16 => batch.operation(namespace.as_str(), &operation),
            _ => return Err(RecordError::Invalid("operation_id", "16 bytes, or empty")),
        };
        let limits = &self.node.config.records;
        let (most_records, most_bytes) = (limits.max_records, limits.max_bytes);
        let most_namespaces = limits.max_namespaces;
        let shelf = namespace.shelf();
        let adds = batch.changes.iter().any(|(_, value)| value.is_some());
        let most = DocumentUsage {
            records: most_records,
            bytes: most_bytes,
        };
        batch.quota = Some((shelf.clone(), most));
        let keystore = self.node.keystore.clone();
        let work = move || {
            if adds && keystore.document_usage(&shelf).records == 0 {
                let used =
                    |(name, usage): &(String, DocumentUsage)| name.starts_with(request::RECORDS) && usage.records > 0;
                let namespaces = keystore.document_shelves().iter().filter(|shelf| used(shelf)).count();
                if namespaces as u64 >= most_namespaces {
                    return Err(RecordError::Namespaces(most_namespaces));
                }
            }
            match keystore.apply_documents(&operation, batch)? {
                DocumentBatchOutcome::Committed { revision, versions } => {
                    Ok(Outcome::Done(Done { revision, versions }))
                }
                DocumentBatchOutcome::Conflict { compare, current } => Ok(Outcome::Conflict { compare, current }),
                DocumentBatchOutcome::OverQuota(_) => Err(RecordError::OverQuota(most_records, most_bytes)),
            }
        };
        // A panic ends the request, not the daemon.
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or(Err(RecordError::Keystore(Error::Stopped)))
    }
}

fn record(namespace: &Namespace, name: &str, document: &Document, key_only: bool) -> Record {
    Record {
        key: namespace.key(name).to_owned(),
        value: if key_only { Vec::new() } else { document.value.to_vec() },
        version: document.version,
    }
}
