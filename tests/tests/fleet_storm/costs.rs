//! What each fault of the storm cost the applications: for each one held against its row, and together as the table that the
//! book shows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use hsmd_tests::faults::TABLE;
use hsmd_tests::history::{Call, End, Moment, Op};

use super::WORKERS;
use super::verdict::{AFTER, Window, leniency};

/// The fault that explains a call, by its place: the last one that began before it was answered, if it was not over long before.
fn explains(windows: &[Window], call: &Call) -> Option<usize> {
    let begun = |window: &Window| call.returned.is_none_or(|at| at >= window.from);
    let last = windows.partition_point(begun).checked_sub(1)?;
    let window = &windows[last];
    (call.invoked < window.undone.max(window.whole) + AFTER).then_some(last)
}

/// What happened in a window, or outside of all.
#[derive(Default)]
struct Cost {
    calls: usize,
    failed: BTreeMap<String, usize>,
    longest_sign: Moment,
    longest_change: Moment,
    /// From the fault's end until all nodes served again.
    all_serve: Moment,
    /// From its end until etcd had a leader again, where that is waited for.
    etcd: Moment,
    /// From etcd's return to the first answered signature and change, where the row bounds them.
    back: Option<[Option<Moment>; 2]>,
}

impl Cost {
    fn add(&mut self, call: &Call) {
        self.calls += 1;
        if let Some(code) = call.failed() {
            *self.failed.entry(format!("{} {code}", name(&call.op))).or_default() += 1;
        }
        let longest = match call.op {
            Op::Use => &mut self.longest_sign,
            Op::Create(_) | Op::Label(_) | Op::Destroy => &mut self.longest_change,
            Op::Find | Op::Held(_) => return,
        };
        *longest = (*longest).max(call.took().unwrap_or_default());
    }

    fn failures(&self) -> usize {
        self.failed.values().sum()
    }

    fn text(&self) -> String {
        let (sign, change) = (self.longest_sign / 1000, self.longest_change / 1000);
        let mut text = format!(
            "{} calls, {} failed {:?}, longest signature {sign} ms, longest change {change} ms, all serve {} ms after its end",
            self.calls,
            self.failures(),
            self.failed,
            self.all_serve / 1000
        );
        if let Some([sign, change]) = self.back {
            let _ = write!(
                text,
                ", etcd leads {} ms after its end, then the first signature after {}, the first change after {}",
                self.etcd / 1000,
                shown(sign),
                shown(change)
            );
        }
        text
    }

    /// Whether it is more than the row of the table allows.
    fn breaks(&self, window: &Window) -> bool {
        let row = window.row;
        let over = |longest: Moment, most: Duration| Duration::from_micros(longest) > most * leniency();
        let only_one_code = self.failed.keys().all(|what| what.ends_with("CKR_DEVICE_ERROR"));
        let allowed = self.failed.is_empty() || (row.calls_may_fail && only_one_code);
        let late = |most: Duration| {
            let waits = self.back.into_iter().flatten();
            waits.into_iter().any(|wait| wait.is_none_or(|wait| over(wait, most)))
        };
        !allowed
            || row.back.is_some_and(late)
            || over(self.longest_sign, row.sign)
            || over(self.longest_change, row.change)
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

/// How long after etcd had returned an application had the first answer to a signature, and to a change: of the application that
/// waited longest, of those that ask for such. `None`: one never had any.
fn back(calls: &[&Call], returned: Moment) -> [Option<Moment>; 2] {
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
            let since = call.returned.filter(|at| answered && *at >= returned);
            *first = [*first, since.map(|at| at - returned)].into_iter().flatten().min();
        }
        let waits: Option<Vec<Moment>> = first.into_values().collect();
        waits?.into_iter().max()
    })
}

/// The figures of each fault and a table of them all, and a sentence for each fault that breaks its row.
pub(crate) fn costs(calls: &[Call], windows: &[Window]) -> (String, Vec<String>) {
    let mut text = format!("  bounds in time are {} times those of the table\n", leniency());
    let mut dear = Vec::new();
    let mut outside = Cost::default();
    let mut inside: Vec<Cost> = windows.iter().map(|_| Cost::default()).collect();
    // What a witness waits for is its one node.
    let calls: Vec<&Call> = calls.iter().filter(|call| call.process < WORKERS).collect();
    for call in &calls {
        let cost = explains(windows, call).map_or(&mut outside, |window| &mut inside[window]);
        cost.add(call);
    }
    for (window, cost) in windows.iter().zip(&mut inside) {
        cost.all_serve = window.whole.saturating_sub(window.undone);
        cost.etcd = window.returned - window.undone;
        cost.back = window.row.back.map(|_| back(&calls, window.returned));
        let line = format!("{}: {}", window.row.what, cost.text());
        let _ = writeln!(text, "  {line}");
        if cost.breaks(window) {
            dear.push(line);
        }
    }
    let _ = writeln!(text, "  outside of all: {}", outside.text());
    if !outside.failed.is_empty() {
        dear.push(format!("without a fault: {}", outside.text()));
    }
    text += &together(windows, &inside, &outside);
    (text, dear)
}

/// The worst of each row of the table, in Markdown.
fn together(windows: &[Window], inside: &[Cost], outside: &Cost) -> String {
    let mut text =
        "| fault | times | calls | failed | longest signature | longest change | all serve after | service back |\n\
        |---|---|---|---|---|---|---|---|\n"
            .to_owned();
    let milliseconds = |time: Moment| format!("{} ms", time / 1000);
    for row in TABLE {
        let of_row = windows
            .iter()
            .zip(inside)
            .filter(|(window, _)| window.row.fault == row.fault);
        let costs: Vec<&Cost> = of_row.map(|(_, cost)| cost).collect();
        if costs.is_empty() {
            continue;
        }
        let sum = |figure: fn(&Cost) -> usize| costs.iter().map(|cost| figure(cost)).sum::<usize>();
        let most =
            |figure: fn(&Cost) -> Moment| milliseconds(costs.iter().map(|cost| figure(cost)).max().unwrap_or_default());
        let back = costs.iter().filter_map(|cost| cost.back).flatten();
        let back = back.max_by_key(|wait| wait.unwrap_or(Moment::MAX));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            row.what,
            costs.len(),
            sum(|cost| cost.calls),
            sum(Cost::failures),
            most(|cost| cost.longest_sign),
            most(|cost| cost.longest_change),
            most(|cost| cost.all_serve),
            back.map_or_else(|| "-".to_owned(), shown),
        );
    }
    let _ = writeln!(
        text,
        "| none | | {} | {} | {} | {} | - | - |",
        outside.calls,
        outside.failures(),
        milliseconds(outside.longest_sign),
        milliseconds(outside.longest_change),
    );
    text
}

fn shown(wait: Option<Moment>) -> String {
    wait.map_or_else(|| "never".to_owned(), |wait| format!("{} ms", wait / 1000))
}
