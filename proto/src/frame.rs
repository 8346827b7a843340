//! Frames: a 16-byte header, the secret section, the body. `docs/protocol.md` is the description for other languages.
//!
//! ```text
//! 0  magic "hP"   2  kind   3  flags   4  section length   8  body length   12  sequence      (little endian)
//! ```
//! Data larger than [`PART`] is sent as several frames: all but the last have [`MORE`] set, no body, and carry a part of
//! the section. The ranges in the body count from the first part's first byte.

use crate::wipe::{WipingVec, wipe};
use crate::wire::Section;
use prost::Message;

/// Length of a header in bytes.
pub const HEADER: usize = 16;
/// The largest body in bytes.
pub const MAX_BODY: usize = 1 << 20;
/// The largest part of a secret section in one frame, in bytes.
pub const PART: usize = 1 << 20;
/// Flag: further parts of the section follow.
pub const MORE: u8 = 1;

const MAGIC: [u8; 2] = *b"hP";

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A [`crate::wire::Request`].
    Request,
    /// A [`crate::wire::Reply`].
    Reply,
    /// The daemon is working on the request; no section, no body.
    Heartbeat,
}

/// Why bytes are not a frame. The connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first two bytes are not the magic number.
    #[error("not a frame of this protocol")]
    Magic,
    /// A kind that this version does not have.
    #[error("unknown kind of frame")]
    Kind,
    /// A length over the limit.
    #[error("frame is longer than the limit")]
    TooLong,
    /// A body in a frame that must have none.
    #[error("a frame with more parts to come has a body")]
    Body,
    /// The body is not the message that the kind says.
    #[error("body does not decode")]
    Message,
    /// A range in the body lies outside the section.
    #[error("range outside the secret section")]
    Range,
}

/// A header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: FrameKind,
    /// Whether further parts of the section follow.
    pub more: bool,
    /// Length of the section's part in bytes, at most [`PART`].
    pub section: usize,
    /// Length of the body in bytes, at most [`MAX_BODY`].
    pub body: usize,
    /// Chosen by the client per request, repeated in the reply and its heartbeats.
    pub sequence: u32,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// Everything that is not a frame of this version within the limits.
    pub fn parse(bytes: &[u8; HEADER]) -> Result<Self, FrameError> {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if bytes[..2] != MAGIC {
            return Err(FrameError::Magic);
        }
        let kind = match bytes[2] {
            1 => FrameKind::Request,
            2 => FrameKind::Reply,
            3 => FrameKind::Heartbeat,
            _ => return Err(FrameError::Kind),
        };
        if bytes[3] & !MORE != 0 {
            return Err(FrameError::Kind);
        }
        let more = bytes[3] & MORE != 0;
        let (section, body) = (number(4) as usize, number(8) as usize);
        if section > PART || body > MAX_BODY {
            return Err(FrameError::TooLong);
        }
        if body != 0 && (more || kind == FrameKind::Heartbeat) {
            return Err(FrameError::Body);
        }
        Ok(Self {
            kind,
            more,
            section,
            body,
            sequence: number(12),
        })
    }

    /// Writes a header.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..2].copy_from_slice(&MAGIC);
        out[2] = match self.kind {
            FrameKind::Request => 1,
            FrameKind::Reply => 2,
            FrameKind::Heartbeat => 3,
        };
        out[3] = u8::from(self.more);
        out[4..8].copy_from_slice(&(self.section as u32).to_le_bytes());
        out[8..12].copy_from_slice(&(self.body as u32).to_le_bytes());
        out[12..].copy_from_slice(&self.sequence.to_le_bytes());
        out
    }
}

/// A frame being built in one buffer that is used again and again, and wiped each time.
pub struct FrameWriter {
    buffer: WipingVec,
    /// How much of the section's end lies elsewhere ([`Self::lend`]).
    lent: usize,
}

impl Default for FrameWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameWriter {
    /// An empty frame.
    #[must_use]
    pub fn new() -> Self {
        let mut buffer = WipingVec::with_capacity(1024);
        buffer.resize(HEADER, 0);
        Self { buffer, lent: 0 }
    }

    /// Wipes the last frame and starts the next one.
    pub fn clear(&mut self) {
        self.buffer.wipe();
        self.buffer.resize(HEADER, 0);
        self.lent = 0;
    }

    /// Announces bytes at the end of the secret section that are not copied: [`Self::finish_around`] is given them. Nothing can
    /// be hidden after them.
    pub fn lend(&mut self, length: usize) -> Section {
        let offset = (self.buffer.len() - HEADER) as u32;
        self.lent = length;
        Section {
            offset,
            length: length as u32,
        }
    }

    /// Puts bytes into the secret section.
    pub fn hide(&mut self, bytes: &[u8]) -> Section {
        debug_assert_eq!(self.lent, 0, "lent bytes end the section");
        let offset = (self.buffer.len() - HEADER) as u32;
        self.buffer.reserve_wiping(bytes.len());
        self.buffer.extend_from_slice(bytes);
        Section {
            offset,
            length: bytes.len() as u32,
        }
    }

    /// Lets `fill` append at most `room` bytes to the secret section, without a copy.
    ///
    /// # Errors
    /// What `fill` answers; the section is then as it was.
    pub fn hide_with<E>(
        &mut self,
        room: usize,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Section, E> {
        self.buffer.reserve_wiping(room);
        let start = self.buffer.len();
        let filled = fill(&mut self.buffer);
        if filled.is_err() {
            wipe(&mut self.buffer[start..]);
            self.buffer.truncate(start);
        }
        filled?;
        let length = (self.buffer.len() - start) as u32;
        Ok(Section {
            offset: (start - HEADER) as u32,
            length,
        })
    }

    /// Ends the frame with its body and gives the bytes to send. What was lent is not in them.
    pub fn finish(&mut self, kind: FrameKind, sequence: u32, message: &impl Message) -> &[u8] {
        debug_assert_eq!(self.lent, 0, "lent bytes are for finish_around");
        let [whole, ..] = self.finish_around(kind, sequence, message, &[]);
        whole
    }

    /// As [`Self::finish`], in three pieces to send one after the other: the second is what was lent, where it lies, or all is
    /// in the first.
    pub fn finish_around<'s>(
        &'s mut self,
        kind: FrameKind,
        sequence: u32,
        message: &impl Message,
        lent: &'s [u8],
    ) -> [&'s [u8]; 3] {
        debug_assert_eq!(self.lent, lent.len(), "what was announced");
        let copied = self.buffer.len() - HEADER + lent.len() > PART;
        if copied {
            self.buffer.reserve_wiping(lent.len());
            self.buffer.extend_from_slice(lent);
        }
        let lent = if copied { &[] } else { lent };
        let here = self.buffer.len();
        let section = here - HEADER + lent.len();
        let body = message.encoded_len();
        self.buffer.reserve_wiping(body);
        self.buffer.resize(here + body, 0);
        let mut tail = &mut self.buffer[here..];
        let room = message.encode(&mut tail).is_ok();
        debug_assert!(room, "encoded_len told the room that is needed");
        if copied || section > PART {
            self.split(kind, sequence, section);
            return [&self.buffer, &[], &[]];
        }
        let header = Header {
            kind,
            more: false,
            section,
            body,
            sequence,
        };
        self.buffer[..HEADER].copy_from_slice(&header.to_bytes());
        if lent.is_empty() {
            return [&self.buffer, &[], &[]];
        }
        let (before, after) = self.buffer.split_at(here);
        [before, lent, after]
    }

    /// Lays a large section out as several frames.
    fn split(&mut self, kind: FrameKind, sequence: u32, section: usize) {
        let parts = section.div_ceil(PART);
        let mut out = WipingVec::with_capacity(self.buffer.len() + parts * HEADER);
        let (data, body) = self.buffer[HEADER..].split_at(section);
        for (index, part) in data.chunks(PART).enumerate() {
            let last = index + 1 == parts;
            let body = if last { body.len() } else { 0 };
            let header = Header {
                kind,
                more: !last,
                section: part.len(),
                body,
                sequence,
            };
            out.extend_from_slice(&header.to_bytes());
            out.extend_from_slice(part);
        }
        out.extend_from_slice(body);
        self.buffer = out;
    }
}

/// The secret section of a frame that was read, and its body.
pub struct Sections<'a>(pub &'a [u8]);

impl<'a> Sections<'a> {
    /// The bytes of a range.
    ///
    /// # Errors
    /// [`FrameError::Range`] when it lies outside.
    pub fn get(&self, range: &Section) -> Result<&'a [u8], FrameError> {
        let start = range.offset as usize;
        let end = start.checked_add(range.length as usize).ok_or(FrameError::Range)?;
        self.0.get(start..end).ok_or(FrameError::Range)
    }

    /// The bytes of a range that may be absent.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_opt(&self, range: Option<&Section>) -> Result<Option<&'a [u8]>, FrameError> {
        range.map(|range| self.get(range)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Reply, reply};

    #[test]
    fn lent_bytes_make_the_same_frame_as_hidden_ones() {
        for length in [1, 4_096, PART - 6, PART - 5, 2 * PART + 7] {
            let data: Vec<u8> = (0..length).map(|index| index as u8).collect();
            let reply = |output| Reply {
                rv: 7,
                result: Some(reply::Result::Output(output)),
                ..Reply::default()
            };
            let mut writer = FrameWriter::new();
            writer.hide(b"ticket");
            let output = writer.hide(&data);
            let hidden = writer.finish(FrameKind::Reply, 9, &reply(output)).to_vec();
            let mut writer = FrameWriter::new();
            writer.hide(b"ticket");
            let output = writer.lend(data.len());
            let pieces = writer.finish_around(FrameKind::Reply, 9, &reply(output), &data);
            assert!(pieces.concat() == hidden, "{length}");
            assert_eq!(pieces[1].is_empty(), length + 6 > PART);
        }
    }

    #[test]
    fn a_frame_reads_back() {
        let mut writer = FrameWriter::new();
        let output = writer.hide(b"secret");
        let reply = Reply {
            rv: 7,
            revision: 9,
            crowded: false,
            result: Some(reply::Result::Output(output)),
        };
        let bytes = writer.finish(FrameKind::Reply, 3, &reply).to_vec();
        let header = Header::parse(bytes[..HEADER].try_into().unwrap()).unwrap();
        assert_eq!(
            (header.kind, header.section, header.sequence, header.more),
            (FrameKind::Reply, 6, 3, false)
        );
        let (section, body) = bytes[HEADER..].split_at(header.section);
        let read = Reply::decode(body).unwrap();
        let Some(reply::Result::Output(range)) = read.result else {
            panic!("no output")
        };
        assert_eq!(Sections(section).get(&range).unwrap(), b"secret");
        assert_eq!(
            Sections(section).get(&Section { offset: 1, length: 6 }),
            Err(FrameError::Range)
        );
        assert_eq!(
            Sections(section).get(&Section {
                offset: u32::MAX,
                length: u32::MAX
            }),
            Err(FrameError::Range)
        );
    }

    #[test]
    fn large_data_goes_as_several_frames() {
        let mut writer = FrameWriter::new();
        writer.hide(&vec![7; 2 * PART + 5]);
        let bytes = writer
            .finish(FrameKind::Request, 1, &crate::wire::Request::default())
            .to_vec();
        let mut at = 0;
        let mut parts = Vec::new();
        while at < bytes.len() {
            let header = Header::parse(bytes[at..at + HEADER].try_into().unwrap()).unwrap();
            parts.push((header.more, header.section));
            at += HEADER + header.section + header.body;
        }
        assert_eq!(parts, [(true, PART), (true, PART), (false, 5)]);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let good = Header {
            kind: FrameKind::Request,
            more: false,
            section: 1,
            body: 1,
            sequence: 0,
        }
        .to_bytes();
        let with = |at: usize, byte: u8| {
            let mut bytes = good;
            bytes[at] = byte;
            Header::parse(&bytes)
        };
        assert_eq!(with(0, 0), Err(FrameError::Magic));
        assert_eq!(with(2, 9), Err(FrameError::Kind));
        assert_eq!(with(3, 2), Err(FrameError::Kind));
        assert_eq!(with(3, 1), Err(FrameError::Body));
        assert_eq!(with(7, 255), Err(FrameError::TooLong));
        assert_eq!(with(11, 255), Err(FrameError::TooLong));
    }

    /// INV-1: no message of the data plane has room for a secret; every `bytes` field is on this list.
    #[test]
    fn no_message_has_a_secret_field() {
        use prost_types::FileDescriptorSet;
        const ALLOWED: &[&str] = &[
            "inline",
            "unique_id",
            "blob",
            "iv",
            "counter_block",
            "nonce",
            "salt",
            "info",
            "ciphertext",
            "string_data",
            "aad",
            "label",
            "shared_data",
            "public_point",
            "context",
            "application",
            "node",
            "key_set",
            "operation",
            "attempt",
            "unique_ids",
            "hits",
            "public_id",
            "private_id",
            "signature",
        ];
        let set = FileDescriptorSet::decode(crate::wire::DESCRIPTORS).unwrap();
        let fields = set
            .file
            .iter()
            .flat_map(|file| &file.message_type)
            .flat_map(|message| &message.field);
        let mut seen = 0;
        for field in fields {
            if field.r#type() == prost_types::field_descriptor_proto::Type::Bytes {
                assert!(ALLOWED.contains(&field.name()), "{} may hold a secret", field.name());
                seen += 1;
            }
        }
        assert!(seen > 20, "the walk found only {seen} fields");
    }
}
