//! Where a request of the control plane came from: the Unix socket or TLS, as one kind of stream for tonic; and the list of
//! open TLS connections, so that a revocation ends them.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// What a connection has proved. What that means is asked anew with each request.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// The kernel says that it is this user.
    Local { user: u32 },
    /// It has the key of the certificate with this SHA-256.
    Certificate { sha256: [u8; 32], address: SocketAddr },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { user } => write!(f, "uid:{user}"),
            Self::Certificate { sha256, address } => {
                write!(f, "certificate {} from {address}", crate::pki::hex(sha256))
            }
        }
    }
}

/// A connection.
pub(super) struct Stream {
    inner: Inner,
    origin: Origin,
    /// Its place among the connections, given back with it.
    _kept: Option<(OwnedSemaphorePermit, Listed)>,
}

enum Inner {
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) const fn local(stream: UnixStream, user: u32) -> Self {
        Self {
            inner: Inner::Unix(stream),
            origin: Origin::Local { user },
            _kept: None,
        }
    }

    /// After its handshake.
    pub(super) fn remote(
        stream: TlsStream<TcpStream>,
        address: SocketAddr,
        place: OwnedSemaphorePermit,
        open: &Arc<Open>,
    ) -> io::Result<Self> {
        let (tcp, session) = stream.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        // The verifier lets nobody in without one.
        let certificate = certificate.ok_or(io::ErrorKind::PermissionDenied)?;
        let sha256 = crate::pki::fingerprint(certificate);
        let listed = open.list(sha256, tcp)?;
        Ok(Self {
            inner: Inner::Tls(Box::new(stream)),
            origin: Origin::Certificate { sha256, address },
            _kept: Some((place, listed)),
        })
    }
}

impl Connected for Stream {
    type ConnectInfo = Origin;

    fn connect_info(&self) -> Origin {
        self.origin.clone()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Inner::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Inner::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Unix(stream) => Pin::new(stream).poll_flush(context),
            Inner::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Inner::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// The TLS connections of the control plane that are open.
#[derive(Default)]
pub(crate) struct Open {
    next: AtomicU64,
    entries: Mutex<HashMap<u64, ([u8; 32], std::net::TcpStream)>>,
}

impl Open {
    fn list(self: &Arc<Self>, sha256: [u8; 32], stream: &TcpStream) -> io::Result<Listed> {
        // A second handle of the same socket: tonic owns the first.
        let handle = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.entries.lock().insert(number, (sha256, handle));
        Ok(Listed {
            open: self.clone(),
            number,
        })
    }

    /// Ends all connections whose certificate `stays` does not hold for; says how many.
    pub(crate) fn retain(&self, stays: impl Fn(&[u8; 32]) -> bool) -> usize {
        let entries = self.entries.lock();
        let ended = entries.values().filter(|(sha256, _)| !stays(sha256));
        ended
            .map(|(_, stream)| {
                // It may have ended by itself.
                let _ = stream.shutdown(Shutdown::Both);
            })
            .count()
    }
}

/// A listed connection; dropped with it.
struct Listed {
    open: Arc<Open>,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.open.entries.lock().remove(&self.number);
    }
}
