//! Moving all records from one engine to another, while no daemon runs: copied with their versions, read back, compared; then the
//! root files name the copy. Before that moment the old store counts, after it the new one, and never both.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path as FilePath;

use hsmd_crypto::random;
use hsmd_store::{Batch, FolderLock, Outcome, Path, Record, RootFiles, Store, Write};
use prost::Message;

use crate::core::path;
use crate::engine;
use crate::error::Error;
use crate::keystore::{ANCHOR, Keystore, STORE};
use crate::master_key::MasterKey;
use crate::options::Options;
use crate::records::{AnchorRecord, FORMAT};
use crate::root::{RootFile, RootRecord};
use crate::seal::{Barrier, Kind};

/// Records of a batch: each may be of a group of its own.
const RECORDS: usize = 50;
/// Where the file that remembers the new store is kept until that store counts.
const ASIDE: &str = "migrating";
/// The file by which a store in etcd that went backwards is noticed.
const REMEMBERED: &str = "etcd.anchor";
/// Bytes of a batch, well below the store's limit.
const BYTES: usize = 512 << 10;

impl Keystore {
    /// Moves the records of the keystore in `dir` from the engine of `from` to that of `to`, where there must be none but what an
    /// earlier try has left. Returns their number. `progress` is told the records so far. The old store stays, and is opened no
    /// more: it is another one than the root files name.
    ///
    /// # Errors
    /// [`Error::Locked`] (a daemon runs), [`Error::Quarantined`] (what does not add up is not moved), [`Error::PrefixTaken`],
    /// [`Error::StoreLost`] (`from` is not the store of this keystore), and as [`Keystore::open`]. Then the old store counts.
    pub fn migrate(
        dir: &FilePath,
        master: &MasterKey,
        from: &Options,
        to: &Options,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, Error> {
        let _lock = FolderLock::take(dir)?;
        let (file, record) = RootFile::open(RootFiles::named(dir, "root", from.faults.clone()), master)?;
        if record.restoring || !record.complete {
            return Err(Error::NotInitialized);
        }
        let from = &Options {
            alone: true,
            ..from.clone()
        };
        let (source, _) = engine::open(dir, &record, from)?;
        let moved = copy(dir, &source, &record, to, progress);
        source.close()?;
        if let Ok((_, next)) = &moved {
            // What was remembered of the old store must not be held against the new one, nor the other way round.
            let (aside, anchor) = (dir.join(ASIDE), dir.join(REMEMBERED));
            absent_is_fine(std::fs::remove_file(&anchor))?;
            // The moment from which the new store counts.
            file.write(next)?;
            absent_is_fine(std::fs::rename(aside.join(REMEMBERED), anchor))?;
            absent_is_fine(std::fs::remove_dir_all(aside))?;
        }
        moved.map(|(count, _)| count)
    }
}

/// Copies and compares. The root record under which the copy counts.
fn copy(
    dir: &FilePath,
    source: &Store,
    record: &RootRecord,
    to: &Options,
    progress: &mut dyn FnMut(u64),
) -> Result<(u64, RootRecord), Error> {
    let (anchor, barrier) = (path(ANCHOR), Barrier::new(&record.barrier));
    let found = source.get(&anchor).ok_or(Error::StoreLost)?;
    if anchored(&barrier, &anchor, &found)? != record.store {
        return Err(Error::StoreLost);
    }
    if let Some((group, _)) = source.quarantined().into_iter().next() {
        return Err(Error::Quarantined(group));
    }
    let mut next = record.duplicate();
    next.store = random::array();
    let aside = dir.join(ASIDE);
    let home = if to.is_etcd() {
        absent_is_fine(std::fs::remove_dir_all(&aside))?;
        std::fs::DirBuilder::new().mode(0o700).create(&aside)?;
        &aside
    } else {
        put_aside(&dir.join(STORE))?;
        dir
    };
    let making = RootRecord {
        complete: false,
        ..record.duplicate()
    };
    let (target, _) = engine::open(home, &making, to)?;
    let copied = fill(
        source,
        &target,
        &anchor,
        &sealed(&barrier, &anchor, found.version, next.store),
        progress,
    );
    let closed = target.close();
    let count = copied?;
    closed?;
    Ok((count, next))
}

/// Which store the anchor record names.
fn anchored(barrier: &Barrier, path: &Path, record: &Record) -> Result<Vec<u8>, Error> {
    let damaged = || Error::Damaged(path.to_string());
    let plain = barrier
        .open(path, record.version, Kind::Anchor, &record.value)
        .map_err(|_| damaged())?;
    Ok(AnchorRecord::decode(plain.as_slice()).map_err(|_| damaged())?.store)
}

fn sealed(barrier: &Barrier, path: &Path, version: u64, store: [u8; 16]) -> Vec<u8> {
    let anchor = AnchorRecord {
        format: FORMAT,
        store: store.to_vec(),
    };
    barrier.seal(path, version, Kind::Anchor, &anchor.encode_to_vec())
}

/// Fills the target with everything, and compares.
fn fill(
    source: &Store,
    target: &Store,
    anchor: &Path,
    new_anchor: &[u8],
    progress: &mut dyn FnMut(u64),
) -> Result<u64, Error> {
    empty(target)?;
    let (mut writes, mut bytes, mut count) = (Vec::new(), 0, 0);
    for (path, record) in source.scan("/") {
        let value = if path == *anchor {
            new_anchor.to_vec()
        } else {
            record.value.to_vec()
        };
        if writes.len() == RECORDS || bytes + value.len() > BYTES {
            commit(target, std::mem::take(&mut writes), true)?;
            bytes = 0;
        }
        bytes += value.len();
        writes.push(Write {
            path,
            version: record.version,
            value: Some(value),
        });
        count += 1;
        progress(count);
    }
    commit(target, writes, true)?;
    let mut copies = target.scan("/").into_iter();
    let same = source.scan("/").into_iter().all(|(path, record)| {
        copies.next().is_some_and(|(other, copy)| {
            let value = if path == *anchor { new_anchor } else { &*record.value };
            path == other && record.version == copy.version && *value == *copy.value
        })
    });
    // Memory agrees; and what the engine holds is what memory holds.
    if same && copies.next().is_none() && target.check().is_clean() {
        Ok(count)
    } else {
        Err(Error::Damaged("the copy".to_owned()))
    }
}

/// Removes what an earlier try has left.
fn empty(target: &Store) -> Result<(), Error> {
    for some in target.scan("/").chunks(RECORDS) {
        let purge = |(path, record): &(Path, Record)| Write {
            path: path.clone(),
            version: record.version + 1,
            value: None,
        };
        commit(target, some.iter().map(purge).collect(), false)?;
    }
    Ok(())
}

fn commit(target: &Store, writes: Vec<Write>, import: bool) -> Result<(), Error> {
    if writes.is_empty() {
        return Ok(());
    }
    let batch = Batch {
        operation: random::array(),
        writes,
        ..Batch::default()
    };
    let outcome = if import {
        target.import(batch)
    } else {
        target.commit(batch)
    };
    match outcome? {
        Outcome::Committed(_) => Ok(()),
        Outcome::Conflict { .. } => Err(Error::Contended),
        Outcome::Unknown => Err(Error::OutcomeUnknown),
    }
}

fn absent_is_fine(result: std::io::Result<()>) -> Result<(), Error> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// A folder of sled's that does not count any more makes room.
fn put_aside(folder: &FilePath) -> Result<(), Error> {
    if !folder.exists() {
        return Ok(());
    }
    let aside = (1..10_000).map(|number| folder.with_extension(format!("old.{number}")));
    let aside = aside
        .into_iter()
        .find(|aside| !aside.exists())
        .ok_or(Error::AlreadyInitialized)?;
    std::fs::rename(folder, aside)?;
    Ok(())
}
