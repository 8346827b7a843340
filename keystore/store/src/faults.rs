//! Faults for tests: the n-th file operation or commit fails, is cut short, ends everything (a crash), or ends ambiguously; after
//! a crash what was not synced can be taken back. Costs one branch when unused. It does not model wear or silent bit rot: tests
//! flip bits in the files themselves.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

/// A kind of step at which a fault can be planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Opening or listing.
    Open,
    /// Creating a file.
    Create,
    /// Writing to a file.
    Write,
    /// Syncing a file's data.
    Sync,
    /// Renaming a file.
    Rename,
    /// Removing a file.
    Remove,
    /// Syncing a folder.
    SyncFolder,
    /// A whole commit, as the caller sees it.
    Commit,
}

/// What happens at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails with this error and has no effect.
    Fail(io::ErrorKind),
    /// A write stores half of its bytes and then fails with this error; other operations just fail.
    Short(io::ErrorKind),
    /// [`Step::Sync`] only: success is reported and nothing is synced. No store survives this; it shows that the tests would
    /// notice an acknowledgement without a sync.
    Skip,
    /// The machine stops: a write stores half of its bytes, and this and every later operation fails.
    Crash,
    /// [`Step::Commit`] only: the caller is told Unknown; the batch is committed or not.
    Ambiguous {
        /// The batch is committed.
        done: bool,
    },
}

/// What of the operations that were not synced survives a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Everything survives: a kill of the process.
    Nothing,
    /// Nothing survives.
    Everything,
    /// Each 512-byte sector of unsynced writes survives or not by this seed; of the unsynced changes to folders, the first few.
    Some(u64),
}

/// A plan of faults, shared by everything that it is given to. [`Faults::default`] has none and never will.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<Mutex<Inner>>>);

#[derive(Default)]
struct Inner {
    plans: Vec<Plan>,
    counts: HashMap<Step, u64>,
    file_steps: u64,
    crashed: bool,
    tracking: bool,
    undo: Vec<Undo>,
}

struct Plan {
    step: Option<Step>,
    /// Matching steps until it happens, counting the one at which it happens.
    countdown: u64,
    times: u64,
    fault: Fault,
}

enum Undo {
    Write {
        file: PathBuf,
        offset: u64,
        new: u64,
        old: Vec<u8>,
        old_len: u64,
    },
    Create {
        file: PathBuf,
    },
    Remove {
        file: PathBuf,
        old: Vec<u8>,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
        overwritten: Option<Vec<u8>>,
    },
}

impl Faults {
    /// A plan without faults, which can be given some later; counts steps.
    #[must_use]
    pub fn new() -> Self {
        Self(Some(Arc::default()))
    }

    /// As [`Faults::new`], and it remembers what unsynced operations replaced, so that [`Faults::lose_unsynced`] can take them back.
    #[must_use]
    pub fn tracking() -> Self {
        Self(Some(Arc::new(Mutex::new(Inner {
            tracking: true,
            ..Inner::default()
        }))))
    }

    /// Plans `fault` for the `nth` step from now (1 is the next) of this kind, or of any file operation, `times` times in a row.
    pub fn plan(&self, step: Option<Step>, nth: u64, times: u64, fault: Fault) {
        if let Some(inner) = &self.0 {
            inner.lock().plans.push(Plan {
                step,
                countdown: nth.max(1),
                times,
                fault,
            });
        }
    }

    /// Forgets what is planned and ends a crash.
    pub fn clear(&self) {
        if let Some(inner) = &self.0 {
            let mut inner = inner.lock();
            inner.plans.clear();
            inner.crashed = false;
        }
    }

    /// How many steps of this kind (`None`: all file operations) there were.
    #[must_use]
    pub fn steps(&self, step: Option<Step>) -> u64 {
        let Some(inner) = &self.0 else { return 0 };
        let inner = inner.lock();
        step.map_or(inner.file_steps, |step| inner.counts.get(&step).copied().unwrap_or(0))
    }

    /// A planned crash has happened.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.lock().crashed)
    }

    /// The fault that is due at this step, if any.
    pub(crate) fn at(&self, step: Step) -> Option<Fault> {
        let mut inner = self.0.as_ref()?.lock();
        if inner.crashed && step != Step::Commit {
            return Some(Fault::Crash);
        }
        *inner.counts.entry(step).or_default() += 1;
        if step != Step::Commit {
            inner.file_steps += 1;
        }
        let mut due = None;
        inner.plans.retain_mut(|plan| {
            if !plan.step.map_or(step != Step::Commit, |wanted| wanted == step) {
                return true;
            }
            if plan.countdown > 1 {
                plan.countdown -= 1;
                return true;
            }
            if due.is_some() {
                return true;
            }
            due = Some(plan.fault);
            plan.times -= 1;
            plan.times > 0
        });
        if due == Some(Fault::Crash) {
            inner.crashed = true;
        }
        due
    }

    /// Fails if a fault is due at this step.
    pub(crate) fn check(&self, step: Step) -> io::Result<()> {
        match self.at(step) {
            None | Some(Fault::Ambiguous { .. } | Fault::Skip) => Ok(()),
            Some(fault) => Err(fault.error()),
        }
    }

    fn note(&self, make: impl FnOnce() -> io::Result<Undo>) -> io::Result<()> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let mut inner = inner.lock();
        if inner.tracking {
            let undo = make()?;
            inner.undo.push(undo);
        }
        Ok(())
    }

    /// A file is about to be written.
    pub(crate) fn before_write(&self, file: &Path, offset: u64, bytes: usize) -> io::Result<()> {
        self.note(|| {
            let whole = fs::read(file)?;
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
            let end = start.saturating_add(bytes).min(whole.len());
            let old = whole[start..end].to_vec();
            Ok(Undo::Write {
                file: file.to_owned(),
                offset,
                new: bytes as u64,
                old,
                old_len: whole.len() as u64,
            })
        })
    }

    pub(crate) fn after_create(&self, file: &Path) -> io::Result<()> {
        self.note(|| Ok(Undo::Create { file: file.to_owned() }))
    }

    pub(crate) fn before_remove(&self, file: &Path) -> io::Result<()> {
        self.note(|| {
            Ok(Undo::Remove {
                file: file.to_owned(),
                old: fs::read(file)?,
            })
        })
    }

    pub(crate) fn before_rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.note(|| {
            let overwritten = fs::read(to).ok();
            Ok(Undo::Rename {
                from: from.to_owned(),
                to: to.to_owned(),
                overwritten,
            })
        })
    }

    pub(crate) fn synced_file(&self, synced: &Path) {
        if let Some(inner) = &self.0 {
            inner
                .lock()
                .undo
                .retain(|undo| !matches!(undo, Undo::Write { file, .. } if file == synced));
        }
    }

    pub(crate) fn synced_folder(&self, folder: &Path) {
        if let Some(inner) = &self.0 {
            inner.lock().undo.retain(|undo| match undo {
                Undo::Write { .. } => true,
                Undo::Create { file } | Undo::Remove { file, .. } => file.parent() != Some(folder),
                Undo::Rename { to, .. } => to.parent() != Some(folder),
            });
        }
    }

    /// Takes back what was not synced, after everything that used the files is gone. Ends the crash.
    ///
    /// # Errors
    /// Input or output failed: the simulation itself cannot go on.
    pub fn lose_unsynced(&self, loss: Loss) -> io::Result<()> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let mut inner = inner.lock();
        inner.crashed = false;
        inner.plans.clear();
        let undo = std::mem::take(&mut inner.undo);
        let mut random = match loss {
            Loss::Nothing => return Ok(()),
            Loss::Everything => None,
            Loss::Some(seed) => Some(SplitMix(seed)),
        };
        let folder_changes = undo.iter().filter(|undo| !matches!(undo, Undo::Write { .. })).count();
        // Journalling file systems keep a prefix of the folder changes.
        let kept = random
            .as_mut()
            .map_or(0, |random| random.below(folder_changes as u64 + 1));
        let mut left = folder_changes as u64;
        for undo in undo.into_iter().rev() {
            if !matches!(undo, Undo::Write { .. }) {
                left -= 1;
                if left < kept {
                    continue;
                }
            }
            undo.take_back(random.as_mut())?;
        }
        Ok(())
    }
}

impl Fault {
    pub(crate) fn error(self) -> io::Error {
        match self {
            Self::Fail(kind) | Self::Short(kind) => io::Error::from(kind),
            Self::Crash | Self::Skip | Self::Ambiguous { .. } => io::Error::other("injected crash"),
        }
    }
}

impl Undo {
    fn take_back(self, random: Option<&mut SplitMix>) -> io::Result<()> {
        match self {
            Self::Create { file } => ignore_missing(fs::remove_file(file)),
            Self::Remove { file, old } => fs::write(file, old),
            Self::Rename { from, to, overwritten } => {
                ignore_missing(fs::rename(&to, from))?;
                overwritten.map_or(Ok(()), |old| fs::write(to, old))
            }
            Self::Write {
                file,
                offset,
                new,
                old,
                old_len,
            } => {
                let Ok(mut now) = fs::read(&file) else { return Ok(()) };
                take_back_write(&mut now, offset, new, &old, old_len, random);
                fs::write(file, now)
            }
        }
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Puts the old bytes back, sector by sector. Where the file grew, a lost sector reads as zeros if a later one survived.
fn take_back_write(
    now: &mut Vec<u8>,
    offset: u64,
    new: u64,
    old: &[u8],
    old_len: u64,
    mut random: Option<&mut SplitMix>,
) {
    const SECTOR: usize = 512;
    let (start, old_len) = (offset as usize, old_len as usize);
    let end = (start + new as usize).min(now.len());
    let mut survived_to = old_len;
    let mut at = start;
    while at < end {
        let next = ((at / SECTOR + 1) * SECTOR).min(end);
        if random.as_mut().is_some_and(|random| random.below(2) == 1) {
            survived_to = survived_to.max(next);
        } else {
            for (byte, index) in now[at..next].iter_mut().zip(at - start..) {
                *byte = old.get(index).copied().unwrap_or(0);
            }
        }
        at = next;
    }
    if end == now.len() && end > old_len {
        now.truncate(survived_to);
    }
}

/// The SplitMix64 generator: enough for choosing sectors, no secret.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}
