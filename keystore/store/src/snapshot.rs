//! The state at one revision, read page by page while commits go on. It holds no copy of what did not change meanwhile.

use std::ops::Bound;
use std::sync::Arc;

use crate::batch::{Record, Revision};
use crate::path::Path;
use crate::store::Shared;

/// See [`crate::Store::snapshot`].
pub struct Snapshot {
    shared: Arc<Shared>,
    number: u64,
    revision: Revision,
    /// Number of records.
    records: usize,
    /// Groups that were quarantined.
    quarantined: Vec<String>,
}

impl Snapshot {
    pub(crate) fn begin(shared: Arc<Shared>) -> Self {
        let mut state = shared.state.write();
        let number = state.begin_snapshot();
        let (revision, records) = (state.revision, state.records.len());
        let troubled = state.groups.iter().filter(|(_, group)| group.trouble.is_some());
        let quarantined = troubled.map(|(name, _)| name.to_string()).collect();
        drop(state);
        Self {
            shared,
            number,
            revision,
            records,
            quarantined,
        }
    }

    /// The revision that it shows.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How many records there are.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records
    }

    /// Groups whose records did not fit their head.
    #[must_use]
    pub fn quarantined(&self) -> &[String] {
        &self.quarantined
    }

    /// A record as it was.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<Record> {
        let state = self.shared.state.read();
        match state.before(self.number).and_then(|before| before.get(path)) {
            Some(before) => before.clone(),
            None => state.records.get(path).cloned(),
        }
    }

    /// At most `count` records under `prefix` after the path `after`, in the order of paths; fewer only at the end.
    #[must_use]
    pub fn page(&self, prefix: &str, after: Option<&Path>, count: usize) -> Vec<(Path, Record)> {
        let from = after.map_or(Bound::Included(prefix), |path| Bound::Excluded(path.as_str()));
        let range = (from, Bound::Unbounded);
        let state = self.shared.state.read();
        let under = |path: &Path| path.as_str().starts_with(prefix);
        let empty = Default::default();
        let before = state.before(self.number).unwrap_or(&empty);
        let mut now = state
            .records
            .range::<str, _>(range)
            .take_while(|(path, _)| under(path))
            .peekable();
        let mut then = before
            .range::<str, _>(range)
            .take_while(|(path, _)| under(path))
            .peekable();
        let mut page = Vec::new();
        while page.len() < count {
            let changed_first = match (now.peek(), then.peek()) {
                (None, None) => break,
                (Some(_), None) => false,
                (None, Some(_)) => true,
                (Some((now, _)), Some((then, _))) => then <= now,
            };
            if !changed_first {
                page.extend(now.next().map(|(path, record)| (path.clone(), record.clone())));
                continue;
            }
            let Some((path, record)) = then.next() else { break };
            if now.peek().is_some_and(|(now, _)| *now == path) {
                now.next();
            }
            page.extend(record.clone().map(|record| (path.clone(), record)));
        }
        page
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.shared.state.write().end_snapshot(self.number);
    }
}
