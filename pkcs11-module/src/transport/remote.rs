//! Connecting to servers by TLS: the one that answered last, then the others in order, within the caller's time.

use super::stream::{Socket, Stream, TlsSession};
use super::tls;
use crate::abi::os::{self, Event};
use crate::config::{Config, ConfigError, Server};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Of several servers, one that says nothing for this long is left.
pub(crate) const SILENCE: Duration = Duration::from_secs(1);

/// The servers of a client, and how to know them.
pub(crate) struct Servers {
    list: Vec<Server>,
    tls: Arc<ClientConfig>,
    /// The one that answered last.
    good: AtomicUsize,
}

impl Servers {
    /// Reads the files that the configuration names; `None` when it names no servers.
    ///
    /// # Errors
    /// As [`tls::load`].
    pub(crate) fn of(config: &Config) -> Result<Option<Self>, ConfigError> {
        let Some(remote) = &config.remote else { return Ok(None) };
        Ok(Some(Self {
            list: remote.servers.clone(),
            tls: tls::load(remote)?,
            good: AtomicUsize::new(0),
        }))
    }

    /// Whether there is another one to go to.
    pub(crate) fn several(&self) -> bool {
        self.list.len() > 1
    }

    /// The one at this place broke off or fell silent: the next one goes first from now on.
    pub(crate) fn leave(&self, at: usize) {
        let next = (at + 1) % self.list.len().max(1);
        // Another thread may have gone on already.
        let _ = self
            .good
            .compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Tries the servers, each for its share of the time, until `greet` is content with one.
    ///
    /// # Errors
    /// That of the last one; a refusal goes before what may get better by itself.
    pub(crate) fn try_each<T, E: Refusal>(
        &self,
        patience: Duration,
        mut greet: impl FnMut(usize, &Server, Duration) -> Result<T, E>,
    ) -> Result<T, Option<E>> {
        let begun = Instant::now();
        let (count, first) = (self.list.len(), self.good.load(Ordering::Relaxed));
        let mut worst: Option<E> = None;
        for tried in 0..count {
            let at = (first + tried) % count;
            let left = patience.saturating_sub(begun.elapsed());
            // One that is silent does not use up the time of those after it.
            let share = left / u32::try_from(count - tried).unwrap_or(u32::MAX);
            let share = if self.several() { share.min(SILENCE) } else { share };
            match greet(at, &self.list[at], share) {
                Ok(answer) => {
                    self.good.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error)
                    if worst
                        .as_ref()
                        .is_some_and(|worst| worst.is_refusal() && !error.is_refusal()) => {}
                Err(error) => worst = Some(error),
            }
        }
        Err(worst)
    }

    /// Connects to one server and shakes hands. `register` sees each socket before anything waits on it; `ended` ends the
    /// connecting.
    ///
    /// # Errors
    /// The system's; `InvalidData` with an error of rustls when one side refuses the other.
    pub(crate) fn open(
        &self,
        server: &Server,
        patience: Duration,
        ended: &Event,
        register: &dyn Fn(&Arc<Socket>),
    ) -> io::Result<Stream> {
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
                    connected = Some(socket);
                    break;
                }
                Err(error) => last = error,
            }
        }
        let socket = connected.ok_or(last)?;
        let name = ServerName::try_from(server.host.clone());
        let name = name.map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
        let mut session = Box::new(TlsSession::client(self.tls.clone(), name)?);
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
        Ok(Stream::tls(socket, session))
    }
}

/// Whether trying again is of no use.
pub(crate) trait Refusal {
    /// One side does not trust the other.
    fn is_refusal(&self) -> bool;
}
