//! Automatic backups: the whole state at one revision in one sealed file, read back and compared before it counts. They are what
//! sled is rebuilt from; the operator's backups, with their own passphrase, are made elsewhere.
//!
//! A file is: magic, revision, salt; then sealed chunks with their length, numbered by their nonce, the last one marked in its
//! associated data, so that none can be cut off, added or moved.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::batch::{Record, Revision};
use crate::codec::{Malformed, Reader, put_count, put_text, put_value};
use crate::disk::{Disk, DiskFile};
use crate::head::Sum;
use crate::keys::StoreKeys;
use crate::path;
use crate::report::{BackupError, BackupInfo};
use crate::sealing::{FileKey, NONCE_BYTES, SALT_BYTES, TAG_BYTES, random};
use crate::state::{Group, State};

const MAGIC: &[u8; 8] = b"HSMDBK01";
const HEADER: usize = 8 + 8 + SALT_BYTES;
const LABEL: &[u8] = b"hsmd store backup";
/// A chunk is sealed when it has this many bytes; it is at most one record longer.
const CHUNK: usize = 256 << 10;
const LARGEST_CHUNK: usize = 16 << 20;
const GROUP: u8 = 1;
const RECORD: u8 = 2;
const END: u8 = 3;

/// The file of a revision.
fn file_name(revision: u64) -> String {
    format!("{revision:016x}.bak")
}

/// Backups in `dir`, newest first, by their names.
pub(crate) fn list(disk: &Disk, dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for file in disk.list(dir)? {
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(".bak"));
        if let Some(revision) = name.and_then(|name| u64::from_str_radix(name, 16).ok()) {
            found.push((revision, file));
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    Ok(found)
}

/// Writes a backup of `state`, reads it back, compares it and gives it its name.
pub(crate) fn write(disk: &Disk, dir: &Path, keys: &StoreKeys, state: &State) -> Result<BackupInfo, BackupError> {
    let temporary = dir.join("next.new");
    let made = write_file(disk, &temporary, keys, state).map_err(|error| BackupError::Io(error.kind()));
    let checked = made.and_then(|bytes| {
        let again = read(disk, &temporary, keys).map_err(|_| BackupError::Differs)?;
        if same(&again, state) {
            Ok(bytes)
        } else {
            Err(BackupError::Differs)
        }
    });
    let named = checked.and_then(|bytes| {
        let file = dir.join(file_name(state.revision.0));
        let named = disk.rename(&temporary, &file).and_then(|()| disk.sync_folder(dir));
        named.map_err(|error| BackupError::Io(error.kind()))?;
        Ok(BackupInfo {
            file,
            revision: state.revision,
            records: state.records.len(),
            bytes,
        })
    });
    if named.is_err() && temporary.exists() {
        // Gives the space back; the next start removes the file if this fails.
        let _ = disk.remove(&temporary);
    }
    named
}

/// Whether two states hold the same.
pub(crate) fn same(a: &State, b: &State) -> bool {
    let same_group = |a: &Group, b: &Group| a.head == b.head && a.trouble == b.trouble;
    a.revision == b.revision
        && a.total == b.total
        && a.records == b.records
        && a.groups.len() == b.groups.len()
        && a.groups
            .iter()
            .zip(&b.groups)
            .all(|(a, b)| a.0 == b.0 && same_group(a.1, b.1))
}

/// Seals chunks one after the other.
struct Writer<'a> {
    file: &'a DiskFile,
    key: FileKey,
    header: Vec<u8>,
    offset: u64,
    number: u64,
    chunk: Vec<u8>,
}

impl Writer<'_> {
    fn flush(&mut self, last: bool) -> io::Result<()> {
        let aad = aad(&self.header, last);
        let tag = self.key.seal(nonce(self.number), &aad, &mut self.chunk)?;
        self.chunk.extend_from_slice(&tag);
        let length = (self.chunk.len() as u32).to_le_bytes();
        self.chunk.splice(..0, length);
        self.file.write_all_at(&self.chunk, self.offset)?;
        self.offset += self.chunk.len() as u64;
        self.number += 1;
        self.chunk.clear();
        Ok(())
    }

    fn flush_if_full(&mut self) -> io::Result<()> {
        if self.chunk.len() >= CHUNK {
            self.flush(false)
        } else {
            Ok(())
        }
    }
}

fn nonce(number: u64) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    nonce
}

fn aad(header: &[u8], last: bool) -> Vec<u8> {
    let mut aad = header.to_vec();
    aad.push(u8::from(last));
    aad
}

fn write_file(disk: &Disk, path: &Path, keys: &StoreKeys, state: &State) -> io::Result<u64> {
    let file = disk.create(path)?;
    let salt: [u8; SALT_BYTES] = random()?;
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&state.revision.0.to_le_bytes());
    header.extend_from_slice(&salt);
    file.write_all_at(&header, 0)?;
    let key = FileKey::derive(keys, LABEL, &salt)?;
    let mut writer = Writer {
        file: &file,
        key,
        header,
        offset: HEADER as u64,
        number: 0,
        chunk: Vec::new(),
    };
    for (name, group) in &state.groups {
        writer.chunk.push(GROUP);
        put_text(&mut writer.chunk, name);
        group.put(&mut writer.chunk);
        writer.flush_if_full()?;
    }
    for (path, record) in &state.records {
        writer.chunk.push(RECORD);
        put_text(&mut writer.chunk, path.as_str());
        writer.chunk.extend_from_slice(&record.version.to_le_bytes());
        writer.chunk.extend_from_slice(&record.revision.0.to_le_bytes());
        put_value(&mut writer.chunk, &record.value);
        writer.flush_if_full()?;
    }
    writer.chunk.push(END);
    put_count(&mut writer.chunk, state.groups.len());
    writer
        .chunk
        .extend_from_slice(&(state.records.len() as u64).to_le_bytes());
    writer.chunk.extend_from_slice(&state.total.to_bytes());
    writer.flush(true)?;
    let bytes = writer.offset;
    file.sync_data()?;
    Ok(bytes)
}

/// Why a backup does not load.
#[derive(Debug)]
pub(crate) enum ReadError {
    Io(io::Error),
    /// Cut short, changed, or of another store.
    Damaged,
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Damaged
        } else {
            Self::Io(error)
        }
    }
}

impl From<Malformed> for ReadError {
    fn from(_: Malformed) -> Self {
        Self::Damaged
    }
}

/// Reads a backup. The heads are not checked here: see [`State::is_true`].
pub(crate) fn read(disk: &Disk, path: &Path, keys: &StoreKeys) -> Result<State, ReadError> {
    let file = disk.open(path)?;
    let length = file.len()?;
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0)?;
    let mut reader = Reader(&header);
    if reader.array::<8>()? != *MAGIC {
        return Err(ReadError::Damaged);
    }
    let mut state = State::default();
    state.revision = Revision(reader.u64()?);
    let key = FileKey::derive(keys, LABEL, &reader.array()?).map_err(io::Error::from)?;
    let (mut offset, mut number) = (HEADER as u64, 0);
    loop {
        let mut prefix = [0; 4];
        file.read_exact_at(&mut prefix, offset)?;
        let bytes = u32::from_le_bytes(prefix) as usize;
        offset += 4;
        if !(TAG_BYTES..=LARGEST_CHUNK).contains(&bytes) || offset + bytes as u64 > length {
            return Err(ReadError::Damaged);
        }
        let mut chunk = vec![0; bytes];
        file.read_exact_at(&mut chunk, offset)?;
        offset += bytes as u64;
        let last = offset == length;
        let body = key.open(nonce(number), &aad(&header, last), &mut chunk)?;
        number += 1;
        let ended = take_items(body, &mut state)?;
        if ended != last {
            return Err(ReadError::Damaged);
        }
        if last {
            return Ok(state);
        }
    }
}

/// The file of these plain chunks, whatever they say: how `fuzzing` reaches what reads them.
pub(crate) fn sealed_chunks(keys: &StoreKeys, chunks: &[&[u8]]) -> io::Result<Vec<u8>> {
    let salt = [7; SALT_BYTES];
    let key = FileKey::derive(keys, LABEL, &salt)?;
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(&9_u64.to_le_bytes());
    file.extend_from_slice(&salt);
    let header = file.clone();
    for (number, chunk) in chunks.iter().enumerate() {
        let mut sealed = chunk.to_vec();
        let tag = key.seal(
            nonce(number as u64),
            &aad(&header, number + 1 == chunks.len()),
            &mut sealed,
        )?;
        put_count(&mut file, sealed.len() + tag.len());
        file.extend_from_slice(&sealed);
        file.extend_from_slice(&tag);
    }
    Ok(file)
}

fn take_items(body: &[u8], state: &mut State) -> Result<bool, Malformed> {
    let mut reader = Reader(body);
    while !reader.0.is_empty() {
        match reader.u8()? {
            GROUP => {
                let name = Arc::from(reader.text()?);
                state.groups.insert(name, Group::take(&mut reader)?);
            }
            RECORD => {
                let path = path::Path::new(reader.text()?).map_err(|_| Malformed)?;
                let (version, revision) = (reader.u64()?, Revision(reader.u64()?));
                let value = Arc::from(reader.value()?);
                state.put(
                    &path,
                    Some(Record {
                        value,
                        version,
                        revision,
                    }),
                );
            }
            END => {
                let (groups, records) = (reader.u32()? as usize, reader.u64()?);
                state.total = Sum::from_bytes(reader.array()?);
                reader.end()?;
                let complete = groups == state.groups.len() && records == state.records.len() as u64;
                return if complete { Ok(true) } else { Err(Malformed) };
            }
            _ => return Err(Malformed),
        }
    }
    Ok(false)
}
