//! Whether each object can have been one register (Wing and Gong; one object at a time, as Porcupine does): there is an order of its
//! calls in which each lies between its invocation and its answer and every answer is right. A use of a key is one of these calls,
//! so a signature after an acknowledged destroy has no place in any order (INV-6), and neither has an object that is missing at the
//! end (INV-2).
//!
//! A destroy holds on each node from another moment between its call and its answer. While one is under way, a use may be refused by
//! one node and done by another; afterwards it is refused by all.
//!
//! It follows the calls by time with all states that are possible so far (just-in-time linearization): at an answer, those are
//! kept in which the call has happened. A call that changes nothing happens as soon as a state allows its answer, which takes
//! nothing from the others; so only changes under way at once multiply the states, and hours of signatures are judged in seconds.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{Call, End, Moment, Op};

/// An object at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    NotYet,
    There(String),
    Gone,
}

/// A state with the calls that have happened in it and are not answered.
type Possible = (State, BTreeSet<usize>);

/// More states than this are not followed: the history is then named as undecided.
const MOST: usize = 200_000;

/// A sentence for each object whose calls fit into no order.
#[must_use]
pub fn objects(calls: &[Call]) -> Vec<String> {
    let mut by_object: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.op != Op::Find) {
        by_object.entry(&call.object).or_default().push(call);
    }
    let found = by_object.iter().filter_map(|(object, calls)| {
        let stuck = object_order(calls)?;
        let mut lines = format!("{object}: no order of its calls explains this answer: {stuck}\n");
        let mut calls = calls.clone();
        calls.sort_by_key(|call| call.invoked);
        for call in calls {
            lines += &format!("    {}\n", show(call));
        }
        Some(lines)
    });
    found.collect()
}

fn show(call: &Call) -> String {
    let returned = call.returned.map_or_else(|| "never".to_owned(), |at| at.to_string());
    format!(
        "[{}..{returned}] process {}: {:?} -> {:?}",
        call.invoked, call.process, call.op, call.end
    )
}

/// `None`: there is an order. Otherwise the answer at which there was none left.
fn object_order(calls: &[&Call]) -> Option<String> {
    // What failed and only reads says nothing.
    let calls: Vec<&Call> = calls.iter().copied().filter(|call| tells(call)).collect();
    let mut steps: Vec<(Moment, bool, usize)> = Vec::new();
    for (number, call) in calls.iter().enumerate() {
        steps.push((call.invoked, false, number));
        if let (Some(at), true) = (call.returned, is_answered(call)) {
            steps.push((at, true, number));
        }
    }
    // At the same moment calls begin before others end: they overlap.
    steps.sort_unstable();
    let destroys: Vec<&Call> = calls.iter().copied().filter(|call| call.op == Op::Destroy).collect();
    let mut pending: BTreeSet<usize> = BTreeSet::new();
    let mut possible: HashSet<Possible> = HashSet::from([(State::NotYet, BTreeSet::new())]);
    for (_, ends, number) in steps {
        if !ends {
            pending.insert(number);
            continue;
        }
        if is_refused_by_a_destroy_under_way(calls[number], &destroys) {
            pending.remove(&number);
            continue;
        }
        let Some(all) = closure(possible, &pending, &calls) else {
            return Some(format!("undecided: more than {MOST} states: {}", show(calls[number])));
        };
        possible = all
            .into_iter()
            .filter_map(|(state, mut done)| done.remove(&number).then_some((state, done)))
            .collect();
        pending.remove(&number);
        if possible.is_empty() {
            return Some(show(calls[number]));
        }
    }
    None
}

/// Says nothing of the order: the destroy has reached the node that was asked, and perhaps no other.
fn is_refused_by_a_destroy_under_way(call: &Call, destroys: &[&Call]) -> bool {
    let overlaps = |destroy: &&Call| {
        destroy.invoked <= call.returned.unwrap_or(Moment::MAX) && destroy.returned.is_none_or(|at| at >= call.invoked)
    };
    call.end == End::Absent && destroys.iter().any(overlaps)
}

fn tells(call: &Call) -> bool {
    call.op != Op::Use || matches!(call.end, End::Done | End::Absent)
}

const fn is_answered(call: &Call) -> bool {
    matches!(call.end, End::Done | End::Absent)
}

/// All that can have happened by now: any of the pending changes, in any order, and what each state allows of the rest.
fn closure(possible: HashSet<Possible>, pending: &BTreeSet<usize>, calls: &[&Call]) -> Option<HashSet<Possible>> {
    let (changes, looks): (Vec<usize>, Vec<usize>) = pending.iter().partition(|number| changes(calls[**number]));
    let with_looks = |(state, mut done): Possible| {
        let seen = looks.iter().filter(|look| apply(&state, calls[**look]).is_some());
        done.extend(seen);
        (state, done)
    };
    let mut all: HashSet<Possible> = possible.into_iter().map(with_looks).collect();
    let mut work: Vec<Possible> = all.iter().cloned().collect();
    while let Some((state, done)) = work.pop() {
        for number in changes.iter().filter(|number| !done.contains(number)) {
            let Some(after) = apply(&state, calls[*number]) else {
                continue;
            };
            let mut done = done.clone();
            done.insert(*number);
            let next = with_looks((after, done));
            if all.insert(next.clone()) {
                work.push(next);
            }
        }
        if all.len() > MOST {
            return None;
        }
    }
    Some(all)
}

/// Whether a call leaves another state behind, if it happened.
const fn changes(call: &Call) -> bool {
    matches!(call.op, Op::Create(_) | Op::Label(_) | Op::Destroy) && !matches!(call.end, End::Absent)
}

/// The state after a call, if it can have happened in this one with the answer that it had.
fn apply(state: &State, call: &Call) -> Option<State> {
    let there = matches!(state, State::There(_));
    if call.end == End::Absent {
        return (!there).then(|| state.clone());
    }
    match &call.op {
        Op::Create(label) => (*state == State::NotYet).then(|| State::There(label.clone())),
        Op::Label(label) => there.then(|| State::There(label.clone())),
        Op::Destroy => there.then_some(State::Gone),
        Op::Use => there.then(|| state.clone()),
        Op::Held(Some(label)) => (*state == State::There(label.clone())).then(|| state.clone()),
        Op::Held(None) => (!there).then(|| state.clone()),
        Op::Find => Some(state.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(process: usize, op: Op, span: (Moment, Moment), end: End) -> Call {
        let open = end == End::Open;
        Call {
            process,
            object: "a".to_owned(),
            op,
            invoked: span.0,
            returned: (!open).then_some(span.1),
            end,
        }
    }

    fn create(span: (Moment, Moment)) -> Call {
        call(1, Op::Create("0".to_owned()), span, End::Done)
    }

    fn label(label: &str, span: (Moment, Moment), end: End) -> Call {
        call(2, Op::Label(label.to_owned()), span, end)
    }

    fn held(label: Option<&str>) -> Call {
        call(0, Op::Held(label.map(str::to_owned)), (900, 901), End::Done)
    }

    fn failed() -> End {
        End::Failed("CKR_DEVICE_ERROR".to_owned())
    }

    #[test]
    fn a_history_in_order_is_good() {
        let history = [
            create((0, 10)),
            call(2, Op::Use, (20, 30), End::Done),
            label("1", (25, 40), End::Done),
            call(3, Op::Destroy, (50, 60), End::Done),
            call(2, Op::Use, (55, 70), End::Done),
            call(2, Op::Use, (71, 80), End::Absent),
            held(None),
        ];
        assert_eq!(objects(&history), Vec::<String>::new());
    }

    #[test]
    fn a_destroyed_key_that_signs_is_found() {
        // INV-6.
        let history = [
            create((0, 10)),
            call(3, Op::Destroy, (50, 60), End::Done),
            call(2, Op::Use, (61, 70), End::Done),
        ];
        assert_eq!(objects(&history).len(), 1);
    }

    #[test]
    fn a_destroy_without_an_answer_may_have_happened_or_not_but_not_both() {
        let destroy = || call(3, Op::Destroy, (50, 60), failed());
        let uses = |end| call(2, Op::Use, (70, 80), end);
        assert!(objects(&[create((0, 10)), destroy(), uses(End::Done), held(Some("0"))]).is_empty());
        assert!(objects(&[create((0, 10)), destroy(), uses(End::Absent), held(None)]).is_empty());
        // It may even happen later.
        assert!(objects(&[create((0, 10)), destroy(), uses(End::Done), held(None)]).is_empty());
        assert_eq!(
            objects(&[create((0, 10)), destroy(), uses(End::Absent), held(Some("0"))]).len(),
            1
        );
    }

    #[test]
    fn a_lost_object_and_a_lost_label_are_found() {
        // INV-2.
        assert_eq!(objects(&[create((0, 10)), held(None)]).len(), 1);
        let labelled = || [create((0, 10)), label("1", (20, 30), End::Done)];
        assert_eq!(objects(&[labelled().as_slice(), &[held(Some("0"))]].concat()).len(), 1);
        assert!(objects(&[labelled().as_slice(), &[held(Some("1"))]].concat()).is_empty());
        // Of two at once either may be the last; of two in turn the second is.
        let twice = |from| [labelled().as_slice(), &[label("2", (from, 50), End::Done)]].concat();
        assert!(objects(&[twice(25), vec![held(Some("1"))]].concat()).is_empty());
        assert_eq!(objects(&[twice(31), vec![held(Some("1"))]].concat()).len(), 1);
    }

    #[test]
    fn an_object_that_is_there_and_called_absent_is_found() {
        let history = [create((0, 10)), call(2, Op::Use, (20, 30), End::Absent)];
        assert_eq!(objects(&history).len(), 1);
        // Before the create is answered it may be either.
        let history = [create((0, 25)), call(2, Op::Use, (20, 30), End::Absent)];
        assert!(objects(&history).is_empty());
    }

    #[test]
    fn an_object_that_nobody_asked_for_or_that_was_made_twice_is_found() {
        assert_eq!(objects(&[held(Some("0"))]).len(), 1);
        let again = call(1, Op::Create("9".to_owned()), (20, 30), End::Done);
        assert_eq!(objects(&[create((0, 10)), again]).len(), 1);
    }

    #[test]
    fn a_create_that_failed_may_be_there_at_the_end() {
        let create = || call(1, Op::Create("0".to_owned()), (0, 10), failed());
        assert!(objects(&[create(), held(Some("0"))]).is_empty());
        assert!(objects(&[create(), held(None)]).is_empty());
        assert_eq!(objects(&[create(), held(Some("7"))]).len(), 1);
    }

    #[test]
    fn while_a_destroy_is_under_way_nodes_may_differ_and_afterwards_not() {
        let destroy = || call(3, Op::Destroy, (20, 60), End::Done);
        let refused = || call(2, Op::Use, (30, 35), End::Absent);
        let used = |from| call(4, Op::Use, (from, from + 5), End::Done);
        assert!(objects(&[create((0, 10)), destroy(), refused(), used(40), held(None)]).is_empty());
        assert_eq!(
            objects(&[create((0, 10)), destroy(), refused(), used(61), held(None)]).len(),
            1
        );
        let late = call(2, Op::Use, (61, 65), End::Absent);
        assert_eq!(objects(&[create((0, 10)), destroy(), late, used(70)]).len(), 1);
    }

    #[test]
    fn many_calls_at_once_are_decided() {
        let mut history = vec![create((0, 10))];
        for process in 0..8 {
            history.push(call(process, Op::Use, (20, 100), End::Done));
        }
        for number in 0..5 {
            history.push(label(&format!("l{number}"), (20, 90), End::Done));
        }
        assert!(objects(&history).is_empty());
        history.push(call(9, Op::Destroy, (10, 19), End::Done));
        assert_eq!(objects(&history).len(), 1);
    }
}
