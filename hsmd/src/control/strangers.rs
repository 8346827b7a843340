//! What nothing refers to, in a fleet: it may be what another node is making at this moment, before the record that refers to it.
//! So it is left alone until it has been seen like that for a long time.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Longer than anything takes to be made.
const LONG: Duration = Duration::from_secs(3600);

/// Things of one kind that nothing referred to when this node looked last.
pub(super) struct Strangers<K>(Mutex<BTreeMap<K, Instant>>);

impl<K> Default for Strangers<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord + Copy> Strangers<K> {
    /// Of those that nothing refers to now, those that are so for long. Others are forgotten.
    pub(super) fn settled(&self, now: &[K]) -> Vec<K> {
        self.settled_at(now, Instant::now())
    }

    fn settled_at(&self, now: &[K], moment: Instant) -> Vec<K> {
        let mut since = self.0.lock();
        since.retain(|key, _| now.contains(key));
        for key in now {
            since.entry(*key).or_insert(moment);
        }
        let long = |seen: &Instant| moment.saturating_duration_since(*seen) >= LONG;
        since
            .iter()
            .filter(|(_, seen)| long(seen))
            .map(|(key, _)| *key)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nothing_refers_to_for_long_is_settled() {
        let strangers = Strangers::default();
        let begun = Instant::now();
        assert!(strangers.settled_at(&[1, 2], begun).is_empty());
        let later = begun + LONG / 2;
        assert!(strangers.settled_at(&[2, 3], later).is_empty());
        assert_eq!(strangers.settled_at(&[1, 2, 3], begun + LONG), [2]);
        assert_eq!(strangers.settled_at(&[1, 3], later + LONG), [3]);
    }
}
