//! Which nodes load which key sets, as far as barriers must know: a node that no longer should may still do so until it has
//! applied that.

use std::collections::BTreeMap;

use crate::names::{KeySetId, NodeId, Revision};

#[derive(Debug, Default)]
pub(crate) struct Loads {
    /// `Some`: ended at that revision.
    rows: BTreeMap<(KeySetId, NodeId), Option<Revision>>,
    /// What ended before is not known.
    known_since: Revision,
}

impl Loads {
    /// Everything as it was at a revision.
    pub(crate) fn replace(&mut self, loads: &[(KeySetId, NodeId)], at: Revision) {
        self.rows = loads.iter().map(|row| (*row, None)).collect();
        self.known_since = at;
    }

    pub(crate) fn begin(&mut self, key_set: KeySetId, node: NodeId) {
        self.rows.insert((key_set, node), None);
    }

    pub(crate) fn end(&mut self, key_set: KeySetId, node: NodeId, at: Revision) {
        if let Some(row) = self.rows.get_mut(&(key_set, node)) {
            row.get_or_insert(at);
        }
    }

    /// Whether a node that has applied everything up to `applied` may have this key set loaded.
    pub(crate) fn may_have(&self, key_set: KeySetId, node: NodeId, applied: Revision) -> bool {
        let row = self.rows.get(&(key_set, node));
        applied < self.known_since || row.is_some_and(|ended| ended.is_none_or(|ended| applied < ended))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_a_key_set_until_it_has_applied_that_it_should_not() {
        let (set, node) = (KeySetId(1), NodeId(2));
        let mut loads = Loads::default();
        assert!(!loads.may_have(set, node, Revision(5)));
        loads.begin(set, node);
        loads.end(set, node, Revision(9));
        // INV-6: its key is still in use there.
        assert!(loads.may_have(set, node, Revision(8)));
        assert!(!loads.may_have(set, node, Revision(9)));
        loads.begin(set, node);
        assert!(loads.may_have(set, node, Revision(9)));
    }

    #[test]
    fn what_was_before_a_reload_is_not_known() {
        let mut loads = Loads::default();
        loads.replace(&[], Revision(10));
        assert!(loads.may_have(KeySetId(1), NodeId(2), Revision(9)));
        assert!(!loads.may_have(KeySetId(1), NodeId(2), Revision(10)));
    }
}
