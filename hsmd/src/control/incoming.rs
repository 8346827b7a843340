//! Accepts connections of the control plane: the Unix socket, and TLS addresses. Each handshake is a task of its own with a
//! deadline and a place among few of its address, so that slow ones hold up nobody.

use super::gate::local_role;
use super::origin::Stream;
use crate::config::Control;
use crate::data::bind_socket;
use crate::node::Node;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;

/// The most handshakes at the same time from one address.
const HANDSHAKES_PER_ADDRESS: usize = 32;
/// How long to wait when the system has no more descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// The sockets of the control plane.
pub(crate) struct Sockets {
    local: UnixListener,
    remote: Vec<TcpListener>,
}

impl Sockets {
    /// Binds them all.
    ///
    /// # Errors
    /// Which address cannot be used, and why.
    pub(crate) async fn bind(config: &Control) -> io::Result<Self> {
        // Who may do what is decided by user id; with further users the socket is open to all, and strangers are refused.
        let mode = if config.has_users() { 0o666 } else { 0o600 };
        let local = bind_socket(&config.socket, mode, None)?;
        let mut remote = Vec::with_capacity(config.listen.len());
        for address in &config.listen {
            let bound = TcpListener::bind(address).await;
            let explain = |error: io::Error| io::Error::new(error.kind(), format!("control.listen {address}: {error}"));
            remote.push(bound.map_err(explain)?);
        }
        Ok(Self { local, remote })
    }

    /// Accepts until told to stop; the connections come out of the receiver.
    pub(super) fn accept(self, node: &Arc<Node>, stop: &watch::Receiver<bool>) -> mpsc::Receiver<io::Result<Stream>> {
        let (sender, receiver) = mpsc::channel(64);
        tokio::spawn(accept_local(self.local, node.clone(), sender.clone(), stop.clone()));
        let Some(tls) = node.pki.control_server() else {
            return receiver;
        };
        let doorway = Arc::new(Doorway {
            acceptor: TlsAcceptor::from(tls),
            places: Arc::new(Semaphore::new(node.config.control.max_connections)),
            shaking: Mutex::default(),
            timeout: Duration::from_millis(node.config.control.handshake_timeout_ms),
        });
        for listener in self.remote {
            if let Ok(address) = listener.local_addr() {
                tracing::info!(%address, "control plane over TLS");
            }
            let doorway = doorway.clone();
            tokio::spawn(accept_remote(
                listener,
                doorway,
                node.clone(),
                sender.clone(),
                stop.clone(),
            ));
        }
        receiver
    }
}

type Sender = mpsc::Sender<io::Result<Stream>>;

async fn accept_local(listener: UnixListener, node: Arc<Node>, sender: Sender, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "control socket");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let user = stream.peer_cred().map(|credentials| credentials.uid());
        match user {
            Ok(user) if local_role(&node, user).is_some() => {
                if sender.send(Ok(Stream::local(stream, user))).await.is_err() {
                    return;
                }
            }
            Ok(user) => tracing::warn!(user, "a local user without a role was refused"),
            Err(error) => tracing::warn!(%error, "control socket"),
        }
    }
}

/// What all TLS listeners share.
struct Doorway {
    acceptor: TlsAcceptor,
    places: Arc<Semaphore>,
    shaking: Mutex<HashMap<IpAddr, usize>>,
    timeout: Duration,
}

impl Doorway {
    /// A place for one more handshake of this address.
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Shaking> {
        let mut shaking = self.shaking.lock();
        let count = shaking.entry(address).or_default();
        if *count >= HANDSHAKES_PER_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Shaking {
            doorway: self.clone(),
            address,
        })
    }
}

/// A handshake that goes on.
struct Shaking {
    doorway: Arc<Doorway>,
    address: IpAddr,
}

impl Drop for Shaking {
    fn drop(&mut self) {
        let mut shaking = self.doorway.shaking.lock();
        if let Some(count) = shaking.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                shaking.remove(&self.address);
            }
        }
    }
}

async fn accept_remote(
    listener: TcpListener,
    doorway: Arc<Doorway>,
    node: Arc<Node>,
    sender: Sender,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "control plane over TLS");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(shaking) = doorway.enter(peer.ip()) else {
            node.pki.refusals().note(
                "control",
                peer,
                &io::Error::other("too many handshakes from this address"),
            );
            continue;
        };
        let (doorway, node, sender) = (doorway.clone(), node.clone(), sender.clone());
        tokio::spawn(async move {
            let shaken = shake(&doorway, &node, stream, peer).await;
            drop(shaking);
            match shaken {
                // Nobody receives any more: the daemon stops.
                Ok(stream) => drop(sender.send(Ok(stream)).await),
                Err(error) => node.pki.refusals().note("control", peer, &error),
            }
        });
    }
}

async fn shake(doorway: &Doorway, node: &Node, stream: TcpStream, peer: SocketAddr) -> io::Result<Stream> {
    stream.set_nodelay(true)?;
    node.pki.arrived_at(stream.local_addr()?.ip());
    let shaken = tokio::time::timeout(doorway.timeout, doorway.acceptor.accept(stream)).await;
    let stream = shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let place = doorway.places.clone().try_acquire_owned();
    let place = place.map_err(|_| io::Error::other("as many connections as control.max_connections"))?;
    let stream = Stream::remote(stream, peer, place, &node.administrators)?;
    // Revoked between the handshake and its entry in the list: who revoked did not find it there.
    node.end_strangers();
    Ok(stream)
}
