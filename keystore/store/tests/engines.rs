//! A store of each engine under the same tests. The engines number revisions differently (etcd counts everybody's changes, the others
//! the store's own, from 1), so a [`Bench`] tells them by their order.

use std::ops::Deref;

use hsmd_store::{Batch, CommitError, Limits, Outcome, Revision, SledOptions, Store};
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::disk;
use crate::etcd::{self, server};
use crate::model::{Model, folder, keys};

/// Runs the test on a store of each engine.
pub(crate) fn each_engine(limits: &Limits, test: impl Fn(&Bench)) {
    let memory = Bench::of(Store::memory(keys(), limits.clone()), None, true);
    test(&memory);
    let dir = folder();
    let options = SledOptions {
        limits: limits.clone(),
        ..disk::options()
    };
    let sled = Store::open_sled(dir.path(), keys(), options).unwrap().0;
    test(&Bench::of(sled, Some(dir), true));
    let dir = folder();
    let mut options = etcd::options(&[server::shared()], &etcd::prefix(), dir.path());
    options.limits = Limits {
        writes_and_groups: options.limits.writes_and_groups,
        ..limits.clone()
    };
    let etcd = Store::open_etcd(options, &keys()).unwrap().0;
    test(&Bench::of(etcd, Some(dir), false));
}

/// A store, with its revisions told as 0, 1, 2 and so on.
pub(crate) struct Bench {
    pub(crate) store: Store,
    /// The revisions of commits, in order.
    given: Mutex<Vec<u64>>,
    _dir: Option<TempDir>,
}

impl Deref for Bench {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Bench {
    /// `dense`: the engine numbers from 1 without gaps, and that is held against it.
    pub(crate) fn of(store: Store, dir: Option<TempDir>, dense: bool) -> Self {
        assert_eq!(store.revision() == Revision(0), dense, "a new store");
        Self {
            store,
            given: Mutex::default(),
            _dir: dir,
        }
    }

    /// The same store, opened again.
    pub(crate) fn again(self, open: impl FnOnce() -> Store) -> Self {
        let Self { store, given, _dir } = self;
        drop(store);
        Self {
            store: open(),
            given,
            _dir,
        }
    }

    /// Commits, with the revision translated.
    pub(crate) fn commit(&self, batch: Batch) -> Result<Outcome, CommitError> {
        let writes = !batch.writes.is_empty();
        let outcome = self.store.commit(batch);
        let Ok(Outcome::Committed(revision)) = outcome else {
            return outcome;
        };
        let mut given = self.given.lock();
        if writes {
            assert!(given.last().is_none_or(|last| *last < revision.0), "revisions grow");
            given.push(revision.0);
        }
        drop(given);
        Ok(Outcome::Committed(self.told(revision)))
    }

    /// How many commits there were up to `revision`.
    pub(crate) fn told(&self, revision: Revision) -> Revision {
        Revision(self.given.lock().partition_point(|given| *given <= revision.0) as u64)
    }

    /// The store's own number of the n-th commit; 0: before all of them.
    pub(crate) fn own(&self, n: u64) -> Revision {
        let given = self.given.lock();
        match n.checked_sub(1) {
            Some(at) => Revision(given[at as usize]),
            None => Revision(given[0] - 1),
        }
    }

    /// What the store holds, as the model tells it.
    pub(crate) fn model(&self) -> Model {
        let mut model = Model::of(&self.store);
        model.revision = self.told(Revision(model.revision)).0;
        for (_, revision, _) in model.records.values_mut() {
            *revision = self.told(Revision(*revision)).0;
        }
        model
    }
}
