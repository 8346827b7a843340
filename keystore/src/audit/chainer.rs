//! The thread that makes the chain. A round: the pending records in the order of their commits, then what was noted in memory;
//! as many as fit become entries; one batch holds the entries, the new head and the removal of the pending records, so after a
//! crash at any moment each act is pending or chained, never both and never neither (INV-2, INV-10).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hsmd_crypto::random;
use hsmd_crypto::secret::SecretArray;
use hsmd_proto::ids::NodeId;
use hsmd_store::{Batch, Path, Record, Store, Write};
use prost::Message;

use super::act::Act;
use super::chain::{Hash, SignedHead, Signer, digest, link, origin};
use super::event::{Event, hex, now_ms};
use super::log::{Chained, Held, Shared, THRESHOLD, Tip, segment_path};
use super::records::{EventRecord, PendingRecord, Segment, SegmentRecord, TipRecord};
use crate::core::{Committed, commit, path};
use crate::error::Error;
use crate::records::FORMAT;
use crate::seal::{Barrier, Kind};
use crate::shared::is_standing;

/// A segment of fewer bytes is written again with what comes next, so that a calm log is not one record an entry.
const SMALL: usize = 4 << 10;
/// Most bytes of entries in a segment: with the rest it stays under the store's limit of a record.
const LARGE: usize = 48 << 10;
/// Most pending records in one batch, of the store's hundred writes.
const PENDING: usize = 90;
/// Most segments that one round drops.
const DROPS: usize = 6;
/// How long a refused round waits for space.
const RETRY: Duration = Duration::from_secs(1);

/// What a start found.
pub(super) struct Opened {
    pub(super) prefix: String,
    pub(super) signer: Signer,
    pub(super) tip: Tip,
    pub(super) tip_version: u64,
    pub(super) pending: usize,
    /// What the log has to say of itself.
    pub(super) events: Vec<EventRecord>,
}

/// Finds the log of this node. One whose records do not fit their head stays as it is, and another begins beside it (INV-7).
pub(super) fn open(store: &Store, barrier: &Barrier, node: NodeId) -> Result<Opened, Error> {
    let quarantined = store.quarantined();
    let mut events = Vec::new();
    for age in 0_u32.. {
        let group = if age == 0 {
            format!("/audit-{node}")
        } else {
            format!("/audit-{node}-{age}")
        };
        let prefix = format!("{group}/");
        let damaged = quarantined.iter().any(|(name, _)| *name == group);
        match (!damaged).then(|| open_at(store, barrier, node, &prefix)).transpose() {
            Ok(Some(mut opened)) => {
                if opened.tip.head.sequence == 0 {
                    opened.events.append(&mut events);
                }
                return Ok(opened);
            }
            Ok(None) | Err(Error::Damaged(_)) => {
                tracing::error!(group, "the audit log is damaged; a new one begins");
                let known = read_tip(store, barrier, &prefix).map_or_else(
                    |_| "its head cannot be read".to_owned(),
                    |(tip, _)| format!("its head: entry {} hash {}", tip.head.sequence, hex(&tip.head.hash)),
                );
                events.push(Event::new(Act::LogRestart).detail(format!("{group} {known}")).record);
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::Damaged(format!("/audit-{node}")))
}

fn open_at(store: &Store, barrier: &Barrier, node: NodeId, prefix: &str) -> Result<Opened, Error> {
    let signer = match store.get(&key_path(prefix)) {
        Some(record) => read_key(barrier, &key_path(prefix), &record)?,
        None => make_key(store, barrier, prefix)?,
    };
    let (mut tip, tip_version) = read_tip(store, barrier, prefix)?;
    if tip_version == 0 {
        let hash = origin(node, &signer.public);
        tip.head = signer.head(node, 0, hash, now_ms())?;
        tip.dropped = (0, hash);
    }
    for (path, record) in store.scan(&format!("{prefix}log/")) {
        let damaged = || Error::Damaged(path.to_string());
        let number = path.as_str().rsplit('/').next().unwrap_or_default();
        let number = u64::from_str_radix(number, 16).map_err(|_| damaged())?;
        let plain = barrier
            .open(&path, record.version, Kind::AuditSegment, &record.value)
            .map_err(|_| damaged())?;
        let segment = SegmentRecord::decode(plain.as_slice()).map_err(|_| damaged())?;
        let segment = Segment::from_record(segment).ok_or_else(damaged)?;
        tip.segments.insert(number, held(&segment, record.version));
    }
    Ok(Opened {
        pending: store.scan(&format!("{prefix}new/")).len(),
        prefix: prefix.to_owned(),
        signer,
        tip,
        tip_version,
        events: Vec::new(),
    })
}

fn key_path(prefix: &str) -> Path {
    path(&format!("{prefix}key"))
}

fn tip_path(prefix: &str) -> Path {
    path(&format!("{prefix}head"))
}

fn read_key(barrier: &Barrier, path: &Path, record: &Record) -> Result<Signer, Error> {
    let seed = barrier
        .open(path, record.version, Kind::AuditKey, &record.value)
        .map_err(|_| Error::Damaged(path.to_string()))?;
    Signer::open(&seed)
}

fn make_key(store: &Store, barrier: &Barrier, prefix: &str) -> Result<Signer, Error> {
    let seed: SecretArray<32> = SecretArray::random();
    let path = key_path(prefix);
    let sealed = barrier.seal(&path, 1, Kind::AuditKey, seed.expose());
    let batch = Batch {
        operation: random::array(),
        writes: vec![Write {
            path,
            version: 1,
            value: Some(sealed),
        }],
        ..Batch::default()
    };
    match commit(store, batch)? {
        Committed::Done(_) => Signer::open(seed.expose()),
        Committed::Conflict(_) => Err(Error::Contended),
    }
}

/// The stored tip and its version; before the first entry, an empty one of version 0.
fn read_tip(store: &Store, barrier: &Barrier, prefix: &str) -> Result<(Tip, u64), Error> {
    let path = tip_path(prefix);
    let damaged = || Error::Damaged(path.to_string());
    let empty = SignedHead {
        sequence: 0,
        hash: [0; 32],
        time_ms: 0,
        signature: Vec::new(),
    };
    let Some(record) = store.get(&path) else {
        let tip = Tip {
            head: empty,
            dropped: (0, [0; 32]),
            segments: BTreeMap::new(),
        };
        return Ok((tip, 0));
    };
    let plain = barrier
        .open(&path, record.version, Kind::AuditHead, &record.value)
        .map_err(|_| damaged())?;
    let found = TipRecord::decode(plain.as_slice()).map_err(|_| damaged())?;
    if found.format > FORMAT {
        return Err(Error::UnknownFormat(found.format));
    }
    let head = found.head.and_then(SignedHead::from_record).ok_or_else(damaged)?;
    let dropped: Hash = found.dropped_hash.try_into().map_err(|_| damaged())?;
    let tip = Tip {
        head,
        dropped: (found.dropped, dropped),
        segments: BTreeMap::new(),
    };
    Ok((tip, record.version))
}

fn held(segment: &Segment, version: u64) -> Held {
    Held {
        first: segment.first,
        last: segment.head.sequence,
        hash: segment.head.hash,
        bytes: segment.bytes(),
        time_ms: segment.head.time_ms,
        version,
    }
}

/// The thread.
pub(super) struct Chainer {
    shared: Arc<Shared>,
    tip_version: u64,
    refused: bool,
}

impl Chainer {
    pub(super) fn new(shared: Arc<Shared>, tip_version: u64) -> Self {
        Self {
            shared,
            tip_version,
            refused: false,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let (stop, asked) = self.wait();
            let well = match self.round(stop) {
                Ok(()) => true,
                Err(error) => {
                    if !self.refused {
                        tracing::warn!(%error, "the audit log waits: what was done is recorded and will be chained later");
                    }
                    false
                }
            };
            self.refused = !well;
            let mut inbox = self.shared.inbox.lock();
            inbox.done = inbox.done.max(asked);
            if !well {
                inbox.failed = inbox.done;
            }
            drop(inbox);
            self.shared.rested.notify_all();
            if stop {
                return;
            }
        }
    }

    /// Sleeps until there is something to chain and the interval is over, or somebody waits for it.
    fn wait(&self) -> (bool, u64) {
        let mut inbox = self.shared.inbox.lock();
        let begun = Instant::now();
        let interval = if self.refused {
            RETRY
        } else {
            self.shared.options.interval
        };
        let mut gathering: Option<Instant> = self.refused.then(|| begun + interval);
        loop {
            let waiting = self.shared.waiting.load(Ordering::Acquire) + inbox.events.len() + inbox.uses.len();
            if inbox.stop || inbox.asked > inbox.done {
                break;
            }
            if waiting >= THRESHOLD && !self.refused {
                break;
            }
            if waiting > 0 {
                gathering.get_or_insert_with(|| Instant::now() + interval);
            }
            let now = now_ms();
            let counted = inbox.limiter.next();
            if counted.is_some_and(|at| at <= now) && !self.refused {
                break;
            }
            let counted = counted.map(|at| Instant::now() + Duration::from_millis(at.saturating_sub(now).max(1)));
            match [gathering, counted].into_iter().flatten().min() {
                None => self.shared.bell.wait(&mut inbox),
                Some(until) => drop(self.shared.bell.wait_until(&mut inbox, until)),
            }
            if gathering.is_some_and(|until| until <= Instant::now()) {
                break;
            }
        }
        (inbox.stop, inbox.asked)
    }

    /// Chains all that there is.
    fn round(&mut self, stop: bool) -> Result<(), Error> {
        self.shared.waiting.store(0, Ordering::Release);
        let mut pending = self.pending();
        let mut noted = self.noted(stop);
        let mut at = 0;
        let result = loop {
            if pending.is_empty() && at == noted.len() {
                break Ok(());
            }
            match self.chain_some(&mut pending, &noted[at..]) {
                Ok(used) => at += used,
                Err(error) => break Err(error),
            }
        };
        if at < noted.len() {
            // Before what was noted meanwhile.
            let mut inbox = self.shared.inbox.lock();
            let mut again = noted.split_off(at);
            again.append(&mut inbox.events);
            inbox.events = again;
        }
        result
    }

    /// What was noted in memory, in the order of time; counts whose windows have ended among it.
    fn noted(&self, stop: bool) -> Vec<EventRecord> {
        let mut inbox = self.shared.inbox.lock();
        let mut noted = std::mem::take(&mut inbox.events);
        noted.extend(std::mem::take(&mut inbox.uses).into_values());
        noted.extend(inbox.limiter.due(now_ms(), stop).into_iter().map(|event| event.record));
        if inbox.lost > 0 {
            let lost = std::mem::take(&mut inbox.lost);
            let event = Event::new(Act::LogLoss)
                .times(lost)
                .detail("the queue in memory was full");
            noted.push(event.record);
        }
        noted
    }

    /// The pending records in the order of their commits.
    fn pending(&self) -> Vec<(Path, Record)> {
        let mut pending = self.shared.store.scan(&format!("{}new/", self.shared.prefix));
        pending.sort_by_key(|(_, record)| std::cmp::Reverse(record.revision));
        pending
    }

    /// Chains what fits into one segment; gives how many of `noted` were among it. `pending` has the oldest last.
    fn chain_some(&mut self, pending: &mut Vec<(Path, Record)>, noted: &[EventRecord]) -> Result<usize, Error> {
        let tip = self.shared.tip.read().clone();
        let (number, version, mut segment) = self.open_segment(&tip);
        let mut draft = Draft {
            sequence: tip.head.sequence,
            hash: tip.head.hash,
            bytes: segment.bytes(),
            lines: Vec::new(),
        };
        let mut gone = Vec::new();
        while let Some((path, record)) = pending.last() {
            let events = self.open_pending(path, record);
            if gone.len() >= PENDING || !draft.fits(&events) {
                break;
            }
            draft.add(&events);
            gone.push((path.clone(), record.version));
            pending.pop();
        }
        let mut used = 0;
        if pending.is_empty() {
            for event in noted {
                if !draft.fits(std::slice::from_ref(event)) {
                    break;
                }
                draft.add(std::slice::from_ref(event));
                used += 1;
            }
        }
        let drops = self.drops(&tip, number, draft.bytes);
        let dropped = drops.last().map_or(tip.dropped, |(_, held)| (held.last, held.hash));
        if dropped != tip.dropped {
            let detail = format!("entries up to {} hash {}", dropped.0, hex(&dropped.1));
            draft.add(&[Event::new(Act::LogDrop).detail(detail).record]);
        }
        let head = self
            .shared
            .signer
            .head(self.shared.node, draft.sequence, draft.hash, now_ms())?;
        segment
            .lines
            .extend(draft.lines.iter().map(|chained| chained.line.to_string()));
        segment.head = head.clone();
        let mut next = tip;
        next.head = head;
        next.dropped = dropped;
        for (number, _) in &drops {
            next.segments.remove(number);
        }
        next.segments.insert(number, held(&segment, version + 1));
        let batch = self.batch(&next, (number, version, &segment), gone, &drops);
        match commit(&self.shared.store, batch)? {
            Committed::Done(_) => {}
            // This node is out of its fleet for the moment: the round is made again.
            Committed::Conflict(path) if is_standing(&path) => return Err(Error::Fenced),
            Committed::Conflict(path) => return Err(Error::Damaged(path.to_string())),
        }
        self.tip_version += 1;
        *self.shared.tip.write() = next;
        for listener in self.shared.listeners.read().iter() {
            listener(&draft.lines);
        }
        Ok(used)
    }

    /// The segment that goes on, or a new one: its number, its version, its content so far.
    fn open_segment(&self, tip: &Tip) -> (u64, u64, Segment) {
        let last = tip.segments.last_key_value();
        if let Some((number, held)) = last
            && held.bytes < SMALL
            && let Some(segment) = self.shared.segment(*number)
        {
            return (*number, held.version, segment);
        }
        let segment = Segment {
            first: tip.head.sequence + 1,
            base: tip.head.hash,
            lines: Vec::new(),
            head: tip.head.clone(),
        };
        (last.map_or(0, |(number, _)| number + 1), 0, segment)
    }

    /// A record that does not open is told in the log instead.
    fn open_pending(&self, path: &Path, record: &Record) -> Vec<EventRecord> {
        let opened = self
            .shared
            .barrier
            .open(path, record.version, Kind::AuditPending, &record.value);
        let pending = opened
            .ok()
            .and_then(|plain| PendingRecord::decode(plain.as_slice()).ok());
        pending.map_or_else(
            || {
                let detail = format!("the record {path} is damaged");
                vec![Event::new(Act::LogLoss).detail(detail).record]
            },
            |pending| pending.events,
        )
    }

    /// The oldest segments that are over the limits; never the one that is being written.
    fn drops(&self, tip: &Tip, open: u64, added: usize) -> Vec<(u64, Held)> {
        let options = &self.shared.options;
        let kept: usize = tip.segments.values().map(|held| held.bytes).sum();
        let mut bytes = kept.saturating_add(added) as u64;
        let now = now_ms();
        let keep = options
            .keep
            .map(|keep| u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
        let mut drops = Vec::new();
        for (number, held) in tip.segments.iter().take(DROPS) {
            let old = keep.is_some_and(|keep| now.saturating_sub(held.time_ms) > keep);
            if *number == open || (bytes <= options.max_bytes && !old) {
                break;
            }
            bytes = bytes.saturating_sub(held.bytes as u64);
            drops.push((*number, *held));
        }
        drops
    }

    fn batch(
        &self,
        next: &Tip,
        (number, version, segment): (u64, u64, &Segment),
        gone: Vec<(Path, u64)>,
        drops: &[(u64, Held)],
    ) -> Batch {
        let shared = &self.shared;
        let tip = TipRecord {
            format: FORMAT,
            head: Some(next.head.record()),
            dropped: next.dropped.0,
            dropped_hash: next.dropped.1.to_vec(),
        };
        let seal = |path: Path, version: u64, kind, plain: &[u8]| Write {
            value: Some(shared.barrier.seal(&path, version + 1, kind, plain)),
            version: version + 1,
            path,
        };
        let mut writes = vec![
            seal(
                shared.segment_path(number),
                version,
                Kind::AuditSegment,
                &segment.record().encode_to_vec(),
            ),
            seal(
                tip_path(&shared.prefix),
                self.tip_version,
                Kind::AuditHead,
                &tip.encode_to_vec(),
            ),
        ];
        let purge = |(path, version): (Path, u64)| Write {
            path,
            version: version + 1,
            value: None,
        };
        writes.extend(gone.into_iter().map(purge));
        let dropped = drops
            .iter()
            .map(|(number, held)| (segment_path(&shared.prefix, *number), held.version));
        writes.extend(dropped.map(purge));
        Batch {
            operation: random::array(),
            writes,
            ..Batch::default()
        }
    }
}

/// Entries on their way into a segment.
struct Draft {
    sequence: u64,
    hash: Hash,
    bytes: usize,
    lines: Vec<Chained>,
}

impl Draft {
    /// Whether these fit as well; the first ones always do.
    fn fits(&self, events: &[EventRecord]) -> bool {
        self.lines.is_empty() || self.bytes + events.len() * 1024 <= LARGE
    }

    fn add(&mut self, events: &[EventRecord]) {
        for event in events {
            self.sequence += 1;
            let line = event.line(self.sequence);
            self.hash = link(&self.hash, &digest(&line));
            self.bytes += line.len();
            self.lines.push(Chained {
                sequence: self.sequence,
                hash: self.hash,
                line: line.into(),
            });
        }
    }
}
