//! Doors for the fuzz targets (docs/fuzzing.md): each takes hostile bytes to one of the store's readers, past the seal where
//! there is one, and returns nothing that could be used. Not part of the crate's interface.

use std::cell::OnceCell;
use std::fs;
use std::io;
use std::path::Path as FilePath;
use std::sync::Arc;

use crate::backup;
use crate::batch::Revision;
use crate::codec::Reader;
use crate::disk::Disk;
use crate::head::Hasher;
use crate::journal::frame::{self, FrameHeader, HEADER, Kind, Link, Touched};
use crate::journal::read;
use crate::journal::segment::{HEADERS, SegmentHeader, file_name};
use crate::keys::StoreKeys;
use crate::path::Path;
use crate::replay::Replayed;
use crate::root;
use crate::root_value::RootValue;
use crate::state::{Commit, Put, Staged, State};

/// Small, so that an input costs little.
const SEGMENT: usize = 8 << 10;

fn keys() -> StoreKeys {
    StoreKeys::new([1; 32], [2; 32])
}

/// Batches of a small history, as what a frame carries.
fn staged(round: u64) -> Staged {
    let mut state = State::default();
    state.revision = Revision(round);
    let mut staged = Staged::on(&state);
    let name = format!("/ks/{round:02x}/object");
    if let Ok(path) = Path::new(&name) {
        let value: Arc<[u8]> = Arc::from(vec![round as u8; 40]);
        let commit = Commit {
            operation: [round as u8; 16],
            revision: Revision(round + 1),
            writes: vec![Put {
                path,
                version: 1,
                value: Some(value),
            }],
        };
        staged.stage(&state, &Hasher::new(keys().head(), true), commit);
    }
    staged
}

/// Plain bodies of frames, as a store writes them: seeds of [`journal_bodies`].
#[must_use]
pub fn bodies() -> Vec<Vec<u8>> {
    let body = |round, kind| {
        let mut out = Vec::new();
        frame::put_body(&mut out, kind, &Touched::default(), &staged(round));
        out
    };
    (0..3)
        .map(|round| body(round, Kind::Batches))
        .chain([body(3, Kind::Close)])
        .collect()
}

/// A segment of these bodies, each sealed and chained to the one before.
fn segment(index: u64, link: &mut Link, bodies: &[&[u8]]) -> io::Result<Vec<u8>> {
    let header = SegmentHeader::new(index, SEGMENT as u64, *link)?;
    let (mut bytes, key) = (Vec::new(), header.key(&keys())?);
    header.put(&keys(), &mut bytes);
    for body in bodies {
        let start = bytes.len();
        bytes.resize(start + HEADER, 0);
        bytes.extend_from_slice(body);
        // What the body itself says of the number of its batches, so that it is read to its end.
        let commits = commits(body);
        link.tag = frame::seal(&mut bytes, start, &key, link, commits)?;
        link.next = link.next.saturating_add(commits as u64);
    }
    bytes.resize(bytes.len().max(SEGMENT), 0);
    bytes.truncate(SEGMENT);
    Ok(bytes)
}

/// The number of batches in a body; 0 where it is cut off before.
fn commits(body: &[u8]) -> usize {
    let mut reader = Reader(body);
    let mut read = || {
        reader.bytes(9)?;
        let groups = reader.u16()?;
        if groups != u16::MAX {
            for _ in 0..groups {
                reader.text()?;
            }
        }
        reader.u32()
    };
    read().map_or(0, |count| count as usize)
}

/// Reads a journal of one or two segments whose frames have the bodies in `data`: 2 bytes of length each.
///
/// # Errors
/// From the scratch folder.
pub fn journal_bodies(folder: &FilePath, data: &[u8]) -> io::Result<()> {
    let mut bodies = Vec::new();
    let mut rest = data;
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(tail.len());
        let (body, tail) = tail.split_at(length);
        bodies.push(body);
        rest = tail;
    }
    let mut link = Link { tag: [0; 16], next: 1 };
    let (first, second) = bodies.split_at(bodies.len().div_ceil(2));
    let mut files = vec![segment(0, &mut link, first)?];
    if !second.is_empty() {
        files.push(segment(1, &mut link, second)?);
    }
    replay(folder, &files)
}

/// Reads a good journal of two segments after the changes in `data`: 6 bytes each (what, which file, offset, two operands).
///
/// # Errors
/// From the scratch folder.
pub fn journal_files(folder: &FilePath, data: &[u8]) -> io::Result<()> {
    thread_local! {
        static GOOD: OnceCell<[Vec<u8>; 2]> = const { OnceCell::new() };
    }
    let mut files = GOOD.with(|good| match good.get() {
        Some(files) => Ok(files.to_vec()),
        None => good_files().map(|files| good.get_or_init(|| files).to_vec()),
    })?;
    for change in data.chunks_exact(6) {
        let at = usize::from(u16::from_le_bytes([change[2], change[3]])) % SEGMENT;
        let other = usize::from(u16::from_le_bytes([change[4], change[5]])) % SEGMENT;
        let (left, right) = files.split_at_mut(1);
        let (file, beside) = if change[1] % 2 == 0 {
            (&mut left[0], &right[0])
        } else {
            (&mut right[0], &left[0])
        };
        match change[0] % 6 {
            0 => file.truncate(at),
            1 => {
                let from = at.min(file.len());
                file.iter_mut().skip(from).take(other).for_each(|byte| *byte = 0);
            }
            2 => file.clone_from(beside),
            3 => {
                let piece: Vec<u8> = beside.iter().skip(other).take(512).copied().collect();
                file.iter_mut().skip(at).zip(piece).for_each(|(byte, new)| *byte = new);
            }
            _ => file.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= change[4] | 1),
        }
    }
    replay(folder, &files)
}

fn good_files() -> io::Result<[Vec<u8>; 2]> {
    let bodies = bodies();
    let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
    let mut link = Link { tag: [0; 16], next: 1 };
    let (first, second) = bodies.split_at(2);
    Ok([segment(0, &mut link, first)?, segment(1, &mut link, second)?])
}

/// Scans segments and replays what they say on an empty store.
fn replay(folder: &FilePath, files: &[Vec<u8>]) -> io::Result<()> {
    for (index, bytes) in files.iter().enumerate() {
        fs::write(folder.join(file_name(index as u64)), bytes)?;
    }
    for index in files.len()..2 {
        match fs::remove_file(folder.join(file_name(index as u64))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let hasher = Hasher::new(keys().head(), true);
    let scan = read::scan(&Disk::default(), folder, &keys(), SEGMENT as u64, 0)?;
    let mut replayed = Replayed::new(State::default());
    for frame in scan.frames {
        replayed.frame(&hasher, frame);
    }
    let short = scan.damaged || !scan.gaps.is_empty();
    replayed.lost(&hasher, &scan.gaps, None, short);
    let named = replayed.troubles();
    // INV-7: what does not fit its head is named.
    let (wrong, _) = replayed.state.verify(&hasher);
    let silent = wrong
        .iter()
        .any(|(name, _)| named.iter().all(|(known, _)| known.as_str() != &**name));
    assert!(!(short && silent), "a group that does not fit its head is not named");
    Ok(())
}

/// Reads frames at the front of `data`, without any seal.
pub fn frame_header(data: &[u8]) {
    // Whether it reads is of no interest, only that it ends.
    let _ = FrameHeader::read(data).map(|header| (header.frame_bytes(), header.next()));
    let _ = FrameHeader::read_correcting(data).map(|header| (header.frame_bytes(), header.next()));
    frame::is_torn(data, HEADERS);
    let _ = SegmentHeader::read(data, &keys());
    SegmentHeader::is_torn(data);
    let _ = Path::new(&String::from_utf8_lossy(data)).map(|path| path.group().len());
}

/// How the bytes of a fuzzed backup become a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupForm {
    /// They are the file.
    Raw,
    /// They are its items, 2 bytes of length each.
    Items,
    /// They are its chunks in the older form, 2 bytes of length each.
    Chunks,
}

/// Reads a backup file that is made of `data`.
///
/// # Errors
/// From the scratch folder.
pub fn backup(folder: &FilePath, data: &[u8], form: BackupForm) -> io::Result<()> {
    let file = folder.join("fuzzed.bak");
    if form != BackupForm::Raw {
        let mut chunks = Vec::new();
        let mut rest = data;
        while let Some((length, tail)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_le_bytes(*length)).min(tail.len());
            let (chunk, tail) = tail.split_at(length);
            chunks.push(chunk);
            rest = tail;
        }
        let bytes = if form == BackupForm::Items {
            // Longer items cannot be written.
            chunks.retain(|chunk| chunk.len() <= crate::container::MAX_ITEM);
            backup::sealed_items(&keys(), &chunks)?
        } else {
            backup::sealed_chunks(&keys(), &chunks)?
        };
        fs::write(&file, bytes)?;
    } else {
        fs::write(&file, data)?;
    }
    if let Ok(state) = backup::read(&Disk::default(), &file, &keys()) {
        let hasher = Hasher::new(keys().head(), true);
        // A state that is not true is never taken; whether this one is does not matter here.
        state.is_true(&hasher);
        assert!(backup::same(&state, &state), "a state is itself");
    }
    Ok(())
}

/// The items of a good backup: seeds of the backup target.
#[must_use]
pub fn backup_items() -> Vec<Vec<u8>> {
    let mut end = vec![3];
    crate::codec::put_count(&mut end, 0);
    end.extend_from_slice(&1_u64.to_le_bytes());
    end.extend_from_slice(&[0; 32]);
    let mut record = vec![2];
    crate::codec::put_text(&mut record, "/ks/00/object");
    record.extend_from_slice(&[1; 16]);
    crate::codec::put_value(&mut record, &[7; 20]);
    let head = [&[4], 9_u64.to_le_bytes().as_slice()].concat();
    vec![head, record, end]
}

/// The plain chunk of a good backup in the older form.
#[must_use]
pub fn backup_chunks() -> Vec<u8> {
    let mut chunk = Vec::new();
    for (name, version) in [("/ks/00/object", 1_u64), ("/ks/00/other", 2)] {
        chunk.push(2);
        crate::codec::put_text(&mut chunk, name);
        chunk.extend_from_slice(&version.to_le_bytes());
        chunk.extend_from_slice(&version.to_le_bytes());
        crate::codec::put_value(&mut chunk, &[7; 20]);
    }
    chunk.push(3);
    crate::codec::put_count(&mut chunk, 0);
    chunk.extend_from_slice(&2_u64.to_le_bytes());
    chunk.extend_from_slice(&[0; 32]);
    chunk
}

/// Reads a copy of a root file and the value in it; with `summed` the checksum over `data` is put right first.
pub fn root_file(data: &[u8], summed: bool) {
    let sum = crate::primitive::sha256(data);
    let bytes = if summed { [data, &sum].concat() } else { data.to_vec() };
    if let Ok((_, value)) = root::decode(&bytes) {
        // Tagged: only a value of these keys reads.
        let _ = RootValue::from_bytes(&keys(), &value);
    }
    let _ = RootValue::from_bytes(&keys(), data);
}

/// A root file without its checksum, as written: the seed of [`root_file`].
#[must_use]
pub fn root_copy() -> Vec<u8> {
    let value = RootValue::default().to_bytes(&keys());
    let mut bytes = b"HSMDRT01".to_vec();
    bytes.extend_from_slice(&1_u64.to_le_bytes());
    bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&value);
    bytes
}
