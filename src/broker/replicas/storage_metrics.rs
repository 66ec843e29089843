//! From what a shard's logs tell to what its metrics count, and to the checkpoints.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ringlog_metrics::ShardMetrics;
use ringlog_storage::{ReadSource, StorageObserver};

use crate::shared::NodeState;

/// Counts the work of one shard's storage.
pub(crate) struct StorageMetrics {
    metrics: Arc<ShardMetrics>,
    node: Arc<NodeState>,
    longest_unchecked_ms: RefCell<BTreeMap<usize, i64>>,
}

impl StorageMetrics {
    pub(crate) fn new(metrics: Arc<ShardMetrics>, node: Arc<NodeState>) -> StorageMetrics {
        StorageMetrics { metrics, node, longest_unchecked_ms: RefCell::default() }
    }
}

impl StorageObserver for StorageMetrics {
    fn written(&self, bytes: u64) {
        self.metrics.bytes_written.add(bytes);
    }

    fn flushed(&self, bytes: u64, took: Duration) {
        self.metrics.flushed(bytes, took);
    }

    fn read(&self, source: ReadSource, bytes: u64) {
        match source {
            ReadSource::Tail => self.metrics.read_from_tail(bytes),
            ReadSource::ReadAhead | ReadSource::Disk | ReadSource::File => {
                self.metrics.read_from_file(bytes);
            }
        }
    }

    fn window_begun(&self) {
        self.metrics.read_ahead_windows.increment();
    }

    fn window_used(&self) {
        self.metrics.read_ahead_windows_used.increment();
    }

    fn damage_found(&self) {
        self.metrics.damage_found.increment();
    }

    fn damage_passed(&self) {
        self.metrics.damage_passed.increment();
    }

    fn scrubbed(&self, bytes: u64) {
        self.metrics.scrubbed_bytes.add(bytes);
    }

    fn scrub_found_damage(&self) {
        self.metrics.scrub_damage_found.increment();
    }

    fn longest_unchecked(&self, dir_index: usize, age_ms: i64) {
        let mut ages = self.longest_unchecked_ms.borrow_mut();
        ages.insert(dir_index, age_ms);
        let longest_ms = ages.values().max().copied().unwrap_or(0);
        self.metrics.longest_unchecked_ms.set(longest_ms);
    }

    fn recovery_point_moved(&self) {
        self.node.recovery_points_moved.store(true, Ordering::Relaxed);
    }

    fn dirty_bytes(&self, bytes: usize) {
        self.metrics.dirty_bytes.set(bytes as i64);
    }

    fn tail_bytes(&self, bytes: usize) {
        self.metrics.tail_bytes.set(bytes as i64);
    }
}
