//! The journal's writing side: where batches become durable (INV-2). One frame per stage, one write and one `fdatasync` per
//! frame, in segments prepared beforehand, one of which is kept for destroys and counters when the disk is full.
//!
//! It does not read: see `read`. It does not decide when segments go: see `keeper`.

pub(crate) mod frame;
pub(crate) mod read;
pub(crate) mod segment;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile};
use crate::engine::EngineError;
use crate::keys::StoreKeys;
use crate::report::{Fatal, SyncTimes};
use crate::sealing::FileKey;
use crate::state::Staged;
use frame::{Kind, Link, Touched};
use segment::{HEADERS, SegmentHeader};

/// A stage is at most this large, so that one sync never waits for a long write.
const STAGE_BYTES: usize = 4 << 20;

/// The segment that frames are appended to.
pub(crate) struct Active {
    file: DiskFile,
    index: u64,
    size: u64,
    offset: u64,
    key: FileKey,
    /// Not written yet: goes out with the first frame.
    header: Option<SegmentHeader>,
}

/// Segments of zeros that wait for their use. The keeper refills them beside the committer.
pub(crate) struct Spares {
    disk: Disk,
    dir: PathBuf,
    size: u64,
    next_index: u64,
    ready: VecDeque<(u64, DiskFile)>,
    count: Arc<AtomicUsize>,
}

impl Spares {
    /// Makes spares until there are `wanted`.
    pub(crate) fn fill(&mut self, wanted: usize) -> io::Result<()> {
        while self.ready.len() < wanted {
            let file = segment::allocate(&self.disk, &self.dir, self.next_index, self.size)?;
            self.ready.push_back((self.next_index, file));
            self.next_index += 1;
            self.count.store(self.ready.len(), Ordering::Release);
        }
        Ok(())
    }

    fn take(&mut self) -> Option<(u64, DiskFile)> {
        let taken = self.ready.pop_front();
        self.count.store(self.ready.len(), Ordering::Release);
        taken
    }
}

/// A full segment.
#[derive(Clone, Debug)]
pub(crate) struct Closed {
    pub(crate) file: PathBuf,
    pub(crate) last: u64,
    pub(crate) bytes: u64,
}

/// What the keeper shares with the writer.
#[derive(Clone)]
pub(crate) struct JournalShare {
    pub(crate) spares: Arc<Mutex<Spares>>,
    pub(crate) closed: Arc<Mutex<Vec<Closed>>>,
    pub(crate) disk: Disk,
    pub(crate) dir: PathBuf,
}

impl JournalShare {
    /// Removes the segments that hold nothing after `revision`.
    pub(crate) fn retire(&self, revision: u64) -> io::Result<()> {
        let mut closed = self.closed.lock();
        let gone: Vec<_> = closed
            .iter()
            .take_while(|segment| segment.last <= revision)
            .cloned()
            .collect();
        // Oldest first: after a crash in between, what is left is still without a gap.
        for segment in &gone {
            self.disk.remove(&segment.file)?;
            closed.remove(0);
        }
        if gone.is_empty() {
            Ok(())
        } else {
            self.disk.sync_folder(&self.dir)
        }
    }
}

/// The journal's settings.
#[derive(Clone)]
pub(crate) struct JournalSettings {
    pub(crate) dir: PathBuf,
    pub(crate) segment_bytes: u64,
    pub(crate) retry_full: Duration,
}

/// The writer.
pub(crate) struct Journal {
    keys: StoreKeys,
    share: JournalShare,
    settings: JournalSettings,
    spare_count: Arc<AtomicUsize>,
    active: Option<Active>,
    link: Link,
    touched: Touched,
    buffer: Vec<u8>,
    syncs: u64,
    times: SyncTimes,
    full_since: Option<Instant>,
}

/// Where a reader found the end, for the writer to go on.
pub(crate) struct Resume {
    pub(crate) link: Link,
    pub(crate) touched: Touched,
    /// The segment in use and the offset at which to go on.
    pub(crate) active: Option<(PathBuf, SegmentHeader, u64)>,
    pub(crate) closed: Vec<Closed>,
    /// Segments of zeros, by number.
    pub(crate) spares: Vec<(u64, PathBuf)>,
    /// The number of the next new segment.
    pub(crate) next_index: u64,
}

impl Journal {
    /// Goes on where `resume` says and makes sure of one segment in use and one spare.
    pub(crate) fn resume(disk: &Disk, keys: &StoreKeys, settings: JournalSettings, resume: Resume) -> io::Result<Self> {
        let spare_count = Arc::new(AtomicUsize::new(0));
        let ready = resume
            .spares
            .into_iter()
            .map(|(index, path)| Ok((index, disk.open(&path)?)));
        let spares = Spares {
            disk: disk.clone(),
            dir: settings.dir.clone(),
            size: settings.segment_bytes,
            next_index: resume.next_index,
            ready: ready.collect::<io::Result<_>>()?,
            count: Arc::clone(&spare_count),
        };
        spare_count.store(spares.ready.len(), Ordering::Release);
        let active = match resume.active {
            None => None,
            Some((path, header, offset)) => Some(Active {
                file: disk.open(&path)?,
                index: header.index,
                size: header.size,
                offset,
                key: header.key(keys)?,
                header: None,
            }),
        };
        let share = JournalShare {
            spares: Arc::new(Mutex::new(spares)),
            closed: Arc::new(Mutex::new(resume.closed)),
            disk: disk.clone(),
            dir: settings.dir.clone(),
        };
        let mut journal = Self {
            keys: keys.clone(),
            share,
            settings,
            spare_count,
            active,
            link: resume.link,
            touched: resume.touched,
            buffer: Vec::new(),
            syncs: 0,
            times: SyncTimes::default(),
            full_since: None,
        };
        journal.start()?;
        Ok(journal)
    }

    /// A segment in use and a spare from the start; with a full disk the store opens all the same and refuses batches.
    fn start(&mut self) -> io::Result<()> {
        let wanted = if self.active.is_none() { 2 } else { 1 };
        let filled = self.share.spares.lock().fill(wanted);
        match filled {
            Err(error) if is_full(&error) => self.full_since = Some(Instant::now()),
            other => other?,
        }
        if self.active.is_none() {
            // If this fails, `prepare` tries again.
            let _ = self.activate();
        }
        Ok(())
    }

    pub(crate) fn share(&self) -> JournalShare {
        self.share.clone()
    }

    /// Most bytes of one stage.
    pub(crate) fn stage_bytes(&self) -> usize {
        // A stage of exactly one batch at the limits fits, which `open` has checked.
        STAGE_BYTES.min((self.settings.segment_bytes as usize).saturating_sub(HEADERS + frame::OVERHEAD) / 2)
    }

    /// Makes room for a stage of `bytes`; see [`crate::engine::Engine::prepare`].
    pub(crate) fn prepare(&mut self, bytes: usize, reserve: bool) -> Result<(), EngineError> {
        let need = (bytes + frame::OVERHEAD + self.touched.bytes()) as u64;
        let fits = self.active.as_ref().is_some_and(|active| {
            let headers = if active.header.is_some() { HEADERS as u64 } else { 0 };
            active.offset + headers + need <= active.size
        });
        // The last spare is for those who may use the reserve.
        let spares = usize::from(!fits) + usize::from(!reserve);
        if !self.have_spares(spares) {
            return Err(EngineError::Full);
        }
        if !reserve {
            self.full_since = None;
        }
        if fits { Ok(()) } else { self.activate() }
    }

    fn have_spares(&mut self, wanted: usize) -> bool {
        if self.spare_count.load(Ordering::Acquire) >= wanted {
            return true;
        }
        if self
            .full_since
            .is_some_and(|since| since.elapsed() < self.settings.retry_full)
        {
            return false;
        }
        match self.share.spares.lock().fill(wanted) {
            Ok(()) => {
                self.full_since = None;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "no new journal segment: commits are refused until there is space");
                self.full_since = Some(Instant::now());
                false
            }
        }
    }

    /// Takes the next spare into use. Nothing is written: its header goes out with its first frame.
    fn activate(&mut self) -> Result<(), EngineError> {
        let taken = self.share.spares.lock().take();
        let Some((index, file)) = taken else {
            return Err(EngineError::Full);
        };
        let size = self.settings.segment_bytes;
        let made = SegmentHeader::new(index, size, self.link).and_then(|header| Ok((header.key(&self.keys)?, header)));
        let (key, header) = made.map_err(|_| EngineError::Fatal(Fatal::WriteFailed(io::ErrorKind::Other)))?;
        let new = Active {
            file,
            index,
            size,
            offset: 0,
            key,
            header: Some(header),
        };
        if let Some(old) = self.active.replace(new) {
            tracing::debug!(segment = old.index, "journal segment full");
            let file = old.file.path().to_owned();
            self.share.closed.lock().push(Closed {
                file,
                last: self.link.next - 1,
                bytes: old.offset,
            });
        }
        Ok(())
    }

    /// Whether the next segment should be prepared now, beside the commits.
    pub(crate) fn wants_spare(&self) -> bool {
        self.spare_count.load(Ordering::Acquire) < 2
            && self
                .active
                .as_ref()
                .is_some_and(|active| active.offset > active.size / 2)
    }

    /// Writes one frame and syncs it. When it returns `Ok` the frame is durable (INV-2).
    pub(crate) fn append(&mut self, kind: Kind, staged: &Staged) -> Result<(), EngineError> {
        let Some(active) = self.active.as_mut() else {
            return Err(EngineError::Full);
        };
        self.buffer.clear();
        if let Some(header) = &active.header {
            header.put(&self.keys, &mut self.buffer);
        }
        let tag = frame::append(&mut self.buffer, &active.key, &self.link, kind, &self.touched, staged)
            .map_err(|_| EngineError::Fatal(Fatal::WriteFailed(io::ErrorKind::Other)))?;
        if active.offset + self.buffer.len() as u64 > active.size {
            return Err(EngineError::Full);
        }
        if let Err(error) = active.file.write_all_at(&self.buffer, active.offset) {
            if !is_full(&error) {
                return Err(EngineError::Fatal(Fatal::WriteFailed(error.kind())));
            }
            // Copy-on-write file systems can be full even here. What was written must not come back after a crash.
            self.buffer.fill(0);
            active
                .file
                .write_all_at(&self.buffer, active.offset)
                .map_err(write_failed)?;
            active.file.sync_data().map_err(sync_failed)?;
            return Err(EngineError::Full);
        }
        let begun = Instant::now();
        active.file.sync_data().map_err(sync_failed)?;
        self.times.add(begun.elapsed());
        self.syncs += 1;
        active.offset += self.buffer.len() as u64;
        active.header = None;
        let names: Vec<_> = staged.heads.keys().cloned().collect();
        self.touched.extend(self.link.next, staged.commits.len(), &names);
        self.link = Link {
            tag,
            next: self.link.next + staged.commits.len() as u64,
        };
        Ok(())
    }

    pub(crate) fn times(&self) -> SyncTimes {
        self.times.clone()
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.syncs
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full_since.is_some() || self.active.is_none()
    }

    pub(crate) fn segments(&self) -> usize {
        self.share.closed.lock().len() + usize::from(self.active.is_some())
    }
}

fn write_failed(error: io::Error) -> EngineError {
    EngineError::Fatal(Fatal::WriteFailed(error.kind()))
}

fn sync_failed(error: io::Error) -> EngineError {
    EngineError::Fatal(Fatal::SyncFailed(error.kind()))
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
