//! A model of the store: records with versions, batches with compares, revisions, a log for watches, compaction, and a rollback as a
//! restored snapshot does it. It is always right; what goes wrong is between it and the nodes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hsmd_fleet::moves::Move;
use hsmd_fleet::tries::Tries;
use hsmd_fleet::{
    AtRoot, Beat, Commit, Generation, KeySetId, NodeId, NodeRecords, ObjectId, OperationId, Revision, Root, Standing,
    Survey,
};

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    Root,
    Standing(NodeId),
    Beat(NodeId),
    Loads(KeySetId, NodeId),
    Partition(u8),
    Move(u8),
    Set(KeySetId),
    Tries(KeySetId),
    Object(KeySetId, ObjectId),
}

impl Key {
    /// The key set in which it lies.
    fn key_set(self) -> Option<KeySetId> {
        match self {
            Self::Set(set) | Self::Tries(set) | Self::Object(set, _) => Some(set),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Root(Root),
    Standing(Standing),
    Beat(Beat),
    Loads(bool),
    Partition(KeySetId),
    Move(Move, u64),
    KeySet(KeySet),
    Tries(Tries),
    Object(Object),
}

/// What every write of a key set compares.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct KeySet {
    pub(crate) epoch: u64,
    /// Read-only for this move.
    pub(crate) held: Option<u64>,
    /// Copies of these moves are seen.
    pub(crate) merged: Vec<u64>,
    pub(crate) done: Vec<OperationId>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Object {
    /// `None`: destroyed.
    pub(crate) value: Option<u64>,
    pub(crate) latched: bool,
    /// Seen once this move is done.
    pub(crate) hidden: Option<u64>,
    /// The last operations on it.
    pub(crate) done: Vec<OperationId>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    pub(crate) operation: OperationId0,
    pub(crate) barrier: bool,
    pub(crate) compares: Vec<(Key, u64)>,
    /// The version that each write makes.
    pub(crate) writes: Vec<(Key, u64, Value)>,
}

/// An operation id with a default, for the core's own batches.
pub(crate) type OperationId0 = Option<OperationId>;

#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) version: u64,
    pub(crate) revision: Revision,
    pub(crate) value: Arc<Value>,
}

/// A batch that was committed.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) revision: Revision,
    pub(crate) operation: OperationId0,
    pub(crate) barrier: bool,
    pub(crate) writes: Vec<(Key, u64, Arc<Value>)>,
    /// Microseconds of the simulation.
    pub(crate) at: u64,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Refused {
    Fenced,
    Conflict(Revision),
}

pub(crate) type Records = BTreeMap<Key, Record>;

#[derive(Default)]
pub(crate) struct Store {
    pub(crate) records: Records,
    pub(crate) log: Vec<Arc<Committed>>,
    pub(crate) compacted: Revision,
    pub(crate) cluster: u64,
    operations: HashMap<OperationId, Revision>,
    heads: HashMap<KeySetId, Revision>,
}

impl Store {
    pub(crate) fn revision(&self) -> Revision {
        self.log.last().map_or(Revision(0), |last| last.revision)
    }

    pub(crate) fn version(&self, key: &Key) -> u64 {
        self.records.get(key).map_or(0, |record| record.version)
    }

    /// The format level that the fleet has.
    pub(crate) fn level(&self) -> u32 {
        match self.records.get(&Key::Root).map(|record| &*record.value) {
            Some(Value::Root(root)) => root.level,
            _ => 0,
        }
    }

    pub(crate) fn generation(&self, node: NodeId) -> Generation {
        Generation(self.version(&Key::Standing(node)))
    }

    /// Commits if all holds. `guard` is compared first.
    pub(crate) fn commit(
        &mut self,
        at: u64,
        writer: NodeId,
        guard: Option<Generation>,
        batch: &Batch,
    ) -> Result<Revision, Refused> {
        if guard.is_some_and(|guard| guard != self.generation(writer)) {
            return Err(Refused::Fenced);
        }
        let wanted = batch.writes.iter().map(|(key, version, _)| (key, version - 1));
        let compares = batch.compares.iter().map(|(key, version)| (key, *version));
        let (mut holds, mut newest) = (true, Revision(0));
        for (key, version) in compares.chain(wanted) {
            let record = self.records.get(key);
            newest = newest.max(record.map_or(Revision(0), |record| record.revision));
            holds &= record.map_or(0, |record| record.version) == version;
        }
        if !holds {
            return Err(Refused::Conflict(newest));
        }
        let writes = batch
            .writes
            .iter()
            .map(|(key, version, value)| (*key, *version, Arc::new(value.clone())));
        let committed = Committed {
            revision: Revision(self.revision().0 + 1),
            operation: batch.operation,
            barrier: batch.barrier,
            writes: writes.collect(),
            at,
        };
        self.put(Arc::new(committed));
        Ok(self.revision())
    }

    fn put(&mut self, committed: Arc<Committed>) {
        apply(&mut self.records, &committed);
        if let Some(operation) = committed.operation {
            self.operations.insert(operation, committed.revision);
        }
        for (key, _, _) in &committed.writes {
            if let Some(set) = key.key_set() {
                self.heads.insert(set, committed.revision);
            }
        }
        self.log.push(committed);
    }

    pub(crate) fn resolve(&self, operation: OperationId) -> Option<Revision> {
        self.operations.get(&operation).copied()
    }

    pub(crate) fn head(&self, set: KeySetId) -> Revision {
        self.heads.get(&set).copied().unwrap_or_default()
    }

    /// What is committed after a revision.
    pub(crate) fn after(&self, revision: Revision) -> &[Arc<Committed>] {
        &self.log[self.log.partition_point(|committed| committed.revision <= revision)..]
    }

    /// Becomes what it was at a revision.
    pub(crate) fn roll_back(&mut self, to: Revision) {
        let log = std::mem::take(&mut self.log);
        let (cluster, compacted) = (self.cluster, self.compacted.min(to));
        *self = Self {
            cluster,
            compacted,
            ..Self::default()
        };
        log.into_iter()
            .filter(|committed| committed.revision <= to)
            .for_each(|committed| self.put(committed));
    }

    pub(crate) fn survey(&self) -> Survey {
        survey(&self.records, self.cluster)
    }
}

/// Makes a committed batch visible.
pub(crate) fn apply(records: &mut Records, committed: &Committed) {
    for (key, version, value) in &committed.writes {
        let record = Record {
            version: *version,
            revision: committed.revision,
            value: Arc::clone(value),
        };
        records.insert(*key, record);
    }
}

/// The fleet's own records among all.
fn survey(records: &Records, cluster: u64) -> Survey {
    let mut survey = Survey {
        cluster,
        root: None,
        nodes: Vec::new(),
        loads: Vec::new(),
    };
    for (key, record) in records.range(..Key::Partition(0)) {
        match (*key, &*record.value) {
            (Key::Root, Value::Root(root)) => survey.root = Some((record.version, root.clone())),
            (Key::Loads(set, node), Value::Loads(true)) => survey.loads.push((set, node)),
            (Key::Standing(node), Value::Standing(standing)) => {
                let beat = records.get(&Key::Beat(node));
                survey.nodes.push(NodeRecords {
                    node,
                    generation: Generation(record.version),
                    standing: *standing,
                    beat_version: beat.map_or(0, |beat| beat.version),
                    beat: beat.and_then(|beat| match &*beat.value {
                        Value::Beat(beat) => Some(beat.clone()),
                        _ => None,
                    }),
                });
            }
            _ => {}
        }
    }
    survey
}

/// What a commit of the core is as a batch: the part of a driver that knows paths.
pub(crate) fn lower(me: NodeId, guard: Option<Generation>, commit: &Commit<Batch>) -> Batch {
    let own = guard.map_or(0, |guard| guard.0);
    let mut batch = Batch::default();
    match commit {
        Commit::Stand { standing, beat, root } => {
            match root {
                AtRoot::Any => {}
                AtRoot::Is(version) => batch.compares.push((Key::Root, *version)),
                AtRoot::Again(version, root) => {
                    batch.writes.push((Key::Root, version + 1, Value::Root(root.clone())));
                }
            }
            batch
                .writes
                .push((Key::Standing(me), own + 1, Value::Standing(*standing)));
            if let Some((version, beat)) = beat {
                batch
                    .writes
                    .push((Key::Beat(me), version + 1, Value::Beat(beat.clone())));
            }
        }
        Commit::Beat(version, beat) => {
            batch
                .writes
                .push((Key::Beat(me), version + 1, Value::Beat(beat.clone())));
        }
        Commit::Close {
            node,
            generation,
            beat_version,
            standing,
        } => {
            batch.compares.push((Key::Beat(*node), *beat_version));
            batch
                .writes
                .push((Key::Standing(*node), generation.0 + 1, Value::Standing(*standing)));
        }
        Commit::Level { version, root, nodes } => {
            let standings = nodes
                .iter()
                .map(|(node, generation)| (Key::Standing(*node), generation.0));
            batch.compares.extend(standings);
            batch.writes.push((Key::Root, version + 1, Value::Root(root.clone())));
        }
        Commit::Root(version, root) => batch.writes.push((Key::Root, version + 1, Value::Root(root.clone()))),
        Commit::Batch(own) => batch = own.clone(),
    }
    batch
}
