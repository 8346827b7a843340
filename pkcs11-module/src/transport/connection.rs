//! One connection: frames out, frames in, heartbeats skipped. Buffers are used again and wiped after each exchange.

use hsmd_proto::frame::{FrameKind, FrameWriter, HEADER, Header, Sections};
use hsmd_proto::wire;
use prost::Message;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zeroize::{Zeroize, Zeroizing};

/// What one read asks for: most replies fit, so most exchanges are one write and one read.
const READ: usize = 16 * 1024;

/// Why an exchange failed.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The connection ended; the request may be repeated on a new one.
    Ended,
    /// Nothing came within the deadline.
    Silent,
    /// What came is not the protocol.
    Protocol,
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent,
            _ => Self::Ended,
        }
    }
}

/// A connection to the daemon.
pub(crate) struct Connection {
    /// Shared, so that another thread can shut it down.
    pub(crate) stream: Arc<UnixStream>,
    writer: FrameWriter,
    /// Bytes that were read and not yet used: `incoming[..filled]`.
    incoming: Zeroizing<Vec<u8>>,
    filled: usize,
    /// The secret section and the body of the last reply.
    section: Zeroizing<Vec<u8>>,
    body: Zeroizing<Vec<u8>>,
    sequence: u32,
    /// The longest section that is accepted.
    longest: usize,
}

impl Connection {
    /// Takes a connected stream over.
    pub(crate) fn new(stream: UnixStream, longest: usize) -> Self {
        Self {
            stream: Arc::new(stream),
            writer: FrameWriter::new(),
            incoming: Zeroizing::new(vec![0; READ]),
            filled: 0,
            section: Zeroizing::new(Vec::new()),
            body: Zeroizing::new(Vec::new()),
            sequence: 0,
            longest,
        }
    }

    /// How long a read or write waits for the other side.
    pub(crate) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        let patience = Some(patience.max(Duration::from_millis(1)));
        self.stream.set_read_timeout(patience)?;
        self.stream.set_write_timeout(patience)
    }

    /// The longest section that is accepted from now on.
    pub(crate) fn set_longest(&mut self, longest: usize) {
        self.longest = longest;
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// [`Broken`]; the connection is then of no more use.
    pub(crate) fn exchange(
        &mut self,
        build: &mut dyn FnMut(&mut FrameWriter) -> wire::Request,
        give_up: Instant,
    ) -> Result<wire::Reply, Broken> {
        self.writer.clear();
        let request = build(&mut self.writer);
        if request.encoded_len() > hsmd_proto::frame::MAX_BODY {
            return Err(Broken::Protocol);
        }
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = self.writer.finish(FrameKind::Request, self.sequence, &request);
        let sent = (&*self.stream).write_all(bytes);
        // PINs, tickets and data were in it.
        self.writer.clear();
        sent?;
        self.read_reply(give_up)
    }

    /// The secret section of the last reply.
    pub(crate) fn sections(&self) -> Sections<'_> {
        Sections(&self.section)
    }

    /// Wipes the last reply.
    pub(crate) fn wipe(&mut self) {
        self.section.as_mut_slice().zeroize();
        self.section.clear();
        self.body.as_mut_slice().zeroize();
        self.body.clear();
    }

    fn read_reply(&mut self, give_up: Instant) -> Result<wire::Reply, Broken> {
        self.wipe();
        loop {
            let header = self.read_header()?;
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
            read_into(
                &self.stream,
                &mut self.incoming,
                &mut self.filled,
                &mut self.section,
                header.section,
            )?;
            if header.more {
                continue;
            }
            read_into(
                &self.stream,
                &mut self.incoming,
                &mut self.filled,
                &mut self.body,
                header.body,
            )?;
            if self.filled != 0 {
                // Nothing may come without a request.
                return Err(Broken::Protocol);
            }
            return wire::Reply::decode(self.body.as_slice()).map_err(|_| Broken::Protocol);
        }
    }

    fn read_header(&mut self) -> Result<Header, Broken> {
        let mut header = [0; HEADER];
        while self.filled < HEADER {
            self.fill()?;
        }
        header.copy_from_slice(&self.incoming[..HEADER]);
        consume(&mut self.incoming, &mut self.filled, HEADER);
        Header::parse(&header).map_err(|_| Broken::Protocol)
    }

    fn fill(&mut self) -> Result<(), Broken> {
        let read = retry(|| (&*self.stream).read(&mut self.incoming[self.filled..]))?;
        if read == 0 {
            return Err(Broken::Ended);
        }
        self.filled += read;
        Ok(())
    }
}

/// Appends `count` bytes to a buffer: first what was read ahead, then from the stream. Growing leaves no copies behind.
fn read_into(
    stream: &UnixStream,
    incoming: &mut [u8],
    filled: &mut usize,
    to: &mut Zeroizing<Vec<u8>>,
    count: usize,
) -> Result<(), Broken> {
    let start = to.len();
    if start + count > to.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity((start + count).next_power_of_two().max(1024)));
        larger.extend_from_slice(to);
        *to = larger;
    }
    let ahead = count.min(*filled);
    to.extend_from_slice(&incoming[..ahead]);
    consume(incoming, filled, ahead);
    let mut done = start + ahead;
    to.resize(start + count, 0);
    while done < start + count {
        let read = retry(|| (&*stream).read(&mut to[done..]))?;
        if read == 0 {
            return Err(Broken::Ended);
        }
        done += read;
    }
    Ok(())
}

/// Takes bytes from the front of the read-ahead buffer and wipes what they leave.
fn consume(incoming: &mut [u8], filled: &mut usize, count: usize) {
    incoming.copy_within(count..*filled, 0);
    let rest = *filled - count;
    incoming[rest..*filled].zeroize();
    *filled = rest;
}

fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
