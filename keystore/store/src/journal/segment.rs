//! One journal segment: a file of fixed size, filled with zeros and synced before its first use, so that a commit changes data
//! only and one `fdatasync` makes it durable. Its header is there twice, each in a sector of its own.

use std::path::{Path, PathBuf};

use crate::codec::{Malformed, Reader};
use crate::disk::{Disk, DiskFile};
use crate::journal::frame::Link;
use crate::keys::StoreKeys;
use crate::sealing::{FileKey, SALT_BYTES, SealFailed, TAG_BYTES, random};

const MAGIC: &[u8; 8] = b"HSMDJS01";
const COPY: usize = 512;
/// Bytes before the first frame: two copies of the header.
pub(crate) const HEADERS: usize = 2 * COPY;
const KEY_LABEL: &[u8] = b"hsmd journal segment";
const TAG_LABEL: &[u8] = b"hsmd journal segment header";
const ZEROS: usize = 1 << 20;

/// The header of a segment in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) index: u64,
    pub(crate) size: u64,
    /// Where the chain stood when the segment was taken into use.
    pub(crate) link: Link,
    salt: [u8; SALT_BYTES],
}

impl SegmentHeader {
    pub(crate) fn new(index: u64, size: u64, link: Link) -> Result<Self, SealFailed> {
        Ok(Self {
            index,
            size,
            link,
            salt: random()?,
        })
    }

    pub(crate) fn key(&self, keys: &StoreKeys) -> Result<FileKey, SealFailed> {
        FileKey::derive(keys, KEY_LABEL, &self.salt)
    }

    /// Appends both copies.
    pub(crate) fn put(&self, keys: &StoreKeys, out: &mut Vec<u8>) {
        let mut copy = Vec::with_capacity(COPY);
        copy.extend_from_slice(MAGIC);
        copy.extend_from_slice(&self.index.to_le_bytes());
        copy.extend_from_slice(&self.size.to_le_bytes());
        copy.extend_from_slice(&self.link.next.to_le_bytes());
        copy.extend_from_slice(&self.link.tag);
        copy.extend_from_slice(&self.salt);
        let tag = keys.derive(TAG_LABEL, &copy);
        copy.extend_from_slice(tag.as_ref());
        copy.resize(COPY, 0);
        out.extend_from_slice(&copy);
        out.extend_from_slice(&copy);
    }

    /// Reads the first copy that is whole, and says what the other is.
    pub(crate) fn read(bytes: &[u8], keys: &StoreKeys) -> Result<(Self, OtherCopy), Malformed> {
        let copy = |index: usize| bytes.get(index * COPY..(index + 1) * COPY).ok_or(Malformed);
        let other = |index: usize| match copy(index) {
            Ok(sector) if sector.iter().all(|byte| *byte == 0) => OtherCopy::Unwritten,
            _ => OtherCopy::Damaged,
        };
        match (
            copy(0).and_then(|c| Self::read_copy(c, keys)),
            copy(1).and_then(|c| Self::read_copy(c, keys)),
        ) {
            (Ok(first), Ok(second)) if first == second => Ok((first, OtherCopy::Same)),
            (Ok(first), Ok(_)) => Ok((first, OtherCopy::Damaged)),
            (Ok(first), Err(_)) => Ok((first, other(1))),
            (Err(_), Ok(second)) => Ok((second, other(0))),
            (Err(_), Err(_)) => Err(Malformed),
        }
    }

    fn read_copy(copy: &[u8], keys: &StoreKeys) -> Result<Self, Malformed> {
        const TAGGED: usize = 8 + 8 + 8 + 8 + TAG_BYTES + SALT_BYTES;
        let mut reader = Reader(copy);
        let tagged = reader.bytes(TAGGED)?;
        let tag: [u8; 32] = reader.array()?;
        // A timing difference tells nothing: whoever can write the file learns only that damage is noticed.
        if *keys.derive(TAG_LABEL, tagged) != tag || reader.0.iter().any(|byte| *byte != 0) {
            return Err(Malformed);
        }
        let mut reader = Reader(tagged);
        if reader.array::<8>()? != *MAGIC {
            return Err(Malformed);
        }
        let (index, size, next) = (reader.u64()?, reader.u64()?, reader.u64()?);
        Ok(Self {
            index,
            size,
            link: Link {
                next,
                tag: reader.array()?,
            },
            salt: reader.array()?,
        })
    }

    /// Whether the two header sectors, of which none is whole, were torn: one was never written.
    pub(crate) fn is_torn(bytes: &[u8]) -> bool {
        let zero = |index: usize| bytes.iter().skip(index * COPY).take(COPY).all(|byte| *byte == 0);
        zero(0) || zero(1)
    }
}

/// What the second copy of a header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherCopy {
    Same,
    /// Zeros: the write of the header was torn, if nothing came after it.
    Unwritten,
    Damaged,
}

/// The file name of a segment.
pub(crate) fn file_name(index: u64) -> String {
    format!("{index:016x}.seg")
}

/// The number in a segment's file name.
pub(crate) fn index_of(file: &Path) -> Option<u64> {
    let name = file.file_name()?.to_str()?.strip_suffix(".seg")?;
    (name.len() == 16).then(|| u64::from_str_radix(name, 16).ok())?
}

/// Makes a segment of zeros, synced, under its name.
pub(crate) fn allocate(disk: &Disk, dir: &Path, index: u64, size: u64) -> std::io::Result<DiskFile> {
    let temporary = dir.join("next.new");
    let path: PathBuf = dir.join(file_name(index));
    let made = fill(disk, &temporary, size).and_then(|()| {
        disk.rename(&temporary, &path)?;
        disk.sync_folder(dir)?;
        disk.open(&path)
    });
    if made.is_err() && temporary.exists() {
        // Gives the space back; if that fails too, the next start removes the file.
        let _ = disk.remove(&temporary);
    }
    made
}

fn fill(disk: &Disk, temporary: &Path, size: u64) -> std::io::Result<()> {
    let file = disk.create(temporary)?;
    let zeros = vec![0; ZEROS.min(size as usize)];
    let mut offset = 0;
    while offset < size {
        let bytes = (size - offset).min(zeros.len() as u64) as usize;
        file.write_all_at(&zeros[..bytes], offset)?;
        offset += bytes as u64;
    }
    file.sync_data()
}
