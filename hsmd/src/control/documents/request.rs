//! What requests for records say, checked: namespaces, keys, values, page tokens, batches. No state, no store.

use super::RecordError;
use crate::control::access::{Caller, Role};
use hsmd_control::records::Operation;
use hsmd_control::records::operation::Kind;
use hsmd_keystore::DocumentBatch;
use std::collections::BTreeSet;

/// What the names of all records begin with.
pub(super) const RECORDS: &str = "records/";
/// The namespace of the local socket, when it names none.
const LOCAL: &str = "local";
/// The longest namespace in bytes.
const MAX_NAMESPACE: usize = 64;
/// The longest key, and prefix, in bytes.
const MAX_KEY: usize = 512;
/// The largest value in bytes.
const MAX_VALUE: usize = 64 << 10;
/// The most operations of a batch.
const MAX_OPERATIONS: usize = 100;
/// The most bytes of keys and values in a batch: what is left of the store's 1 MiB when names and seals are paid for.
const MAX_BATCH: usize = 960 << 10;

/// A namespace that the caller may use.
#[derive(Clone, Debug)]
pub(super) struct Namespace(String);

impl Namespace {
    /// The namespace of a request, whose field says `asked`. A service has its own, which has its name; an administrator has
    /// all.
    pub(super) fn of<T>(request: &tonic::Request<T>, asked: &str) -> Result<Self, RecordError> {
        let caller = request.extensions().get::<Caller>().ok_or(RecordError::Foreign)?;
        match caller.role {
            Role::Admin => Self::new(if asked.is_empty() { LOCAL } else { asked }),
            _ if asked.is_empty() || *asked == *caller.name => Self::new(&caller.name),
            _ => Err(RecordError::Foreign),
        }
    }

    fn new(name: &str) -> Result<Self, RecordError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'@');
        if (1..=MAX_NAMESPACE).contains(&name.len()) && name.bytes().all(fits) {
            Ok(Self(name.to_owned()))
        } else {
            let rule = "1 to 64 letters, digits, dots, hyphens, underscores and @";
            Err(RecordError::Invalid("namespace", rule))
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// What the documents of the namespace begin with.
    pub(super) fn shelf(&self) -> String {
        format!("{RECORDS}{}/", self.0)
    }

    /// The document's name for a key.
    pub(super) fn name(&self, field: &'static str, key: &str) -> Result<String, RecordError> {
        if (1..=MAX_KEY).contains(&key.len()) {
            Ok(self.whole(key))
        } else {
            Err(RecordError::Invalid(field, "1 to 512 bytes of UTF-8"))
        }
    }

    /// The documents' prefix for a prefix of keys.
    pub(super) fn prefix(&self, prefix: &str) -> Result<String, RecordError> {
        if prefix.len() <= MAX_KEY {
            Ok(self.whole(prefix))
        } else {
            Err(RecordError::Invalid("prefix", "at most 512 bytes of UTF-8"))
        }
    }

    /// As it is, without a check.
    pub(super) fn whole(&self, key: &str) -> String {
        self.shelf() + key
    }

    /// The key of a document of this namespace.
    pub(super) fn key<'a>(&self, name: &'a str) -> &'a str {
        name.get(RECORDS.len() + self.0.len() + 1..).unwrap_or_default()
    }
}

/// One record to write or to delete.
pub(super) struct Change {
    /// The document.
    pub(super) name: String,
    /// `None`: deleted.
    pub(super) value: Option<Vec<u8>>,
}

impl Change {
    pub(super) fn put(namespace: &Namespace, key: String, value: Vec<u8>) -> Result<Self, RecordError> {
        if value.len() > MAX_VALUE {
            return Err(RecordError::Invalid("value", "at most 65536 bytes"));
        }
        Ok(Self {
            name: namespace.name("key", &key)?,
            value: Some(value),
        })
    }

    pub(super) fn delete(namespace: &Namespace, key: &str) -> Result<Self, RecordError> {
        Ok(Self {
            name: namespace.name("key", key)?,
            value: None,
        })
    }
}

/// A batch, checked.
pub(super) struct Plan {
    pub(super) batch: DocumentBatch,
    /// Which operation each compare was.
    pub(super) compare_places: Vec<usize>,
    /// Which operation each change was.
    pub(super) change_places: Vec<usize>,
    /// How many operations there were.
    pub(super) length: usize,
}

impl Plan {
    pub(super) fn new(namespace: &Namespace, operations: Vec<Operation>) -> Result<Self, RecordError> {
        let length = operations.len();
        if !(1..=MAX_OPERATIONS).contains(&length) {
            return Err(RecordError::Invalid("operations", "1 to 100"));
        }
        let mut plan = Self {
            batch: DocumentBatch::default(),
            compare_places: Vec::new(),
            change_places: Vec::new(),
            length,
        };
        let (mut written, mut bytes) = (BTreeSet::new(), 0);
        for (place, operation) in operations.into_iter().enumerate() {
            let change = match operation.kind {
                None => return Err(RecordError::Invalid("operations", "compare, put or delete each")),
                Some(Kind::Compare(compare)) => {
                    let name = namespace.name("key", &compare.key)?;
                    plan.batch.compares.push((name, compare.version));
                    plan.compare_places.push(place);
                    continue;
                }
                Some(Kind::Put(put)) => Change::put(namespace, put.key, put.value)?,
                Some(Kind::Delete(delete)) => Change::delete(namespace, &delete.key)?,
            };
            bytes += namespace.key(&change.name).len() + change.value.as_ref().map_or(0, Vec::len);
            if !written.insert(change.name.clone()) {
                return Err(RecordError::Invalid("operations", "such that no key is written twice"));
            }
            plan.change_places.push(place);
            plan.batch.changes.push((change.name, change.value));
        }
        if bytes > MAX_BATCH {
            return Err(RecordError::Invalid(
                "operations",
                "at most 983040 bytes of keys and values",
            ));
        }
        Ok(plan)
    }
}

/// Where a page begins. As text: 16 hexadecimal digits of the first page's revision, and the key after which it begins.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) revision: u64,
    pub(super) after: String,
}

impl Page {
    /// Of a token; `None` of an empty one.
    pub(super) fn read(token: &str, prefix: &str) -> Result<Option<Self>, RecordError> {
        if token.is_empty() {
            return Ok(None);
        }
        let parts = token
            .split_at_checked(16)
            .filter(|(_, after)| after.starts_with(prefix));
        let page = parts.and_then(|(revision, after)| {
            let digits = revision.bytes().all(|byte| byte.is_ascii_hexdigit());
            let revision = u64::from_str_radix(revision, 16).ok().filter(|_| digits)?;
            Some(Self {
                revision,
                after: after.to_owned(),
            })
        });
        let rule = "one that a list with the same prefix gave";
        page.map(Some).ok_or(RecordError::Invalid("page_token", rule))
    }

    pub(super) fn token(revision: u64, after: &str) -> String {
        format!("{revision:016x}{after}")
    }
}
