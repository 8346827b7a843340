//! The threads that put the core's questions to the store: one for its changes, so that beats wait for nothing else, and one for
//! what it reads. Each question has a deadline of the driver's; one whose time is over while a thread still waits for the store
//! is answered there and then, not queued behind it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use hsmd_fleet::{Ask, Call, Revision, Told};
use hsmd_keystore::{NodeFacts, Peers};

use super::driver::Message;

/// A question has this long.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
/// Reading everything has as long as that takes.
pub(super) const LOADING: Duration = Duration::from_secs(60);
/// So many may wait behind one that the store is at.
const WAITING: usize = 3;

struct Desk {
    questions: Sender<(Call, Ask<()>)>,
    waiting: Arc<AtomicUsize>,
}

/// Both threads. They end with the value.
pub(super) struct Questions {
    changes: Desk,
    reads: Desk,
}

impl Questions {
    /// Starts them.
    pub(super) fn start(peers: &Peers, facts: &NodeFacts, to_driver: &Sender<Message>) -> io::Result<Self> {
        let desk = |name: &str| desk(name, peers.clone(), facts.clone(), to_driver.clone());
        Ok(Self {
            changes: desk("hsmd-fleet-put")?,
            reads: desk("hsmd-fleet-get")?,
        })
    }

    /// Puts a question. False: the thread is stuck, and nothing was asked.
    pub(super) fn put(&self, call: Call, ask: Ask<()>) -> bool {
        let desk = match ask {
            Ask::Commit { .. } => &self.changes,
            _ => &self.reads,
        };
        if desk.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
            desk.waiting.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        desk.questions.send((call, ask)).is_ok()
    }
}

fn desk(name: &str, peers: Peers, facts: NodeFacts, to_driver: Sender<Message>) -> io::Result<Desk> {
    let (questions, asked) = channel::<(Call, Ask<()>)>();
    let waiting = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&waiting);
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(move || {
        for (call, ask) in asked {
            let told = answer(&peers, &facts, &ask);
            count.fetch_sub(1, Ordering::Relaxed);
            if to_driver.send(Message::Told { call, told }).is_err() {
                return;
            }
        }
    })?;
    Ok(Desk { questions, waiting })
}

/// What the store says, and how far it was then; `None`: nothing in time.
fn answer(peers: &Peers, facts: &NodeFacts, ask: &Ask<()>) -> Option<(Revision, Told)> {
    let survey = |found: Option<(hsmd_fleet::Survey, Revision)>| found.map(|(survey, at)| (at, Told::Survey(survey)));
    match ask {
        Ask::Survey => survey(peers.survey(PATIENCE)),
        Ask::Load => survey(peers.load(LOADING)),
        Ask::Commit { guard, commit } => {
            let told = peers.commit(facts, *guard, commit)?;
            Some((peers.position(), told))
        }
        // The keystore's own batches do not go through the core, and no read waits for a revision yet.
        Ask::Resolve(_) | Ask::Head(_) => None,
    }
}
