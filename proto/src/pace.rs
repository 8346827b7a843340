//! How a side of a connection waits for the next frame: a rule for both, without a clock or a socket.
//!
//! Waking a thread that sleeps on an idle processor costs 10 to 25 us of latency, and about as much processor time on
//! the side that wakes it (inter-processor interrupts, above all in virtual machines). An exchange has two such
//! wake-ups, often more than the operation itself takes. So a side polls where the last waits were shorter than
//! [`LIMIT`], and for no longer than that: it never spends more than about what a wake-up would have cost. Each time
//! that polling was in vain makes it rarer, down to one wait in 1,024.
//!
//! In a crowd there is no processor to poll on, and sleeping costs most: with every processor busy, wake-ups took a third of all
//! processor time. There a side gives the processor to others a few times ([`YIELDS`]) before it sleeps. The other side mostly
//! runs meanwhile, and nobody needs to be woken.

use std::time::Duration;

/// The longest polling before a sleep.
pub const LIMIT: Duration = Duration::from_micros(50);

/// What a wake-up adds to a wait that was slept. Without it an operation of 30 us that once was slept through looked too long to
/// poll for, and was slept through for ever: the same row of a benchmark took 34 or 58 us, as chance had it.
pub const WAKE: Duration = Duration::from_micros(25);

/// How often a side yields before it sleeps. From the third on nothing was gained.
pub const YIELDS: u32 = 3;

/// What to do before sleeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Poll, for [`LIMIT`] at most.
    Poll,
    /// Yield and look, [`YIELDS`] times at most.
    Yield,
    /// Nothing.
    Sleep,
}

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
    /// How to wait from now on. Polling is for processors that nobody else needs: not when the daemon is `crowded`.
    pub fn manner(&mut self, crowded: bool) -> Manner {
        if crowded {
            return Manner::Yield;
        }
        if !self.last_was_short {
            return Manner::Sleep;
        }
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return Manner::Sleep;
        }
        Manner::Poll
    }

    /// A wait took so long.
    pub fn waited(&mut self, manner: Manner, wait: Duration) {
        let woken = if manner == Manner::Poll { Duration::ZERO } else { WAKE };
        self.last_was_short = wait < LIMIT + woken;
        match (manner, self.last_was_short) {
            (Manner::Poll, true) => self.skipped_after_failure /= 2,
            (Manner::Poll, false) => {
                self.skipped_after_failure = (self.skipped_after_failure * 2 + 1).min(MOST_SKIPPED);
                self.to_skip = self.skipped_after_failure;
            }
            (Manner::Yield | Manner::Sleep, _) => {}
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
        assert_eq!(pace.manner(false), Manner::Sleep);
        pace.waited(Manner::Sleep, SHORT);
        assert_eq!(pace.manner(false), Manner::Poll);
        assert_eq!(pace.manner(true), Manner::Yield);
        pace.waited(Manner::Poll, SHORT);
        assert_eq!(pace.manner(false), Manner::Poll);
        pace.waited(Manner::Sleep, LONG);
        assert_eq!(pace.manner(false), Manner::Sleep);
    }

    #[test]
    fn a_slept_wait_counts_without_its_wake_up() {
        let mut pace = Pace::default();
        pace.waited(Manner::Sleep, LIMIT + WAKE / 2);
        assert_eq!(pace.manner(false), Manner::Poll);
        pace.waited(Manner::Poll, LIMIT + WAKE / 2);
        assert_eq!(pace.manner(false), Manner::Sleep);
    }

    #[test]
    fn polling_in_vain_becomes_rare_and_comes_back_when_it_helps() {
        let mut pace = Pace::default();
        let mut polls = |wait: Duration, waits: u32| {
            let mut count = 0;
            for _ in 0..waits {
                // Every wait but the polled one is short: the worst that another load can do.
                let manner = pace.manner(false);
                let polled = manner == Manner::Poll;
                pace.waited(manner, if polled { wait } else { SHORT });
                count += u32::from(polled);
            }
            count
        };
        assert!(polls(LONG, 100_000) < 200);
        assert!(polls(SHORT, 100_000) > 90_000);
    }
}
