//! Reads frames from a connection within limits. What is no frame is an error, and the connection ends; no byte of a
//! client is believed here.

use super::clients::{Client, Inflight};
use hsmd_proto::frame::{FrameError, FrameKind, HEADER, Header};
use hsmd_proto::wipe::{WipingVec, wipe};
use std::ops::Range;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};

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
    /// It came in several parts.
    Collected(WipingVec, Inflight),
    /// It was larger than the client may send, and is gone.
    TooLarge,
}

/// A request that was read whole.
pub(super) struct Frame {
    pub(super) sequence: u32,
    pub(super) section: SectionData,
    pub(super) body: Range<usize>,
}

/// Reads frames into one buffer that is used again and again, and wiped each time.
pub(super) struct FrameReader<R> {
    stream: R,
    buffer: WipingVec,
    /// What was read and not used yet.
    filled: Range<usize>,
    max_data: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(stream: R, max_data: usize) -> Self {
        Self {
            stream,
            buffer: WipingVec::from(vec![0; 4 << 10]),
            filled: 0..0,
            max_data,
        }
    }

    /// Waits until at least one byte of the next frame is there. May be dropped at any time without loss.
    ///
    /// # Errors
    /// [`ReadError::Closed`] when the client is gone, and what the system says.
    pub(super) async fn ready(&mut self) -> Result<(), ReadError> {
        if self.filled.is_empty() {
            self.filled = 0..0;
            let count = self.stream.read(&mut self.buffer).await?;
            if count == 0 {
                return Err(ReadError::Closed);
            }
            self.filled.end = count;
        }
        Ok(())
    }

    /// Whether nothing of a next frame was read yet.
    pub(super) fn is_idle(&self) -> bool {
        self.filled.is_empty()
    }

    /// Reads one frame, with all its parts.
    ///
    /// # Errors
    /// Everything that is not a request within the limits; the connection cannot go on then.
    pub(super) async fn frame(&mut self, client: &Arc<Client>) -> Result<Frame, ReadError> {
        let header = self.header().await?;
        let sequence = header.sequence;
        if !header.more {
            let (section, body) = self.content(&header).await?;
            return Ok(Frame {
                sequence,
                section: SectionData::Buffered(section),
                body,
            });
        }
        let mut collected = Collector::new(client, self.max_data);
        let mut header = header;
        loop {
            let (section, body) = self.content(&header).await?;
            collected.add(&self.buffer[section])?;
            if !header.more {
                return Ok(Frame {
                    sequence,
                    section: collected.finish(),
                    body,
                });
            }
            self.wipe_used();
            header = self.header().await?;
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

    async fn header(&mut self) -> Result<Header, ReadError> {
        self.fill(HEADER).await?;
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
    async fn content(&mut self, header: &Header) -> Result<(Range<usize>, Range<usize>), ReadError> {
        self.fill(HEADER + header.section + header.body).await?;
        let section = self.filled.start + HEADER;
        let body = section + header.section;
        let end = body + header.body;
        self.filled.start = end;
        Ok((section..body, body..end))
    }

    /// Reads until `needed` bytes of the frame are there.
    async fn fill(&mut self, needed: usize) -> Result<(), ReadError> {
        if self.filled.start + needed > self.buffer.len() {
            self.make_room(needed);
        }
        while self.filled.len() < needed {
            let count = self.stream.read(&mut self.buffer[self.filled.end..]).await?;
            if count == 0 {
                let nothing = self.filled.is_empty();
                return Err(if nothing {
                    ReadError::Closed
                } else {
                    ReadError::Truncated
                });
            }
            self.filled.end += count;
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
            SectionData::Collected(self.data, self.share)
        }
    }
}
