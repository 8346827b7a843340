//! The kill storm: what its workers write down, and the judge that compares it with what the token holds.
//!
//! A worker notes each change before it asks for it and again when it was acknowledged. After a kill, what was
//! acknowledged must be there, what was destroyed must be gone, and what was asked for but never answered may be either,
//! but whole. It starts no process and calls no module.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What can be asked of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A data object or a secret key appears, under this label.
    Create(String),
    /// Both halves of a key pair appear, under this label.
    CreatePair(String),
    /// The label of the object, or of the private key, changes.
    Label(String),
    /// A data object, a secret key or a private key goes.
    Destroy,
    /// The public key of a pair goes.
    DestroyPublic,
}

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `CKR_OK`.
    Acknowledged,
    /// An error, or no answer: done or not done.
    Unknown,
}

/// A change of one object and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `CKA_ID` of the object or pair.
    pub id: String,
    /// What was asked.
    pub change: Change,
    /// How it ended.
    pub end: End,
}

/// The line that a worker writes before the call.
#[must_use]
pub fn intent_line(id: &str, change: &Change) -> String {
    match change {
        Change::Create(label) => format!("do {id} create {label}\n"),
        Change::CreatePair(label) => format!("do {id} pair {label}\n"),
        Change::Label(label) => format!("do {id} label {label}\n"),
        Change::Destroy => format!("do {id} destroy -\n"),
        Change::DestroyPublic => format!("do {id} destroy-public -\n"),
    }
}

/// The line that a worker writes after the call.
#[must_use]
pub fn end_line(error: Option<&str>) -> String {
    error.map_or_else(|| "ok\n".to_owned(), |error| format!("unknown {error}\n"))
}

/// What a worker wrote.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// Changes in order.
    pub entries: Vec<Entry>,
    /// Signatures that were made and verified.
    pub signatures: usize,
    /// Signatures that did not verify, sessions or handles that were lost: lines that begin with `broken`.
    pub broken: Vec<String>,
    /// Errors by name.
    pub errors: BTreeMap<String, usize>,
}

/// Reads a worker's journal. A last line without its end is a change whose end is unknown.
#[must_use]
pub fn read(text: &str) -> Journal {
    let mut journal = Journal::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["do", id, verb, label] => {
                let label = (*label).to_owned();
                let change = match *verb {
                    "create" => Change::Create(label),
                    "pair" => Change::CreatePair(label),
                    "label" => Change::Label(label),
                    "destroy" => Change::Destroy,
                    _ => Change::DestroyPublic,
                };
                journal.entries.push(Entry {
                    id: (*id).to_owned(),
                    change,
                    end: End::Unknown,
                });
            }
            ["ok"] => {
                if let Some(last) = journal.entries.last_mut() {
                    last.end = End::Acknowledged;
                }
            }
            ["unknown", error @ ..] => *journal.errors.entry(error.join(" ")).or_default() += 1,
            ["signed"] => journal.signatures += 1,
            ["broken", ..] => journal.broken.push(line.to_owned()),
            _ => {}
        }
    }
    journal
}

/// One object that the token holds after the storm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Whether it is a public key.
    pub public: bool,
    /// `CKA_LABEL`.
    pub label: String,
}

/// What may be true of one half of an id: present or absent, under one of these labels.
#[derive(Clone, Debug, Default)]
struct Expectation {
    must_exist: bool,
    may_exist: bool,
    labels: Vec<String>,
}

/// The judge's findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Acknowledged and not there, or under an older label.
    pub lost: Vec<String>,
    /// Destroyed and there again, or never asked for.
    pub resurrected: Vec<String>,
    /// One half of a pair that was made whole or not at all.
    pub half_pairs: Vec<String>,
}

impl Verdict {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_good(&self) -> bool {
        *self == Self::default()
    }

    /// The findings as text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (what, list) in [
            ("lost", &self.lost),
            ("resurrected", &self.resurrected),
            ("half pairs", &self.half_pairs),
        ] {
            let _ = writeln!(text, "{what}: {}", list.len());
            for sentence in list.iter().take(10) {
                let _ = writeln!(text, "  {sentence}");
            }
        }
        text
    }
}

/// Compares what the workers noted with what the token holds (by `CKA_ID`).
#[must_use]
pub fn judge(entries: &[Entry], held: &BTreeMap<String, Vec<Held>>) -> Verdict {
    let mut verdict = Verdict::default();
    let mut by_id: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        by_id.entry(&entry.id).or_default().push(entry);
    }
    for (id, entries) in &by_id {
        let there = held.get(*id).map_or(&[][..], Vec::as_slice);
        for public in [false, true] {
            let expected = expectation(entries, public);
            let found: Vec<&Held> = there.iter().filter(|held| held.public == public).collect();
            compare(id, public, &expected, &found, &mut verdict);
        }
        // Neither half was asked to go: both or none.
        let pair = entries
            .iter()
            .any(|entry| matches!(entry.change, Change::CreatePair(_)));
        let destroyed = entries
            .iter()
            .any(|entry| matches!(entry.change, Change::Destroy | Change::DestroyPublic));
        if pair && !destroyed && there.len() == 1 {
            verdict.half_pairs.push(format!("{id}: {there:?}"));
        }
    }
    for id in held.keys().filter(|id| !by_id.contains_key(id.as_str())) {
        verdict.resurrected.push(format!("{id}: nobody asked for it"));
    }
    verdict
}

fn compare(id: &str, public: bool, expected: &Expectation, found: &[&Held], verdict: &mut Verdict) {
    let half = if public { "public half" } else { "object" };
    if expected.must_exist && found.is_empty() {
        verdict.lost.push(format!("{id}: the {half} is gone"));
    }
    if !expected.may_exist && !found.is_empty() {
        verdict
            .resurrected
            .push(format!("{id}: the {half} is there: {found:?}"));
    }
    if found.len() > 1 {
        verdict
            .resurrected
            .push(format!("{id}: the {half} is there {} times", found.len()));
    }
    for held in found.iter().filter(|_| expected.may_exist) {
        if !expected.labels.contains(&held.label) {
            verdict.lost.push(format!(
                "{id}: the {half} has the label {}, not {:?}",
                held.label, expected.labels
            ));
        }
    }
}

fn expectation(entries: &[&Entry], public: bool) -> Expectation {
    let mut now = Expectation::default();
    for entry in entries {
        let acknowledged = entry.end == End::Acknowledged;
        match (&entry.change, public) {
            (Change::Create(label), false) | (Change::CreatePair(label), _) => {
                now.may_exist = true;
                now.must_exist = acknowledged;
                now.labels = vec![label.clone()];
            }
            (Change::Label(label), false) => {
                if acknowledged {
                    now.labels.clear();
                    // A label that was set proves a create whose answer was lost.
                    now.must_exist = now.may_exist;
                }
                now.labels.push(label.clone());
            }
            (Change::Destroy, false) | (Change::DestroyPublic, true) => {
                now.must_exist = false;
                now.may_exist &= !acknowledged;
            }
            _ => {}
        }
    }
    now
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Change, End, Held, end_line, intent_line, judge, read};

    fn journal(lines: &[(&str, Change, bool)]) -> String {
        lines
            .iter()
            .map(|(id, change, ok)| format!("{}{}", intent_line(id, change), end_line((!ok).then_some("CKR_X"))))
            .collect()
    }

    fn held(rows: &[(&str, bool, &str)]) -> BTreeMap<String, Vec<Held>> {
        let mut held: BTreeMap<String, Vec<Held>> = BTreeMap::new();
        for (id, public, label) in rows {
            held.entry((*id).to_owned()).or_default().push(Held {
                public: *public,
                label: (*label).to_owned(),
            });
        }
        held
    }

    fn pair(label: &str) -> Change {
        Change::CreatePair(label.to_owned())
    }

    fn label(label: &str) -> Change {
        Change::Label(label.to_owned())
    }

    #[test]
    fn a_journal_is_read_as_it_was_written() {
        let text = journal(&[("a", pair("l"), true), ("a", Change::Destroy, false)]) + "signed\nbroken session\n";
        let read = read(&text);
        assert_eq!(read.entries.len(), 2);
        assert_eq!(read.entries[1].end, End::Unknown);
        assert_eq!((read.signatures, read.broken.len(), read.errors["CKR_X"]), (1, 1, 1));
    }

    #[test]
    fn what_was_acknowledged_and_is_there_is_good() {
        let entries = read(&journal(&[
            ("a", pair("1"), true),
            ("a", label("2"), true),
            ("b", Change::Create("1".to_owned()), true),
            ("b", Change::Destroy, true),
            ("c", pair("1"), false),
        ]))
        .entries;
        assert!(judge(&entries, &held(&[("a", false, "2"), ("a", true, "1")])).is_good());
        let whole = held(&[("a", false, "2"), ("a", true, "1"), ("c", false, "1"), ("c", true, "1")]);
        assert!(judge(&entries, &whole).is_good());
    }

    #[test]
    fn a_lost_object_and_a_lost_label_are_found() {
        let entries = read(&journal(&[("a", pair("1"), true), ("a", label("2"), true)])).entries;
        assert_eq!(judge(&entries, &held(&[])).lost.len(), 2);
        assert_eq!(
            judge(&entries, &held(&[("a", false, "1"), ("a", true, "1")]))
                .lost
                .len(),
            1
        );
    }

    #[test]
    fn a_resurrected_object_is_found() {
        let entries = read(&journal(&[
            ("a", Change::Create("1".to_owned()), true),
            ("a", Change::Destroy, true),
        ]))
        .entries;
        assert_eq!(judge(&entries, &held(&[("a", false, "1")])).resurrected.len(), 1);
        assert_eq!(judge(&entries, &held(&[("z", false, "1")])).resurrected.len(), 1);
    }

    #[test]
    fn half_a_pair_is_found_even_if_its_creation_was_not_answered() {
        let entries = read(&journal(&[("a", pair("1"), false)])).entries;
        assert_eq!(judge(&entries, &held(&[("a", true, "1")])).half_pairs.len(), 1);
    }
}
