//! Checks stored entries: every hash, every sequence number, every signature, and that the chain ends where the head says.
//! The same over an exported file is `hsmd/src/audit/file.rs`.

use hsmd_proto::ids::NodeId;

use super::chain::{Hash, SignedHead, digest, head_text, link, verify_signature};
use super::records::Segment;

/// Most troubles that a report names.
const NAMED: usize = 100;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Entries are not there.
    #[error("entries {from} to {to} are missing")]
    Missing {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// An entry stands where another belongs.
    #[error("entry {found} stands where {expected} belongs")]
    Order {
        /// What belongs there.
        expected: u64,
        /// What stands there.
        found: u64,
    },
    /// An entry's text does not fit its place in the chain.
    #[error("entry {0} is no entry of this log")]
    Malformed(u64),
    /// Between two signed heads something is not what it was.
    #[error("entries {from} to {to} are not what was chained")]
    Changed {
        /// The first that may be concerned.
        from: u64,
        /// The last.
        to: u64,
    },
    /// A head is not signed by the log's key.
    #[error("the head at entry {0} is not signed by this log")]
    Signature(u64),
    /// The chain ends before or after its head.
    #[error("the chain ends at entry {found}, its head is at {expected}")]
    End {
        /// Where the head is.
        expected: u64,
        /// The last entry.
        found: u64,
    },
    /// A stored record cannot be read.
    #[error("a record of entries from {0} on cannot be read")]
    Unreadable(u64),
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries that were looked at.
    pub entries: u64,
    /// The first of them; 0: none.
    pub from: u64,
    /// The last of them.
    pub to: u64,
    /// What is wrong, the first hundred.
    pub troubles: Vec<Trouble>,
}

impl Report {
    fn add(&mut self, trouble: Trouble) {
        if self.troubles.len() < NAMED {
            self.troubles.push(trouble);
        }
    }
}

/// The sequence number that a line says.
pub(super) fn sequence_of(line: &str) -> Option<u64> {
    let digits = line.strip_prefix("{\"sequence\":")?;
    digits.split_once(',')?.0.parse().ok()
}

/// Checks the segments of a log that begins after `base` and ends at `head`. `Err` in the place of a segment is one that
/// does not read, with the entry at which it should begin.
pub fn check_segments(
    node: NodeId,
    public: &[u8; 32],
    (dropped, base): (u64, Hash),
    segments: impl Iterator<Item = Result<Segment, u64>>,
    head: &SignedHead,
) -> Report {
    let mut report = Report::default();
    let (mut next, mut hash) = (dropped + 1, base);
    for segment in segments {
        let segment = match segment {
            Ok(segment) => segment,
            Err(at) => {
                report.add(Trouble::Unreadable(at));
                continue;
            }
        };
        if segment.first > next {
            report.add(Trouble::Missing {
                from: next,
                to: segment.first - 1,
            });
        } else if segment.first < next {
            report.add(Trouble::Order {
                expected: next,
                found: segment.first,
            });
        } else if segment.base != hash {
            report.add(Trouble::Changed {
                from: dropped + 1,
                to: segment.first,
            });
        }
        (next, hash) = check_segment(node, public, &segment, &mut report);
    }
    let found = next - 1;
    if found != head.sequence {
        report.add(Trouble::End {
            expected: head.sequence,
            found,
        });
    } else if hash != head.hash {
        report.add(Trouble::Changed {
            from: dropped + 1,
            to: head.sequence,
        });
    }
    check_head(node, public, head, &mut report);
    report
}

fn check_segment(node: NodeId, public: &[u8; 32], segment: &Segment, report: &mut Report) -> (u64, Hash) {
    let (mut next, mut hash) = (segment.first, segment.base);
    for line in &segment.lines {
        match sequence_of(line) {
            Some(sequence) if sequence == next => {}
            Some(found) => report.add(Trouble::Order { expected: next, found }),
            None => report.add(Trouble::Malformed(next)),
        }
        hash = link(&hash, &digest(line));
        report.entries += 1;
        if report.from == 0 {
            report.from = next;
        }
        report.to = next;
        next += 1;
    }
    if segment.head.sequence + 1 != next || segment.head.hash != hash {
        report.add(Trouble::Changed {
            from: segment.first,
            to: segment.head.sequence.max(next - 1),
        });
    }
    check_head(node, public, &segment.head, report);
    // What follows was chained to what the head says.
    (segment.head.sequence + 1, segment.head.hash)
}

fn check_head(node: NodeId, public: &[u8; 32], head: &SignedHead, report: &mut Report) {
    let text = head_text(node, head.sequence, &head.hash, head.time_ms);
    let unsigned_beginning = head.sequence == 0 && head.signature.is_empty();
    if !unsigned_beginning && !verify_signature(public, &text, &head.signature) {
        report.add(Trouble::Signature(head.sequence));
    }
}
