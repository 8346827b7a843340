//! A daemon that somebody starts again whenever it ends, as systemd does: for programs that are killed at steps that nobody
//! can foresee. It runs in a thread of its own; the tests meanwhile use the module.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::served::Served;
use crate::wait;

/// How often the keeper looks whether the daemon lives.
const LOOK: Duration = Duration::from_millis(2);

enum Order {
    /// Kill it after this time, then start it under this plan.
    Kill {
        after: Duration,
        plan: Vec<String>,
    },
    End,
}

/// What the keeper has seen.
#[derive(Debug, Default)]
pub struct Ends {
    /// Kills that were ordered.
    pub ordered: AtomicUsize,
    /// Ends that came by a plan, at a step of the store.
    pub planned: AtomicUsize,
    /// Those of them before the daemon was ready.
    pub starting: AtomicUsize,
}

impl Ends {
    /// How often the daemon has ended and was started again.
    #[must_use]
    pub fn all(&self) -> usize {
        self.ordered.load(Ordering::SeqCst) + self.planned.load(Ordering::SeqCst)
    }

    /// Ends by a plan.
    #[must_use]
    pub fn planned(&self) -> usize {
        self.planned.load(Ordering::SeqCst)
    }
}

/// Keeps a daemon running.
pub struct Keeper {
    orders: Sender<Order>,
    thread: Option<JoinHandle<Served>>,
    /// Counted here.
    pub ends: Arc<Ends>,
}

impl Keeper {
    /// Takes the daemon over.
    #[must_use]
    pub fn of(daemon: Served) -> Self {
        let (orders, queue) = channel();
        let ends = Arc::new(Ends::default());
        let seen = Arc::clone(&ends);
        let thread = std::thread::spawn(move || keep(daemon, &queue, &seen));
        Self {
            orders,
            thread: Some(thread),
            ends,
        }
    }

    /// Kills the daemon after this time and starts it again, under a plan or none. It does not wait for that.
    pub fn kill(&self, after: Duration, plan: Vec<String>) {
        self.orders.send(Order::Kill { after, plan }).expect("the keeper works");
    }

    /// Waits until the daemon has ended and come back more often than `before` times.
    pub fn wait_beyond(&self, before: usize, patience: Duration) -> bool {
        wait::until(patience, || (self.ends.all() > before).then_some(())).is_some()
    }

    /// Ends the keeper, not the daemon.
    #[must_use]
    pub fn give_back(mut self) -> Served {
        let _ = self.orders.send(Order::End);
        let thread = self.thread.take().expect("the keeper works");
        thread.join().expect("the keeper ends well")
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::End);
    }
}

fn keep(mut daemon: Served, queue: &Receiver<Order>, ends: &Ends) -> Served {
    loop {
        let order = match queue.recv_timeout(LOOK) {
            Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => return daemon,
            Ok(Order::Kill { after, plan }) => Some((after, plan)),
            Err(RecvTimeoutError::Timeout) => None,
        };
        if let Some((after, plan)) = order {
            if wait::until(after, || daemon.ended()).is_some() {
                daemon.kill9();
                daemon.launch_planned(&[]);
                ends.planned.fetch_add(1, Ordering::SeqCst);
            }
            daemon.kill9();
            if !daemon.launch_planned(&plan) {
                ends.starting.fetch_add(1, Ordering::SeqCst);
                ends.planned.fetch_add(1, Ordering::SeqCst);
            }
            ends.ordered.fetch_add(1, Ordering::SeqCst);
        } else if daemon.ended().is_some() {
            daemon.kill9();
            daemon.launch_planned(&[]);
            ends.planned.fetch_add(1, Ordering::SeqCst);
        }
    }
}
