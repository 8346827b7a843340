//! The one thread of a keystore. It writes login records behind the callers' backs: a login waits for no sync (DESIGN 7), a
//! logout waits for its own. A record that a crash kept from the disk is a login that has ended, nothing worse. It also purges
//! what incarnation switches and deletions left behind, a batch at a time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

use hsmd_crypto::random;
use hsmd_store::{Batch, Path, Store, Write};
use prost::Message;

use crate::core::{Committed, commit};
use crate::error::Error;
use crate::records::LoginRecord;
use crate::seal::{Barrier, Kind};

/// Most orders that wait for the disk; one more waits for room.
const QUEUE: usize = 4096;
/// Most records in one batch: with a head for each of as many groups they fit into one transaction of etcd.
const BATCH: usize = 60;

enum Op {
    Put(LoginRecord),
    Delete,
    /// A new record, sealed already: what the audit log says of a login or logout.
    Audit(Vec<u8>),
}

enum Order {
    Do {
        path: Path,
        op: Op,
    },
    /// Answered when every login record ordered before is durable.
    Flush(SyncSender<bool>),
    /// Everything under this prefix goes.
    Purge {
        prefix: String,
    },
}

/// The handle of the thread. When it is dropped the thread does what was ordered and ends, and the drop waits for that: whoever
/// has dropped a keystore may open its folder again.
pub(crate) struct Background {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
    /// Records of logins that are ordered and not written.
    pending: Arc<AtomicUsize>,
}

impl Drop for Background {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the background thread has panicked");
        }
    }
}

impl Background {
    /// Starts the thread; `audited` is called when records of the audit log were written.
    pub(crate) fn start(
        store: Store,
        barrier: Arc<Barrier>,
        audited: impl Fn() + Send + 'static,
    ) -> Result<Self, Error> {
        let (orders, queue) = sync_channel(QUEUE);
        let pending = Arc::new(AtomicUsize::new(0));
        let written = Arc::clone(&pending);
        let thread = std::thread::Builder::new().name("hsmd-background".to_owned());
        let thread = thread.spawn(move || {
            Worker {
                store,
                barrier,
                queue,
                purges: VecDeque::new(),
                purging: Vec::new(),
                pending: written,
                audited: Box::new(audited),
            }
            .run()
        })?;
        Ok(Self {
            orders: Some(orders),
            thread: Some(thread),
            pending,
        })
    }

    /// Puts a login record, some time soon.
    pub(crate) fn put(&self, path: Path, record: LoginRecord) {
        self.pending.fetch_add(1, Ordering::SeqCst);
        self.order(Order::Do {
            path,
            op: Op::Put(record),
        });
    }

    /// Writes a record of the audit log, with or before what is ordered next.
    pub(crate) fn audit(&self, write: Write) {
        if let Some(sealed) = write.value {
            self.order(Order::Do {
                path: write.path,
                op: Op::Audit(sealed),
            });
        }
    }

    /// Purges a login record, some time soon.
    pub(crate) fn delete(&self, path: Path) {
        self.order(Order::Do { path, op: Op::Delete });
    }

    /// Waits until all login records ordered so far are durable; false if one of them could not be written.
    pub(crate) fn flush(&self) -> bool {
        let (done, wait) = sync_channel(1);
        self.order(Order::Flush(done));
        wait.recv().unwrap_or(false)
    }

    /// Waits for the records of logins that were ordered before, if there are any: what an application writes after its login
    /// is acknowledged after the login's record.
    pub(crate) fn catch_up(&self) {
        if self.pending.load(Ordering::SeqCst) > 0 && !self.flush() {
            tracing::warn!("a login may not survive a restart");
        }
    }

    /// Purges everything under `prefix`, some time soon. A crash before the end is made good at the next start.
    pub(crate) fn purge(&self, prefix: String) {
        self.order(Order::Purge { prefix });
    }

    fn order(&self, order: Order) {
        if self.orders.as_ref().is_none_or(|orders| orders.send(order).is_err()) {
            tracing::error!("the background thread has ended");
        }
    }
}

struct Worker {
    store: Store,
    barrier: Arc<Barrier>,
    queue: Receiver<Order>,
    purges: VecDeque<String>,
    /// What is left of the purge that is under way.
    purging: Vec<(Path, u64)>,
    pending: Arc<AtomicUsize>,
    audited: Box<dyn Fn() + Send>,
}

impl Worker {
    fn run(mut self) {
        let mut well = true;
        loop {
            // Between two orders, a purge. One that is cut off by the end is made good at the next start.
            let first = match self.queue.try_recv() {
                Ok(order) => order,
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) if !(self.purges.is_empty() && self.purging.is_empty()) => {
                    self.purge_some();
                    continue;
                }
                Err(TryRecvError::Empty) => {
                    let Ok(order) = self.queue.recv() else { return };
                    order
                }
            };
            let (ops, puts, flush) = self.collect(first);
            well &= self.write(&ops);
            if ops.values().any(|op| matches!(op, Op::Audit(_))) {
                (self.audited)();
            }
            self.pending.fetch_sub(puts, Ordering::SeqCst);
            if let Some(done) = flush {
                // Whoever asked may have gone.
                let _ = done.send(well);
                well = true;
            }
        }
    }

    /// Takes orders up to a batch or a flush, and says how many of them were puts. The last word on a path is the one that
    /// counts.
    fn collect(&mut self, first: Order) -> (BTreeMap<Path, Op>, usize, Option<SyncSender<bool>>) {
        let (mut ops, mut puts) = (BTreeMap::new(), 0);
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                Order::Do { path, op } => {
                    puts += usize::from(matches!(op, Op::Put(_)));
                    ops.insert(path, op);
                }
                Order::Flush(done) => return (ops, puts, Some(done)),
                Order::Purge { prefix } => self.purges.push_back(prefix),
            }
            next = if ops.len() < BATCH {
                self.queue.try_recv().ok()
            } else {
                None
            };
        }
        (ops, puts, None)
    }

    /// Writes all in one batch, or each alone if one of them spoils the batch (its key set is quarantined).
    fn write(&self, ops: &BTreeMap<Path, Op>) -> bool {
        if ops.is_empty() || self.try_write(ops.iter()) {
            return true;
        }
        let mut well = true;
        for op in ops {
            if !self.try_write(std::iter::once(op)) {
                tracing::warn!(path = %op.0, "a login record could not be written");
                well = false;
            }
        }
        well
    }

    fn try_write<'a>(&self, ops: impl Iterator<Item = (&'a Path, &'a Op)>) -> bool {
        self.commit(ops.filter_map(|(path, op)| self.make(path, op)).collect())
    }

    fn make(&self, path: &Path, op: &Op) -> Option<Write> {
        let current = self.store.get(path).map_or(0, |record| record.version);
        let version = current + 1;
        let value = match op {
            Op::Put(record) => Some(self.barrier.seal(path, version, Kind::Login, &record.encode_to_vec())),
            Op::Audit(sealed) => Some(sealed.clone()),
            Op::Delete if current == 0 => return None,
            Op::Delete => None,
        };
        Some(Write {
            path: path.clone(),
            version,
            value,
        })
    }

    /// Purges one batch, so that login records do not wait for a large purge.
    fn purge_some(&mut self) {
        if self.purging.is_empty() {
            let Some(prefix) = self.purges.pop_front() else { return };
            let found = self.store.scan(&prefix).into_iter();
            // From the end of the list and so in the order of paths: of a deleted key set the root goes last, so that a crash
            // leaves what says that it is deleted.
            self.purging = found.rev().map(|(path, record)| (path, record.version)).collect();
        }
        let some = self.purging.split_off(self.purging.len().saturating_sub(BATCH));
        let write = |(path, version)| Write {
            path,
            version: version + 1,
            value: None,
        };
        if !self.commit(some.into_iter().rev().map(write).collect()) {
            tracing::warn!("what is left of a deleted prefix is purged at the next start");
            self.purging.clear();
        }
    }

    fn commit(&self, writes: Vec<Write>) -> bool {
        if writes.is_empty() {
            return true;
        }
        let batch = Batch {
            operation: random::array(),
            compares: Vec::new(),
            writes,
            reserve: true,
        };
        matches!(commit(&self.store, batch), Ok(Committed::Done(_)))
    }
}
