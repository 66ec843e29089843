//! Where whole batches go on behind one that is not whole.
//!
//! Payloads hold whatever producers like, other batches too: bytes that look like a batch are one
//! of the log only if something that no payload can forge leads to them. That is, in this order:
//!
//! 1. the length of the damaged batch, when the batch behind it has the offset that follows;
//! 2. where the damage is *proven* not to be a write that a crash cut off, one bit of the length
//!    changed back, when the CRC then matches. (In a torn batch a payload could be made to match;
//!    changed bits nobody makes to order.)
//! 3. the length, when some later offset is behind it; and so on over further damaged batches;
//! 4. a landmark: an entry of the segment's index that was flushed before the recovery point moved
//!    beyond it. No chain of lengths is believed that passes over one.
//!
//! Every byte is read and summed a bounded number of times, whatever the bytes say: a chain only
//! moves forward, and lengths are changed back within a budget.

use ringlog_types::Offset;

use crate::error::StorageError;
use crate::index::offset_index::OffsetIndex;
use crate::segment::batch_header::{BatchHeader, CRC_COVERS_FROM};
use crate::segment::scan::Scanner;

/// Checksums to find out which bit of a length was changed take no more than so many times the
/// bytes of the file, or than this if that is more.
const REPAIR_PASSES_MAX: u64 = 2;
const REPAIR_BYTES_MIN: u64 = 4 << 20;

/// A batch and where it starts.
type Found = (u64, BatchHeader);

/// The way from one damaged batch to the next whole one, in one segment.
pub(crate) struct Beyond {
    base_offset: Offset,
    /// Entries of the index that were on disk before what they describe could be damaged.
    landmarks: OffsetIndex,
    /// The landmark found last; it serves until the walk has passed it.
    next_landmark: Option<Found>,
    /// How much may still be summed to find changed bits; `None` before the first.
    repair_bytes_left: Option<u64>,
}

/// Where a damaged batch may end.
enum Step {
    /// There, before a whole batch.
    Whole(Found),
    /// There, before another that is damaged, by its length.
    Damaged(u64),
}

impl Beyond {
    pub(crate) fn new(base_offset: Offset, landmarks: OffsetIndex) -> Beyond {
        Beyond { base_offset, landmarks, next_landmark: None, repair_bytes_left: None }
    }

    /// The first batch behind the damaged one at `position`, where offset `expected` should be,
    /// that is known to be one of the log. `is_proven` says that no write was under way there.
    pub(crate) async fn find(
        &mut self,
        scanner: &mut Scanner,
        position: u64,
        expected: Offset,
        is_proven: bool,
    ) -> Result<Option<Found>, StorageError> {
        let landmark = self.landmark(scanner, position, expected).await?;
        let limit = landmark.map_or(scanner.length(), |(at, _)| at);
        let mut at = position;
        loop {
            match self.step(scanner, at, expected, (limit, is_proven)).await? {
                Some(Step::Whole(found)) => return Ok(Some(found)),
                Some(Step::Damaged(next)) => at = next,
                None => return Ok(landmark),
            }
        }
    }

    async fn step(
        &mut self,
        scanner: &mut Scanner,
        at: u64,
        expected: Offset,
        (limit, is_proven): (u64, bool),
    ) -> Result<Option<Step>, StorageError> {
        let start = scanner.start_of_batch(at).await?;
        let claimed = start.and_then(|start| start.size()).map(|size| at + size);
        let claimed = claimed.filter(|end| *end <= limit);
        let by_length = match claimed {
            Some(end) => self.whole(scanner, end, expected).await?,
            None => None,
        };
        if let (Some((_, found)), Ok(header)) = (by_length, scanner.header(at).await?)
            && header.base_offset >= expected
            && header.next_offset() == found.base_offset
        {
            return Ok(by_length.map(Step::Whole));
        }
        if is_proven
            && let Some(end) = self.repaired_end(scanner, at).await?
            && end <= limit
            && let Some(found) = self.whole(scanner, end, expected).await?
        {
            return Ok(Some(Step::Whole(found)));
        }
        if by_length.is_some() {
            return Ok(by_length.map(Step::Whole));
        }
        let Some(end) = claimed else { return Ok(None) };
        let next = scanner.header(end).await?;
        Ok(next.is_ok_and(|next| self.may_follow(&next, expected)).then_some(Step::Damaged(end)))
    }

    /// The batch at `position` if it is whole and can be a later one than that at `expected`.
    async fn whole(
        &self,
        scanner: &mut Scanner,
        position: u64,
        expected: Offset,
    ) -> Result<Option<Found>, StorageError> {
        match scanner.header(position).await? {
            Ok(header) if self.may_follow(&header, expected) => {}
            _ => return Ok(None),
        }
        let whole = scanner.whole_batch(position).await?;
        Ok(whole.ok().map(|header| (position, header)))
    }

    /// Whether a batch can lie in the segment behind one whose first offset is `expected`.
    fn may_follow(&self, header: &BatchHeader, expected: Offset) -> bool {
        header.base_offset > expected
            && header.last_offset() - self.base_offset <= i64::from(i32::MAX)
    }

    /// Where the batch at `position` ends if one bit of its length was changed, by its CRC.
    async fn repaired_end(
        &mut self,
        scanner: &mut Scanner,
        position: u64,
    ) -> Result<Option<u64>, StorageError> {
        let Some(start) = scanner.start_of_batch(position).await? else { return Ok(None) };
        let budget = scanner.length().saturating_mul(REPAIR_PASSES_MAX).max(REPAIR_BYTES_MIN);
        let mut left = self.repair_bytes_left.unwrap_or(budget);
        let mut found = None;
        for bit in 0..i32::BITS {
            let Some(size) = start.size_with_bit_changed(bit) else { continue };
            let end = position + size;
            if end > scanner.length() || size > left {
                continue;
            }
            left -= size;
            if scanner.crc(position + CRC_COVERS_FROM as u64, end).await? == Some(start.crc) {
                found = Some(end);
                break;
            }
        }
        self.repair_bytes_left = Some(left);
        Ok(found)
    }

    /// The first batch behind `position` that the index knows, and that is as it says.
    async fn landmark(
        &mut self,
        scanner: &mut Scanner,
        position: u64,
        expected: Offset,
    ) -> Result<Option<Found>, StorageError> {
        if let Some(known) = self.next_landmark.filter(|(at, _)| *at > position) {
            return Ok(Some(known));
        }
        for entry in self.landmarks.entries_beyond(position) {
            let (at, last_offset) =
                (u64::from(entry.position), self.base_offset + i64::from(entry.relative_offset));
            let header = scanner.header(at).await?;
            if header.is_ok_and(|header| header.last_offset() == last_offset)
                && let Some(found) = self.whole(scanner, at, expected).await?
            {
                self.next_landmark = Some(found);
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}
