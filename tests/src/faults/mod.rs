//! A fleet in a network of its own, and what can go wrong with it: three hosts with a daemon each, three with an etcd each, one with
//! the applications. Each fault is a row of [`TABLE`] with what it may do to calls; `bed` does it and undoes it.

pub mod bed;
pub mod cluster;
pub mod network;

use std::fmt::Write as _;
use std::time::Duration;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A daemon gets SIGKILL, and is started again.
    KillNode,
    /// A daemon gets SIGSTOP, and SIGCONT when its right to serve is over.
    StopNode,
    /// Applications and a daemon do not reach each other, without a word.
    CutClients,
    /// What a daemon sends to applications does not arrive; what they send does.
    MuteNode,
    /// A daemon reaches no etcd, without a word.
    CutNodeFromEtcd,
    /// A daemon reaches no etcd for 3 s; when it does again, etcd has forgotten what it has missed.
    Compact,
    /// A daemon's cable is pulled.
    UnplugNode,
    /// The disk of a daemon takes 200 ms for each sync.
    SlowNodeDisk,
    /// The disk of a daemon is full: nothing can be written to files.
    FullNodeDisk,
    /// A daemon's clock steps an hour ahead, and back; only the clock that says what time it is.
    StepClock,
    /// The etcd that leads gets SIGKILL, and is started again.
    KillLeader,
    /// The etcd that leads gets SIGSTOP, and SIGCONT.
    StopLeader,
    /// The etcd that leads does not reach the other two; daemons reach all.
    CutLeader,
    /// The etcd that leads and another do not reach each other, and what the third sends to that other does not arrive; the third
    /// hears both.
    SplitEtcd,
    /// The disk of the etcd that leads takes 200 ms for each sync.
    SlowLeaderDisk,
    /// The disk of the etcd that leads fails: that etcd ends, and is started again.
    FailingLeaderDisk,
    /// Two of three etcd get SIGKILL, and are started again.
    LoseQuorum,
}

/// What a fault may do to calls, from when it is done until 6 s after it was undone.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which.
    pub fault: Fault,
    /// In words.
    pub what: &'static str,
    /// How long it lasts.
    pub lasts: Duration,
    /// Whether calls may fail. They fail with `CKR_DEVICE_ERROR` then, nothing else.
    pub calls_may_fail: bool,
    /// No signature takes longer.
    pub sign: Duration,
    /// No create, label or destroy takes longer.
    pub change: Duration,
    /// Where nobody serves while it lasts: so long after etcd has a leader again each application has a signature and a change answered.
    pub back: Option<Duration>,
}

const fn row(fault: Fault, lasts: u64, sign: u64, change: u64, what: &'static str) -> Row {
    Row {
        fault,
        what,
        lasts: Duration::from_millis(lasts),
        calls_may_fail: false,
        sign: Duration::from_millis(sign),
        change: Duration::from_millis(change),
        back: None,
    }
}

/// Each fault with its expected outcome. Always: no wrong signature, nothing acknowledged is lost, no destroyed key is used, all
/// nodes hold the same at the end.
pub const TABLE: &[Row] = &[
    row(
        Fault::KillNode,
        1_000,
        1_500,
        9_000,
        "a daemon is killed (SIGKILL) and started again",
    ),
    row(
        Fault::StopNode,
        8_000,
        2_500,
        9_000,
        "a daemon is stopped (SIGSTOP) for 8 s",
    ),
    row(
        Fault::CutClients,
        6_000,
        2_500,
        4_000,
        "applications do not reach a daemon, silently",
    ),
    row(
        Fault::MuteNode,
        6_000,
        2_500,
        4_000,
        "a daemon's words do not reach applications, silently; theirs reach it",
    ),
    row(
        Fault::CutNodeFromEtcd,
        9_000,
        2_500,
        9_000,
        "a daemon does not reach etcd, silently",
    ),
    row(
        Fault::Compact,
        3_000,
        2_500,
        9_000,
        "a daemon does not reach etcd for 3 s, silently, and etcd has compacted what it missed",
    ),
    row(Fault::UnplugNode, 9_000, 2_500, 9_000, "a daemon's cable is pulled"),
    row(
        Fault::SlowNodeDisk,
        6_000,
        1_500,
        4_000,
        "each sync of a daemon's disk takes 200 ms",
    ),
    row(
        Fault::FullNodeDisk,
        9_000,
        2_500,
        9_000,
        "a daemon's disk is full (ENOSPC) for 9 s",
    ),
    row(
        Fault::StepClock,
        6_000,
        1_500,
        4_000,
        "a daemon's clock steps an hour ahead, and 6 s later back",
    ),
    row(
        Fault::KillLeader,
        4_000,
        1_500,
        6_000,
        "the leading etcd is killed (SIGKILL) and started again",
    ),
    row(
        Fault::StopLeader,
        6_000,
        1_500,
        9_000,
        "the leading etcd is stopped (SIGSTOP) for 6 s",
    ),
    row(
        Fault::CutLeader,
        6_000,
        1_500,
        9_000,
        "the leading etcd does not reach the others, silently",
    ),
    row(
        Fault::SplitEtcd,
        6_000,
        1_500,
        9_000,
        "an etcd hears neither the leading etcd nor the third, silently; the third hears it",
    ),
    row(
        Fault::SlowLeaderDisk,
        6_000,
        1_500,
        6_000,
        "each sync of the leading etcd's disk takes 200 ms",
    ),
    row(
        Fault::FailingLeaderDisk,
        4_000,
        1_500,
        6_000,
        "syncs of the leading etcd's disk fail: it ends, and is started again",
    ),
    Row {
        calls_may_fail: true,
        back: Some(Duration::from_secs(3)),
        ..row(
            Fault::LoseQuorum,
            8_000,
            25_000,
            25_000,
            "two of three etcd are killed for 8 s",
        )
    },
];

/// The table as text, as docs/fleet.md has it.
#[must_use]
pub fn table() -> String {
    let mut text =
        "| fault | failed calls | longest signature | longest change | service back |\n|---|---|---|---|---|\n"
            .to_owned();
    for row in TABLE {
        let failed = if row.calls_may_fail {
            "`CKR_DEVICE_ERROR` only"
        } else {
            "0"
        };
        let (sign, change) = (row.sign.as_secs_f32(), row.change.as_secs_f32());
        let back = row
            .back
            .map_or_else(|| "-".to_owned(), |back| format!("{} s", back.as_secs_f32()));
        let _ = writeln!(text, "| {} | {failed} | {sign} s | {change} s | {back} |", row.what);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn the_runbook_has_this_table() {
        let page = include_str!("../../../docs/fleet-runbook.md");
        assert!(page.contains(&table()), "docs/fleet-runbook.md lacks:\n{}", table());
    }
}
