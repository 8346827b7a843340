//! The pool of connections: a call takes one, or makes one, and gives it back. A broken one is replaced and the same
//! request, with the same ids, is sent again until the deadline (INV-10).

use super::connection::{Broken, Connection};
use super::servers::{Loss, Refusal, SILENCE, Servers};
use super::stream::{Socket, Stream};
use super::{Failure, believable};
use crate::abi::os::{self, Event};
use crate::config::Config;
use crate::state::lock;
use crate::state::session::Session;
use crate::state::slot::Login;
use hsmd_proto::PROTOCOL_VERSION;
use hsmd_proto::ck::Rv;
use hsmd_proto::frame::{FrameWriter, Sections};
use hsmd_proto::ids::{ApplicationId, SlotId};
use hsmd_proto::wire::{self, reply, request};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

/// `max_data` until a daemon told its own, in bytes.
const MAX_DATA: usize = 64 << 20;
/// What a reply may have beyond the data: results are at most a little longer than what went in.
const SLACK: usize = 2 << 20;
/// The most that a daemon may claim.
const MOST_DATA: u64 = 1 << 30;
/// How long a daemon may work on one request while it says that it is alive, in deadlines.
const WORKING: u32 = 60;
/// How long C_Finalize waits for the daemon to end a login.
const FAREWELL: Duration = Duration::from_millis(300);
/// How long a server that is back may take for its first words: it has just shaken hands.
const WELCOME: Duration = Duration::from_millis(100);
/// How soon it is seen that a connection died before it was used.
const AT_ONCE: Duration = Duration::from_millis(50);
/// How long a call waits that finds no budget for a second try.
const OVERLOADED: Duration = Duration::from_millis(250);
/// Idle connections that are kept.
const KEPT: usize = 64;

/// All connections of one instance.
pub(crate) struct Pool {
    config: Config,
    /// Where the configuration names servers instead of a socket.
    servers: Option<Servers>,
    application: ApplicationId,
    idle: Mutex<Vec<Connection>>,
    /// Every open socket with its inode: for C_Finalize, and for a child that closes what it inherited.
    open: Mutex<Vec<(Weak<Socket>, u64)>>,
    connected_once: AtomicBool,
    finalized: AtomicBool,
    max_data: AtomicUsize,
    /// Set by C_Finalize: ends waiting between tries, and C_WaitForSlotEvent.
    pub(crate) event: Event,
}

impl Pool {
    /// No I/O to the daemon.
    ///
    /// # Errors
    /// `CKR_HOST_MEMORY` without a descriptor for the event, `CKR_GENERAL_ERROR` for certificates or a key that cannot be
    /// used.
    pub(crate) fn new(config: Config, application: ApplicationId) -> Result<Self, Rv> {
        Ok(Self {
            servers: Servers::of(&config, application).map_err(|_| Rv::GENERAL_ERROR)?,
            config,
            application,
            idle: Mutex::default(),
            open: Mutex::default(),
            connected_once: AtomicBool::new(false),
            finalized: AtomicBool::new(false),
            max_data: AtomicUsize::new(MAX_DATA),
            event: Event::new().map_err(|_| Rv::HOST_MEMORY)?,
        })
    }

    /// The most data of one request, in bytes.
    pub(crate) fn max_data(&self) -> usize {
        self.max_data.load(Ordering::Relaxed)
    }

    /// Whether C_Finalize was called.
    pub(crate) fn is_finalized(&self) -> bool {
        self.finalized.load(Ordering::SeqCst)
    }

    /// Sends a request and reads its reply. `build` runs once per try and must name the same ids each time; `session`
    /// is the one whose closing ends the call.
    ///
    /// # Errors
    /// [`Failure`].
    pub(crate) fn call<T>(
        &self,
        session: Option<&Session>,
        patience: Tries,
        mut build: impl FnMut(&mut FrameWriter) -> wire::Request,
        lent: &[u8],
        read: impl FnOnce(Option<reply::Result>, &Sections<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let started = Instant::now();
        let mut tries = 0;
        loop {
            if let Some(rv) = self.ended(session) {
                return Err(Failure::Ended(rv));
            }
            let left = self.config.deadline.saturating_sub(started.elapsed());
            let bound = session.filter(|_| patience != Tries::Binding).and_then(Session::bound);
            let broken = match self.take(left, bound) {
                Ok(mut connection) => {
                    let give_up = started + self.config.deadline * WORKING;
                    let sent = Instant::now();
                    match self.attempt(&mut connection, session, &mut build, lent, give_up) {
                        Ok(reply) => {
                            if let Some(session) = session.filter(|_| patience == Tries::Binding) {
                                session.bind(connection.server);
                            }
                            return self.finish(connection, reply, read);
                        }
                        Err(broken) => {
                            // Nothing is said of the server by a call that another thread has ended.
                            if let Some(rv) = self.ended(session) {
                                return Err(Failure::Ended(rv));
                            }
                            self.leave(&connection, broken, sent.elapsed())
                        }
                    }
                }
                Err(Unreachable::Absent) => return Err(Failure::Absent),
                Err(Unreachable::Stranger) => return Err(Failure::Lost),
                Err(Unreachable::NotNow) => Broken::Ended,
            };
            if let Some(rv) = self.ended(session) {
                return Err(Failure::Ended(rv));
            }
            let left = self.config.deadline.saturating_sub(started.elapsed());
            let last = patience == Tries::NoWaiting && tries > 0;
            if !matches!(broken, Broken::Ended) || left.is_zero() || last {
                return Err(Failure::Lost);
            }
            // The first try may have met a connection that died long ago: no wait before the second, but where all do that.
            if !self.may_repeat() {
                self.event.wait(Some(OVERLOADED.min(left)));
            } else if tries > 0 {
                let pause = Duration::from_millis(10 << tries.min(4));
                self.event.wait(Some(pause.min(left)));
            }
            tries += 1;
        }
    }

    /// Whether a call is sent again without much ado.
    fn may_repeat(&self) -> bool {
        let several = self.servers.as_ref().filter(|servers| servers.several());
        several.is_none_or(Servers::may_repeat)
    }

    /// With several servers, one that broke off or fell silent is left for another, which knows the request by its ids (INV-10).
    fn leave(&self, connection: &Connection, broken: Broken, after: Duration) -> Broken {
        // The others to this server come from before the same restart.
        lock(&self.idle).retain(|other| other.server != connection.server);
        match (&self.servers, broken) {
            (Some(servers), broken @ (Broken::Ended | Broken::Silent)) if servers.several() => {
                match broken {
                    Broken::Silent => servers.lose(connection.server, Loss::Silent),
                    // One that was idle may have died long ago, which is seen at once: its server may be there.
                    _ if !connection.used || after > AT_ONCE => servers.lose(connection.server, Loss::Broken),
                    _ => {}
                }
                Broken::Ended
            }
            (_, broken) => broken,
        }
    }

    /// A lost server that is back is used again: its connection waits for the next call. Nobody waits for it here.
    fn look_after_lost(&self, servers: &Servers) {
        let register = |socket: &Arc<Socket>| self.register(socket);
        let Some((at, stream)) = servers.look_after_lost(&register) else {
            return;
        };
        match self
            .greet(stream, WELCOME)
            .and_then(|connection| self.ready(connection, at))
        {
            Ok(connection) => {
                servers.regain(at);
                lock(&self.idle).push(connection);
            }
            Err(_) => servers.return_failed(at),
        }
    }

    /// A connection that has been greeted, with the patience of calls.
    fn ready(&self, mut connection: Connection, at: usize) -> Result<Connection, Broken> {
        connection.server = at;
        // A server that works on a request says so every 250 ms.
        let several = self.servers.as_ref().is_some_and(Servers::several);
        let patience = if several {
            SILENCE.min(self.config.deadline)
        } else {
            self.config.deadline
        };
        connection.set_patience(patience)?;
        Ok(connection)
    }

    /// One try. The session knows the stream while it lasts.
    fn attempt(
        &self,
        connection: &mut Connection,
        session: Option<&Session>,
        build: &mut dyn FnMut(&mut FrameWriter) -> wire::Request,
        lent: &[u8],
        give_up: Instant,
    ) -> Result<wire::Reply, Broken> {
        let Some(session) = session else {
            return self.exchange(connection, build, lent, give_up);
        };
        session.enter(connection.stream.socket());
        // Whoever ended the session before it knew the stream could not shut it down.
        let result = if self.ended(Some(session)).is_some() {
            Err(Broken::Ended)
        } else {
            self.exchange(connection, build, lent, give_up)
        };
        session.leave();
        result
    }

    /// One exchange. With several servers, what this process has seen at one is asked of the others (INV-4).
    fn exchange(
        &self,
        connection: &mut Connection,
        build: &mut dyn FnMut(&mut FrameWriter) -> wire::Request,
        lent: &[u8],
        give_up: Instant,
    ) -> Result<wire::Reply, Broken> {
        let Some(servers) = self.servers.as_ref().filter(|servers| servers.several()) else {
            return connection.exchange(build, lent, give_up);
        };
        let at = connection.server;
        let (_under, seen) = (servers.enter(at), servers.seen_before(at));
        let mut build = |writer: &mut FrameWriter| wire::Request { seen, ..build(writer) };
        let reply = connection.exchange(&mut build, lent, give_up)?;
        servers.told(at, seen, reply.revision);
        servers.earn();
        Ok(reply)
    }

    fn finish<T>(
        &self,
        mut connection: Connection,
        reply: wire::Reply,
        read: impl FnOnce(Option<reply::Result>, &Sections<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let result = if reply.rv == Rv::OK.0 {
            read(reply.result, &connection.sections())
        } else {
            Err(Failure::Refused(believable(reply.rv)))
        };
        connection.wipe();
        // A reply that is not the protocol ends the connection, and nothing is believed of it.
        if result.as_ref().err() != Some(&Failure::Lost) && !self.is_finalized() {
            let mut idle = lock(&self.idle);
            if idle.len() < KEPT {
                connection.used = true;
                idle.push(connection);
            }
        }
        result
    }

    /// The code for a call that C_Finalize, C_CloseSession or C_SessionCancel ended.
    fn ended(&self, session: Option<&Session>) -> Option<Rv> {
        if self.is_finalized() {
            Some(Rv::CRYPTOKI_NOT_INITIALIZED)
        } else {
            session.and_then(Session::ended)
        }
    }

    fn take(&self, left: Duration, bound: Option<usize>) -> Result<Connection, Unreachable> {
        let best = self.servers.as_ref().map_or(0, |servers| {
            self.look_after_lost(servers);
            let bound = bound.filter(|at| servers.is_there(*at));
            bound.unwrap_or_else(|| servers.best())
        });
        let idle = {
            let mut idle = lock(&self.idle);
            let at = idle.iter().rposition(|connection| connection.server == best);
            at.map(|at| idle.remove(at))
        };
        idle.map_or_else(|| self.connect(left, best), Ok)
    }

    /// Whether only slots of groups are listed.
    pub(crate) const fn ha_only(&self) -> bool {
        self.config.ha_only
    }

    fn connect(&self, left: Duration, best: usize) -> Result<Connection, Unreachable> {
        let connection = match &self.servers {
            Some(servers) => {
                let found = servers.try_each(left, best, |at, share| {
                    let register = |socket: &Arc<Socket>| self.register(socket);
                    let stream = servers.open(at, share, &self.event, &register)?;
                    self.ready(self.greet(stream, share)?, at)
                });
                found.map_err(|broken| match broken {
                    Some(Broken::Refused) => self.unreachable(Unreachable::Stranger),
                    _ => self.unreachable(Unreachable::NotNow),
                })?
            }
            None => {
                let ready = self.ready(self.connect_locally(left)?, 0);
                ready.map_err(|_| self.unreachable(Unreachable::NotNow))?
            }
        };
        self.connected_once.store(true, Ordering::SeqCst);
        Ok(connection)
    }

    fn connect_locally(&self, left: Duration) -> Result<Connection, Unreachable> {
        let absent = || self.unreachable(Unreachable::NotNow);
        let socket = self.config.socket.as_ref().ok_or_else(absent)?;
        let stream = os::connect(socket, left).map_err(|_| absent())?;
        // Before the first byte: a PIN must not go to a stranger (DESIGN 5).
        let peer = os::peer_uid(&stream).map_err(|_| absent())?;
        if peer != 0 && peer != os::effective_uid() && Some(peer) != self.config.service_uid {
            return Err(self.unreachable(Unreachable::Stranger));
        }
        let stream = Stream::from(stream);
        self.register(stream.socket());
        self.greet(stream, left).map_err(|_| absent())
    }

    /// What it means that nobody is there, or somebody else.
    fn unreachable(&self, now: Unreachable) -> Unreachable {
        if self.connected_once.load(Ordering::SeqCst) {
            now
        } else {
            Unreachable::Absent
        }
    }

    /// The first words on a new stream.
    fn greet(&self, stream: Stream, patience: Duration) -> Result<Connection, Broken> {
        let mut connection = Connection::new(stream, self.max_data() + SLACK);
        connection.set_patience(patience)?;
        self.hello(&mut connection)?;
        Ok(connection)
    }

    fn hello(&self, connection: &mut Connection) -> Result<(), Broken> {
        let hello = wire::Hello {
            version: PROTOCOL_VERSION,
            application: self.application.0.to_vec(),
            program: program(),
        };
        let mut build = |_: &mut FrameWriter| wire::Request {
            op: Some(request::Op::Hello(hello.clone())),
            ..wire::Request::default()
        };
        let reply = connection.exchange(&mut build, &[], Instant::now() + self.config.deadline)?;
        connection.wipe();
        let Some(reply::Result::Hello(hello)) = reply.result else {
            return Err(Broken::Protocol);
        };
        if reply.rv != Rv::OK.0 || hello.version != PROTOCOL_VERSION {
            return Err(Broken::Protocol);
        }
        if hello.max_data != 0 {
            let max_data = hello.max_data.min(MOST_DATA) as usize;
            self.max_data.store(max_data, Ordering::Relaxed);
            connection.set_longest(max_data + SLACK);
        }
        Ok(())
    }

    fn register(&self, socket: &Arc<Socket>) {
        let mut open = lock(&self.open);
        open.retain(|(socket, _)| socket.strong_count() > 0);
        if let Some(inode) = os::inode(socket.as_raw_fd()) {
            open.push((Arc::downgrade(socket), inode));
        }
    }

    /// C_Finalize: every waiting call returns. Logins are ended on a connection that is idle, if there is one; a daemon
    /// that does not answer at once is not waited for.
    pub(crate) fn finalize(&self, logins: &[(SlotId, Arc<Login>)]) {
        self.finalized.store(true, Ordering::SeqCst);
        self.event.set();
        let idle = std::mem::take(&mut *lock(&self.idle));
        for (socket, _) in lock(&self.open).drain(..) {
            let is_idle = |socket: &Arc<Socket>| idle.iter().any(|other| Arc::ptr_eq(other.stream.socket(), socket));
            if let Some(socket) = socket.upgrade().filter(|socket| !is_idle(socket)) {
                socket.shut_down();
            }
        }
        let Some(mut connection) = idle.into_iter().next() else {
            return;
        };
        if connection.set_patience(FAREWELL).is_err() {
            return;
        }
        for (slot, login) in logins {
            let mut build = |writer: &mut FrameWriter| wire::Request {
                slot: slot.0,
                ticket: Some(writer.hide(&login.ticket)),
                grant: None,
                seen: 0,
                op: Some(request::Op::Logout(wire::Logout {})),
            };
            if connection.exchange(&mut build, &[], Instant::now() + FAREWELL).is_err() {
                return;
            }
        }
    }

    /// A forked child closes the parent's sockets without a word on them. The numbers may have been closed and given
    /// to others meanwhile, hence the inode; a lock that is held stays so, hence no waiting.
    pub(crate) fn close_inherited(&self) {
        let Ok(open) = self.open.try_lock() else { return };
        for (socket, inode) in open.iter() {
            if let Some(socket) = socket.upgrade() {
                let descriptor = socket.as_raw_fd();
                if os::inode(descriptor) == Some(*inode) {
                    os::close_inherited(descriptor);
                }
                // The descriptor is closed: the owner must not close the number again.
                std::mem::forget(socket);
            }
        }
    }
}

/// How long a call tries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tries {
    /// Again and again until the deadline: what the application waits for.
    UntilDeadline,
    /// A connection that turned out dead is replaced once: what nobody waits for.
    NoWaiting,
    /// Until the deadline; and what is answered is good at that server only: the session stays with it.
    Binding,
}

impl Refusal for Broken {
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused)
    }
}

enum Unreachable {
    /// Nobody was ever there.
    Absent,
    /// Somebody was; the call tries again.
    NotNow,
    /// Somebody else listens there now, or does not trust this client any more.
    Stranger,
}

/// The name that the daemon's log shows for this program.
fn program() -> String {
    let name = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
    name.trim_end().chars().take(64).collect()
}
