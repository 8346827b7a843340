//! Whether a side of a connection polls for the next frame before it sleeps: a rule for both, without a clock or a socket.
//!
//! Waking a thread that sleeps on an idle processor costs 10 to 25 us of latency, and about as much processor time on
//! the side that wakes it (inter-processor interrupts, above all in virtual machines). An exchange has two such
//! wake-ups, often more than the operation itself takes. So a side polls where the last waits were shorter than
//! [`LIMIT`], and for no longer than that: it never spends more than about what a wake-up would have cost. Each time
//! that polling was in vain makes it rarer, down to one wait in 1,024.

use std::time::Duration;

/// The longest polling before a sleep.
pub const LIMIT: Duration = Duration::from_micros(50);

/// The most waits that go by without polling after it was in vain again and again.
const MOST_SKIPPED: u32 = 1023;

/// What one side of one connection has learned.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    last_was_short: bool,
    skipped_after_failure: u32,
    to_skip: u32,
}

impl Pace {
    /// Whether to poll during the wait that begins now. Not when the daemon is `crowded`: others need the processor.
    pub fn polls(&mut self, crowded: bool) -> bool {
        if crowded || !self.last_was_short {
            return false;
        }
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return false;
        }
        true
    }

    /// A wait took so long.
    pub fn waited(&mut self, polled: bool, wait: Duration) {
        self.last_was_short = wait < LIMIT;
        match (polled, self.last_was_short) {
            (true, true) => self.skipped_after_failure /= 2,
            (true, false) => {
                self.skipped_after_failure = (self.skipped_after_failure * 2 + 1).min(MOST_SKIPPED);
                self.to_skip = self.skipped_after_failure;
            }
            (false, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_micros(5);
    const LONG: Duration = Duration::from_millis(5);

    #[test]
    fn polling_follows_short_waits_only() {
        let mut pace = Pace::default();
        assert!(!pace.polls(false));
        pace.waited(false, SHORT);
        assert!(pace.polls(false));
        assert!(!pace.polls(true));
        pace.waited(true, SHORT);
        assert!(pace.polls(false));
        pace.waited(false, LONG);
        assert!(!pace.polls(false));
    }

    #[test]
    fn polling_in_vain_becomes_rare_and_comes_back_when_it_helps() {
        let mut pace = Pace::default();
        let mut polls = |wait: Duration, waits: u32| {
            let mut count = 0;
            for _ in 0..waits {
                // Every wait but the polled one is short: the worst that another load can do.
                let polled = pace.polls(false);
                pace.waited(polled, if polled { wait } else { SHORT });
                count += u32::from(polled);
            }
            count
        };
        assert!(polls(LONG, 100_000) < 200);
        assert!(polls(SHORT, 100_000) > 90_000);
    }
}
