//! The journal's reading side: opens every frame, follows the chain, and tells a torn end (never acknowledged, dropped) from
//! damage (named, with the revisions and, where the next frame knows them, the groups that are affected). It changes no file.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::Disk;
use crate::journal::frame::{self, Frame, FrameHeader, HEADER, Kind, Link, MAGIC, Touched};
use crate::journal::segment::{self, HEADERS, OtherCopy, SegmentHeader};
use crate::journal::{Closed, Resume};
use crate::keys::StoreKeys;
use crate::report::Notice;
use crate::sealing::FileKey;

/// Batches that cannot be read: those after `after` and before `until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) after: u64,
    /// First readable revision after the gap; `None`: the journal ends in it.
    pub(crate) until: Option<u64>,
    /// The groups that lost something; `None`: cannot be told.
    pub(crate) groups: Option<Vec<Arc<str>>>,
}

/// Everything that the journal says.
pub(crate) struct Scan {
    /// Frames with something after the revision that the caller has already, in order.
    pub(crate) frames: Vec<Frame>,
    /// Operations of frames that were passed over.
    pub(crate) operations: Vec<([u8; 16], u64)>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) notices: Vec<Notice>,
    /// Something is damaged, even if no batch was in it: the journal must be begun anew.
    pub(crate) damaged: bool,
    /// The first revision that the journal has (or would have next, if it is empty); `None`: no journal.
    pub(crate) first: Option<u64>,
    /// There are segments, but none of them opens with these keys.
    pub(crate) foreign: bool,
    /// Some segment opens with these keys.
    pub(crate) authentic: bool,
    pub(crate) resume: Resume,
    /// Bytes of a torn frame, to be overwritten with zeros: file, offset, length.
    pub(crate) torn: Option<(PathBuf, u64, usize)>,
    /// The segment in use lacks a copy of its header, which was torn.
    pub(crate) half_header: Option<(PathBuf, SegmentHeader)>,
    /// Files without use: broken spares and leftovers.
    pub(crate) litter: Vec<PathBuf>,
    /// Number of the first segment of zeros.
    pub(crate) first_spare: Option<u64>,
}

struct File {
    path: PathBuf,
    bytes: Vec<u8>,
    header: Option<SegmentHeader>,
    /// One copy of the header was never written.
    half_header: bool,
}

struct Walk<'a> {
    scan: Scan,
    keys: &'a StoreKeys,
    keep_after: u64,
    segment_bytes: u64,
    /// Where the chain stands; `None` before the first segment.
    link: Option<Link>,
    touched: Touched,
    /// A gap that the next frame or header ends.
    open_gap: bool,
    /// A segment after all readable ones is gone.
    lost_end: bool,
}

/// Reads all segments in `dir`. Frames up to revision `keep_after` are checked but not kept.
pub(crate) fn scan(disk: &Disk, dir: &Path, keys: &StoreKeys, segment_bytes: u64, keep_after: u64) -> io::Result<Scan> {
    let resume = Resume {
        link: Link { tag: [0; 16], next: 1 },
        touched: Touched {
            first: 1,
            groups: Some(Vec::new()),
        },
        active: None,
        closed: Vec::new(),
        spares: Vec::new(),
        next_index: 0,
    };
    let scan = Scan {
        frames: Vec::new(),
        operations: Vec::new(),
        gaps: Vec::new(),
        notices: Vec::new(),
        damaged: false,
        first: None,
        foreign: false,
        authentic: false,
        resume,
        torn: None,
        half_header: None,
        litter: Vec::new(),
        first_spare: None,
    };
    let touched = Touched {
        first: 1,
        groups: Some(Vec::new()),
    };
    let mut walk = Walk {
        scan,
        keys,
        keep_after,
        segment_bytes,
        link: None,
        touched,
        open_gap: false,
        lost_end: false,
    };
    let used = walk.sort(disk, dir, segment_bytes)?;
    let last_good = used
        .iter()
        .rev()
        .find(|(_, file)| file.header.is_some())
        .map(|(index, _)| *index);
    walk.scan.foreign = last_good.is_none() && !used.is_empty();
    walk.scan.authentic = last_good.is_some();
    for (index, file) in used {
        walk.segment(index, file, last_good)?;
    }
    Ok(walk.finish())
}

impl Walk<'_> {
    /// Reads all files; puts aside spares and litter; orders the rest by the number in their header.
    fn sort(&mut self, disk: &Disk, dir: &Path, segment_bytes: u64) -> io::Result<BTreeMap<u64, File>> {
        let mut used: BTreeMap<u64, File> = BTreeMap::new();
        let mut spares = Vec::new();
        for path in disk.list(dir)? {
            let Some(named) = segment::index_of(&path) else {
                self.scan.litter.push(path);
                continue;
            };
            let next = named.saturating_add(1);
            self.scan.resume.next_index = self.scan.resume.next_index.max(next);
            let bytes = disk.read(&path)?;
            if used_bytes(&bytes) == 0 {
                spares.push((named, path, bytes.len() as u64));
                continue;
            }
            let mut other = OtherCopy::Same;
            let (index, header) = match SegmentHeader::read(&bytes, self.keys) {
                Ok((header, second)) => {
                    other = second;
                    let twice = used.contains_key(&header.index);
                    if second == OtherCopy::Damaged || header.index != named || twice {
                        self.damage(named, 0);
                    }
                    (header.index, Some(header))
                }
                Err(_) => (named, None),
            };
            self.scan.resume.next_index = self.scan.resume.next_index.max(index.saturating_add(1));
            if used.get(&index).is_none_or(|there| there.header.is_none()) {
                let half_header = other == OtherCopy::Unwritten;
                used.insert(
                    index,
                    File {
                        path,
                        bytes,
                        header,
                        half_header,
                    },
                );
            }
        }
        let last_used = used.last_key_value().map(|(index, _)| *index);
        self.spares(spares, last_used, segment_bytes);
        Ok(used)
    }

    /// Sorts out the files of zeros. Numbers have no holes: where one is missing between the last segment in use and the first
    /// spare, or is an empty file, a segment in use was lost.
    fn spares(&mut self, files: Vec<(u64, PathBuf, u64)>, last_used: Option<u64>, segment_bytes: u64) {
        let mut wanted = last_used.map(|last| last + 1);
        let mut usable = true;
        for (index, path, bytes) in files {
            if last_used.is_some_and(|last| index < last) {
                // What was in it is gone; the chain says what that was.
                self.damage(index, 0);
                self.scan.litter.push(path);
                continue;
            }
            self.scan.first_spare.get_or_insert(index);
            if usable && (bytes == 0 || wanted.is_some_and(|wanted| wanted != index)) {
                self.damage(index, 0);
                self.lost_end = true;
            }
            wanted = Some(index + 1);
            // Spares after one of another size go too, so that the numbers stay without holes.
            usable &= bytes == segment_bytes;
            if usable {
                self.scan.resume.spares.push((index, path));
            } else {
                if self.scan.resume.next_index > index {
                    self.scan.resume.next_index = self.scan.resume.next_index.min(index);
                }
                self.scan.litter.push(path);
            }
        }
    }

    fn damage(&mut self, segment: u64, offset: u64) {
        self.scan.damaged = true;
        let notice = Notice::JournalDamaged { segment, offset };
        if !self.scan.notices.contains(&notice) {
            self.scan.notices.push(notice);
        }
    }

    fn segment(&mut self, index: u64, mut file: File, last_good: Option<u64>) -> io::Result<()> {
        let is_last = last_good.is_none_or(|last| index >= last);
        let Some(header) = file.header.take() else {
            if is_last && file.bytes.len() as u64 == self.segment_bytes && SegmentHeader::is_torn(&file.bytes) {
                self.never_used(index, file);
            } else {
                self.damage(index, 0);
                self.open_gap = true;
            }
            return Ok(());
        };
        let there = file.bytes.len() as u64;
        if there != header.size {
            self.damage(index, there);
            file.bytes.resize(usize::try_from(header.size).unwrap_or(0), 0);
        }
        match self.link {
            None => {
                self.scan.first = Some(header.link.next);
                // Segments before this one were deleted; what the newest of them touched is of no interest any more.
                self.touched = Touched {
                    first: header.link.next,
                    groups: Some(Vec::new()),
                };
                self.link = Some(header.link);
            }
            Some(link) => self.follow(index, link, header.link),
        }
        let key = header.key(self.keys)?;
        let end = self.frames(index, &file, &key, is_last);
        self.open_gap |= there < header.size;
        if file.half_header {
            if is_last && end == HEADERS as u64 && !self.scan.damaged {
                self.scan.torn = None;
                self.never_used(index, file);
                return Ok(());
            }
            if is_last {
                self.scan.notices.push(Notice::TornTail { bytes: HEADERS as u64 });
                self.scan.half_header = Some((file.path.clone(), header.clone()));
            } else {
                self.damage(index, 0);
            }
        }
        if let Some((path, _, offset)) = self.scan.resume.active.take() {
            self.scan.resume.closed.push(Closed {
                file: path,
                last: header.link.next - 1,
                bytes: offset,
            });
        }
        self.scan.resume.active = Some((file.path, header, end));
        Ok(())
    }

    /// A segment whose first write was torn: nothing in it was acknowledged.
    fn never_used(&mut self, index: u64, file: File) {
        let bytes = file.bytes.len() as u64;
        self.scan.notices.push(Notice::TornTail { bytes });
        self.scan.litter.push(file.path);
        // The spares after it go too, so that the numbers stay without holes.
        let spares = self.scan.resume.spares.drain(..).map(|(_, path)| path);
        self.scan.litter.extend(spares);
        self.scan.resume.next_index = self.scan.resume.next_index.min(index);
    }

    /// The header of the next segment says where the chain stood when it was taken into use.
    fn follow(&mut self, index: u64, link: Link, header: Link) {
        if link != header {
            self.damage(index, 0);
        }
        if header.next > link.next {
            self.scan.gaps.push(Gap {
                after: link.next - 1,
                until: Some(header.next),
                groups: None,
            });
        }
        self.open_gap = false;
        self.link = Some(Link {
            next: link.next.max(header.next),
            tag: header.tag,
        });
    }

    /// Reads the frames of one segment and returns the offset after the last good one.
    fn frames(&mut self, index: u64, file: &File, key: &FileKey, is_last: bool) -> u64 {
        let bytes = &file.bytes;
        let used = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(HEADERS, |last| last + 1);
        let (mut at, mut end) = (HEADERS, HEADERS);
        while at < used {
            if let Ok(frame) = frame::open(&bytes[at..], key) {
                at += frame.header.frame_bytes();
                end = at;
                self.frame(index, at, frame);
                continue;
            }
            if let Some(next) = find_frame(bytes, at + 1, used, key) {
                self.damage(index, at as u64);
                self.open_gap = true;
                at = next;
                continue;
            }
            if is_last && frame::is_torn(&bytes[at..], at) {
                self.scan.notices.push(Notice::TornTail {
                    bytes: (used - at) as u64,
                });
                self.scan.torn = Some((file.path.clone(), at as u64, used - at));
            } else {
                self.damage(index, at as u64);
                self.bad_end(&bytes[at..], used - at);
            }
            break;
        }
        end as u64
    }

    /// The segment ends in something that is neither a frame nor torn.
    fn bad_end(&mut self, bytes: &[u8], used: usize) {
        let after = self.link.map_or(0, |link| link.next - 1);
        self.open_gap = true;
        // If the header is whole, it says how many batches the frame had, and that nothing came after it.
        if let Some(header) = FrameHeader::read_correcting(bytes)
            && header.frame_bytes() >= used
            && header.first == after + 1
        {
            self.open_gap = false;
            self.scan.gaps.push(Gap {
                after,
                until: Some(header.next()),
                groups: None,
            });
            self.link = self.link.map(|link| Link {
                next: header.next(),
                ..link
            });
        }
    }

    fn frame(&mut self, index: u64, at: usize, frame: Frame) {
        let link = self.link.unwrap_or(Link {
            tag: frame.header.previous,
            next: frame.header.first,
        });
        if frame.header.first < link.next {
            // A copy of an earlier frame.
            self.damage(index, at as u64);
            return;
        }
        if frame.header.first > link.next {
            self.damage(index, at as u64);
            self.scan.gaps.push(Gap {
                after: link.next - 1,
                until: Some(frame.header.first),
                groups: None,
            });
        } else if frame.header.previous != link.tag {
            self.damage(index, at as u64);
        }
        if let Some(gap) = self.scan.gaps.last_mut()
            && gap.until == Some(frame.header.first)
            && frame.previous.first <= gap.after + 1
        {
            gap.groups = frame.previous.groups.clone();
        }
        self.open_gap = false;
        self.link = Some(Link {
            tag: frame.tag,
            next: frame.header.next(),
        });
        let names: Vec<_> = frame.heads.iter().map(|(group, _)| Arc::clone(group)).collect();
        self.touched
            .extend(frame.header.first, frame.header.count as usize, &names);
        let last = frame.header.next() - 1;
        if last > self.keep_after || (frame.header.count == 0 && frame.header.first > self.keep_after) {
            self.scan.frames.push(frame);
        } else if frame.kind == Kind::Batches {
            let operations = frame.commits.iter().map(|commit| (commit.operation, commit.revision.0));
            self.scan.operations.extend(operations);
        }
    }

    fn finish(mut self) -> Scan {
        if self.open_gap || self.lost_end {
            let after = self.link.map_or(0, |link| link.next - 1);
            self.scan.gaps.push(Gap {
                after,
                until: None,
                groups: None,
            });
        }
        if let Some(link) = self.link {
            self.scan.resume.link = link;
            self.scan.resume.touched = self.touched;
        }
        self.scan
    }
}

/// Bytes up to the last one that is not zero. Most of the newest segments is zeros: compare in blocks.
fn used_bytes(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    let is_used = |block: &[u8]| *block != ZEROS[..block.len()];
    let Some(last) = bytes.chunks(ZEROS.len()).rposition(is_used) else {
        return 0;
    };
    let block = &bytes[last * ZEROS.len()..];
    let block = &block[..block.len().min(ZEROS.len())];
    last * ZEROS.len() + block.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)
}

/// The offset of the next frame that opens, from `from` on.
fn find_frame(bytes: &[u8], from: usize, used: usize, key: &FileKey) -> Option<usize> {
    let mut at = from;
    while at + HEADER <= used {
        let found = bytes[at..used]
            .windows(MAGIC.len())
            .position(|window| window == MAGIC)?;
        at += found;
        if frame::open(&bytes[at..], key).is_ok() {
            return Some(at);
        }
        at += 1;
    }
    None
}
