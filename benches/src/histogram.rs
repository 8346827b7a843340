//! Latencies in buckets that grow by about 2 %, so that those of many threads and processes add up.

/// Buckets per doubling.
const PER_DOUBLING: f64 = 35.0;
/// Enough for 2^40 ns.
const BUCKETS: usize = 1400;

/// A histogram of nanoseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
        }
    }
}

impl Histogram {
    /// Counts one latency.
    pub fn add(&mut self, nanoseconds: u64) {
        let bucket = ((nanoseconds.max(1) as f64).log2() * PER_DOUBLING) as usize;
        self.counts[bucket.min(BUCKETS - 1)] += 1;
    }

    /// Adds another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
    }

    /// How many latencies were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The latency in microseconds below which this share of the calls lies; 0 without calls.
    #[must_use]
    pub fn quantile(&self, share: f64) -> f64 {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return (bucket as f64 + 0.5).exp2_of(PER_DOUBLING) / 1000.0;
            }
        }
        0.0
    }

    /// The filled buckets, as the worker prints them.
    #[must_use]
    pub fn filled(&self) -> Vec<(usize, u64)> {
        self.counts
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// Reads back what [`Histogram::filled`] gave.
    #[must_use]
    pub fn from_filled(filled: &[(usize, u64)]) -> Self {
        let mut histogram = Self::default();
        for (bucket, count) in filled {
            histogram.counts[(*bucket).min(BUCKETS - 1)] += count;
        }
        histogram
    }
}

trait Exp2Of {
    fn exp2_of(self, per_doubling: f64) -> f64;
}

impl Exp2Of for f64 {
    fn exp2_of(self, per_doubling: f64) -> f64 {
        (self / per_doubling).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn a_quantile_is_within_three_percent() {
        let mut histogram = Histogram::default();
        (1..=1000_u64).for_each(|n| histogram.add(n * 1000));
        let median = histogram.quantile(0.5);
        assert!((485.0..515.0).contains(&median), "{median}");
        assert_eq!(Histogram::from_filled(&histogram.filled()).count(), 1000);
        assert!(Histogram::default().quantile(0.5) < f64::EPSILON);
    }
}
