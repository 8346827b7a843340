//! Checks an exported file without the daemon: finds what was changed, taken away, put in, put elsewhere or cut off, and says
//! which entry. What it cannot find without `public_key`: a file that somebody signed as a whole with another key; without a
//! kept `head`: the latest entries never exported (`docs/audit.md`).

use super::file::{self, FORM, HeadLine, Header, TrailerLine, WithheldLine, from_hex, hex};
use hsmd_keystore::audit::{Hash, digest, head_text, link, range_text, verify_signature};
use hsmd_proto::ids::NodeId;
use std::io::{self, BufRead};

/// Most troubles that are named.
const NAMED: usize = 100;
/// Longest line that is read: no entry comes near it.
const LONGEST: u64 = 64 << 10;

/// What the reader of a file knows from elsewhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// The log's public key.
    pub(crate) public_key: Option<[u8; 32]>,
    /// A head that was kept: the file must hold its entry, with its hash.
    pub(crate) head: Option<(u64, Hash)>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The line of the file, from 1.
    pub(crate) line: u64,
    /// The first entry that is concerned, where one is.
    pub(crate) entry: Option<u64>,
    /// In words.
    pub(crate) what: String,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    /// The node whose log it is.
    pub(crate) node: String,
    /// The key that the file says.
    pub(crate) public_key: String,
    /// The entries that the file claims to hold.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Entries that it shows.
    pub(crate) entries: u64,
    /// Entries of which it has digests only.
    pub(crate) withheld: u64,
    /// Signed heads inside.
    pub(crate) heads: u64,
    /// The chain's hash after the last entry.
    pub(crate) hash: String,
    /// What is wrong, the first hundred.
    pub(crate) troubles: Vec<Finding>,
}

/// Checks a file, and shows each entry to `show`.
///
/// # Errors
/// When it cannot be read; what is wrong in it is among the findings.
pub(crate) fn check(mut input: impl BufRead, expected: &Expected, mut show: impl FnMut(&str)) -> io::Result<Findings> {
    let mut check = Check::new(expected);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let read = io::Read::take(&mut input, LONGEST).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            break;
        }
        check.line += 1;
        let ended = bytes.pop_if(|last| *last == b'\n').is_some();
        match std::str::from_utf8(&bytes) {
            Ok(line) if ended => check.take(line, &mut show),
            _ if read as u64 == LONGEST => {
                check.trouble(None, "a line is longer than any of this form");
                break;
            }
            _ => check.trouble(Some(check.next), "the line is no line of this form, or cut off"),
        }
    }
    Ok(check.finish())
}

struct Check<'a> {
    expected: &'a Expected,
    findings: Findings,
    line: u64,
    header: Option<(NodeId, [u8; 32])>,
    from: u64,
    base: Hash,
    /// The sequence number that comes next.
    next: u64,
    hash: Hash,
    /// After the last signed head.
    unsigned: u64,
    met_head: bool,
    ended: bool,
}

impl<'a> Check<'a> {
    fn new(expected: &'a Expected) -> Self {
        Self {
            expected,
            findings: Findings::default(),
            line: 0,
            header: None,
            from: 0,
            base: [0; 32],
            next: 0,
            hash: [0; 32],
            unsigned: 0,
            met_head: false,
            ended: false,
        }
    }

    fn trouble(&mut self, entry: Option<u64>, what: impl Into<String>) {
        if self.findings.troubles.len() < NAMED {
            self.findings.troubles.push(Finding {
                line: self.line,
                entry,
                what: what.into(),
            });
        }
    }

    fn take(&mut self, line: &str, show: &mut impl FnMut(&str)) {
        if self.line == 1 {
            return self.begin(line);
        }
        if self.ended {
            return self.trouble(None, "there is something after the trailer");
        }
        if let Some((entry, hash)) = file::read_entry(line) {
            let sequence = entry
                .strip_prefix("{\"sequence\":")
                .and_then(|rest| rest.split_once(',')?.0.parse().ok());
            self.findings.entries += 1;
            match sequence {
                Some(sequence) => {
                    if self.chain(sequence, &digest(entry), hash) {
                        show(entry);
                    }
                }
                None => self.trouble(Some(self.next), format!("entry {} is changed", self.next)),
            }
        } else if let Some(line) = file::read::<WithheldLine>(line) {
            self.findings.withheld += 1;
            match (from_hex(&line.withheld.digest), from_hex(&line.hash)) {
                (Some(digest), Some(hash)) => drop(self.chain(line.withheld.sequence, &digest, hash)),
                _ => self.trouble(Some(self.next), format!("entry {} is changed", self.next)),
            }
        } else if let Some(line) = file::read::<HeadLine>(line) {
            self.head(&line);
        } else if let Some(line) = file::read::<TrailerLine>(line) {
            self.end(&line);
        } else {
            self.trouble(
                Some(self.next),
                format!("the line is no line of this form; entry {} was expected", self.next),
            );
        }
    }

    fn begin(&mut self, line: &str) {
        let header = file::read::<Header>(line).filter(|header| header.hsmd_audit == FORM);
        let parts = header.as_ref().and_then(|header| {
            let node = NodeId::from_hex(&header.node)?;
            Some((node, from_hex::<32>(&header.public_key)?, from_hex(&header.base)?))
        });
        let (Some(header), Some((node, public, base))) = (header, parts) else {
            return self.trouble(None, "the first line is not that of an exported audit log");
        };
        self.header = Some((node, public));
        (self.from, self.base) = (header.from, base);
        (self.next, self.hash, self.unsigned) = (header.from, base, header.from);
        self.findings.node = header.node;
        self.findings.public_key = header.public_key;
        self.findings.from = header.from;
        if self.expected.public_key.is_some_and(|expected| expected != public) {
            self.trouble(None, "the file is signed with another key than the one that was given");
        }
        self.meet(header.from.saturating_sub(1), &base);
    }

    /// An entry, by its digest; false if it is not the one that belongs here.
    fn chain(&mut self, sequence: u64, digest: &Hash, stated: Hash) -> bool {
        if sequence < self.next {
            let what = format!("entry {sequence} stands after entry {}", self.next.saturating_sub(1));
            self.trouble(Some(sequence), what);
            return false;
        }
        let good = if sequence > self.next {
            let (from, to) = (self.next, sequence - 1);
            let what = if from == to {
                format!("entry {from} is missing")
            } else {
                format!("entries {from} to {to} are missing")
            };
            self.trouble(Some(from), what);
            false
        } else if link(&self.hash, digest) != stated {
            self.trouble(Some(sequence), format!("entry {sequence} is changed"));
            false
        } else {
            true
        };
        // What follows is held against what the line says, so that one change is one finding.
        self.hash = stated;
        self.next = sequence.saturating_add(1);
        self.meet(sequence, &stated);
        good
    }

    /// A kept head is met.
    fn meet(&mut self, sequence: u64, hash: &Hash) {
        if let Some((at, kept)) = self.expected.head
            && at == sequence
        {
            self.met_head = true;
            if kept != *hash {
                self.trouble(
                    Some(sequence),
                    format!("the chain up to entry {sequence} is not that of the kept head"),
                );
            }
        }
    }

    fn signed(&self, text: &str, signature: &str) -> bool {
        let signature = from_hex::<64>(signature);
        let known = self.header.zip(signature);
        known.is_some_and(|((_, public), signature)| verify_signature(&public, text, &signature))
    }

    fn head(&mut self, line: &HeadLine) {
        let head = &line.head;
        self.findings.heads += 1;
        let Some((node, _)) = self.header else { return };
        let range = format!("entries {} to {}", self.unsigned, self.next.saturating_sub(1));
        if head.sequence.saturating_add(1) != self.next {
            let what = format!(
                "a head of entry {} stands after entry {}",
                head.sequence,
                self.next.saturating_sub(1)
            );
            self.trouble(Some(head.sequence), what);
        } else if head.hash != hex(&self.hash) {
            self.trouble(Some(self.unsigned), format!("{range} are not what was signed"));
        }
        let text = from_hex(&head.hash).map(|hash| head_text(node, head.sequence, &hash, head.time_ms));
        if !text.is_some_and(|text| self.signed(&text, &line.signature)) {
            self.trouble(
                Some(head.sequence),
                format!("the head at entry {} is not signed by this log", head.sequence),
            );
        }
        self.unsigned = self.next;
    }

    fn end(&mut self, line: &TrailerLine) {
        self.ended = true;
        let trailer = &line.trailer;
        self.findings.to = trailer.to;
        self.findings.hash = trailer.hash.clone();
        let Some((node, _)) = self.header else { return };
        if trailer.to.saturating_add(1) != self.next {
            let (last, to) = (self.next.saturating_sub(1), trailer.to);
            self.trouble(
                Some(self.next),
                format!("the file ends after entry {last}, its trailer says {to}"),
            );
        } else if trailer.hash != hex(&self.hash) {
            let last = self.next.saturating_sub(1);
            let what = format!("entries {} to {last} are not what was signed", self.unsigned);
            self.trouble(Some(self.unsigned), what);
        }
        if trailer.heads != self.findings.heads {
            self.trouble(None, "signed heads were taken away or put in");
        }
        let text = from_hex(&trailer.hash).map(|hash| {
            let (from, to) = ((trailer.from, &self.base), (trailer.to, &hash));
            range_text(node, from, to, trailer.heads, trailer.time_ms)
        });
        let signed = text.is_some_and(|text| self.signed(&text, &line.signature));
        if !signed || trailer.from != self.from {
            self.trouble(None, "beginning and end of the file are not signed by this log");
        }
    }

    fn finish(mut self) -> Findings {
        self.line += 1;
        if self.line == 1 {
            self.trouble(None, "the file is empty");
        } else if !self.ended {
            let last = self.next.saturating_sub(1);
            self.trouble(
                Some(self.next),
                format!("the file is cut off after entry {last}: the trailer is missing"),
            );
        }
        if let Some((at, _)) = self.expected.head
            && !self.met_head
            && self.header.is_some()
        {
            let what = if at >= self.next {
                format!("entries {} to {at}, which the kept head covers, are missing", self.next)
            } else {
                format!("the kept head, entry {at}, is before this file")
            };
            self.trouble(Some(at), what);
        }
        self.findings
    }
}
