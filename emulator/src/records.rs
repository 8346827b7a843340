//! What the front ends keep: JSON records in hsmd's `Records` service, with versions for compare-and-set. Nothing else of ours
//! lasts beyond a restart.

use crate::control::Control;
use hsmd_control::records::operation::Kind;
use hsmd_control::records::records_client::RecordsClient;
use hsmd_control::records::{
    BatchRequest, Compare, DeleteOperation, GetRequest, ListRequest, Operation, PutOperation, Record,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::{Code, Status};

/// The name space, when the caller may choose one.
const NAMESPACE: &str = "aws";

/// A record with its version.
#[derive(Clone, Debug)]
pub(crate) struct Versioned<T> {
    pub(crate) version: u64,
    pub(crate) record: T,
}

/// Why a record was not written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// Somebody else changed it.
    #[error("the record was changed by somebody else")]
    Conflict,
    /// What is stored does not read.
    #[error("the record {0} cannot be read")]
    Damaged(String),
    /// hsmd's word.
    #[error("{0}")]
    Refused(#[from] Status),
}

impl RecordError {
    /// Whether the same may succeed later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Conflict => true,
            Self::Damaged(_) => false,
            Self::Refused(status) => matches!(
                status.code(),
                Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Unknown
            ),
        }
    }
}

/// One record to write: what must be there, what shall be.
pub(crate) struct Write {
    key: String,
    /// 0: nothing may be there.
    expected: u64,
    value: Option<Vec<u8>>,
}

impl Write {
    /// Writes a record in the place of a version; 0: of none.
    pub(crate) fn put(key: impl Into<String>, expected: u64, record: &impl Serialize) -> Self {
        // Structures of strings and numbers always serialise.
        Self {
            key: key.into(),
            expected,
            value: Some(serde_json::to_vec(record).unwrap_or_default()),
        }
    }

    /// Deletes a record of a version.
    pub(crate) fn delete(key: impl Into<String>, expected: u64) -> Self {
        Self {
            key: key.into(),
            expected,
            value: None,
        }
    }
}

/// The records.
#[derive(Clone)]
pub(crate) struct Records {
    client: RecordsClient<Control>,
}

impl Records {
    pub(crate) fn new(control: Control) -> Self {
        Self {
            client: RecordsClient::new(control).max_decoding_message_size(8 << 20),
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`RecordError`].
    pub(crate) async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Versioned<T>>, RecordError> {
        let request = GetRequest {
            namespace: NAMESPACE.into(),
            key: key.into(),
        };
        match self.client.clone().get(request).await {
            Ok(answer) => answer.into_inner().record.as_ref().map(read).transpose(),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status.into()),
        }
    }

    /// Reads all records whose keys begin so, with their keys.
    ///
    /// # Errors
    /// [`RecordError`].
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        prefix: &str,
    ) -> Result<Vec<(String, Versioned<T>)>, RecordError> {
        let (mut found, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListRequest {
                namespace: NAMESPACE.into(),
                prefix: prefix.into(),
                page_token,
                ..ListRequest::default()
            };
            let page = self.client.clone().list(request).await?.into_inner();
            for record in &page.records {
                found.push((record.key.clone(), read(record)?));
            }
            if page.next_page_token.is_empty() {
                return Ok(found);
            }
            page_token = page.next_page_token;
        }
    }

    /// Writes all or nothing; answers the new versions in the order of the writes, 0 for a deletion.
    ///
    /// # Errors
    /// [`RecordError::Conflict`] when a version is another.
    pub(crate) async fn commit(&self, writes: Vec<Write>) -> Result<Vec<u64>, RecordError> {
        let compares = writes.iter().map(|write| {
            Kind::Compare(Compare {
                key: write.key.clone(),
                version: write.expected,
            })
        });
        let changes = writes.iter().map(|write| match &write.value {
            Some(value) => Kind::Put(PutOperation {
                key: write.key.clone(),
                value: value.clone(),
            }),
            None => Kind::Delete(DeleteOperation { key: write.key.clone() }),
        });
        let operations: Vec<_> = compares
            .chain(changes)
            .map(|kind| Operation { kind: Some(kind) })
            .collect();
        let mut operation_id = vec![0; 16];
        getrandom::fill(&mut operation_id).map_err(|error| Status::internal(error.to_string()))?;
        let request = BatchRequest {
            namespace: NAMESPACE.into(),
            operations,
            operation_id,
        };
        let answer = self.client.clone().batch(request).await?.into_inner();
        if !answer.committed {
            return Err(RecordError::Conflict);
        }
        Ok(answer.versions.into_iter().skip(writes.len()).collect())
    }
}

fn read<T: DeserializeOwned>(record: &Record) -> Result<Versioned<T>, RecordError> {
    let value = serde_json::from_slice(&record.value).map_err(|_| RecordError::Damaged(record.key.clone()))?;
    Ok(Versioned {
        version: record.version,
        record: value,
    })
}
