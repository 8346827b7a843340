//! One frame of the journal: the batches that became durable with one sync, sealed together. Since a frame is written only
//! after the one before it was synced, a readable frame proves that everything before it had been readable once.
//!
//! Layout: magic, length of the sealed body, first revision, number of batches, tag of the frame before, nonce, check over
//! these; sealed body with tag; end mark. The check and the marks tell a torn write (some sector never written, so all zero)
//! from damage.

use std::sync::Arc;

use crate::batch::Revision;
use crate::codec::{Malformed, Reader, put_count, put_text, put_value};
use crate::head::{Head, Sum};
use crate::path::Path;
use crate::primitive::sha256;
use crate::sealing::{FileKey, NONCE_BYTES, SealFailed, TAG_BYTES, random};
use crate::state::{Commit, Put, Staged};

pub(crate) const MAGIC: [u8; 4] = *b"HJF1";
const END: [u8; 4] = *b"END1";
const CHECKED: usize = 4 + 4 + 8 + 4 + TAG_BYTES + NONCE_BYTES;
pub(crate) const HEADER: usize = CHECKED + 8;
/// Bytes of a frame without batches, heads and previous groups.
pub(crate) const OVERHEAD: usize = HEADER + 1 + 8 + 2 + 4 + 4 + 32 + TAG_BYTES + END.len();
/// More groups than this are not listed: then a lost frame may have touched any.
const LISTED_GROUPS: usize = 64;
const UNLISTED: u16 = u16::MAX;

/// The groups that a frame touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    /// The frame's first revision.
    pub(crate) first: u64,
    /// `None`: too many to list.
    pub(crate) groups: Option<Vec<Arc<str>>>,
}

impl Touched {
    /// Goes on with the frame that begins at `first`. A frame without batches adds to what was touched before it, so that the
    /// groups of the newest batches are always in.
    pub(crate) fn extend(&mut self, first: u64, batches: usize, groups: &[Arc<str>]) {
        let mut all = if batches > 0 {
            Some(Vec::new())
        } else {
            self.groups.take()
        };
        if let Some(all) = &mut all {
            for group in groups {
                if !all.contains(group) {
                    all.push(Arc::clone(group));
                }
            }
        }
        if batches > 0 {
            self.first = first;
        }
        self.groups = all.filter(|all| all.len() <= LISTED_GROUPS);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.groups.iter().flatten().map(|group| 2 + group.len()).sum()
    }
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Batches,
    /// The closing mark of a clean end.
    Close,
}

/// Position in the chain of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Tag of the newest frame.
    pub(crate) tag: [u8; TAG_BYTES],
    /// First revision of the next one.
    pub(crate) next: u64,
}

/// The part of a frame that is in clear, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Bytes of the sealed body with its tag.
    pub(crate) body: usize,
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) previous: [u8; TAG_BYTES],
    nonce: [u8; NONCE_BYTES],
}

impl FrameHeader {
    /// Bytes of the whole frame.
    pub(crate) fn frame_bytes(&self) -> usize {
        HEADER + self.body + END.len()
    }

    /// First revision after the frame.
    pub(crate) fn next(&self) -> u64 {
        self.first.saturating_add(self.count.into())
    }

    /// Reads the header at the front of `bytes`.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let checked = Reader(bytes).bytes(CHECKED)?;
        if reader.array::<4>()? != MAGIC {
            return Err(Malformed);
        }
        let header = Self {
            body: usize::try_from(reader.u32()?).map_err(|_| Malformed)?,
            first: reader.u64()?,
            count: reader.u32()?,
            previous: reader.array()?,
            nonce: reader.array()?,
        };
        if reader.array::<8>()? != check(checked) || header.body < TAG_BYTES {
            return Err(Malformed);
        }
        Ok(header)
    }
}

impl FrameHeader {
    /// As [`FrameHeader::read`]; puts one flipped bit right, so that damage at the journal's end can be measured.
    pub(crate) fn read_correcting(bytes: &[u8]) -> Option<Self> {
        if let Ok(header) = Self::read(bytes) {
            return Some(header);
        }
        let mut copy: [u8; HEADER] = bytes.get(..HEADER)?.try_into().ok()?;
        (0..HEADER * 8).find_map(|bit| {
            copy[bit / 8] ^= 1 << (bit % 8);
            let header = Self::read(&copy).ok();
            copy[bit / 8] ^= 1 << (bit % 8);
            header
        })
    }
}

/// A frame, opened.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    pub(crate) tag: [u8; TAG_BYTES],
    pub(crate) kind: Kind,
    pub(crate) commits: Vec<Commit>,
    pub(crate) heads: Vec<(Arc<str>, Head)>,
    pub(crate) total: Sum,
    /// What the frame before touched.
    pub(crate) previous: Touched,
}

fn check(bytes: &[u8]) -> [u8; 8] {
    let mut check = [0; 8];
    check.copy_from_slice(&sha256(bytes)[..8]);
    // Never zero at the end: see the module's description of torn writes.
    check[7] |= 1;
    check
}

/// Appends the frame of `staged` to `out` and returns its tag.
pub(crate) fn append(
    out: &mut Vec<u8>,
    key: &FileKey,
    link: &Link,
    kind: Kind,
    previous: &Touched,
    staged: &Staged,
) -> Result<[u8; TAG_BYTES], SealFailed> {
    let start = out.len();
    out.resize(start + HEADER, 0);
    put_body(out, kind, previous, staged);
    seal(out, start, key, link, staged.commits.len())
}

/// Seals the body at the end of `out`, for whose header there is room from `start` on, and completes the frame.
pub(crate) fn seal(
    out: &mut Vec<u8>,
    start: usize,
    key: &FileKey,
    link: &Link,
    commits: usize,
) -> Result<[u8; TAG_BYTES], SealFailed> {
    let nonce: [u8; NONCE_BYTES] = random()?;
    let body = out.len() - start - HEADER + TAG_BYTES;
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(&MAGIC);
    put_count(&mut header, body);
    header.extend_from_slice(&link.next.to_le_bytes());
    put_count(&mut header, commits);
    header.extend_from_slice(&link.tag);
    header.extend_from_slice(&nonce);
    let tag = key.seal(nonce, &header, &mut out[start + HEADER..])?;
    let sum = check(&header);
    header.extend_from_slice(&sum);
    out[start..start + HEADER].copy_from_slice(&header);
    out.extend_from_slice(&tag);
    out.extend_from_slice(&END);
    Ok(tag)
}

/// The plain body of a frame.
pub(crate) fn put_body(out: &mut Vec<u8>, kind: Kind, previous: &Touched, staged: &Staged) {
    out.push(u8::from(kind == Kind::Close));
    out.extend_from_slice(&previous.first.to_le_bytes());
    match &previous.groups {
        Some(groups) => {
            out.extend_from_slice(&(groups.len() as u16).to_le_bytes());
            groups.iter().for_each(|group| put_text(out, group));
        }
        None => out.extend_from_slice(&UNLISTED.to_le_bytes()),
    }
    put_count(out, staged.commits.len());
    for commit in &staged.commits {
        out.extend_from_slice(&commit.operation);
        put_count(out, commit.writes.len());
        for put in &commit.writes {
            put_text(out, put.path.as_str());
            out.extend_from_slice(&put.version.to_le_bytes());
            out.push(u8::from(put.value.is_some()));
            if let Some(value) = &put.value {
                put_value(out, value);
            }
        }
    }
    put_count(out, staged.heads.len());
    for (group, head) in &staged.heads {
        put_text(out, group);
        head.put(out);
    }
    out.extend_from_slice(&staged.total.to_bytes());
}

/// Opens the frame at the front of `bytes`.
pub(crate) fn open(bytes: &[u8], key: &FileKey) -> Result<Frame, Malformed> {
    let header = FrameHeader::read(bytes)?;
    let mut reader = Reader(&bytes[HEADER..]);
    let mut sealed = reader.bytes(header.body)?.to_vec();
    if reader.array::<4>()? != END {
        return Err(Malformed);
    }
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&sealed[header.body - TAG_BYTES..]);
    let body = key.open(header.nonce, &bytes[..CHECKED], &mut sealed)?;
    let mut reader = Reader(body);
    let kind = if reader.u8()? == 0 { Kind::Batches } else { Kind::Close };
    let previous = take_touched(&mut reader)?;
    let mut revision = header.first;
    let mut commits = Vec::new();
    if reader.u32()? != header.count {
        return Err(Malformed);
    }
    for _ in 0..header.count {
        commits.push(take_commit(&mut reader, Revision(revision))?);
        revision = revision.checked_add(1).ok_or(Malformed)?;
    }
    let mut heads = Vec::new();
    for _ in 0..reader.u32()? {
        heads.push((Arc::from(reader.text()?), Head::take(&mut reader)?));
    }
    let total = Sum::from_bytes(reader.array()?);
    reader.end()?;
    Ok(Frame {
        header,
        tag,
        kind,
        commits,
        heads,
        total,
        previous,
    })
}

fn take_touched(reader: &mut Reader<'_>) -> Result<Touched, Malformed> {
    let first = reader.u64()?;
    let count = reader.u16()?;
    if count == UNLISTED {
        return Ok(Touched { first, groups: None });
    }
    let groups = (0..count)
        .map(|_| reader.text().map(Arc::from))
        .collect::<Result<_, _>>()?;
    Ok(Touched {
        first,
        groups: Some(groups),
    })
}

fn take_commit(reader: &mut Reader<'_>, revision: Revision) -> Result<Commit, Malformed> {
    let operation = reader.array()?;
    let mut writes = Vec::new();
    for _ in 0..reader.u32()? {
        let path = Path::new(reader.text()?).map_err(|_| Malformed)?;
        let version = reader.u64()?;
        let value = if reader.u8()? == 1 {
            Some(Arc::from(reader.value()?))
        } else {
            None
        };
        writes.push(Put { path, version, value });
    }
    Ok(Commit {
        operation,
        revision,
        writes,
    })
}

/// Whether the frame at the front of `bytes`, which does not open, was torn: some sector of it was never written, or its end was
/// not. `at` is its offset in the file, since sectors are counted from there. One flipped bit looks like neither.
pub(crate) fn is_torn(bytes: &[u8], at: usize) -> bool {
    let (length, mark) = match FrameHeader::read(bytes) {
        Ok(header) => (header.frame_bytes(), END.len()),
        Err(Malformed) => (HEADER, HEADER - CHECKED),
    };
    let unwritten = |mark: &[u8]| mark.iter().all(|byte| *byte == 0);
    has_zero_sector(bytes, at, length) || bytes.get(length - mark..length).is_none_or(unwritten)
}

fn has_zero_sector(bytes: &[u8], at: usize, length: usize) -> bool {
    const SECTOR: usize = 512;
    let end = at + length.min(bytes.len());
    let mut from = at;
    while from < end {
        let to = ((from / SECTOR + 1) * SECTOR).min(end);
        if bytes[from - at..to - at].iter().all(|byte| *byte == 0) {
            return true;
        }
        from = to;
    }
    length > bytes.len()
}
