//! The exported file, line by line. The entry inside its line is byte for byte what was hashed:
//!
//! ```text
//! {"hsmd_audit":1,"node":"…","public_key":"…","from":1,"base":"…"}          first line; base: the hash before the first entry
//! {"entry":{"sequence":1,…},"hash":"…"}                                     hash: the chain's after this entry
//! {"withheld":{"sequence":2,"digest":"…"},"hash":"…"}                       an entry that a filter left out
//! {"head":{"sequence":40,"hash":"…","time_ms":…},"signature":"…"}           a signed head, after the entry that it names
//! {"trailer":{"from":1,"to":57,"hash":"…","heads":1,"time_ms":…},"signature":"…"}   last line
//! ```

use hsmd_keystore::audit::{Hash, SignedHead};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// The form of file that is written and read.
pub(super) const FORM: u32 = 1;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) hsmd_audit: u32,
    pub(super) node: String,
    pub(super) public_key: String,
    pub(super) from: u64,
    pub(super) base: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Withheld {
    pub(super) sequence: u64,
    pub(super) digest: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WithheldLine {
    pub(super) withheld: Withheld,
    pub(super) hash: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) sequence: u64,
    pub(super) hash: String,
    pub(super) time_ms: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeadLine {
    pub(super) head: Head,
    pub(super) signature: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trailer {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) hash: String,
    pub(super) heads: u64,
    pub(super) time_ms: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrailerLine {
    pub(super) trailer: Trailer,
    pub(super) signature: String,
}

/// What comes after the entry in its line, but the hash.
const ENTRY: &str = "{\"entry\":";
const HASH: &str = ",\"hash\":\"";
const END: &str = "\"}";

/// The line of an entry.
pub(super) fn entry_line(line: &str, hash: &Hash) -> String {
    format!("{ENTRY}{line}{HASH}{}{END}", hex(hash))
}

/// The entry in a line, and the hash that the line says.
pub(super) fn read_entry(line: &str) -> Option<(&str, Hash)> {
    let rest = line.strip_prefix(ENTRY)?.strip_suffix(END)?;
    let (entry, hash) = rest.split_at_checked(rest.len().checked_sub(64)?)?;
    Some((entry.strip_suffix(HASH)?, from_hex(hash)?))
}

/// The entry in a line of an export, if it is one of an entry.
pub(crate) fn entry_in(line: &str) -> Option<&str> {
    read_entry(line).map(|(entry, _)| entry)
}

/// The line of a record that serialises.
pub(super) fn line_of(record: &impl Serialize) -> String {
    // Numbers and strings always serialise.
    serde_json::to_string(record).unwrap_or_default()
}

/// Reads a line strictly: it must be what [`line_of`] writes, so that no byte can differ.
pub(super) fn read<T: for<'a> Deserialize<'a> + Serialize>(line: &str) -> Option<T> {
    let record = serde_json::from_str(line).ok()?;
    (line_of(&record) == line).then_some(record)
}

/// The line of a stored head.
pub(super) fn head_line(head: &SignedHead) -> String {
    line_of(&HeadLine {
        head: Head {
            sequence: head.sequence,
            hash: hex(&head.hash),
            time_ms: head.time_ms,
        },
        signature: hex(&head.signature),
    })
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            // Writing to a String does not fail.
            let _ = write!(out, "{byte:02x}");
            out
        })
}

/// Reads exactly so many lower-case hexadecimal digits.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    if text.len() != N * 2 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}
