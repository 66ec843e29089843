//! Appending a batch: entirely in memory and without waiting.
//!
//! The batch was checked by `ringlog_record`; here it is put in order. Offset and leader epoch are
//! stamped into a copy of its header, header and records are copied once into the tail, and the
//! writer is told. Nothing is changed before every check has passed, so an error leaves no trace.

use ringlog_config::{TimestampType, TopicConfig};
use ringlog_record::{BatchSummary, patch};
use ringlog_types::{LeaderEpoch, Offset, TimestampMs};

use crate::error::{AppendError, StorageError};
use crate::log::Log;
use crate::log::offsets::LogEnd;
use crate::producers::state::{ProducerBatch, Verdict};
use crate::segment::Segment;
use crate::segment::batch_header::{self, BatchHeader, HEADER_BYTES};

/// Where a batch comes from, which decides what is checked and what is assigned (Kafka's
/// `AppendOrigin`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A producer: sizes, epochs and sequences are checked; offset and epoch are assigned.
    Client,
    /// A leader: offset and epoch are the leader's, which has checked everything.
    Replica,
    /// The node itself (group coordinator, controller): offset and epoch are assigned; there are
    /// no sequences.
    Coordinator,
}

/// Where a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// The timestamp its records got, or -1 if they kept their own.
    pub log_append_time: TimestampMs,
    /// The first offset of the log.
    pub log_start_offset: Offset,
    /// Whether it was in the log already. The offsets are those of then; it may not be durable
    /// yet, so an acknowledgement has to wait all the same.
    pub duplicate: bool,
    /// Where it ends, to wait for.
    pub end: LogEnd,
}

impl Log {
    /// Appends one batch, which `summary` describes.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was taken.
    pub fn append(
        &self,
        batch: &[u8],
        summary: &BatchSummary,
        origin: AppendOrigin,
        leader_epoch: LeaderEpoch,
        now_ms: TimestampMs,
    ) -> Result<Appended, AppendError> {
        self.follow_directory();
        if let Some(failure) = self.failure() {
            return Err(failure.into());
        }
        if self.closing.get() {
            return Err(StorageError::Closed.into());
        }
        assert!(!self.is_being_cut.get(), "an append during a truncation");
        if !self.has_room(batch.len(), origin) {
            return Err(AppendError::NoSpace);
        }
        let config = self.config();
        check_size(batch.len(), origin, &config)?;
        let mut header = BatchHeader::parse(batch, batch.len() as u64)
            .ok()
            .filter(|header| header.size == batch.len())
            .expect("the batch was validated");
        assert!(header.last_offset_delta == summary.last_offset_delta, "the summary is another's");
        let end = self.offsets.log_end();
        if origin == AppendOrigin::Replica {
            if header.base_offset < end {
                return Err(AppendError::NotContiguous {
                    base_offset: header.base_offset,
                    log_end_offset: end,
                });
            }
        } else {
            header.base_offset = end;
            header.leader_epoch = leader_epoch;
        }
        let by_append_time = config.message_timestamp_type == TimestampType::LogAppendTime;
        let log_append_time = (by_append_time && origin != AppendOrigin::Replica).then_some(now_ms);
        if let Some(now_ms) = log_append_time {
            header.max_timestamp = now_ms;
        }
        let producer = header.producer_batch();
        if let Some(known) = self.find_duplicate(producer.as_ref(), &header, origin)? {
            return Ok(known);
        }
        self.take(batch, &header, log_append_time, &config, now_ms);
        if let Some(producer) = producer {
            self.note_producer(&producer, &header, batch, now_ms);
        }
        Ok(Appended {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            log_append_time: log_append_time.unwrap_or(-1),
            log_start_offset: self.offsets.log_start(),
            duplicate: false,
            end: self.offsets.end_at(header.next_offset()),
        })
    }

    /// Whether the directory's disk is good for `bytes` more. The reserve is there for what frees
    /// space, as deleting a topic is a record too, and so are blocks that the log has already.
    fn has_room(&self, bytes: usize, origin: AppendOrigin) -> bool {
        match origin {
            AppendOrigin::Coordinator => {
                !self.dir.is_exhausted() || self.has_blocks_for(&self.open_segment(), bytes)
            }
            AppendOrigin::Client | AppendOrigin::Replica => !self.dir.is_full(),
        }
    }

    /// Checks the producer's epoch and sequence; `Some` if the batch is in the log already.
    fn find_duplicate(
        &self,
        producer: Option<&ProducerBatch>,
        header: &BatchHeader,
        origin: AppendOrigin,
    ) -> Result<Option<Appended>, AppendError> {
        let (Some(producer), false) = (producer, header.is_control()) else { return Ok(None) };
        if origin == AppendOrigin::Replica {
            return Ok(None);
        }
        let verdict = self.producers.borrow().check(producer, origin == AppendOrigin::Client)?;
        let Verdict::Duplicate(known) = verdict else { return Ok(None) };
        let by_append_time =
            self.config.borrow().message_timestamp_type == TimestampType::LogAppendTime;
        Ok(Some(Appended {
            base_offset: known.first_offset(),
            last_offset: known.last_offset,
            log_append_time: if by_append_time { known.timestamp } else { -1 },
            log_start_offset: self.offsets.log_start(),
            duplicate: true,
            end: self.offsets.end_at(known.last_offset + 1),
        }))
    }

    fn note_producer(
        &self,
        producer: &ProducerBatch,
        header: &BatchHeader,
        batch: &[u8],
        now_ms: TimestampMs,
    ) {
        let mut producers = self.producers.borrow_mut();
        if !header.is_control() {
            producers.apply(producer, now_ms);
        } else if let Some(coordinator_epoch) = batch_header::coordinator_epoch(batch) {
            producers.apply_marker(
                producer.producer_id,
                producer.producer_epoch,
                coordinator_epoch,
                producer.max_timestamp,
                now_ms,
            );
        }
    }

    /// Copies the batch into the tail of the segment it belongs to.
    fn take(
        &self,
        batch: &[u8],
        header: &BatchHeader,
        log_append_time: Option<TimestampMs>,
        config: &TopicConfig,
        now_ms: TimestampMs,
    ) {
        let mut segment = self.open_segment();
        let far = header.last_offset() - segment.base_offset > i64::from(i32::MAX);
        if far || (must_roll(&segment, header, config, now_ms) && self.may_roll()) {
            segment = self.roll_in_memory(&segment, header, now_ms);
        }
        let (base_offset, leader_epoch) = (header.base_offset, header.leader_epoch);
        let stamped = patch::stamped_header(batch, base_offset, leader_epoch, log_append_time);
        let pool = self.shard.runtime().buffers();
        let position = segment.size.get();
        let (chunks, taken) = {
            let mut tail = segment.tail.borrow_mut();
            let before = tail.chunk_count();
            let mut taken = tail.append(pool, position, &stamped);
            let records = &batch[HEADER_BYTES..];
            taken += tail.append(pool, position + HEADER_BYTES as u64, records);
            tail.mark_batch_end(header.next_offset());
            (tail.chunk_count() - before, taken)
        };
        segment.note_batch(header, config.index_interval_bytes.max(0) as u64);
        self.epochs.borrow_mut().assign(header.leader_epoch, header.base_offset);
        self.offsets.appended(header.next_offset());
        self.writer.dirty_bytes.set(self.writer.dirty_bytes.get() + batch.len());
        self.shard.add_dirty(&self.budget, batch.len());
        if taken > 0 {
            self.shard.tail_grew(&self.this, chunks, taken);
        }
        self.kick_writer();
    }
}

fn check_size(size: usize, origin: AppendOrigin, config: &TopicConfig) -> Result<(), AppendError> {
    let limit = config.max_message_bytes.max(0) as usize;
    if origin == AppendOrigin::Client && size > limit {
        return Err(AppendError::MessageTooLarge { size, limit });
    }
    let limit = config.segment_bytes.max(0) as usize;
    if size > limit {
        return Err(AppendError::BatchTooLarge { size, limit });
    }
    Ok(())
}

/// After how long a segment is closed that is not full (`LogConfig.maxSegmentMs`): what is in an
/// open segment is not compacted.
pub(crate) fn roll_ms(config: &TopicConfig) -> i64 {
    match config.cleanup_policy.compact {
        true => config.segment_ms.min(config.max_compaction_lag_ms),
        false => config.segment_ms,
    }
}

/// Kafka's rule for a new segment (`LogSegment.shouldRoll`), but for offsets too far apart.
fn must_roll(
    segment: &Segment,
    header: &BatchHeader,
    config: &TopicConfig,
    now_ms: TimestampMs,
) -> bool {
    let size = segment.size.get();
    if size == 0 {
        return false;
    }
    let age_ms = match segment.first_timestamp.get() {
        Some(first) if first >= 0 => header.max_timestamp.saturating_sub(first),
        _ => now_ms.saturating_sub(segment.created_ms.get()),
    };
    size + header.size as u64 > config.segment_bytes.max(0) as u64
        || age_ms > roll_ms(config).saturating_sub(segment.jitter_ms.get())
        || segment.index_is_full(config.segment_index_bytes.max(0) as usize)
}
