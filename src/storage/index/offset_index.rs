//! The sparse offset index of a segment (`.index`): which batch starts where.
//!
//! Pure. An entry names a batch by its last offset and its position in the `.log`. Entries ascend
//! in both, and never lie more than [`i32::MAX`] apart from the segment's base offset, because the
//! file holds the offset relative to the base in 4 bytes (Kafka's `OffsetIndex`).
//!
//! The index is a help, never the truth: what it says is checked against the log before use, and
//! an index that cannot be right is rebuilt.

use ringlog_types::Offset;

/// An index file of either kind that is larger than this is not one.
pub(crate) const INDEX_BYTES_MAX: u64 = 1 << 30;
/// Bytes of one entry in the file.
pub(crate) const ENTRY_BYTES: usize = 8;

/// One entry: the batch that ends at `base + relative_offset` starts at `position`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    pub(crate) relative_offset: u32,
    pub(crate) position: u32,
}

/// The entries of one segment, in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OffsetIndex {
    base_offset: Offset,
    entries: Vec<OffsetEntry>,
}

impl OffsetIndex {
    /// An empty index of the segment that starts at `base_offset`.
    pub(crate) fn new(base_offset: Offset) -> OffsetIndex {
        OffsetIndex { base_offset, entries: Vec::new() }
    }

    /// Reads the bytes of a file. Stops at the first entry that cannot follow its predecessor,
    /// which is where the zeros of a preallocated file begin, or damage does.
    pub(crate) fn decode(base_offset: Offset, bytes: &[u8]) -> OffsetIndex {
        let mut index = OffsetIndex::new(base_offset);
        for entry in bytes.chunks_exact(ENTRY_BYTES) {
            let (offset, position) = entry.split_at(4);
            let entry = OffsetEntry {
                relative_offset: u32::from_be_bytes(offset.try_into().expect("4 bytes")),
                position: u32::from_be_bytes(position.try_into().expect("4 bytes")),
            };
            if !index.may_follow(entry) {
                break;
            }
            index.entries.push(entry);
        }
        index
    }

    fn may_follow(&self, entry: OffsetEntry) -> bool {
        if entry.relative_offset > i32::MAX as u32 || entry.position > i32::MAX as u32 {
            return false;
        }
        match self.entries.last() {
            Some(last) => {
                entry.relative_offset > last.relative_offset && entry.position > last.position
            }
            // Kafka never writes an entry for the first batch: the base offset stands for it.
            None => entry.position > 0,
        }
    }

    /// Adds the batch that ends at `last_offset` and starts at `position`.
    pub(crate) fn append(&mut self, last_offset: Offset, position: u32) {
        let relative = last_offset - self.base_offset;
        let relative_offset = u32::try_from(relative).expect("within the segment's offsets");
        let entry = OffsetEntry { relative_offset, position };
        assert!(self.may_follow(entry), "index entries ascend: {entry:?} after {:?}", self.last());
        self.entries.push(entry);
    }

    /// Where to start scanning for `offset`: the position of the last entry at or below it, or 0.
    pub(crate) fn lookup(&self, offset: Offset) -> u32 {
        self.entry_below(offset).map_or(0, |entry| entry.position)
    }

    /// The last entry at or below `offset`.
    pub(crate) fn entry_below(&self, offset: Offset) -> Option<OffsetEntry> {
        let relative = offset - self.base_offset;
        let at = self.entries.partition_point(|e| i64::from(e.relative_offset) <= relative);
        at.checked_sub(1).map(|at| self.entries[at])
    }

    /// Whether these are all entries in the bytes of a file, but for zeros behind them: damage
    /// ends an index early.
    pub(crate) fn is_all_of(&self, bytes: &[u8]) -> bool {
        bytes.iter().skip(self.len() * ENTRY_BYTES).all(|byte| *byte == 0)
    }

    /// Takes over the entries of `other` from `position` on that follow the ones here.
    pub(crate) fn extend_from(&mut self, other: &OffsetIndex, position: u64) {
        for entry in other.entries.iter().filter(|e| u64::from(e.position) >= position) {
            if self.may_follow(*entry) {
                self.entries.push(*entry);
            }
        }
    }

    /// The last position at or below `limit` at which a batch is known to start; 0 if none.
    pub(crate) fn floor_position(&self, limit: u64) -> u32 {
        let at = self.entries.partition_point(|e| u64::from(e.position) <= limit);
        match at {
            0 => 0,
            at => self.entries[at - 1].position,
        }
    }

    /// The end of the first batch that is known to start at or beyond `position`, if there is one:
    /// no batch before that position reaches it.
    pub(crate) fn offset_beyond(&self, position: u64) -> Option<Offset> {
        let at = self.entries.partition_point(|e| u64::from(e.position) < position);
        let entry = self.entries.get(at)?;
        Some(self.base_offset + i64::from(entry.relative_offset))
    }

    /// The entries of batches that start behind `position`, in order.
    pub(crate) fn entries_beyond(&self, position: u64) -> impl Iterator<Item = OffsetEntry> {
        let at = self.entries.partition_point(|e| u64::from(e.position) <= position);
        self.entries[at..].iter().copied()
    }

    /// Drops the entries at or beyond `position`, and those at or beyond `offset`. Returns whether
    /// there were any.
    pub(crate) fn truncate(&mut self, offset: Offset, position: u64) -> bool {
        let relative = offset - self.base_offset;
        let keep = self.entries.partition_point(|e| {
            i64::from(e.relative_offset) < relative && u64::from(e.position) < position
        });
        let drops = keep < self.entries.len();
        self.entries.truncate(keep);
        drops
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<OffsetEntry> {
        self.entries.last().copied()
    }

    /// Entries held.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The bytes of the entries from the `from`th on, as they stand in the file.
    pub(crate) fn encode_from(&self, from: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity((self.entries.len() - from) * ENTRY_BYTES);
        for entry in &self.entries[from..] {
            bytes.extend_from_slice(&entry.relative_offset.to_be_bytes());
            bytes.extend_from_slice(&entry.position.to_be_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> OffsetIndex {
        let mut index = OffsetIndex::new(1000);
        for (offset, position) in [(1010, 4200), (1020, 9000), (1100, 20_000)] {
            index.append(offset, position);
        }
        index
    }

    #[test]
    fn lookups_find_the_last_entry_at_or_below() {
        let index = index();
        for (offset, position) in
            [(1000, 0), (1009, 0), (1010, 4200), (1019, 4200), (1020, 9000), (9999, 20_000)]
        {
            assert_eq!(index.lookup(offset), position, "{offset}");
        }
        for (limit, position) in
            [(0, 0), (4199, 0), (4200, 4200), (10_000, 9000), (1 << 40, 20_000)]
        {
            assert_eq!(index.floor_position(limit), position, "{limit}");
        }
        for (position, offset) in
            [(0, Some(1010)), (4200, Some(1010)), (4201, Some(1020)), (20_001, None)]
        {
            assert_eq!(index.offset_beyond(position), offset, "{position}");
        }
    }

    #[test]
    fn bytes_round_trip_and_padding_ends_them() {
        let index = index();
        let mut bytes = index.encode_from(0);
        assert_eq!(&bytes[..8], &[0, 0, 0, 10, 0, 0, 0x10, 0x68]);
        assert_eq!(OffsetIndex::decode(1000, &bytes), index);
        bytes.extend_from_slice(&[0; 100]);
        assert_eq!(OffsetIndex::decode(1000, &bytes), index);
        assert_eq!(index.encode_from(2).len(), ENTRY_BYTES);
    }

    #[test]
    fn entries_that_do_not_ascend_end_the_index() {
        let good = index().encode_from(0);
        for (at, value) in [(8, 0xff), (11, 5), (12, 0xff), (15, 0)] {
            let mut bytes = good.clone();
            bytes[at] = value;
            bytes[at + 1..12.max(at + 1)].fill(0);
            assert!(OffsetIndex::decode(1000, &bytes).len() <= 3);
        }
        assert_eq!(OffsetIndex::decode(0, &[0; 16]).len(), 0);
    }

    #[test]
    fn truncation_is_by_offset_and_position() {
        for (offset, position, left) in [(1020, 1 << 40, 1), (5000, 9000, 1), (5000, 9001, 2)] {
            let mut index = index();
            index.truncate(offset, position);
            assert_eq!(index.len(), left, "{offset} {position}");
        }
    }
}
