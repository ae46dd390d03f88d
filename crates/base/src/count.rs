//! Counting: what came in and where it went. Cheap enough for every record, read by `/metrics`, the pipeline map and
//! the ledger alike, so that all three always show the same numbers.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Puts `n` in its place.
    pub fn set(&self, n: i64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Each power of two is cut into this many buckets, so that a quantile is at most an eighth too high.
const STEPS: usize = 8;
const BUCKETS: usize = 40 * STEPS;

/// A distribution of durations in microseconds, in buckets that grow with the value. Lock-free; quantiles are upper
/// bounds, at most 12.5 % above the true value.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(), sum_us: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record_us(&self, us: u64) {
        self.buckets[bucket_of(us)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// The sum of all durations, in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us.load(Ordering::Relaxed)
    }

    /// The upper bound, in microseconds, below which the share `q` (0..=1) of all durations lies; `None` while empty.
    pub fn quantile_us(&self, q: f64) -> Option<u64> {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return None;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let rank = ((total as f64 * q).ceil() as u64).clamp(1, total);
        let mut seen = 0;
        for (index, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(upper_bound(index));
            }
        }
        None
    }
}

fn bucket_of(us: u64) -> usize {
    let steps = STEPS as u64;
    if us < steps {
        return us as usize;
    }
    let power = 63 - us.leading_zeros() as usize; // at least 3
    let step = ((us >> (power - 3)) & (steps - 1)) as usize;
    ((power - 2) * STEPS + step).min(BUCKETS - 1)
}

fn upper_bound(index: usize) -> u64 {
    if index < STEPS {
        return index as u64;
    }
    let power = index / STEPS + 2;
    let step = (index % STEPS) as u64;
    (1u64 << power) + ((step + 1) << (power - 3)) - 1
}

/// One measured number with its name, as `/metrics` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The full metric name, e.g. `riverrun_stream_appended_records_total`. A name ending in `_total` is a counter.
    pub name: &'static str,
    /// Label names and values, e.g. `("stream", "clicks")`.
    pub labels: Vec<(&'static str, String)>,
    /// The number.
    pub value: f64,
}

/// A room, or a part of one, that can say its numbers.
pub trait Measured: Send + Sync {
    /// Appends the numbers as they are now.
    fn measure(&self, samples: &mut Vec<Sample>);
}

impl Sample {
    /// A sample; counts above 2^53 lose their last digits, as everywhere in Prometheus.
    #[allow(clippy::cast_precision_loss)]
    pub fn new(name: &'static str, labels: &[(&'static str, &str)], value: u64) -> Self {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { name, labels, value: value as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_quantile_is_an_upper_bound_and_at_most_an_eighth_too_high(mut values in proptest::collection::vec(0u64..1 << 38, 1..200)) {
            let histogram = Histogram::default();
            for value in &values {
                histogram.record_us(*value);
            }
            values.sort_unstable();
            for q in [0.0, 0.5, 0.99, 1.0] {
                let rank = ((values.len() as f64 * q).ceil() as usize).clamp(1, values.len());
                let truth = values[rank - 1];
                let bound = histogram.quantile_us(q).expect("not empty");
                prop_assert!(bound >= truth && bound <= truth + truth / 8, "q={q} truth={truth} bound={bound}");
            }
        }
    }

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        assert_eq!(Histogram::default().quantile_us(0.5), None);
    }
}
