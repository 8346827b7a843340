//! Replay of the journal on a base: applies frames, compares the heads that each frame carries, and names the groups for which
//! something is missing. Pure: no I/O.

use std::sync::Arc;

use crate::batch::Revision;
use crate::head::{Hasher, Sum};
use crate::journal::frame::Frame;
use crate::journal::read::Gap;
use crate::report::Trouble;
use crate::state::{Group, Staged, State};
use crate::tree::Dirty;

/// Revisions that are passed over when it is unknown how many were lost, so that none is given out twice.
const LEAP: u64 = 1 << 20;

/// A state and what the journal added to it.
pub(crate) struct Replayed {
    pub(crate) state: State,
    pub(crate) batches: u64,
    pub(crate) operations: Vec<([u8; 16], u64)>,
    /// What sled does not have yet, if sled was the base.
    pub(crate) dirty: Dirty,
    /// Revision of the base.
    pub(crate) base: u64,
}

impl Gap {
    /// Whether something in the gap is not in a base at revision `from`.
    pub(crate) fn loses(&self, from: u64, closed: Option<Revision>) -> bool {
        match (self.until, closed) {
            (Some(until), _) => until - 1 > from && self.after + 1 < until,
            // The clean end says how far the journal went.
            (None, Some(closed)) => closed.0 > from && closed.0 > self.after,
            (None, None) => true,
        }
    }
}

impl Replayed {
    pub(crate) fn new(state: State) -> Self {
        let dirty = Dirty {
            revision: state.revision,
            total: state.total,
            ..Dirty::default()
        };
        let base = state.revision.0;
        Self {
            state,
            base,
            batches: 0,
            operations: Vec::new(),
            dirty,
        }
    }

    /// Applies one frame. Its batches were checked when they were committed; what its heads say must come out.
    pub(crate) fn frame(&mut self, hasher: &Hasher, frame: Frame) {
        let mut staged = Staged::on(&self.state);
        for commit in frame.commits {
            self.operations.push((commit.operation, commit.revision.0));
            if commit.revision > self.state.revision {
                self.batches += 1;
                staged.stage(&self.state, hasher, commit);
            }
        }
        for commit in &staged.commits {
            for put in &commit.writes {
                self.dirty.records.insert(put.path.clone(), put.record(commit.revision));
            }
        }
        // Closing marks have no heads; a head without a batch is the operator's.
        let accepted = frame.header.count == 0 && frame.header.first > self.state.revision.0;
        if staged.commits.is_empty() && !accepted {
            return;
        }
        self.state.apply(&staged);
        for (name, head) in frame.heads {
            let group = self.state.groups.entry(Arc::clone(&name)).or_default();
            if accepted {
                *group = Group { head, trouble: None };
            } else if group.head != head {
                group.trouble = Some(Trouble::HeadMismatch {
                    expected: head.count,
                    found: group.head.count,
                });
                group.head = head;
            }
            self.dirty.groups.insert(name, group.clone());
        }
        self.state.total = frame.total;
        self.dirty.total = frame.total;
        self.dirty.revision = self.state.revision;
    }

    /// Names what is lost in the gaps, then makes the sum over all heads fit what is known.
    pub(crate) fn lost(&mut self, hasher: &Hasher, gaps: &[Gap], closed: Option<Revision>, short: bool) {
        if !short {
            return;
        }
        self.mark_mismatches(hasher);
        let base = self.base;
        for gap in gaps.iter().filter(|gap| gap.loses(base, closed)) {
            let after = gap.after;
            match &gap.groups {
                Some(groups) => {
                    for name in groups {
                        self.state
                            .groups
                            .entry(Arc::clone(name))
                            .or_default()
                            .trouble
                            .get_or_insert(Trouble::JournalLost { after });
                    }
                }
                None => self.distrust_all(after),
            }
            self.state.revision = self
                .state
                .revision
                .max(Revision(gap.until.map_or(0, |until| until - 1)));
        }
        if gaps.iter().all(|gap| !gap.loses(self.base, closed)) {
            // The journal does not reach what another copy or the clean end proves to have been there.
            self.distrust_all(self.state.revision.0);
        }
        if gaps.iter().any(|gap| gap.until.is_none()) {
            self.state.revision.0 += LEAP;
        }
        self.state.revision = self.state.revision.max(closed.unwrap_or_default());
    }

    fn distrust_all(&mut self, after: u64) {
        for group in self.state.groups.values_mut() {
            group.trouble.get_or_insert(Trouble::JournalEnd { after });
        }
    }

    fn mark_mismatches(&mut self, hasher: &Hasher) {
        for (name, trouble) in self.state.verify(hasher).0 {
            self.state
                .groups
                .entry(name)
                .or_default()
                .trouble
                .get_or_insert(trouble);
        }
        let mut total = Sum::default();
        for (name, group) in &self.state.groups {
            total.add(hasher.group(name, &group.head));
        }
        self.state.total = total;
    }

    /// The groups in quarantine.
    pub(crate) fn troubles(&self) -> Vec<(String, Trouble)> {
        let groups = self.state.groups.iter();
        groups
            .filter_map(|(name, group)| Some((name.to_string(), group.trouble.clone()?)))
            .collect()
    }
}
