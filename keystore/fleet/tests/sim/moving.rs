//! Joins, leaves and what nodes load: the part of the keystore in small that uses `hsmd_fleet::moves`.

use std::sync::Arc;

use hsmd_fleet::moves::{Contents, Held, Kind, Move, Step};
use hsmd_fleet::{KeySetId, NodeId, ObjectId, Scope};

use super::app::{Call, Decision, GROUP, Me, Op, Said, State, answer, commit};
use super::store::{Batch, Key, KeySet, Object, Value};

impl State {
    pub(super) fn begin_move(&self, _me: &Me<'_>, call: &Call, set: KeySetId) -> Decision {
        let open = self.open_move(call.partition);
        let number = open.map_or(0, |(_, number)| number) + 1;
        let joins = call.op == Op::Join;
        if open.is_some_and(|(record, _)| record.is_open()) || (set == GROUP) == joins {
            return answer(Said::Nothing);
        }
        let mut batch = self.batch(call, set);
        let (kind, into) = if joins {
            (Kind::Join, GROUP)
        } else {
            let into = KeySetId(1000 * (u128::from(call.partition) + 1) + u128::from(number));
            let root = self.set(set).cloned().unwrap_or_default();
            let root = KeySet {
                epoch: root.epoch,
                ..KeySet::default()
            };
            self.put(&mut batch, Key::Set(into), Value::KeySet(root));
            let everywhere = self.0.keys().filter_map(|key| match key {
                Key::Standing(node) => Some(*node),
                _ => None,
            });
            for node in everywhere {
                self.put(&mut batch, Key::Loads(into, node), Value::Loads(true));
            }
            (Kind::Leave, into)
        };
        self.put(
            &mut batch,
            Key::Move(call.partition),
            Value::Move(Move::new(kind, set, into), number),
        );
        commit(batch, Some(Scope::Fleet), Said::Ok)
    }

    pub(super) fn cancel(&self, call: &Call) -> Decision {
        let Some((record, number)) = self.open_move(call.partition) else {
            return answer(Said::Nothing);
        };
        match record.cancel() {
            Some((step, next)) => self.take(call, number, record, step, next),
            None => answer(Said::Nothing),
        }
    }

    pub(super) fn step(&self, call: &Call) -> Decision {
        let Some((record, number)) = self.open_move(call.partition) else {
            return answer(Said::Nothing);
        };
        let id = move_id(call.partition, number);
        let contents = |set, copies| Contained {
            state: self,
            set,
            copies,
        };
        match record.next(&contents(record.from, None), &contents(record.into, Some(id))) {
            Some((step, next)) => self.take(call, number, record, step, next),
            None => answer(Said::Nothing),
        }
    }

    /// One step of a move as a batch.
    fn take(&self, call: &Call, number: u64, record: &Move, step: Step, next: Move) -> Decision {
        let (from, into) = (record.from, record.into);
        let id = move_id(call.partition, number);
        let (Some(source), Some(target)) = (self.set(from), self.set(into)) else {
            return answer(Said::Nothing);
        };
        let (mut source, mut target) = (source.clone(), target.clone());
        let mut batch = Batch {
            operation: Some(call.operation),
            compares: vec![(
                Key::Partition(call.partition),
                self.version(Key::Partition(call.partition)),
            )],
            ..Batch::default()
        };
        self.put(&mut batch, Key::Move(call.partition), Value::Move(next, number));
        match &step {
            Step::Hold if source.held.is_some() || target.held.is_some() => return answer(Said::Busy),
            Step::Hold => {
                source.held = Some(id);
                self.put(&mut batch, Key::Set(from), Value::KeySet(source));
            }
            Step::Copy(objects) => {
                batch.compares.push((Key::Set(from), self.version(Key::Set(from))));
                for object in objects {
                    let Some((record, found)) = self.object(from, *object) else {
                        continue;
                    };
                    batch.compares.push((Key::Object(from, *object), record.version));
                    let copy = Object {
                        hidden: Some(id),
                        ..found.clone()
                    };
                    self.put(&mut batch, Key::Object(into, *object), Value::Object(copy));
                }
            }
            Step::Switch => {
                target.merged.push(id);
                if record.kind == Kind::Leave {
                    source.held = None;
                }
                self.put(&mut batch, Key::Set(from), Value::KeySet(source));
                self.put(&mut batch, Key::Set(into), Value::KeySet(target));
                batch.compares.clear();
                self.put(&mut batch, Key::Partition(call.partition), Value::Partition(into));
            }
            Step::Abort => {
                if source.held == Some(id) {
                    source.held = None;
                    self.put(&mut batch, Key::Set(from), Value::KeySet(source));
                }
            }
        }
        let barrier = matches!(step, Step::Hold | Step::Switch).then_some(Scope::Fleet);
        commit(batch, barrier, Said::Ok)
    }

    pub(super) fn place(&self, call: &Call, set: KeySetId, node: NodeId) -> Decision {
        let loads = matches!(call.op, Op::Load(_));
        let key = Key::Loads(set, node);
        let others = self
            .0
            .range(Key::Loads(set, NodeId(0))..=Key::Loads(set, NodeId(u128::MAX)));
        let left = others.filter(|(other, record)| **other != key && *record.value == Value::Loads(true));
        if self.loads(set, node) == loads || (!loads && left.count() == 0) {
            return answer(Said::Nothing);
        }
        let mut batch = self.batch(call, set);
        // So that two that take different nodes away meet.
        let root = self.set(set).cloned().unwrap_or_default();
        batch.compares.retain(|(key, _)| *key != Key::Set(set));
        self.put(&mut batch, Key::Set(set), Value::KeySet(root));
        self.put(&mut batch, key, Value::Loads(loads));
        commit(batch, Some(Scope::Fleet), Said::Ok)
    }
}

/// The number of a move, unique in a run.
fn move_id(partition: u8, number: u64) -> u64 {
    number * 256 + u64::from(partition)
}

struct Contained<'a> {
    state: &'a State,
    set: KeySetId,
    /// The unseen copies of this move count.
    copies: Option<u64>,
}

impl Contained<'_> {
    fn held(&self, key: &Key, value: &Arc<Value>) -> Option<(ObjectId, Held)> {
        let (Key::Object(_, id), Value::Object(object)) = (key, &**value) else {
            return None;
        };
        let seen = self.state.set(self.set).is_some_and(|set| self.state.sees(set, object));
        if !seen && object.hidden != self.copies {
            return None;
        }
        let held = match object.value {
            Some(value) => Held::Live(value * 2 + u64::from(object.latched)),
            None => Held::Destroyed,
        };
        Some((*id, held))
    }
}

impl Contents for Contained<'_> {
    fn after(&self, after: Option<ObjectId>, at_most: usize) -> Vec<(ObjectId, Held)> {
        let first = after.map_or(ObjectId(0), |after| ObjectId(after.0 + 1));
        let range = Key::Object(self.set, first)..=Key::Object(self.set, ObjectId(u128::MAX));
        let objects = self
            .state
            .0
            .range(range)
            .filter_map(|(key, record)| self.held(key, &record.value));
        objects.take(at_most).collect()
    }

    fn get(&self, object: ObjectId) -> Option<Held> {
        let key = Key::Object(self.set, object);
        let found = self.state.0.get(&key)?;
        self.held(&key, &found.value).map(|(_, held)| held)
    }
}
