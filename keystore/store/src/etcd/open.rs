//! Opening a store in etcd: which etcd it is, whether it is ours and no older than it was, whether somebody else has it; then the
//! node's own record is claimed, everything is loaded, and the threads start.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::runtime::Runtime;

use crate::batch::Outcome;
use crate::engine::Standing;
use crate::etcd::anchor::{Anchor, Mark};
use crate::etcd::api::{KeyValue, RangeRequest, RangeResponse, TxnRequest, response_op};
use crate::etcd::beat::{self, Pulse};
use crate::etcd::cell::{Cell, Figures, boottime, first_revision};
use crate::etcd::client::{Client, Failure, seen};
use crate::etcd::engine::{Etcd, Known, changed_at, put, range_op, run, transaction};
use crate::etcd::layout::{Layout, Name};
use crate::etcd::load::{self, Everything};
use crate::etcd::options::EtcdOptions;
use crate::etcd::values::{Beat, Meta, WriterRecord};
use crate::etcd::versions::{Verdict, judge};
use crate::etcd::{follow, place};
use crate::head::Hasher;
use crate::keys::StoreKeys;
use crate::report::{LoadReport, Loaded, Notice, OpenError};
use crate::sealing::random;
use crate::state::Operations;
use crate::store::{Parts, Shared};
use crate::watch::History;

/// What [`open`] makes.
pub(crate) struct Opened {
    pub(crate) parts: Parts,
    pub(crate) report: LoadReport,
    pub(crate) cell: Arc<Cell>,
}

/// What is known when the node has claimed its record.
struct Claimed {
    cluster: u64,
    meta: Meta,
    known: Known,
    pulse: Pulse,
    /// When the claim, which is a beat as well, was sent.
    sent: u64,
    everything: Everything,
    fresh: bool,
    version: String,
}

/// Opens or makes a store; see [`crate::Store::open_etcd`].
pub(crate) fn open(options: EtcdOptions, keys: &StoreKeys) -> Result<Opened, OpenError> {
    let hasher = Hasher::new(keys.head(), false);
    let (anchor, mark) = Anchor::open(&options.dir, &hasher, options.faults.clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("hsmd-etcd")
        .enable_all()
        .build()?;
    let opening = Arc::new(Opening {
        client: Client::new(&options)?,
        layout: Layout::new(&options.url.prefix),
        hasher: hasher.clone(),
        mark,
        options: options.clone(),
    });
    let work = Arc::clone(&opening);
    let claimed = run(&runtime, async move { work.claim().await });
    let claimed = claimed.unwrap_or_else(|| Err(OpenError::Unreachable("the client has ended".to_owned())));
    match claimed {
        Ok(claimed) => assemble(opening, claimed, anchor, runtime),
        Err(error) => {
            runtime.shutdown_background();
            Err(error)
        }
    }
}

struct Opening {
    options: EtcdOptions,
    client: Client,
    layout: Layout,
    hasher: Hasher,
    mark: Option<Mark>,
}

fn unreachable(failure: &Failure) -> OpenError {
    OpenError::Unreachable(failure.to_string())
}

impl Opening {
    async fn claim(&self) -> Result<Claimed, OpenError> {
        let version = self.version().await?;
        let (cluster, found, fresh) = self.meta().await?;
        let previous = self.previous().await?;
        let (writer_key, beat_key) = (
            self.layout.writer(self.options.writer),
            self.layout.beat(self.options.writer),
        );
        let old = self.get(&writer_key).await?;
        let (at, old) = match old.kvs.first() {
            None => (0, WriterRecord::default()),
            Some(kv) => {
                let record =
                    WriterRecord::read(&self.hasher, &writer_key, &kv.value).map_err(|_| OpenError::WrongKeys)?;
                (kv.mod_revision.cast_unsigned(), record)
            }
        };
        if let Some(mark) = self.remembered(Some(&found))
            && old.sequence < mark.sequence
        {
            return Err(OpenError::WentBack {
                seen: mark.revision,
                found: at,
            });
        }
        let record = WriterRecord {
            generation: old.generation + 1,
            sequence: old.sequence + 1,
            nonce: random().map_err(std::io::Error::from)?,
            batches: Vec::new(),
            ..old
        };
        let beat = Beat {
            generation: record.generation,
            count: 0,
            place: place::place(&self.options.dir).unwrap_or_default(),
            host: place::host(),
        };
        let mut ops = vec![
            put(&writer_key, record.to_bytes(&self.hasher, &writer_key)),
            put(&beat_key, beat.to_bytes()),
        ];
        let meta = if self.options.accept_rollback {
            let timeline = random().map_err(std::io::Error::from)?;
            let meta = found.successor(timeline, self.mark.map(|mark| mark.timeline));
            ops.push(put(
                &self.layout.meta(),
                meta.to_bytes(&self.hasher, &self.layout.meta()),
            ));
            meta
        } else {
            found
        };
        let compares = vec![changed_at(&writer_key, at), changed_at(&beat_key, previous)];
        let request = transaction(compares, ops, vec![range_op(&writer_key)]);
        let sent = boottime();
        let revision = self.take(request, &writer_key, record.nonce).await?;
        // Only now: whoever came at the same moment sees our beat, or we see theirs.
        if let Err(error) = self.others().await {
            let _ = self.client.txn(self.withdraw()).await;
            return Err(error);
        }
        let everything = load::everything(&self.client, &self.layout, &self.hasher).await;
        Ok(Claimed {
            cluster,
            meta,
            known: Known { revision, record },
            pulse: Pulse { beat, revision },
            sent,
            everything: everything.map_err(|failure| unreachable(&failure))?,
            fresh,
            version,
        })
    }

    /// The version of the first member that answers. A version that can lose data is refused.
    async fn version(&self) -> Result<String, OpenError> {
        let until = Instant::now() + self.options.patience;
        let version = loop {
            match self.client.status().await {
                Ok(status) => break status.version,
                Err(failure) if Instant::now() >= until => return Err(unreachable(&failure)),
                Err(Failure::Refused(why)) => return Err(OpenError::Unreachable(why)),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        match judge(&version) {
            Verdict::Refused(fault) => Err(OpenError::EtcdVersion { version, fault }),
            Verdict::Good | Verdict::Faulty(_) => Ok(version),
        }
    }

    async fn get(&self, key: &[u8]) -> Result<RangeResponse, OpenError> {
        let request = RangeRequest {
            key: key.to_vec().into(),
            ..RangeRequest::default()
        };
        let until = Instant::now() + self.options.patience;
        loop {
            match self.client.range(request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::NotSent(_) | Failure::NoAnswer(_) | Failure::NoRoom(_)) if Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(failure) => return Err(unreachable(&failure)),
            }
        }
    }

    /// Cluster and mark of the store; makes the store if there is none. INV-7: compares with the anchor.
    async fn meta(&self) -> Result<(u64, Meta, bool), OpenError> {
        let key = self.layout.meta();
        let answer = self.get(&key).await?;
        let (revision, cluster) = seen(answer.header.as_ref());
        let meta = answer.kvs.first().map(|kv| Meta::read(&self.hasher, &key, &kv.value));
        let meta = meta.transpose().map_err(|_| OpenError::WrongKeys)?;
        if let Some(mark) = self.remembered(meta.as_ref()) {
            let same = meta.as_ref().is_some_and(|meta| meta.timeline == mark.timeline) && cluster == mark.cluster;
            if !same || revision < mark.revision {
                return Err(OpenError::WentBack {
                    seen: mark.revision,
                    found: revision,
                });
            }
        }
        match meta {
            Some(meta) => Ok((cluster, meta, false)),
            None if !self.options.create => Err(OpenError::Lost),
            None => Ok((cluster, self.make().await?, true)),
        }
    }

    /// What this node remembers and the store must not be behind; nothing, if an operator has accepted that it is.
    fn remembered(&self, meta: Option<&Meta>) -> Option<Mark> {
        let accepted = |mark: &Mark| meta.is_some_and(|meta| meta.previous.contains(&mark.timeline));
        self.mark
            .filter(|mark| !self.options.accept_rollback && !accepted(mark))
    }

    /// Marks an empty prefix as a store.
    async fn make(&self) -> Result<Meta, OpenError> {
        let mut keys = 0;
        let wanted = load::Wanted {
            range: self.layout.all(),
            keys_only: true,
            ..load::Wanted::default()
        };
        let counted = load::pages(&self.client, wanted, |_| keys += 1).await;
        counted.map_err(|failure| unreachable(&failure))?;
        if keys > 0 {
            // Something is there that is no store, or half of one.
            return Err(OpenError::WrongKeys);
        }
        let (key, timeline) = (self.layout.meta(), random().map_err(std::io::Error::from)?);
        let meta = Meta {
            timeline,
            previous: Vec::new(),
        };
        let value = meta.to_bytes(&self.hasher, &key);
        let request = transaction(
            vec![changed_at(&key, 0)],
            vec![put(&key, value.clone())],
            vec![range_op(&key)],
        );
        self.take_if(request, |kv| kv.value == value).await?;
        Ok(meta)
    }

    /// Revision of the beat that a process of this node has left; 0: none. Waits until that process is surely dead.
    async fn previous(&self) -> Result<u64, OpenError> {
        self.others().await?;
        let key = self.layout.beat(self.options.writer);
        let here = place::place(&self.options.dir);
        let since = Instant::now();
        let mut last = None;
        loop {
            let answer = self.get(&key).await?;
            let Some(kv) = answer.kvs.first() else { return Ok(0) };
            let revision = kv.mod_revision.cast_unsigned();
            let beat = Beat::read(&kv.value).unwrap_or_default();
            // The same place, and we hold its lock: whoever wrote this is dead.
            if here.is_some_and(|here| here == beat.place) || since.elapsed() >= self.options.dead {
                return Ok(revision);
            }
            if last.is_some_and(|last| last != revision) {
                return Err(self.in_use(self.options.writer, beat.host));
            }
            last = Some(revision);
            tokio::time::sleep(self.options.beat / 4).await;
        }
    }

    /// Refuses if another node has the store and this one wants it alone.
    async fn others(&self) -> Result<(), OpenError> {
        let mut others = Vec::new();
        let wanted = load::Wanted {
            range: self.layout.beats(),
            ..load::Wanted::default()
        };
        let read = load::pages(&self.client, wanted, |kv| {
            if let Name::Beat(writer) = self.layout.name(&kv.key)
                && writer != self.options.writer
            {
                others.push((writer, Beat::read(&kv.value).unwrap_or_default().host));
            }
        });
        read.await.map_err(|failure| unreachable(&failure))?;
        match others.pop() {
            Some((writer, host)) if self.options.alone => Err(self.in_use(writer, host)),
            _ => Ok(()),
        }
    }

    /// Takes our own beat away again.
    fn withdraw(&self) -> TxnRequest {
        let key = self.layout.beat(self.options.writer);
        let beat = crate::etcd::engine::delete(&key);
        transaction(Vec::new(), vec![beat], Vec::new())
    }

    fn in_use(&self, writer: crate::etcd::WriterId, host: String) -> OpenError {
        OpenError::InUse {
            node: writer.to_string(),
            host: if host.is_empty() {
                "unknown host".to_owned()
            } else {
                host
            },
        }
    }

    /// Sends a transaction that rewrites the writer's record until it has happened, once. Its revision.
    async fn take(&self, request: TxnRequest, key: &[u8], nonce: [u8; 16]) -> Result<u64, OpenError> {
        let ours =
            |kv: &KeyValue| WriterRecord::read(&self.hasher, key, &kv.value).is_ok_and(|record| record.nonce == nonce);
        self.take_if(request, ours).await
    }

    /// As [`Opening::take`]; `ours` says whether what is there was written by this very request.
    async fn take_if(&self, request: TxnRequest, ours: impl Fn(&KeyValue) -> bool) -> Result<u64, OpenError> {
        let until = Instant::now() + self.options.patience;
        loop {
            match self.client.txn(request.clone()).await {
                Ok(answer) if answer.succeeded => return Ok(seen(answer.header.as_ref()).0),
                Ok(answer) => {
                    let found = answer.responses.first().and_then(|op| op.response.as_ref());
                    if let Some(response_op::Response::ResponseRange(range)) = found
                        && let Some(kv) = range.kvs.first()
                        && ours(kv)
                    {
                        return Ok(kv.mod_revision.cast_unsigned());
                    }
                    return Err(self.in_use(self.options.writer, "another process of this node".to_owned()));
                }
                Err(Failure::NotSent(_) | Failure::NoAnswer(_)) if Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(failure) => return Err(unreachable(&failure)),
            }
        }
    }
}

/// Starts the threads and hands everything to the shared layer.
fn assemble(opening: Arc<Opening>, claimed: Claimed, anchor: Anchor, runtime: Runtime) -> Result<Opened, OpenError> {
    let Some(Opening {
        options,
        client,
        layout,
        hasher,
        mark,
    }) = Arc::into_inner(opening)
    else {
        return Err(OpenError::Unreachable("the client has ended".to_owned()));
    };
    let report = report(&claimed, mark);
    let Everything {
        revision,
        state,
        heads,
        writers,
    } = claimed.everything;
    let mut operations = Operations::new(options.limits.operations);
    for (writer, record) in &writers {
        if *writer == options.writer {
            for (operation, _) in &record.batches {
                operations.remember(*operation, Outcome::Committed(state.revision));
            }
        }
    }
    let shared = Arc::new(Shared {
        state: RwLock::new(state),
        hasher,
        operations: Mutex::new(operations),
    });
    let cell = Arc::new(Cell {
        history: History::new(first_revision(revision), options.limits.history),
        client: Arc::new(client),
        handle: runtime.handle().clone(),
        layout,
        shared: Arc::clone(&shared),
        generation: claimed.known.record.generation,
        cluster: claimed.cluster,
        timeline: claimed.meta.timeline,
        heads: Mutex::new(heads),
        figures: Figures::default(),
        anchor: Mutex::new(anchor),
        highest: AtomicU64::new(revision),
        applied: Mutex::new(revision),
        moved: Condvar::new(),
        beat_sent: AtomicU64::new(claimed.sent),
        fatal: AtomicBool::new(false),
        first_fatal: Mutex::new(None),
        hook: OnceLock::new(),
        ending: tokio::sync::watch::channel(false).0,
        options,
    });
    cell.write_anchor();
    let (following, beating) = (Arc::clone(&cell), Arc::clone(&cell));
    let (handle, pulse) = (runtime.handle().clone(), claimed.pulse);
    let follower = std::thread::Builder::new().name("hsmd-etcd-watch".to_owned());
    let follower = follower.spawn(move || handle.block_on(follow::follow(following)))?;
    let handle = runtime.handle().clone();
    let beater = std::thread::Builder::new().name("hsmd-etcd-beat".to_owned());
    let beater = beater.spawn(move || handle.block_on(beat::beat(beating, pulse)))?;
    let engine = Etcd::new(Arc::clone(&cell), runtime, vec![follower, beater], claimed.known);
    let parts = Parts {
        shared,
        limits: cell.options.limits.clone(),
        faults: cell.options.faults.clone(),
        on_fatal: Arc::clone(&cell.options.on_fatal),
        engine: Box::new(engine),
        history: Arc::clone(&cell.history),
        keeper: None,
        standing: Some(Arc::clone(&cell) as Arc<dyn Standing>),
    };
    Ok(Opened { parts, report, cell })
}

fn report(claimed: &Claimed, mark: Option<Mark>) -> LoadReport {
    let mut notices = Vec::new();
    if let Verdict::Faulty(fault) = judge(&claimed.version) {
        notices.push(Notice::EtcdVersion {
            version: claimed.version.clone(),
            fault,
        });
    }
    if mark.is_none() && !claimed.fresh {
        notices.push(Notice::AnchorMissing);
    }
    let state = &claimed.everything.state;
    let groups = state.groups.iter();
    LoadReport {
        loaded: if claimed.fresh { Loaded::Fresh } else { Loaded::Etcd },
        revision: state.revision,
        records: state.records.len(),
        replayed: 0,
        notices,
        quarantined: groups
            .filter_map(|(name, group)| Some((name.to_string(), group.trouble.clone()?)))
            .collect(),
    }
}
