//! This daemon as a node of a fleet: the thread that drives `hsmd_fleet::Node` over the keystore's shared store (`driver`), the
//! file by which it remembers (`anchor`), and what requests ask of it: [`Fleet::enter`] before the work, [`Fleet::leave`] before
//! the reply. Those two read a few atomic words and a clock (INV-5). A daemon whose store is in files has none of this.
//!
//! What nodes agree on, and why, is in docs/fleet.md.

mod anchor;
mod driver;
mod figures;
mod questions;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hsmd_fleet::{Answer, Entry, Gate, NodeId, Pass, Phase, Raised, Revision, Time, Timing};
use hsmd_keystore::{Keystore, NodeFacts, Peers, take_barrier, take_unsettled};
use parking_lot::{Condvar, Mutex};

use crate::config::Config;
use anchor::AnchorFile;
use driver::{Driver, Message};

/// How long a request waits until all nodes have applied what it has done. A node that is silent is fenced in less.
const BARRIER: Duration = Duration::from_secs(15);
/// How long a request of the control plane waits for the store to say how far it is.
const CATCHING_UP: Duration = Duration::from_millis(500);
/// How long a stop waits until the node has said that it leaves.
const LEAVING: Duration = Duration::from_secs(2);

/// One node's part.
pub(crate) struct Fleet {
    gate: Arc<Gate>,
    to_driver: Sender<Message>,
    peers: Peers,
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the driver tells of itself.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    moved: Condvar,
}

struct State {
    phase: Phase,
    /// Counts changes of the control plane's records by other nodes.
    control: u64,
    ended: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            phase: Phase::Looking,
            control: 0,
            ended: false,
        }
    }
}

/// A request that was let in.
#[derive(Clone, Copy)]
pub(crate) struct Inside(Pass);

/// This node may not answer now: nothing is said, so that whoever asks another node with the same ids is answered there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoPlace;

/// One node, for status.
pub(crate) struct NodeView {
    pub(crate) records: hsmd_fleet::NodeRecords,
    pub(crate) facts: NodeFacts,
    pub(crate) own: bool,
}

/// Microseconds of the boot clock, sleep included: a paused machine loses its right to serve.
fn now() -> Time {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Time(time.tv_sec.cast_unsigned() * 1_000_000 + time.tv_nsec.cast_unsigned() / 1_000)
}

impl Fleet {
    /// Enters the fleet of a keystore whose store has others; `None` for one on files. The gate opens some time later.
    ///
    /// # Errors
    /// In words: the anchor's file, the first record, a thread.
    pub(crate) fn start(keystore: &Keystore, config: &Config) -> Result<Option<Arc<Self>>, String> {
        let Some(peers) = keystore.peers() else { return Ok(None) };
        #[cfg(feature = "planted")]
        hsmd_keystore::planted::make(
            &std::fs::read_to_string(config.store.data_dir.join("planted")).unwrap_or_default(),
        );
        peers.found().map_err(|error| error.to_string())?;
        let (file, anchor) = AnchorFile::open(&config.store.data_dir, &peers).map_err(|error| error.to_string())?;
        let (to_driver, messages) = channel();
        let shared = Arc::<Shared>::default();
        let facts = NodeFacts {
            name: host(),
            address: config.data.advertise.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let events = to_driver.clone();
        let told = Arc::clone(&shared);
        let followed = move |followed: hsmd_keystore::Followed| {
            if followed.control {
                told.state.lock().control += 1;
                told.moved.notify_all();
            }
            // The driver ends before the store does.
            let _ = events.send(Message::Followed(followed));
        };
        let driver = Driver::new(&peers, &facts, (file, anchor), &to_driver, Arc::clone(&shared));
        let mut driver = driver.map_err(|error| error.to_string())?;
        let gate = driver.gate();
        let follower = peers.follow(followed).map_err(|error| error.to_string())?;
        let driver = thread("hsmd-fleet")
            .spawn(move || driver.run(&messages))
            .map_err(|error| error.to_string())?;
        Ok(Some(Arc::new(Self {
            gate,
            to_driver,
            peers,
            shared,
            threads: Mutex::new(vec![driver, follower]),
        })))
    }

    /// Before the work.
    ///
    /// # Errors
    /// [`NoPlace`]: this node has no right to serve; another one may have.
    pub(crate) fn enter(&self) -> Result<Inside, NoPlace> {
        // What an earlier request of this thread left behind says nothing of this one.
        let _ = take_unsettled();
        match self.gate.enter(now(), None) {
            Entry::Go(pass) => Ok(Inside(pass)),
            #[cfg(feature = "planted")]
            Entry::Closed | Entry::Behind if unfenced() => Ok(Inside(self.gate.pass())),
            // What a process has seen is not asked of it yet.
            Entry::Wait | Entry::Behind | Entry::Closed | Entry::Draining => Err(NoPlace),
        }
    }

    /// Before the reply: waits until all nodes have applied what must hold everywhere.
    ///
    /// # Errors
    /// [`NoPlace`]: the right was lost meanwhile, and nothing of the work may leave; or the store has not said what became of it,
    /// and whoever asks again with the same ids finds that out.
    pub(crate) fn leave(&self, inside: Inside) -> Result<(), NoPlace> {
        if take_unsettled() {
            return Err(NoPlace);
        }
        if let Some(position) = take_barrier() {
            self.barrier(position)?;
        }
        #[cfg(feature = "planted")]
        if unfenced() {
            return Ok(());
        }
        self.gate.leave(now(), inside.0).map(drop).ok_or(NoPlace)
    }

    /// Waits until all nodes have applied what is at this position.
    ///
    /// # Errors
    /// [`NoPlace`]: whether they have is not known.
    pub(crate) fn barrier(&self, position: u64) -> Result<(), NoPlace> {
        let (reply, answer) = sync_channel(1);
        let revision = Revision(position);
        let until = BARRIER;
        let sent = self.to_driver.send(Message::Barrier { revision, until, reply });
        let answered = sent.ok().and_then(|()| answer.recv_timeout(BARRIER * 2).ok());
        match answered {
            Some(Answer::Done(_) | Answer::Answered(_)) => Ok(()),
            // It is committed, and not known to be applied everywhere.
            _ => Err(NoPlace),
        }
    }

    /// Waits until this node's memory has all that the store has at this moment; false: the store does not answer in time.
    pub(crate) fn catch_up(&self) -> bool {
        self.peers.load(CATCHING_UP).is_some()
    }

    /// Whether requests are answered now.
    pub(crate) fn serves(&self) -> bool {
        matches!(self.gate.enter(now(), None), Entry::Go(_))
    }

    /// Whether a request that is here may still be answered, as far as the right to serve goes.
    pub(crate) fn may_answer(&self) -> bool {
        self.gate.right(now()) > 0
    }

    /// Waits until requests are answered, at most so long.
    pub(crate) fn wait_until_it_serves(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.shared.state.lock();
        while !self.serves() {
            let slice = until.min(Instant::now() + Duration::from_millis(20));
            self.shared.moved.wait_until(&mut state, slice);
            if Instant::now() >= until || state.ended {
                return false;
            }
        }
        true
    }

    /// Waits until other nodes have changed the control plane's records since `seen`; the new count, or `None` at the end.
    pub(crate) fn control_changed(&self, seen: u64) -> Option<u64> {
        let mut state = self.shared.state.lock();
        while state.control == seen && !state.ended {
            self.shared.moved.wait(&mut state);
        }
        (!state.ended).then_some(state.control)
    }

    /// Where this node is in its life.
    pub(crate) fn phase(&self) -> Phase {
        self.shared.state.lock().phase
    }

    /// All nodes that ever were.
    pub(crate) fn nodes(&self) -> Result<Vec<NodeView>, hsmd_keystore::Error> {
        let own = self.peers.id();
        let view = |(records, facts): (hsmd_fleet::NodeRecords, NodeFacts)| NodeView {
            own: records.node == own,
            records,
            facts,
        };
        Ok(self.peers.nodes()?.into_iter().map(view).collect())
    }

    /// Takes no new requests and leaves the fleet when those that are here have been answered. The daemon goes on, and answers
    /// none; it enters again when it is started again.
    pub(crate) fn drain(&self) {
        // The driver ends with the daemon.
        let _ = self.to_driver.send(Message::Drain);
    }

    /// Closes a node that has left or is fenced for good.
    ///
    /// # Errors
    /// In words: it is there still, or this node may not do it.
    pub(crate) fn remove(&self, node: NodeId) -> Result<(), &'static str> {
        let (reply, answer) = sync_channel(1);
        let sent = self.to_driver.send(Message::Remove { node, reply });
        match sent.ok().and_then(|()| answer.recv_timeout(BARRIER).ok()) {
            Some(Answer::Done(_)) => Ok(()),
            Some(Answer::Contended) => Err("a node can be removed when it has left or is fenced"),
            _ => Err("this node has no right to serve at the moment"),
        }
    }

    /// The format level that the fleet has; `None`: its root record cannot be read.
    pub(crate) fn level(&self) -> Option<u32> {
        self.peers.level().ok().flatten()
    }

    /// Gives the fleet the next format level.
    pub(crate) fn raise(&self, level: u32) -> Raised {
        let (reply, answer) = sync_channel(1);
        let sent = self.to_driver.send(Message::Raise { level, reply });
        let raised = sent.ok().and_then(|()| answer.recv_timeout(BARRIER).ok());
        raised.unwrap_or(Raised::Unknown)
    }

    /// Leaves, and ends the threads.
    pub(crate) fn stop(&self) {
        self.drain();
        let until = Instant::now() + LEAVING;
        let mut state = self.shared.state.lock();
        while !matches!(state.phase, Phase::Left | Phase::Removed) {
            if self.shared.moved.wait_until(&mut state, until).timed_out() {
                tracing::warn!("the fleet was not told that this node leaves");
                break;
            }
        }
        state.ended = true;
        drop(state);
        self.shared.moved.notify_all();
        let _ = self.to_driver.send(Message::End);
        // The follower ends with the store.
        if let Some(driver) = self.threads.lock().drain(..).next() {
            let _ = driver.join();
        }
    }
}

/// Whether this build makes the mistake of going on without a right.
#[cfg(feature = "planted")]
fn unfenced() -> bool {
    hsmd_keystore::planted::makes(hsmd_keystore::planted::Mistake::NoFencing)
}

/// The format levels that this program reads and writes.
pub(crate) fn levels() -> RangeInclusive<u32> {
    #[cfg(feature = "planted")]
    if let Some(highest) = hsmd_keystore::planted::highest_level() {
        return 1..=highest;
    }
    Timing::default().levels
}

/// This host's name, for people.
fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// What a phase is called.
pub(crate) const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Looking => "looking",
        Phase::Entering => "entering",
        Phase::Loading => "loading",
        Phase::Rising => "rising",
        Phase::Serving => "serving",
        Phase::Leaving => "leaving",
        Phase::Left => "left",
        Phase::Removed => "removed",
        Phase::NoFleet => "no fleet",
        Phase::WrongLevel(_) => "wrong level",
        Phase::Suspect(_) => "suspect",
    }
}
