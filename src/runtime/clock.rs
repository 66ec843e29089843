//! Points in time on a shard's clock.
//!
//! An [`Instant`] is monotonic and comparable within one process (or one simulation, where time
//! is virtual). It is never written to disk or to a wire.

use std::ops::{Add, AddAssign, Sub};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A monotonic point in time, in nanoseconds since an origin of no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The instant this many nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time since `earlier`; zero if that is later than `self`.
    pub fn saturating_duration_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates: an instant too far away is never reached.
    fn add(self, after: Duration) -> Instant {
        let nanos = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(nanos))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, after: Duration) {
        *self = *self + after;
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    /// Zero if `earlier` is the later one.
    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

/// The machine's monotonic clock.
pub(crate) fn monotonic() -> Instant {
    static ORIGIN: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    Instant(ORIGIN.elapsed().as_nanos() as u64)
}

/// Milliseconds since the Unix epoch by the machine's clock; negative before it.
pub(crate) fn wall_clock_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_millis() as i64,
        Err(before) => -(before.duration().as_millis() as i64),
    }
}

#[cfg(test)]
mod tests {
    use super::{Instant, monotonic, wall_clock_ms};
    use std::time::Duration;

    #[test]
    fn arithmetic_saturates() {
        let t = Instant::from_nanos(1_000);
        assert_eq!((t + Duration::from_nanos(5)).as_nanos(), 1_005);
        assert_eq!((t + Duration::MAX).as_nanos(), u64::MAX);
        assert_eq!(t - (t + Duration::from_secs(1)), Duration::ZERO);
        assert_eq!((t + Duration::from_secs(1)) - t, Duration::from_secs(1));
    }

    #[test]
    fn the_clocks_run() {
        let start = monotonic();
        std::thread::sleep(Duration::from_millis(2));
        assert!(monotonic() - start >= Duration::from_millis(2));
        assert!(wall_clock_ms() > 1_600_000_000_000);
    }
}
