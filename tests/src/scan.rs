//! Searching a process's memory and the files of a folder for secrets, and for pieces of them: what was freed but not wiped
//! has lost its first bytes to the allocator. It knows no process; who holds what is the test's business.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Length of a piece: long enough to be nobody else's.
const PIECE: usize = 12;
/// Memory is read in blocks of this size.
const BLOCK: usize = 1 << 20;

/// Secrets by name, cut into pieces.
#[derive(Default)]
pub struct Needles {
    pieces: Vec<(String, Vec<u8>)>,
    /// Which pairs of first bytes occur.
    starts: Vec<bool>,
}

/// A piece that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The secret.
    pub name: String,
    /// Address or offset.
    pub at: u64,
    /// The mapping or file.
    pub place: String,
}

impl Needles {
    /// Adds a secret of at least 12 bytes: its beginning, its middle and its end.
    pub fn add(&mut self, name: &str, secret: &[u8]) {
        assert!(secret.len() >= PIECE, "{name} is too short");
        let middle = (secret.len() - PIECE) / 2;
        for (part, start) in [("begin", 0), ("middle", middle), ("end", secret.len() - PIECE)] {
            let piece = secret[start..start + PIECE].to_vec();
            self.starts.resize(1 << 16, false);
            self.starts[pair(&piece)] = true;
            self.pieces.push((format!("{name} ({part})"), piece));
        }
    }

    /// Adds a number as it is written and as machines hold it, least byte first.
    pub fn add_number(&mut self, name: &str, number: &[u8]) {
        self.add(name, number);
        let reversed: Vec<u8> = number.iter().rev().copied().collect();
        self.add(&format!("{name}, reversed"), &reversed);
    }

    fn find(&self, content: &[u8], base: u64, place: &str, hits: &mut Vec<Hit>) {
        if self.pieces.is_empty() || content.len() < PIECE {
            return;
        }
        for at in 0..=content.len() - PIECE {
            if !self.starts[pair(&content[at..])] {
                continue;
            }
            for (name, piece) in &self.pieces {
                if content[at..].starts_with(piece) {
                    hits.push(Hit {
                        name: name.clone(),
                        at: base + at as u64,
                        place: place.to_owned(),
                    });
                }
            }
        }
    }
}

fn pair(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

/// Searches all memory of a process that it can write or has to itself.
///
/// # Panics
/// If the memory cannot be read: a scan that sees nothing finds nothing.
#[must_use]
pub fn memory(process: u32, needles: &Needles) -> Vec<Hit> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).expect("the memory map");
    let memory = File::open(format!("/proc/{process}/mem")).expect("the memory");
    let (mut hits, mut read) = (Vec::new(), 0_u64);
    let mut block = vec![0; BLOCK];
    for line in maps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some((start, end)), Some(mode)) = (words[0].split_once('-'), words.get(1)) else {
            continue;
        };
        if !mode.starts_with("rw") {
            continue;
        }
        let hex = |text: &str| u64::from_str_radix(text, 16).expect("hex digits");
        let (mut at, end) = (hex(start), hex(end));
        let kib = (end - at) / 1024;
        let place = words
            .get(5)
            .map_or_else(|| format!("anonymous {kib} KiB"), ToString::to_string);
        while at < end {
            let length = BLOCK.min((end - at) as usize);
            // A page that is gone meanwhile, or of a device, holds no secret.
            if memory.read_exact_at(&mut block[..length], at).is_ok() {
                read += length as u64;
                needles.find(&block[..length], at, &place, &mut hits);
            }
            let overlap = if length == BLOCK { PIECE as u64 } else { 0 };
            at += length as u64 - overlap;
        }
    }
    assert!(read > 0, "nothing of process {process} could be read");
    block.fill(0);
    hits.dedup();
    hits
}

/// Searches all files below a folder.
#[must_use]
pub fn files(folder: &Path, needles: &Needles) -> Vec<Hit> {
    let mut hits = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let kind = entry.file_type().expect("a kind of file");
        if kind.is_dir() {
            hits.extend(files(&entry.path(), needles));
        } else if kind.is_file() && !entry.file_name().to_string_lossy().ends_with(".so") {
            let content = fs::read(entry.path()).unwrap_or_default();
            needles.find(&content, 0, &entry.path().display().to_string(), &mut hits);
        }
    }
    hits
}

/// Hits by secret and place, for people.
#[must_use]
pub fn text(hits: &[Hit]) -> String {
    let mut by: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
    for hit in hits {
        by.entry((&hit.name, &hit.place)).or_default().push(hit.at);
    }
    by.iter()
        .map(|((name, place), at)| format!("{name}: {} in {place}, first at {:#x}", at.len(), at[0]))
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    use super::Needles;

    #[test]
    fn a_piece_is_found_where_it_stands() {
        let mut needles = Needles::default();
        let secret: Vec<u8> = (10..50).collect();
        needles.add("s", &secret);
        let mut content = vec![0; 100];
        content[40..80].copy_from_slice(&secret);
        let mut hits = Vec::new();
        needles.find(&content, 1000, "here", &mut hits);
        let at: Vec<u64> = hits.iter().map(|hit| hit.at).collect();
        assert_eq!(at, [1040, 1054, 1068]);
        // The allocator has overwritten the beginning.
        content[40..56].fill(0);
        hits.clear();
        needles.find(&content, 0, "here", &mut hits);
        assert_eq!(hits.len(), 1);
    }
}
