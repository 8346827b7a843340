//! A stream to a daemon: a Unix socket, or a TCP socket under TLS. One thread at a time uses it; another may shut its socket.

use crate::abi::os;
use hsmd_proto::pace::LIMIT;
use hsmd_tls::{Read as Came, Session};
use rustls::client::UnbufferedClientConnection;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The socket, as those have it who end calls from outside.
pub(crate) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    /// Ends both directions: whoever waits returns.
    pub(crate) fn shut_down(&self) {
        // It may be closed by the other side already.
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    /// How long a read or write waits.
    pub(crate) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        let patience = Some(patience.max(Duration::from_millis(1)));
        match self {
            Self::Unix(stream) => {
                stream.set_read_timeout(patience)?;
                stream.set_write_timeout(patience)
            }
            Self::Tcp(stream) => {
                stream.set_read_timeout(patience)?;
                stream.set_write_timeout(patience)
            }
        }
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => (&*stream).read(buffer),
            Self::Tcp(stream) => (&*stream).read(buffer),
        }
    }

    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => (&*stream).write(bytes),
            Self::Tcp(stream) => (&*stream).write(bytes),
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Unix(stream) => stream.as_raw_fd(),
            Self::Tcp(stream) => stream.as_raw_fd(),
        }
    }
}

/// The module's side of a TLS session.
pub(crate) type TlsSession = Session<UnbufferedClientConnection>;

/// A stream.
pub(crate) struct Stream {
    socket: Arc<Socket>,
    tls: Option<Box<TlsSession>>,
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self {
            socket: Arc::new(Socket::Unix(stream)),
            tls: None,
        }
    }
}

impl Stream {
    /// A socket under TLS, its handshake done.
    pub(crate) const fn tls(socket: Arc<Socket>, session: Box<TlsSession>) -> Self {
        Self {
            socket,
            tls: Some(session),
        }
    }

    /// The socket.
    pub(crate) const fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }

    /// Writes all pieces, in one call where the system takes them.
    ///
    /// # Errors
    /// The system's. What a server said before it closed is worth more: a refusal is told as such.
    pub(super) fn write_all(&mut self, mut pieces: [&[u8]; 3]) -> io::Result<()> {
        let socket = &*self.socket;
        let Some(session) = &mut self.tls else {
            while let Some(first) = pieces.iter().position(|piece| !piece.is_empty()) {
                // One piece, as most requests are, is cheaper without a list.
                let sent = match pieces {
                    [piece, [], []] => socket.write(piece),
                    _ => os::send_pieces(socket, &pieces[first..]),
                };
                match sent {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(count) => advance(&mut pieces, count),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            return Ok(());
        };
        let written = session.write_all(&pieces, |part| socket.write(part));
        written.map_err(
            |error| match session.read(&mut [0], |room| os::read_now(socket, room)) {
                Err(said) if said.kind() == ErrorKind::InvalidData => said,
                _ => error,
            },
        )
    }

    /// Reads once, waiting for it; 0 is the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let socket = &*self.socket;
        let Some(session) = &mut self.tls else {
            return retry(|| socket.read(buffer));
        };
        loop {
            match session.read(buffer, |room| socket.read(room))? {
                Came::Data(count) => return Ok(count),
                Came::Partial => {}
                Came::Ended => return Ok(0),
            }
        }
    }

    /// Reads once in the middle of a frame. Its rest is on its way, so it is polled for before the thread sleeps, where the
    /// processors are not wanted elsewhere; 0 is the end.
    pub(super) fn read_rest(&mut self, buffer: &mut [u8], crowded: bool) -> io::Result<usize> {
        let begun = Instant::now();
        while !crowded && begun.elapsed() < LIMIT {
            match self.read_now(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
                other => return other,
            }
        }
        self.read(buffer)
    }

    /// Reads what is there; `WouldBlock` when nothing is.
    pub(super) fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let socket = &*self.socket;
        let Some(session) = &mut self.tls else {
            return retry(|| os::read_now(socket, buffer));
        };
        match session.read(buffer, |room| os::read_now(socket, room))? {
            Came::Data(count) => Ok(count),
            Came::Partial => Err(ErrorKind::WouldBlock.into()),
            Came::Ended => Ok(0),
        }
    }
}

/// Takes `count` bytes off the front of the pieces.
fn advance(pieces: &mut [&[u8]; 3], mut count: usize) {
    for piece in pieces {
        let taken = count.min(piece.len());
        *piece = &piece[taken..];
        count -= taken;
    }
}

fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
