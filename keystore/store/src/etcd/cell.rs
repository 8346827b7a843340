//! What the threads of the etcd engine share: the client, how far memory follows, the heads of all writers, the right to serve, and
//! the one way to stop for good.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;

use crate::batch::Revision;
use crate::engine::Standing;
use crate::etcd::anchor::{Anchor, Mark};
use crate::etcd::api::{RangeRequest, ResponseHeader};
use crate::etcd::client::{Client, seen};
use crate::etcd::layout::Layout;
use crate::etcd::options::{EtcdOptions, WriterId};
use crate::head::{Head, Sum};
use crate::report::{EtcdStatus, Fatal, StoreStatus};
use crate::store::Shared;
use crate::watch::History;

/// Batches of one transaction get revisions of their own: etcd's, shifted by this, and their place.
const PLACES: u32 = 7;

/// The revision of the first batch of a transaction.
pub(crate) fn first_revision(etcd: u64) -> Revision {
    Revision(etcd << PLACES)
}

/// etcd's revision of a batch's.
pub(crate) fn etcd_revision(revision: Revision) -> u64 {
    revision.0 >> PLACES
}

/// What one writer has written of the heads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    pub(crate) sequence: u64,
    pub(crate) total: Sum,
    pub(crate) heads: BTreeMap<Arc<str>, Head>,
}

/// Of all writers.
pub(crate) type Heads = BTreeMap<WriterId, Written>;

/// Counts for status and metrics.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) transactions: AtomicU64,
    pub(crate) repeated: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) watches: AtomicU64,
    pub(crate) reloads: AtomicU64,
}

pub(crate) type Hook = Box<dyn Fn(Fatal) + Send + Sync>;

/// Shared by all threads of one open store.
pub(crate) struct Cell {
    pub(crate) options: EtcdOptions,
    pub(crate) client: Arc<Client>,
    pub(crate) handle: Handle,
    pub(crate) layout: Layout,
    pub(crate) shared: Arc<Shared>,
    pub(crate) history: Arc<History>,
    pub(crate) generation: u64,
    pub(crate) cluster: u64,
    pub(crate) timeline: [u8; 16],
    pub(crate) heads: Mutex<Heads>,
    pub(crate) figures: Figures,
    pub(crate) anchor: Mutex<Anchor>,
    /// Highest revision in an answer that went through etcd's quorum.
    pub(crate) highest: AtomicU64,
    pub(crate) applied: Mutex<u64>,
    pub(crate) moved: Condvar,
    /// When the last beat that etcd took was sent, in milliseconds of CLOCK_BOOTTIME.
    pub(crate) beat_sent: AtomicU64,
    pub(crate) fatal: AtomicBool,
    pub(crate) first_fatal: Mutex<Option<Fatal>>,
    pub(crate) hook: OnceLock<Hook>,
    pub(crate) ending: tokio::sync::watch::Sender<bool>,
}

/// Milliseconds since the machine started, sleep included: a laptop's lid or a paused VM ends the right to serve.
pub(crate) fn boottime() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.cast_unsigned() * 1000 + time.tv_nsec.cast_unsigned() / 1_000_000
}

impl Standing for Cell {
    fn may_serve(&self) -> bool {
        self.serving()
    }

    fn status(&self, status: &mut StoreStatus) {
        status.etcd = Some(self.figures());
    }

    fn position(&self) -> u64 {
        self.mark()
    }

    fn position_of(&self, revision: Revision) -> u64 {
        etcd_revision(revision)
    }

    fn past(&self, position: u64, patience: Duration) -> u64 {
        let until = Instant::now() + patience;
        let mut applied = self.applied.lock();
        while *applied <= position && !self.is_ending() {
            if self.moved.wait_until(&mut applied, until).timed_out() {
                break;
            }
        }
        *applied
    }

    fn sync(&self, patience: Duration) -> Option<u64> {
        let until = Instant::now() + patience;
        let (done, answered) = sync_channel(1);
        let (client, before) = (Arc::clone(&self.client), self.highest());
        let request = RangeRequest {
            key: self.layout.meta().into(),
            ..RangeRequest::default()
        };
        self.handle.spawn(async move {
            // Whoever asked may have given up.
            let _ = done.send(client.range(request).await);
        });
        let answer = answered.recv_timeout(patience).ok()?.ok()?;
        let revision = self.news(answer.header.as_ref(), before).ok()?;
        let left = until.saturating_duration_since(Instant::now());
        self.wait_for(revision, left).then_some(revision)
    }
}

/// The answer came from another cluster, or from an older history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WentBack;

impl Cell {
    /// Checks an answer that went through etcd's quorum, to a question that was sent when `before` was the highest revision.
    pub(crate) fn news(&self, header: Option<&ResponseHeader>, before: u64) -> Result<u64, WentBack> {
        let (revision, cluster) = seen(header);
        if cluster != self.cluster || revision < before {
            tracing::error!(
                revision,
                before,
                cluster,
                expected = self.cluster,
                "the store in etcd went backwards"
            );
            self.stop(Fatal::WentBack);
            return Err(WentBack);
        }
        self.highest.fetch_max(revision, Ordering::SeqCst);
        Ok(revision)
    }

    pub(crate) fn highest(&self) -> u64 {
        self.highest.load(Ordering::SeqCst)
    }

    /// Stops for good: commits are refused, the threads end, the hook is told.
    pub(crate) fn stop(&self, fatal: Fatal) {
        if self.fatal.swap(true, Ordering::SeqCst) {
            return;
        }
        *self.first_fatal.lock() = Some(fatal);
        self.end();
        if let Some(hook) = self.hook.get() {
            hook(fatal);
        }
    }

    /// Tells `hook` when the store stops for good, also if it has.
    pub(crate) fn when_fatal(&self, hook: impl Fn(Fatal) + Send + Sync + 'static) {
        let _ = self.hook.set(Box::new(hook));
        if let (Some(fatal), Some(hook)) = (*self.first_fatal.lock(), self.hook.get()) {
            hook(fatal);
        }
    }

    /// Lets the threads end.
    pub(crate) fn end(&self) {
        self.ending.send_replace(true);
        self.moved.notify_all();
    }

    pub(crate) fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }

    /// Memory holds everything up to this revision of etcd's.
    pub(crate) fn reached(&self, revision: u64) {
        let mut applied = self.applied.lock();
        *applied = revision.max(*applied);
        drop(applied);
        self.moved.notify_all();
    }

    pub(crate) fn mark(&self) -> u64 {
        *self.applied.lock()
    }

    /// Waits until memory holds everything up to `revision`. The watch is renewed if it is slow.
    pub(crate) fn wait_for(&self, revision: u64, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut applied = self.applied.lock();
        while *applied < revision {
            let now = Instant::now();
            if now >= until || self.is_ending() {
                return false;
            }
            let slice = until.min(now + self.options.call);
            if self.moved.wait_until(&mut applied, slice).timed_out() && *applied < revision {
                self.client.give_up();
            }
        }
        true
    }

    /// The last beat is recent enough: no other process can have taken this one's place yet.
    fn serving(&self) -> bool {
        !self.fatal.load(Ordering::SeqCst) && self.beat_age() < self.options.serve
    }

    pub(crate) fn beat_age(&self) -> Duration {
        Duration::from_millis(boottime().saturating_sub(self.beat_sent.load(Ordering::SeqCst)))
    }

    /// Remembers beside the daemon's own keys how far the store has come.
    pub(crate) fn write_anchor(&self) {
        let sequence = self
            .heads
            .lock()
            .get(&self.options.writer)
            .map_or(0, |own| own.sequence);
        let mark = Mark {
            cluster: self.cluster,
            timeline: self.timeline,
            revision: self.highest(),
            sequence,
        };
        if let Err(error) = self.anchor.lock().write(&self.shared.hasher, mark) {
            tracing::error!(%error, "the anchor cannot be written: a store that goes back may not be noticed");
        }
    }

    fn figures(&self) -> EtcdStatus {
        let figure = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        EtcdStatus {
            endpoint: self.client.endpoint(),
            cluster: self.cluster,
            revision: self.mark(),
            beat_age: self.beat_age(),
            serving: self.serving(),
            transactions: figure(&self.figures.transactions),
            repeated: figure(&self.figures.repeated),
            conflicts: figure(&self.figures.conflicts),
            watches: figure(&self.figures.watches),
            reloads: figure(&self.figures.reloads),
        }
    }
}
