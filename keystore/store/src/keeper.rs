//! The thread beside the committer: brings sled up to date, prepares journal segments, makes backups and lets old segments go.
//! Nothing here is on the way of a commit, and nothing here is needed for an acknowledged batch to be durable.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use parking_lot::Mutex;

use crate::backup;
use crate::batch::Revision;
use crate::journal::JournalShare;
use crate::keys::StoreKeys;
use crate::lock::FolderLock;
use crate::report::{BackupError, BackupInfo, StoreStatus};
use crate::root::RootFiles;
use crate::root_value::RootValue;
use crate::state::{Group, Staged, State};
use crate::store::Shared;
use crate::tree::{Dirty, Tree};

/// Changes that come within this time go to sled together.
const GATHER: Duration = Duration::from_millis(10);
/// sled's buffers go to the kernel at least this often.
const FLUSH: Duration = Duration::from_millis(500);
/// Records that a snapshot copies while it holds the lock for reading.
const SNAPSHOT_STEP: usize = 1024;

pub(crate) enum Message {
    /// There is something in [`Outbox::dirty`].
    Dirty,
    /// A journal segment will be needed soon.
    Fill,
    Backup(Sender<Result<BackupInfo, BackupError>>),
    Check(Sender<(Option<bool>, Option<bool>)>),
    /// End; `true`: bring sled up to date and mark the store as cleanly closed.
    Stop(bool),
}

/// The committer's side: what it leaves for the keeper.
#[derive(Clone)]
pub(crate) struct Outbox {
    dirty: Arc<Mutex<Dirty>>,
    sender: Sender<Message>,
}

impl Outbox {
    /// Leaves what a stage changed.
    pub(crate) fn leave(&self, staged: &Staged) {
        let mut dirty = self.dirty.lock();
        let was_empty = dirty.records.is_empty() && dirty.groups.is_empty();
        for commit in &staged.commits {
            for put in &commit.writes {
                dirty.records.insert(put.path.clone(), put.record(commit.revision));
            }
        }
        for (name, head) in &staged.heads {
            dirty.groups.insert(
                Arc::clone(name),
                Group {
                    head: *head,
                    trouble: None,
                },
            );
        }
        dirty.revision = staged.revision;
        dirty.total = staged.total;
        drop(dirty);
        if was_empty {
            self.send(Message::Dirty);
        }
    }

    pub(crate) fn send(&self, message: Message) {
        // The thread has ended only if the store was closed.
        let _ = self.sender.send(message);
    }
}

#[derive(Default)]
struct Figures {
    sled: bool,
    sled_revision: Revision,
    backup_revision: Revision,
}

/// The handle of the thread.
pub(crate) struct Keeper {
    outbox: Outbox,
    figures: Arc<Mutex<Figures>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Freed when the thread has ended.
    lock: Mutex<Option<FolderLock>>,
}

/// What the thread works with.
pub(crate) struct Work {
    pub(crate) shared: Arc<Shared>,
    pub(crate) keys: StoreKeys,
    pub(crate) journal: JournalShare,
    pub(crate) backups: PathBuf,
    /// sled's folders are `<dir>/sled.<n>`.
    pub(crate) dir: PathBuf,
    pub(crate) generation: u64,
    pub(crate) tree: Option<Tree>,
    /// What `tree` holds.
    pub(crate) tree_revision: Revision,
    pub(crate) kept_backups: Vec<u64>,
    pub(crate) backup_after: u64,
    pub(crate) retry: Duration,
    pub(crate) root: RootFiles,
    pub(crate) journal_start: u64,
}

impl Keeper {
    pub(crate) fn start(work: Work, dirty: Dirty, lock: FolderLock) -> std::io::Result<Self> {
        let (sender, receiver) = unbounded();
        let figures = Arc::new(Mutex::new(Figures {
            sled: work.tree.is_some(),
            sled_revision: work.tree_revision,
            backup_revision: Revision(work.kept_backups.first().copied().unwrap_or(0)),
        }));
        let dirty = Arc::new(Mutex::new(dirty));
        let outbox = Outbox {
            dirty: Arc::clone(&dirty),
            sender,
        };
        outbox.send(Message::Dirty);
        let seen = Arc::clone(&figures);
        let mut thread = Thread {
            work,
            dirty,
            receiver,
            figures: seen,
            unflushed: false,
            retry_at: None,
        };
        let thread = std::thread::Builder::new()
            .name("hsmd-keeper".into())
            .spawn(move || thread.run())?;
        Ok(Self {
            outbox,
            figures,
            thread: Mutex::new(Some(thread)),
            lock: Mutex::new(Some(lock)),
        })
    }

    pub(crate) fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    pub(crate) fn backup(&self) -> Result<BackupInfo, BackupError> {
        let (sender, receiver) = bounded(1);
        self.outbox.send(Message::Backup(sender));
        receiver.recv().unwrap_or(Err(BackupError::Stopped))
    }

    pub(crate) fn check(&self) -> (Option<bool>, Option<bool>) {
        let (sender, receiver) = bounded(1);
        self.outbox.send(Message::Check(sender));
        receiver.recv().unwrap_or((None, None))
    }

    pub(crate) fn status(&self, status: &mut StoreStatus) {
        let figures = self.figures.lock();
        status.sled = figures.sled;
        status.sled_revision = figures.sled_revision;
        status.backup_revision = figures.backup_revision;
    }

    /// Ends the thread and frees the folder's lock.
    pub(crate) fn stop(&self, clean: bool) {
        self.outbox.send(Message::Stop(clean));
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
        drop(self.lock.lock().take());
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop(false);
    }
}

struct Thread {
    work: Work,
    dirty: Arc<Mutex<Dirty>>,
    receiver: Receiver<Message>,
    figures: Arc<Mutex<Figures>>,
    unflushed: bool,
    /// When what failed last is tried again.
    retry_at: Option<Instant>,
}

impl Thread {
    fn run(&mut self) {
        loop {
            match self.receiver.recv_timeout(FLUSH) {
                Ok(Message::Dirty) => {
                    if let Some(clean) = self.gather() {
                        return self.end(clean);
                    }
                    self.bring_up();
                    self.back_up_if_due();
                }
                Ok(Message::Stop(clean)) => return self.end(clean),
                Ok(message) => self.answer(message),
                Err(RecvTimeoutError::Timeout) => self.idle(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Waits a little for more changes, so that sled takes them together. Returns what a stop asks for.
    fn gather(&mut self) -> Option<bool> {
        let until = Instant::now() + GATHER;
        loop {
            match self.receiver.recv_deadline(until) {
                Ok(Message::Dirty) => {}
                Ok(Message::Stop(clean)) => return Some(clean),
                Ok(message) => self.answer(message),
                Err(_) => return None,
            }
        }
    }

    fn answer(&mut self, message: Message) {
        match message {
            Message::Fill => {
                // If it fails, the committer tries too, and refuses batches if need be.
                let _ = self.work.journal.spares.lock().fill(2);
            }
            Message::Backup(reply) => {
                let _ = reply.send(self.back_up());
            }
            Message::Check(reply) => {
                self.bring_up();
                let _ = reply.send((self.check_tree(), self.check_backup()));
            }
            Message::Dirty | Message::Stop(_) => {}
        }
    }

    fn idle(&mut self) {
        let flushed = !self.unflushed || self.work.tree.as_ref().is_none_or(|tree| tree.flush().is_ok());
        self.unflushed = false;
        if !flushed {
            self.lose_tree();
        }
        self.bring_up();
        self.back_up_if_due();
    }

    /// Writes what changed to sled, or everything to a new folder if there is none.
    fn bring_up(&mut self) {
        if self.work.journal.disk.crashed() {
            return;
        }
        if self.work.tree.is_none() {
            return self.rebuild();
        }
        let dirty = {
            let mut dirty = self.dirty.lock();
            // After a rebuild, changes that are older than it may still be on their way: wait for the newer ones.
            let early = dirty.revision < self.figures.lock().sled_revision;
            if early || (dirty.records.is_empty() && dirty.groups.is_empty()) {
                return;
            }
            std::mem::take(&mut *dirty)
        };
        let applied = self
            .work
            .tree
            .as_ref()
            .is_some_and(|tree| tree.apply(&dirty, &self.work.shared.hasher).is_ok());
        if applied {
            self.unflushed = true;
            self.figures.lock().sled_revision = dirty.revision;
        } else {
            self.lose_tree();
        }
    }

    /// sled's errors are sticky (a full disk, above all): the folder is given up and filled anew when that works.
    fn lose_tree(&mut self) {
        tracing::warn!("sled failed; the store goes on from memory and journal");
        self.work.tree = None;
        self.figures.lock().sled = false;
        self.retry_at = Some(Instant::now() + self.work.retry);
    }

    fn waits(&self) -> bool {
        self.retry_at.is_some_and(|at| Instant::now() < at)
    }

    fn rebuild(&mut self) {
        if self.waits() {
            return;
        }
        self.retry_at = Some(Instant::now() + self.work.retry);
        // What is dirty now is in the snapshot; what comes later is applied after it.
        *self.dirty.lock() = Dirty::default();
        let state = snapshot(&self.work.shared);
        self.work.generation += 1;
        let folder = self.work.dir.join(format!("sled.{}", self.work.generation));
        let built = Tree::create(&folder).and_then(|tree| {
            tree.fill(&state, &self.work.shared.hasher)?;
            Ok(tree)
        });
        match built {
            Ok(tree) => {
                remove_other_folders(&self.work.dir, Some(&tree));
                self.work.tree = Some(tree);
                self.retry_at = None;
                let mut figures = self.figures.lock();
                figures.sled = true;
                figures.sled_revision = state.revision;
            }
            Err(fault) => {
                tracing::warn!(?fault, "sled cannot be rebuilt now");
                // Give the space back; commits need it more.
                remove_other_folders(&self.work.dir, None);
            }
        }
    }

    fn back_up_if_due(&mut self) {
        let newest = self.work.kept_backups.first().copied().unwrap_or(0);
        let grown: u64 = {
            let closed = self.work.journal.closed.lock();
            closed
                .iter()
                .filter(|segment| segment.last > newest)
                .map(|segment| segment.bytes)
                .sum()
        };
        let live = self.work.shared.state.read().bytes;
        if grown == 0 || grown < self.work.backup_after.max(live / 2) || self.waits() {
            return;
        }
        if let Err(error) = self.back_up() {
            tracing::warn!(%error, "automatic backup failed");
            self.retry_at = Some(Instant::now() + self.work.retry);
        }
    }

    fn back_up(&mut self) -> Result<BackupInfo, BackupError> {
        let state = snapshot(&self.work.shared);
        let info = backup::write(&self.work.journal.disk, &self.work.backups, &self.work.keys, &state)?;
        self.figures.lock().backup_revision = info.revision;
        if self.work.kept_backups.first() != Some(&info.revision.0) {
            self.work.kept_backups.insert(0, info.revision.0);
        }
        // The journal reaches back to the older of two backups, so that a damaged newer one loses nothing either.
        let retired = self.retire();
        if let Err(error) = retired {
            tracing::warn!(%error, "old journal segments or backups stay for now");
        }
        Ok(info)
    }

    fn retire(&mut self) -> std::io::Result<()> {
        let disk = &self.work.journal.disk;
        for (revision, file) in backup::list(disk, &self.work.backups)?.into_iter().skip(2) {
            disk.remove(&file)?;
            self.work.kept_backups.retain(|kept| *kept != revision);
        }
        match self.work.kept_backups.get(1) {
            Some(older) => self.work.journal.retire(*older),
            None => Ok(()),
        }
    }

    fn check_tree(&self) -> Option<bool> {
        let tree = self.work.tree.as_ref()?;
        let hasher = &self.work.shared.hasher;
        Some(tree.read(hasher).is_ok_and(|state| state.is_true(hasher)))
    }

    fn check_backup(&self) -> Option<bool> {
        let (_, newest) = backup::list(&self.work.journal.disk, &self.work.backups)
            .ok()?
            .into_iter()
            .next()?;
        let read = backup::read(&self.work.journal.disk, &newest, &self.work.keys);
        Some(read.is_ok_and(|state| state.is_true(&self.work.shared.hasher)))
    }

    fn end(&mut self, clean: bool) {
        if !clean || self.work.journal.disk.crashed() {
            return;
        }
        self.retry_at = None;
        self.bring_up();
        if self.work.tree.as_ref().is_some_and(|tree| tree.flush().is_err()) {
            self.work.tree = None;
        }
        // sled closes before the mark: a mark on a store whose sled folder is still being written would be early.
        self.work.tree = None;
        let revision = self.work.shared.state.read().revision;
        let value = RootValue {
            journal_start: self.work.journal_start,
            closed: Some(revision),
        };
        if let Err(error) = self.work.root.write(&value.to_bytes(&self.work.keys)) {
            tracing::warn!(%error, "the store is closed, but not marked so");
        }
    }
}

/// The state at one revision, copied in steps so that commits and reads go on meanwhile.
pub(crate) fn snapshot(shared: &Shared) -> State {
    let mut copy = State::default();
    let number;
    {
        let mut state = shared.state.write();
        number = state.begin_snapshot();
        copy.groups = state.groups.clone();
        copy.revision = state.revision;
        copy.total = state.total;
    }
    let mut last: Option<crate::path::Path> = None;
    loop {
        let state = shared.state.read();
        let from = last.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let step = state
            .records
            .range((from, std::ops::Bound::Unbounded))
            .take(SNAPSHOT_STEP);
        let step: Vec<_> = step.map(|(path, record)| (path.clone(), record.clone())).collect();
        drop(state);
        last = step.last().map(|(path, _)| path.clone());
        for (path, record) in step {
            copy.put(&path, Some(record));
        }
        if last.is_none() {
            break;
        }
    }
    let before = shared.state.write().end_snapshot(number);
    for (path, record) in before {
        copy.put(&path, record);
    }
    copy
}

fn remove_other_folders(dir: &std::path::Path, kept: Option<&Tree>) {
    for (_, folder) in sled_folders(dir).unwrap_or_default() {
        if kept.is_none_or(|tree| tree.folder() != folder) {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// sled's folders with their generation, newest first.
pub(crate) fn sled_folders(dir: &std::path::Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("sled."))
            .and_then(|n| n.parse().ok());
        if let Some(generation) = number {
            found.push((generation, entry.path()));
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    Ok(found)
}
