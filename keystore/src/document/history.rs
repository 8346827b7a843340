//! The last changes of documents, in the order of commit: what a watch reads. Bounded; whoever is too far behind is told so
//! and lists again.

use std::collections::VecDeque;
use std::sync::Arc;

/// Batches that are kept.
const BATCHES: usize = 4096;
/// Bytes of names and values that are kept.
const BYTES: usize = 16 << 20;

/// One document's change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentEvent {
    /// Its name.
    pub name: String,
    /// Its new version; of a deleted one, the version that the deletion made.
    pub version: u64,
    /// Its new value; `None`: deleted.
    pub value: Option<Arc<[u8]>>,
}

/// What one batch changed under a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentChanges {
    /// The batch.
    pub revision: u64,
    /// Its changes, in the order of the batch.
    pub events: Vec<DocumentEvent>,
}

/// The bounded history.
#[derive(Default)]
pub(super) struct History {
    kept: VecDeque<DocumentChanges>,
    bytes: usize,
    /// Everything after this revision is kept.
    oldest: u64,
}

impl History {
    /// Empty, beginning after `oldest`.
    pub(super) fn new(oldest: u64) -> Self {
        Self {
            oldest,
            ..Self::default()
        }
    }

    /// Adds what has just been applied.
    pub(super) fn push(&mut self, changes: DocumentChanges) {
        self.bytes += bytes(&changes);
        self.kept.push_back(changes);
        while self.kept.len() > BATCHES || self.bytes > BYTES {
            let Some(dropped) = self.kept.pop_front() else { break };
            self.bytes -= bytes(&dropped);
            self.oldest = dropped.revision;
        }
    }

    /// At most `count` batches that changed something under `prefix` after `after`, and the revision up to which that is
    /// all; `None`: not all of them are kept.
    pub(super) fn after(&self, prefix: &str, after: u64, count: usize) -> Option<(Vec<DocumentChanges>, u64)> {
        if after < self.oldest {
            return None;
        }
        let (mut found, mut upto) = (Vec::new(), after);
        let start = self.kept.partition_point(|changes| changes.revision <= after);
        for changes in self.kept.range(start..) {
            if found.len() == count {
                break;
            }
            upto = changes.revision;
            let under = changes.events.iter().filter(|event| event.name.starts_with(prefix));
            let events: Vec<_> = under.cloned().collect();
            if !events.is_empty() {
                found.push(DocumentChanges {
                    revision: changes.revision,
                    events,
                });
            }
        }
        Some((found, upto))
    }
}

fn bytes(changes: &DocumentChanges) -> usize {
    let event = |event: &DocumentEvent| event.name.len() + event.value.as_ref().map_or(0, |value| value.len());
    changes.events.iter().map(event).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(revision: u64, name: &str, bytes: usize) -> DocumentChanges {
        DocumentChanges {
            revision,
            events: vec![DocumentEvent {
                name: name.to_owned(),
                version: revision,
                value: Some(vec![0; bytes].into()),
            }],
        }
    }

    #[test]
    fn who_asks_for_what_is_no_longer_kept_is_told() {
        let mut history = History::new(10);
        for revision in 11..=20 {
            history.push(put(revision, "a/x", 4 << 20));
        }
        assert_eq!(history.after("a/", 10, 100), None);
        let (kept, upto) = history.after("a/", 17, 100).unwrap();
        assert_eq!((kept.len(), upto), (3, 20));
        let (first, upto) = history.after("a/", 17, 1).unwrap();
        assert_eq!((first[0].revision, upto), (18, 18));
        assert_eq!(history.after("b/", 17, 100), Some((Vec::new(), 20)));
        assert_eq!(history.after("a/", 20, 100), Some((Vec::new(), 20)));
    }

    #[test]
    fn the_number_of_batches_is_bounded() {
        let mut history = History::new(0);
        for revision in 1..=BATCHES as u64 + 5 {
            history.push(put(revision, "a", 1));
        }
        assert_eq!(history.kept.len(), BATCHES);
        assert!(history.after("", 4, 1).is_none() && history.after("", 5, 1).is_some());
    }
}
