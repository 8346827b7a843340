//! What a node knows of the nodes, itself included: their records, since when they have not changed, who holds up a barrier.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::interface::Scope;
use crate::loads::Loads;
use crate::names::{Generation, NodeId, Revision, Time};
use crate::records::{Beat, NodeRecords, Standing, Survey};

#[derive(Debug)]
struct Peer {
    records: NodeRecords,
    /// When a change of either record was last seen here.
    changed: Time,
    /// Not to be fenced again before.
    not_before: Time,
}

impl Peer {
    fn may_be_fenced(&self, since: Time, span: Duration) -> Time {
        self.changed.max(since).after(span).max(self.not_before)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Peers(BTreeMap<NodeId, Peer>);

impl Peers {
    fn of(&mut self, node: NodeId, now: Time) -> &mut Peer {
        self.0.entry(node).or_insert_with(|| Peer {
            records: NodeRecords {
                node,
                generation: Generation(0),
                standing: Standing::Left,
                beat_version: 0,
                beat: None,
            },
            changed: now,
            not_before: now,
        })
    }

    pub(crate) fn standing(&mut self, node: NodeId, generation: Generation, standing: Standing, now: Time) {
        let peer = self.of(node, now);
        if generation > peer.records.generation {
            (peer.records.generation, peer.records.standing, peer.changed) = (generation, standing, now);
        }
    }

    pub(crate) fn beat(&mut self, node: NodeId, version: u64, beat: Beat, now: Time) {
        let peer = self.of(node, now);
        if version > peer.records.beat_version {
            (peer.records.beat_version, peer.records.beat, peer.changed) = (version, Some(beat), now);
        }
    }

    /// Everything as it is in the store, on whatever timeline. Whoever has not changed has been silent since.
    pub(crate) fn replace(&mut self, survey: &Survey, now: Time) {
        let mut before = std::mem::take(&mut self.0);
        for records in &survey.nodes {
            let same = before.remove(&records.node).filter(|peer| peer.records == *records);
            let peer = same.unwrap_or_else(|| Peer {
                records: records.clone(),
                changed: now,
                not_before: now,
            });
            self.0.insert(records.node, peer);
        }
    }

    /// Serving nodes other than `me` that have been silent for `span`, all of it after `since`: they may be fenced.
    pub(crate) fn silent(&self, me: NodeId, since: Time, now: Time, span: Duration) -> Vec<NodeRecords> {
        let due = |peer: &&Peer| peer.may_be_fenced(since, span) <= now;
        self.serving(me).filter(due).map(|peer| peer.records.clone()).collect()
    }

    /// When the next node may be fenced, if it stays silent.
    pub(crate) fn next_silent(&self, me: NodeId, since: Time, span: Duration) -> Option<Time> {
        self.serving(me).map(|peer| peer.may_be_fenced(since, span)).min()
    }

    /// Somebody is at it.
    pub(crate) fn tried_to_fence(&mut self, node: NodeId, again: Time) {
        if let Some(peer) = self.0.get_mut(&node) {
            peer.not_before = again;
        }
    }

    fn serving(&self, me: NodeId) -> impl Iterator<Item = &Peer> {
        let others = self.0.values();
        others.filter(move |peer| peer.records.node != me && peer.records.standing == Standing::Serving)
    }

    /// Whether a serving node other than `me`, which may have what `scope` names, has yet to apply `revision`. Sound only
    /// when this node itself has applied it: whoever began to load before is known then.
    pub(crate) fn hold_up(&self, me: NodeId, revision: Revision, scope: Scope, loads: &Loads) -> bool {
        self.serving(me).any(|peer| {
            let applied = peer.records.beat.as_ref().map_or(Revision(0), |beat| beat.applied);
            let concerned = match scope {
                Scope::Fleet => true,
                Scope::KeySet(key_set) => loads.may_have(key_set, peer.records.node, applied),
            };
            concerned && applied < revision
        })
    }

    /// Nodes other than `me` that may serve, now or when they come back.
    pub(crate) fn may_return(&self, me: NodeId) -> impl Iterator<Item = &NodeRecords> {
        let others = move |records: &&NodeRecords| records.node != me && records.standing != Standing::Removed;
        self.records().filter(others)
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &NodeRecords> {
        self.0.values().map(|peer| &peer.records)
    }

    pub(crate) fn get(&self, node: NodeId) -> Option<&NodeRecords> {
        self.0.get(&node).map(|peer| &peer.records)
    }
}
