//! What processes see when they look: never older than allowed, never further back than before, always with their own changes
//! (docs/fleet.md, "What is promised"). The order of changes is the other judge's matter; here each look is held against what must
//! have been true in the time that it may show.

use std::collections::{BTreeMap, BTreeSet};

use super::{Call, End, Moment, Op};

/// How old a look may be, at a moment.
pub type Staleness<'a> = &'a dyn Fn(Moment) -> Moment;

/// Everything that is known of one object's changes.
#[derive(Default)]
struct Changes<'a> {
    created: Option<&'a Call>,
    /// Creation and labels by what they set.
    labels: BTreeMap<&'a str, &'a Call>,
    destroys: Vec<&'a Call>,
}

impl Changes<'_> {
    /// Whether it was certainly there from `from` to `to`.
    fn surely_there(&self, from: Moment, to: Moment) -> bool {
        let made = self.created.is_some_and(|call| done_by(call, from));
        made && self.destroys.iter().all(|call| call.invoked > to)
    }

    /// Whether it was certainly gone, or not asked for yet, from `from` to `to`.
    fn surely_not_there(&self, from: Moment, to: Moment) -> bool {
        let gone = self.destroys.iter().any(|call| done_by(call, from));
        gone || self.created.is_none_or(|call| call.invoked > to)
    }

    /// A change that certainly came after the one that set this label and was done by then.
    fn surely_changed_since(&self, label: &str, by: Moment) -> Option<&Call> {
        let set = self.labels.get(label)?;
        let later = self.labels.values().copied().filter(|call| follows(call, set));
        let mut later = later.filter(|call| done_by(call, by));
        later.next()
    }
}

fn done_by(call: &Call, moment: Moment) -> bool {
    call.end == End::Done && call.returned.is_some_and(|at| at < moment)
}

/// Whether it was asked for after the other one was answered.
fn follows(call: &Call, other: &Call) -> bool {
    other.end == End::Done && other.returned.is_some_and(|at| at < call.invoked)
}

/// A sentence for each look that shows what it must not.
#[must_use]
pub fn views(calls: &[Call], staleness: Staleness<'_>) -> Vec<String> {
    let mut objects: BTreeMap<&str, Changes<'_>> = BTreeMap::new();
    for call in calls {
        let changes = objects.entry(&call.object).or_default();
        match &call.op {
            Op::Create(label) => {
                changes.created = Some(call);
                changes.labels.insert(label, call);
            }
            Op::Label(label) => {
                changes.labels.insert(label, call);
            }
            Op::Destroy => changes.destroys.push(call),
            Op::Use | Op::Find | Op::Held(_) => {}
        }
    }
    objects.remove("");
    let mut found = Vec::new();
    let mut by_process: BTreeMap<usize, Vec<&Call>> = BTreeMap::new();
    for call in calls {
        by_process.entry(call.process).or_default().push(call);
    }
    let comings = comings(&objects);
    for calls in by_process.values() {
        one_process(calls, &objects, &comings, staleness, &mut found);
    }
    found
}

/// When each object was first asked for, and when it was first asked to go, in order of time.
fn comings<'a>(objects: &BTreeMap<&'a str, Changes<'a>>) -> Vec<(Moment, bool, &'a str)> {
    let mut all = Vec::new();
    for (object, changes) in objects {
        all.extend(changes.created.map(|call| (call.invoked, true, *object)));
        let first = changes.destroys.iter().map(|call| call.invoked).min();
        all.extend(first.map(|at| (at, false, *object)));
    }
    all.sort_unstable();
    all
}

/// What one process has seen so far.
#[derive(Default)]
struct Seen<'a> {
    /// How many of the comings and goings are in `wanted`.
    passed: usize,
    /// Objects that somebody has asked for and nobody has asked to go: of all that ever were, few at a time.
    wanted: BTreeSet<&'a str>,
    /// Objects that it made, or saw, and has not missed since.
    there: BTreeSet<&'a str>,
    /// Objects that it destroyed, or saw and then did not.
    gone: BTreeSet<&'a str>,
    /// The last label that it set or saw.
    labels: BTreeMap<&'a str, &'a str>,
}

impl<'a> Seen<'a> {
    /// Time goes on to `to`, which is never earlier than before: a process looks once at a time.
    fn advance(&mut self, comings: &[(Moment, bool, &'a str)], to: Moment) {
        while let Some((_, comes, object)) = comings.get(self.passed).filter(|(at, ..)| *at <= to) {
            if *comes {
                self.wanted.insert(object);
            } else {
                self.wanted.remove(object);
            }
            self.passed += 1;
        }
    }
}

fn one_process<'a>(
    calls: &[&'a Call],
    objects: &BTreeMap<&'a str, Changes<'a>>,
    comings: &[(Moment, bool, &'a str)],
    staleness: Staleness<'_>,
    found: &mut Vec<String>,
) {
    let mut seen = Seen::default();
    for call in calls {
        match (&call.op, &call.end) {
            (Op::Create(label) | Op::Label(label), End::Done) => {
                seen.there.insert(&call.object);
                seen.labels.insert(&call.object, label);
            }
            (Op::Destroy, End::Done | End::Absent) => {
                seen.gone.insert(&call.object);
            }
            (Op::Find, End::Found(all)) => {
                seen.advance(comings, call.returned.unwrap_or(call.invoked));
                look(call, all, &mut seen, objects, staleness, found);
            }
            _ => {}
        }
    }
}

fn look<'a>(
    call: &'a Call,
    all: &'a BTreeMap<String, String>,
    seen: &mut Seen<'a>,
    objects: &BTreeMap<&'a str, Changes<'a>>,
    staleness: Staleness<'_>,
    found: &mut Vec<String>,
) {
    let (from, to) = (call.invoked, call.returned.unwrap_or(call.invoked));
    let oldest = from.saturating_sub(staleness(from));
    let process = call.process;
    let mut say = |sentence: String| found.push(format!("process {process}, a look [{from}..{to}]: {sentence}"));
    for (object, label) in all {
        let object = object.as_str();
        let Some(changes) = objects.get(object) else {
            say(format!("{object}: nobody asked for it"));
            continue;
        };
        if changes.surely_not_there(oldest, to) {
            say(format!(
                "{object} is shown, and was destroyed long ago or not asked for"
            ));
        }
        if seen.gone.contains(object) {
            say(format!("{object} is shown again"));
        }
        match changes.labels.get(label.as_str()) {
            None => say(format!("{object}: nobody asked for the label {label}")),
            Some(set) if set.invoked > to => say(format!("{object}: the label {label} is of the future")),
            Some(_) => {}
        }
        if let Some(later) = changes.surely_changed_since(label, oldest) {
            say(format!(
                "{object}: {label} is too old, {:?} was done at {:?}",
                later.op, later.returned
            ));
        }
        if let Some(last) = seen.labels.get(object).copied().filter(|last| *last != label) {
            let (last_set, set) = (changes.labels.get(last), changes.labels.get(label.as_str()));
            if let (Some(last_set), Some(set)) = (last_set, set)
                && follows(last_set, set)
            {
                say(format!("{object}: back from {last} to {label}"));
            }
        }
        seen.there.insert(object);
        seen.labels.insert(object, label);
    }
    for object in seen.wanted.iter().filter(|object| !all.contains_key(**object)) {
        if objects[object].surely_there(oldest, to) {
            say(format!("{object} is missing"));
        }
    }
    let missed: Vec<&str> = seen
        .there
        .iter()
        .copied()
        .filter(|object| !all.contains_key(*object))
        .collect();
    for object in missed {
        if seen.wanted.contains(object) {
            say(format!("{object} is missing, which this process made or saw"));
        }
        seen.there.remove(object);
        seen.gone.insert(object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Moment = 100;

    fn judged(calls: &[Call]) -> usize {
        views(calls, &|_| ALLOWED).len()
    }

    fn change(process: usize, op: Op, span: (Moment, Moment)) -> Call {
        Call {
            process,
            object: "a".to_owned(),
            op,
            invoked: span.0,
            returned: Some(span.1),
            end: End::Done,
        }
    }

    fn look(process: usize, span: (Moment, Moment), label: Option<&str>) -> Call {
        let all = label.map(|label| ("a".to_owned(), label.to_owned()));
        Call {
            process,
            object: String::new(),
            op: Op::Find,
            invoked: span.0,
            returned: Some(span.1),
            end: End::Found(all.into_iter().collect()),
        }
    }

    fn create() -> Call {
        change(1, Op::Create("0".to_owned()), (0, 10))
    }

    #[test]
    fn a_look_may_be_a_little_old() {
        let label = change(1, Op::Label("1".to_owned()), (200, 210));
        for (at, shown, findings) in [
            (220, Some("1"), 0),
            (220, Some("0"), 0),
            (320, Some("0"), 1),
            (320, None, 1),
            (100, Some("1"), 1),
            (50, None, 0),
        ] {
            let history = [create(), label.clone(), look(2, (at, at + 5), shown)];
            assert_eq!(judged(&history), findings, "{at} {shown:?}");
        }
    }

    #[test]
    fn a_process_sees_its_own_changes_at_once() {
        assert_eq!(judged(&[create(), look(1, (20, 25), None)]), 1);
        assert_eq!(judged(&[create(), look(2, (20, 25), None)]), 0);
        let label = change(1, Op::Label("1".to_owned()), (20, 30));
        assert_eq!(judged(&[create(), label, look(1, (31, 35), Some("0"))]), 1);
        let destroy = change(1, Op::Destroy, (20, 30));
        assert_eq!(judged(&[create(), destroy.clone(), look(1, (31, 35), Some("0"))]), 1);
        assert_eq!(judged(&[create(), destroy.clone(), look(2, (31, 35), Some("0"))]), 0);
        assert_eq!(judged(&[create(), destroy, look(2, (231, 235), Some("0"))]), 1);
    }

    #[test]
    fn a_process_never_goes_back() {
        let label = change(1, Op::Label("1".to_owned()), (20, 30));
        let back = [
            create(),
            label,
            look(2, (31, 32), Some("1")),
            look(2, (33, 34), Some("0")),
        ];
        assert_eq!(judged(&back), 1);
        let destroy = change(1, Op::Destroy, (20, 50));
        let again = [
            create(),
            destroy,
            look(2, (31, 32), Some("0")),
            look(2, (33, 34), None),
            look(2, (35, 36), Some("0")),
        ];
        assert_eq!(judged(&again), 1);
        let lost = [create(), look(2, (31, 32), Some("0")), look(2, (33, 34), None)];
        assert_eq!(judged(&lost), 1);
    }

    #[test]
    fn what_nobody_asked_for_is_named() {
        assert_eq!(judged(&[look(2, (31, 32), Some("0"))]), 1);
        assert_eq!(judged(&[create(), look(2, (31, 32), Some("7"))]), 1);
    }
}
