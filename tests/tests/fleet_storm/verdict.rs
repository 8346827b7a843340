//! The judge of the storm: what all nodes hold at the end and whether the history is possible. What each fault cost is in costs.rs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use cryptoki_sys::*;
use hsmd_tests::daemon::{LABEL, PIN};
use hsmd_tests::faults::Row;
use hsmd_tests::faults::bed::Bed;
use hsmd_tests::history::{self, Call, End, Moment, Op};
use hsmd_tests::module::Module;
use hsmd_tests::soak::Soak;
use hsmd_tests::template::number;
use hsmd_tests::wait;

use super::costs::costs;

/// Reads across processes are at most this old (250 ms), and an attribute that a look brought along serves for 100 ms more.
const STALE: Moment = 350_000;
/// While a node is cut off or stopped it shows what it had, at most until its right to serve ends.
const STALE_IN_A_FAULT: Moment = 5_500_000;
/// What a fault explains after it was undone, in microseconds.
pub(crate) const AFTER: Moment = 6_000_000;

/// A fault and when it was.
pub(crate) struct Window {
    pub(crate) row: &'static Row,
    pub(crate) from: Moment,
    pub(crate) undone: Moment,
    /// Where first answers are counted: when etcd's majority had a leader again, seen from outside.
    pub(crate) returned: Moment,
    /// From when on all nodes served again.
    pub(crate) whole: Moment,
}

/// What is said of a storm.
pub(crate) struct Verdict {
    /// All is well.
    pub(crate) good: bool,
    /// The history cannot have been, whatever it may have cost.
    pub(crate) impossible: bool,
    /// The figures.
    pub(crate) text: String,
}

/// Judges what the workers wrote and what all nodes hold.
pub(crate) fn judge(bed: &Bed, notes: &[String], windows: &[Window]) -> Verdict {
    let read: Vec<_> = notes
        .iter()
        .enumerate()
        .map(|(at, text)| history::read(at, text))
        .collect();
    let wrong: Vec<_> = read.iter().flat_map(|notes| &notes.wrong).collect();
    let mut calls: Vec<Call> = read.iter().flat_map(|notes| notes.calls.clone()).collect();
    let mut text = String::new();
    let held = holdings(bed);
    let equal = held.iter().all(|each| *each == held[0]) && !held[0].is_empty();
    calls.extend(at_the_end(&calls, &held[0]));
    let impossible = history::objects(&calls);
    let unseen = history::views(&calls, &|at| staleness(windows, at));
    let (costs, dear) = costs(&calls, windows);
    let is_impossible = !impossible.is_empty();
    for (what, list) in [
        ("wrong results", wrong.into_iter().cloned().collect::<Vec<_>>()),
        ("impossible histories", impossible),
        ("looks that show what they must not", unseen),
        ("faults that cost more than their row allows", dear),
    ] {
        let _ = writeln!(text, "{what}: {}", list.len());
        for sentence in list.iter().take(8) {
            let _ = writeln!(text, "  {sentence}");
        }
        if !list.is_empty() {
            text.insert(0, '!');
        }
    }
    let _ = writeln!(
        text,
        "nodes equal at the end: {equal}, {} objects\n{costs}",
        held[0].len()
    );
    let good = equal && !text.starts_with('!') && calls.len() > 100;
    Verdict {
        good,
        impossible: is_impossible,
        text,
    }
}

/// Private and public keys by class and `CKA_ID`, with the private keys' labels, as each node has them.
fn holdings(bed: &Bed) -> Vec<BTreeMap<String, String>> {
    let whole = wait::until(wait::PATIENCE, || {
        let held: Vec<_> = bed.nodes.iter().map(|node| holding(&node.module())).collect();
        // What was acknowledged last needs its 250 ms; what differs after long is judged as it is.
        held.iter().all(|each| *each == held[0]).then_some(held)
    });
    whole.unwrap_or_else(|| bed.nodes.iter().map(|node| holding(&node.module())).collect())
}

fn holding(module: &Module) -> BTreeMap<String, String> {
    module.initialize().expect("C_Initialize");
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
    module.login(session, CKU_USER, PIN).expect("C_Login");
    let text = |object, kind| {
        let value = module.get(session, object, kind).expect("C_GetAttributeValue");
        String::from_utf8_lossy(&value).into_owned()
    };
    let private = [number(CKA_CLASS, CKO_PRIVATE_KEY)];
    let found = module.find(session, &private).expect("C_FindObjects");
    let held = found
        .into_iter()
        .map(|object| (text(object, CKA_ID), text(object, CKA_LABEL)));
    let held = held.collect();
    module.finalize().expect("C_Finalize");
    held
}

/// A last word on each object that anybody asked for, and on those that nobody did.
fn at_the_end(calls: &[Call], held: &BTreeMap<String, String>) -> Vec<Call> {
    let last = calls.iter().filter_map(|call| call.returned).max().unwrap_or_default() + 1;
    let asked = calls.iter().filter(|call| call.op != Op::Find).map(|call| &call.object);
    let all: BTreeSet<&String> = asked.chain(held.keys()).collect();
    let word = |object: &String| Call {
        process: usize::MAX,
        object: object.clone(),
        op: Op::Held(held.get(object).cloned()),
        invoked: last,
        returned: Some(last + 1),
        end: End::Done,
    };
    all.into_iter().map(word).collect()
}

fn staleness(windows: &[Window], at: Moment) -> Moment {
    let inside = windows
        .iter()
        .any(|window| at >= window.from && at < window.whole + AFTER);
    let most = if inside { STALE_IN_A_FAULT } else { STALE };
    most * Moment::from(leniency())
}

/// By how much bounds in time are multiplied: a short run shares its machine with other tests, which may hold up anything.
pub(crate) fn leniency() -> u32 {
    if Soak::is_long() { 1 } else { 4 }
}
