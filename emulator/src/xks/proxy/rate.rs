//! How often: requests that may pass, and lines that may be logged.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many a second may pass, and as many at once.
pub(super) struct Rate {
    a_second: f64,
    left: Mutex<(f64, Instant)>,
}

impl Rate {
    pub(super) fn new(a_second: u32, now: Instant) -> Self {
        let a_second = f64::from(a_second);
        Self {
            a_second,
            left: Mutex::new((a_second, now)),
        }
    }

    /// Whether one more passes at a time.
    pub(super) fn allows(&self, now: Instant) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, since) = *left;
        let grown = now.saturating_duration_since(since).as_secs_f64() * self.a_second;
        let tokens = (tokens + grown).min(self.a_second);
        let passes = tokens >= 1.0;
        *left = (if passes { tokens - 1.0 } else { tokens }, now.max(since));
        passes
    }
}

/// One line in a while; the others are counted, so that who sends nonsense cannot fill a disk.
#[derive(Default)]
pub(super) struct Seldom {
    last: Mutex<(Option<Instant>, u64)>,
}

impl Seldom {
    const PAUSE: Duration = Duration::from_millis(200);

    /// Whether to say it now; then, how many were not said before.
    pub(super) fn now(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let soon = last
            .0
            .is_some_and(|said| now.saturating_duration_since(said) < Self::PAUSE);
        if soon {
            last.1 += 1;
            return None;
        }
        let unsaid = last.1;
        *last = (Some(now), 0);
        Some(unsaid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_pass_as_the_rate_says() {
        let start = Instant::now();
        let rate = Rate::new(10, start);
        assert_eq!((0..20).filter(|_| rate.allows(start)).count(), 10);
        let later = start + Duration::from_millis(300);
        assert_eq!((0..20).filter(|_| rate.allows(later)).count(), 3);
        let much_later = start + Duration::from_secs(60);
        assert_eq!((0..20).filter(|_| rate.allows(much_later)).count(), 10);
        // A clock that another processor read earlier takes nothing away and gives nothing.
        assert!(!rate.allows(start));
    }

    #[test]
    fn what_was_not_said_is_counted() {
        let start = Instant::now();
        let seldom = Seldom::default();
        assert_eq!(seldom.now(start), Some(0));
        assert_eq!(seldom.now(start), None);
        assert_eq!(seldom.now(start + Duration::from_millis(199)), None);
        assert_eq!(seldom.now(start + Duration::from_secs(1)), Some(2));
    }
}
