//! Waiting for a condition with a deadline. It is no sleep: the caller goes on as soon as the condition holds.

use std::time::{Duration, Instant};

/// How long the slowest machine may take for something that takes milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at a condition that nobody announces (a file that appears, a process that ends).
const LOOK: Duration = Duration::from_millis(2);

/// Looks until `condition` gives something, at most until the deadline.
pub fn until<T>(patience: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = condition() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::park_timeout(LOOK);
    }
}
