//! What `{:?}` shows of messages that carry a record's value: its length only (INV-1: a front end keeps secrets in records).

use crate::records::{PutOperation, PutRequest, Record};
use std::fmt;

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Record({:?}, {} bytes, version {})",
            self.key,
            self.value.len(),
            self.version
        )
    }
}

impl fmt::Debug for PutRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            key,
            value,
            expected_version,
            ..
        } = self;
        let bytes = value.len();
        write!(
            f,
            "PutRequest({namespace:?}, {key:?}, {bytes} bytes, expected {expected_version:?})"
        )
    }
}

impl fmt::Debug for PutOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PutOperation({:?}, {} bytes)", self.key, self.value.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // INV-1
    #[test]
    fn no_value_is_shown() {
        let value = b"VALUE".to_vec();
        let record = Record {
            value: value.clone(),
            ..Record::default()
        };
        let put = PutRequest {
            value: value.clone(),
            ..PutRequest::default()
        };
        let operation = PutOperation {
            value,
            ..PutOperation::default()
        };
        let shown = format!("{record:?} {put:?} {operation:?}");
        assert!(!shown.contains("VALUE") && !shown.contains("86, 65"), "{shown}");
    }
}
