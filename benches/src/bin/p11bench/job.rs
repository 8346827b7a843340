//! What the parent tells a worker, one line of JSON each on the worker's standard input: PINs are on no command line.

use serde::{Deserialize, Serialize};

/// Which token a worker uses.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Attach {
    /// The module's file; `raw` for the primitives alone.
    pub(crate) module: String,
    pub(crate) token: String,
    pub(crate) pin: String,
}

/// A line of the parent. The worker answers each with one line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Load the module and log in; answered by [`Answer::Done`].
    Attach(Attach),
    /// As [`Order::Attach`], then find a key and sign once, with times; answered by [`Answer::Cold`].
    Cold(Attach),
    /// Make the keys of all rows that the token lacks.
    Keys,
    /// Destroy the keys of all rows.
    Remove,
    /// Make objects until there are so many or the time is over; answered by [`Answer::Filled`].
    Fill {
        objects: usize,
        threads: usize,
        milliseconds: u64,
    },
    /// Get ready for a row; answered by [`Answer::Ready`], then [`Order::Go`] or [`Order::Skip`] follows.
    Row {
        name: String,
        threads: usize,
        milliseconds: u64,
    },
    /// Measure from this moment on, nanoseconds since 1970; answered by [`Answer::Measured`], then [`Order::Skip`]
    /// follows. The moment is the same for all threads of all processes: one that the machine runs late has less time.
    Go { moment: u64 },
    /// Destroy what the row has made and forget the row.
    Skip,
}

/// A line of a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    Ready,
    Filled { made: usize, seconds: f64 },
    Measured(Measured),
    Cold { stages: Vec<(String, f64)>, cpu: u64 },
    Failed(String),
}

/// One process, one row, one round.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Filled buckets of the histogram.
    pub(crate) latencies: Vec<(usize, u64)>,
    /// Calls per second of all threads.
    pub(crate) per_second: f64,
    /// Nanoseconds of CPU of all threads.
    pub(crate) cpu: u64,
    /// Calls that failed.
    pub(crate) errors: u64,
}
