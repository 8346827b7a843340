//! Keeps key material off swap and out of core dumps, as far as the process may. The only `unsafe` of this crate.
//!
//! Locking with `MCL_FUTURE` under a finite `RLIMIT_MEMLOCK` would make later allocations fail, which ends a Rust
//! process: so all memory is locked only where the limit is infinite, as the systemd unit sets it (DESIGN 6).
#![allow(unsafe_code, reason = "system calls that the standard library does not have")]

/// What was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// All memory is locked: nothing goes to swap.
    pub locked: bool,
    /// No other process of this user can attach or read memory, and no core file is written.
    pub undumpable: bool,
    /// The core size limit is 0.
    pub no_core: bool,
}

impl Protection {
    /// One line for status and log.
    #[must_use]
    pub fn describe(self) -> String {
        let locked = if self.locked {
            "locked"
        } else {
            "not locked (RLIMIT_MEMLOCK is finite; set LimitMEMLOCK=infinity)"
        };
        let dump = if self.undumpable && self.no_core {
            "no dumps"
        } else {
            "dumps possible"
        };
        format!("{locked}, {dump}")
    }
}

/// Protects this process: called once, before the first key is read.
#[must_use]
pub fn protect() -> Protection {
    Protection {
        undumpable: set_undumpable(),
        no_core: set_no_core(),
        locked: lock_all(),
    }
}

fn set_undumpable() -> bool {
    // SAFETY: PR_SET_DUMPABLE takes one integer and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 }
}

fn set_no_core() -> bool {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live struct of the type that the call reads.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) == 0 }
}

fn lock_all() -> bool {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live struct of the type that the call writes.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) == 0 };
    if !known || limit.rlim_cur != libc::RLIM_INFINITY {
        return false;
    }
    // Locked as it is touched: a thread's stack, most of which never is, must not take memory.
    let flags = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    // SAFETY: mlockall takes flags only.
    unsafe { libc::mlockall(flags) == 0 }
}

/// The user that this process acts as.
#[must_use]
pub fn effective_user() -> u32 {
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_says_what_is_missing() {
        let all = Protection {
            locked: true,
            undumpable: true,
            no_core: true,
        };
        assert_eq!(all.describe(), "locked, no dumps");
        assert!(Protection { locked: false, ..all }.describe().contains("LimitMEMLOCK"));
    }
}
