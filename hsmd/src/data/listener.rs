//! The data plane's Unix socket: made with its mode before anybody can connect, an old one replaced, a living one not.

use super::clients::Peer;
use super::connection::{self, End};
use super::stream::Stream;
use crate::audit;
use crate::config::Data;
use crate::node::Node;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

/// The stack of a connection's thread, in bytes: only what is touched takes memory.
pub(super) const STACK: usize = 512 << 10;

/// A listening data socket.
pub(crate) struct Listener {
    listener: UnixListener,
    next: AtomicU64,
}

impl Listener {
    /// Makes the socket.
    ///
    /// # Errors
    /// A sentence with the path when another process serves it, the group does not exist, or the system refuses.
    pub(crate) fn bind(config: &Data) -> io::Result<Self> {
        let mode = config.mode().unwrap_or(0o600);
        let group = match config.socket_group.as_str() {
            "" => None,
            name => Some(group_number(name)?),
        };
        Ok(Self {
            listener: bind_socket(&config.socket, mode, group)?,
            next: AtomicU64::new(1),
        })
    }

    /// Accepts connections until told to stop, and then tells them. Each connection holds a clone of `alive` for as long as
    /// it lasts.
    pub(crate) async fn run(self, node: Arc<Node>, mut stop: watch::Receiver<bool>, alive: mpsc::Sender<()>) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return node.clients.stop(),
            };
            let admitted = accepted.and_then(|(stream, _)| self.admit(stream, &node, &alive));
            if let Err(error) = admitted {
                // Out of file descriptors or threads, as a rule: others go on, and this one waits for some to come back.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }

    fn admit(&self, stream: UnixStream, node: &Arc<Node>, alive: &mpsc::Sender<()>) -> io::Result<()> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let credentials = stream.peer_cred()?;
        let Some(peer) = Peer::from_credentials(node.keystore.node(), node.config.data.local, &credentials) else {
            tracing::warn!(connection = id, user = credentials.uid(), "refused: unmapped user");
            audit::refused(&node.keystore, "data socket: unmapped user".to_owned());
            return Ok(());
        };
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        let stream = Stream::from(stream);
        let Some(connected) = node.clients.connect(peer.identity, stream.line()) else {
            tracing::warn!(connection = id, user = peer.user, "refused: too many connections");
            audit::refused(
                &node.keystore,
                format!("data socket: too many connections of user {}", peer.user),
            );
            return Ok(());
        };
        let (node, alive) = (node.clone(), alive.clone());
        let span = tracing::info_span!("connection", id, user = peer.user, process = peer.process);
        let serve = move || {
            let _entered = span.entered();
            report(&connection::serve(&node, stream, peer, connected));
            drop(alive);
        };
        let thread = std::thread::Builder::new().name(format!("client-{id}"));
        thread.stack_size(STACK).spawn(serve).map(drop)
    }
}

/// Says in the log how a connection ended.
pub(super) fn report(end: &End) {
    if end.is_ordinary() {
        tracing::debug!(%end, "connection ended");
    } else {
        tracing::warn!(%end, "connection closed");
    }
}

/// Makes a Unix socket with its mode and group. It appears under its name only when it is complete, and replaces one
/// that a killed daemon left behind.
///
/// # Errors
/// When a living process serves the path, and what the system says, with the path.
pub(crate) fn bind_socket(path: &Path, mode: u32, group: Option<u32>) -> io::Result<UnixListener> {
    let explain = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        let message = format!("{}: another process listens here", path.display());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
    }
    let fresh = fresh_name(path);
    let _ = std::fs::remove_file(&fresh);
    let listener = std::os::unix::net::UnixListener::bind(&fresh).map_err(explain)?;
    std::fs::set_permissions(&fresh, PermissionsExt::from_mode(mode)).map_err(explain)?;
    if group.is_some() {
        chown(&fresh, None, group).map_err(explain)?;
    }
    std::fs::rename(&fresh, path).map_err(explain)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// A name in the same folder, not longer than the final one.
fn fresh_name(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// Looks a group up in `/etc/group`; digits are a number already.
fn group_number(name: &str) -> io::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let groups = std::fs::read_to_string("/etc/group")?;
    let number = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    });
    number.ok_or_else(|| {
        let message = format!("data.socket_group = {name:?}: no such group; make it with `addgroup --system {name}`");
        io::Error::new(io::ErrorKind::NotFound, message)
    })
}
