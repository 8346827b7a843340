//! The node's memory outside the store: one small file with two places that are written in turn, synced, tagged under a key of the
//! fleet's, so that a torn write loses the newest only and nobody else writes one.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use hsmd_fleet::{Anchor, Generation, Revision, Timeline};
use hsmd_keystore::Peers;

const FILE: &str = "fleet.anchor";
const MAGIC: &[u8; 8] = b"HSMDFA01";
/// Magic, turn, five numbers, tag.
const WORDS: usize = 7;
const BYTES: usize = WORDS * 8 + 32;
/// A place: no more than a sector.
const PLACE: u64 = 256;

/// The file, open.
pub(super) struct AnchorFile {
    file: File,
    turn: u64,
    peers: Peers,
}

impl AnchorFile {
    /// Opens the file, or makes it. What it remembers; `None`: it is new, or neither place is whole.
    pub(super) fn open(folder: &Path, peers: &Peers) -> io::Result<(Self, Option<Anchor>)> {
        let mut options = File::options();
        let path = folder.join(FILE);
        let file = options.read(true).write(true).create(true).truncate(false);
        let file = file.mode(0o600).open(path)?;
        let mut newest: Option<(u64, Anchor)> = None;
        for place in [0, 1] {
            let mut bytes = [0; BYTES];
            if file.read_exact_at(&mut bytes, place * PLACE).is_err() {
                continue;
            }
            if let Some(found) = decode(&bytes, peers)
                && newest.as_ref().is_none_or(|(turn, _)| *turn < found.0)
            {
                newest = Some(found);
            }
        }
        let own = Self {
            file,
            turn: newest.as_ref().map_or(0, |(turn, _)| *turn),
            peers: peers.clone(),
        };
        Ok((own, newest.map(|(_, anchor)| anchor)))
    }

    /// Remembers, durably. After an error the next write goes to the same place: the other one has what was remembered last.
    pub(super) fn write(&mut self, anchor: &Anchor) -> io::Result<()> {
        let turn = self.turn + 1;
        let mut bytes = MAGIC.to_vec();
        let words = [
            turn,
            anchor.timeline.0,
            anchor.cluster,
            anchor.revision.0,
            anchor.generation.0,
            anchor.beat_version,
        ];
        words
            .iter()
            .for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        bytes.extend_from_slice(&self.peers.tag(&bytes));
        self.file.write_all_at(&bytes, (turn % 2) * PLACE)?;
        self.file.sync_data()?;
        self.turn = turn;
        Ok(())
    }
}

fn decode(bytes: &[u8; BYTES], peers: &Peers) -> Option<(u64, Anchor)> {
    let (body, tag) = bytes.split_at(WORDS * 8);
    if !body.starts_with(MAGIC) || peers.tag(body) != *tag {
        return None;
    }
    let mut words = body.chunks_exact(8).skip(1);
    let mut word = || Some(u64::from_le_bytes(words.next()?.try_into().ok()?));
    let turn = word()?;
    let anchor = Anchor {
        timeline: Timeline(word()?),
        cluster: word()?,
        revision: Revision(word()?),
        generation: Generation(word()?),
        beat_version: word()?,
    };
    Some((turn, anchor))
}
