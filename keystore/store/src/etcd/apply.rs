//! What etcd tells becomes memory: one revision at a time, in order, only if it adds up (INV-7). The one place where a store in etcd
//! changes its memory; the node's own transactions come this way as well.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::batch::{Outcome, Record, Revision};
use crate::etcd::api::{Event, event::EventType};
use crate::etcd::cell::{Cell, Heads, first_revision};
use crate::etcd::layout::Name;
use crate::etcd::options::WriterId;
use crate::etcd::values::{Meta, WriterRecord, read_head, read_record};
use crate::head::{Hasher, Head, Sum};
use crate::path::Path;
use crate::report::{Fatal, Trouble};
use crate::state::{Commit, Put, Staged, State};

/// A record as a revision leaves it, with its version; `None`: purged.
type Left = (Path, Option<(u64, Arc<[u8]>)>);

/// What one revision of etcd's changed, parsed.
#[derive(Default)]
struct Revised {
    writer: Option<(WriterId, WriterRecord)>,
    records: Vec<Left>,
    heads: Vec<(Arc<str>, WriterId, Head)>,
    /// Groups of which something cannot be what a daemon wrote.
    strays: BTreeSet<String>,
}

/// Applies what etcd changed at `revision`.
pub(crate) fn apply(cell: &Cell, revision: u64, events: &[Event]) {
    if let Some(mut revised) = parse(cell, events) {
        if revised.writer.is_none() {
            // Records or heads without the word of a writer.
            let records = revised.records.drain(..).map(|(path, _)| path.group().to_owned());
            revised.strays.extend(records);
            revised
                .strays
                .extend(revised.heads.drain(..).map(|(group, ..)| group.to_string()));
        }
        take(cell, revision, revised);
    }
    cell.shared.state.write().mark = revision;
    cell.reached(revision);
}

/// `None`: nothing of the store's, or the end of it.
fn parse(cell: &Cell, events: &[Event]) -> Option<Revised> {
    let (mut revised, hasher) = (Revised::default(), &cell.shared.hasher);
    for event in events {
        let kv = event.kv.as_ref()?;
        let put = event.r#type() == EventType::Put;
        match cell.layout.name(&kv.key) {
            Name::Record(path) if !put => revised.records.push((path, None)),
            Name::Record(path) => match read_record(&kv.value) {
                Ok((version, sealed)) => revised.records.push((path, Some((version, Arc::from(sealed))))),
                Err(_) => drop(revised.strays.insert(path.group().to_owned())),
            },
            Name::Head(group, writer) => match read_head(hasher, &kv.key, &kv.value) {
                Ok(head) if put => revised.heads.push((Arc::from(group), writer, head)),
                _ => drop(revised.strays.insert(group)),
            },
            Name::Writer(writer) => match WriterRecord::read(hasher, &kv.key, &kv.value) {
                Ok(record) if put => {
                    if writer == cell.options.writer && record.generation != cell.generation {
                        tracing::error!("another process of this node has taken the store over");
                        cell.stop(Fatal::Fenced);
                        return None;
                    }
                    revised.writer = Some((writer, record));
                }
                // The next transaction of that writer will not find it.
                _ => tracing::error!(%writer, "the record of a writer in etcd was changed by something else than hsmd"),
            },
            Name::Meta => {
                let meta = Meta::read(hasher, &kv.key, &kv.value);
                if !put || meta.map(|meta| meta.timeline) != Ok(cell.timeline) {
                    tracing::error!("the mark of the store in etcd was changed");
                    cell.stop(Fatal::WentBack);
                    return None;
                }
            }
            // Sealed by the master key: what is no such thing helps nobody.
            Name::Join | Name::Beat(_) => {}
            Name::Stray => {
                tracing::warn!(key = %String::from_utf8_lossy(&kv.key).escape_debug(), "a key under the store's prefix is none of the store's");
            }
        }
    }
    Some(revised)
}

/// Takes what adds up, and names the rest.
fn take(cell: &Cell, revision: u64, revised: Revised) {
    let hasher = &cell.shared.hasher;
    let mut troubled = revised.strays;
    let mut heads = cell.heads.lock();
    let mut staged = None;
    if let Some((writer, record)) = revised.writer {
        let own = writer == cell.options.writer;
        let batches = record.batches.clone();
        heads.entry(writer).or_default().sequence = record.sequence;
        heads.entry(writer).or_default().total = record.total;
        match commits(revision, &record, revised.records) {
            Ok(commits) => {
                let state = cell.shared.state.read();
                let misfits = if own {
                    Vec::new()
                } else {
                    misfits(&state, hasher, &heads, &commits, &revised.heads)
                };
                if misfits.is_empty() {
                    let mut ours = stage(&state, hasher, &mut heads, commits, revised.heads);
                    ours.foreign = !own;
                    staged = Some(ours);
                } else {
                    troubled.extend(misfits);
                }
            }
            Err(paths) => troubled.extend(paths.into_iter().map(|path| path.group().to_owned())),
        }
        if staged.is_some() {
            let mut operations = cell.shared.operations.lock();
            for (at, (operation, _)) in batches.into_iter().enumerate() {
                operations.remember(
                    operation,
                    Outcome::Committed(Revision(first_revision(revision).0 + at as u64)),
                );
            }
        }
    }
    let mut state = cell.shared.state.write();
    if let Some(staged) = &staged {
        state.apply(staged);
    }
    distrust(&mut state, troubled, revision);
    drop(state);
    if let Some(staged) = &staged {
        cell.history.publish(staged);
    }
}

/// The batches of a transaction, by what its writer says of them; or the paths, if that is not what was written.
fn commits(revision: u64, record: &WriterRecord, records: Vec<Left>) -> Result<Vec<Commit>, Vec<Path>> {
    let written: usize = record.batches.iter().map(|(_, writes)| usize::from(*writes)).sum();
    if written != records.len() {
        return Err(records.into_iter().map(|(path, _)| path).collect());
    }
    let mut records = records.into_iter();
    let batches = record
        .batches
        .iter()
        .enumerate()
        .map(|(at, (operation, writes))| Commit {
            operation: *operation,
            revision: Revision(first_revision(revision).0 + at as u64),
            writes: records.by_ref().take(usize::from(*writes)).map(put).collect(),
        });
    Ok(batches.collect())
}

/// The version of a purge is not stored; nothing rests on it.
fn put((path, record): Left) -> Put {
    match record {
        Some((version, value)) => Put {
            path,
            version,
            value: Some(value),
        },
        None => Put {
            path,
            version: 0,
            value: None,
        },
    }
}

/// How counts and sums of groups change with these records.
fn deltas<'a>(
    state: &State,
    hasher: &Hasher,
    changes: impl Iterator<Item = (&'a Path, Option<Record>)>,
) -> BTreeMap<String, (u64, Sum)> {
    let mut deltas: BTreeMap<String, (u64, Sum)> = BTreeMap::new();
    for (path, new) in changes {
        let (count, sum) = deltas.entry(path.group().to_owned()).or_default();
        if let Some(old) = state.records.get(path) {
            *count = count.wrapping_sub(1);
            sum.subtract(hasher.record(path, old.version, 0, &old.value));
        }
        if let Some(new) = new {
            *count = count.wrapping_add(1);
            sum.add(hasher.record(path, new.version, 0, &new.value));
        }
    }
    deltas
}

/// Groups of a foreign transaction whose heads do not say what its records say.
fn misfits(
    state: &State,
    hasher: &Hasher,
    heads: &Heads,
    commits: &[Commit],
    new: &[(Arc<str>, WriterId, Head)],
) -> Vec<String> {
    let puts = commits
        .iter()
        .flat_map(|commit| commit.writes.iter().map(|put| (&put.path, put.record(commit.revision))));
    compare(deltas(state, hasher, puts), heads, new)
}

fn compare(mut deltas: BTreeMap<String, (u64, Sum)>, heads: &Heads, new: &[(Arc<str>, WriterId, Head)]) -> Vec<String> {
    for (group, writer, head) in new {
        let old = heads
            .get(writer)
            .and_then(|written| written.heads.get(group))
            .copied()
            .unwrap_or_default();
        let moved = head.minus(&old);
        let (count, sum) = deltas.entry(group.to_string()).or_default();
        *count = count.wrapping_sub(moved.count);
        sum.subtract(moved.sum);
    }
    let unfit = deltas.into_iter().filter(|(_, delta)| *delta != (0, Sum::default()));
    unfit.map(|(group, _)| group).collect()
}

/// A stage that is durable in etcd already.
fn stage(
    state: &State,
    hasher: &Hasher,
    heads: &mut Heads,
    commits: Vec<Commit>,
    new: Vec<(Arc<str>, WriterId, Head)>,
) -> Staged {
    let mut staged = Staged::on(state);
    if let Some(last) = commits.last() {
        staged.revision = last.revision;
    }
    for (group, writer, head) in new {
        let old = heads
            .entry(writer)
            .or_default()
            .heads
            .insert(Arc::clone(&group), head)
            .unwrap_or_default();
        let before = staged.heads.get(&group).copied();
        let before = before
            .or_else(|| state.groups.get(&group).map(|group| group.head))
            .unwrap_or_default();
        let after = before.minus(&old).plus(&head);
        if before.sequence > 0 {
            staged.total.subtract(hasher.group(&group, &before));
        }
        staged.total.add(hasher.group(&group, &after));
        staged.heads.insert(group, after);
    }
    staged.commits = commits;
    staged
}

/// Groups that something else than a daemon has changed: memory keeps what was right, and takes no writes of them.
fn distrust(state: &mut State, groups: BTreeSet<String>, revision: u64) {
    for group in groups {
        tracing::error!(
            group,
            revision,
            "records in etcd were changed by something else than hsmd; the group is read-only"
        );
        let entry = state.groups.entry(Arc::from(group)).or_default();
        entry.trouble.get_or_insert(Trouble::Foreign { after: revision });
    }
}

/// Everything that differs at `revision`, when the changes one by one are no longer to be had: records (`None`: gone) and heads.
pub(crate) struct Difference {
    pub(crate) revision: u64,
    pub(crate) records: Vec<(Path, Option<Record>)>,
    pub(crate) heads: Vec<(Arc<str>, WriterId, Head)>,
    pub(crate) writers: Vec<(WriterId, WriterRecord)>,
}

/// Takes a difference, group by group. Watches begin anew.
pub(crate) fn reload(cell: &Cell, difference: Difference) {
    let hasher = &cell.shared.hasher;
    let mut heads = cell.heads.lock();
    let mut state = cell.shared.state.write();
    let changes = difference.records.iter().map(|(path, record)| (path, record.clone()));
    let unfit: BTreeSet<String> = compare(deltas(&state, hasher, changes), &heads, &difference.heads)
        .into_iter()
        .collect();
    let fits = |group: &str| !unfit.contains(group);
    let new = difference.heads.into_iter().filter(|(group, ..)| fits(group)).collect();
    let mut staged = stage(&state, hasher, &mut heads, Vec::new(), new);
    let mut newest = state.revision;
    for (path, record) in difference.records {
        if fits(path.group()) {
            newest = record.as_ref().map_or(newest, |record| newest.max(record.revision));
            state.put(&path, record);
        }
    }
    // A purge is newer than any record that is left.
    staged.revision = newest.max(first_revision(difference.revision));
    state.apply(&staged);
    state.mark = difference.revision;
    distrust(&mut state, unfit, difference.revision);
    let revision = state.revision;
    drop(state);
    let mut operations = cell.shared.operations.lock();
    for (writer, record) in difference.writers {
        let written = heads.entry(writer).or_default();
        (written.sequence, written.total) = (record.sequence, record.total);
        if writer == cell.options.writer {
            for (operation, _) in record.batches {
                // When exactly is not known any more; that it was committed is.
                operations.remember(operation, Outcome::Committed(revision));
            }
        }
    }
    drop(operations);
    drop(heads);
    cell.history.restart(revision);
    cell.reached(difference.revision);
}
