//! The fleet's questions to the store, answered: what a driver of `hsmd_fleet::Node` needs of a keystore, and no more.

use std::time::Duration;

use hsmd_crypto::random;
use hsmd_fleet::{AtRoot, Commit, Generation, NodeId, NodeRecords, Revision, Root, Survey, Timeline, Told};
use hsmd_store::{Batch, Compare, Outcome, Path, Write};

use super::records::{self, beat_path, root_path, standing_path};
use super::{NodeFacts, Sharing};
use crate::core::{Committed, settle};
use crate::error::Error;
use crate::keystore::Keystore;
use crate::seal::Kind;

/// A keystore as one node of several has it.
#[derive(Clone, Debug)]
pub struct Peers(pub(super) Keystore);

impl Keystore {
    /// The fleet's side of this keystore; `None`: its store is this process's alone.
    #[must_use]
    pub fn peers(&self) -> Option<Peers> {
        self.core().sharing.is_on().then(|| Peers(self.clone()))
    }

    /// Whether this node may have a place among others.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.core().sharing.is_on()
    }
}

impl Peers {
    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId(u128::from_be_bytes(self.0.node().0))
    }

    /// Makes the fleet's root record if there is none: the first node's first act.
    ///
    /// # Errors
    /// From the store.
    pub fn found(&self) -> Result<(), Error> {
        let core = self.0.core();
        if core.store.get(&root_path()).is_some() {
            return Ok(());
        }
        let root = Root {
            timeline: Timeline(u64::from_le_bytes(random::array())),
            previous: Vec::new(),
            suspected_by: None,
            level: 1,
        };
        let write = core.put(&root_path(), 0, Kind::Node, &records::root(&root));
        // A conflict: another node was first.
        core.commit(batch(vec![write], Vec::new())).map(drop)
    }

    /// Begins a new timeline of the fleet: nodes that remember the one before forget what they know, and follow.
    ///
    /// # Errors
    /// [`Error::Contended`]; from the store.
    pub(super) fn succeed(&self) -> Result<(), Error> {
        let core = self.0.core();
        let Some((found, version)) = core.read::<records::RootRecord>(&root_path(), Kind::Node)? else {
            return Ok(());
        };
        let found = found.read();
        let mut previous = found.previous;
        previous.push(found.timeline);
        let root = Root {
            timeline: Timeline(u64::from_le_bytes(random::array())),
            previous,
            suspected_by: None,
            level: found.level,
        };
        let write = core.put(&root_path(), version, Kind::Node, &records::root(&root));
        match core.commit(batch(vec![write], Vec::new()))? {
            Committed::Done(_) => Ok(()),
            Committed::Conflict(_) => Err(Error::Contended),
        }
    }

    /// All records of the fleet, no older than this moment; and how far the store's memory had come at least. `None`: the store
    /// does not answer in that time.
    #[must_use]
    pub fn survey(&self, patience: Duration) -> Option<(Survey, Revision)> {
        let at = self.0.core().store.sync(patience)?;
        match records::survey(self.0.core()) {
            Ok(survey) => Some((survey, Revision(at))),
            Err(error) => {
                tracing::error!(%error, "the fleet's records cannot be read");
                None
            }
        }
    }

    /// As [`Peers::survey`], once the caches of keys have come as far, too.
    #[must_use]
    pub fn load(&self, patience: Duration) -> Option<(Survey, Revision)> {
        let (survey, at) = self.survey(patience)?;
        let sharing = &self.0.core().sharing;
        let mut followed = sharing.followed.lock();
        while *followed < at.0 {
            if sharing.moved.wait_for(&mut followed, patience).timed_out() {
                return None;
            }
        }
        Some((survey, at))
    }

    /// Commits one of the core's own changes. `None`: its outcome is not known, or nothing could be asked.
    ///
    /// From the moment on in which this node has put its own standing, every batch of its keystore is committed only while that
    /// is still its standing.
    #[must_use]
    pub fn commit(&self, facts: &NodeFacts, guard: Option<Generation>, commit: &Commit<()>) -> Option<Told> {
        let core = self.0.core();
        let me = self.id();
        let put_standing = |node, generation: Generation, standing| {
            let record = records::standing(standing);
            core.put(&standing_path(node), generation.0, Kind::Node, &record)
        };
        let put_beat = |version, beat| {
            let record = records::beat(beat, core.generation, facts);
            core.put(&beat_path(me), version, Kind::Node, &record)
        };
        let put_root = |version, root| core.put(&root_path(), version, Kind::Node, &records::root(root));
        let at = |path, version| Compare { path, version };
        let own = guard.map(|generation| at(standing_path(me), generation.0));
        let batch = match commit {
            Commit::Stand { standing, beat, root } => {
                let mut writes = vec![put_standing(me, guard?, *standing)];
                writes.extend(beat.iter().map(|(version, beat)| put_beat(*version, beat)));
                let mut compares = Vec::new();
                match root {
                    AtRoot::Any => {}
                    AtRoot::Is(version) => compares.push(at(root_path(), *version)),
                    AtRoot::Again(version, root) => writes.push(put_root(*version, root)),
                }
                batch(writes, compares)
            }
            Commit::Beat(version, beat) => batch(vec![put_beat(*version, beat)], own.into_iter().collect()),
            Commit::Close {
                node,
                generation,
                beat_version,
                standing,
            } => {
                let mut compares: Vec<_> = own.into_iter().collect();
                compares.push(at(beat_path(*node), *beat_version));
                batch(vec![put_standing(*node, *generation, *standing)], compares)
            }
            Commit::Root(version, root) => batch(vec![put_root(*version, root)], own.into_iter().collect()),
            Commit::Level { version, root, nodes } => {
                let others = nodes
                    .iter()
                    .map(|(node, generation)| at(standing_path(*node), generation.0));
                batch(vec![put_root(*version, root)], own.into_iter().chain(others).collect())
            }
            Commit::Batch(()) => return None,
        };
        let told = self.settle(batch, &standing_path(me))?;
        if let (Commit::Stand { .. }, Told::Committed(_), Some(generation)) = (commit, &told, guard) {
            // Before anybody is let in: what is written from now on compares the new one.
            self.guard(Generation(generation.0 + 1));
        }
        Some(told)
    }

    fn settle(&self, batch: Batch, own: &Path) -> Option<Told> {
        let (store, operation) = (&self.0.core().store, batch.operation);
        let outcome = store.commit_unguarded(batch).ok()?;
        if outcome == Outcome::Unknown {
            // The core asks again in its own time.
            return None;
        }
        match settle(store, &operation, outcome).ok()? {
            Committed::Done(revision) => Some(Told::Committed(Revision(store.position_of(revision)))),
            Committed::Conflict(path) if path == *own => Some(Told::Fenced),
            Committed::Conflict(_) => Some(Told::Conflict {
                newest: Revision(store.position()),
            }),
        }
    }

    /// How far the store's memory has come.
    #[must_use]
    pub fn position(&self) -> Revision {
        Revision(self.0.core().store.position())
    }

    /// The format level that the fleet has; `None`: it has no root record yet.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn level(&self) -> Result<Option<u32>, Error> {
        let found = self.0.core().read::<records::RootRecord>(&root_path(), Kind::Node)?;
        Ok(found.map(|(root, _)| root.read().level))
    }

    /// From now on no batch of this keystore is committed, until the node has put a standing again: the fleet has records that
    /// this program does not know.
    pub fn write_nothing(&self) {
        self.guard(Generation(u64::MAX));
    }

    /// How many revisions the caches are behind the store's memory.
    #[must_use]
    pub fn behind(&self) -> u64 {
        let core = self.0.core();
        let followed = *core.sharing.followed.lock();
        core.store.position().saturating_sub(followed)
    }

    fn guard(&self, generation: Generation) {
        #[cfg(feature = "planted")]
        if crate::planted::makes(crate::planted::Mistake::NoFencing) {
            return;
        }
        let path = standing_path(self.id());
        let sharing: &Sharing = &self.0.core().sharing;
        let version = generation.0;
        *sharing.standing.write() = Some((path.clone(), version));
        self.0.core().store.guard(Some(Compare { path, version }));
    }

    /// All nodes that ever were, with what they tell of themselves.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn nodes(&self) -> Result<Vec<(NodeRecords, NodeFacts)>, Error> {
        records::nodes(self.0.core())
    }

    /// The keyed name under which this node's own file of the fleet is tagged.
    #[must_use]
    pub fn tag(&self, bytes: &[u8]) -> [u8; 32] {
        let key = self.0.core().fleet.key("fleet anchor");
        hsmd_crypto::seal::hmac(key.expose(), &[bytes])
    }
}

fn batch(writes: Vec<Write>, compares: Vec<Compare>) -> Batch {
    Batch {
        operation: random::array(),
        compares,
        writes,
        reserve: false,
    }
}
