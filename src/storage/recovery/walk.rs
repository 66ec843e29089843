//! What is true of a segment after a crash: walking it, and judging what is not a whole batch.
//!
//! A walk starts at a batch boundary and checks every batch: header, contiguity, CRC. At the first
//! that is not whole there are four cases:
//!
//! * Nothing whole follows, and nothing more was ever durable: that is the end of the log. Zeros
//!   to the end of the file are space prepared for appends; anything else is a write that was cut
//!   off, and is cut off here.
//! * Nothing whole follows, but more was durable ([`Walk::durable_end`], or the base offset of the
//!   next segment): what is missing was acknowledged. Its offsets are fenced and never given to
//!   other records: the segment ends as it is, and the log goes on in the next one, or in a new one
//!   at the durable end.
//! * Whole batches follow, but a sector in between is missing where the last write can have been:
//!   a crash in mid-write. None of it was acknowledged (there is one write in flight at a time),
//!   and it is cut off too.
//! * Whole batches follow otherwise: damage in the middle. It is *fenced*: its offsets cannot be
//!   read, those around it can, and the bytes stay for whoever wants to look at them.
//!
//! A batch *follows* if something that no payload can forge leads to it (see `beyond`). Bytes
//! that merely look like one may be a producer's.
//!
//! A log that is of no use with a hole in it is opened with `refuse_damage_from`: where others
//! are fenced it is refused, before anything in it is changed.

use std::path::PathBuf;

use ringlog_config::{Flush, TopicConfig};
use ringlog_types::Offset;

use crate::error::StorageError;
use crate::leader_epoch_cache::LeaderEpochCache;
use crate::log::writer::WRITE_BYTES_MAX;
use crate::names;
use crate::recovery::beyond::Beyond;
use crate::segment::batch_header::{BatchHeader, HeaderFault};
use crate::segment::scan::{ScanWork, Scanner};
use crate::segment::tail::{CHUNK_BYTES_MAX, block_ceil};
use crate::segment::{Fence, Segment};

/// Bytes cut off the end of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The `.log`.
    pub path: PathBuf,
    /// Where it ends now.
    pub position: u64,
    /// How much was cut, not counting zeros prepared for appends.
    pub bytes: u64,
    /// The offset at which the log ends now.
    pub offset: Offset,
    /// What is wrong there.
    pub reason: &'static str,
}

/// Damage that was fenced off: what was durable cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fenced {
    /// The `.log`.
    pub path: PathBuf,
    /// Where in it, and which offsets.
    pub fence: Fence,
    /// What is wrong there.
    pub reason: &'static str,
}

/// What opening a log found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Bytes of segments that were read and checked.
    pub scanned_bytes: u64,
    /// What that has cost, damage included.
    pub work: ScanWork,
    /// Ends that were cut off.
    pub cuts: Vec<Cut>,
    /// Damage to what was durable.
    pub fenced: Vec<Fenced>,
    /// Segments whose indexes were made anew.
    pub indexes_rebuilt: usize,
}

/// How a walk over one segment is to be done.
pub(crate) struct Walk<'a> {
    /// Batches from here on may be torn; damage before this offset never is a torn write.
    pub(crate) recovery_point: Offset,
    /// Everything below was on disk once. Unlike the recovery point it is never more than that,
    /// so the log cannot end before it.
    pub(crate) durable_end: Offset,
    /// See [`OpenHint::refuse_damage_from`](crate::OpenHint::refuse_damage_from).
    pub(crate) refuse_damage_from: Option<Offset>,
    /// The base offset of the next segment, if there is one: whatever is damaged up to it is in
    /// the middle.
    pub(crate) next_base: Option<Offset>,
    /// A segment that ends before the next one begins has lost what is between. Otherwise it may
    /// be what compaction leaves.
    pub(crate) ends_early: bool,
    pub(crate) beyond: Beyond,
    /// How far from the end of the file a write that was cut off can have begun.
    pub(crate) torn_bytes_max: u64,
    pub(crate) index_interval_bytes: u64,
    pub(crate) epochs: &'a mut LeaderEpochCache,
    pub(crate) report: &'a mut RecoveryReport,
}

impl Walk<'_> {
    /// Walks `segment` from where its state says it is to its end, and brings the state there.
    pub(crate) async fn run(
        &mut self,
        segment: &Segment,
        scanner: &mut Scanner,
    ) -> Result<(), StorageError> {
        loop {
            let position = segment.size.get();
            if position >= scanner.length() {
                break;
            }
            match self.next(segment, scanner, position).await? {
                Ok(header) => {
                    self.epochs.note_found(header.leader_epoch, header.base_offset);
                    segment.note_batch(&header, self.index_interval_bytes);
                    self.report.scanned_bytes += header.size as u64;
                }
                Err(reason) => {
                    if !self.judge(segment, scanner, position, reason).await? {
                        break;
                    }
                }
            }
        }
        let (position, expected) = (segment.size.get(), segment.end_offset.get());
        if let Some(end_offset) = self.end_that_is_missing(expected) {
            // No byte of them is left: the fence is of offsets alone.
            let fence =
                Fence { position, end_position: position, first_offset: expected, end_offset };
            self.fence(segment, fence, "the file ends early")?;
        }
        Ok(())
    }

    /// Steps over damage to what was durable.
    fn fence(
        &mut self,
        segment: &Segment,
        fence: Fence,
        reason: &'static str,
    ) -> Result<(), StorageError> {
        let path = segment.path(names::LOG);
        if self.refuse_damage_from.is_some_and(|from| fence.end_offset > from) {
            return Err(StorageError::Damaged {
                path,
                position: fence.position,
                first_offset: fence.first_offset,
                end_offset: fence.end_offset,
                reason,
            });
        }
        segment.note_fence(fence);
        self.report.fenced.push(Fenced { path, fence, reason });
        Ok(())
    }

    /// The batch at `position`, if it is whole and follows the ones before.
    async fn next(
        &self,
        segment: &Segment,
        scanner: &mut Scanner,
        position: u64,
    ) -> Result<Result<BatchHeader, &'static str>, StorageError> {
        let old = scanner.header(position).await? == Err(HeaderFault::OldMagic);
        if old && scanner.is_old_message(position).await? {
            let path = segment.path(names::LOG);
            let reason = "it holds messages of a format older than v2; open it with Apache Kafka \
                3.x, let its consumers finish, and copy the topic";
            return Err(StorageError::unusable(&path, reason));
        }
        let header = match scanner.whole_batch(position).await? {
            Ok(header) => header,
            Err(reason) => return Ok(Err(reason)),
        };
        let expected = segment.end_offset.get();
        if header.base_offset == expected {
            return Ok(Ok(header));
        }
        if header.base_offset < expected || !segment_can_hold(segment, &header) {
            return Ok(Err("the offset does not follow"));
        }
        // A gap is what compaction leaves, or damage to the one field before the CRC that counts:
        // then the batch reaches beyond what is known to end one, or into its successor.
        if self.known_end(expected).is_some_and(|end| header.next_offset() > end) {
            return Ok(Err("the offset does not follow"));
        }
        let after = position + header.size as u64;
        let as_if_no_gap = expected + i64::from(header.last_offset_delta) + 1;
        match scanner.header(after).await? {
            Ok(next)
                if next.base_offset >= as_if_no_gap && next.base_offset < header.next_offset() =>
            {
                Ok(Err("the offset does not follow"))
            }
            _ => Ok(Ok(header)),
        }
    }

    /// Up to where the segment is known to have been whole, if the walk, at offset `expected`, is
    /// not there yet.
    fn known_end(&self, expected: Offset) -> Option<Offset> {
        self.next_base.or((expected < self.durable_end).then_some(self.durable_end))
    }

    /// Up to where the segment reached once, if that is further than `expected`, where it ends.
    fn end_that_is_missing(&self, expected: Offset) -> Option<Offset> {
        let end_offset = self.known_end(expected).filter(|end| expected < *end)?;
        // Where a leader's offsets are too far apart for one segment, there is a gap.
        let is_far = end_offset - expected > i64::from(i32::MAX);
        (self.next_base.is_none() || (self.ends_early && !is_far)).then_some(end_offset)
    }

    /// Decides what to do about bytes that are not a whole batch. Returns whether the walk goes
    /// on behind them.
    async fn judge(
        &mut self,
        segment: &Segment,
        scanner: &mut Scanner,
        position: u64,
        reason: &'static str,
    ) -> Result<bool, StorageError> {
        let expected = segment.end_offset.get();
        let data_end = scanner.trailing_zeros(position).await?;
        if data_end > position
            && let Some((found, header)) = self.batch_beyond(scanner, position, expected).await?
            && !self.is_torn_write(segment, scanner, position, found).await?
        {
            let fence = Fence {
                position,
                end_position: found,
                first_offset: expected,
                end_offset: header.base_offset,
            };
            self.fence(segment, fence, reason)?;
            return Ok(true);
        }
        if let Some(end_offset) = self.known_end(expected)
            && data_end > position
        {
            let fence = Fence {
                position,
                end_position: scanner.length(),
                first_offset: expected,
                end_offset,
            };
            self.fence(segment, fence, reason)?;
            return Ok(true);
        }
        if data_end > position {
            let path = segment.path(names::LOG);
            let bytes = data_end - position;
            self.report.cuts.push(Cut { path, position, bytes, offset: expected, reason });
        }
        Ok(false)
    }

    /// The next whole batch behind damage at `position`.
    async fn batch_beyond(
        &mut self,
        scanner: &mut Scanner,
        position: u64,
        expected: Offset,
    ) -> Result<Option<(u64, BatchHeader)>, StorageError> {
        if scanner.searches_payloads() {
            return scanner.find_batch(position + 1, expected).await;
        }
        let is_proven = expected < self.recovery_point || self.known_end(expected).is_some();
        Box::pin(self.beyond.find(scanner, position, expected, is_proven)).await
    }

    /// Whether the damage from `position` to the whole batch at `found` is what a crash in the
    /// middle of the last write leaves.
    async fn is_torn_write(
        &self,
        segment: &Segment,
        scanner: &mut Scanner,
        position: u64,
        found: u64,
    ) -> Result<bool, StorageError> {
        if self.next_base.is_some() || segment.end_offset.get() < self.recovery_point {
            return Ok(false);
        }
        // The last write begins here at the earliest. A batch that is larger begins in one before,
        // which had reached the disk.
        let data_end = scanner.trailing_zeros(found).await?;
        let begin = data_end.saturating_sub(self.torn_bytes_max);
        let from = position.max(block_ceil(begin));
        if from == position && scanner.header(position).await? == Err(HeaderFault::Empty) {
            return Ok(true);
        }
        scanner.has_missing_sector(from, found, segment.end_offset.get()).await
    }
}

/// How far from its end a segment can be torn: by the one write that was under way, or where
/// writes are flushed only now and then, anywhere.
pub(crate) fn torn_bytes_max(config: &TopicConfig) -> u64 {
    match config.flush {
        Flush::Sync => (WRITE_BYTES_MAX + CHUNK_BYTES_MAX) as u64,
        Flush::Async => u64::MAX,
    }
}

fn segment_can_hold(segment: &Segment, header: &BatchHeader) -> bool {
    header.last_offset() - segment.base_offset <= i64::from(i32::MAX)
}
