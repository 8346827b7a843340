//! Connecting to one server by TLS: within the caller's time (`open`), or a step at a time without waiting ([`Dial`]). Which server
//! is the choice of `servers`.

use super::stream::{Socket, Stream, TlsSession};
use crate::abi::os::{self, Event};
use crate::config::Server;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connects and shakes hands; says by which address. `register` sees each socket before anything waits on it; `ended` ends the
/// connecting.
///
/// # Errors
/// The system's; `InvalidData` with an error of rustls when one side refuses the other.
pub(super) fn open(
    server: &Server,
    tls: &Arc<ClientConfig>,
    patience: Duration,
    ended: &Event,
    register: &dyn Fn(&Arc<Socket>),
) -> io::Result<(Stream, SocketAddr)> {
    let give_up = Instant::now() + patience;
    let left = || match give_up.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(ErrorKind::TimedOut)),
        left => Ok(left),
    };
    // Addresses are read here; a name is the system's to look up, in its own time (docs/client-file.md).
    let addresses: Vec<SocketAddr> = (server.host.as_str(), server.port).to_socket_addrs()?.collect();
    let mut last = io::Error::from(ErrorKind::NotFound);
    let mut connected = None;
    for (tried, address) in addresses.iter().enumerate() {
        let share = left()? / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match os::connect_tcp(address, share, ended, &|socket| {
            let socket = Arc::new(Socket::Tcp(socket));
            register(&socket);
            socket
        }) {
            Ok(socket) => {
                connected = Some((socket, *address));
                break;
            }
            Err(error) => last = error,
        }
    }
    let (socket, address) = connected.ok_or(last)?;
    let mut session = session(server, tls)?;
    session.handshake(
        |bytes| {
            socket.set_patience(left()?)?;
            socket.write(bytes)
        },
        |room| {
            socket.set_patience(left()?)?;
            socket.read(room)
        },
    )?;
    Ok((Stream::tls(socket, session), address))
}

fn session(server: &Server, tls: &Arc<ClientConfig>) -> io::Result<Box<TlsSession>> {
    let name = ServerName::try_from(server.host.clone());
    let name = name.map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    Ok(Box::new(TlsSession::client(Arc::clone(tls), name)?))
}

/// A connection that is being made while its process does something else.
pub(super) struct Dial {
    socket: Arc<Socket>,
    /// `None` before the other side has taken the connection.
    session: Option<Box<TlsSession>>,
    until: Instant,
}

/// How far it is.
pub(super) enum Dialled {
    /// The other side has not answered.
    NotYet,
    /// The hands are shaken.
    Stream(Stream),
}

impl Dial {
    /// Begins, without waiting.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn begin(address: &SocketAddr, until: Instant, register: &dyn Fn(&Arc<Socket>)) -> io::Result<Self> {
        let socket = os::begin_connecting(address, &|socket| {
            let socket = Arc::new(Socket::Tcp(socket));
            register(&socket);
            socket
        })?;
        Ok(Self {
            socket,
            session: None,
            until,
        })
    }

    /// Goes as far as it can without waiting.
    ///
    /// # Errors
    /// The system's; `TimedOut` after its time; `InvalidData` when one side refuses the other.
    pub(super) fn go_on(&mut self, tls: &Arc<ClientConfig>, server: &Server) -> io::Result<Dialled> {
        if Instant::now() >= self.until {
            return Err(ErrorKind::TimedOut.into());
        }
        if self.session.is_none() {
            if !os::is_connected(&*self.socket)? {
                return Ok(Dialled::NotYet);
            }
            self.session = Some(session(server, tls)?);
        }
        let Some(mut shaking) = self.session.take() else {
            return Ok(Dialled::NotYet);
        };
        let socket = &self.socket;
        match shaking.handshake(|bytes| socket.write(bytes), |room| socket.read(room)) {
            Ok(()) => {
                os::set_blocking(&**socket)?;
                Ok(Dialled::Stream(Stream::tls(Arc::clone(socket), shaking)))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.session = Some(shaking);
                Ok(Dialled::NotYet)
            }
            Err(error) => Err(error),
        }
    }
}
