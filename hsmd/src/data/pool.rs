//! Fixed pools of threads for what would hold up the connections: RSA private keys, PINs, durable writes.
//!
//! The queue is bounded, and fair: identities take turns, and within one identity its processes do. A job whose client
//! is gone is dropped before it begins.

use super::clients::Peer;
use hsmd_keystore::Identity;
use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

/// Work to do.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// The queue is full; the request was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Threads with one queue. They end when the pool is dropped.
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    limit: usize,
    limit_per_client: usize,
}

#[derive(Default)]
struct State {
    lanes: Turns<Identity, Lane>,
    queued: usize,
    stopping: bool,
}

#[derive(Default)]
struct Lane {
    processes: Turns<i32, VecDeque<Job>>,
    queued: usize,
}

/// Keys that take turns, each with something of its own.
struct Turns<K, V> {
    order: VecDeque<K>,
    map: HashMap<K, V>,
}

impl<K, V> Default for Turns<K, V> {
    fn default() -> Self {
        Self {
            order: VecDeque::new(),
            map: HashMap::new(),
        }
    }
}

impl<K: Copy + Eq + Hash, V: Default> Turns<K, V> {
    /// What belongs to a key; a new one is the last in turn.
    fn entry(&mut self, key: K) -> &mut V {
        if !self.map.contains_key(&key) {
            self.order.push_back(key);
        }
        self.map.entry(key).or_default()
    }

    /// Takes from the key whose turn it is; `take` says whether something is left, else the key leaves.
    fn next<T>(&mut self, take: impl FnOnce(&mut V) -> (Option<T>, bool)) -> Option<T> {
        let key = self.order.pop_front()?;
        let (taken, left) = take(self.map.get_mut(&key)?);
        if left {
            self.order.push_back(key);
        } else {
            self.map.remove(&key);
        }
        taken
    }
}

impl State {
    fn push(&mut self, peer: &Peer, job: Job) {
        let lane = self.lanes.entry(peer.identity);
        lane.queued += 1;
        lane.processes.entry(peer.process).push_back(job);
        self.queued += 1;
    }

    fn pop(&mut self) -> Option<Job> {
        let job = self.lanes.next(|lane| {
            let job = lane.processes.next(|jobs| (jobs.pop_front(), !jobs.is_empty()));
            lane.queued -= usize::from(job.is_some());
            (job, lane.queued > 0)
        })?;
        self.queued -= 1;
        Some(job)
    }
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system's, when it gives no thread.
    pub(crate) fn start(name: &str, threads: usize, limit: usize, limit_per_client: usize) -> std::io::Result<Self> {
        let pool = Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State::default()),
                work: Condvar::new(),
                limit,
                limit_per_client,
            }),
        };
        for index in 0..threads {
            let shared = pool.shared.clone();
            std::thread::Builder::new()
                .name(format!("{name}-{index}"))
                .spawn(move || shared.serve())?;
        }
        Ok(pool)
    }

    /// Queues a job.
    ///
    /// # Errors
    /// [`Full`], for all or for this client.
    pub(super) fn submit(&self, peer: &Peer, job: Job) -> Result<(), Full> {
        let mut state = self.shared.state.lock();
        let own = state.lanes.map.get(&peer.identity).map_or(0, |lane| lane.queued);
        if state.queued >= self.shared.limit || own >= self.shared.limit_per_client {
            return Err(Full);
        }
        state.push(peer, job);
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state.lock().stopping = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    fn serve(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.pop() {
                drop(state);
                job();
                state = self.state.lock();
            } else if state.stopping {
                return;
            } else {
                self.work.wait(&mut state);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn peer(identity: u8, process: i32) -> Peer {
        Peer {
            identity: Identity([identity; 32]),
            user: 0,
            process,
        }
    }

    #[test]
    fn clients_take_turns_and_processes_within_them() {
        let (sender, receiver) = mpsc::channel();
        let mut state = State::default();
        let jobs = [
            (1, 1, "a"),
            (1, 1, "b"),
            (1, 2, "c"),
            (2, 9, "d"),
            (1, 2, "e"),
            (2, 9, "f"),
        ];
        for (identity, process, name) in jobs {
            let sender = sender.clone();
            state.push(&peer(identity, process), Box::new(move || sender.send(name).unwrap()));
        }
        while let Some(job) = state.pop() {
            job();
        }
        drop(sender);
        assert_eq!(receiver.iter().collect::<String>(), "adcfbe");
        assert_eq!(state.queued, 0);
    }

    #[test]
    fn a_full_queue_refuses_the_client_that_filled_it() {
        let pool = Pool::start("test", 0, 3, 2).unwrap();
        let submit = |identity| pool.submit(&peer(identity, 1), Box::new(|| ()));
        assert_eq!((submit(1), submit(1), submit(1)), (Ok(()), Ok(()), Err(Full)));
        assert_eq!((submit(2), submit(2)), (Ok(()), Err(Full)));
    }

    #[test]
    fn jobs_run_on_the_threads() {
        let pool = Pool::start("test", 2, 10, 10).unwrap();
        let (sender, receiver) = mpsc::channel();
        for number in 0..8 {
            let sender = sender.clone();
            pool.submit(&peer(1, 1), Box::new(move || sender.send(number).unwrap()))
                .unwrap();
        }
        drop(sender);
        let mut seen: Vec<i32> = receiver.iter().collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..8).collect::<Vec<_>>());
    }
}
