//! The transactions that were aborted in a segment (`.txnindex`), as Kafka wrote them: readers of
//! committed records are told, and leave theirs out.
//!
//! Nothing is written here: there are no transactions yet, so only a log that Kafka began has such
//! files. They are small, rare, and read when they are asked for; what is remembered of a segment
//! is whether it has one.

use std::io::ErrorKind;
use std::rc::Rc;

use ringlog_types::{Offset, ProducerId};

use crate::error::{ReadError, StorageError};
use crate::log::Log;
use crate::names;
use crate::read::ReadPlan;
use crate::segment::Segment;

/// Bytes of one entry.
const ENTRY_BYTES: usize = 34;
/// The only version of an entry there is.
const VERSION: [u8; 2] = [0, 0];
/// A file larger than this, with two million aborted transactions of one segment, is not one.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A transaction that was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose it was.
    pub producer_id: ProducerId,
    /// Its first record.
    pub first_offset: Offset,
    /// The marker that ended it.
    pub(crate) last_offset: Offset,
    /// Up to here everything was decided when it ended.
    pub(crate) last_stable_offset: Offset,
}

/// The bytes of a file with these entries.
pub(crate) fn encode(entries: &[AbortedTransaction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for entry in entries {
        bytes.extend_from_slice(&VERSION);
        for number in
            [entry.producer_id, entry.first_offset, entry.last_offset, entry.last_stable_offset]
        {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
    }
    bytes
}

/// The entries of a file; nothing if they are none.
fn decode(bytes: &[u8]) -> Option<Vec<AbortedTransaction>> {
    let entries = bytes.chunks(ENTRY_BYTES).map(|entry| {
        let numbers = entry.strip_prefix(&VERSION)?;
        let (numbers, []) = numbers.as_chunks::<8>() else { return None };
        let [producer_id, first_offset, last_offset, last_stable_offset] = numbers else {
            return None;
        };
        Some(AbortedTransaction {
            producer_id: i64::from_be_bytes(*producer_id),
            first_offset: i64::from_be_bytes(*first_offset),
            last_offset: i64::from_be_bytes(*last_offset),
            last_stable_offset: i64::from_be_bytes(*last_stable_offset),
        })
    });
    entries.collect()
}

impl Log {
    /// The aborted transactions that have records in what a read takes from `offset` on
    /// (`LogSegment.collectAbortedTxns`). A transaction stands in the file of the segment in which
    /// it ended, so later segments are looked at too, until everything was decided.
    pub async fn aborted_transactions(
        &self,
        offset: Offset,
        plan: &ReadPlan,
    ) -> Result<Vec<AbortedTransaction>, ReadError> {
        let mut aborted = Vec::new();
        let Some((mut segment, up_to)) = plan.range() else { return Ok(aborted) };
        loop {
            for entry in self.aborted_in(&segment).await? {
                if entry.last_offset >= offset && entry.first_offset < up_to {
                    aborted.push(entry);
                }
                if entry.last_stable_offset >= up_to {
                    return Ok(aborted);
                }
            }
            match self.segment_after(segment.base_offset) {
                Some(next) => segment = next,
                None => return Ok(aborted),
            }
        }
    }

    /// The aborted transactions that may have records from `start` on and below `end`.
    pub(crate) async fn aborted_between(
        &self,
        start: Offset,
        end: Offset,
    ) -> Result<Vec<AbortedTransaction>, ReadError> {
        let mut aborted = Vec::new();
        let segments = self.segments.borrow().clone();
        for segment in segments {
            for entry in self.aborted_in(&segment).await? {
                if entry.last_offset >= start && entry.first_offset < end {
                    aborted.push(entry);
                }
                if entry.last_stable_offset >= end {
                    return Ok(aborted);
                }
            }
        }
        Ok(aborted)
    }

    async fn aborted_in(
        &self,
        segment: &Rc<Segment>,
    ) -> Result<Vec<AbortedTransaction>, ReadError> {
        if segment.has_aborted.get() == Some(false) {
            return Ok(Vec::new());
        }
        let path = segment.path(names::TXN_INDEX);
        let bytes = match self.shard.runtime().read_file(&path, FILE_BYTES_MAX).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            bytes => bytes.map_err(StorageError::io("read", &path))?,
        };
        segment.has_aborted.set(Some(!bytes.is_empty()));
        let entries = decode(&bytes);
        Ok(entries.ok_or_else(|| StorageError::unusable(&path, "it has other entries"))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_whole_or_not_at_all() {
        let numbers = [77i64, 10, 15, 16].iter().flat_map(|number| number.to_be_bytes());
        let one: Vec<u8> = VERSION.into_iter().chain(numbers).collect();
        let entry = AbortedTransaction {
            producer_id: 77,
            first_offset: 10,
            last_offset: 15,
            last_stable_offset: 16,
        };
        assert_eq!(decode(&[]), Some(vec![]));
        assert_eq!(decode(&one), Some(vec![entry]));
        assert_eq!(encode(&[entry]), one);
        let two = [&one[..], &one].concat();
        assert_eq!(decode(&two), Some(vec![entry; 2]));
        assert_eq!(decode(&two[..67]), None, "torn");
        let other = [&[0, 1], &one[2..]].concat();
        assert_eq!(decode(&other), None, "another version");
    }
}
