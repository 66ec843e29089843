//! A limit on what is used in a second, with a burst: a token bucket whose whole state is one
//! number (the generic cell rate algorithm).
//!
//! That number is the time at which everything used so far would be paid for. While it is no
//! further ahead of now than the burst, nobody waits; what it is further ahead is how long the one
//! who used it has to wait.

use std::time::Duration;

/// A limit, and how much of it may be used at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    per_second: f64,
    burst_ns: i64,
}

/// What came of charging a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// The bucket's state afterwards.
    pub paid_at_ns: i64,
    /// How long the one who is charged has to wait; zero within the limit.
    pub throttle: Duration,
}

/// The furthest that a bucket may be ahead: beyond a day, waiting longer teaches nobody anything.
const AHEAD_NS_MAX: i64 = 24 * 3600 * 1_000_000_000;

impl Rate {
    /// `per_second` of whatever is counted; after a pause, as much as `burst` would bring may come
    /// at once.
    ///
    /// # Panics
    /// If `per_second` is not above zero: no quota is (the controller refuses others).
    pub fn new(per_second: f64, burst: Duration) -> Rate {
        assert!(per_second > 0.0, "a quota is above zero, not {per_second}");
        let burst_ns = i64::try_from(burst.as_nanos()).unwrap_or(AHEAD_NS_MAX).min(AHEAD_NS_MAX);
        Rate { per_second, burst_ns }
    }

    /// What may be used in a second.
    pub fn per_second(&self) -> f64 {
        self.per_second
    }

    /// The most that may be used at once.
    pub fn burst(&self) -> f64 {
        self.per_second * self.burst_ns as f64 / 1e9
    }

    /// Charges `used` at `now_ns` to a bucket in the state `paid_at_ns`.
    pub fn charge(&self, paid_at_ns: i64, now_ns: i64, used: f64) -> Charge {
        let cost_ns = (used / self.per_second * 1e9).clamp(0.0, AHEAD_NS_MAX as f64) as i64;
        // A clock that was set back, or a limit that was lowered, leaves nobody waiting for days.
        let paid_at_ns = paid_at_ns.clamp(now_ns, now_ns.saturating_add(AHEAD_NS_MAX));
        let paid_at_ns =
            paid_at_ns.saturating_add(cost_ns).min(now_ns.saturating_add(AHEAD_NS_MAX));
        let over_ns = paid_at_ns.saturating_sub(now_ns).saturating_sub(self.burst_ns);
        Charge { paid_at_ns, throttle: Duration::from_nanos(over_ns.max(0).cast_unsigned()) }
    }

    /// The state of a bucket in which `used` was charged and came to nothing.
    pub fn refund(&self, paid_at_ns: i64, used: f64) -> i64 {
        let cost_ns = (used / self.per_second * 1e9).clamp(0.0, AHEAD_NS_MAX as f64) as i64;
        paid_at_ns.saturating_sub(cost_ns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_burst_is_free_and_what_is_beyond_it_is_waited_for() {
        let rate = Rate::new(100.0, Duration::from_secs(10));
        assert!((rate.burst() - 1000.0).abs() < 1e-9);
        let first = rate.charge(0, 50 * SECOND, 1000.0);
        assert_eq!(first.throttle, Duration::ZERO);
        let second = rate.charge(first.paid_at_ns, 50 * SECOND, 300.0);
        assert_eq!(second.throttle, Duration::from_secs(3));
        // After that wait, nothing is free, and what comes in time is not waited for.
        let third = rate.charge(second.paid_at_ns, 53 * SECOND, 0.0);
        assert_eq!(third.throttle, Duration::ZERO);
        let fourth = rate.charge(third.paid_at_ns, 54 * SECOND, 100.0);
        assert_eq!(fourth.throttle, Duration::ZERO);
        assert_eq!(rate.charge(fourth.paid_at_ns, 54 * SECOND, 1.0).throttle.as_millis(), 10);
    }

    #[test]
    fn what_came_to_nothing_is_given_back() {
        let rate = Rate::new(10.0, Duration::from_secs(1));
        let charged = rate.charge(0, 9 * SECOND, 30.0);
        let back = rate.refund(charged.paid_at_ns, 30.0);
        assert_eq!(rate.charge(back, 9 * SECOND, 10.0).throttle, Duration::ZERO);
    }

    #[test]
    fn nothing_overflows() {
        let rate = Rate::new(1e-300, Duration::MAX);
        let charged = rate.charge(i64::MAX, i64::MIN, f64::MAX);
        assert!(charged.throttle <= Duration::from_secs(24 * 3600));
        let rate = Rate::new(f64::MAX, Duration::ZERO);
        let now = i64::MAX / 2;
        assert_eq!(rate.charge(i64::MIN, now, f64::MAX).throttle, Duration::from_secs(1));
        assert_eq!(rate.charge(0, i64::MAX, f64::MAX).paid_at_ns, i64::MAX);
    }

    proptest! {
        /// One who waits whenever told so never uses more than the limit and one burst; one who
        /// always has something to use gets nearly all of the limit.
        #[test]
        fn the_limit_is_kept_and_used(
            per_second in 1.0..1e9f64,
            burst_ms in 0..20_000u64,
            steps in prop::collection::vec((0.0..3.0f64, 0..2_000u64), 1..200),
        ) {
            let rate = Rate::new(per_second, Duration::from_millis(burst_ms));
            let (mut paid_at, mut now, mut used) = (0, SECOND, 0.0);
            let mut throttled = Duration::ZERO;
            for (seconds_worth, pause_ms) in steps {
                let cost = per_second * seconds_worth;
                let charge = rate.charge(paid_at, now, cost);
                paid_at = charge.paid_at_ns;
                used += cost;
                throttled += charge.throttle;
                now += charge.throttle.as_nanos() as i64 + pause_ms as i64 * 1_000_000;
                let elapsed = (now - SECOND) as f64 / 1e9;
                let allowed = per_second * elapsed + rate.burst();
                prop_assert!(used <= allowed * 1.000_001 + 1.0, "{used} of {allowed}");
            }
            // Nobody waits longer than what was used takes.
            prop_assert!(throttled.as_secs_f64() <= used / per_second + 1e-3);
        }
    }
}
