//! Opening a store on disk: options, errors, and the order in which sled, journal and backups are tried.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::backup;
use crate::batch::{Limits, Outcome, Revision};
use crate::disk::Disk;
use crate::embedded::Embedded;
use crate::faults::Faults;
use crate::head::Hasher;
use crate::journal::frame::{self, Link, Touched};
use crate::journal::read::{self, Gap, Scan};
use crate::journal::segment::HEADERS;
use crate::journal::{Journal, JournalSettings, Resume, is_full};
use crate::keeper::{Keeper, Work, sled_folders};
use crate::keys::StoreKeys;
use crate::lock::{FolderLock, LockError};
use crate::replay::Replayed;
use crate::report::{BackupError, Fatal, LoadReport, Loaded, Notice, OpenError, SledFault};
use crate::root::{RootError, RootFiles};
use crate::root_value::RootValue;
use crate::state::{Operations, State};
use crate::store::{Parts, Shared};
use crate::tree::Tree;
use crate::watch::History;

/// How [`crate::Store::open_sled`] opens.
#[derive(Clone)]
pub struct SledOptions {
    /// Limits of batches.
    pub limits: Limits,
    /// Size of a journal segment in bytes (64 MiB; `hsmd dev` 8 MiB). Two to three exist at any time.
    pub segment_bytes: u64,
    /// A backup is made when the journal has grown by this much since the last one, or by half of the data if that is more.
    pub backup_after: u64,
    /// How often a full disk is tried again.
    pub retry_full: Duration,
    /// How long sled may take to open and read before it is given up and rebuilt.
    pub sled_patience: Duration,
    /// Called once when a sync or write failed and the store stops for good. The default ends the process by `abort` (SIGABRT,
    /// exit status 134 in a shell), so that the supervisor starts it anew and the journal says what is durable.
    pub on_fatal: Arc<dyn Fn(Fatal) + Send + Sync>,
    /// Planned faults, for tests.
    pub faults: Faults,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            segment_bytes: 64 << 20,
            backup_after: 64 << 20,
            retry_full: Duration::from_millis(500),
            // On a full disk sled may never open: then it is rebuilt, and the daemon serves half a minute later.
            sled_patience: Duration::from_secs(30),
            on_fatal: Arc::new(|fatal| end(fatal)),
            faults: Faults::default(),
        }
    }
}

/// Ends the process. What made it end is said first, since a log may have nowhere to go.
fn end(fatal: Fatal) -> ! {
    let _ = writeln!(io::stderr(), "hsmd-store: the store stops for good: {fatal:?}");
    std::process::abort()
}

/// Puts the store together; see the module's description.
pub(crate) fn open(
    dir: &std::path::Path,
    keys: &StoreKeys,
    options: SledOptions,
) -> Result<(Parts, LoadReport), OpenError> {
    let disk = Disk::new(options.faults.clone());
    let journal_dir = dir.join("journal");
    let backup_dir = dir.join("backup");
    disk.make_folder(dir)?;
    let lock = FolderLock::take(dir).map_err(|error| match error {
        LockError::Taken => OpenError::Locked,
        LockError::Io(error) => OpenError::Io(error),
    })?;
    disk.make_folder(&journal_dir)?;
    disk.make_folder(&backup_dir)?;
    if options.segment_bytes < segment_minimum(&options.limits) {
        return Err(OpenError::SegmentTooSmall(options.segment_bytes));
    }
    let root = RootFiles::named(dir, "store", options.faults.clone());
    let hasher = Hasher::new(keys.head(), true);
    let mut opening = Opening {
        dir,
        disk: &disk,
        keys,
        hasher: &hasher,
        options: &options,
        journal_dir: journal_dir.clone(),
        backup_dir: backup_dir.clone(),
        notices: Vec::new(),
    };
    let mut found = opening.find(&root)?;
    let replayed = opening.replay(&mut found)?;
    let resume = opening.repair(&mut found, &replayed, &root)?;
    let (journal, journal_start, pending) = opening.begin(&mut found, resume, &root)?;
    let report = LoadReport {
        loaded: found.loaded,
        revision: replayed.state.revision,
        records: replayed.state.records.len(),
        replayed: replayed.batches,
        notices: opening.notices,
        quarantined: replayed.troubles(),
    };
    let pending = pending.map(|value| (RootFiles::named(dir, "store", options.faults.clone()), value));
    let started = Started {
        pending,
        journal,
        journal_start,
        root,
        lock,
    };
    Ok((assemble(dir, keys, options, found, replayed, started)?, report))
}

/// What is running once the store counts as open.
struct Started {
    /// What the root file could not take because the disk is full.
    pending: Option<(RootFiles, Vec<u8>)>,
    journal: Journal,
    journal_start: u64,
    root: RootFiles,
    lock: FolderLock,
}

/// Starts the keeper and hands everything to the shared layer.
fn assemble(
    dir: &std::path::Path,
    keys: &StoreKeys,
    options: SledOptions,
    found: Found,
    replayed: Replayed,
    started: Started,
) -> Result<Parts, OpenError> {
    let journal = started.journal.share();
    let backups = dir.join("backup");
    let kept = backup::list(&journal.disk, &backups)?;
    let mut operations = Operations::new(options.limits.operations);
    for (operation, revision) in found.operations.into_iter().chain(replayed.operations) {
        operations.remember(operation, Outcome::Committed(Revision(revision)));
    }
    let history = History::new(replayed.state.revision, options.limits.history);
    let shared = Shared {
        state: RwLock::new(replayed.state),
        hasher: Hasher::new(keys.head(), true),
        operations: Mutex::new(operations),
    };
    let shared = Arc::new(shared);
    let work = Work {
        shared: Arc::clone(&shared),
        keys: keys.clone(),
        journal,
        backups,
        dir: dir.to_owned(),
        generation: found.generation,
        tree_revision: if found.tree.is_some() {
            Revision(replayed.base)
        } else {
            Revision(0)
        },
        tree: found.tree,
        kept_backups: kept.into_iter().map(|(revision, _)| revision).collect(),
        backup_after: options.backup_after,
        retry: options.retry_full,
        root: started.root,
        journal_start: started.journal_start,
    };
    let keeper = Keeper::start(work, replayed.dirty, started.lock)?;
    Ok(Parts {
        shared,
        limits: options.limits,
        faults: options.faults,
        on_fatal: options.on_fatal,
        engine: Box::new(Embedded::new(started.journal, keeper.outbox(), started.pending)),
        history,
        keeper: Some(keeper),
        standing: None,
    })
}

/// Room for one batch at the limits.
fn segment_minimum(limits: &Limits) -> u64 {
    const WRITE: usize = 1200;
    const TOUCHED: usize = 34 << 10;
    (HEADERS + frame::OVERHEAD + limits.batch_bytes + limits.writes * WRITE + TOUCHED) as u64
}

fn into_io(error: RootError) -> io::Error {
    match error {
        RootError::Io(error) => error,
        RootError::Damaged => io::ErrorKind::InvalidData.into(),
    }
}

/// The work of opening.
struct Opening<'a> {
    dir: &'a std::path::Path,
    disk: &'a Disk,
    keys: &'a StoreKeys,
    hasher: &'a Hasher,
    options: &'a SledOptions,
    journal_dir: PathBuf,
    backup_dir: PathBuf,
    notices: Vec<Notice>,
}

/// What was found on the disk.
struct Found {
    base: State,
    loaded: Loaded,
    scan: Scan,
    tree: Option<Tree>,
    generation: u64,
    root: RootValue,
    /// The revision of the clean end, if the store was closed cleanly.
    closed: Option<Revision>,
    root_missing: bool,
    operations: Vec<([u8; 16], u64)>,
    /// Nothing on the disk reaches as far as it must.
    short: bool,
}

impl Opening<'_> {
    /// Chooses the base: sled if it is true and the journal goes on from it without a gap, else a backup of which that holds,
    /// else the empty store if the journal begins at revision 1, else the best of them.
    fn find(&mut self, root: &RootFiles) -> Result<Found, OpenError> {
        let folders = sled_folders(self.dir)?;
        let generation = folders.first().map_or(0, |(generation, _)| *generation);
        let backups = backup::list(self.disk, &self.backup_dir)?;
        let (root, root_missing) = self.read_root(root, folders.first().map(|(_, folder)| folder.as_path()))?;
        let closed = root.closed;
        let sled = match folders.first() {
            Some((_, folder)) => Tree::load(folder, self.hasher, self.options.sled_patience),
            None => Err(SledFault::Missing.into()),
        };
        let (tree, sled_state, unfit) = match sled {
            Ok((tree, state)) => (Some(tree), Some(state), SledFault::Stale.into()),
            Err(unfit) => (None, None, unfit),
        };
        let mut must_reach = closed.map_or(0, |revision| revision.0);
        must_reach = must_reach.max(sled_state.as_ref().map_or(0, |state| state.revision.0));
        let mut found = Found {
            base: State::default(),
            loaded: Loaded::Journal,
            scan: self.scan(sled_state.as_ref().map_or(0, |state| state.revision.0))?,
            tree: None,
            generation,
            root,
            closed,
            root_missing,
            operations: Vec::new(),
            short: false,
        };
        let fresh = folders.is_empty() && backups.is_empty() && found.scan.first.is_none() && closed.is_none();
        let start = found.scan.first_spare;
        if found.scan.first.is_none() && !root_missing && start != Some(root.journal_start) {
            // The journal was there once.
            found.scan.damaged = true;
            found.scan.gaps.push(Gap {
                after: 0,
                until: None,
                groups: None,
            });
        } else if fresh {
            found.loaded = Loaded::Fresh;
            return Ok(found);
        }
        if let Some(state) = sled_state {
            if reaches(&found.scan, state.revision.0, must_reach, closed) {
                (found.base, found.loaded, found.tree) = (state, Loaded::Sled, tree);
                return Ok(found);
            }
            (found.base, found.loaded) = (state, Loaded::Sled);
        }
        drop(tree);
        self.notices.push(Notice::SledRebuilt(unfit.fault));
        self.find_backup(&mut found, &backups, must_reach)?;
        if found.short
            && let Some(untrue) = unfit.state
            && untrue.revision > found.base.revision
        {
            // Some of its groups are right, and the others are known by their heads.
            found.scan = self.scan(untrue.revision.0)?;
            (found.base, found.loaded) = (*untrue, Loaded::Sled);
        }
        // Without any base the groups that are missing could not even be named.
        let nothing = found.base.groups.is_empty() && found.scan.first != Some(1);
        if found.short && nothing {
            Err(OpenError::Lost)
        } else {
            Ok(found)
        }
    }

    /// The newest backup from which the journal goes on; else whatever is newest.
    fn find_backup(&mut self, found: &mut Found, backups: &[(u64, PathBuf)], must_reach: u64) -> Result<(), OpenError> {
        let kept_from = found.base.revision.0;
        let mut best = std::mem::take(&mut found.base);
        let mut best_from = found.loaded;
        for (_, file) in backups {
            let state = match backup::read(self.disk, file, self.keys) {
                Ok(state) if state.is_true(self.hasher) => state,
                Ok(_) | Err(backup::ReadError::Damaged) => {
                    self.notices.push(Notice::BackupDamaged(file.clone()));
                    continue;
                }
                Err(backup::ReadError::Io(error)) => return Err(error.into()),
            };
            let whole = reaches(&found.scan, state.revision.0, must_reach, found.closed);
            if whole || state.revision > best.revision {
                (best, best_from) = (state, Loaded::Backup);
            }
            if whole {
                break;
            }
        }
        let from_backup =
            best_from == Loaded::Backup && reaches(&found.scan, best.revision.0, must_reach, found.closed);
        if !from_backup && reaches(&found.scan, 0, must_reach, found.closed) {
            (best, best_from) = (State::default(), Loaded::Journal);
        }
        found.short = !reaches(&found.scan, best.revision.0, must_reach, found.closed);
        if best.revision.0 < kept_from {
            found.scan = self.scan(best.revision.0)?;
        }
        (found.base, found.loaded) = (best, best_from);
        Ok(())
    }

    fn scan(&self, keep_after: u64) -> io::Result<Scan> {
        read::scan(
            self.disk,
            &self.journal_dir,
            self.keys,
            self.options.segment_bytes,
            keep_after,
        )
    }

    /// The root file says whether the keys are right and whether the store was closed cleanly.
    fn read_root(&mut self, root: &RootFiles, sled: Option<&std::path::Path>) -> Result<(RootValue, bool), OpenError> {
        let value = match root.read_noting() {
            Ok(Some((_, value, repaired))) => {
                if repaired {
                    self.notices.push(Notice::RootRepaired);
                }
                RootValue::from_bytes(self.keys, &value).ok()
            }
            Ok(None) => None,
            Err(RootError::Damaged) => None,
            Err(RootError::Io(error)) => return Err(error.into()),
        };
        if let Some(value) = value {
            return Ok((value, false));
        }
        // No mark of these keys. A new folder, a lost root file, or wrong keys: segments and backups tell.
        let scan = self.scan(u64::MAX)?;
        let backups = backup::list(self.disk, &self.backup_dir)?;
        let opens = |(_, file): &(u64, PathBuf)| backup::read(self.disk, file, self.keys).is_ok();
        let sled_opens = |folder| Tree::load(folder, self.hasher, self.options.sled_patience).is_ok();
        if scan.authentic || backups.iter().any(opens) || sled.is_some_and(sled_opens) {
            self.notices.push(Notice::RootRepaired);
            return Ok((RootValue::default(), true));
        }
        let marked = !matches!(root.read_noting(), Ok(None));
        if marked || scan.foreign || !backups.is_empty() || sled.is_some() {
            Err(OpenError::WrongKeys)
        } else {
            Ok((RootValue::default(), true))
        }
    }

    /// Applies the journal to the base and names what cannot be made whole.
    fn replay(&mut self, found: &mut Found) -> Result<Replayed, OpenError> {
        let base = std::mem::take(&mut found.base);
        let mut replayed = Replayed::new(base);
        let frames = std::mem::take(&mut found.scan.frames);
        for frame in frames {
            replayed.frame(self.hasher, frame);
        }
        found.operations = std::mem::take(&mut found.scan.operations);
        replayed.lost(self.hasher, &found.scan.gaps, found.closed, found.short);
        self.notices.append(&mut found.scan.notices);
        Ok(replayed)
    }

    /// Makes the journal fit to go on: a torn end is overwritten; after damage a backup of the state is made first, then the
    /// journal begins anew, and the damaged segments are put aside.
    fn repair(&mut self, found: &mut Found, replayed: &Replayed, root: &RootFiles) -> Result<Resume, OpenError> {
        self.remove_leftovers()?;
        self.put_backups_aside()?;
        let revision = replayed.state.revision.0;
        let resume = &mut found.scan.resume;
        if found.scan.first.is_none() {
            // Nothing was written since the journal was begun.
            resume.link.next = revision + 1;
        }
        let link_fits = resume.link.next == revision + 1 && found.scan.first.is_none_or(|first| first <= revision + 1);
        if !found.scan.damaged && !found.short && link_fits {
            for file in &found.scan.litter {
                self.disk.remove(file)?;
            }
            if let Some((file, header)) = &found.scan.half_header {
                let mut bytes = Vec::new();
                header.put(self.keys, &mut bytes);
                let file = self.disk.open(file)?;
                file.write_all_at(&bytes, 0)?;
                file.sync_data()?;
            }
            if let Some((file, offset, length)) = &found.scan.torn {
                let file = self.disk.open(file)?;
                file.write_all_at(&vec![0; *length], *offset)?;
                file.sync_data()?;
            }
            return Ok(std::mem::replace(resume, nothing_to_resume()));
        }
        if !link_fits && !found.scan.damaged {
            let notice = Notice::JournalDamaged {
                segment: resume.next_index,
                offset: 0,
            };
            self.notices.push(notice);
        }
        let written = backup::write(self.disk, &self.backup_dir, self.keys, &replayed.state);
        written.map_err(|error| match error {
            BackupError::Io(kind) => OpenError::Io(kind.into()),
            _ => OpenError::Io(io::ErrorKind::InvalidData.into()),
        })?;
        // Before the segments go: else a journal that is not there would be taken for a lost one.
        found.root.journal_start = resume.next_index;
        root.write(&found.root.to_bytes(self.keys)).map_err(into_io)?;
        found.root_missing = false;
        self.put_aside()?;
        let link = Link {
            tag: resume.link.tag,
            next: revision + 1,
        };
        Ok(Resume {
            link,
            next_index: resume.next_index,
            ..nothing_to_resume()
        })
    }

    /// Opens the journal for writing; then the store counts as open. Returns the number with which the journal began, and what
    /// the root file must take before the first commit.
    fn begin(
        &self,
        found: &mut Found,
        resume: Resume,
        root: &RootFiles,
    ) -> Result<(Journal, u64, Option<Vec<u8>>), OpenError> {
        let unused = resume.active.is_none() && resume.closed.is_empty();
        let first = resume.spares.first().map_or(resume.next_index, |spare| spare.0);
        let journal_start = if unused { first } else { found.root.journal_start };
        let settings = JournalSettings {
            dir: self.journal_dir.clone(),
            segment_bytes: self.options.segment_bytes,
            retry_full: self.options.retry_full,
        };
        let journal = Journal::resume(self.disk, self.keys, settings, resume)?;
        let value = RootValue {
            journal_start,
            closed: None,
        };
        let mut pending = None;
        if found.root_missing || found.root != value {
            match root.write(&value.to_bytes(self.keys)).map_err(into_io) {
                // Reads can be served; commits wait until the mark of a clean end is gone.
                Err(error) if is_full(&error) => pending = Some(value.to_bytes(self.keys)),
                other => drop(other?),
            }
        }
        if found.loaded == Loaded::Fresh {
            // Only now: a sled folder without a root file means that the root file was lost.
            found.generation += 1;
            let tree = Tree::create(&self.dir.join(format!("sled.{}", found.generation)));
            // If it fails, the keeper tries again.
            found.tree = tree
                .and_then(|tree| tree.fill(&State::default(), self.hasher).map(|()| tree))
                .ok();
        }
        Ok((journal, journal_start, pending))
    }

    /// Moves backups that do not open to `damaged/`, so that none of them is counted upon.
    fn put_backups_aside(&self) -> io::Result<()> {
        let aside = self.dir.join("damaged");
        for notice in &self.notices {
            if let Notice::BackupDamaged(file) = notice
                && let Some(name) = file.file_name()
            {
                self.disk.make_folder(&aside)?;
                self.disk.rename(file, &aside.join(name))?;
                self.disk.sync_folder(&self.backup_dir)?;
            }
        }
        Ok(())
    }

    /// Moves all segments to `damaged/`, where the operator may look at them and remove them.
    fn put_aside(&self) -> io::Result<()> {
        let aside = self.dir.join("damaged");
        self.disk.make_folder(&aside)?;
        for file in self.disk.list(&self.journal_dir)? {
            if let Some(name) = file.file_name() {
                self.disk.rename(&file, &aside.join(name))?;
            }
        }
        self.disk.sync_folder(&aside)?;
        self.disk.sync_folder(&self.journal_dir)
    }

    fn remove_leftovers(&self) -> io::Result<()> {
        for file in self.disk.list(&self.backup_dir)? {
            if file.extension().is_some_and(|extension| extension == "new") {
                self.disk.remove(&file)?;
            }
        }
        Ok(())
    }
}

fn nothing_to_resume() -> Resume {
    Resume {
        link: Link { tag: [0; 16], next: 1 },
        touched: Touched {
            first: 1,
            groups: Some(Vec::new()),
        },
        active: None,
        closed: Vec::new(),
        spares: Vec::new(),
        next_index: 0,
    }
}

/// Whether everything acknowledged is in a base at revision `from` and the journal after it.
fn reaches(scan: &Scan, from: u64, must_reach: u64, closed: Option<Revision>) -> bool {
    let connected = scan.first.is_none_or(|first| first <= from + 1);
    let end = if scan.first.is_some() {
        from.max(scan.resume.link.next - 1)
    } else {
        from
    };
    connected && end >= must_reach && !scan.gaps.iter().any(|gap| gap.loses(from, closed))
}
