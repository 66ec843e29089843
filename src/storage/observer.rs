//! What a shard's logs tell of their work, for whoever counts it.
//!
//! The storage keeps no statistics itself. Calls are made on the shard's thread, at the moment of
//! what they tell, and must not call back into a log.

use std::time::Duration;

/// Where a read found its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReadSource {
    /// The tail in memory.
    Tail,
    /// Memory, because they were read ahead of the reader.
    ReadAhead,
    /// The file of a segment that is still written, read by us.
    Disk,
    /// The file of a segment, lent to the reader as a stretch of it.
    File,
}

/// Is told of every read, write and flush of a shard's logs. All of it is optional.
#[allow(unused_variables, reason = "the names are for those who implement it")]
pub trait StorageObserver {
    /// This many bytes were written, padding and zeros ahead of the end included; they are
    /// durable only if [`StorageObserver::flushed`] says so.
    fn written(&self, bytes: u64) {}

    /// A durable write or a flush made this many bytes of batches safe.
    fn flushed(&self, bytes: u64, took: Duration) {}

    /// A read took bytes from a source. One that takes from several tells of each.
    fn read(&self, source: ReadSource, bytes: u64) {}

    /// A window was begun to be read ahead.
    fn window_begun(&self) {}

    /// Somebody was the first to read a window to its end.
    fn window_used(&self) {}

    /// Damage to what was durable was found and fenced.
    fn damage_found(&self) {}

    /// A consumer went on behind damaged records.
    fn damage_passed(&self) {}

    /// The scrub is about to read so many bytes.
    fn scrubbed(&self, bytes: u64) {}

    /// The scrub found damage that nobody had met before it, or a segment that cannot be read.
    fn scrub_found_damage(&self) {}

    /// Of the segments that the scrub looks after in a directory, by its place in `log.dirs`, one
    /// waits for its check, or has been checked, for so long, and no other for longer.
    fn longest_unchecked(&self, dir_index: usize, age_ms: i64) {}

    /// A log's recovery point moved on: its checkpoint file could be written again.
    fn recovery_point_moved(&self) {}

    /// So many bytes are appended but not written now.
    fn dirty_bytes(&self, bytes: usize) {}

    /// So much memory the tails take now.
    fn tail_bytes(&self, bytes: usize) {}
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;
    use std::rc::Rc;
    use std::sync::Mutex;

    use ringlog_config::TopicConfig;

    use super::*;
    use crate::testing::{BatchSpec, Bench, append, on_shard};
    use crate::{StorageOptions, StorageShard};

    #[derive(Default)]
    struct Counts {
        written: Cell<u64>,
        flushed: Cell<u64>,
        flushes: Cell<u64>,
        read: RefCell<BTreeMap<String, u64>>,
        windows: Cell<(u64, u64)>,
        dirty: Cell<usize>,
        tail: Cell<usize>,
    }

    impl Counts {
        fn read_from(&self, source: ReadSource) -> u64 {
            self.read.borrow().get(&format!("{source:?}")).copied().unwrap_or(0)
        }
    }

    impl StorageObserver for Counts {
        fn written(&self, bytes: u64) {
            self.written.set(self.written.get() + bytes);
        }

        fn flushed(&self, bytes: u64, _took: Duration) {
            self.flushed.set(self.flushed.get() + bytes);
            self.flushes.set(self.flushes.get() + 1);
        }

        fn read(&self, source: ReadSource, bytes: u64) {
            *self.read.borrow_mut().entry(format!("{source:?}")).or_default() += bytes;
        }

        fn window_begun(&self) {
            self.windows.set((self.windows.get().0 + 1, self.windows.get().1));
        }

        fn window_used(&self) {
            self.windows.set((self.windows.get().0, self.windows.get().1 + 1));
        }

        fn dirty_bytes(&self, bytes: usize) {
            self.dirty.set(bytes);
        }

        fn tail_bytes(&self, bytes: usize) {
            self.tail.set(bytes);
        }
    }

    /// Two segments: a sealed one, and one of which the tail holds only the end. Every byte that
    /// is read is told of once, with where it came from.
    #[test]
    fn everything_is_told() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().to_owned();
        on_shard(move |runtime| {
            let path = path.clone();
            async move {
                let options = StorageOptions { tail_cache_bytes: 1 << 20, ..Default::default() };
                let shard = StorageShard::new(runtime, options);
                let counts = Rc::new(Counts::default());
                shard.set_observer(counts.clone());
                let config = TopicConfig { segment_bytes: 6 << 20, ..TopicConfig::default() };
                let bench = Bench { root: path, shard, config: Mutex::new(config) };
                let opened = bench.open().await;
                let log = &opened.log;
                let spec = BatchSpec { value_bytes: 100 << 10, ..Default::default() };
                let mut appended = 0;
                for _ in 0..100 {
                    let end = append(log, spec).expect("taken").last_offset + 1;
                    appended += spec.build().len() as u64;
                    assert!(counts.dirty.get() > 0);
                    log.wait_durable(log.end_at(end)).await.expect("written");
                }
                assert_eq!(counts.dirty.get(), 0);
                assert_eq!(counts.flushed.get(), appended);
                assert!(counts.flushes.get() >= 100 && counts.written.get() >= appended);
                assert!((1..=2 << 20).contains(&counts.tail.get()), "{}", counts.tail.get());
                // The second time, the sealed segment goes by page.
                let (mut offset, mut read_bytes) = (0, 0);
                while offset < 200 {
                    let from = offset % 100;
                    let read = log.read(from, 300 << 10, 100, true).await.expect("readable");
                    read_bytes += read.bytes as u64;
                    offset += (read.bytes / spec.build().len()) as i64;
                }
                let told: u64 = counts.read.borrow().values().sum();
                assert_eq!(told, read_bytes);
                for source in [ReadSource::File, ReadSource::Disk, ReadSource::Tail] {
                    assert!(counts.read_from(source) > 0, "{source:?}");
                }
                let (begun, used) = counts.windows.get();
                assert!(used > 0 && used <= begun, "{used} of {begun} windows");
                assert!(counts.read_from(ReadSource::ReadAhead) > 0);
                bench.close(opened).await;
            }
        });
    }
}
