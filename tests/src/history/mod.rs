//! What many processes asked of a fleet and what they were told, with the moments of both: written by the workers of the storm, read
//! by the test. Whether all of it can be true is judged in `linear` (one object at a time) and `views` (what a process sees).
//! It starts no process and calls no module.

mod linear;
mod views;

use std::collections::BTreeMap;
use std::fmt::Write as _;

pub use linear::objects;
pub use views::{Staleness, views};

/// Microseconds of the machine's monotonic clock, the same in all processes.
pub type Moment = u64;

/// This moment.
#[must_use]
pub fn now() -> Moment {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec.cast_unsigned() * 1_000_000 + time.tv_nsec.cast_unsigned() / 1_000
}

/// What is asked of one object, or of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// It appears, under this label, which no other change uses.
    Create(String),
    /// Its label becomes this one, which no other change uses.
    Label(String),
    /// It goes.
    Destroy,
    /// It signs, and the signature is verified.
    Use,
    /// All objects with their labels.
    Find,
    /// Not a call: after everything, the object is there under this label, or is not there, on every node.
    Held(Option<String>),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// `CKR_OK`.
    Done,
    /// `CKR_OK`, and these objects with their labels.
    Found(BTreeMap<String, String>),
    /// The code says that there is no such object.
    Absent,
    /// Another code: done or not done.
    Failed(String),
    /// No answer before the end.
    Open,
}

/// One call of a process. A process makes one at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Whose it is.
    pub process: usize,
    /// `CKA_ID` of the object; empty where it is about all.
    pub object: String,
    /// What was asked.
    pub op: Op,
    /// When.
    pub invoked: Moment,
    /// When the answer was there.
    pub returned: Option<Moment>,
    /// What it was.
    pub end: End,
}

impl Call {
    /// How long it took, in microseconds.
    #[must_use]
    pub fn took(&self) -> Option<u64> {
        Some(self.returned?.saturating_sub(self.invoked))
    }

    /// Whether it was answered by a code that says nothing of the object.
    #[must_use]
    pub fn failed(&self) -> Option<&str> {
        match &self.end {
            End::Failed(code) => Some(code),
            _ => None,
        }
    }
}

/// The line before a call.
#[must_use]
pub fn asked_line(at: Moment, object: &str, op: &Op) -> String {
    match op {
        Op::Create(label) => format!("ask {at} {object} create {label}\n"),
        Op::Label(label) => format!("ask {at} {object} label {label}\n"),
        Op::Destroy => format!("ask {at} {object} destroy\n"),
        Op::Use => format!("ask {at} {object} use\n"),
        Op::Find | Op::Held(_) => format!("ask {at} - find\n"),
    }
}

/// The line after a call.
#[must_use]
pub fn told_line(at: Moment, end: &End) -> String {
    match end {
        End::Done => format!("told {at} done\n"),
        End::Absent => format!("told {at} absent\n"),
        End::Failed(code) => format!("told {at} failed {code}\n"),
        End::Open => String::new(),
        End::Found(all) => {
            let mut line = format!("told {at} found");
            for (object, label) in all {
                let _ = write!(line, " {object}={label}");
            }
            line + "\n"
        }
    }
}

/// What one process wrote.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// Its calls in order.
    pub calls: Vec<Call>,
    /// Lines that begin with `wrong`: signatures that did not verify, halves of pairs, sessions that were lost.
    pub wrong: Vec<String>,
}

/// Reads the notes of one process. A call without an answer is open.
#[must_use]
pub fn read(process: usize, text: &str) -> Notes {
    let mut notes = Notes::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["ask", at, object, op @ ..] => {
                let op = match op {
                    ["create", label] => Op::Create((*label).to_owned()),
                    ["label", label] => Op::Label((*label).to_owned()),
                    ["destroy"] => Op::Destroy,
                    ["use"] => Op::Use,
                    _ => Op::Find,
                };
                notes.calls.push(Call {
                    process,
                    object: if op == Op::Find {
                        String::new()
                    } else {
                        (*object).to_owned()
                    },
                    op,
                    invoked: at.parse().unwrap_or_default(),
                    returned: None,
                    end: End::Open,
                });
            }
            ["told", at, end @ ..] => {
                let Some(last) = notes.calls.last_mut() else { continue };
                last.returned = at.parse().ok();
                last.end = match end {
                    ["done"] => End::Done,
                    ["absent"] => End::Absent,
                    ["found", all @ ..] => End::Found(pairs(all)),
                    _ => End::Failed(end.get(1..).unwrap_or_default().join(" ")),
                };
            }
            ["wrong", ..] => notes.wrong.push(line.to_owned()),
            _ => {}
        }
    }
    notes
}

fn pairs(words: &[&str]) -> BTreeMap<String, String> {
    let pairs = words.iter().filter_map(|word| word.split_once('='));
    pairs
        .map(|(object, label)| (object.to_owned(), label.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_they_were_written() {
        let found = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        let calls = [
            ("a", Op::Create("1".to_owned()), End::Done),
            (
                "a",
                Op::Label("2".to_owned()),
                End::Failed("CKR_DEVICE_ERROR".to_owned()),
            ),
            ("a", Op::Use, End::Absent),
            ("", Op::Find, End::Found(found)),
            ("a", Op::Destroy, End::Open),
        ];
        let mut text = String::new();
        for (number, (object, op, end)) in calls.iter().enumerate() {
            let at = number as u64 * 10;
            text += &asked_line(at, object, op);
            text += &told_line(at + 5, end);
        }
        let read = read(3, &(text + "wrong signature\n"));
        assert_eq!((read.calls.len(), read.wrong.len()), (5, 1));
        for (number, (call, (object, op, end))) in read.calls.iter().zip(&calls).enumerate() {
            assert_eq!((call.object.as_str(), &call.op, &call.end), (*object, op, end));
            assert_eq!(call.invoked, number as u64 * 10);
            assert_eq!(call.took(), (*end != End::Open).then_some(5));
        }
    }
}
