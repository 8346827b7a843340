//! The keystore in small: objects that are created, changed, used and destroyed, epochs, a latch, PIN tries, moves between key sets. Its
//! rules run on what a node has applied, as the real ones do, and say what to commit.

use hsmd_fleet::moves::Move;
use hsmd_fleet::tries::{Begin, Place, Run, Tries, Verdict};
use hsmd_fleet::{Generation, KeySetId, NodeId, ObjectId, OperationId, Ran, Revision, Scope, Timeline};

use super::store::{Batch, Key, KeySet, Object, Record, Records, Value};

/// The key set of the group.
pub(crate) const GROUP: KeySetId = KeySetId(100);
/// This many failures lock.
pub(crate) const TRIES: usize = 10;
/// A record remembers the operations of so many writes.
const DONE: usize = 8;

/// What a client wants of a partition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Op {
    Login {
        right: bool,
    },
    Create(ObjectId),
    Set(ObjectId, u64),
    Read(ObjectId),
    Use(ObjectId),
    Wrap(ObjectId),
    Decrypt(ObjectId),
    Destroy(ObjectId),
    /// Ends all logins.
    Revoke,
    Unlock,
    Join,
    Leave,
    Cancel,
    /// One step of the move that is open.
    Move,
    Load(NodeId),
    Unload(NodeId),
}

impl Op {
    pub(crate) fn is_read(self) -> bool {
        matches!(self, Self::Read(_) | Self::Use(_) | Self::Decrypt(_))
    }

    pub(crate) fn object(self) -> Option<ObjectId> {
        match self {
            Self::Create(object)
            | Self::Set(object, _)
            | Self::Read(object)
            | Self::Use(object)
            | Self::Wrap(object)
            | Self::Decrypt(object)
            | Self::Destroy(object) => Some(object),
            _ => None,
        }
    }

    fn needs_login(self) -> bool {
        self.object().is_some()
    }
}

/// What a login gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ticket {
    pub(crate) timeline: Timeline,
    pub(crate) set: KeySetId,
    pub(crate) epoch: u64,
}

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Said {
    Ok,
    /// The version and value of an object.
    Found(u64, u64),
    LoggedIn(Ticket),
    NoObject,
    Exists,
    NotLoggedIn,
    WrongPin,
    Locked,
    Latched,
    /// Read-only, or in the wrong state: later perhaps.
    Busy,
    /// An administrator's operation has nothing (more) to do.
    Nothing,
    /// Try another node.
    Elsewhere,
    Contended,
    Unknown,
}

impl Said {
    /// Nothing of what the node has is in it: anybody may say it, with or without a right.
    pub(crate) fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::Elsewhere | Self::Unknown | Self::Contended | Self::Busy | Self::NotLoggedIn
        )
    }
}

/// A request on a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) op: Op,
    pub(crate) partition: u8,
    pub(crate) operation: OperationId,
    pub(crate) ticket: Option<Ticket>,
}

/// Who runs the rules.
pub(crate) struct Me<'a> {
    pub(crate) node: NodeId,
    pub(crate) generation: Generation,
    pub(crate) timeline: Timeline,
    pub(crate) generation_of: &'a dyn Fn(NodeId) -> Generation,
}

/// What the rules say: to the core, and what the client is told in the end.
pub(crate) struct Decision {
    pub(crate) ran: Ran<Batch>,
    pub(crate) said: Said,
}

pub(super) fn answer(said: Said) -> Decision {
    Decision {
        ran: Ran::Answered,
        said,
    }
}

pub(super) fn commit(batch: Batch, barrier: Option<Scope>, said: Said) -> Decision {
    let batch = Batch {
        barrier: barrier.is_some(),
        ..batch
    };
    Decision {
        ran: Ran::Commit { batch, barrier },
        said,
    }
}

fn done(revision: Revision, barrier: Option<Scope>, said: Said) -> Decision {
    Decision {
        ran: Ran::Done { revision, barrier },
        said,
    }
}

/// What a node has applied.
#[derive(Clone, Default)]
pub(crate) struct State(pub(crate) Records);

impl State {
    fn get(&self, key: Key) -> Option<(&Record, &Value)> {
        self.0.get(&key).map(|record| (record, &*record.value))
    }

    pub(super) fn version(&self, key: Key) -> u64 {
        self.0.get(&key).map_or(0, |record| record.version)
    }

    pub(super) fn put(&self, batch: &mut Batch, key: Key, value: Value) {
        batch.writes.push((key, self.version(key) + 1, value));
    }

    pub(crate) fn set_of(&self, partition: u8) -> Option<KeySetId> {
        match self.get(Key::Partition(partition))? {
            (_, Value::Partition(set)) => Some(*set),
            _ => None,
        }
    }

    pub(crate) fn set(&self, set: KeySetId) -> Option<&KeySet> {
        match self.get(Key::Set(set))? {
            (_, Value::KeySet(set)) => Some(set),
            _ => None,
        }
    }

    pub(crate) fn tries(&self, set: KeySetId) -> Tries {
        match self.get(Key::Tries(set)) {
            Some((_, Value::Tries(tries))) => tries.clone(),
            _ => Tries::default(),
        }
    }

    pub(crate) fn object(&self, set: KeySetId, object: ObjectId) -> Option<(&Record, &Object)> {
        match self.get(Key::Object(set, object))? {
            (record, Value::Object(object)) => Some((record, object)),
            _ => None,
        }
    }

    pub(super) fn sees(&self, set: &KeySet, object: &Object) -> bool {
        object.hidden.is_none_or(|hidden| set.merged.contains(&hidden))
    }

    pub(crate) fn loads(&self, set: KeySetId, node: NodeId) -> bool {
        matches!(self.get(Key::Loads(set, node)), Some((_, Value::Loads(true))))
    }

    pub(super) fn open_move(&self, partition: u8) -> Option<(&Move, u64)> {
        match self.get(Key::Move(partition))? {
            (_, Value::Move(record, number)) => Some((record, *number)),
            _ => None,
        }
    }

    /// What every write relies on: which key set it is, its epoch, and that it is not read-only.
    pub(super) fn batch(&self, call: &Call, set: KeySetId) -> Batch {
        let keys = [Key::Partition(call.partition), Key::Set(set)];
        Batch {
            operation: Some(call.operation),
            compares: keys.into_iter().map(|key| (key, self.version(key))).collect(),
            ..Batch::default()
        }
    }

    /// Runs the rules of a call.
    pub(crate) fn run(&self, me: &Me<'_>, call: &Call) -> Decision {
        let Some(set) = self.set_of(call.partition) else {
            return answer(Said::Elsewhere);
        };
        let Some(root) = self.set(set).filter(|_| self.loads(set, me.node)) else {
            return answer(Said::Elsewhere);
        };
        if call.op.needs_login() {
            let ticket = Ticket {
                timeline: me.timeline,
                set,
                epoch: root.epoch,
            };
            if call.ticket != Some(ticket) {
                return answer(Said::NotLoggedIn);
            }
        }
        match call.op {
            Op::Login { .. } => self.begin_try(me, call, set),
            Op::Revoke => self.revoke(call, set, root),
            Op::Unlock => self.unlock(call, set, root),
            Op::Join | Op::Leave => self.begin_move(me, call, set),
            Op::Cancel => self.cancel(call),
            Op::Move => self.step(call),
            Op::Load(node) | Op::Unload(node) => self.place(call, set, node),
            _ => self.touch(call, set, root),
        }
    }

    /// Everything with an object.
    fn touch(&self, call: &Call, set: KeySetId, root: &KeySet) -> Decision {
        let Some(object) = call.op.object() else {
            return answer(Said::Nothing);
        };
        let key = Key::Object(set, object);
        // An unseen copy, of a move that is open or was cancelled, is not there.
        let found = self.object(set, object).filter(|(_, found)| self.sees(root, found));
        let barrier = match call.op {
            Op::Destroy(_) | Op::Wrap(_) => Some(Scope::KeySet(set)),
            _ => None,
        };
        if let Some((record, found)) = found.filter(|_| !call.op.is_read())
            && found.done.contains(&call.operation)
        {
            return done(record.revision, barrier, Said::Ok);
        }
        let live = found.filter(|(_, object)| object.value.is_some());
        let mut batch = self.batch(call, set);
        let mut next = match (call.op, live) {
            (Op::Create(_), _) if found.is_some() => return answer(Said::Exists),
            (Op::Create(_), _) => Object {
                value: Some(0),
                latched: false,
                hidden: None,
                done: Vec::new(),
            },
            (_, None) => return answer(Said::NoObject),
            (Op::Use(_), _) => return answer(Said::Ok),
            (Op::Read(_), Some((record, found))) => {
                return answer(Said::Found(record.version, found.value.unwrap_or(0)));
            }
            (Op::Decrypt(_), Some((_, found))) if found.latched => return answer(Said::Latched),
            (Op::Decrypt(_), _) => return answer(Said::Ok),
            (Op::Wrap(_), Some((_, found))) if found.latched => {
                // Somebody may still be waiting for its barrier.
                return done(found_revision(live), barrier, Said::Ok);
            }
            (_, Some((_, found))) => found.clone(),
        };
        if root.held.is_some() {
            return answer(Said::Busy);
        }
        match call.op {
            Op::Set(_, value) => next.value = Some(value),
            Op::Destroy(_) => next.value = None,
            Op::Wrap(_) => next.latched = true,
            _ => {}
        }
        remember(&mut next.done, call.operation);
        self.put(&mut batch, key, Value::Object(next));
        commit(batch, barrier, Said::Ok)
    }

    fn revoke(&self, call: &Call, set: KeySetId, root: &KeySet) -> Decision {
        let barrier = Some(Scope::KeySet(set));
        if root.done.contains(&call.operation) {
            return done(self.0[&Key::Set(set)].revision, barrier, Said::Ok);
        }
        let mut next = root.clone();
        next.epoch += 1;
        remember(&mut next.done, call.operation);
        let mut batch = self.batch(call, set);
        self.put(&mut batch, Key::Set(set), Value::KeySet(next));
        batch.compares.retain(|(key, _)| *key != Key::Set(set));
        commit(batch, barrier, Said::Ok)
    }

    fn unlock(&self, call: &Call, set: KeySetId, root: &KeySet) -> Decision {
        let tries = self.tries(set);
        if !tries.locked {
            return answer(Said::Nothing);
        }
        let next = Tries {
            sequence: tries.sequence,
            failed: tries.failed,
            ..Tries::default()
        };
        let mut decision = self.revoke(call, set, root);
        if let Ran::Commit { batch, .. } = &mut decision.ran {
            self.put(batch, Key::Tries(set), Value::Tries(next));
        }
        decision
    }

    fn run_of<'a>(&self, me: &'a Me<'_>) -> Run<'a> {
        Run {
            node: me.node,
            generation: me.generation,
            limit: TRIES,
            generation_of: me.generation_of,
        }
    }

    fn put_tries(&self, batch: &mut Batch, set: KeySetId, root: &KeySet, next: Tries) -> Option<Scope> {
        let locks = next.locked && !self.tries(set).locked;
        self.put(batch, Key::Tries(set), Value::Tries(next));
        // A lock ends all logins, and all must know.
        locks.then(|| {
            let mut next = root.clone();
            next.epoch += 1;
            batch.compares.retain(|(key, _)| *key != Key::Set(set));
            self.put(batch, Key::Set(set), Value::KeySet(next));
            Scope::KeySet(set)
        })
    }

    /// Places of this node that it does not work on: their requests are gone, or they were committed after all.
    pub(crate) fn forgotten(
        &self,
        me: &Me<'_>,
        knows: impl Fn(OperationId) -> bool,
    ) -> Option<(KeySetId, OperationId)> {
        let range = Key::Tries(KeySetId(0))..=Key::Tries(KeySetId(u128::MAX));
        self.0.range(range).find_map(|(key, record)| {
            let (Key::Tries(set), Value::Tries(tries)) = (key, &*record.value) else {
                return None;
            };
            let own = |place: &&Place| place.node == me.node && place.generation == me.generation;
            let found = tries.places.iter().filter(own).find(|place| !knows(place.attempt))?;
            Some((*set, found.attempt))
        })
    }

    fn begin_try(&self, me: &Me<'_>, call: &Call, set: KeySetId) -> Decision {
        let Some(root) = self.set(set) else {
            return answer(Said::Elsewhere);
        };
        let tries = self.tries(set);
        let mut batch = self.batch(call, set);
        match tries.begin(&self.run_of(me), call.operation) {
            Begin::Wrong => answer(Said::WrongPin),
            Begin::NoRoom => answer(Said::Busy),
            // The same place again: a retry on the same node.
            Begin::Take(next) if next == tries => done(self.0[&Key::Tries(set)].revision, None, Said::Ok),
            Begin::Take(next) => {
                batch.operation = None;
                let barrier = self.put_tries(&mut batch, set, root, next);
                commit(batch, barrier, Said::Ok)
            }
            Begin::Locked(next) if next == tries => done(
                self.0[&Key::Tries(set)].revision,
                Some(Scope::KeySet(set)),
                Said::Locked,
            ),
            Begin::Locked(next) => {
                batch.operation = None;
                let barrier = self.put_tries(&mut batch, set, root, next);
                commit(batch, barrier, Said::Locked)
            }
        }
    }

    /// The verdict on a try that has a place.
    pub(crate) fn end_try(&self, me: &Me<'_>, call: &Call, set: KeySetId, verdict: Verdict) -> Decision {
        let (Some(root), Some(now)) = (self.set(set), self.set_of(call.partition)) else {
            return answer(Said::Elsewhere);
        };
        let right = verdict == Verdict::Right;
        let tries = self.tries(set);
        if now != set && verdict != Verdict::Unchecked {
            return answer(Said::Elsewhere);
        }
        let ticket = Ticket {
            timeline: me.timeline,
            set,
            epoch: root.epoch,
        };
        let said = if right { Said::LoggedIn(ticket) } else { Said::WrongPin };
        let Some(next) = tries.end(&self.run_of(me), call.operation, verdict) else {
            return answer(Said::Elsewhere);
        };
        let mut batch = self.batch(call, set);
        batch.operation = None;
        let said = if right && next.locked { Said::Locked } else { said };
        let barrier = self.put_tries(&mut batch, set, root, next);
        commit(batch, barrier, said)
    }
}

fn found_revision(found: Option<(&Record, &Object)>) -> Revision {
    found.map_or(Revision(0), |(record, _)| record.revision)
}

fn remember(done: &mut Vec<OperationId>, operation: OperationId) {
    done.push(operation);
    if done.len() > DONE {
        done.remove(0);
    }
}
