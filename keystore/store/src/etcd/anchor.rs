//! The anchor: a small file of the node's own that remembers how far the store in etcd had come, so that a store that went
//! backwards (a snapshot that was restored, another cluster under the same address) is noticed. Two places in one file are
//! written in turn, each with a tag, so that a torn write loses the newest only.

use std::io;
use std::path::Path;

use crate::codec::{Malformed, Reader};
use crate::disk::{Disk, DiskFile};
use crate::faults::Faults;
use crate::head::Hasher;

const FILE: &str = "etcd.anchor";
const MAGIC: &[u8; 8] = b"HSMDAN01";
/// Bytes of a place: no more than a sector.
const PLACE: usize = 256;

/// How far the store had come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// etcd's cluster.
    pub(crate) cluster: u64,
    pub(crate) timeline: [u8; 16],
    /// Highest etcd revision seen.
    pub(crate) revision: u64,
    /// Highest sequence of this writer.
    pub(crate) sequence: u64,
}

/// The file, open.
pub(crate) struct Anchor {
    file: DiskFile,
    turn: u64,
    written: Mark,
}

impl Anchor {
    /// Opens the file, or makes it. Returns what it remembers; `None`: it is new, or neither place is whole.
    pub(crate) fn open(dir: &Path, hasher: &Hasher, faults: Faults) -> io::Result<(Self, Option<Mark>)> {
        let (disk, path) = (Disk::new(faults), dir.join(FILE));
        let file = if path.exists() {
            disk.open(&path)?
        } else {
            let file = disk.create(&path)?;
            file.write_all_at(&[0; 2 * PLACE], 0)?;
            file.sync_data()?;
            disk.sync_folder(dir)?;
            file
        };
        let mut newest: Option<(u64, Mark)> = None;
        for at in [0, PLACE] {
            let mut bytes = [0; PLACE];
            if file.read_exact_at(&mut bytes, at as u64).is_err() {
                continue;
            }
            if let Ok(found) = decode(hasher, &bytes)
                && newest.is_none_or(|(turn, _)| turn < found.0)
            {
                newest = Some(found);
            }
        }
        let anchor = Self {
            file,
            turn: newest.map_or(0, |(turn, _)| turn),
            written: newest.map_or(Mark::default(), |(_, mark)| mark),
        };
        Ok((anchor, newest.map(|(_, mark)| mark)))
    }

    /// Remembers `mark`, durably, if it is news.
    pub(crate) fn write(&mut self, hasher: &Hasher, mark: Mark) -> io::Result<()> {
        if mark == self.written {
            return Ok(());
        }
        self.turn += 1;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.turn.to_le_bytes());
        bytes.extend_from_slice(&mark.cluster.to_le_bytes());
        bytes.extend_from_slice(&mark.timeline);
        bytes.extend_from_slice(&mark.revision.to_le_bytes());
        bytes.extend_from_slice(&mark.sequence.to_le_bytes());
        let tag = hasher.tag(b"etcd anchor", &bytes);
        bytes.extend_from_slice(&tag);
        bytes.resize(PLACE, 0);
        self.file.write_all_at(&bytes, (self.turn % 2) * PLACE as u64)?;
        self.file.sync_data()?;
        self.written = mark;
        Ok(())
    }
}

fn decode(hasher: &Hasher, bytes: &[u8]) -> Result<(u64, Mark), Malformed> {
    let mut reader = Reader(bytes);
    if reader.array::<8>()? != *MAGIC {
        return Err(Malformed);
    }
    let turn = reader.u64()?;
    let mark = Mark {
        cluster: reader.u64()?,
        timeline: reader.array()?,
        revision: reader.u64()?,
        sequence: reader.u64()?,
    };
    let body = &bytes[..bytes.len() - reader.0.len()];
    if hasher.tag(b"etcd anchor", body) != reader.array::<32>()? {
        return Err(Malformed);
    }
    Ok((turn, mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitive::MacKey;

    #[test]
    fn the_newest_whole_place_counts() {
        let hasher = Hasher::new(MacKey::new(&[7; 32]), false);
        let dir = tempfile::tempdir().unwrap();
        let open = || Anchor::open(dir.path(), &hasher, Faults::default()).unwrap();
        let mark = |revision| Mark {
            revision,
            ..Mark::default()
        };
        let (mut anchor, found) = open();
        assert_eq!(found, None);
        for revision in 1..=5 {
            anchor.write(&hasher, mark(revision)).unwrap();
            assert_eq!(open().1, Some(mark(revision)));
        }
        // Write 5 went to the second place; torn, the one before counts.
        anchor.file.write_all_at(&[9; 20], PLACE as u64 + 30).unwrap();
        let (mut anchor, found) = open();
        assert_eq!(found, Some(mark(4)));
        anchor.write(&hasher, mark(6)).unwrap();
        assert_eq!(open().1, Some(mark(6)));
        let other = Hasher::new(MacKey::new(&[8; 32]), false);
        assert_eq!(Anchor::open(dir.path(), &other, Faults::default()).unwrap().1, None);
    }
}
