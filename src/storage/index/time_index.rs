//! The sparse time index of a segment (`.timeindex`): up to which offset no record is later than
//! a timestamp.
//!
//! Pure. An entry `(timestamp, offset)` says that `timestamp` is the largest up to and including
//! `offset`. Timestamps ascend; so do offsets (Kafka's `TimeIndex`).

use ringlog_types::{Offset, TimestampMs};

/// Bytes of one entry in the file.
pub(crate) const ENTRY_BYTES: usize = 12;

/// One entry; the offset is relative to the segment's base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp: TimestampMs,
    pub(crate) relative_offset: u32,
}

/// The entries of one segment, in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TimeIndex {
    base_offset: Offset,
    entries: Vec<TimeEntry>,
}

impl TimeIndex {
    /// An empty index of the segment that starts at `base_offset`.
    pub(crate) fn new(base_offset: Offset) -> TimeIndex {
        TimeIndex { base_offset, entries: Vec::new() }
    }

    /// Reads the bytes of a file, up to the first entry that cannot follow its predecessor.
    pub(crate) fn decode(base_offset: Offset, bytes: &[u8]) -> TimeIndex {
        let mut index = TimeIndex::new(base_offset);
        for entry in bytes.chunks_exact(ENTRY_BYTES) {
            let (timestamp, offset) = entry.split_at(8);
            let entry = TimeEntry {
                timestamp: i64::from_be_bytes(timestamp.try_into().expect("8 bytes")),
                relative_offset: u32::from_be_bytes(offset.try_into().expect("4 bytes")),
            };
            if !index.may_follow(entry) {
                break;
            }
            index.entries.push(entry);
        }
        index
    }

    fn may_follow(&self, entry: TimeEntry) -> bool {
        if entry.relative_offset > i32::MAX as u32 || entry.timestamp < 0 {
            return false;
        }
        match self.entries.last() {
            Some(last) => {
                entry.timestamp > last.timestamp && entry.relative_offset >= last.relative_offset
            }
            // An all-zero first entry is padding.
            None => entry.timestamp > 0 || entry.relative_offset > 0,
        }
    }

    /// Adds the largest timestamp so far, unless the index knows it already.
    pub(crate) fn maybe_append(&mut self, timestamp: TimestampMs, offset: Offset) {
        let relative = offset - self.base_offset;
        let relative_offset = u32::try_from(relative).expect("within the segment's offsets");
        let entry = TimeEntry { timestamp, relative_offset };
        if self.entries.last().is_none_or(|last| timestamp > last.timestamp)
            && self.may_follow(entry)
        {
            self.entries.push(entry);
        }
    }

    /// The last but one of the entries that are earlier than `timestamp`, with its offset absolute:
    /// the first record at or after `timestamp` is not before it. The last would be nearer, but no
    /// checksum covers the file, and this is true whatever became of one entry.
    pub(crate) fn entry_before(&self, timestamp: TimestampMs) -> Option<(TimestampMs, Offset)> {
        let at = self.entries.partition_point(|entry| entry.timestamp < timestamp);
        let entry = self.entries[at.checked_sub(2)?];
        Some((entry.timestamp, self.base_offset + i64::from(entry.relative_offset)))
    }

    /// Whether these are all entries in the bytes of a file, but for zeros behind them: damage
    /// ends an index early.
    pub(crate) fn is_all_of(&self, bytes: &[u8]) -> bool {
        bytes.iter().skip(self.len() * ENTRY_BYTES).all(|byte| *byte == 0)
    }

    /// Takes over the entries of `other` from `offset` on that follow the ones here.
    pub(crate) fn extend_from(&mut self, other: &TimeIndex, offset: Offset) {
        let relative = offset - self.base_offset;
        for entry in other.entries.iter().filter(|e| i64::from(e.relative_offset) >= relative) {
            if self.may_follow(*entry) {
                self.entries.push(*entry);
            }
        }
    }

    /// Drops the entries at or beyond `offset`. Returns the first of them, with its offset
    /// absolute.
    pub(crate) fn truncate(&mut self, offset: Offset) -> Option<(TimestampMs, Offset)> {
        let relative = offset - self.base_offset;
        let keep =
            self.entries.partition_point(|entry| i64::from(entry.relative_offset) < relative);
        let first = self.entries.get(keep).copied();
        self.entries.truncate(keep);
        first.map(|entry| (entry.timestamp, self.base_offset + i64::from(entry.relative_offset)))
    }

    /// The last entry, with its offset absolute.
    pub(crate) fn last(&self) -> Option<(TimestampMs, Offset)> {
        let last = self.entries.last()?;
        Some((last.timestamp, self.base_offset + i64::from(last.relative_offset)))
    }

    /// Entries held.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The bytes of the entries from the `from`th on, as they stand in the file.
    pub(crate) fn encode_from(&self, from: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity((self.entries.len() - from) * ENTRY_BYTES);
        for entry in &self.entries[from..] {
            bytes.extend_from_slice(&entry.timestamp.to_be_bytes());
            bytes.extend_from_slice(&entry.relative_offset.to_be_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> TimeIndex {
        let mut index = TimeIndex::new(100);
        for (timestamp, offset) in [(5000, 110), (5000, 120), (6000, 130), (5500, 140), (7000, 150)]
        {
            index.maybe_append(timestamp, offset);
        }
        index
    }

    #[test]
    fn only_later_timestamps_are_kept() {
        let index = index();
        assert_eq!(index.len(), 3);
        assert_eq!(index.last(), Some((7000, 150)));
        for (timestamp, entry) in [
            (0, None),
            (5000, None),
            (5001, None),
            (7000, Some((5000, 110))),
            (7001, Some((6000, 130))),
        ] {
            assert_eq!(index.entry_before(timestamp), entry, "{timestamp}");
        }
    }

    #[test]
    fn bytes_round_trip_and_padding_ends_them() {
        let index = index();
        let mut bytes = index.encode_from(0);
        assert_eq!(bytes.len(), 3 * ENTRY_BYTES);
        bytes.extend_from_slice(&[0; 50]);
        assert_eq!(TimeIndex::decode(100, &bytes), index);
        assert!(index.is_all_of(&bytes));
        bytes[2 * ENTRY_BYTES] = 0x80;
        assert!(!TimeIndex::decode(100, &bytes).is_all_of(&bytes));
        assert_eq!(TimeIndex::decode(0, &[0; 48]).len(), 0);
        let mut cut = index.clone();
        assert_eq!(cut.truncate(130), Some((6000, 130)));
        assert_eq!(cut.last(), Some((5000, 110)));
    }
}
