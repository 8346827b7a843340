//! Who is connected: one entry per identity, with its share of connections and of data in flight.

use super::stream::{Line, Shutdown};
use crate::config::{Data, Locals};
use hsmd_keystore::Identity;
use hsmd_proto::ids::{ApplicationId, NodeId};
use parking_lot::Mutex;
use rustls::pki_types::UnixTime;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;
use tokio::net::unix::UCred;

/// Users of a name space that have no number here all appear as this one.
const OVERFLOW_USER: u32 = 65_534;

/// How somebody came to the data plane, and so what may be seen from there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    /// Through the Unix socket: whoever may open it sees all slots.
    Local,
    /// By the certificate of this client (`client-xxxxxxxx`), or as this local user (`user-1000`) where local users are
    /// clients, too: what is assigned to its identity.
    Client(Arc<str>),
}

/// The process at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    /// What its work counts against, and what its logins are bound to.
    pub(crate) identity: Identity,
    /// What it may see.
    pub(crate) access: Access,
    /// Its user, for the log.
    pub(crate) user: u32,
    /// Its number: within one identity, work is shared fairly among processes.
    pub(crate) process: i32,
}

impl Peer {
    /// Reads who connected; `None` for a user that no number of this machine stands for.
    pub(crate) fn from_credentials(node: NodeId, locals: Locals, credentials: &UCred) -> Option<Self> {
        let user = credentials.uid();
        (user != OVERFLOW_USER).then(|| Self {
            identity: local_identity(node, user),
            access: match locals {
                Locals::All => Access::Local,
                Locals::Assigned => Access::Client(format!("user-{user}").into()),
            },
            user,
            process: credentials.pid().unwrap_or_default(),
        })
    }

    /// The client whose certificate has this SHA-256.
    pub(crate) fn from_certificate(sha256: &[u8; 32], client: Arc<str>) -> Self {
        Self {
            identity: certificate_identity(sha256),
            access: Access::Client(client),
            user: 0,
            process: 0,
        }
    }

    /// What Hello said. Processes of another host have no number here: their applications share the client's work.
    pub(super) fn of_application(&mut self, application: ApplicationId) {
        if self.process == 0 {
            let [a, b, c, d, ..] = application.0;
            self.process = i32::from_le_bytes([a, b, c, d]);
        }
    }
}

/// The identity of whoever holds a certificate, by the SHA-256 of its DER form.
pub(crate) fn certificate_identity(sha256: &[u8; 32]) -> Identity {
    Identity(hsmd_crypto::seal::sha256(&[b"certificate", sha256]))
}

/// The identity of a local user of a node.
pub(crate) fn local_identity(node: NodeId, user: u32) -> Identity {
    Identity(hsmd_crypto::seal::sha256(&[
        b"uid",
        node.as_bytes(),
        &user.to_le_bytes(),
    ]))
}

/// One identity that is connected.
pub(crate) struct Client {
    connections: AtomicUsize,
    inflight: AtomicU64,
    max_inflight: u64,
    /// [`Clients::cut`] was called: no connection of these answers any more.
    cut: AtomicBool,
}

/// A connection.
struct Open {
    identity: Identity,
    line: Arc<Line>,
    since: Instant,
    /// The last second since 1970 at which its certificate is valid.
    until: Option<u64>,
}

#[derive(Default)]
struct State {
    clients: HashMap<Identity, Arc<Client>>,
    lines: HashMap<u64, Open>,
    next: u64,
    stopping: bool,
}

/// All that are connected.
pub(crate) struct Clients {
    state: Mutex<State>,
    connections: AtomicUsize,
    max_connections: usize,
    max_per_client: usize,
    max_inflight: u64,
}

impl Clients {
    pub(crate) fn new(config: &Data) -> Self {
        Self {
            state: Mutex::default(),
            connections: AtomicUsize::new(0),
            max_connections: config.max_connections,
            max_per_client: config.max_connections_per_client,
            max_inflight: config.max_inflight,
        }
    }

    /// Counts a new connection; `None` when there are too many, of all or of this identity, or when the daemon stops.
    pub(crate) fn connect(self: &Arc<Self>, identity: Identity, line: &Arc<Line>) -> Option<Connected> {
        self.connect_until(identity, line, None)
    }

    /// As [`Self::connect`], by a certificate that is valid up to that second since 1970.
    pub(crate) fn connect_until(
        self: &Arc<Self>,
        identity: Identity,
        line: &Arc<Line>,
        until: Option<u64>,
    ) -> Option<Connected> {
        let mut state = self.state.lock();
        if state.stopping || self.connections.load(Ordering::Relaxed) >= self.max_connections {
            return None;
        }
        let client = state.clients.entry(identity).or_insert_with(|| {
            Arc::new(Client {
                connections: AtomicUsize::new(0),
                inflight: AtomicU64::new(0),
                max_inflight: self.max_inflight,
                cut: AtomicBool::new(false),
            })
        });
        if client.connections.load(Ordering::Relaxed) >= self.max_per_client {
            return None;
        }
        let client = client.clone();
        client.connections.fetch_add(1, Ordering::Relaxed);
        self.connections.fetch_add(1, Ordering::Relaxed);
        let number = state.next;
        state.next += 1;
        let open = Open {
            identity,
            line: line.clone(),
            since: Instant::now(),
            until,
        };
        state.lines.insert(number, open);
        Some(Connected {
            client,
            clients: self.clone(),
            identity,
            number,
            until,
        })
    }

    /// No more requests: what clients sent already is answered, and each connection ends with the last of it.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopping = true;
        for open in state.lines.values() {
            open.line.shutdown(Shutdown::Read);
        }
    }

    /// Ends the connections of an identity, now: what waits for the client returns, what it sent is not answered any more. Says
    /// how many there were. Whoever may not come back must be unknown before this is called: a connection that is being made
    /// looks again after it was counted.
    pub(crate) fn cut(&self, identity: &Identity) -> usize {
        let mut state = self.state.lock();
        if let Some(client) = state.clients.remove(identity) {
            client.cut.store(true, Ordering::Release);
        }
        let its = state.lines.values().filter(|open| open.identity == *identity);
        its.map(|open| open.line.shutdown(Shutdown::Both)).count()
    }

    /// Ends the connections whose certificate is not valid any more; says how many. Their requests are refused before that.
    pub(crate) fn end_expired(&self) -> usize {
        let state = self.state.lock();
        let expired = state.lines.values().filter(|open| is_over(open.until));
        expired.map(|open| open.line.shutdown(Shutdown::Both)).count()
    }

    /// All connections, oldest first: whose, and open for how many seconds.
    pub(crate) fn list(&self) -> Vec<(Identity, u64)> {
        let state = self.state.lock();
        let mut open: Vec<_> = state.lines.iter().collect();
        open.sort_by_key(|(number, _)| **number);
        let each = open.into_iter().map(|(_, open)| open);
        each.map(|open| (open.identity, open.since.elapsed().as_secs()))
            .collect()
    }

    /// Whether [`Self::stop`] was called.
    pub(crate) fn is_stopping(&self) -> bool {
        self.state.lock().stopping
    }

    /// How many identities are connected.
    pub(crate) fn identities(&self) -> usize {
        self.state.lock().clients.len()
    }

    /// How many connections there are.
    pub(crate) fn count(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// A counted connection; dropped with it.
pub(crate) struct Connected {
    client: Arc<Client>,
    clients: Arc<Clients>,
    identity: Identity,
    number: u64,
    until: Option<u64>,
}

/// Whether that second since 1970 is over.
fn is_over(until: Option<u64>) -> bool {
    until.is_some_and(|until| UnixTime::now().as_secs() > until)
}

impl Connected {
    pub(crate) const fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Whether [`Clients::cut`] has ended it, or its certificate has expired.
    pub(crate) fn is_cut(&self) -> bool {
        self.client.cut.load(Ordering::Acquire) || is_over(self.until)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut state = self.clients.state.lock();
        state.lines.remove(&self.number);
        self.clients.connections.fetch_sub(1, Ordering::Relaxed);
        let was_last = self.client.connections.fetch_sub(1, Ordering::Relaxed) == 1;
        // After a cut there may be others of the same identity.
        let current = state.clients.get(&self.identity);
        if was_last && current.is_some_and(|current| Arc::ptr_eq(current, &self.client)) {
            state.clients.remove(&self.identity);
        }
    }
}

/// Bytes of a request that count against its client while it is in work.
pub(crate) struct Inflight {
    client: Arc<Client>,
    bytes: u64,
}

impl Inflight {
    pub(crate) fn none(client: &Arc<Client>) -> Self {
        Self {
            client: client.clone(),
            bytes: 0,
        }
    }

    /// Counts more bytes; false, and nothing counted, when the client's share is used up.
    pub(crate) fn grow(&mut self, more: usize) -> bool {
        let more = more as u64;
        let before = self.client.inflight.fetch_add(more, Ordering::Relaxed);
        if before + more > self.client.max_inflight {
            self.client.inflight.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.bytes += more;
        true
    }
}

impl Drop for Inflight {
    fn drop(&mut self) {
        self.client.inflight.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::Stream;
    use super::*;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    fn clients(max_connections: usize, max_connections_per_client: usize) -> Arc<Clients> {
        Arc::new(Clients::new(&Data {
            max_connections,
            max_connections_per_client,
            max_inflight: 100,
            ..Data::default()
        }))
    }

    fn stream() -> Arc<Line> {
        Stream::from(UnixStream::pair().unwrap().0).line().clone()
    }

    #[test]
    fn a_cut_ends_what_is_there_and_not_what_comes_after() {
        let clients = clients(8, 8);
        let (one, two) = (Identity([1; 32]), Identity([2; 32]));
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let line = Stream::from(ours).line().clone();
        let old = clients.connect(one, &line).unwrap();
        let other = clients.connect(two, &stream()).unwrap();
        clients.cut(&one);
        assert!(old.is_cut() && !other.is_cut());
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "the client sees the end at once");
        let new = clients.connect(one, &stream()).unwrap();
        assert!(!new.is_cut());
        drop(old);
        clients.cut(&one);
        assert!(new.is_cut(), "the end of an old connection forgets no new one");
    }

    #[test]
    fn a_connection_ends_with_its_certificate() {
        let clients = clients(8, 8);
        let now = UnixTime::now().as_secs();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let line = Stream::from(ours).line().clone();
        let expired = clients.connect_until(Identity([1; 32]), &line, Some(now - 1)).unwrap();
        let valid = clients
            .connect_until(Identity([1; 32]), &stream(), Some(now + 3_600))
            .unwrap();
        assert!(expired.is_cut() && !valid.is_cut());
        assert_eq!(clients.end_expired(), 1);
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn connections_are_counted_per_client_and_in_all() {
        let (clients, stream) = (clients(3, 2), stream());
        let (one, two) = (Identity([1; 32]), Identity([2; 32]));
        let first = clients.connect(one, &stream).unwrap();
        let _second = clients.connect(one, &stream).unwrap();
        assert!(clients.connect(one, &stream).is_none());
        let _third = clients.connect(two, &stream).unwrap();
        assert!(clients.connect(two, &stream).is_none());
        drop(first);
        assert!(clients.connect(two, &stream).is_some());
        assert_eq!(clients.count(), 2);
        clients.stop();
        assert!(clients.connect(two, &stream).is_none());
    }

    #[test]
    fn data_in_flight_counts_until_the_request_ends() {
        let clients = clients(2, 2);
        let connected = clients.connect(Identity([1; 32]), &stream()).unwrap();
        let mut share = Inflight::none(connected.client());
        assert!(share.grow(60));
        assert!(!share.grow(60));
        drop(share);
        assert!(Inflight::none(connected.client()).grow(100));
    }

    #[test]
    fn identities_differ_by_user_and_by_node() {
        let node = |byte| NodeId([byte; 16]);
        assert_ne!(local_identity(node(1), 0), local_identity(node(1), 1));
        assert_ne!(local_identity(node(1), 0), local_identity(node(2), 0));
    }
}
