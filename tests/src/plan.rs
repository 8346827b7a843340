//! What strace does to a daemon on purpose: the n-th call of a kind ends it, fails, or takes long. The calls are those by
//! which a store reaches the disk, so that a sweep over n comes past every step of it. strace counts for each thread.

use std::path::Path;

use crate::peers::program;
use crate::soak::Random;

/// The calls by which the store reaches the disk.
pub const STORE_CALLS: &[&str] = &[
    "pwrite64",
    "fdatasync",
    "fsync",
    "write",
    "ftruncate,fallocate",
    "rename,renameat,renameat2",
    "unlink,unlinkat",
    "openat",
    "sync_file_range",
];

fn under(options: &[&str], calls: &str, inject: &str, trace: &Path) -> Vec<String> {
    let strace = program("strace").display().to_string();
    let (output, inject) = (trace.display().to_string(), format!("inject={calls}:{inject}"));
    let calls = format!("trace={calls}");
    // -D: the daemon stays our child.
    let words = [&strace, "-D", "-f", "-qqq", "-o", &output, "-e", &calls, "-e", &inject];
    words.iter().chain(options).map(ToString::to_string).collect()
}

/// SIGKILL arrives as the n-th of these calls begins: it is not made.
#[must_use]
pub fn kill_at(calls: &str, nth: usize) -> Vec<String> {
    // With --seccomp-bpf strace 6.1 delivers no signal.
    under(
        &[],
        calls,
        &format!("signal=SIGKILL:when={nth}"),
        Path::new("/dev/null"),
    )
}

/// A kill at a random step, at most the `most`-th call of a thread: early enough that the daemon comes past it.
#[must_use]
pub fn random_kill(random: &mut Random, most: usize) -> Vec<String> {
    // Half of them at what every change does.
    let often = if random.below(2) == 0 { 2 } else { STORE_CALLS.len() };
    let calls = random.pick(&STORE_CALLS[..often]);
    // The dynamic linker and the configuration come first.
    let most = if calls == "openat" { 60 } else { most };
    kill_at(calls, 1 + random.below(most))
}

/// What the n-th of these calls does instead of what it should: `error=EIO`, or `retval=0` (a write of no bytes). The trace
/// says `(INJECTED)` where it happened.
#[must_use]
pub fn instead_at(calls: &str, what: &str, nth: usize, trace: &Path) -> Vec<String> {
    // Other calls run at full speed.
    under(&["--seccomp-bpf"], calls, &format!("{what}:when={nth}"), trace)
}
