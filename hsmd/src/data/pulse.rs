//! Heartbeats: one thread tells the clients whose requests take long that they are being worked on.
//!
//! The thread sleeps while there is nothing to tell: an idle daemon wakes for nothing. It never waits for a client: a
//! heartbeat that does not fit into the socket is left out. A node of a fleet that may not answer any more says nothing, so that
//! its clients ask another one instead of waiting with it.

use super::stream::{Line, Stream};
use hsmd_proto::frame::{FrameKind, HEADER, Header};
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// After so many rounds with nobody to tell, the thread sleeps until somebody comes.
const QUIET_ROUNDS: u32 = 8;

/// The heartbeats of a daemon.
pub(crate) struct Pulse {
    shared: Arc<Shared>,
    next: AtomicU64,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    period: Duration,
    /// Whether requests are answered; unset, they always are.
    serves: OnceLock<Serves>,
}

type Serves = Box<dyn Fn() -> bool + Send + Sync>;

#[derive(Default)]
struct State {
    waiting: HashMap<u64, Waiting>,
    asleep: bool,
    stopping: bool,
}

struct Waiting {
    line: Arc<Line>,
    header: [u8; HEADER],
    due: Instant,
}

/// A request that takes long. No heartbeat for it is sent once this is dropped.
pub(super) struct Beating<'a> {
    pulse: &'a Pulse,
    stream: &'a mut Stream,
    key: u64,
}

impl Beating<'_> {
    /// The stream, which this thread has lent.
    pub(super) const fn line(&self) -> &Arc<Line> {
        self.stream.line()
    }
}

impl Pulse {
    /// Starts the thread, which ends with the value.
    ///
    /// # Errors
    /// The system's, when it gives no thread.
    pub(crate) fn start(period: Duration) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
            period,
            serves: OnceLock::new(),
        });
        let beating = shared.clone();
        std::thread::Builder::new()
            .name("pulse".into())
            .spawn(move || beating.run())?;
        Ok(Self {
            shared,
            next: AtomicU64::new(0),
        })
    }

    /// From now on heartbeats are sent only while this says so: it must not wait.
    pub(crate) fn only_while(&self, serves: impl Fn() -> bool + Send + Sync + 'static) {
        // The first one holds: a daemon enters one fleet.
        let _ = self.shared.serves.set(Box::new(serves));
    }

    /// From now on the client hears heartbeats with the request's number: the first after one period, or up to a half more.
    pub(super) fn begin<'a>(&'a self, stream: &'a mut Stream, sequence: u32) -> Beating<'a> {
        stream.lend();
        let header = Header {
            kind: FrameKind::Heartbeat,
            more: false,
            section: 0,
            body: 0,
            sequence,
        };
        let waiting = Waiting {
            line: stream.line().clone(),
            header: header.to_bytes(),
            due: Instant::now() + self.shared.period,
        };
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        let mut state = self.shared.state.lock();
        state.waiting.insert(key, waiting);
        if std::mem::take(&mut state.asleep) {
            self.shared.wake.notify_one();
        }
        Beating {
            pulse: self,
            stream,
            key,
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.shared.state.lock().stopping = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for Beating<'_> {
    fn drop(&mut self) {
        // Heartbeats are sent under this lock: none can follow the reply.
        self.pulse.shared.state.lock().waiting.remove(&self.key);
        self.stream.take_back();
    }
}

impl Shared {
    fn run(&self) {
        let mut quiet = 0;
        let mut state = self.state.lock();
        while !state.stopping {
            if quiet < QUIET_ROUNDS {
                self.wake.wait_for(&mut state, self.period / 2);
            } else {
                state.asleep = true;
                self.wake
                    .wait_while(&mut state, |state| state.asleep && !state.stopping);
                quiet = 0;
            }
            quiet = if state.waiting.is_empty() {
                quiet.saturating_add(1)
            } else {
                0
            };
            if self.serves.get().is_some_and(|serves| !serves()) {
                continue;
            }
            let now = Instant::now();
            for waiting in state.waiting.values_mut().filter(|waiting| waiting.due <= now) {
                waiting.due = now + self.period;
                waiting.line.beat(&waiting.header);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn a_long_request_is_told_of_again_and_again_and_a_finished_one_never() {
        let pulse = Pulse::start(Duration::from_millis(4)).unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut ours = Stream::from(ours);
        for sequence in [7, 8] {
            let beating = pulse.begin(&mut ours, sequence);
            for _ in 0..3 {
                let mut header = [0; HEADER];
                theirs.read_exact(&mut header).unwrap();
                let header = Header::parse(&header).unwrap();
                assert_eq!((header.kind, header.sequence), (FrameKind::Heartbeat, sequence));
            }
            drop(beating);
            // What was sent before the drop is there already.
            theirs.set_nonblocking(true).unwrap();
            while theirs.read(&mut [0; HEADER]).is_ok() {}
            theirs.set_nonblocking(false).unwrap();
            // The thread falls asleep, and wakes for the next one.
            let deadline = Instant::now() + Duration::from_secs(20);
            while !pulse.shared.state.lock().asleep {
                assert!(Instant::now() < deadline, "a finished request is still told of");
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_node_that_may_not_answer_says_nothing() {
        let pulse = Pulse::start(Duration::from_millis(4)).unwrap();
        let serves = Arc::new(AtomicBool::new(true));
        let asked = Arc::new(AtomicU64::new(0));
        let (says, asks) = (serves.clone(), asked.clone());
        pulse.only_while(move || {
            asks.fetch_add(1, Ordering::SeqCst);
            says.load(Ordering::SeqCst)
        });
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut ours = Stream::from(ours);
        let beating = pulse.begin(&mut ours, 7);
        theirs.read_exact(&mut [0; HEADER]).unwrap();
        serves.store(false, Ordering::SeqCst);
        let rounds = |more: u64| {
            let (from, deadline) = (asked.load(Ordering::SeqCst), Instant::now() + Duration::from_secs(20));
            while asked.load(Ordering::SeqCst) < from + more {
                assert!(Instant::now() < deadline, "the thread looks again and again");
                std::thread::yield_now();
            }
        };
        // One round may have been under way.
        rounds(2);
        theirs.set_nonblocking(true).unwrap();
        while theirs.read(&mut [0; HEADER]).is_ok() {}
        rounds(5);
        assert!(theirs.read(&mut [0; HEADER]).is_err());
        serves.store(true, Ordering::SeqCst);
        theirs.set_nonblocking(false).unwrap();
        theirs.read_exact(&mut [0; HEADER]).unwrap();
        drop(beating);
    }
}
