//! One connection: frames out, frames in, heartbeats skipped. Buffers are used again and wiped after each exchange.

use super::stream::Stream;
use hsmd_proto::frame::{FrameKind, FrameWriter, HEADER, Header, Sections};
use hsmd_proto::pace::{LIMIT, Manner, Pace, YIELDS};
use hsmd_proto::wipe::{WipingVec, wipe};
use hsmd_proto::wire;
use prost::Message;
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

/// What one read asks for: most replies fit, so most exchanges are one write and one read. Pages that no reply ever
/// touched take no memory.
const READ: usize = 96 * 1024;

/// Why an exchange failed.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The connection ended; the request may be repeated on a new one.
    Ended,
    /// Nothing came within the deadline.
    Silent,
    /// What came is not the protocol.
    Protocol,
    /// One side does not trust the other: trying again is of no use.
    Refused,
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent,
            io::ErrorKind::InvalidData if is_refusal(&error) => Self::Refused,
            io::ErrorKind::InvalidData => Self::Protocol,
            _ => Self::Ended,
        }
    }
}

/// Whether the other side sent an alert, or showed a certificate that is not believed.
fn is_refusal(error: &io::Error) -> bool {
    use rustls::Error::{AlertReceived, InvalidCertificate, NoCertificatesPresented};
    let told = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(
        told,
        Some(AlertReceived(_) | InvalidCertificate(_) | NoCertificatesPresented)
    )
}

/// A connection to the daemon.
pub(crate) struct Connection {
    /// Its socket is shared, so that another thread can shut it down.
    pub(crate) stream: Stream,
    writer: FrameWriter,
    incoming: Incoming,
    /// Where the secret section of the last reply is, if it came in one frame and lies where it was read.
    ahead: Option<Range<usize>>,
    /// The secret section and the body of a larger reply.
    section: WipingVec,
    body: WipingVec,
    sequence: u32,
    /// The longest section that is accepted.
    longest: usize,
    pace: Pace,
    /// What the last reply said of the daemon.
    crowded: bool,
    /// Which of several servers is at the other end.
    pub(crate) server: usize,
    /// Whether it has served a call before: then it may have died long ago.
    pub(crate) used: bool,
}

impl Connection {
    /// Takes a connected stream over.
    pub(crate) fn new(stream: Stream, longest: usize) -> Self {
        Self {
            stream,
            writer: FrameWriter::new(),
            incoming: Incoming::new(),
            ahead: None,
            section: WipingVec::new(),
            body: WipingVec::new(),
            sequence: 0,
            longest,
            pace: Pace::default(),
            crowded: false,
            server: 0,
            used: false,
        }
    }

    /// How long a read or write waits for the other side.
    pub(crate) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.stream.socket().set_patience(patience)
    }

    /// The longest section that is accepted from now on.
    pub(crate) fn set_longest(&mut self, longest: usize) {
        self.longest = longest;
    }

    /// Sends a request and waits for its reply. What `build` lends is `lent`: data of an application, sent from where it lies.
    ///
    /// # Errors
    /// [`Broken`]; the connection is then of no more use.
    pub(crate) fn exchange(
        &mut self,
        build: &mut dyn FnMut(&mut FrameWriter) -> wire::Request,
        lent: &[u8],
        give_up: Instant,
    ) -> Result<wire::Reply, Broken> {
        self.writer.clear();
        let request = build(&mut self.writer);
        if request.encoded_len() > hsmd_proto::frame::MAX_BODY {
            return Err(Broken::Protocol);
        }
        self.sequence = self.sequence.wrapping_add(1);
        let frame = self
            .writer
            .finish_around(FrameKind::Request, self.sequence, &request, lent);
        let sent = self.stream.write_all(frame);
        // PINs, tickets and data were in it.
        self.writer.clear();
        sent?;
        self.wipe();
        self.wait()?;
        let reply = self.read_reply(give_up)?;
        self.crowded = reply.crowded;
        Ok(reply)
    }

    /// Waits for the first bytes of the reply: polling or yielding for a short time where that pays, then asleep.
    fn wait(&mut self) -> Result<(), Broken> {
        let begun = Instant::now();
        let manner = self.pace.manner(self.crowded);
        let mut there = false;
        match manner {
            Manner::Poll => {
                while !there && begun.elapsed() < LIMIT {
                    std::hint::spin_loop();
                    there = self.incoming.poll(&mut self.stream)?;
                }
            }
            Manner::Yield => {
                for _ in 0..YIELDS {
                    std::thread::yield_now();
                    there = self.incoming.poll(&mut self.stream)?;
                    if there {
                        break;
                    }
                }
            }
            Manner::Sleep => {}
        }
        if !there {
            self.incoming.more(&mut self.stream)?;
        }
        self.pace.waited(manner, begun.elapsed());
        Ok(())
    }

    /// The secret section of the last reply.
    pub(crate) fn sections(&self) -> Sections<'_> {
        match &self.ahead {
            Some(range) => Sections(&self.incoming.bytes[range.clone()]),
            None => Sections(&self.section),
        }
    }

    /// Wipes the last reply.
    pub(crate) fn wipe(&mut self) {
        self.ahead = None;
        self.incoming.wipe();
        self.section.wipe();
        self.body.wipe();
    }

    fn read_reply(&mut self, give_up: Instant) -> Result<wire::Reply, Broken> {
        loop {
            let header = self.incoming.header(&mut self.stream)?;
            if header.sequence != self.sequence || header.kind == FrameKind::Request {
                return Err(Broken::Protocol);
            }
            if header.kind == FrameKind::Heartbeat {
                if header.section != 0 || header.more {
                    return Err(Broken::Protocol);
                }
                // A daemon that only ever says it is alive does not hold a caller for ever (INV-9).
                if Instant::now() >= give_up {
                    return Err(Broken::Silent);
                }
                continue;
            }
            if self.section.len() + header.section > self.longest {
                return Err(Broken::Protocol);
            }
            if !header.more && self.section.is_empty() && header.section + header.body <= self.incoming.room() {
                return self.read_in_place(&header);
            }
            let (stream, crowded) = (&mut self.stream, self.crowded);
            self.incoming.take(stream, &mut self.section, header.section, crowded)?;
            if header.more {
                continue;
            }
            self.incoming.take(stream, &mut self.body, header.body, crowded)?;
            self.nothing_follows()?;
            self.incoming.wipe();
            return wire::Reply::decode(self.body.as_slice()).map_err(|_| Broken::Protocol);
        }
    }

    /// Reads the rest of a reply whose only frame fits into the buffer, and leaves its section there.
    fn read_in_place(&mut self, header: &Header) -> Result<wire::Reply, Broken> {
        while self.incoming.filled - self.incoming.start < header.section + header.body {
            self.incoming.rest(&mut self.stream, self.crowded)?;
        }
        let section = self.incoming.start..self.incoming.start + header.section;
        let body = section.end..section.end + header.body;
        self.incoming.start = body.end;
        self.nothing_follows()?;
        self.ahead = Some(section);
        wire::Reply::decode(&self.incoming.bytes[body]).map_err(|_| Broken::Protocol)
    }

    /// Nothing may come without a request.
    fn nothing_follows(&self) -> Result<(), Broken> {
        if self.incoming.is_empty() {
            Ok(())
        } else {
            Err(Broken::Protocol)
        }
    }
}

/// What was read ahead: one read usually brings a whole reply.
struct Incoming {
    bytes: WipingVec,
    /// `bytes[start..filled]` was read and not used yet.
    start: usize,
    filled: usize,
}

impl Incoming {
    fn new() -> Self {
        Self {
            bytes: WipingVec::from(vec![0; READ]),
            start: 0,
            filled: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.start == self.filled
    }

    /// How much fits behind what was used.
    fn room(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Wipes what was used.
    fn wipe(&mut self) {
        wipe(&mut self.bytes[..self.filled]);
        (self.start, self.filled) = (0, 0);
    }

    fn header(&mut self, stream: &mut Stream) -> Result<Header, Broken> {
        if self.is_empty() || self.bytes.len() - self.start < HEADER {
            let rest = self.filled - self.start;
            self.bytes.copy_within(self.start..self.filled, 0);
            wipe(&mut self.bytes[rest..self.filled]);
            (self.start, self.filled) = (0, rest);
        }
        while self.filled - self.start < HEADER {
            self.more(stream)?;
        }
        let mut header = [0; HEADER];
        header.copy_from_slice(&self.bytes[self.start..self.start + HEADER]);
        self.start += HEADER;
        Header::parse(&header).map_err(|_| Broken::Protocol)
    }

    /// Reads once, waiting for it.
    fn more(&mut self, stream: &mut Stream) -> Result<(), Broken> {
        let read = stream.read(&mut self.bytes[self.filled..])?;
        self.filled += read;
        if read == 0 { Err(Broken::Ended) } else { Ok(()) }
    }

    /// Reads once in the middle of a frame.
    fn rest(&mut self, stream: &mut Stream, crowded: bool) -> Result<(), Broken> {
        let read = stream.read_rest(&mut self.bytes[self.filled..], crowded)?;
        self.filled += read;
        if read == 0 { Err(Broken::Ended) } else { Ok(()) }
    }

    /// Reads what is there; false when nothing is.
    fn poll(&mut self, stream: &mut Stream) -> Result<bool, Broken> {
        match stream.read_now(&mut self.bytes[self.filled..]) {
            Ok(0) => Err(Broken::Ended),
            Ok(read) => {
                self.filled += read;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Appends `count` bytes to a buffer: first what was read ahead, then from the stream. Growing leaves no copies behind.
    fn take(&mut self, stream: &mut Stream, to: &mut WipingVec, count: usize, crowded: bool) -> Result<(), Broken> {
        to.reserve_wiping(count);
        let ahead = count.min(self.filled - self.start);
        to.extend_from_slice(&self.bytes[self.start..self.start + ahead]);
        self.start += ahead;
        let mut done = to.len();
        let end = done + count - ahead;
        to.resize(end, 0);
        while done < end {
            let read = stream.read_rest(&mut to[done..], crowded)?;
            if read == 0 {
                return Err(Broken::Ended);
            }
            done += read;
        }
        Ok(())
    }
}
