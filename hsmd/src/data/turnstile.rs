//! Turns for what would hold up others: RSA private keys, PINs, durable writes. A connection's own thread does the work
//! when its turn has come; there are no worker threads, so nothing is handed over and no one is woken for nothing.
//!
//! The queue is bounded, and fair: identities take turns, and within one identity its processes do.

use super::clients::Peer;
use hsmd_keystore::Identity;
use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The queue is full; the request was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Lets so many in at a time.
pub(crate) struct Turnstile {
    state: Mutex<State>,
    width: usize,
    limit: usize,
    limit_per_client: usize,
    /// Requests that found the queue full.
    refused: AtomicU64,
}

/// The right to go on; given to the next one when it is dropped.
pub(super) struct Turn<'a> {
    turnstile: &'a Turnstile,
    waited: bool,
}

impl Turn<'_> {
    /// Whether others were first.
    pub(super) const fn waited(&self) -> bool {
        self.waited
    }
}

/// One that waits.
#[derive(Default)]
struct Seat {
    called: Mutex<bool>,
    call: Condvar,
}

#[derive(Default)]
struct State {
    lanes: Turns<Identity, Lane>,
    queued: usize,
    running: usize,
}

#[derive(Default)]
struct Lane {
    processes: Turns<i32, VecDeque<Arc<Seat>>>,
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
    fn push(&mut self, peer: &Peer, seat: Arc<Seat>) {
        let lane = self.lanes.entry(peer.identity);
        lane.queued += 1;
        lane.processes.entry(peer.process).push_back(seat);
        self.queued += 1;
    }

    fn pop(&mut self) -> Option<Arc<Seat>> {
        let seat = self.lanes.next(|lane| {
            let seat = lane.processes.next(|seats| (seats.pop_front(), !seats.is_empty()));
            lane.queued -= usize::from(seat.is_some());
            (seat, lane.queued > 0)
        })?;
        self.queued -= 1;
        Some(seat)
    }
}

impl Turnstile {
    /// One that lets `width` in at a time and has so many waiting, in all and of one client.
    pub(crate) fn new(width: usize, limit: usize, limit_per_client: usize) -> Self {
        Self {
            state: Mutex::new(State::default()),
            width,
            limit,
            limit_per_client,
            refused: AtomicU64::new(0),
        }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Full`], for all or for this client.
    pub(super) fn enter(&self, peer: &Peer) -> Result<Turn<'_>, Full> {
        let mut state = self.state.lock();
        if state.running < self.width && state.queued == 0 {
            state.running += 1;
            return Ok(self.turn(false));
        }
        let own = state.lanes.map.get(&peer.identity).map_or(0, |lane| lane.queued);
        if state.queued >= self.limit || own >= self.limit_per_client {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Full);
        }
        let seat = Arc::new(Seat::default());
        state.push(peer, seat.clone());
        drop(state);
        let mut called = seat.called.lock();
        seat.call.wait_while(&mut called, |called| !*called);
        Ok(self.turn(true))
    }

    /// How many have a turn, how many wait, and how many were refused since the start.
    pub(crate) fn figures(&self) -> (usize, usize, u64) {
        let state = self.state.lock();
        (state.running, state.queued, self.refused.load(Ordering::Relaxed))
    }

    const fn turn(&self, waited: bool) -> Turn<'_> {
        Turn {
            turnstile: self,
            waited,
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state.lock().queued
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.turnstile.state.lock();
        let next = state.pop();
        // The turn goes over to the next one, or nobody has it.
        state.running -= usize::from(next.is_none());
        drop(state);
        if let Some(seat) = next {
            *seat.called.lock() = true;
            seat.call.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    fn peer(identity: u8, process: i32) -> Peer {
        Peer {
            access: crate::data::clients::Access::Local,
            identity: Identity([identity; 32]),
            user: 0,
            process,
        }
    }

    fn wait_for(turnstile: &Turnstile, waiting: usize) {
        while turnstile.waiting() != waiting {
            thread::yield_now();
        }
    }

    #[test]
    fn clients_take_turns_and_processes_within_them() {
        let turnstile = Turnstile::new(1, 10, 10);
        let first = turnstile.enter(&peer(9, 9)).unwrap();
        let jobs = [
            (1, 1, 'a'),
            (1, 1, 'b'),
            (1, 2, 'c'),
            (2, 9, 'd'),
            (1, 2, 'e'),
            (2, 9, 'f'),
        ];
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            for (index, (identity, process, name)) in jobs.into_iter().enumerate() {
                let (turnstile, sender) = (&turnstile, sender.clone());
                scope.spawn(move || {
                    let turn = turnstile.enter(&peer(identity, process)).unwrap();
                    sender.send(name).unwrap();
                    drop(turn);
                });
                wait_for(turnstile, index + 1);
            }
            drop(first);
        });
        drop(sender);
        assert_eq!(receiver.iter().collect::<String>(), "adcfbe");
        let state = turnstile.state.lock();
        assert_eq!((state.queued, state.running), (0, 0));
    }

    #[test]
    fn a_full_queue_refuses_the_client_that_filled_it() {
        let turnstile = Turnstile::new(1, 3, 2);
        let turn = turnstile.enter(&peer(1, 1)).unwrap();
        thread::scope(|scope| {
            let wait = |identity, before: usize| {
                let turnstile: &Turnstile = &turnstile;
                scope.spawn(move || drop(turnstile.enter(&peer(identity, 1))));
                wait_for(turnstile, before + 1);
            };
            wait(1, 0);
            wait(1, 1);
            assert_eq!(turnstile.enter(&peer(1, 1)).err(), Some(Full));
            wait(2, 2);
            assert_eq!(turnstile.enter(&peer(2, 1)).err(), Some(Full));
            drop(turn);
        });
        assert_eq!(turnstile.state.lock().running, 0);
    }

    #[test]
    fn no_more_are_let_in_than_the_width() {
        let turnstile = Turnstile::new(2, 10, 10);
        let turns = [
            turnstile.enter(&peer(1, 1)).unwrap(),
            turnstile.enter(&peer(2, 1)).unwrap(),
        ];
        thread::scope(|scope| {
            let third = scope.spawn(|| drop(turnstile.enter(&peer(3, 1)).unwrap()));
            wait_for(&turnstile, 1);
            assert!(!third.is_finished());
            drop(turns);
        });
    }
}
