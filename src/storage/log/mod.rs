//! One partition's log on the shard that owns it.
//!
//! A log is `Rc`, owned by one shard, and has interior mutability: a borrow of its state never
//! lasts across an `await`. Appends change memory only and are ordered by the calls; one writer
//! task per log carries them to disk in the same order. Its offsets and their order are in
//! [`offsets`].
//!
//! The *committed* offset is the one by which this node acknowledges: with `flush=sync` what is
//! durable, with `flush=async` what the system was given and has taken. The latter survives the
//! process but not the loss of power, like Kafka's page cache. Consumers, retention and followers
//! go by the *high watermark*. Whoever knows the replicas gives it ([`Log::set_high_watermark`]);
//! as long as nobody does, the log is the only replica, and it follows what is committed.

pub(crate) mod append;
pub(crate) mod cleaning;
mod keeper;
mod lifecycle;
pub(crate) mod offsets;
mod preallocate;
mod retention;
mod roll;
pub(crate) mod room;
pub(crate) mod seal;
pub(crate) mod timestamps;
mod waiting;
pub(crate) mod writer;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use ringlog_config::{Flush, TopicConfig};
use ringlog_types::{LeaderEpoch, Offset, TopicPartition, Uuid};

use crate::checked_segments::CheckedSegments;
use crate::error::StorageError;
use crate::leader_epoch_cache::{EpochEndOffset, EpochEntry, LeaderEpochCache};
use crate::local_offsets::{LocalOffset, LocalOffsets};
use crate::log::cleaning::Cleaning;
use crate::log::offsets::{LogEnd, LogOffsets};
use crate::log::room::RoomQueue;
use crate::log_dir::LogDir;
use crate::producers::describe::{DescribedProducer, describe};
use crate::producers::entries::ProducerEntries;
use crate::producers::state::ProducerState;
use crate::segment::fence_file::FenceFile;
use crate::segment::{Segment, Stage};
use crate::shard::StorageShard;
use crate::shard::budget::{Budget, Looks};
use crate::wait::{OffsetWaiters, Waiters};

/// Who is told when a log moves on. Called on the log's shard, outside of any borrow of it.
pub trait LogObserver {
    /// Everything below `end_offset` may be acknowledged, as far as this node is concerned. Called
    /// once for each write, not for each batch.
    fn committed_advanced(&self, end_offset: Offset);
    /// Everything from `end_offset` on is gone.
    fn truncated(&self, end_offset: Offset);
    /// The log went offline.
    fn failed(&self, error: &StorageError);
}

/// State that is to be checkpointed once everything below `offset` is durable.
struct PendingCheckpoint {
    offset: Offset,
    producers: ProducerEntries,
}

/// One partition's log.
pub struct Log {
    pub(crate) this: Weak<Log>,
    pub(crate) shard: StorageShard,
    pub(crate) dir: Arc<LogDir>,
    pub(crate) topic_partition: TopicPartition,
    topic_id: Cell<Uuid>,
    pub(crate) path: RefCell<Rc<Path>>,
    pub(crate) config: RefCell<Arc<TopicConfig>>,
    /// By base offset; never empty, and only the last is open.
    pub(crate) segments: RefCell<Vec<Rc<Segment>>>,
    pub(crate) offsets: LogOffsets,
    /// Somebody else says how far the replicas are.
    high_watermark_is_given: Cell<bool>,
    pub(crate) local_recovery_point: LocalOffsets,
    pub(crate) local_start: LocalOffsets,
    pub(crate) producers: RefCell<ProducerState>,
    pub(crate) epochs: RefCell<LeaderEpochCache>,
    /// Offsets of the producer snapshots on disk.
    pub(crate) snapshots: RefCell<BTreeSet<Offset>>,
    /// Of its directory.
    pub(crate) budget: Rc<Budget>,
    /// Those who wait to append.
    pub(crate) room: RoomQueue,
    pub(crate) fence_file: FenceFile,
    pub(crate) checked: CheckedSegments,
    failure: RefCell<Option<StorageError>>,
    observer: RefCell<Option<Rc<dyn LogObserver>>>,
    notified_offset: Cell<Offset>,
    notification_due: Cell<bool>,
    pub(crate) durable_waiters: OffsetWaiters,
    /// Appends are refused: the log is about to be closed.
    closing: Cell<bool>,
    /// The end is being cut off: nothing is appended, and no segment is rolled.
    is_being_cut: Cell<bool>,
    writer: WriterState,
    pub(crate) cleaning: Cleaning,
}

/// What the tasks that carry a log to disk know: writer, keeper, and the one that writes zeros
/// ahead. Only the files of this folder see it.
#[derive(Default)]
struct WriterState {
    is_running: Cell<bool>,
    keeper_is_running: Cell<bool>,
    /// The files of the next segment are being begun.
    is_beginning: Cell<bool>,
    /// The writer or the keeper stopped, or the files are there.
    stopped: Waiters,
    /// Writer and keeper start nothing new while this is set (truncation, closing).
    is_paused: Cell<bool>,
    /// Appended and not written.
    dirty_bytes: Cell<usize>,
    /// Counts what was written and flushed.
    writes: Cell<u64>,
    looks: Cell<Looks>,
    /// Nothing of this log was written for so long that it seems to hang.
    stands: Cell<bool>,
    /// A flush of everything below is wanted (`flush=async`).
    flush_wanted: Cell<Offset>,
    flush_timer_is_set: Cell<bool>,
    pending_checkpoint: RefCell<Option<PendingCheckpoint>>,
    bytes_since_checkpoint: Cell<u64>,
    /// The stretch to which zeros are being written, and the segment by its base offset.
    zeroing: Cell<Option<(Offset, u64)>>,
    zeroing_done: Waiters,
}

/// What a new [`Log`] is made of.
pub(crate) struct LogParts {
    pub(crate) shard: StorageShard,
    pub(crate) dir: Arc<LogDir>,
    pub(crate) topic_partition: TopicPartition,
    pub(crate) topic_id: Uuid,
    pub(crate) path: Rc<Path>,
    pub(crate) config: Arc<TopicConfig>,
    pub(crate) segments: Vec<Rc<Segment>>,
    pub(crate) log_start_offset: Offset,
    pub(crate) log_end_offset: Offset,
    pub(crate) recovery_point: Offset,
    /// The numbers of the newest files; see [`crate::local_offsets`].
    pub(crate) newest_local_recovery_point: u64,
    pub(crate) newest_local_start: u64,
    pub(crate) producers: ProducerState,
    pub(crate) epochs: LeaderEpochCache,
    pub(crate) snapshots: BTreeSet<Offset>,
    /// See [`Log::cleaned_end`].
    pub(crate) cleaned_end: Option<Offset>,
}

impl Log {
    pub(crate) fn assemble(parts: LogParts) -> Rc<Log> {
        assert!(parts.segments.last().is_some_and(|last| last.stage.get() == Stage::Open));
        let budget = parts.shard.budget(&parts.dir);
        Rc::new_cyclic(|this| Log {
            this: this.clone(),
            shard: parts.shard,
            dir: parts.dir,
            topic_partition: parts.topic_partition,
            topic_id: Cell::new(parts.topic_id),
            path: RefCell::new(parts.path),
            config: RefCell::new(parts.config),
            segments: RefCell::new(parts.segments),
            offsets: LogOffsets::opened(
                parts.log_start_offset,
                parts.log_end_offset,
                parts.recovery_point,
            ),
            high_watermark_is_given: Cell::new(false),
            local_recovery_point: LocalOffsets::new(
                LocalOffset::RecoveryPoint,
                parts.newest_local_recovery_point,
            ),
            local_start: LocalOffsets::new(LocalOffset::LogStart, parts.newest_local_start),
            producers: RefCell::new(parts.producers),
            epochs: RefCell::new(parts.epochs),
            snapshots: RefCell::new(parts.snapshots),
            budget: budget.clone(),
            room: RoomQueue::default(),
            fence_file: FenceFile::default(),
            checked: CheckedSegments::default(),
            failure: RefCell::new(None),
            observer: RefCell::new(None),
            notified_offset: Cell::new(parts.log_end_offset),
            notification_due: Cell::new(false),
            durable_waiters: OffsetWaiters::default(),
            closing: Cell::new(false),
            is_being_cut: Cell::new(false),
            writer: WriterState::default(),
            cleaning: Cleaning::new(parts.cleaned_end),
        })
    }

    /// The partition.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// The topic's id.
    pub fn topic_id(&self) -> Uuid {
        self.topic_id.get()
    }

    /// What it shares with the other logs of its shard.
    pub fn storage_shard(&self) -> &StorageShard {
        &self.shard
    }

    /// The log directory that holds the log.
    pub fn dir(&self) -> &Arc<LogDir> {
        &self.dir
    }

    /// The settings in force.
    pub fn config(&self) -> Arc<TopicConfig> {
        self.config.borrow().clone()
    }

    /// Puts other settings in force. When the flush policy changes, what was written before is
    /// flushed, and those who wait for a commit look again: what they wait for may have become
    /// true, or nobody else would ask for the flush.
    pub fn update_config(&self, config: Arc<TopicConfig>) {
        let before = self.flush();
        self.config.replace(config);
        if self.flush() != before {
            self.writer.flush_wanted.set(self.offsets.log_end());
            self.schedule_notification();
        }
        self.kick_writer();
    }

    /// When appends are acknowledged. Flushing after every message is `sync` by another name.
    pub(crate) fn flush(&self) -> Flush {
        let config = self.config.borrow();
        match config.flush {
            Flush::Async if config.flush_messages <= 1 => Flush::Sync,
            flush => flush,
        }
    }

    /// The first offset that can be read.
    pub fn log_start_offset(&self) -> Offset {
        self.offsets.log_start()
    }

    /// The offset that the next record gets.
    pub fn log_end_offset(&self) -> Offset {
        self.offsets.log_end()
    }

    /// Where the log ends now, for those who wait until everything in it is on disk.
    pub fn end(&self) -> LogEnd {
        self.offsets.end_at(self.offsets.log_end())
    }

    #[cfg(test)]
    pub(crate) fn end_at(&self, offset: Offset) -> LogEnd {
        self.offsets.end_at(offset)
    }

    /// Everything below survives the loss of power.
    pub fn durable_offset(&self) -> Offset {
        self.offsets.durable()
    }

    /// Everything below is as safe on this node as the topic wants it.
    pub fn committed_offset(&self) -> Offset {
        match self.flush() {
            Flush::Sync => self.offsets.durable(),
            Flush::Async => self.offsets.written(),
        }
    }

    /// Everything below may be consumed and removed.
    pub fn high_watermark(&self) -> Offset {
        self.offsets.high_watermark()
    }

    /// Sets the high watermark. From then on it moves only by this.
    pub fn set_high_watermark(&self, offset: Offset) {
        self.high_watermark_is_given.set(true);
        self.offsets.high_watermark_at(offset);
    }

    /// After a crash, only what lies beyond is read again. For the recovery-point checkpoint.
    pub fn recovery_point(&self) -> Offset {
        self.offsets.recovery_point()
    }

    /// The offset of the first record of the oldest open transaction, or the high watermark.
    pub fn last_stable_offset(&self) -> Offset {
        let high_watermark = self.high_watermark();
        let undecided = self.producers.borrow().first_undecided_offset();
        undecided.map_or(high_watermark, |offset| offset.min(high_watermark))
    }

    /// Bytes of records, in memory and on disk.
    pub fn size_bytes(&self) -> u64 {
        self.segments.borrow().iter().map(|segment| segment.size.get()).sum()
    }

    /// How many segments there are.
    pub fn segment_count(&self) -> usize {
        self.segments.borrow().len()
    }

    /// How many idempotent producers are remembered.
    pub fn producer_count(&self) -> usize {
        self.producers.borrow().len()
    }

    /// At most `count_max` of them, by their ids.
    pub fn describe_producers(&self, count_max: usize) -> Vec<DescribedProducer> {
        describe(&self.producers.borrow(), count_max)
    }

    /// Bytes appended but not written.
    pub fn dirty_bytes(&self) -> usize {
        self.writer.dirty_bytes.get()
    }

    /// The epoch of the newest batch.
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.borrow().latest_epoch()
    }

    /// The largest epoch at or below `epoch` and its end offset; none if `epoch` is newer than any
    /// known (KIP-279).
    pub fn epoch_end_offset(&self, epoch: LeaderEpoch) -> Option<EpochEndOffset> {
        self.epochs.borrow().end_offset_for(epoch, self.log_end_offset())
    }

    /// The epoch under which the record at `offset` was written.
    pub fn epoch_for_offset(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.epochs.borrow().epoch_for_offset(offset)
    }

    /// The epochs of the log, oldest first.
    pub fn epoch_entries(&self) -> Vec<EpochEntry> {
        self.epochs.borrow().entries().to_vec()
    }

    /// Notes that a leadership starts at the end of the log, before it has written anything
    /// (Kafka does so when a partition becomes leader).
    pub fn begin_epoch(&self, epoch: LeaderEpoch) {
        self.epochs.borrow_mut().assign(epoch, self.log_end_offset());
    }

    /// Sets who is told of progress and failure.
    pub fn set_observer(&self, observer: Rc<dyn LogObserver>) {
        self.observer.replace(Some(observer));
    }

    /// The failure that took the log offline.
    pub fn failure(&self) -> Option<StorageError> {
        self.failure.borrow().clone()
    }

    /// Whether the log is about to be closed.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    pub(crate) fn open_segment(&self) -> Rc<Segment> {
        self.segments.borrow().last().expect("a log has a segment").clone()
    }

    /// The segment whose offsets include `offset`: the last that does not start behind it.
    pub(crate) fn segment_for(&self, offset: Offset) -> Option<Rc<Segment>> {
        let segments = self.segments.borrow();
        let after = segments.partition_point(|segment| segment.base_offset <= offset);
        after.checked_sub(1).map(|at| segments[at].clone())
    }

    /// Whether a segment is still one of the log's: retention and truncation take them out.
    pub(crate) fn has_segment(&self, segment: &Rc<Segment>) -> bool {
        let found = self.segment_for(segment.base_offset);
        found.is_some_and(|found| Rc::ptr_eq(&found, segment))
    }

    /// The segment behind the one that starts at `base_offset`.
    pub(crate) fn segment_after(&self, base_offset: Offset) -> Option<Rc<Segment>> {
        let segments = self.segments.borrow();
        let after = segments.partition_point(|segment| segment.base_offset <= base_offset);
        segments.get(after).cloned()
    }

    /// Takes the log offline: everyone who waits is told, and nothing is written any more.
    pub(crate) fn fail(&self, error: &StorageError) {
        if self.failure.borrow().is_some() {
            return;
        }
        let offline = match error {
            StorageError::Closed | StorageError::Offline { .. } => error.clone(),
            error => StorageError::Offline { reason: error.to_string().into() },
        };
        self.failure.replace(Some(offline));
        self.shard.remove_dirty(&self.budget, self.writer.dirty_bytes.replace(0));
        self.durable_waiters.wake_all();
        self.writer.stopped.wake_all();
        if !matches!(error, StorageError::Closed) {
            self.dir.take_offline(error);
            let observer = self.observer.borrow().clone();
            if let Some(observer) = observer {
                observer.failed(error);
            }
        }
    }

    /// Takes the log offline if its directory is: what failed another log there is not to be
    /// trusted with this one (`ReplicaManager.handleLogDirFailure`). Called wherever something
    /// would be taken or acknowledged, so that not one more is, on any shard.
    pub fn follow_directory(&self) {
        if self.dir.is_offline() && self.failure.borrow().is_none() {
            let reason = self.dir.failure().unwrap_or_else(|| "its directory is offline".into());
            self.fail(&StorageError::Offline { reason });
        }
    }

    /// Everything below `end_offset` is on disk in its segment: those who wait for that are told.
    pub(crate) fn advance_settled(&self, end_offset: Offset) {
        self.follow_directory();
        if self.failure.borrow().is_none() && end_offset > self.offsets.settled() {
            self.offsets.settled_to(end_offset);
            self.tell_waiters(end_offset);
        }
    }

    /// Moves the durable offset on and tells those who wait for it.
    pub(crate) fn advance_durable(&self, end_offset: Offset) {
        self.follow_directory();
        if self.failure.borrow().is_none() && self.offsets.durable_to(end_offset) {
            self.tell_waiters(end_offset);
        }
    }

    /// Moves the written offset on; with `flush=async` that is what is waited for.
    pub(crate) fn advance_written(&self, end_offset: Offset) {
        if self.offsets.written_to(end_offset) && self.flush() == Flush::Async {
            self.tell_waiters(end_offset);
        }
    }

    fn tell_waiters(&self, end_offset: Offset) {
        self.durable_waiters.wake_up_to(end_offset);
        self.notify_committed();
    }

    /// Tells the observer if the committed offset has moved.
    pub(crate) fn notify_committed(&self) {
        let committed = self.committed_offset();
        if committed <= self.notified_offset.get() {
            return;
        }
        self.notified_offset.set(committed);
        if !self.high_watermark_is_given.get() {
            self.offsets.high_watermark_at(committed.max(self.high_watermark()));
        }
        let observer = self.observer.borrow().clone();
        if let Some(observer) = observer {
            observer.committed_advanced(committed);
        }
    }

    pub(crate) fn tell_truncated(&self, end_offset: Offset) {
        let observer = self.observer.borrow().clone();
        if let Some(observer) = observer {
            observer.truncated(end_offset);
        }
    }

    /// Until [`Log::cut_ends`], nothing may be appended.
    pub(crate) fn cut_begins(&self) {
        assert!(!self.is_being_cut.replace(true), "one truncation at a time");
    }

    pub(crate) fn cut_ends(&self) {
        self.is_being_cut.set(false);
    }

    /// After a truncation, progress is counted from the new end.
    pub(crate) fn reset_notification(&self, end_offset: Offset) {
        self.notified_offset.set(end_offset);
    }

    /// Tells of the committed offset after what is being done now.
    pub(crate) fn schedule_notification(&self) {
        if self.notification_due.replace(true) {
            return;
        }
        let Some(log) = self.this.upgrade() else { return };
        drop(self.shard.runtime().spawn(async move {
            log.notification_due.set(false);
            log.durable_waiters.wake_up_to(log.committed_offset());
            log.notify_committed();
        }));
    }

    /// Gives up the oldest chunk of memory that is on disk. Returns how much that is.
    pub(crate) fn evict_oldest_chunk(&self) -> usize {
        let segments = self.segments.borrow();
        let oldest = segments.iter().find(|segment| segment.tail_memory() > 0);
        oldest.map_or(0, |segment| {
            let written = segment.write.borrow().written;
            segment.tail.borrow_mut().evict_oldest(written)
        })
    }

    /// Memory the log's tails take.
    pub(crate) fn tail_memory(&self) -> usize {
        self.segments.borrow().iter().map(|segment| segment.tail_memory()).sum()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shard.tail_shrank(self.tail_memory());
        self.shard.remove_dirty(&self.budget, self.writer.dirty_bytes.get());
    }
}
