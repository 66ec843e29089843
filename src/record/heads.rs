//! The largest timestamp of a batch that is not compressed, from the heads of its records.
//!
//! A record begins with its length, its attributes and its timestamp, so that the way from head to
//! head passes over keys and values. The slow twin is [`RecordIter`](crate::RecordIter).
//!
//! How it is kept to two nanoseconds a record:
//! 1. A head is read as one word, wherever it lies.
//! 2. Where the next record is depends on the length of this one: were the processor to wait for
//!    each length before it looks for the next, that would be most of the time. Records of one
//!    batch are often equally long, so the next length is compared with the last instead, and the
//!    step of the last is taken: a comparison is predicted, a step that was read is waited for.

use std::cmp::Ordering;

use ringlog_types::TimestampMs;

use crate::batch::BatchView;
use crate::{BatchError, NO_TIMESTAMP, varint};

/// What follows the length of the smallest record: attributes, two deltas, two nulls and a header
/// count, each in one byte.
const BODY_BYTES_MIN: usize = 6;

/// The first bytes of a record, the first of them the lowest.
#[derive(Clone, Copy)]
struct HeadWord(u64);

impl HeadWord {
    const BYTES: usize = size_of::<u64>();

    #[inline]
    fn at(records: &[u8], at: usize) -> Option<HeadWord> {
        let bytes = records.get(at..at.checked_add(Self::BYTES)?)?;
        Some(HeadWord(u64::from_le_bytes(bytes.try_into().expect("a word"))))
    }

    /// The zigzag number at bit `shift`, if it takes three bytes at most.
    #[inline]
    fn number(self, shift: u32) -> Option<i64> {
        let bytes = self.0 >> shift;
        let zigzag = if bytes & 0x80 == 0 {
            bytes & 0x7f
        } else if bytes & 0x8000 == 0 {
            bytes & 0x7f | bytes >> 1 & 0x3f80
        } else if bytes & 0x80_0000 == 0 {
            bytes & 0x7f | bytes >> 1 & 0x3f80 | bytes >> 2 & 0x1f_c000
        } else {
            return None;
        };
        Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }
}

/// A walk from head to head.
struct Heads<'a> {
    records: &'a [u8],
    base_timestamp: TimestampMs,
    /// How many records are ahead.
    left: usize,
    at: usize,
    newest: TimestampMs,
}

/// The largest timestamp of the records of an uncompressed batch, counted from its base timestamp,
/// whoever the header says has stamped them; [`NO_TIMESTAMP`] if none has one.
///
/// # Errors
/// The lengths of the records do not lead from the header to the end of the batch.
pub(crate) fn newest_timestamp(batch: &BatchView<'_>) -> Result<TimestampMs, BatchError> {
    let count = usize::try_from(batch.record_count()).unwrap_or(0);
    let mut heads = Heads {
        records: batch.records_bytes(),
        base_timestamp: batch.base_timestamp(),
        left: count,
        at: 0,
        newest: NO_TIMESTAMP,
    };
    let damaged = |left: usize, reason| {
        Err(BatchError::Record { index: i32::try_from(count - left).unwrap_or(i32::MAX), reason })
    };
    while heads.left > 0 {
        if heads.step().is_none() {
            return damaged(heads.left, "its length is beyond the batch");
        }
    }
    match heads.at.cmp(&heads.records.len()) {
        Ordering::Less => damaged(0, "bytes follow the last record"),
        Ordering::Equal => Ok(heads.newest),
        Ordering::Greater => damaged(1, "its length is beyond the batch"),
    }
}

impl Heads<'_> {
    /// Passes a record, and those behind it that are as long. `None` if its head is damaged.
    #[inline]
    fn step(&mut self) -> Option<()> {
        let word = HeadWord::at(self.records, self.at).unwrap_or(HeadWord(u64::MAX));
        // Nearly every length takes one byte or two.
        let (length_bytes, length) = match word.0 {
            word if word & 0x80 == 0 => (1, word & 0x7f),
            word if word & 0x8000 == 0 => (2, word & 0x7f | word >> 1 & 0x3f80),
            _ => return self.step_by_bytes(),
        };
        let body_bytes = (length >> 1) as usize;
        let step = length_bytes + body_bytes;
        let shift = 8 * (length_bytes as u32 + 1);
        let (Some(delta), true) = (word.number(shift), length & 1 == 0) else {
            return self.step_by_bytes();
        };
        if body_bytes < BODY_BYTES_MIN {
            return None;
        }
        self.pass(delta, step);
        let mask = (1 << (8 * length_bytes)) - 1;
        self.step_on(word.0 & mask, mask, step, shift);
        Some(())
    }

    /// Passes the records that begin with `length`, as the one before did, of `step` bytes.
    #[inline]
    fn step_on(&mut self, length: u64, mask: u64, step: usize, shift: u32) {
        let (mut at, mut left, mut newest) = (self.at, self.left, self.newest);
        // The last record's end is seen to be beyond the batch when it is passed.
        while left > 0
            && let Some(word) = HeadWord::at(self.records, at)
            && word.0 & mask == length
            && let Some(delta) = word.number(shift)
        {
            newest = newest.max(self.base_timestamp.wrapping_add(delta));
            at += step;
            left -= 1;
        }
        (self.at, self.left, self.newest) = (at, left, newest);
    }

    /// Passes a record whose head is not short, or among the last bytes.
    #[cold]
    fn step_by_bytes(&mut self) -> Option<()> {
        let mut rest = self.records.get(self.at..)?;
        let length = usize::try_from(varint::read(&mut rest)?).ok()?;
        let (body, rest) = rest.split_at_checked(length)?;
        if body.len() < BODY_BYTES_MIN {
            return None;
        }
        let mut head = &body[1..];
        let delta = varint::read(&mut head)?;
        self.pass(delta, self.records.len() - rest.len() - self.at);
        Some(())
    }

    #[inline]
    fn pass(&mut self, delta: i64, step: usize) {
        self.newest = self.newest.max(self.base_timestamp.wrapping_add(delta));
        self.at += step;
        self.left -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, RecordIter, patch};

    /// What the slow twin finds.
    fn by_records(batch: &BatchView<'_>) -> TimestampMs {
        let records = RecordIter::new(batch, batch.records_bytes());
        records.map(|record| record.unwrap().timestamp).fold(NO_TIMESTAMP, TimestampMs::max)
    }

    /// A batch of records with these timestamps and sizes of values.
    fn batch(base: TimestampMs, records: &[(TimestampMs, usize)]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(base);
        for (timestamp, bytes) in records {
            builder.push(*timestamp, None, Some(&vec![7; *bytes]), &[]);
        }
        builder.build().unwrap().0
    }

    #[test]
    fn agrees_with_the_records() {
        for (base, timestamps, newest) in [
            (1000, &[1000, 1001, 990][..], 1001),
            (0, &[1_700_000_000_000, 5], 1_700_000_000_000),
            (-1, &[-1, -1], -1),
            (-1, &[-1, 70], 70),
            (i64::MAX, &[i64::MAX, 0, -9], i64::MAX),
            (i64::MAX, &[0, i64::MIN], 0),
            (0, &[-9], -1),
            (5, &[5, 68, 69, 8196, 8197, 1_048_580, 1_048_581, 7], 1_048_581),
        ] {
            for bytes in [0, 1, 50, 55, 56, 57, 100, 8180, 8190, 70_000, 1 << 21] {
                for spread in [0, 1, 40] {
                    let size = |index| bytes + spread * (index % 3);
                    let records = timestamps.iter().copied().enumerate();
                    let records: Vec<_> =
                        records.map(|(index, at)| (at, size(index))).cycle().take(12).collect();
                    let bytes = batch(base, &records);
                    let view = BatchView::check(&bytes).unwrap();
                    assert_eq!(newest_timestamp(&view), Ok(newest), "{records:?}");
                    assert_eq!(by_records(&view), newest, "{records:?}");
                }
            }
        }
    }

    #[test]
    fn lengths_that_lead_elsewhere_are_refused() {
        let records = [(1000, 9), (1001, 9), (1002, 9), (1003, 60), (1004, 100)];
        let bytes = batch(1000, &records);
        let view = BatchView::check(&bytes).unwrap();
        let sizes = [16, 16, 16, 68, 109];
        assert_eq!(sizes.iter().sum::<usize>(), view.records_bytes().len());
        let mut next = crate::HEADER_BYTES;
        let lengths = sizes.map(|size| {
            next += size;
            next - size
        });
        let mut refused = 0;
        for at in lengths.into_iter().chain([57 + 3]) {
            for change in 1..=0xff {
                let mut damaged = bytes.clone();
                damaged[at] ^= change;
                patch::set_crc(&mut damaged);
                let view = BatchView::check(&damaged).unwrap();
                // Two wrong lengths may make up for each other, and that is all that passes.
                let mut slow = RecordIter::new(&view, view.records_bytes());
                let is_sound = slow.all(|record| record.is_ok());
                let found = newest_timestamp(&view);
                assert!(found.is_err() || !is_sound || found == Ok(1004), "{at}: {found:?}");
                refused += usize::from(found.is_err());
            }
        }
        assert!(refused > 6 * 240, "{refused}");
    }
}
