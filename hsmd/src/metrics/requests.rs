//! Requests of the data plane as they are answered: how many by operation and result, and how long they took. On the hot path: two
//! relaxed additions to a cache line of the thread's own shard, and of what takes microseconds only every 16th request is timed.

use crate::data::NAMES;
use hsmd_proto::ck::Rv;
use parking_lot::Mutex;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SHARDS: usize = 16;
/// Operations, and one for what is none.
const OPERATIONS: usize = NAMES.len() + 1;
/// Of what is often asked for, one in so many is timed.
const SAMPLED: usize = 16;

/// Upper bounds of the times in seconds.
pub(super) const BOUNDS: [f64; 14] = [
    0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.01, 0.05, 0.25, 1.0, 5.0,
];
/// The same in nanoseconds.
const NANOS: [u64; 14] = [
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    10_000_000,
    50_000_000,
    250_000_000,
    1_000_000_000,
    5_000_000_000,
];
const BUCKETS: usize = BOUNDS.len() + 1;

/// What requests have in common that decides how long they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Signatures, encryption.
    Crypto,
    /// Attributes, lists, random numbers.
    Read,
    /// What waits for the disk.
    Write,
    /// What checks a PIN.
    Pin,
}

impl Class {
    pub(super) const ALL: [Self; 4] = [Self::Crypto, Self::Read, Self::Write, Self::Pin];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Crypto => "crypto",
            Self::Read => "read",
            Self::Write => "write",
            Self::Pin => "pin",
        }
    }

    /// Whether only some are timed.
    const fn sampled(self) -> bool {
        matches!(self, Self::Crypto | Self::Read)
    }
}

/// The class of each of [`NAMES`]; a name that is missing here is a read.
fn class(operation: usize) -> Class {
    match NAMES.get(operation).copied().unwrap_or_default() {
        "Sign" | "Verify" | "Encrypt" | "Decrypt" => Class::Crypto,
        "InitToken" | "InitPin" | "SetPin" | "Login" => Class::Pin,
        "Logout" | "CreateObject" | "CopyObject" | "DestroyObject" | "SetAttributes" | "GenerateKey"
        | "GenerateKeyPair" | "WrapKey" | "UnwrapKey" | "DeriveKey" | "EncapsulateKey" | "DecapsulateKey" => {
            Class::Write
        }
        _ => Class::Read,
    }
}

/// Times of one class.
#[derive(Default)]
struct Times {
    counts: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

/// The counters that some of the threads use.
#[repr(align(128))]
struct Shard {
    done: [AtomicU64; OPERATIONS],
    times: [Times; Class::ALL.len()],
    /// Refusals: operation and code, which only our own code chooses.
    refused: Mutex<BTreeMap<(usize, u64), u64>>,
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            // Arrays have a default up to 32 entries only.
            done: std::array::from_fn(|_| AtomicU64::default()),
            times: Default::default(),
            refused: Mutex::default(),
        }
    }
}

/// All requests since the start.
pub(crate) struct Requests {
    shards: [Shard; SHARDS],
    classes: [Class; OPERATIONS],
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            shards: Default::default(),
            classes: std::array::from_fn(class),
        }
    }
}

thread_local! {
    /// The thread's shard, and how many requests it had.
    static PLACE: (usize, Cell<usize>) = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        (NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS, Cell::new(0))
    };
}

/// A request in work.
pub(crate) struct Metered<'a> {
    requests: &'a Requests,
    shard: &'a Shard,
    operation: usize,
    begun: Option<Instant>,
}

impl Requests {
    /// A request was read; `operation` is its place among [`NAMES`].
    pub(crate) fn begin(&self, operation: Option<usize>) -> Metered<'_> {
        let operation = operation.unwrap_or(OPERATIONS - 1).min(OPERATIONS - 1);
        let (shard, count) = PLACE.with(|(shard, count)| (*shard, count.replace(count.get().wrapping_add(1))));
        let timed = !self.classes[operation].sampled() || count.is_multiple_of(SAMPLED);
        Metered {
            requests: self,
            shard: &self.shards[shard],
            operation,
            begun: timed.then(Instant::now),
        }
    }

    /// Requests that were answered.
    pub(crate) fn total(&self) -> u64 {
        self.by_result().into_iter().map(|(_, _, count)| count).sum()
    }

    /// Operation, result, how many.
    pub(super) fn by_result(&self) -> Vec<(&'static str, Rv, u64)> {
        let mut sums = BTreeMap::<(usize, u64), u64>::new();
        for shard in &self.shards {
            for (operation, done) in shard.done.iter().enumerate() {
                *sums.entry((operation, Rv::OK.0)).or_default() += done.load(Ordering::Relaxed);
            }
            for (key, count) in &*shard.refused.lock() {
                *sums.entry(*key).or_default() += count;
            }
        }
        let name = |operation| NAMES.get(operation).copied().unwrap_or("unknown");
        let counted = sums.into_iter().filter(|(_, count)| *count > 0);
        counted
            .map(|((operation, rv), count)| (name(operation), Rv(rv), count))
            .collect()
    }

    /// Seconds in all, and how many took at most as long as each of [`BOUNDS`] (and longer than the one before; the last:
    /// longer than all).
    pub(super) fn times(&self, class: Class) -> (f64, [u64; BUCKETS]) {
        let (mut nanos, mut counts) = (0_u64, [0; BUCKETS]);
        for shard in &self.shards {
            let times = &shard.times[class as usize];
            nanos = nanos.wrapping_add(times.nanos.load(Ordering::Relaxed));
            for (sum, count) in counts.iter_mut().zip(&times.counts) {
                *sum += count.load(Ordering::Relaxed);
            }
        }
        (Duration::from_nanos(nanos).as_secs_f64(), counts)
    }
}

impl Metered<'_> {
    /// The request was answered with this code.
    pub(crate) fn end(self, rv: Rv) {
        if rv == Rv::OK {
            self.shard.done[self.operation].fetch_add(1, Ordering::Relaxed);
        } else {
            let mut refused = self.shard.refused.lock();
            *refused.entry((self.operation, rv.0)).or_default() += 1;
        }
        if let Some(begun) = self.begun {
            let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let times = &self.shard.times[self.requests.classes[self.operation] as usize];
            let place = NANOS.partition_point(|bound| *bound < nanos);
            times.counts[place].fetch_add(1, Ordering::Relaxed);
            times.nanos.fetch_add(nanos, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_agree_and_pins_are_a_class_of_their_own() {
        for (seconds, nanos) in BOUNDS.iter().zip(NANOS) {
            assert!((seconds * 1e9 - nanos as f64).abs() < 1.0);
        }
        let slow: Vec<_> = (0..NAMES.len())
            .filter(|at| class(*at) == Class::Pin)
            .map(|at| NAMES[at])
            .collect();
        assert_eq!(slow, ["InitToken", "InitPin", "SetPin", "Login"]);
    }

    #[test]
    fn requests_of_all_threads_are_counted_once() {
        let requests = Requests::default();
        let sign = NAMES.iter().position(|name| *name == "Sign");
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for number in 0..160 {
                        let rv = if number % 10 == 0 { Rv::DATA_LEN_RANGE } else { Rv::OK };
                        requests.begin(sign).end(rv);
                    }
                });
            }
        });
        requests.begin(None).end(Rv::FUNCTION_NOT_SUPPORTED);
        let counted = requests.by_result();
        assert!(counted.contains(&("Sign", Rv::OK, 2880)), "{counted:?}");
        assert!(counted.contains(&("Sign", Rv::DATA_LEN_RANGE, 320)), "{counted:?}");
        assert!(
            counted.contains(&("unknown", Rv::FUNCTION_NOT_SUPPORTED, 1)),
            "{counted:?}"
        );
        assert_eq!(requests.total(), 3201);
        let timed: u64 = requests.times(Class::Crypto).1.iter().sum();
        assert_eq!(timed, 20 * 160 / SAMPLED as u64, "one in {SAMPLED}");
    }
}
