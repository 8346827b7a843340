//! The judge of the storm: what all nodes hold at the end, whether the history is possible, what each fault cost.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use cryptoki_sys::*;
use hsmd_tests::daemon::{LABEL, PIN};
use hsmd_tests::faults::Row;
use hsmd_tests::faults::bed::Bed;
use hsmd_tests::history::{self, Call, End, Moment, Op};
use hsmd_tests::module::Module;
use hsmd_tests::soak::Soak;
use hsmd_tests::template::number;
use hsmd_tests::wait;

/// Reads across processes are at most this old (250 ms), and an attribute that a look brought along serves for 100 ms more.
const STALE: Moment = 350_000;
/// While a node is cut off or stopped it shows what it had, at most until its right to serve ends.
const STALE_IN_A_FAULT: Moment = 5_500_000;
/// What a fault explains after it was undone, in microseconds.
const AFTER: Moment = 6_000_000;

/// A fault and when it was.
pub(crate) struct Window {
    pub(crate) row: &'static Row,
    pub(crate) from: Moment,
    pub(crate) undone: Moment,
    /// From when on all nodes served again.
    pub(crate) whole: Moment,
}

/// The fault that explains a call: the last one that began before it was answered, if it was not over long before.
fn explains<'a>(windows: &'a [Window], call: &Call) -> Option<&'a Window> {
    let begun = |window: &&Window| call.returned.is_none_or(|at| at >= window.from);
    let last = windows.iter().rev().find(begun)?;
    (call.invoked < last.undone.max(last.whole) + AFTER).then_some(last)
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
fn leniency() -> u32 {
    if Soak::is_long() { 1 } else { 4 }
}

/// What happened in a window, or outside of all.
#[derive(Default)]
struct Cost {
    calls: usize,
    failed: BTreeMap<String, usize>,
    longest_sign: Moment,
    longest_change: Moment,
}

impl Cost {
    fn of<'a>(calls: impl Iterator<Item = &'a Call>) -> Self {
        let mut cost = Self::default();
        for call in calls {
            cost.calls += 1;
            if let Some(code) = call.failed() {
                *cost.failed.entry(format!("{} {code}", name(&call.op))).or_default() += 1;
            }
            let longest = match call.op {
                Op::Use => &mut cost.longest_sign,
                Op::Create(_) | Op::Label(_) | Op::Destroy => &mut cost.longest_change,
                Op::Find | Op::Held(_) => continue,
            };
            *longest = (*longest).max(call.took().unwrap_or_default());
        }
        cost
    }

    fn text(&self) -> String {
        let (sign, change) = (self.longest_sign / 1000, self.longest_change / 1000);
        let failed: usize = self.failed.values().sum();
        format!(
            "{} calls, {failed} failed {:?}, longest signature {sign} ms, longest change {change} ms",
            self.calls, self.failed
        )
    }
}

const fn name(op: &Op) -> &'static str {
    match op {
        Op::Create(_) => "create",
        Op::Label(_) => "label",
        Op::Destroy => "destroy",
        Op::Use => "use",
        Op::Find | Op::Held(_) => "find",
    }
}

/// How long after a fault was undone an application had the first answer to a signature, and to a change: of the application that
/// waited longest, of those that ask for such. `None`: one never had any.
fn back(calls: &[Call], undone: Moment) -> [Option<Moment>; 2] {
    [false, true].map(|change| {
        let mut first: BTreeMap<usize, Option<Moment>> = BTreeMap::new();
        for call in calls {
            let asked = match call.op {
                Op::Use => !change,
                Op::Create(_) | Op::Label(_) | Op::Destroy => change,
                Op::Find | Op::Held(_) => false,
            };
            if !asked {
                continue;
            }
            let first = first.entry(call.process).or_default();
            let answered = matches!(call.end, End::Done | End::Absent);
            let since = call.returned.filter(|at| answered && *at >= undone);
            *first = [*first, since.map(|at| at - undone)].into_iter().flatten().min();
        }
        let waits: Option<Vec<Moment>> = first.into_values().collect();
        waits?.into_iter().max()
    })
}

/// The figures of each fault, and those that break their row.
fn costs(calls: &[Call], windows: &[Window]) -> (String, Vec<String>) {
    let mut text = format!("  bounds in time are {} times those of the table\n", leniency());
    let mut dear = Vec::new();
    let workers: Vec<Call> = calls
        .iter()
        .filter(|call| !matches!(call.op, Op::Held(_)))
        .cloned()
        .collect();
    let real = || workers.iter();
    for window in windows {
        let cost =
            Cost::of(real().filter(|call| explains(windows, call).is_some_and(|found| found.from == window.from)));
        let row = window.row;
        let mut line = format!(
            "{}: {}, all serve {} ms after its end",
            row.what,
            cost.text(),
            window.whole.saturating_sub(window.undone) / 1000
        );
        let mut late = false;
        if let Some(most) = row.back {
            let [sign, change] = back(&workers, window.undone);
            let shown =
                |wait: Option<Moment>| wait.map_or_else(|| "never".to_owned(), |wait| format!("{} ms", wait / 1000));
            let _ = write!(
                line,
                ", first signature after {}, first change after {}",
                shown(sign),
                shown(change)
            );
            late = [sign, change]
                .iter()
                .any(|wait| wait.is_none_or(|wait| Duration::from_micros(wait) > most * leniency()));
        }
        let _ = writeln!(text, "  {line}");
        let only_one_code = cost.failed.keys().all(|what| what.ends_with("CKR_DEVICE_ERROR"));
        let allowed = cost.failed.is_empty() || (row.calls_may_fail && only_one_code);
        let over = |longest: Moment, most: Duration| Duration::from_micros(longest) > most * leniency();
        if !allowed || late || over(cost.longest_sign, row.sign) || over(cost.longest_change, row.change) {
            dear.push(line);
        }
    }
    let outside = Cost::of(real().filter(|call| explains(windows, call).is_none()));
    let _ = writeln!(text, "  outside of all: {}", outside.text());
    if !outside.failed.is_empty() {
        dear.push(format!("without a fault: {}", outside.text()));
    }
    (text, dear)
}
