//! An entry's line, read: for filters, tables and syslog. The line itself is what counts; this is a view of it.

use hsmd_control::audit;
use serde::{Deserialize, Serialize};

/// What an entry says; empty where it says nothing.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct EntryView {
    pub(crate) sequence: u64,
    pub(crate) time: String,
    pub(crate) act: String,
    pub(crate) code: u16,
    pub(crate) who: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<u32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) role: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) hsm: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) partition: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) key_set: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) object: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) class: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) key_type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) label: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) detail: String,
    pub(crate) result: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) since: String,
}

impl EntryView {
    /// Reads a line; `None` if it is no entry.
    pub(crate) fn read(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    /// Whether the act was done.
    pub(crate) fn is_ok(&self) -> bool {
        matches!(self.result.as_str(), "CKR_OK" | "OK")
    }

    /// The HSM that the entry concerns: named, or by the first six digits of the partition's serial number.
    pub(crate) fn concerns(&self, id: &str, serial: &str) -> bool {
        self.hsm == id || (!serial.is_empty() && self.partition.len() == 9 && self.partition.starts_with(serial))
    }
}

/// Which entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) partition: String,
    pub(crate) hsm: String,
    pub(crate) act: String,
    pub(crate) who: String,
    pub(crate) failed: bool,
    pub(crate) since: String,
    pub(crate) until: String,
}

impl From<Option<audit::Filter>> for Filter {
    fn from(filter: Option<audit::Filter>) -> Self {
        let filter = filter.unwrap_or_default();
        Self {
            partition: filter.partition,
            hsm: filter.hsm,
            act: filter.act,
            who: filter.who,
            failed: filter.failed,
            ..Self::default()
        }
    }
}

impl Filter {
    /// Whether every entry fits.
    pub(crate) fn is_empty(&self) -> bool {
        [
            &self.partition,
            &self.hsm,
            &self.act,
            &self.who,
            &self.since,
            &self.until,
        ]
        .iter()
        .all(|field| field.is_empty())
            && !self.failed
    }

    /// Whether an entry fits.
    pub(crate) fn fits(&self, entry: &EntryView) -> bool {
        let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        let begins = |wanted: &str, found: &str| {
            found
                .strip_prefix(wanted)
                .is_some_and(|rest| wanted.is_empty() || rest.is_empty() || rest.starts_with('.'))
        };
        is(&self.partition, &entry.partition)
            && is(&self.hsm, &entry.hsm)
            && begins(&self.act, &entry.act)
            && entry.who.ends_with(&self.who)
            && !(self.failed && entry.is_ok())
            && !is_before(&entry.time, &self.since)
            && !is_after(&entry.time, &self.until)
    }
}

/// Whether a time is before `since`, which may be the beginning of a time: texts in UTC compare as times do.
pub(crate) fn is_before(time: &str, since: &str) -> bool {
    !since.is_empty() && time < since
}

/// Whether a time is after `until`, which may be the beginning of a time and then means the end of what it names.
pub(crate) fn is_after(time: &str, until: &str) -> bool {
    !until.is_empty() && time.get(..until.len()).unwrap_or(time) > until
}

/// Whether a text is a time as entries have it, the beginning of one, or empty.
pub(crate) fn is_time(text: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00T00:00:00.000Z";
    let fits = |(found, form): (&u8, &u8)| match form {
        b'0' => found.is_ascii_digit(),
        other => found == other,
    };
    text.len() <= FORM.len() && text.as_bytes().iter().zip(FORM).all(fits)
}
