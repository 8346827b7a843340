//! The handle of the log: acts come in, entries go out. What changes the store takes a [`Audit::write`] into its batch and calls
//! [`Audit::committed`] after it; what changes nothing is noted in memory and chained soon. The chain itself is `chainer`'s.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hsmd_crypto::random;
use hsmd_proto::ids::NodeId;
use hsmd_store::{Batch, Path, Store, Write};
use parking_lot::{Condvar, Mutex, RwLock};
use prost::Message;

use super::act::Act;
use super::chain::{Hash, SignedHead, Signer, range_text};
use super::chainer::{self, Chainer};
use super::event::{Event, hex, now_ms};
use super::limiter::Limiter;
use super::records::{EventRecord, PendingRecord, Segment, SegmentRecord};
use super::settings::AuditOptions;
use super::verify::{Report, check_segments};
use crate::core::{Committed, commit, path};
use crate::error::Error;
use crate::records::FORMAT;
use crate::seal::{Barrier, Kind};

/// So many acts wake the chainer before its interval is over.
pub(super) const THRESHOLD: usize = 64;
/// Most noted events in memory; more are counted as lost.
const NOTED: usize = 4096;
/// Most key uses in memory that differ; more are counted as lost.
const USES: usize = 4096;

/// An entry that was just chained.
#[derive(Clone, Debug)]
pub struct Chained {
    /// Its sequence number.
    pub sequence: u64,
    /// The chain's hash after it.
    pub hash: Hash,
    /// Its canonical line.
    pub line: Arc<str>,
}

/// Whom [`Audit::follow`] tells.
pub(super) type Listener = Arc<dyn Fn(&[Chained]) + Send + Sync>;

/// The audit log of a keystore. Ends with it: what was noted is chained then.
pub struct Audit {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What callers and the chainer share.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) barrier: Arc<Barrier>,
    pub(super) node: NodeId,
    /// `/audit-<node>/`.
    pub(super) prefix: String,
    pub(super) options: AuditOptions,
    pub(super) signer: Signer,
    run: u32,
    number: AtomicU64,
    /// Pending records that nobody has told the chainer of.
    pub(super) waiting: AtomicUsize,
    pub(super) inbox: Mutex<Inbox>,
    pub(super) bell: Condvar,
    /// A round has ended.
    pub(super) rested: Condvar,
    pub(super) tip: RwLock<Tip>,
    pub(super) listeners: RwLock<Vec<Listener>>,
}

/// What is to be chained and is in no record.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) events: Vec<EventRecord>,
    pub(super) uses: BTreeMap<Vec<u8>, EventRecord>,
    pub(super) lost: u64,
    pub(super) limiter: Limiter,
    pub(super) stop: bool,
    /// Flushes that were asked for, were done, and the last of them that failed.
    pub(super) asked: u64,
    pub(super) done: u64,
    pub(super) failed: u64,
}

/// The chain's end, its beginning, and where its segments are.
#[derive(Clone)]
pub(super) struct Tip {
    pub(super) head: SignedHead,
    pub(super) dropped: (u64, Hash),
    /// Number of the record -> what it holds.
    pub(super) segments: BTreeMap<u64, Held>,
}

/// A stored segment.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) hash: Hash,
    pub(super) bytes: usize,
    pub(super) time_ms: u64,
    pub(super) version: u64,
}

impl Audit {
    /// Opens the log of a store, or begins it, and starts the chainer.
    pub(crate) fn open(
        store: &Store,
        barrier: &Arc<Barrier>,
        node: NodeId,
        options: &AuditOptions,
    ) -> Result<Self, Error> {
        let opened = chainer::open(store, barrier, node)?;
        let shared = Arc::new(Shared {
            store: store.clone(),
            barrier: Arc::clone(barrier),
            node,
            prefix: opened.prefix,
            options: options.clone(),
            signer: opened.signer,
            run: u32::from_le_bytes(random::array()),
            number: AtomicU64::new(0),
            waiting: AtomicUsize::new(opened.pending),
            inbox: Mutex::default(),
            bell: Condvar::new(),
            rested: Condvar::new(),
            tip: RwLock::new(opened.tip),
            listeners: RwLock::default(),
        });
        shared.inbox.lock().events.extend(opened.events);
        let chainer = Chainer::new(Arc::clone(&shared), opened.tip_version);
        let thread = std::thread::Builder::new().name("hsmd-audit".to_owned());
        let thread = thread.spawn(move || chainer.run())?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// The write that records `events`; it goes into the batch of the act.
    pub(crate) fn write(&self, events: Vec<Event>) -> Write {
        let shared = &self.shared;
        let number = shared.number.fetch_add(1, Ordering::Relaxed);
        let path = path(&format!("{}new/{:08x}{number:x}", shared.prefix, shared.run));
        let record = PendingRecord {
            format: FORMAT,
            events: events.into_iter().map(|event| event.record).collect(),
        };
        let sealed = shared
            .barrier
            .seal(&path, 1, Kind::AuditPending, &record.encode_to_vec());
        Write {
            path,
            version: 1,
            value: Some(sealed),
        }
    }

    /// A batch with a [`Audit::write`] is durable.
    pub(crate) fn committed(&self) {
        self.shared.nudge();
    }

    /// For whoever commits without the log's handle.
    pub(crate) fn nudger(&self) -> impl Fn() + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || shared.nudge()
    }

    /// Whether a record of this act of this source is to be written one by one; if not it has been counted.
    pub(crate) fn admit(&self, event: Event) -> Option<Event> {
        let admitted = self.shared.inbox.lock().limiter.note(now_ms(), event);
        if admitted.is_none() {
            self.shared.bell.notify_one();
        }
        admitted
    }

    /// Records an act that changes nothing in the store: durable soon, not when this returns. Failures and refusals of one source
    /// are counted when they are many.
    pub fn note(&self, event: Event) {
        let mut inbox = self.shared.inbox.lock();
        let limited = !event.outcome().is_ok() || event.record.act == u32::from(Act::ConnectionRefuse.code());
        let event = if limited {
            inbox.limiter.note(now_ms(), event)
        } else {
            Some(event)
        };
        let counted = event.is_none();
        if let Some(event) = event {
            if inbox.events.len() < NOTED {
                inbox.events.push(event.record);
            } else {
                inbox.lost += 1;
            }
        }
        // The chainer gathers from the first one on: waking it for each of the others would cost more than the act itself.
        let rings = counted || inbox.events.len() == 1 || inbox.events.len() == THRESHOLD;
        drop(inbox);
        if rings {
            self.shared.bell.notify_one();
        }
    }

    /// Records the use of a key. Uses alike between two rounds of the chainer are one entry with their number.
    pub(crate) fn note_use(&self, event: Event) {
        let mut inbox = self.shared.inbox.lock();
        let first = inbox.uses.is_empty();
        let record = event.record;
        let alike = EventRecord {
            time_ms: 0,
            since_ms: 0,
            ..record.clone()
        };
        let full = inbox.uses.len() >= USES;
        match inbox.uses.entry(alike.encode_to_vec()) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.count += 1;
                known.time_ms = record.time_ms;
            }
            Entry::Vacant(_) if full => inbox.lost += 1,
            Entry::Vacant(place) => drop(place.insert(record)),
        }
        drop(inbox);
        if first {
            self.shared.bell.notify_one();
        }
    }

    /// Records an act by itself; durable when this returns (INV-2).
    ///
    /// # Errors
    /// From the store.
    pub fn record(&self, event: Event) -> Result<(), Error> {
        let batch = Batch {
            operation: random::array(),
            writes: vec![self.write(vec![event])],
            ..Batch::default()
        };
        match commit(&self.shared.store, batch)? {
            Committed::Done(_) => {
                self.committed();
                Ok(())
            }
            Committed::Conflict(_) => Err(Error::Contended),
        }
    }

    /// Waits until everything that was recorded before is chained; false if the store refuses.
    pub fn flush(&self) -> bool {
        let mut inbox = self.shared.inbox.lock();
        inbox.asked += 1;
        let ticket = inbox.asked;
        self.shared.bell.notify_one();
        let until = Instant::now() + Duration::from_secs(30);
        while inbox.done < ticket && !inbox.stop {
            if self.shared.rested.wait_until(&mut inbox, until).timed_out() {
                return false;
            }
        }
        inbox.done >= ticket && inbox.failed < ticket
    }

    /// Chains what is left and ends the chainer.
    pub(crate) fn stop(&self) {
        self.shared.inbox.lock().stop = true;
        self.shared.bell.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the audit log's thread has panicked");
        }
        self.shared.rested.notify_all();
    }

    /// The node whose log it is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    /// The public half of the log's key: all that a verifier needs.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.shared.signer.public
    }

    /// The newest signed head.
    #[must_use]
    pub fn head(&self) -> SignedHead {
        self.shared.tip.read().head.clone()
    }

    /// The last entry that is no longer kept (0: none), and the chain's hash after it.
    #[must_use]
    pub fn dropped(&self) -> (u64, Hash) {
        self.shared.tip.read().dropped
    }

    /// The stored entries from `from` on, segment by segment; each is read when it is asked for.
    #[must_use]
    pub fn segments(&self, from: u64) -> Segments {
        let tip = self.shared.tip.read();
        let held = tip.segments.iter().filter(|(_, held)| held.last >= from);
        Segments {
            shared: Arc::clone(&self.shared),
            numbers: held
                .map(|(number, held)| (*number, held.first))
                .collect::<Vec<_>>()
                .into_iter(),
        }
    }

    /// Signs what an export of entries `from` to `to` ends with.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the key does not sign.
    pub fn sign_range(&self, from: (u64, &Hash), to: (u64, &Hash), heads: u64, time_ms: u64) -> Result<Vec<u8>, Error> {
        let text = range_text(self.shared.node, from, to, heads, time_ms);
        self.shared.signer.sign(&text)
    }

    /// Checks everything that is stored.
    #[must_use]
    pub fn verify(&self) -> Report {
        let (head, dropped) = {
            let tip = self.shared.tip.read();
            (tip.head.clone(), tip.dropped)
        };
        let upto = head.sequence;
        let segments = self
            .segments(1)
            .filter(|segment| segment.as_ref().map_or_else(|at| *at, |segment| segment.first) <= upto);
        let report = check_segments(self.node(), &self.public_key(), dropped, segments, &head);
        if report.troubles.is_empty() || self.head() == head {
            return report;
        }
        // The chain grew, or its beginning was dropped, while it was read: once more, with the chainer held off.
        let tip = self.shared.tip.read();
        let (head, dropped) = (tip.head.clone(), tip.dropped);
        let numbers: Vec<_> = tip
            .segments
            .iter()
            .map(|(number, held)| (*number, held.first))
            .collect();
        let segments = numbers
            .into_iter()
            .map(|(number, first)| self.shared.segment(number).ok_or(first));
        check_segments(self.node(), &self.public_key(), dropped, segments, &head)
    }

    /// Calls `listener` with everything that is chained from now on, on the chainer's thread: it must not wait.
    pub fn follow(&self, listener: impl Fn(&[Chained]) + Send + Sync + 'static) {
        self.shared.listeners.write().push(Arc::new(listener));
    }

    /// Whether entries tell labels.
    pub(crate) fn tells_labels(&self) -> bool {
        self.shared.options.labels
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Audit({}, {})", self.shared.node, hex(&self.public_key()))
    }
}

impl Shared {
    fn nudge(&self) {
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        if before == 0 || before + 1 == THRESHOLD {
            // Under the lock, so that the chainer does not miss it between its look and its sleep.
            drop(self.inbox.lock());
            self.bell.notify_one();
        }
    }

    pub(super) fn segment_path(&self, number: u64) -> Path {
        segment_path(&self.prefix, number)
    }

    pub(super) fn segment(&self, number: u64) -> Option<Segment> {
        let path = self.segment_path(number);
        let record = self.store.get(&path)?;
        let opened = self
            .barrier
            .open(&path, record.version, Kind::AuditSegment, &record.value);
        Segment::from_record(SegmentRecord::decode(opened.ok()?.as_slice()).ok()?)
    }
}

pub(super) fn segment_path(prefix: &str, number: u64) -> Path {
    path(&format!("{prefix}log/{number:016x}"))
}

/// Stored segments, read one by one.
pub struct Segments {
    shared: Arc<Shared>,
    numbers: std::vec::IntoIter<(u64, u64)>,
}

impl Iterator for Segments {
    /// `Err`: a segment that does not read (or was dropped meanwhile), with its first entry.
    type Item = Result<Segment, u64>;

    fn next(&mut self) -> Option<Self::Item> {
        let (number, first) = self.numbers.next()?;
        Some(self.shared.segment(number).ok_or(first))
    }
}
