//! From what a shard's logs tell to what its metrics count.

use std::sync::Arc;
use std::time::Duration;

use ringlog_admin::metrics::ShardMetrics;
use ringlog_storage::{ReadSource, StorageObserver};

/// Counts the work of one shard's storage.
pub(crate) struct StorageMetrics(pub(crate) Arc<ShardMetrics>);

impl StorageObserver for StorageMetrics {
    fn written(&self, bytes: u64) {
        self.0.bytes_written.add(bytes);
    }

    fn flushed(&self, bytes: u64, took: Duration) {
        self.0.flushed(bytes, took);
    }

    fn read(&self, source: ReadSource, bytes: u64) {
        match source {
            ReadSource::Tail => self.0.read_from_tail(bytes),
            ReadSource::ReadAhead | ReadSource::Disk | ReadSource::File => {
                self.0.read_from_file(bytes);
            }
        }
    }

    fn window_begun(&self) {
        self.0.read_ahead_windows.increment();
    }

    fn window_used(&self) {
        self.0.read_ahead_windows_used.increment();
    }

    fn dirty_bytes(&self, bytes: usize) {
        self.0.dirty_bytes.set(bytes as i64);
    }

    fn tail_bytes(&self, bytes: usize) {
        self.0.tail_bytes.set(bytes as i64);
    }
}
