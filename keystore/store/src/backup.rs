//! Automatic backups: the whole state at one revision in one sealed file, read back and compared before it counts. They are what
//! sled is rebuilt from; the operator's backups, with their own passphrase, are made elsewhere.
//!
//! The file is a [`container`](crate::container) whose items are: the revision, the heads of all groups, the records, the end with
//! its counts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::batch::{Record, Revision};
use zeroize::Zeroizing;

use crate::codec::{Malformed, Reader, put_count, put_text, put_value};
use crate::container::{ContainerError, Header, KeySource, Reader as ItemReader, Writer};
use crate::disk::{Disk, DiskFile};
use crate::head::Sum;
use crate::keys::StoreKeys;
use crate::path;
use crate::report::{BackupError, BackupInfo};
use crate::sealing::{FileKey, NONCE_BYTES, SALT_BYTES, TAG_BYTES};
use crate::state::{Group, State};

/// Begins a backup of the older form.
const MAGIC_1: &[u8; 8] = b"HSMDBK01";
const HEADER_1: usize = 8 + 8 + SALT_BYTES;
const LABEL: &[u8] = b"hsmd store backup";
const LARGEST_CHUNK_1: usize = 16 << 20;
const GROUP: u8 = 1;
const RECORD: u8 = 2;
const END: u8 = 3;
const HEAD: u8 = 4;

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

/// A file as the container reads and writes it.
struct Positioned<'a> {
    file: &'a DiskFile,
    offset: u64,
    length: u64,
}

impl io::Write for Positioned<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Read for Positioned<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length - self.offset).unwrap_or(usize::MAX);
        let count = bytes.len().min(left);
        self.file.read_exact_at(&mut bytes[..count], self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// The key of one backup.
fn file_key(keys: &StoreKeys, salt: &[u8; SALT_BYTES]) -> Zeroizing<[u8; 32]> {
    keys.derive(LABEL, salt)
}

fn write_file(disk: &Disk, path: &Path, keys: &StoreKeys, state: &State) -> io::Result<u64> {
    let file = disk.create(path)?;
    let salt = Header::random_salt()?;
    let key = file_key(keys, &salt);
    let header = Header::new(KeySource::Store, salt, &key);
    let out = Positioned {
        file: &file,
        offset: 0,
        length: 0,
    };
    let mut writer = Writer::new(out, &header, &key)?;
    writer.item(&[&[HEAD], &state.revision.0.to_le_bytes()])?;
    let mut item = Vec::new();
    for (name, group) in &state.groups {
        item.clear();
        item.push(GROUP);
        put_text(&mut item, name);
        group.put(&mut item);
        writer.item(&[&item])?;
    }
    for (path, record) in &state.records {
        item.clear();
        item.push(RECORD);
        put_text(&mut item, path.as_str());
        item.extend_from_slice(&record.version.to_le_bytes());
        item.extend_from_slice(&record.revision.0.to_le_bytes());
        put_value(&mut item, &record.value);
        writer.item(&[&item])?;
    }
    item.clear();
    item.push(END);
    put_count(&mut item, state.groups.len());
    item.extend_from_slice(&(state.records.len() as u64).to_le_bytes());
    item.extend_from_slice(&state.total.to_bytes());
    writer.item(&[&item])?;
    let bytes = writer.finish()?;
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

impl From<ContainerError> for ReadError {
    fn from(error: ContainerError) -> Self {
        match error {
            ContainerError::Io(error) => error.into(),
            _ => Self::Damaged,
        }
    }
}

/// Reads a backup. The heads are not checked here: see [`State::is_true`].
pub(crate) fn read(disk: &Disk, path: &Path, keys: &StoreKeys) -> Result<State, ReadError> {
    let file = disk.open(path)?;
    let length = file.len()?;
    let mut magic = [0; MAGIC_1.len()];
    file.read_exact_at(&mut magic, 0)?;
    if magic == *MAGIC_1 {
        return read_1(&file, length, keys);
    }
    let mut from = Positioned {
        file: &file,
        offset: 0,
        length,
    };
    let header = Header::read(&mut from)?;
    if header.source != KeySource::Store {
        return Err(ReadError::Damaged);
    }
    let mut reader = ItemReader::new(from, &header, &file_key(keys, &header.salt))?;
    let mut state = State::default();
    let (mut begun, mut ended) = (false, false);
    while let Some(item) = reader.item()? {
        let first = item.first() == Some(&HEAD);
        if ended || first == begun {
            return Err(ReadError::Damaged);
        }
        if first {
            let mut head = Reader(&item[1..]);
            state.revision = Revision(head.u64()?);
            head.end()?;
            begun = true;
        } else {
            ended = take_items(item, &mut state)?;
        }
    }
    if ended { Ok(state) } else { Err(ReadError::Damaged) }
}

/// Reads the older form: magic, revision, salt; then sealed chunks with their length, numbered by their nonce, the last one
/// marked in its associated data. Written until the container came.
fn read_1(file: &DiskFile, length: u64, keys: &StoreKeys) -> Result<State, ReadError> {
    let mut header = [0; HEADER_1];
    file.read_exact_at(&mut header, 0)?;
    let mut reader = Reader(&header[MAGIC_1.len()..]);
    let mut state = State::default();
    state.revision = Revision(reader.u64()?);
    let key = FileKey::derive(keys, LABEL, &reader.array()?).map_err(io::Error::from)?;
    let (mut offset, mut number) = (HEADER_1 as u64, 0);
    loop {
        let mut prefix = [0; 4];
        file.read_exact_at(&mut prefix, offset)?;
        let bytes = u32::from_le_bytes(prefix) as usize;
        offset += 4;
        if !(TAG_BYTES..=LARGEST_CHUNK_1).contains(&bytes) || offset + bytes as u64 > length {
            return Err(ReadError::Damaged);
        }
        let mut chunk = vec![0; bytes];
        file.read_exact_at(&mut chunk, offset)?;
        offset += bytes as u64;
        let last = offset == length;
        let body = key.open(nonce_1(number), &aad_1(&header, last), &mut chunk)?;
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

fn nonce_1(number: u64) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    nonce
}

fn aad_1(header: &[u8], last: bool) -> Vec<u8> {
    let mut aad = header.to_vec();
    aad.push(u8::from(last));
    aad
}

/// The file of these items, whatever they say: how `fuzzing` reaches what reads them.
pub(crate) fn sealed_items(keys: &StoreKeys, items: &[&[u8]]) -> io::Result<Vec<u8>> {
    let salt = [7; SALT_BYTES];
    let key = file_key(keys, &salt);
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file, &Header::new(KeySource::Store, salt, &key), &key)?;
    items.iter().try_for_each(|item| writer.item(&[item]))?;
    writer.finish()?;
    Ok(file)
}

/// The file of these plain chunks in the older form, whatever they say: how `fuzzing` reaches what reads them.
pub(crate) fn sealed_chunks(keys: &StoreKeys, chunks: &[&[u8]]) -> io::Result<Vec<u8>> {
    let salt = [7; SALT_BYTES];
    let key = FileKey::derive(keys, LABEL, &salt)?;
    let mut file = MAGIC_1.to_vec();
    file.extend_from_slice(&9_u64.to_le_bytes());
    file.extend_from_slice(&salt);
    let header = file.clone();
    for (number, chunk) in chunks.iter().enumerate() {
        let mut sealed = chunk.to_vec();
        let tag = key.seal(
            nonce_1(number as u64),
            &aad_1(&header, number + 1 == chunks.len()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing;

    #[test]
    fn a_backup_of_the_older_form_still_reads() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("old.bak");
        let keys = StoreKeys::new([1; 32], [2; 32]);
        let chunk = fuzzing::backup_chunks();
        let sealed = sealed_chunks(&keys, &[&chunk]).unwrap();
        std::fs::write(&file, &sealed).unwrap();
        let state = read(&Disk::default(), &file, &keys).unwrap();
        assert_eq!((state.revision.0, state.records.len()), (9, 2));
        for length in 0..sealed.len() {
            std::fs::write(&file, &sealed[..length]).unwrap();
            assert!(read(&Disk::default(), &file, &keys).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn the_backup_of_an_operator_is_not_one_of_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("other.bak");
        let header = Header::new(KeySource::KeyFile, [7; SALT_BYTES], &[1; 32]);
        let mut bytes = Vec::new();
        let writer = Writer::new(&mut bytes, &header, &[1; 32]).unwrap();
        writer.finish().unwrap();
        std::fs::write(&file, bytes).unwrap();
        let keys = StoreKeys::new([1; 32], [2; 32]);
        assert!(matches!(read(&Disk::default(), &file, &keys), Err(ReadError::Damaged)));
    }
}
