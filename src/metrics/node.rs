//! What is counted and known of the node as a whole.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::health::Health;
use crate::instruments::{Counter, Gauge};
use crate::shard::ShardMetrics;

/// What was built, for `ringlog_build_info`.
#[derive(Debug, Clone, Copy)]
pub struct BuildInfo {
    /// The version of the binary.
    pub version: &'static str,
}

/// The registry: the shards' counters, the node's own, and its health. Shared by everybody.
#[derive(Debug)]
pub struct NodeMetrics {
    pub(crate) build: BuildInfo,
    pub(crate) started_at: SystemTime,
    started: Instant,
    shards: Mutex<Vec<Arc<ShardMetrics>>>,
    pub(crate) health: Health,
    /// Topics of the cluster.
    pub topics: Gauge,
    /// Partitions of the cluster.
    pub partitions: Gauge,
    /// Log directories that are offline.
    pub log_dirs_offline: Gauge,
    /// Records of the metadata log applied so far.
    pub metadata_records: Counter,
    /// The last metadata offset that the shards know.
    pub metadata_offset: Gauge,
    dropped_log_lines: OnceLock<Reading>,
}

/// A number that somebody else counts.
struct Reading(Box<dyn Fn() -> u64 + Send + Sync>);

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0().fmt(f)
    }
}

impl NodeMetrics {
    /// The metrics of a node that is starting: not ready until [`NodeMetrics::set_serving`].
    #[expect(clippy::disallowed_methods, reason = "the process begins before its shards")]
    pub fn new(build: BuildInfo) -> Arc<NodeMetrics> {
        Arc::new(NodeMetrics {
            build,
            started_at: SystemTime::now(),
            started: Instant::now(),
            shards: Mutex::default(),
            health: Health::starting(),
            topics: Gauge::default(),
            partitions: Gauge::default(),
            log_dirs_offline: Gauge::default(),
            metadata_records: Counter::default(),
            metadata_offset: Gauge::default(),
            dropped_log_lines: OnceLock::new(),
        })
    }

    /// The counters of shard `shard`; the same ones at every call.
    pub fn shard(&self, shard: u16) -> Arc<ShardMetrics> {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        match shards.binary_search_by_key(&shard, |known| known.shard) {
            Ok(place) => shards[place].clone(),
            Err(place) => {
                let new = Arc::new(ShardMetrics::new(shard));
                shards.insert(place, new.clone());
                new
            }
        }
    }

    /// The shards so far, by number.
    pub(crate) fn shards(&self) -> Vec<Arc<ShardMetrics>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The node serves: what kept it from being ready at the start is over.
    pub fn set_serving(&self) {
        self.health.clear(Health::STARTING);
    }

    /// The node stops: `/health/ready` says no from now on.
    pub fn set_stopping(&self) {
        self.health.set("stopping", "the node is stopping");
    }

    /// Why the node is not ready; empty when it is.
    pub fn unready_reasons(&self) -> Vec<String> {
        self.health.reasons()
    }

    /// Names a reason why the node is not ready; `key` is to clear or replace it with.
    pub fn set_unready(&self, key: &str, reason: &str) {
        self.health.set(key, reason);
    }

    /// The reason under `key` is over.
    pub fn clear_unready(&self, key: &str) {
        self.health.clear(key);
    }

    /// Where to read how many lines of the log were dropped because nobody read them.
    pub fn count_dropped_log_lines(&self, read: impl Fn() -> u64 + Send + Sync + 'static) {
        // Asked for a second time: it is the same log.
        drop(self.dropped_log_lines.set(Reading(Box::new(read))));
    }

    pub(crate) fn dropped_log_lines(&self) -> u64 {
        self.dropped_log_lines.get().map_or(0, |reading| reading.0())
    }

    /// Seconds since the Unix epoch at which the process started to serve metrics.
    pub(crate) fn start_time_s(&self) -> f64 {
        self.started_at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
    }

    pub(crate) fn uptime_s(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_has_one_set_of_counters_and_shards_are_in_order() {
        let node = NodeMetrics::new(BuildInfo { version: "1" });
        node.shard(3).received(10);
        node.shard(0).received(1);
        node.shard(3).received(10);
        let seen: Vec<_> =
            node.shards().iter().map(|s| (s.shard, s.bytes_received.get())).collect();
        assert_eq!(seen, [(0, 1), (3, 20)]);
    }

    #[test]
    fn every_api_key_has_a_place() {
        let node = NodeMetrics::new(BuildInfo { version: "1" });
        let shard = node.shard(0);
        for key in [-1, i16::MIN, 96, i16::MAX] {
            shard.api(key).errors.increment();
        }
        assert_eq!(shard.api(1000).errors.get(), 4);
        assert_eq!(shard.api(95).errors.get(), 0);
    }
}
