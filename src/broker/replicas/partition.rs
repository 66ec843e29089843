//! One partition on the shard that owns it: its log, and the fetches that wait for its end to
//! move.
//!
//! The high watermark is decided here and kept by the log. With one replica it is the log's
//! committed offset: what the topic's flush policy calls safe. A consumer never sees a record that
//! a crash could take back from a topic with `flush=sync`.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak as RcWeak};
use std::sync::{Arc, Weak};

use ringlog_metrics::TopicMetrics;
use ringlog_runtime::sync::Signal;
use ringlog_storage::{Log, LogObserver, StorageError};
use ringlog_types::{Offset, TopicPartition};

use crate::replicas::Replicas;
use crate::replicas::offline::OfflinePartition;

/// A fetch that waits for data. It lives on the shard of its connection; the partitions it waits
/// for hold weak references, so that a fetch that ended leaves nothing behind.
pub(crate) type FetchWaiter = Arc<Signal>;

/// Dead waiters are swept out when a partition has at least this many.
const WAITERS_BEFORE_SWEEP: usize = 8;

/// A partition this shard owns.
pub(crate) struct Partition {
    pub(crate) topic_partition: TopicPartition,
    pub(crate) log: Rc<Log>,
    pub(crate) metrics: Arc<TopicMetrics>,
    replicas: RcWeak<Replicas>,
    waiters: RefCell<Vec<Weak<Signal>>>,
    failed: Cell<bool>,
}

impl Partition {
    /// Takes over `log` and watches it.
    pub(crate) fn new(
        topic_partition: TopicPartition,
        log: Rc<Log>,
        metrics: Arc<TopicMetrics>,
        replicas: &Rc<Replicas>,
    ) -> Rc<Partition> {
        let partition = Rc::new(Partition {
            topic_partition,
            log: log.clone(),
            metrics,
            replicas: Rc::downgrade(replicas),
            waiters: RefCell::default(),
            failed: Cell::new(false),
        });
        log.set_observer(Rc::new(Watch(Rc::downgrade(&partition))));
        log.set_high_watermark(log.committed_offset());
        partition
    }

    /// The first offset that consumers may not read yet.
    pub(crate) fn high_watermark(&self) -> Offset {
        self.log.high_watermark()
    }

    /// The first offset that readers of committed transactions may not read yet. There are no
    /// transactions here, but the log may be one that Kafka began.
    pub(crate) fn last_stable_offset(&self) -> Offset {
        self.log.last_stable_offset()
    }

    /// Whether the log failed and the partition can only answer `KAFKA_STORAGE_ERROR`.
    pub(crate) fn is_offline(&self) -> bool {
        self.failed.get()
    }

    /// Registers a fetch that has seen everything below `seen`. Returns false, without
    /// registering, when there is more by now: checking and registering are one step, so no
    /// wake-up falls between them.
    pub(crate) fn wait_beyond(&self, seen: Offset, waiter: &FetchWaiter) -> bool {
        if self.high_watermark() > seen || self.is_offline() {
            return false;
        }
        let mut waiters = self.waiters.borrow_mut();
        if waiters.len() >= WAITERS_BEFORE_SWEEP && waiters.len() == waiters.capacity() {
            waiters.retain(|waiter| waiter.strong_count() > 0);
        }
        waiters.push(Arc::downgrade(waiter));
        true
    }

    /// Wakes every fetch that waits here, to look again.
    pub(crate) fn wake_waiters(&self) {
        for waiter in self.waiters.borrow_mut().drain(..) {
            if let Some(waiter) = waiter.upgrade() {
                waiter.give();
            }
        }
    }
}

/// The log's view of its partition.
struct Watch(RcWeak<Partition>);

impl LogObserver for Watch {
    fn committed_advanced(&self, end_offset: Offset) {
        if let Some(partition) = self.0.upgrade() {
            // There are no other replicas to wait for. What consumers were shown stays shown when
            // the flush policy becomes a stricter one.
            partition.log.set_high_watermark(end_offset.max(partition.high_watermark()));
            partition.wake_waiters();
        }
    }

    /// Fetches that wait look again: what they wait behind may be gone.
    fn truncated(&self, _end_offset: Offset) {
        if let Some(partition) = self.0.upgrade() {
            partition.wake_waiters();
        }
    }

    fn failed(&self, error: &StorageError) {
        if let Some(partition) = self.0.upgrade() {
            let name = &partition.topic_partition;
            if !partition.failed.replace(true) {
                tracing::error!(partition = %name, %error, "partition is offline");
                if let Some(replicas) = partition.replicas.upgrade() {
                    replicas.metrics.partitions_offline.add(1);
                    let (topic_id, reason) = (partition.log.topic_id(), error.to_string().into());
                    let name = name.clone();
                    replicas.offline.notice(OfflinePartition { name, topic_id, reason });
                }
            }
            partition.wake_waiters();
        }
    }
}
