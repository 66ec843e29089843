//! The three kinds of instrument: counter, gauge, histogram of durations.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Counts one more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Takes over a total that is counted elsewhere. It must never be less than before.
    pub fn set_total(&self, total: u64) {
        self.0.store(total, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Makes it `value`.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the buckets, in nanoseconds: 0.1 ms to 10 s in steps of 2, 2.5, 2.
const BOUNDS_NS: [u64; 16] = [
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// How long something took, counted by fixed buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    /// The last one counts what is longer than every bound.
    buckets: [AtomicU64; BOUNDS_NS.len() + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_NS.partition_point(|bound| *bound < ns);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn read(&self) -> HistogramReading {
        let mut cumulative = Vec::with_capacity(BOUNDS_NS.len());
        let mut count = 0;
        for (bucket, bound_ns) in self.buckets.iter().zip(BOUNDS_NS) {
            count += bucket.load(Ordering::Relaxed);
            cumulative.push((bound_ns as f64 / 1e9, count));
        }
        count += self.buckets[BOUNDS_NS.len()].load(Ordering::Relaxed);
        let sum_s = self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9;
        HistogramReading { cumulative, count, sum_s }
    }
}

/// A histogram as Prometheus shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramReading {
    /// Upper bound in seconds, and how many were at most that.
    pub cumulative: Vec<(f64, u64)>,
    /// How many there were.
    pub count: u64,
    /// Their sum in seconds.
    pub sum_s: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for ns in [0, 100_000, 100_001, 9_999_999_999, 10_000_000_000, 10_000_000_001] {
            histogram.record(Duration::from_nanos(ns));
        }
        let reading = histogram.read();
        assert_eq!(reading.count, 6);
        assert_eq!(reading.cumulative[0], (0.0001, 2));
        assert_eq!(reading.cumulative[1], (0.0002, 3));
        assert_eq!(reading.cumulative[14], (5.0, 3));
        assert_eq!(reading.cumulative[15], (10.0, 5));
        assert!((reading.sum_s - 30.000_200_0).abs() < 1e-6, "{}", reading.sum_s);
    }

    #[test]
    fn a_gauge_goes_both_ways() {
        let gauge = Gauge::default();
        gauge.add(3);
        gauge.add(-5);
        assert_eq!(gauge.get(), -2);
    }
}
