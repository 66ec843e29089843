//! From the turns of a shard's loop to its metrics, and a warning for a request that takes too long
//! in one of them.
//!
//! While a request is worked on, its task is tagged with the API's key, so that the warning names
//! it. Warnings are limited to one in ten seconds for each shard; how many there would have been is
//! told with the next.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use ringlog_metrics::ShardMetrics;
use ringlog_runtime::{Instant, Runtime, TurnWatch};

/// How often a warning is given at most.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The tag of a task that works on requests of the API.
pub(crate) fn tag(api_key: i16) -> u16 {
    api_key.checked_add(1).and_then(|tag| u16::try_from(tag).ok()).unwrap_or(0)
}

/// Counts the turns of one shard.
pub(crate) struct TurnMetrics {
    rt: Runtime,
    metrics: Arc<ShardMetrics>,
    limit: WarningLimit,
}

impl TurnMetrics {
    pub(crate) fn new(rt: Runtime, metrics: Arc<ShardMetrics>) -> TurnMetrics {
        TurnMetrics { rt, metrics, limit: WarningLimit::default() }
    }
}

impl TurnWatch for TurnMetrics {
    fn turn(&self, took: Duration) {
        self.metrics.turned(took);
    }

    fn long_task(&self, took: Duration, tag: u16) {
        if let Some(unsaid) = self.limit.may_warn(self.rt.now()) {
            // -1 is no request: housekeeping, or work for another shard.
            let api_key = i32::from(tag) - 1;
            tracing::warn!(?took, api_key, unsaid, "a task kept its shard from all others");
        }
    }
}

#[derive(Default)]
struct WarningLimit {
    last: Cell<Option<Instant>>,
    unsaid: Cell<u64>,
}

impl WarningLimit {
    /// How many warnings were left out before this one, if it may be given.
    fn may_warn(&self, now: Instant) -> Option<u64> {
        if self.last.get().is_some_and(|last| now - last < WARNING_INTERVAL) {
            self.unsaid.set(self.unsaid.get() + 1);
            return None;
        }
        self.last.set(Some(now));
        Some(self.unsaid.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_few_and_say_how_many_were_left_out() {
        let limit = WarningLimit::default();
        let at = |ms| Instant::from_nanos(0) + Duration::from_millis(ms);
        let given = [0, 1, 9_999, 10_000, 20_001].map(|ms| limit.may_warn(at(ms)));
        assert_eq!(given, [Some(0), None, None, Some(2), Some(0)]);
    }

    #[test]
    fn every_api_has_a_tag_of_its_own() {
        assert_eq!([-1, 0, 18, i16::MAX].map(tag), [0, 1, 19, 0]);
    }
}
