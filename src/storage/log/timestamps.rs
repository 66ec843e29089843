//! Finding offsets by time (`ListOffsets`), by Kafka's rules (`UnifiedLog.fetchOffsetByTimestamp`).
//!
//! What takes long is done beside the shard: a batch that is compressed, or large, is looked into
//! on the thread for computations, in the name of whoever asks. So many bytes of batches are held
//! for that at once, and those who ask take turns, a batch each.

use std::rc::Rc;

use bytes::Bytes;
use ringlog_record::{BatchError, BatchView, Compression, TimestampedOffset, first_at_or_after};
use ringlog_runtime::WorkOwner;
use ringlog_types::{LeaderEpoch, Offset, TimestampMs};

use crate::error::{ReadError, StorageError};
use crate::log::Log;
use crate::names;
use crate::segment::{Located, Segment, Stage};

/// Up to this size, looking into a batch that is not compressed takes a millisecond at most.
const LIGHT_BYTES_MAX: usize = 1 << 20;
/// Batches that are passed over in a turn of the shard.
const TURN_BATCHES: u32 = 256;

/// A record found by its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    /// The record's timestamp.
    pub timestamp: TimestampMs,
    /// The record's offset.
    pub offset: Offset,
    /// The epoch under which it was written; -1 if not known.
    pub leader_epoch: LeaderEpoch,
}

impl Log {
    /// The first record whose timestamp is at or after `timestamp`. What is computed beside the
    /// shard to find it is so in the name of `owner`.
    pub async fn offset_for_timestamp(
        &self,
        timestamp: TimestampMs,
        owner: WorkOwner,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let segments = self.segments.borrow().clone();
        for segment in segments {
            match self.find_in_segment(&segment, timestamp, owner).await {
                Ok(None) => {}
                // It was removed meanwhile.
                Err(_) if segment.end_offset.get() <= self.offsets.log_start() => {}
                found => return found,
            }
        }
        Ok(None)
    }

    /// The starts of up to `count_max` segments that were last written to at or before
    /// `timestamp`, newest first, and before them the log's end if that was reached by then (it is
    /// at `now_ms`). What `ListOffsets` 0 asks for (Kafka 3.9's `legacyFetchOffsetsBefore`).
    pub async fn offsets_before(
        &self,
        timestamp: TimestampMs,
        count_max: usize,
        now_ms: TimestampMs,
    ) -> Vec<Offset> {
        let segments = self.segments.borrow().clone();
        let end = self.offsets.log_end();
        let mut offsets = Vec::new();
        if now_ms <= timestamp && segments.last().is_some_and(|last| last.size.get() > 0) {
            offsets.push(end);
        }
        for segment in segments.iter().rev() {
            if offsets.len() >= count_max {
                break;
            }
            // Those before one that is old enough are taken as they come.
            if !offsets.is_empty() || self.last_written_ms(segment).await <= timestamp {
                offsets.push(segment.base_offset.max(self.offsets.log_start()));
            }
        }
        offsets.truncate(count_max);
        offsets
    }

    /// When a segment was written to last. One without a file yet was not.
    async fn last_written_ms(&self, segment: &Segment) -> TimestampMs {
        let stat = self.shard.runtime().stat(&segment.path(names::LOG)).await;
        stat.map_or(segment.created_ms.get(), |stat| stat.modified_ms)
    }

    async fn find_in_segment(
        &self,
        segment: &Rc<Segment>,
        timestamp: TimestampMs,
        owner: WorkOwner,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        if segment.end_offset.get() <= self.offsets.log_start() {
            return Ok(None);
        }
        self.load_max_timestamp(segment).await?;
        let newest = segment.max_timestamp.get().map_or(-1, |(timestamp, _)| timestamp);
        if newest < timestamp {
            return Ok(None);
        }
        self.find_record(segment, timestamp, owner).await
    }

    /// The first of the records with the largest timestamp in the log; see
    /// [`Log::offset_for_timestamp`] about `owner`.
    pub async fn max_timestamp_offset(
        &self,
        owner: WorkOwner,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let segments = self.segments.borrow().clone();
        let mut newest: Option<(TimestampMs, Rc<Segment>)> = None;
        for segment in segments {
            self.load_max_timestamp(&segment).await?;
            if let Some((timestamp, _)) = segment.max_timestamp.get()
                && newest.as_ref().is_none_or(|(known, _)| timestamp > *known)
            {
                newest = Some((timestamp, segment));
            }
        }
        let Some((timestamp, segment)) = newest else { return Ok(None) };
        if let Some(found) = self.find_record(&segment, timestamp, owner).await? {
            return Ok(Some(found));
        }
        // A compressed batch said so, and none of its records has it: the batch is the place then.
        let claimed = segment.max_timestamp.get().filter(|(_, at)| *at >= self.log_start_offset());
        Ok(claimed.map(|(timestamp, offset)| TimestampOffset {
            timestamp,
            offset,
            leader_epoch: self.epochs.borrow().epoch_for_offset(offset).unwrap_or(-1),
        }))
    }

    /// Whether an entry of the time index is true: no checksum covers the file, and a wrong entry
    /// hides records from those who look by time, or makes retention remove them too early.
    async fn is_true(
        &self,
        segment: &Rc<Segment>,
        (timestamp, offset): (TimestampMs, Offset),
    ) -> Result<bool, ReadError> {
        match self.locate_in(segment, offset).await {
            Ok(Some(Located { header, .. })) => {
                Ok(header.base_offset <= offset && header.max_timestamp == timestamp)
            }
            Ok(None) | Err(ReadError::Corrupt { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The first record in the segment, and not below the log's start, whose timestamp is at or
    /// after `timestamp`. Batches whose largest timestamp is before it are stepped over, most of
    /// them by the time index.
    async fn find_record(
        &self,
        segment: &Rc<Segment>,
        timestamp: TimestampMs,
        owner: WorkOwner,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let start = self.offsets.log_start();
        self.load_index(segment).await?;
        let entry =
            segment.index.borrow().as_ref().and_then(|index| index.times.entry_before(timestamp));
        let from = match entry {
            Some(entry) if self.is_true(segment, entry).await? => entry.1,
            _ => segment.base_offset,
        };
        let mut offset = from.max(start);
        let mut steps = self.shard.runtime().steps(TURN_BATCHES);
        while offset < segment.end_offset.get() {
            steps.step().await;
            if let Some(fence) = segment.fence_at(offset) {
                offset = fence.end_offset;
                continue;
            }
            let generation = segment.generation();
            let found = match self.locate(offset).await {
                // Damage that was found just now is stepped over like any other.
                Err(ReadError::Corrupt { .. }) if segment.fence_at(offset).is_some() => continue,
                found => found?,
            };
            let Some((found_in, located)) = found else { return Ok(None) };
            if !Rc::ptr_eq(&found_in, segment) {
                return Ok(None);
            }
            offset = located.header.next_offset();
            if located.header.max_timestamp < timestamp {
                continue;
            }
            let found = self.find_in_batch(segment, &located, start, timestamp, owner).await;
            if segment.generation() != generation {
                // What was read may be of two logs.
                return Err(StorageError::Truncated { offset }.into());
            }
            match found {
                Ok(None) => {}
                // Its header is whole, but not what follows.
                Err(ReadError::Corrupt { .. }) if self.examine(segment).await? => {
                    offset = located.header.base_offset.max(start);
                }
                found => return found,
            }
        }
        Ok(None)
    }

    /// Looks at the records of one batch.
    async fn find_in_batch(
        &self,
        segment: &Rc<Segment>,
        located: &Located,
        start: Offset,
        timestamp: TimestampMs,
        owner: WorkOwner,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let _memory = self.shard.memory_to_look_up(located.header.size).await;
        let bytes = self.batch_bytes(segment, located).await?;
        let found = match is_light(&bytes) {
            true => find_in(&bytes, timestamp, start),
            false => {
                let find = move || find_in(&bytes, timestamp, start);
                self.shard.runtime().compute(owner, find).await
            }
        };
        let found = found.map_err(|_| ReadError::Corrupt {
            offset: located.header.base_offset,
            path: segment.path(names::LOG),
            position: located.position,
            reason: "its records cannot be read",
        })?;
        Ok(found.map(|found| TimestampOffset {
            timestamp: found.timestamp,
            offset: found.offset,
            leader_epoch: located.header.leader_epoch,
        }))
    }

    /// The bytes of one batch, wherever they are.
    async fn batch_bytes(
        &self,
        segment: &Rc<Segment>,
        located: &Located,
    ) -> Result<Bytes, ReadError> {
        let (start, end) = (located.position, located.position + located.header.size as u64);
        let memory_start = segment.tail.borrow().start().unwrap_or(u64::MAX);
        let mut in_memory = Vec::new();
        if end > memory_start {
            segment.tail.borrow().slices(start.max(memory_start), end, &mut in_memory);
        }
        if start < memory_start {
            let on_disk = self.read_disk(segment, start, end.min(memory_start)).await?;
            in_memory.insert(0, on_disk);
        }
        Ok(match in_memory.as_slice() {
            [whole] => whole.clone(),
            parts => Bytes::from(parts.concat()),
        })
    }

    /// Sees to it that a segment knows its largest timestamp: from the time index, with whose last
    /// entry a sealed segment ends, or else from the batches. One that is not sealed knows it.
    pub(crate) async fn load_max_timestamp(&self, segment: &Rc<Segment>) -> Result<(), ReadError> {
        let sealed = segment.stage.get() == Stage::Sealed;
        let is_known = segment.max_timestamp.get().is_some() || segment.is_gone();
        if is_known || segment.size.get() == 0 || !sealed {
            return Ok(());
        }
        match self.load_index(segment).await {
            Err(ReadError::Corrupt { .. }) if segment.is_gone() => return Ok(()),
            loaded => loaded?,
        }
        let indexed = segment.index.borrow().as_ref().and_then(|index| index.times.last());
        match indexed {
            Some(entry) if self.is_true(segment, entry).await? => {
                // An examination that began meanwhile knows better.
                if segment.max_timestamp.get().is_none() {
                    segment.max_timestamp.set(indexed);
                }
            }
            _ => match self.examine(segment).await {
                Err(ReadError::Corrupt { .. }) if segment.is_gone() => {}
                examined => drop(examined?),
            },
        }
        Ok(())
    }
}

/// Whether [`find_in`] takes so little time that it is done on the shard.
fn is_light(batch: &[u8]) -> bool {
    let codec = BatchView::parse(batch).and_then(|batch| batch.compression());
    batch.len() <= LIGHT_BYTES_MAX && codec.is_ok_and(|codec| codec == Compression::None)
}

fn find_in(
    batch: &[u8],
    timestamp: TimestampMs,
    start: Offset,
) -> Result<Option<TimestampedOffset>, BatchError> {
    first_at_or_after(&BatchView::parse(batch)?, timestamp, start)
}
