//! How busy the daemon is: whether those who wait may poll, or others need the processors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Requests that follow each other within this time make a connection busy; without one for as long it is calm again.
pub(super) const WINDOW: Duration = Duration::from_millis(4);

/// The busy connections of a daemon.
pub(crate) struct Traffic {
    busy: AtomicUsize,
    /// With more than these, polling takes processors away from work: each busy connection has a caller, too.
    most_polling: usize,
}

impl Default for Traffic {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            busy: AtomicUsize::new(0),
            most_polling: processors / 2,
        }
    }
}

impl Traffic {
    /// Whether everybody had better sleep while waiting.
    pub(super) fn is_crowded(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > self.most_polling
    }
}

/// Whether one connection is busy.
pub(super) struct Tempo<'a> {
    traffic: &'a Traffic,
    busy: bool,
    last: Instant,
}

impl<'a> Tempo<'a> {
    pub(super) fn new(traffic: &'a Traffic) -> Self {
        Self {
            traffic,
            busy: false,
            last: Instant::now(),
        }
    }

    pub(super) const fn is_busy(&self) -> bool {
        self.busy
    }

    /// A request came. True when the connection became busy with it.
    pub(super) fn request(&mut self, now: Instant) -> bool {
        let soon = now.duration_since(self.last) < WINDOW;
        self.last = now;
        let becomes_busy = soon && !self.busy;
        if becomes_busy {
            self.busy = true;
            self.traffic.busy.fetch_add(1, Ordering::Relaxed);
        }
        becomes_busy
    }

    /// No request came for a while.
    pub(super) fn calm(&mut self) {
        if std::mem::take(&mut self.busy) {
            self.traffic.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Tempo<'_> {
    fn drop(&mut self) {
        self.calm();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_with_request_after_request_crowd_the_daemon_until_they_are_calm() {
        let traffic = Traffic {
            busy: AtomicUsize::new(0),
            most_polling: 1,
        };
        let now = Instant::now();
        let mut tempos = [Tempo::new(&traffic), Tempo::new(&traffic)];
        for tempo in &mut tempos {
            tempo.last = now;
            assert!(!tempo.request(now + WINDOW));
            assert!(tempo.request(now + WINDOW + WINDOW / 2));
            assert!(!tempo.request(now + WINDOW + WINDOW / 2));
        }
        assert!(traffic.is_crowded());
        tempos[0].calm();
        assert!(!traffic.is_crowded());
        drop(tempos);
        assert_eq!(traffic.busy.load(Ordering::Relaxed), 0);
    }
}
