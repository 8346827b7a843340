//! A client's stream: a Unix socket, or a TCP socket under TLS. The connection's own thread reads and writes; what others do
//! with it meanwhile is a [`Line`]: shut it, send a heartbeat, look whether anybody is there.
//!
//! A TLS session belongs to the connection's thread alone, so that requests take no lock. While the thread works on a request
//! it lends the session to the line, for heartbeats, and takes it back before it answers.

use hsmd_proto::frame::HEADER;
use hsmd_proto::pace::LIMIT;
use hsmd_tls::{Read as Came, Session};
use parking_lot::Mutex;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, recv, send, shutdown};
use rustls::server::UnbufferedServerConnection;
use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use rustix::net::Shutdown;

/// The daemon's side of a TLS session.
pub(super) type TlsSession = Session<UnbufferedServerConnection>;

/// A stream as others than its own thread have it.
pub(crate) struct Line {
    socket: OwnedFd,
    /// The TLS session, while its own thread works on a request.
    lent: Mutex<Option<Box<TlsSession>>>,
    is_tls: bool,
}

impl Line {
    /// Ends reading, or both directions, at once, whoever waits for the stream.
    pub(crate) fn shutdown(&self, how: Shutdown) {
        // It may be closed by the other side already.
        let _ = shutdown(&self.socket, how);
    }

    /// Sends a heartbeat unless it would wait; for a stream that is lent ([`Stream::lend`]).
    pub(super) fn beat(&self, header: &[u8; HEADER]) {
        const NOW: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
        if !self.is_tls {
            // A client that does not read hears nothing: 16 bytes go whole or not at all.
            let _ = send(&self.socket, header, NOW);
            return;
        }
        let Some(mut lent) = self.lent.try_lock() else { return };
        let Some(session) = lent.as_mut() else { return };
        // A record may be cut: its rest is written before anything else, and until then no further one is made.
        if session.has_outgoing() || session.seal(header).is_ok() {
            let _ = session.flush(|bytes| Ok(send(&self.socket, bytes, NOW)?));
        }
    }

    /// Whether the client has closed its side and nothing of it is left to read.
    pub(super) fn is_gone(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        matches!(recv(&self.socket, &mut [0_u8; 1], flags), Ok((0, _)))
    }
}

/// A stream as its connection has it.
pub(super) struct Stream {
    line: Arc<Line>,
    /// The session, unless this is a Unix socket or it is lent.
    tls: Option<Box<TlsSession>>,
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self::over(stream.into(), None)
    }
}

impl Stream {
    /// A TCP stream whose handshake is done.
    pub(super) fn tls(stream: TcpStream, session: Box<TlsSession>) -> Self {
        Self::over(stream.into(), Some(session))
    }

    fn over(socket: OwnedFd, tls: Option<Box<TlsSession>>) -> Self {
        let line = Line {
            socket,
            lent: Mutex::new(None),
            is_tls: tls.is_some(),
        };
        Self {
            line: Arc::new(line),
            tls,
        }
    }

    /// What others may have.
    pub(super) const fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// How long a read waits.
    pub(super) fn set_read_timeout(&self, patience: Duration) -> io::Result<()> {
        Ok(set_socket_timeout(&self.line.socket, Timeout::Recv, Some(patience))?)
    }

    /// How long a write waits.
    pub(super) fn set_write_timeout(&self, patience: Duration) -> io::Result<()> {
        Ok(set_socket_timeout(&self.line.socket, Timeout::Send, Some(patience))?)
    }

    /// Reads that wait for the client, as long as the timeout says.
    pub(super) const fn waiting(&mut self) -> Reader<'_> {
        Reader {
            stream: self,
            wait: Wait::Asleep,
        }
    }

    /// Reads in the middle of a frame: its rest is on its way, so it is polled for before the thread sleeps, where the
    /// processors are not wanted elsewhere.
    pub(super) const fn rest(&mut self, crowded: bool) -> Reader<'_> {
        Reader {
            stream: self,
            wait: if crowded { Wait::Asleep } else { Wait::Polling },
        }
    }

    /// Reads that take what is there.
    pub(super) const fn now(&mut self) -> Reader<'_> {
        Reader {
            stream: self,
            wait: Wait::Not,
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// `TimedOut` when the client does not take it in time, also when it takes a byte now and then; what the system says.
    #[inline]
    pub(super) fn write_all(&mut self, bytes: &[u8], patience: Duration) -> io::Result<()> {
        let socket = &self.line.socket;
        let mut begun = None;
        let mut write = |part: &[u8]| {
            if begun.is_some_and(|begun: Instant| begun.elapsed() > patience) {
                return Err(ErrorKind::TimedOut.into());
            }
            let written = send(socket, part, SendFlags::NOSIGNAL);
            if written.as_ref().ok() != Some(&part.len()) {
                begun.get_or_insert_with(Instant::now);
            }
            written.map_err(|error| match io::Error::from(error) {
                error if error.kind() == ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
                error => error,
            })
        };
        if let Some(session) = &mut self.tls {
            return session.write_all(&[bytes], write);
        }
        let mut left = bytes;
        while !left.is_empty() {
            match write(left) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => left = &left[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Lets the heartbeats' thread use the session; until [`Self::take_back`] nothing can be read or written here.
    pub(super) fn lend(&mut self) {
        if let Some(session) = self.tls.take() {
            *self.line.lent.lock() = Some(session);
        }
    }

    /// The session is this thread's alone again.
    pub(super) fn take_back(&mut self) {
        if self.line.is_tls {
            self.tls = self.line.lent.lock().take();
        }
    }
}

/// How a read waits for bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Not,
    Asleep,
    /// For [`LIMIT`], and then asleep.
    Polling,
}

/// Reads a stream, waiting or not.
pub(super) struct Reader<'a> {
    stream: &'a mut Stream,
    wait: Wait,
}

impl Reader<'_> {
    #[inline]
    fn read_once(&mut self, buffer: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        let socket = &self.stream.line.socket;
        let receive = |room: &mut [u8]| Ok(recv(socket, room, flags)?.0);
        let Some(session) = &mut self.stream.tls else {
            return receive(buffer);
        };
        match session.read(buffer, receive)? {
            Came::Data(count) => Ok(count),
            Came::Partial => Err(ErrorKind::WouldBlock.into()),
            Came::Ended => Ok(0),
        }
    }
}

impl Read for Reader<'_> {
    /// `WouldBlock` also means that something came which is not a whole record yet: the caller looks at the time and comes
    /// back.
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let flags = match self.wait {
            Wait::Not => RecvFlags::DONTWAIT,
            Wait::Asleep | Wait::Polling => RecvFlags::empty(),
        };
        if self.wait == Wait::Polling {
            let begun = Instant::now();
            while begun.elapsed() < LIMIT {
                match self.read_once(buffer, RecvFlags::DONTWAIT) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
                    other => return other,
                }
            }
        }
        self.read_once(buffer, flags)
    }
}
