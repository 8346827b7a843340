//! Several servers: which one a call goes to, which are lost, and how a lost one comes back. No thread looks after them: each call
//! takes one look, which waits for nothing (docs/decisions/0015). How a connection is made is in `remote`.

use super::ha_log::HaLog;
use super::remote::{Dial, Dialled};
use super::stream::{Socket, Stream};
use super::tls;
use crate::abi::os::Event;
use crate::config::{Availability, Config, ConfigError, Server};
use crate::state::lock;
use hsmd_proto::ids::ApplicationId;
use rustls::ClientConfig;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Of several servers, one that says nothing for this long is left.
pub(crate) const SILENCE: Duration = Duration::from_secs(1);
/// The first pause before a lost server is tried again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// What a second try costs, in calls that succeeded.
const PRICE: u32 = 10;
/// What a process begins with, and the most that it saves.
const LEAST_BUDGET: u32 = 10 * PRICE;
const MOST_BUDGET: u32 = 100 * PRICE;
/// How long one such attempt may take.
const ATTEMPT: Duration = Duration::from_secs(1);

/// The servers of a client, and how to know them.
pub(crate) struct Servers {
    list: Vec<Place>,
    tls: Arc<ClientConfig>,
    settings: Availability,
    /// Where this process begins.
    home: usize,
    /// How many are lost.
    lost: AtomicUsize,
    /// The newest revision that any of them has told.
    seen: AtomicU64,
    /// What second tries may still cost, in tenths of one: each call that succeeds adds one.
    budget: AtomicU32,
    log: HaLog,
}

/// One of them.
struct Place {
    server: Server,
    standby: bool,
    /// Calls under way.
    busy: AtomicUsize,
    /// The newest revision that this one is known to have.
    told: AtomicU64,
    lost: AtomicBool,
    recovery: Mutex<Recovery>,
    /// Where it was reached last: a lost one is not looked up again.
    address: Mutex<Option<SocketAddr>>,
}

#[derive(Default)]
struct Recovery {
    attempts: u32,
    next: Option<Instant>,
    /// The attempt under way.
    dial: Option<Dial>,
}

/// Why a server is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    /// It cannot be connected to, or does not serve.
    Unreachable,
    /// The connection broke in the middle of a call.
    Broken,
    /// It said nothing for a second.
    Silent,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "not reached",
            Self::Broken => "connection broken",
            Self::Silent => "silent",
        })
    }
}

/// A call under way at one of them.
pub(crate) struct Under<'a>(&'a AtomicUsize);

impl Drop for Under<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Servers {
    /// Reads the files that the configuration names; `None` when it names no servers.
    ///
    /// # Errors
    /// As [`tls::load`].
    pub(crate) fn of(config: &Config, application: ApplicationId) -> Result<Option<Self>, ConfigError> {
        let Some(remote) = &config.remote else { return Ok(None) };
        let settings = config.availability.clone();
        let place = |(at, server): (usize, &Server)| Place {
            server: server.clone(),
            standby: settings.standby.contains(&at),
            busy: AtomicUsize::new(0),
            told: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            recovery: Mutex::default(),
            address: Mutex::default(),
        };
        let list: Vec<_> = remote.servers.iter().enumerate().map(place).collect();
        let dice = usize::from(u16::from_le_bytes([application.0[0], application.0[1]]));
        Ok(Some(Self {
            home: if settings.spread { dice % list.len().max(1) } else { 0 },
            list,
            tls: tls::load(remote)?,
            log: HaLog::new(settings.log.clone()),
            settings,
            lost: AtomicUsize::new(0),
            seen: AtomicU64::new(0),
            budget: AtomicU32::new(LEAST_BUDGET),
        }))
    }

    /// Whether there is another one to go to.
    pub(crate) fn several(&self) -> bool {
        self.list.len() > 1
    }

    /// How good a choice one is; less is better.
    fn rank(&self, at: usize) -> (bool, bool, usize, usize) {
        let (place, count) = (&self.list[at], self.list.len());
        let busy = if self.settings.spread {
            place.busy.load(Ordering::Relaxed)
        } else {
            0
        };
        let distance = (at + count - self.home) % count;
        (place.lost.load(Ordering::Relaxed), place.standby, busy, distance)
    }

    /// The one for the next call: there, not on standby, least busy, nearest to where this process begins.
    pub(crate) fn best(&self) -> usize {
        (0..self.list.len()).min_by_key(|at| self.rank(*at)).unwrap_or(0)
    }

    /// A call goes there.
    pub(crate) fn enter(&self, at: usize) -> Under<'_> {
        let busy = &self.list[at].busy;
        busy.fetch_add(1, Ordering::Relaxed);
        Under(busy)
    }

    /// What a request must bring along: what this process has seen, if that server may not have it yet. 0: nothing.
    pub(crate) fn seen_before(&self, at: usize) -> u64 {
        let seen = self.seen.load(Ordering::Acquire);
        if seen > self.list[at].told.load(Ordering::Relaxed) {
            seen
        } else {
            0
        }
    }

    /// A reply told a revision, to a request that brought one along.
    pub(crate) fn told(&self, at: usize, brought: u64, revision: u64) {
        if revision == 0 {
            return;
        }
        if revision < brought {
            // The store went back and an operator accepted it: what was seen before is no measure any more.
            let _ = self
                .seen
                .compare_exchange(brought, revision, Ordering::AcqRel, Ordering::Relaxed);
            self.list[at].told.store(revision, Ordering::Relaxed);
        } else if revision > self.list[at].told.load(Ordering::Relaxed) {
            self.list[at].told.fetch_max(revision, Ordering::Relaxed);
            self.seen.fetch_max(revision, Ordering::AcqRel);
        }
    }

    /// A call succeeded at once.
    pub(crate) fn earn(&self) {
        let budget = self.budget.load(Ordering::Relaxed);
        if budget < MOST_BUDGET {
            // Calls of other threads may get lost in it.
            self.budget.store(budget + 1, Ordering::Relaxed);
        }
    }

    /// Whether a call may be sent again at once. What nodes in trouble need least is all of it twice.
    pub(crate) fn may_repeat(&self) -> bool {
        let spend = |budget: u32| budget.checked_sub(PRICE);
        let spent = self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
        spent.is_ok()
    }

    /// This one is left for others.
    pub(crate) fn lose(&self, at: usize, why: Loss) {
        let place = &self.list[at];
        if !self.several() || place.lost.swap(true, Ordering::SeqCst) {
            return;
        }
        self.lost.fetch_add(1, Ordering::SeqCst);
        *lock(&place.recovery) = Recovery {
            attempts: 0,
            next: Some(Instant::now() + FIRST_PAUSE.min(self.settings.interval)),
            dial: None,
        };
        self.log.write(format_args!("server {} dropped: {why}", place.server));
    }

    /// This one answers again.
    pub(crate) fn regain(&self, at: usize) {
        let place = &self.list[at];
        if place.lost.swap(false, Ordering::SeqCst) {
            self.lost.fetch_sub(1, Ordering::SeqCst);
            lock(&place.recovery).dial = None;
            self.log.write(format_args!("server {} recovered", place.server));
        }
    }

    /// Takes one look at lost servers while others serve, without waiting for anything: begins an attempt, goes on with one, or gives
    /// its stream, which waits for its first words.
    pub(crate) fn look_after_lost(&self, register: &dyn Fn(&Arc<Socket>)) -> Option<(usize, Stream)> {
        let lost = self.lost.load(Ordering::Relaxed);
        if lost == 0 || lost >= self.list.len() {
            return None;
        }
        let now = Instant::now();
        (0..self.list.len()).find_map(|at| {
            let place = &self.list[at];
            if !place.lost.load(Ordering::Relaxed) {
                return None;
            }
            // Another thread is at it.
            let mut recovery = place.recovery.try_lock().ok()?;
            if recovery.dial.is_none() {
                let spent = self.settings.attempts.is_some_and(|most| recovery.attempts >= most);
                if spent || recovery.next.is_some_and(|next| now < next) {
                    return None;
                }
                recovery.dial = self.dial(place, now, register);
            }
            match recovery.dial.as_mut().map(|dial| dial.go_on(&self.tls, &place.server)) {
                Some(Ok(Dialled::Stream(stream))) => {
                    recovery.dial = None;
                    drop(recovery);
                    Some((at, stream))
                }
                Some(Ok(Dialled::NotYet)) => None,
                Some(Err(_)) | None => {
                    self.failed(place, &mut recovery);
                    None
                }
            }
        })
    }

    fn dial(&self, place: &Place, now: Instant, register: &dyn Fn(&Arc<Socket>)) -> Option<Dial> {
        let known = *lock(&place.address);
        let address = known.or_else(|| place.server.literal())?;
        Dial::begin(&address, now + ATTEMPT, register).ok()
    }

    /// What looked like a return was none.
    pub(crate) fn return_failed(&self, at: usize) {
        let place = &self.list[at];
        self.failed(place, &mut lock(&place.recovery));
    }

    fn failed(&self, place: &Place, recovery: &mut Recovery) {
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(recovery.attempts.saturating_add(1).min(16)));
        recovery.attempts = recovery.attempts.saturating_add(1);
        recovery.next = Some(Instant::now() + pause.min(self.settings.interval));
        recovery.dial = None;
        let (attempt, server) = (recovery.attempts, &place.server);
        self.log
            .write(format_args!("server {server} recovery attempt #{attempt} failed"));
    }

    /// Whether this one is not lost.
    pub(crate) fn is_there(&self, at: usize) -> bool {
        self.list
            .get(at)
            .is_some_and(|place| !place.lost.load(Ordering::Relaxed))
    }

    /// Tries the servers, one before all others and then the best first, each for its share of the time, until `greet` is content with one.
    ///
    /// # Errors
    /// That of the last one; a refusal goes before what may get better by itself.
    pub(crate) fn try_each<T, E: Refusal>(
        &self,
        patience: Duration,
        first: usize,
        mut greet: impl FnMut(usize, Duration) -> Result<T, E>,
    ) -> Result<T, Option<E>> {
        let begun = Instant::now();
        let mut order: Vec<usize> = (0..self.list.len()).collect();
        order.sort_by_key(|at| (*at != first, self.rank(*at)));
        let mut worst: Option<E> = None;
        for (tried, at) in order.iter().copied().enumerate() {
            let left = patience.saturating_sub(begun.elapsed());
            // One that is silent does not use up the time of those after it.
            let share = left / u32::try_from(order.len() - tried).unwrap_or(u32::MAX);
            let share = if self.several() { share.min(SILENCE) } else { share };
            match greet(at, share) {
                Ok(answer) => {
                    self.regain(at);
                    return Ok(answer);
                }
                Err(error) => {
                    self.lose(at, Loss::Unreachable);
                    let refused = worst.as_ref().is_some_and(Refusal::is_refusal);
                    if !refused || error.is_refusal() {
                        worst = Some(error);
                    }
                }
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
        at: usize,
        patience: Duration,
        ended: &Event,
        register: &dyn Fn(&Arc<Socket>),
    ) -> io::Result<Stream> {
        let place = &self.list[at];
        let (stream, address) = super::remote::open(&place.server, &self.tls, patience, ended, register)?;
        *lock(&place.address) = Some(address);
        Ok(stream)
    }
}

/// Whether trying again is of no use.
pub(crate) trait Refusal {
    /// One side does not trust the other.
    fn is_refusal(&self) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Log;
    use std::net::TcpListener;

    fn servers(ports: &[u16], settings: Availability) -> Servers {
        let place = |(at, port): (usize, &u16)| Place {
            server: Server {
                host: "127.0.0.1".into(),
                port: *port,
            },
            standby: settings.standby.contains(&at),
            busy: AtomicUsize::new(0),
            told: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            recovery: Mutex::default(),
            address: Mutex::default(),
        };
        let trusted = rustls::RootCertStore::empty();
        let tls = ClientConfig::builder()
            .with_root_certificates(trusted)
            .with_no_client_auth();
        Servers {
            list: ports.iter().enumerate().map(place).collect(),
            tls: Arc::new(tls),
            log: HaLog::new(settings.log.clone()),
            settings,
            home: 1,
            lost: AtomicUsize::new(0),
            seen: AtomicU64::new(0),
            budget: AtomicU32::new(LEAST_BUDGET),
        }
    }

    #[test]
    fn a_call_goes_to_the_least_busy_that_is_there_and_to_standby_last() {
        let servers = servers(
            &[1, 2, 3, 4],
            Availability {
                standby: vec![3],
                ..Availability::default()
            },
        );
        assert_eq!(servers.best(), 1, "where this process begins");
        let first = servers.enter(1);
        assert_eq!(servers.best(), 2);
        let second = servers.enter(2);
        assert_eq!(servers.best(), 0);
        drop(first);
        assert_eq!(servers.best(), 1);
        servers.lose(1, Loss::Silent);
        assert_eq!(servers.best(), 0);
        servers.lose(0, Loss::Broken);
        assert_eq!(servers.best(), 2, "busy, but there");
        servers.lose(2, Loss::Broken);
        assert_eq!(servers.best(), 3, "on standby, but there");
        servers.lose(3, Loss::Broken);
        drop(second);
        assert_eq!(servers.best(), 1, "all are lost: as if none were");
        servers.regain(0);
        assert_eq!(servers.best(), 0);
    }

    #[test]
    fn second_tries_have_a_budget_that_calls_fill() {
        let servers = servers(&[1, 2], Availability::default());
        let spent = (0..100).take_while(|_| servers.may_repeat()).count();
        assert_eq!(spent, 10);
        (0..19).for_each(|_| servers.earn());
        assert!(servers.may_repeat() && !servers.may_repeat());
        (0..100_000).for_each(|_| servers.earn());
        assert_eq!((0..1000).take_while(|_| servers.may_repeat()).count(), 100);
    }

    #[test]
    fn what_one_server_told_is_asked_of_the_others() {
        let servers = servers(&[1, 2], Availability::default());
        assert_eq!(servers.seen_before(0), 0);
        servers.told(0, 0, 40);
        assert_eq!((servers.seen_before(0), servers.seen_before(1)), (0, 40));
        servers.told(1, 40, 0);
        assert_eq!(servers.seen_before(1), 40, "a refusal tells nothing");
        servers.told(1, 40, 45);
        assert_eq!((servers.seen_before(0), servers.seen_before(1)), (45, 0));
        // A store that went back, and was accepted.
        servers.told(0, 45, 7);
        assert_eq!(servers.seen_before(1), 0);
        servers.told(0, 0, 8);
        assert_eq!((servers.seen_before(0), servers.seen_before(1)), (0, 0));
    }

    #[test]
    fn a_lost_server_is_tried_again_so_often_and_nobody_waits() {
        let folder = tempfile::tempdir().unwrap();
        // It takes connections and says nothing: a stopped process.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let servers = servers(
            &[1, silent.local_addr().unwrap().port()],
            Availability {
                attempts: Some(2),
                interval: Duration::from_millis(1),
                log: Some(Log {
                    folder: folder.path().to_path_buf(),
                    bytes: 10_000,
                }),
                ..Availability::default()
            },
        );
        servers.lose(1, Loss::Silent);
        let (begun, mut longest) = (Instant::now(), Duration::ZERO);
        while begun.elapsed() < Duration::from_millis(2500) {
            let one = Instant::now();
            assert!(servers.look_after_lost(&|_| {}).is_none());
            longest = longest.max(one.elapsed());
            std::thread::yield_now();
        }
        assert!(longest < Duration::from_millis(500), "{longest:?}");
        let text = std::fs::read_to_string(folder.path().join("haErrorLog.txt")).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.split("] ").last().unwrap()).collect();
        let name = format!("server {}", servers.list[1].server);
        assert_eq!(lines[0], format!("{name} dropped: silent"));
        assert_eq!(lines[1], format!("{name} recovery attempt #1 failed"));
        assert_eq!(lines[2], format!("{name} recovery attempt #2 failed"));
        assert_eq!(lines.len(), 3, "{text}");
    }
}
