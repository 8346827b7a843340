//! The data plane over TCP: mutual TLS 1.3. The handshake runs on the connection's own thread, within a time, and only so
//! many at once: a peer that has shown no certificate gets neither threads nor memory beyond that.
//!
//! Who is trusted is not decided here: rustls asks `hsmd/src/pki/`, and the model says whose certificate it is.

use super::clients::{Connected, Peer};
use super::connection;
use super::listener::{STACK, report};
use super::stream::{Stream, TlsSession};
use crate::config::Data;
use crate::node::Node;
use crate::pki::NO_TLS;
use parking_lot::Mutex;
use rustix::net::sockopt;
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

/// Of the handshakes that may be under way, an address has at most this part.
const SHARE_OF_AN_ADDRESS: usize = 4;
/// An idle connection is asked for a sign of life after this time, and then this often, so many times.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_AGAIN: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMES: u32 = 6;
/// How long a refused peer has to read why.
const LINGER: Duration = Duration::from_millis(500);

/// The TCP listeners of a daemon.
pub(crate) struct Remote {
    listeners: Vec<TcpListener>,
    admission: Arc<Admission>,
}

struct Admission {
    gate: Gate,
    patience: Duration,
    next: AtomicU64,
}

impl Remote {
    /// Binds every address of `[data] listen`.
    ///
    /// # Errors
    /// A sentence with the address.
    pub(crate) async fn bind(config: &Data) -> io::Result<Self> {
        let mut listeners = Vec::new();
        for address in &config.listen {
            let listener = TcpListener::bind(address).await;
            let explain =
                |error: io::Error| io::Error::new(error.kind(), format!("data.listen = {address:?}: {error}"));
            listeners.push(listener.map_err(explain)?);
        }
        let admission = Admission {
            gate: Gate::new(config.max_handshakes),
            patience: Duration::from_millis(config.handshake_timeout_ms),
            next: AtomicU64::new(1),
        };
        Ok(Self {
            listeners,
            admission: Arc::new(admission),
        })
    }

    /// The addresses that it listens on.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.listeners.iter().map(TcpListener::local_addr);
        addresses.filter_map(Result::ok).collect()
    }

    /// Accepts connections until told to stop. Each connection holds a clone of `alive` for as long as it lasts.
    pub(crate) fn run(self, node: &Arc<Node>, stop: &watch::Receiver<bool>, alive: &mpsc::Sender<()>) {
        for listener in self.listeners {
            let (node, mut stop, alive) = (node.clone(), stop.clone(), alive.clone());
            let admission = self.admission.clone();
            tokio::spawn(async move {
                loop {
                    let accepted = tokio::select! {
                        accepted = listener.accept() => accepted,
                        _ = stop.wait_for(|stop| *stop) => return,
                    };
                    let admitted = accepted.and_then(|(stream, from)| admission.admit(stream, from, &node, &alive));
                    if let Err(error) = admitted {
                        // As on the Unix socket: out of descriptors or threads, as a rule.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            });
        }
    }
}

impl Admission {
    fn admit(
        self: &Arc<Self>,
        stream: tokio::net::TcpStream,
        from: SocketAddr,
        node: &Arc<Node>,
        alive: &mpsc::Sender<()>,
    ) -> io::Result<()> {
        let Some(pass) = Gate::enter(self, from.ip()) else {
            node.pki
                .refusals()
                .note("data", from, &io::Error::other("too many handshakes"));
            return Ok(());
        };
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        // A daemon that stops waits for connections, not for handshakes.
        let (admission, node, alive) = (self.clone(), node.clone(), alive.downgrade());
        let serve = move || {
            let _entered = tracing::info_span!("remote", id, from = %from).entered();
            let (stream, peer, connected) = match admission.greet(stream, &node) {
                Ok(greeted) => greeted,
                Err(error) => return node.pki.refusals().note("data", from, &error),
            };
            drop(pass);
            let Some(_alive) = alive.upgrade() else { return };
            tracing::debug!(access = ?peer.access, "connected");
            report(&connection::serve(&node, stream, peer, connected));
        };
        let thread = std::thread::Builder::new().name(format!("remote-{id}"));
        thread.stack_size(STACK).spawn(serve).map(drop)
    }

    /// The handshake, and who it is.
    fn greet(&self, stream: TcpStream, node: &Node) -> io::Result<(Stream, Peer, Connected)> {
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, KEEPALIVE)?;
        sockopt::set_tcp_keepintvl(&stream, KEEPALIVE_AGAIN)?;
        sockopt::set_tcp_keepcnt(&stream, KEEPALIVE_TIMES)?;
        node.pki.arrived_at(stream.local_addr()?.ip());
        let tls = node.pki.data_server().ok_or_else(|| io::Error::other(NO_TLS))?;
        let session = self.handshake(&stream, TlsSession::server(tls)?)?;
        let unknown = || io::Error::new(ErrorKind::PermissionDenied, "not registered any more");
        let certificate = session.peer_certificate().ok_or_else(unknown)?;
        let sha256 = hsmd_crypto::seal::sha256(&[certificate]);
        let client = node.model.client_of(&sha256).ok_or_else(unknown)?;
        let peer = Peer::from_certificate(&sha256, client.clone());
        let stream = Stream::tls(stream, session);
        let until = node.model.client_until(&sha256);
        let connected = node.clients.connect_until(peer.identity, stream.line(), until);
        let connected = connected.ok_or_else(|| io::Error::other("too many connections"))?;
        // Whoever removes a client cuts its connections afterwards: either this one is among them, or it is seen here.
        if node.model.client_of(&sha256) != Some(client) {
            return Err(unknown());
        }
        Ok((stream, peer, connected))
    }

    fn handshake(&self, stream: &TcpStream, session: TlsSession) -> io::Result<Box<TlsSession>> {
        let mut session = Box::new(session);
        let give_up = Instant::now() + self.patience;
        let left = || match give_up.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::Error::from(ErrorKind::TimedOut)),
            left => Ok(Some(left)),
        };
        let done = session.handshake(
            |bytes| {
                stream.set_write_timeout(left()?)?;
                (&*stream).write(bytes)
            },
            |room| {
                stream.set_read_timeout(left()?)?;
                (&*stream).read(room)
            },
        );
        if let Err(error) = done {
            if error.kind() == ErrorKind::InvalidData {
                linger(stream);
            }
            return Err(error);
        }
        Ok(session)
    }
}

/// Lets a refused peer read the alert: closing at once, with bytes of it unread, would reset the connection and take the alert
/// away. It has a moment for that and no more.
fn linger(mut stream: &TcpStream) {
    let give_up = Instant::now() + LINGER;
    let mut waste = [0; 4096];
    let _ = stream.shutdown(std::net::Shutdown::Write);
    loop {
        let left = give_up.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() || !matches!(stream.read(&mut waste), Ok(1..))
        {
            return;
        }
    }
}

/// The bound of handshakes, of all and from one address.
struct Gate {
    most: usize,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    total: usize,
    of_address: HashMap<IpAddr, usize>,
}

/// One handshake that is under way.
struct Pass {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Gate {
    fn new(most: usize) -> Self {
        Self {
            most,
            inside: Mutex::default(),
        }
    }

    fn enter(admission: &Arc<Admission>, address: IpAddr) -> Option<Pass> {
        let address = network(address);
        let gate = &admission.gate;
        gate.inside.lock().enter(gate.most, address).then(|| Pass {
            admission: admission.clone(),
            address,
        })
    }
}

impl Inside {
    fn enter(&mut self, most: usize, address: IpAddr) -> bool {
        let here = self.of_address.entry(address).or_default();
        let good = self.total < most && *here < most.div_ceil(SHARE_OF_AN_ADDRESS);
        if good {
            *here += 1;
            self.total += 1;
        } else if *here == 0 {
            self.of_address.remove(&address);
        }
        good
    }

    fn leave(&mut self, address: IpAddr) {
        self.total -= 1;
        if let Some(here) = self.of_address.get_mut(&address) {
            *here -= 1;
            if *here == 0 {
                self.of_address.remove(&address);
            }
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.admission.gate.inside.lock().leave(self.address);
    }
}

/// What counts as one address: of IPv6 the /64, which one host may have whole.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_a_part_of_the_handshakes_and_all_together_have_them_all() {
        let mut inside = Inside::default();
        let address = |last| network(IpAddr::from([10, 0, 0, last]));
        for last in 1..=4 {
            assert!(inside.enter(8, address(last)) && inside.enter(8, address(last)));
            assert!(!inside.enter(8, address(last)));
        }
        assert!(!inside.enter(8, address(5)));
        assert_eq!(inside.of_address.len(), 4, "who is refused is not remembered");
        inside.leave(address(1));
        assert!(inside.enter(8, address(5)));
        for last in [1, 2, 2, 3, 3, 4, 4, 5] {
            inside.leave(address(last));
        }
        assert!(inside.of_address.is_empty() && inside.total == 0);
    }

    #[test]
    fn addresses_of_one_host_count_as_one() {
        let parse = |text: &str| network(text.parse().unwrap());
        assert_eq!(parse("2001:db8::1"), parse("2001:db8::ffff:1"));
        assert_ne!(parse("2001:db8::1"), parse("2001:db8:0:1::1"));
        assert_eq!(parse("::ffff:10.0.0.1"), parse("10.0.0.1"));
        assert_ne!(parse("10.0.0.1"), parse("10.0.0.2"));
    }
}
