//! The library's one global: which process initialised it. Checked at every entry before any lock is taken, because a
//! lock may have been held by another thread when the process forked (INV-9).

use crate::state::instance::Instance;
use hsmd_proto::ck::Rv;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// The newest process record. Records are never freed: a forked child leaks its parent's, one per generation.
static CURRENT: AtomicPtr<Process> = AtomicPtr::new(std::ptr::null_mut());

/// How a process knows itself.
enum Mark {
    /// A page that the kernel wipes in a child (MADV_WIPEONFORK): 1 here, 0 there. One plain load.
    Page(&'static AtomicU8),
    /// Where the kernel has no such page.
    Pid(u32),
}

impl Mark {
    fn new() -> Self {
        const LENGTH: usize = 4096;
        // SAFETY: a new anonymous mapping; no existing memory is touched.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                LENGTH,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Self::Pid(std::process::id());
        }
        // SAFETY: the mapping just made.
        if unsafe { libc::madvise(page, LENGTH, libc::MADV_WIPEONFORK) } != 0 {
            return Self::Pid(std::process::id());
        }
        // SAFETY: the mapping is zeroed, aligned, writable and never unmapped; only atomics touch it.
        let flag: &'static AtomicU8 = unsafe { &*page.cast::<AtomicU8>() };
        flag.store(1, Ordering::Relaxed);
        Self::Page(flag)
    }

    fn is_ours(&self) -> bool {
        match self {
            Self::Page(flag) => flag.load(Ordering::Relaxed) == 1,
            Self::Pid(pid) => *pid == std::process::id(),
        }
    }
}

/// What the library knows of one process.
pub(super) struct Process {
    mark: Mark,
    instance: RwLock<Option<Arc<Instance>>>,
}

impl Process {
    /// The record of this very process, if it has one.
    pub(super) fn current() -> Option<&'static Self> {
        let process = CURRENT.load(Ordering::Acquire);
        if process.is_null() {
            return None;
        }
        // SAFETY: not NULL, made by Box::into_raw in `of_this_process`, never freed.
        let process: &'static Self = unsafe { &*process };
        process.mark.is_ours().then_some(process)
    }

    /// The record of this process, made if there is none. The record of a parent is left alone, but for its sockets.
    fn of_this_process() -> &'static Self {
        loop {
            if let Some(process) = Self::current() {
                return process;
            }
            let old = CURRENT.load(Ordering::Acquire);
            let new = Box::into_raw(Box::new(Self {
                mark: Mark::new(),
                instance: RwLock::new(None),
            }));
            if CURRENT
                .compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
                .is_err()
            {
                // SAFETY: made by Box::into_raw above and shown to nobody.
                drop(unsafe { Box::from_raw(new) });
                continue;
            }
            if !old.is_null() {
                // SAFETY: as in `current`.
                unsafe { &*old }.close_inherited();
            }
        }
    }

    /// Closes what the parent had open when it forked. Never waits for a lock: one that is held stays held for ever.
    fn close_inherited(&self) {
        if let Ok(instance) = self.instance.try_read()
            && let Some(instance) = instance.as_ref()
        {
            instance.close_inherited();
        }
    }

    /// The initialised instance, if there is one.
    pub(super) fn instance(&self) -> Option<Arc<Instance>> {
        self.instance.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// C_Initialize: of several at once exactly one succeeds.
pub(super) fn initialize(make: impl FnOnce() -> Result<Instance, Rv>) -> Result<(), Rv> {
    let process = Process::of_this_process();
    let mut instance = process.instance.write().unwrap_or_else(PoisonError::into_inner);
    if instance.is_some() {
        return Err(Rv::CRYPTOKI_ALREADY_INITIALIZED);
    }
    *instance = Some(Arc::new(make()?));
    Ok(())
}

/// C_Finalize: takes the instance away; calls that are under way end by themselves.
pub(super) fn finalize() -> Result<(), Rv> {
    let process = Process::current().ok_or(Rv::CRYPTOKI_NOT_INITIALIZED)?;
    let taken = process.instance.write().unwrap_or_else(PoisonError::into_inner).take();
    taken.ok_or(Rv::CRYPTOKI_NOT_INITIALIZED)?.finalize();
    Ok(())
}
