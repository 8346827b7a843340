//! The harness of the cross-process tests and benches: a daemon of one's own, the module as an application loads it, and
//! the programs that use it. It is not shipped, and it knows no internals of hsmd: only what a user sees.
//!
//! The one `unsafe` file is `ffi.rs`. Nothing here sleeps: it waits for a condition with a deadline (`wait.rs`).
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "in a test harness a failed step is a failed test"
)]

pub mod daemon;
pub mod etcd;
pub mod faults;
pub mod ffi;
pub mod history;
pub mod keeper;
pub mod kem;
pub mod module;
pub mod peers;
pub mod plan;
pub mod remote;
pub mod rv;
pub mod scan;
pub mod served;
pub mod signatures;
pub mod signatures_3;
pub mod soak;
pub mod storm;
pub mod tap;
pub mod template;
pub mod wait;

/// How many times as long the tests run: `HSMD_SOAK`, 1 unless set.
#[must_use]
pub fn soak() -> usize {
    std::env::var("HSMD_SOAK")
        .ok()
        .and_then(|factor| factor.parse().ok())
        .unwrap_or(1)
}
