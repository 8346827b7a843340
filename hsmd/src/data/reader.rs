//! Reads frames from a connection within limits. What is no frame is an error, and the connection ends; no byte of a
//! client is believed here.

use super::clients::{Client, Inflight};
use hsmd_proto::frame::{FrameError, FrameKind, HEADER, Header};
use hsmd_proto::wipe::{WipingVec, wipe};
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a buffer has between requests; larger ones are given back.
const SMALL: usize = 128 << 10;

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The client closed the connection between two frames.
    #[error("closed")]
    Closed,
    /// It closed in the middle of a frame.
    #[error("truncated frame")]
    Truncated,
    /// A frame did not come whole in time.
    #[error("frame not complete in time")]
    Slow,
    /// What came is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame for a daemon is a request.
    #[error("not a request")]
    NotARequest,
    /// The parts of one request have different numbers.
    #[error("parts of different requests are mixed")]
    Mixed,
    /// More data than any answer could allow.
    #[error("endless data")]
    Endless,
    /// The system's word.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// The secret section of a request.
pub(super) enum SectionData {
    /// It lies in the reader's buffer.
    Buffered(Range<usize>),
    /// It came in several parts; they count against the client until the request ends.
    Collected { data: WipingVec, _share: Inflight },
    /// It was larger than the client may send, and is gone.
    TooLarge,
}

/// A request that was read whole.
pub(super) struct Frame {
    pub(super) sequence: u32,
    pub(super) section: SectionData,
    pub(super) body: Range<usize>,
}

/// Reads frames into one buffer that is used again and again, and wiped each time. The stream's own read timeout only
/// says how often the time is looked at.
pub(super) struct FrameReader {
    buffer: WipingVec,
    /// What was read and not used yet.
    filled: Range<usize>,
    max_data: usize,
    /// How long a frame may take from its first byte to its last.
    patience: Duration,
    /// When the frame that is being read was found to be incomplete.
    begun: Option<Instant>,
}

/// What waiting for a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// At least one byte of it is there.
    Yes,
    /// The stream's read timeout passed.
    NotYet,
}

impl FrameReader {
    pub(super) fn new(max_data: usize, patience: Duration) -> Self {
        Self {
            buffer: WipingVec::from(vec![0; 4 << 10]),
            filled: 0..0,
            max_data,
            patience,
            begun: None,
        }
    }

    /// Waits until at least one byte of the next frame is there.
    ///
    /// # Errors
    /// [`ReadError::Closed`] when the client is gone, and what the system says.
    pub(super) fn ready(&mut self, stream: &mut impl Read) -> Result<Ready, ReadError> {
        if self.filled.is_empty() {
            self.filled = 0..0;
            match read(stream, &mut self.buffer)? {
                None => return Ok(Ready::NotYet),
                Some(0) => return Err(ReadError::Closed),
                Some(count) => self.filled.end = count,
            }
        }
        Ok(Ready::Yes)
    }

    /// Reads one frame, with all its parts.
    ///
    /// # Errors
    /// Everything that is not a request within the limits; the connection cannot go on then.
    pub(super) fn frame(&mut self, stream: &mut impl Read, client: &Arc<Client>) -> Result<Frame, ReadError> {
        self.begun = None;
        let mut header = self.header(stream)?;
        let sequence = header.sequence;
        if !header.more {
            let (section, body) = self.content(stream, &header)?;
            return Ok(Frame {
                sequence,
                section: SectionData::Buffered(section),
                body,
            });
        }
        let mut collected = Collector::new(client, self.max_data);
        loop {
            let (section, body) = self.content(stream, &header)?;
            collected.add(&self.buffer[section])?;
            if !header.more {
                return Ok(Frame {
                    sequence,
                    section: collected.finish(),
                    body,
                });
            }
            self.wipe_used();
            header = self.header(stream)?;
            if header.sequence != sequence {
                return Err(ReadError::Mixed);
            }
        }
    }

    /// Bytes of the buffer, as a [`Frame`] names them.
    pub(super) fn bytes(&self, range: &Range<usize>) -> &[u8] {
        &self.buffer[range.clone()]
    }

    /// Wipes what has been used, once the request is answered.
    pub(super) fn wipe_used(&mut self) {
        wipe(&mut self.buffer[..self.filled.start]);
        if self.filled.is_empty() {
            self.filled = 0..0;
            if self.buffer.len() > SMALL {
                self.buffer = WipingVec::from(vec![0; SMALL]);
            }
        }
    }

    fn header(&mut self, stream: &mut impl Read) -> Result<Header, ReadError> {
        self.fill(stream, HEADER)?;
        let start = self.filled.start;
        let mut bytes = [0; HEADER];
        bytes.copy_from_slice(&self.buffer[start..start + HEADER]);
        let header = Header::parse(&bytes)?;
        if header.kind != FrameKind::Request {
            return Err(ReadError::NotARequest);
        }
        Ok(header)
    }

    /// Takes header and content out of what was read, and says where the content lies.
    fn content(&mut self, stream: &mut impl Read, header: &Header) -> Result<(Range<usize>, Range<usize>), ReadError> {
        self.fill(stream, HEADER + header.section + header.body)?;
        let section = self.filled.start + HEADER;
        let body = section + header.section;
        let end = body + header.body;
        self.filled.start = end;
        Ok((section..body, body..end))
    }

    /// Reads until `needed` bytes of the frame are there.
    fn fill(&mut self, stream: &mut impl Read, needed: usize) -> Result<(), ReadError> {
        if self.filled.len() >= needed {
            return Ok(());
        }
        if self.filled.start + needed > self.buffer.len() {
            self.make_room(needed);
        }
        let begun = *self.begun.get_or_insert_with(Instant::now);
        while self.filled.len() < needed {
            match read(stream, &mut self.buffer[self.filled.end..])? {
                Some(0) if self.filled.is_empty() => return Err(ReadError::Closed),
                Some(0) => return Err(ReadError::Truncated),
                Some(count) => self.filled.end += count,
                None => {}
            }
            if self.filled.len() < needed && begun.elapsed() > self.patience {
                return Err(ReadError::Slow);
            }
        }
        Ok(())
    }

    fn make_room(&mut self, needed: usize) {
        let length = self.filled.len();
        if needed > self.buffer.len() {
            let mut larger = WipingVec::from(vec![0; needed.next_power_of_two()]);
            larger[..length].copy_from_slice(&self.buffer[self.filled.clone()]);
            self.buffer = larger;
        } else {
            self.buffer.copy_within(self.filled.clone(), 0);
            wipe(&mut self.buffer[length..]);
        }
        self.filled = 0..length;
    }
}

/// Reads once; `None` when the stream's timeout passed.
fn read(stream: &mut impl Read, buffer: &mut [u8]) -> Result<Option<usize>, ReadError> {
    loop {
        match stream.read(buffer) {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Puts the parts of a large request together, as far as the client's share goes.
struct Collector {
    data: WipingVec,
    share: Inflight,
    seen: usize,
    max_data: usize,
    too_large: bool,
}

impl Collector {
    fn new(client: &Arc<Client>, max_data: usize) -> Self {
        Self {
            data: WipingVec::new(),
            share: Inflight::none(client),
            seen: 0,
            max_data,
            too_large: false,
        }
    }

    fn add(&mut self, part: &[u8]) -> Result<(), ReadError> {
        self.seen = self.seen.saturating_add(part.len());
        // A request that is too large is read to its end and answered; one without end is not worth it.
        if self.seen > self.max_data.saturating_mul(4) {
            return Err(ReadError::Endless);
        }
        // The section also carries the ticket and other small things.
        let allowed = self.seen <= self.max_data + SMALL;
        if self.too_large || !allowed || !self.share.grow(part.len()) {
            self.too_large = true;
            self.data = WipingVec::new();
            return Ok(());
        }
        self.data.reserve_wiping(part.len());
        self.data.extend_from_slice(part);
        Ok(())
    }

    fn finish(self) -> SectionData {
        if self.too_large {
            SectionData::TooLarge
        } else {
            SectionData::Collected {
                data: self.data,
                _share: self.share,
            }
        }
    }
}
