//! The value of the store's own root file: that the keys are right, where the journal began, whether the end was clean.

use crate::batch::Revision;
use crate::codec::{Malformed, Reader};
use crate::keys::StoreKeys;

/// Version of the layout of the folder.
const FORMAT: u32 = 1;

/// The root file's value, tagged with these keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RootValue {
    /// The number of the segment with which the journal was begun.
    pub(crate) journal_start: u64,
    /// The revision at which the store was closed cleanly, if it was.
    pub(crate) closed: Option<Revision>,
}

impl RootValue {
    pub(crate) fn to_bytes(self, keys: &StoreKeys) -> Vec<u8> {
        let mut value = Vec::new();
        value.extend_from_slice(&FORMAT.to_le_bytes());
        value.extend_from_slice(&self.journal_start.to_le_bytes());
        value.push(u8::from(self.closed.is_some()));
        value.extend_from_slice(&self.closed.unwrap_or_default().0.to_le_bytes());
        let tag = keys.derive(b"hsmd store root", &value);
        value.extend_from_slice(tag.as_ref());
        value
    }

    pub(crate) fn from_bytes(keys: &StoreKeys, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let (_format, journal_start) = (reader.u32()?, reader.u64()?);
        let (closed, revision) = (reader.u8()?, Revision(reader.u64()?));
        let value = Self {
            journal_start,
            closed: (closed == 1).then_some(revision),
        };
        if bytes == value.to_bytes(keys) {
            Ok(value)
        } else {
            Err(Malformed)
        }
    }
}
