//! The checker. It sees every commit in the order of the store, which is the order in which writes took effect, and every reply at the
//! moment when it leaves its node. With both there is nothing to search: a history is linearizable when each acknowledged write is
//! committed once, between its call and its reply, and no use begins after a destroy, an epoch or a latch was acknowledged and
//! succeeds nevertheless.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hsmd_fleet::{KeySetId, ObjectId, OperationId, Revision, Timeline};

use super::app::{Call, Op, Said, TRIES};
use super::clients::Current;
use super::machine::Origin;
use super::store::{Committed, Key, Store, Value};
use super::world::{MS, SECOND};

type Thing = (KeySetId, ObjectId);

/// Nothing that a node says is older: its right to serve has ended by then, whatever the rate of its clock.
const OLDEST: u64 = 6500 * MS;
/// While nothing is wrong, what a node says is not older.
const FRESH: u64 = 250 * MS;

#[derive(Default)]
pub(crate) struct Checker {
    /// The first thing that must not be.
    pub(crate) breach: Option<String>,
    /// Nothing has been wrong since; `u64::MAX`: something may be.
    pub(crate) calm_since: u64,
    asked: HashMap<OperationId, u64>,
    committed: HashMap<OperationId, (u64, Revision)>,
    acknowledged: HashMap<OperationId, Revision>,
    /// Told that nothing was written, at their only try.
    refused: HashSet<OperationId>,
    destroyed: HashMap<Thing, (u64, Revision)>,
    destroyed_through: HashMap<(u8, ObjectId), (u64, Revision)>,
    destroy_asked: HashSet<ObjectId>,
    latched: HashMap<Thing, (u64, Revision)>,
    /// The epochs that acknowledged operations made.
    ended: HashMap<KeySetId, Vec<(u64, u64, Revision)>>,
    epochs: HashMap<OperationId, (KeySetId, u64)>,
    versions: HashMap<Thing, Vec<(u64, u64)>>,
    version_of: HashMap<OperationId, (Thing, u64)>,
    tombs: HashSet<Thing>,
    locked: HashSet<KeySetId>,
    unlocks: HashSet<OperationId>,
    /// Whose retry may do the next thing instead: the next step of a move, the epoch of the key set to which the partition has moved.
    repeatable: HashSet<OperationId>,
    pub(crate) failed: HashSet<OperationId>,
    /// The store has forgotten something, and no operator has decided.
    forgot_at: Option<u64>,
    resumed_at: u64,
    timeline: Option<Timeline>,
    /// Counts for the report.
    pub(crate) commits: u64,
    pub(crate) replies: u64,
    pub(crate) wrong_told: HashSet<OperationId>,
}

impl Checker {
    pub(crate) fn fail(&mut self, why: impl FnOnce() -> String) {
        if self.breach.is_none() {
            self.breach = Some(why());
        }
    }

    pub(crate) fn asked(&mut self, now: u64, call: &Call) {
        self.asked.insert(call.operation, now);
        match call.op {
            Op::Destroy(object) => drop(self.destroy_asked.insert(object)),
            Op::Unlock => {
                self.unlocks.insert(call.operation);
                self.repeatable.insert(call.operation);
            }
            Op::Revoke | Op::Join | Op::Leave | Op::Cancel | Op::Move | Op::Load(_) | Op::Unload(_) => {
                self.repeatable.insert(call.operation);
            }
            _ => {}
        }
    }

    /// `holds`: the writer had the generation that it said.
    pub(crate) fn committed(&mut self, committed: &Arc<Committed>, holds: bool) {
        self.commits += 1;
        if !holds {
            self.fail(|| format!("the batch of a fenced node was accepted: {committed:?}"));
        }
        if let Some(operation) = committed.operation {
            if self.committed.contains_key(&operation) && !self.repeatable.contains(&operation) {
                self.fail(|| format!("{operation:?} was committed twice"));
            }
            if self.refused.contains(&operation) {
                self.fail(|| format!("{operation:?} was committed, and its client was told that it was not"));
            }
        }
        self.take(committed);
    }

    /// What a commit changes of what is known.
    fn take(&mut self, committed: &Committed) {
        if let Some(operation) = committed.operation {
            self.committed.insert(operation, (committed.at, committed.revision));
        }
        for (key, version, value) in &committed.writes {
            match (key, &**value) {
                (Key::Object(set, object), Value::Object(record)) => {
                    let thing = (*set, *object);
                    if record.hidden.is_none() {
                        self.versions.entry(thing).or_default().push((committed.at, *version));
                    }
                    if let Some(operation) = committed.operation {
                        self.version_of.insert(operation, (thing, *version));
                    }
                    if record.value.is_none() {
                        self.tombs.insert(thing);
                    } else if self.tombs.contains(&thing) {
                        // INV-6
                        self.fail(|| format!("{thing:?} came back"));
                    }
                }
                (Key::Set(set), Value::KeySet(root)) => {
                    if let Some(operation) = committed.operation {
                        self.epochs.insert(operation, (*set, root.epoch));
                    }
                }
                (Key::Tries(set), Value::Tries(tries)) => {
                    self.failed.extend(tries.failed.iter().copied());
                    // INV-8
                    if tries.failures.len() + tries.places.len() > TRIES {
                        self.fail(|| format!("more tries than there may be: {tries:?}"));
                    }
                    let unlocks = committed
                        .operation
                        .is_some_and(|operation| self.unlocks.contains(&operation));
                    if tries.locked {
                        self.locked.insert(*set);
                    } else if self.locked.remove(set) && !unlocks {
                        self.fail(|| format!("{set:?} unlocked by itself"));
                    }
                }
                (Key::Root, Value::Root(root)) => {
                    if self.timeline.is_some_and(|timeline| timeline != root.timeline) && self.forgot_at.is_some() {
                        self.forgot_at = None;
                        self.resumed_at = committed.at;
                    }
                    self.timeline = Some(root.timeline);
                }
                _ => {}
            }
        }
    }

    /// A reply leaves its node. `holds`: the node's generation is the one in the store at this very moment.
    pub(crate) fn left(&mut self, now: u64, holds: bool, store: &Store, from: Origin, call: &Call, said: Said) {
        if said.is_refusal() {
            return;
        }
        self.replies += 1;
        if let Some(since) = self.forgot_at {
            if now > since + 7 * SECOND {
                self.fail(|| {
                    format!(
                        "served {} ms after the store forgot something: {call:?}",
                        (now - since) / MS
                    )
                });
            }
            return;
        }
        if from.sent < self.resumed_at {
            return;
        }
        if !holds {
            self.fail(|| format!("a node that is fenced answered {said:?} to {call:?}"));
        }
        match (call.op, said) {
            (Op::Use(_) | Op::Decrypt(_), Said::Ok) | (Op::Read(_), Said::Found(..)) => {
                self.used(from.sent, call, said);
            }
            (Op::Login { .. }, Said::WrongPin) => {
                self.wrong_told.insert(call.operation);
                if !self.failed.contains(&call.operation) {
                    self.fail(|| format!("a verdict was told before it was counted: {call:?}"));
                }
            }
            (Op::Create(_) | Op::Set(..) | Op::Destroy(_) | Op::Wrap(_) | Op::Revoke, Said::Ok) => {
                self.acknowledged(now, store, call);
            }
            _ => {}
        }
    }

    fn used(&mut self, sent: u64, call: &Call, said: Said) {
        let (Some(ticket), Some(object)) = (call.ticket, call.op.object()) else {
            return;
        };
        let thing = (ticket.set, object);
        let before = |found: Option<&(u64, Revision)>| found.is_some_and(|(at, _)| *at < sent);
        // INV-6
        if before(self.destroyed.get(&thing)) || before(self.destroyed_through.get(&(call.partition, object))) {
            self.fail(|| format!("used after its destruction was acknowledged: {call:?}"));
        }
        if matches!(call.op, Op::Decrypt(_)) && before(self.latched.get(&thing)) {
            self.fail(|| format!("decrypted after it had wrapped: {call:?}"));
        }
        let mut ended = self.ended.get(&ticket.set).into_iter().flatten();
        if ended.any(|(at, epoch, _)| *at < sent && ticket.epoch < *epoch) || self.timeline != Some(ticket.timeline) {
            self.fail(|| format!("used by a login that had ended: {call:?}"));
        }
        let Said::Found(version, _) = said else { return };
        let age = if sent > self.calm_since.saturating_add(8 * SECOND) {
            FRESH
        } else {
            OLDEST
        };
        let known = self.versions.get(&thing).into_iter().flatten();
        let newest = known
            .filter(|(at, _)| at + age < sent)
            .map(|(_, version)| *version)
            .max();
        if newest.is_some_and(|newest| version < newest) {
            self.fail(|| {
                format!(
                    "read version {version}, {newest:?} was there {} ms before: {call:?}",
                    age / MS
                )
            });
        }
    }

    fn acknowledged(&mut self, now: u64, store: &Store, call: &Call) {
        let committed = self.committed.get(&call.operation).copied();
        let set = call.ticket.map(|ticket| ticket.set);
        let thing = set.zip(call.op.object());
        let Some((at, revision)) = committed else {
            // Somebody else's wrap did it.
            let latched = thing.and_then(|(set, object)| store.records.get(&Key::Object(set, object)));
            let done = matches!(latched.map(|record| &*record.value), Some(Value::Object(object)) if object.latched);
            if !(matches!(call.op, Op::Wrap(_)) && done) {
                // INV-2
                self.fail(|| format!("acknowledged, and not committed: {call:?}"));
            }
            return self.note_latch(now, store.revision(), thing);
        };
        if self.asked.get(&call.operation).is_none_or(|asked| *asked > at) {
            self.fail(|| format!("committed before it was asked for: {call:?}"));
        }
        self.acknowledged.insert(call.operation, revision);
        match call.op {
            Op::Destroy(object) => {
                if let Some(thing) = thing {
                    self.destroyed.entry(thing).or_insert((now, revision));
                }
                self.destroyed_through
                    .entry((call.partition, object))
                    .or_insert((now, revision));
            }
            Op::Wrap(_) => self.note_latch(now, revision, thing),
            _ => {}
        }
        if let Some((set, epoch)) = self.epochs.get(&call.operation) {
            self.ended.entry(*set).or_default().push((now, *epoch, revision));
        }
    }

    fn note_latch(&mut self, now: u64, revision: Revision, thing: Option<Thing>) {
        if let Some(thing) = thing {
            self.latched.entry(thing).or_insert((now, revision));
        }
    }

    /// A client has its answer.
    pub(crate) fn finished(
        &mut self,
        client: usize,
        current: &Current,
        said: Said,
        versions: &mut HashMap<Thing, u64>,
    ) {
        let call = &current.call;
        let committed = self.committed.contains_key(&call.operation);
        let refuses = matches!(
            said,
            Said::Contended | Said::NoObject | Said::Exists | Said::NotLoggedIn | Said::Latched
        );
        if refuses && !call.op.is_read() && current.is_first_try() {
            if committed && self.forgot_at.is_none() {
                self.fail(|| format!("committed, and client {client} was told {said:?}: {call:?}"));
            }
            self.refused.insert(call.operation);
        }
        let Some(thing) = call.ticket.map(|ticket| ticket.set).zip(call.op.object()) else {
            return;
        };
        if self.forgot_at.is_some() || current.sent < self.resumed_at {
            return;
        }
        let known = versions.get(&thing).copied();
        let seen = match said {
            Said::Found(version, _) => Some(version),
            Said::Ok => self.version_of.get(&call.operation).map(|(_, version)| *version),
            _ => None,
        };
        if said == Said::NoObject && known.is_some() && !self.destroy_asked.contains(&thing.1) {
            self.fail(|| format!("client {client} has seen version {known:?}, and it is not there: {call:?}"));
        }
        if matches!(call.op, Op::Read(_)) && seen.is_some() && seen < known {
            self.fail(|| format!("client {client} has seen version {known:?}, then {seen:?}: {call:?}"));
        }
        if let Some(seen) = seen {
            let newest = versions.entry(thing).or_default();
            *newest = seen.max(*newest);
        }
    }

    /// The store was restored from what it was at a revision.
    pub(crate) fn forgot(&mut self, now: u64, store: &Store) {
        let to = store.revision();
        let mut next = Self {
            asked: std::mem::take(&mut self.asked),
            destroy_asked: std::mem::take(&mut self.destroy_asked),
            unlocks: std::mem::take(&mut self.unlocks),
            repeatable: std::mem::take(&mut self.repeatable),
            breach: self.breach.take(),
            calm_since: self.calm_since,
            commits: self.commits,
            replies: self.replies,
            ..Self::default()
        };
        let kept = |(_, revision): &(u64, Revision)| *revision <= to;
        next.destroyed = std::mem::take(&mut self.destroyed);
        next.destroyed.retain(|_, found| kept(found));
        next.destroyed_through = std::mem::take(&mut self.destroyed_through);
        next.destroyed_through.retain(|_, found| kept(found));
        next.latched = std::mem::take(&mut self.latched);
        next.latched.retain(|_, found| kept(found));
        next.acknowledged = std::mem::take(&mut self.acknowledged);
        next.acknowledged.retain(|_, revision| *revision <= to);
        for committed in &store.log {
            next.take(committed);
        }
        next.forgot_at = Some(now);
        *self = next;
    }

    /// INV-2, at the end: what was acknowledged is there.
    pub(crate) fn nothing_is_lost(&mut self, store: &Store) {
        let lost = self
            .acknowledged
            .keys()
            .find(|operation| store.resolve(**operation).is_none())
            .copied();
        if let Some(operation) = lost {
            self.fail(|| format!("{operation:?} was acknowledged, and is lost"));
        }
    }
}
