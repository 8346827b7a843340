//! How much a key set may hold and how much it holds: token objects and the bytes of their sealed records. A create takes its
//! share before it is written and gives it back if it was not, so that creates in parallel never go over the limit.

use std::sync::atomic::{AtomicU64, Ordering};

use hsmd_proto::ck::Rv;

use super::KeySet;
use crate::audit::{Act, Event};
use crate::error::Error;

/// Limits of a key set; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Token objects.
    pub objects: u64,
    /// Bytes of their records as they are stored.
    pub bytes: u64,
}

/// What a key set holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Token objects, also those that no PIN has opened.
    pub objects: u64,
    /// Bytes of their records as they are stored.
    pub bytes: u64,
}

/// The counters.
#[derive(Default)]
pub(crate) struct Usage {
    objects: AtomicU64,
    bytes: AtomicU64,
}

/// A share that was taken; given back unless it is kept.
pub(crate) struct Share<'a> {
    usage: &'a Usage,
    of: Used,
}

impl Usage {
    /// What is held now.
    pub(crate) fn now(&self) -> Used {
        Used {
            objects: self.objects.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Counts anew.
    pub(crate) fn set(&self, used: Used) {
        self.objects.store(used.objects, Ordering::Relaxed);
        self.bytes.store(used.bytes, Ordering::Relaxed);
    }

    /// Counts what another node has written, whatever the quota.
    pub(crate) fn add(&self, of: Used) {
        self.objects.fetch_add(of.objects, Ordering::Relaxed);
        self.bytes.fetch_add(of.bytes, Ordering::Relaxed);
    }

    /// Takes a share.
    ///
    /// # Errors
    /// `CKR_DEVICE_MEMORY` when the quota has no room for it; nothing is taken then.
    pub(crate) fn take(&self, quota: Quota, of: Used) -> Result<Share<'_>, Rv> {
        let objects = self.objects.fetch_add(of.objects, Ordering::Relaxed) + of.objects;
        let bytes = self.bytes.fetch_add(of.bytes, Ordering::Relaxed) + of.bytes;
        let share = Share { usage: self, of };
        let full = |limit: u64, wanted: u64, more: u64| limit > 0 && more > 0 && wanted > limit;
        if full(quota.objects, objects, of.objects) || full(quota.bytes, bytes, of.bytes) {
            return Err(Rv::DEVICE_MEMORY);
        }
        Ok(share)
    }

    /// Gives back what an object held that is gone, or shrank.
    pub(crate) fn give(&self, of: Used) {
        for (counter, less) in [(&self.objects, of.objects), (&self.bytes, of.bytes)] {
            // Never below nothing: a wrong count must not look like a full partition.
            let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                Some(now.saturating_sub(less))
            });
        }
    }
}

impl Share<'_> {
    /// It was written.
    pub(crate) fn keep(mut self) {
        self.of = Used { objects: 0, bytes: 0 };
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.usage.give(self.of);
    }
}

impl KeySet {
    /// How much it may hold.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.root().quota
    }

    /// How much it holds.
    #[must_use]
    pub fn used(&self) -> Used {
        self.objects.usage.now()
    }

    /// Sets how much it may hold. What is there already stays, also if it is more.
    ///
    /// # Errors
    /// From the store.
    pub fn set_quota(&self, quota: Quota) -> Result<(), Error> {
        if self.quota() == quota {
            return Ok(());
        }
        self.change_root(Event::new(Act::PartitionModify).detail(format!("{quota:?}")), |root| {
            root.quota = quota;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn used(objects: u64, bytes: u64) -> Used {
        Used { objects, bytes }
    }

    #[test]
    fn a_share_that_is_not_kept_is_given_back_and_a_quota_is_never_passed() {
        let usage = Usage::default();
        let quota = Quota { objects: 2, bytes: 100 };
        usage.take(quota, used(1, 60)).unwrap().keep();
        assert!(usage.take(quota, used(1, 41)).is_err());
        drop(usage.take(quota, used(1, 40)).unwrap());
        usage.take(quota, used(1, 40)).unwrap().keep();
        assert!(usage.take(quota, used(1, 0)).is_err());
        assert_eq!(usage.now(), used(2, 100));
        usage.give(used(1, 60));
        assert_eq!(usage.now(), used(1, 40));
        usage.take(Quota::default(), used(1_000, 1 << 40)).unwrap().keep();
        // Over a quota that came later: what takes no more of it goes on.
        assert!(usage.take(quota, used(0, 0)).is_ok());
    }
}
