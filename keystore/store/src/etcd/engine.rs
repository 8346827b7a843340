//! Commits to etcd: one transaction at a time for each stage, sent again until its outcome is known. See the module's description
//! for why that is safe.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::batch::Batch;
use crate::engine::{Durable, Engine, EngineError, Load};
use crate::etcd::api::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::etcd::api::{
    Compare, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse, request_op,
    response_op,
};
use crate::etcd::cell::{Cell, etcd_revision, first_revision};
use crate::etcd::client::Failure;
use crate::etcd::load;
use crate::etcd::options::TRANSACTION;
use crate::etcd::values::{self, WriterRecord};
use crate::report::{CloseError, Fatal, StoreStatus};
use crate::sealing::random;
use crate::state::Staged;

/// Bytes of keys and values in a stage; etcd's own limit of a request is 1.5 MiB (`--max-request-bytes`).
const STAGE_BYTES: usize = 1_150_000;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// The newest own record that is in etcd.
pub(crate) struct Known {
    /// Its revision.
    pub(crate) revision: u64,
    pub(crate) record: WriterRecord,
}

/// A transaction that may be on its way still.
struct Pending {
    record: WriterRecord,
    /// What was sent to take its place.
    seals: Vec<WriterRecord>,
}

/// See the module's description.
pub(crate) struct Etcd {
    cell: Arc<Cell>,
    runtime: Option<Runtime>,
    threads: Vec<JoinHandle<()>>,
    known: Known,
    pending: Option<Pending>,
}

/// What became of a transaction.
#[derive(Debug)]
enum Sent {
    /// It happened, at this revision.
    Done(u64),
    /// It did not, and will not: a record has another revision than it compares.
    Behind(u64),
    /// It did not, but one that was sent before the answer may still be on its way.
    BehindMaybe,
    /// The own record in etcd is another one.
    Other(u64, WriterRecord),
    /// It did not happen.
    Never,
    Full,
    Unknown,
    /// The store has stopped.
    Stopped,
}

impl Etcd {
    pub(crate) fn new(cell: Arc<Cell>, runtime: Runtime, threads: Vec<JoinHandle<()>>, known: Known) -> Self {
        Self {
            cell,
            runtime: Some(runtime),
            threads,
            known,
            pending: None,
        }
    }

    /// Runs on the engine's own threads and waits, wherever the caller runs.
    fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        run(self.runtime.as_ref()?, work)
    }

    fn send(&self, request: TxnRequest, nonce: [u8; 16], patience: Duration) -> Sent {
        let (cell, known) = (Arc::clone(&self.cell), self.known.revision);
        let sent = self.run(async move { transact(&cell, request, nonce, known, patience).await });
        sent.unwrap_or(Sent::Stopped)
    }

    /// Finds out what became of the transaction that is pending.
    fn resolve(&mut self, patience: Duration) -> Result<(), EngineError> {
        while let Some(pending) = &mut self.pending {
            let seal = WriterRecord {
                sequence: self.known.record.sequence + 1,
                nonce: random().map_err(|_| EngineError::Unavailable)?,
                batches: Vec::new(),
                ..self.known.record.clone()
            };
            pending.seals.push(seal.clone());
            let key = self.cell.layout.writer(self.cell.options.writer);
            let request = transaction(
                vec![changed_at(&key, self.known.revision)],
                vec![put(&key, seal.to_bytes(&self.cell.shared.hasher, &key))],
                vec![range_op(&key)],
            );
            let (revision, record) = match self.send(request, seal.nonce, patience) {
                Sent::Done(revision) => (revision, seal),
                Sent::Other(revision, record) => {
                    let pending = self.pending.as_ref();
                    let ours = pending.is_some_and(|pending| {
                        let mut sent = pending.seals.iter().chain([&pending.record]);
                        sent.any(|sent| sent.nonce == record.nonce)
                    });
                    if !ours {
                        return Err(self.fenced());
                    }
                    (revision, record)
                }
                Sent::Stopped => return Err(EngineError::Stopped),
                _ => return Err(EngineError::Unavailable),
            };
            self.pending = None;
            self.known = Known { revision, record };
        }
        // Whatever happened is in memory before anything is built on it.
        let known = self.known.revision;
        if self.cell.wait_for(known, patience) {
            Ok(())
        } else {
            Err(EngineError::Unavailable)
        }
    }

    fn fenced(&self) -> EngineError {
        self.cell.stop(Fatal::Fenced);
        EngineError::Fatal(Fatal::Fenced)
    }

    /// The transaction of a stage, and the record of the writer in it.
    fn build(&self, staged: &Staged) -> Result<(TxnRequest, WriterRecord), EngineError> {
        let (cell, hasher) = (&self.cell, &self.cell.shared.hasher);
        let guards = staged.shared.as_ref().ok_or(EngineError::Unavailable)?;
        let writer_key = cell.layout.writer(cell.options.writer);
        let mut compares = vec![changed_at(&writer_key, self.known.revision)];
        if guards.records.len() < TRANSACTION {
            for (path, revision) in &guards.records {
                compares.push(changed_at(&cell.layout.record(path), revision.map_or(0, etcd_revision)));
            }
        } else {
            // Too many: that nobody has written to their groups says the same and more.
            let mut groups: Vec<_> = guards.records.keys().map(|path| path.group()).collect();
            groups.dedup();
            for group in groups {
                compares.push(unchanged_since(cell.layout.heads(group), guards.mark));
            }
        }
        let mut ops = Vec::new();
        let mut record = WriterRecord {
            sequence: self.known.record.sequence + 1,
            nonce: random().map_err(|_| EngineError::Unavailable)?,
            batches: Vec::with_capacity(staged.commits.len()),
            ..self.known.record.clone()
        };
        for commit in &staged.commits {
            let before = ops.len();
            for write in &commit.writes {
                let key = cell.layout.record(&write.path);
                match &write.value {
                    Some(value) => ops.push(put(&key, values::record(write.version, value))),
                    // etcd tells nothing of a key that was not there.
                    None if guards.records.get(&write.path).is_some_and(Option::is_some) => ops.push(delete(&key)),
                    None => {}
                }
            }
            record.batches.push((commit.operation, (ops.len() - before) as u16));
        }
        let heads = cell.heads.lock();
        let own = heads.get(&cell.options.writer);
        for (group, head) in &staged.heads {
            let before = guards.heads.get(group).copied().unwrap_or_default();
            let old = own.and_then(|own| own.heads.get(group)).copied();
            let new = old.unwrap_or_default().plus(&head.minus(&before));
            if let Some(old) = old {
                record.total.subtract(hasher.group(group, &old));
            }
            record.total.add(hasher.group(group, &new));
            let key = cell.layout.head(group, cell.options.writer);
            ops.push(put(&key, values::head(hasher, &key, &new)));
        }
        drop(heads);
        ops.push(put(&writer_key, record.to_bytes(hasher, &writer_key)));
        Ok((transaction(compares, ops, vec![range_op(&writer_key)]), record))
    }

    fn done(&mut self, revision: u64, record: WriterRecord, barrier: bool) -> Result<Durable, EngineError> {
        self.known = Known { revision, record };
        if !self.cell.wait_for(revision, self.cell.options.patience) {
            // It is durable; memory will have it when the watch is back.
            return Err(EngineError::Unknown);
        }
        if barrier {
            // INV-6: a store that went back to before a destroy is noticed.
            self.cell.write_anchor();
        }
        Ok(Durable::Applied(first_revision(revision)))
    }
}

impl Engine for Etcd {
    fn prepare(&mut self, _bytes: usize, _reserve: bool) -> Result<(), EngineError> {
        Ok(())
    }

    fn stage_bytes(&self) -> usize {
        STAGE_BYTES
    }

    /// Each path once, since etcd takes no key twice; and all of it within etcd's limits.
    fn takes(&self, load: &mut Load, batch: &Batch) -> bool {
        let keys = self.cell.options.url.prefix.len() + 64;
        let compared: usize = batch
            .compares
            .iter()
            .map(|compare| compare.path.as_str().len() + keys)
            .sum();
        load.bytes += batch.frame_bytes() + compared + batch.writes.len() * 2 * keys;
        load.bytes += batch
            .writes
            .iter()
            .map(|write| write.path.as_str().len())
            .sum::<usize>();
        load.batches += 1;
        load.writes += batch.writes.len();
        load.groups
            .extend(batch.writes.iter().map(|write| write.path.group().to_owned()));
        let new = batch.writes.iter().all(|write| load.paths.insert(write.path.clone()));
        new && load.batches < TRANSACTION
            && load.bytes <= STAGE_BYTES
            && load.writes + load.groups.len() < TRANSACTION - 1
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn commit(&mut self, staged: &Staged) -> Result<Durable, EngineError> {
        self.resolve(self.cell.options.call)?;
        let (request, record) = self.build(staged)?;
        let barrier = staged.shared.as_ref().is_some_and(|guards| guards.barrier);
        match self.send(request, record.nonce, self.cell.options.patience) {
            Sent::Done(revision) => self.done(revision, record, barrier),
            Sent::Behind(revision) => {
                self.cell.figures.conflicts.fetch_add(1, Ordering::Relaxed);
                // What the other has written is checked against next.
                self.cell.wait_for(revision, self.cell.options.patience);
                Err(EngineError::Behind)
            }
            Sent::BehindMaybe => {
                let nonce = record.nonce;
                self.pending = Some(Pending {
                    record,
                    seals: Vec::new(),
                });
                match self.resolve(self.cell.options.patience) {
                    Ok(()) if self.known.record.nonce == nonce => {
                        self.done(self.known.revision, self.known.record.clone(), barrier)
                    }
                    Ok(()) => Err(EngineError::Behind),
                    Err(EngineError::Unavailable) => Err(EngineError::Unknown),
                    Err(error) => Err(error),
                }
            }
            Sent::Other(..) => Err(self.fenced()),
            Sent::Never => Err(EngineError::Unavailable),
            Sent::Full => Err(EngineError::Full),
            Sent::Stopped => Err(EngineError::Stopped),
            Sent::Unknown => {
                self.pending = Some(Pending {
                    record,
                    seals: Vec::new(),
                });
                Err(EngineError::Unknown)
            }
        }
    }

    fn settle(&mut self) {
        if self.pending.is_some() {
            let _ = self.resolve(self.cell.options.call / 4);
        }
    }

    fn applied(&mut self, _staged: &Staged) {}

    fn check(&mut self) -> Option<bool> {
        let cell = Arc::clone(&self.cell);
        let found = self.run(async move { load::everything(&cell.client, &cell.layout, &cell.shared.hasher).await });
        let found = found?.ok()?;
        if !self.cell.wait_for(found.revision, self.cell.options.patience) {
            return None;
        }
        // No commit of this node is under way.
        let state = self.cell.shared.state.read();
        let same = state.records.len() == found.state.records.len()
            && state
                .records
                .iter()
                .zip(&found.state.records)
                .all(|((path, record), (other, there))| {
                    path == other && record.version == there.version && record.value == there.value
                });
        let known = |name| state.groups.get(name).is_some_and(|group| group.trouble.is_some());
        let mut troubles = found.state.groups.iter().filter(|(_, group)| group.trouble.is_some());
        Some(same && troubles.all(|(name, _)| known(name)))
    }

    /// [`crate::engine::Standing`] tells them.
    fn status(&self, _status: &mut StoreStatus) {}

    fn close(&mut self, _last: &Staged) -> Result<(), CloseError> {
        let key = self.cell.layout.beat(self.cell.options.writer);
        self.cell.end();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store has panicked");
            }
        }
        self.cell.write_anchor();
        // Without its beat another node need not wait. If it stays, the next process of this node knows its own place.
        let writer = self.cell.layout.writer(self.cell.options.writer);
        let request = transaction(
            vec![changed_at(&writer, self.known.revision)],
            vec![delete(&key)],
            Vec::new(),
        );
        let (cell, fatal) = (Arc::clone(&self.cell), self.cell.fatal.load(Ordering::SeqCst));
        if !fatal && self.pending.is_none() {
            let left = self.run(async move { cell.client.txn(request).await });
            if let Some(Err(failure)) = left {
                tracing::warn!(%failure, "this node's beat stays in etcd");
            }
        }
        Ok(())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.cell.end();
        for thread in self.threads.drain(..) {
            // The last handle of the store may be dropped by a thread of its own, which tells of its end.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
        if let Some(runtime) = self.runtime.take() {
            // Dropping one waits, which may not be done on a thread of another runtime.
            runtime.shutdown_background();
        }
    }
}

/// Runs `work` on the runtime's threads and waits for it, on whatever thread the caller is.
pub(crate) fn run<T: Send + 'static>(runtime: &Runtime, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let (done, wait) = sync_channel(1);
    runtime.spawn(async move {
        // The caller waits for it.
        let _ = done.send(work.await);
    });
    wait.recv().ok()
}

/// Sends a transaction until its outcome is known: it rewrites the writer's record at `known`, so it happens once at most.
async fn transact(cell: &Cell, request: TxnRequest, nonce: [u8; 16], known: u64, patience: Duration) -> Sent {
    let until = Instant::now() + patience;
    let mut sent = false;
    loop {
        if cell.is_ending() {
            return if sent { Sent::Unknown } else { Sent::Stopped };
        }
        let before = cell.highest();
        cell.figures.transactions.fetch_add(1, Ordering::Relaxed);
        if sent {
            cell.figures.repeated.fetch_add(1, Ordering::Relaxed);
        }
        match cell.client.txn(request.clone()).await {
            Ok(answer) => {
                let Ok(revision) = cell.news(answer.header.as_ref(), before) else {
                    return Sent::Stopped;
                };
                if answer.succeeded {
                    return Sent::Done(revision);
                }
                return match own_record(cell, &answer) {
                    Some((at, record)) if record.nonce == nonce => Sent::Done(at),
                    Some((at, _)) if at == known && sent => Sent::BehindMaybe,
                    Some((at, _)) if at == known => Sent::Behind(revision),
                    Some((at, record)) => Sent::Other(at, record),
                    None => Sent::Other(0, WriterRecord::default()),
                };
            }
            Err(Failure::NotSent(why)) => tracing::debug!(why, "etcd cannot be asked"),
            Err(Failure::NoAnswer(why)) => {
                tracing::debug!(why, "the outcome of a transaction is unknown");
                sent = true;
            }
            Err(Failure::NoRoom(why)) => {
                tracing::error!(why, "etcd has no room");
                return after_no_room(cell, nonce, sent).await;
            }
            Err(failure @ (Failure::Refused(_) | Failure::Compacted)) => {
                tracing::error!(%failure, "etcd refuses a transaction");
                return if sent { Sent::Unknown } else { Sent::Never };
            }
        }
        if Instant::now() >= until {
            return if sent { Sent::Unknown } else { Sent::Never };
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// etcd looks for room before and after it does something: only its record tells.
async fn after_no_room(cell: &Cell, nonce: [u8; 16], sent: bool) -> Sent {
    let request = RangeRequest {
        key: cell.layout.writer(cell.options.writer).into(),
        ..RangeRequest::default()
    };
    let Ok(answer) = cell.client.range(request).await else {
        return Sent::Unknown;
    };
    match answer.kvs.first().and_then(|kv| writer_record(cell, kv)) {
        Some((at, record)) if record.nonce == nonce => Sent::Done(at),
        _ if sent => Sent::Unknown,
        _ => Sent::Full,
    }
}

/// The writer's record in the answer to a transaction that did not happen.
fn own_record(cell: &Cell, answer: &TxnResponse) -> Option<(u64, WriterRecord)> {
    match answer.responses.first()?.response.as_ref()? {
        response_op::Response::ResponseRange(range) => writer_record(cell, range.kvs.first()?),
        _ => None,
    }
}

fn writer_record(cell: &Cell, kv: &KeyValue) -> Option<(u64, WriterRecord)> {
    let record = WriterRecord::read(&cell.shared.hasher, &kv.key, &kv.value).ok()?;
    Some((kv.mod_revision.cast_unsigned(), record))
}

pub(crate) fn transaction(compare: Vec<Compare>, success: Vec<RequestOp>, failure: Vec<RequestOp>) -> TxnRequest {
    TxnRequest {
        compare,
        success,
        failure,
    }
}

/// The key was last changed at this revision; 0: it is absent.
pub(crate) fn changed_at(key: &[u8], revision: u64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: key.to_vec().into(),
        target_union: Some(TargetUnion::ModRevision(revision.cast_signed())),
        range_end: bytes::Bytes::new(),
    }
}

/// No key of the range was changed after this revision.
fn unchanged_since((from, to): (Vec<u8>, Vec<u8>), revision: u64) -> Compare {
    Compare {
        result: CompareResult::Less.into(),
        target: CompareTarget::Mod.into(),
        key: from.into(),
        target_union: Some(TargetUnion::ModRevision(revision.cast_signed() + 1)),
        range_end: to.into(),
    }
}

pub(crate) fn put(key: &[u8], value: Vec<u8>) -> RequestOp {
    op(request_op::Request::RequestPut(PutRequest {
        key: key.to_vec().into(),
        value: value.into(),
    }))
}

pub(crate) fn delete(key: &[u8]) -> RequestOp {
    op(request_op::Request::RequestDeleteRange(DeleteRangeRequest {
        key: key.to_vec().into(),
        range_end: bytes::Bytes::new(),
    }))
}

pub(crate) fn range_op(key: &[u8]) -> RequestOp {
    op(request_op::Request::RequestRange(RangeRequest {
        key: key.to_vec().into(),
        ..RangeRequest::default()
    }))
}

fn op(request: request_op::Request) -> RequestOp {
    RequestOp { request: Some(request) }
}
