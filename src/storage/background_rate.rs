//! How much of a disk work in the background takes: so many bytes a second, a piece at a time.
//!
//! Everyone who does one kind of such work in a log directory, on whatever shard, shares a
//! [`BackgroundRate`], which is `Sync`. A piece is booked first and read or written when its time
//! has come, so that no two of them come at once. Time in which nothing was booked is not saved
//! up: after a pause of an hour there is no burst. Booking is pure; it takes `now`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringlog_runtime::{Instant, Runtime};

/// See the head of this file.
#[derive(Debug, Default)]
pub struct BackgroundRate {
    /// 0: the work is not done at all.
    bytes_per_second: AtomicU64,
    /// From then on nothing is booked, in nanoseconds.
    free_at: AtomicU64,
}

impl BackgroundRate {
    /// Sets the rate, for what is booked from now on; 0 for none.
    pub fn set_bytes_per_second(&self, bytes: u64) {
        self.bytes_per_second.store(bytes, Ordering::Relaxed);
    }

    /// Whether the work is not to be done at all.
    pub fn is_off(&self) -> bool {
        self.bytes_per_second.load(Ordering::Relaxed) == 0
    }

    /// Books a piece of so many bytes. Its turn comes at the instant that is returned. While the
    /// rate is off, a piece that was begun goes on.
    pub fn book(&self, bytes: u64, now: Instant) -> Instant {
        let rate = self.bytes_per_second.load(Ordering::Relaxed);
        if rate == 0 {
            return now;
        }
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let begins = |free_at: u64| Instant::from_nanos(free_at).max(now);
        let book = |free_at: u64| Some((begins(free_at) + takes).as_nanos());
        let booked = self.free_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, book);
        begins(booked.expect("every state has a next one"))
    }

    /// Books a piece, and waits for its turn.
    pub async fn turn(&self, runtime: &Runtime, bytes: u64) {
        runtime.sleep_until(self.book(bytes, runtime.now())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pieces_follow_each_other_at_the_rate() {
        let rate = BackgroundRate::default();
        assert!(rate.is_off());
        rate.set_bytes_per_second(1000);
        assert!(!rate.is_off());
        let start = Instant::from_nanos(5_000_000_000);
        // Whoever asks, and however often: the second piece waits for the first, and so on.
        let turns: Vec<_> = (0..4).map(|_| rate.book(500, start)).collect();
        let half = SECOND / 2;
        assert_eq!(turns, [start, start + half, start + SECOND, start + SECOND + half]);
        // A piece that comes late begins at once, and nothing was saved up meanwhile.
        let later = start + 100 * SECOND;
        assert_eq!(rate.book(1000, later), later);
        assert_eq!(rate.book(1000, later), later + SECOND);
        // Another rate counts for what is booked then.
        rate.set_bytes_per_second(2000);
        assert_eq!(rate.book(1000, later), later + 2 * SECOND);
        assert_eq!(rate.book(1000, later), later + 2 * SECOND + half);
        rate.set_bytes_per_second(0);
        assert_eq!(rate.book(1 << 40, later), later);
    }

    #[test]
    fn no_number_is_too_large() {
        let rate = BackgroundRate::default();
        rate.set_bytes_per_second(1);
        let start = Instant::from_nanos(0);
        rate.book(u64::MAX, start);
        rate.book(u64::MAX, start);
        assert!(rate.book(1, start) > start + 1_000_000 * SECOND);
    }
}
