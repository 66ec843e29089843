//! Readers of the small files: indexes, snapshots, checkpoints. Pure.
//!
//! Formats: Kafka's `OffsetIndex`, `TimeIndex`, `ProducerStateManager`, `CheckpointFile`,
//! `PartitionMetadataFile`; byte tables in `docs/storage-format.md`.

use ringlog_record::crc32c;
use ringlog_types::{Offset, TimestampMs, TopicPartition, Uuid};
use serde::Serialize;

/// An entry of a `.index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct IndexEntry {
    pub(crate) offset: Offset,
    pub(crate) position: u64,
}

/// An entry of a `.timeindex`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp: TimestampMs,
    pub(crate) offset: Offset,
}

/// A producer of a `.snapshot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct ProducerEntry {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) last_sequence: i32,
    pub(crate) last_offset: Offset,
    pub(crate) offset_delta: i32,
    pub(crate) timestamp: TimestampMs,
    pub(crate) coordinator_epoch: i32,
    pub(crate) current_txn_first_offset: Offset,
}

fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Length without the zeros that a preallocated file ends with.
fn used(bytes: &[u8], entry_bytes: usize) -> usize {
    let last = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |place| place + 1);
    last.next_multiple_of(entry_bytes).min(bytes.len())
}

/// The entries of an offset index, and how many bytes of padding follow them.
pub(crate) fn offset_index(base: Offset, bytes: &[u8]) -> Result<(Vec<IndexEntry>, usize), String> {
    let used = used(bytes, 8);
    if !bytes.len().is_multiple_of(8) {
        return Err(format!("{} bytes are not a whole number of entries", bytes.len()));
    }
    let entry = |bytes: &[u8]| IndexEntry {
        offset: base + i64::from(i32_at(bytes, 0)),
        position: i32_at(bytes, 4) as u32 as u64,
    };
    Ok((bytes[..used].chunks_exact(8).map(entry).collect(), bytes.len() - used))
}

/// The entries of a time index, and how many bytes of padding follow them.
pub(crate) fn time_index(base: Offset, bytes: &[u8]) -> Result<(Vec<TimeEntry>, usize), String> {
    let used = used(bytes, 12);
    if !bytes.len().is_multiple_of(12) && bytes.len() != used {
        // Preallocated to a size that is no multiple of 12: only the zeros may be cut off.
        let is_padding = bytes[used..].iter().all(|byte| *byte == 0);
        if !is_padding {
            return Err(format!("{} bytes are not a whole number of entries", bytes.len()));
        }
    }
    let entry = |bytes: &[u8]| TimeEntry {
        timestamp: i64_at(bytes, 0),
        offset: base + i64::from(i32_at(bytes, 8)),
    };
    Ok((bytes[..used].chunks_exact(12).map(entry).collect(), bytes.len() - used))
}

/// The producers of a snapshot.
pub(crate) fn snapshot(bytes: &[u8]) -> Result<Vec<ProducerEntry>, String> {
    const HEADER: usize = 10;
    const ENTRY: usize = 46;
    if bytes.len() < HEADER {
        return Err(format!("{} bytes are less than its header", bytes.len()));
    }
    let version = i16_at(bytes, 0);
    if version != 1 {
        return Err(format!("version {version} is unknown"));
    }
    if crc32c(&bytes[6..]) != i32_at(bytes, 2) as u32 {
        return Err("the checksum is wrong".into());
    }
    let entries = &bytes[HEADER..];
    let count = i32_at(bytes, 6);
    if count < 0 || entries.len() != count as usize * ENTRY {
        return Err(format!("{count} producers do not take {} bytes", entries.len()));
    }
    let entry = |bytes: &[u8]| ProducerEntry {
        producer_id: i64_at(bytes, 0),
        producer_epoch: i16_at(bytes, 8),
        last_sequence: i32_at(bytes, 10),
        last_offset: i64_at(bytes, 14),
        offset_delta: i32_at(bytes, 22),
        timestamp: i64_at(bytes, 26),
        coordinator_epoch: i32_at(bytes, 34),
        current_txn_first_offset: i64_at(bytes, 38),
    };
    Ok(entries.chunks_exact(ENTRY).map(entry).collect())
}

/// The lines of a checkpoint: a version, a count, and that many lines.
fn checkpoint(text: &str) -> Result<Vec<&str>, String> {
    let mut lines = text.lines();
    match lines.next() {
        Some("0") => {}
        Some(other) => return Err(format!("version {other:?} is unknown")),
        None => return Err("it is empty".into()),
    }
    let count = lines.next().unwrap_or("");
    let expected: usize = count.parse().map_err(|_| format!("{count:?} is no count"))?;
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    match lines.len() == expected {
        true => Ok(lines),
        false => Err(format!("{} lines where {expected} are announced", lines.len())),
    }
}

/// `leader-epoch-checkpoint`: epochs with their first offsets.
pub(crate) fn leader_epochs(text: &str) -> Result<Vec<(i32, Offset)>, String> {
    let entry = |line: &&str| {
        let (epoch, offset) = line.split_once(' ')?;
        Some((epoch.parse().ok()?, offset.parse().ok()?))
    };
    let lines = checkpoint(text)?;
    lines.iter().map(|line| entry(line).ok_or_else(|| format!("the line {line:?}"))).collect()
}

/// `recovery-point-offset-checkpoint` and its like: an offset for each partition.
pub(crate) fn offset_checkpoint(text: &str) -> Result<Vec<(TopicPartition, Offset)>, String> {
    let entry = |line: &&str| {
        let mut parts = line.split(' ');
        let (topic, partition, offset) = (parts.next()?, parts.next()?, parts.next()?);
        let partition = TopicPartition::new(topic, partition.parse().ok()?);
        parts.next().is_none().then_some((partition, offset.parse().ok()?))
    };
    let lines = checkpoint(text)?;
    lines.iter().map(|line| entry(line).ok_or_else(|| format!("the line {line:?}"))).collect()
}

/// A range of `ringlog-fenced-ranges`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FencedRange {
    pub(crate) base_offset: Offset,
    pub(crate) position: u64,
    pub(crate) first_offset: Offset,
    pub(crate) end_offset: Offset,
}

/// `ringlog-fenced-ranges`: what is known to be damaged.
pub(crate) fn fenced_ranges(text: &str) -> Result<Vec<FencedRange>, String> {
    let entry = |line: &&str| {
        let numbers: Vec<i64> =
            line.split(' ').map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let [base_offset, position, _, first_offset, end_offset] = numbers[..] else { return None };
        let position = u64::try_from(position).ok()?;
        Some(FencedRange { base_offset, position, first_offset, end_offset })
    };
    let lines = checkpoint(text)?;
    lines.iter().map(|line| entry(line).ok_or_else(|| format!("the line {line:?}"))).collect()
}

/// `ringlog-checked-segments`: a checkpoint with a checksum in the last line.
pub(crate) fn checked_segments(text: &str) -> Result<(), String> {
    let (entries, last) = text.trim_end().rsplit_once('\n').ok_or("it has no checksum")?;
    let sum = format!("crc32c {:08x}", crc32c(format!("{entries}\n").as_bytes()));
    if last != sum {
        return Err(format!("{last:?} where {sum:?} is expected"));
    }
    checkpoint(entries).map(drop)
}

/// Checks the checksum of a `meta.properties`, if it has one.
pub(crate) fn properties_checksum(text: &str) -> Result<(), String> {
    let stated = text.lines().find_map(|line| line.strip_prefix("# ringlog.checksum="));
    let lines = text.lines().map(str::trim);
    let is_property = |line: &&str| !line.is_empty() && !line.starts_with(['#', '!']);
    let mut lines: Vec<&str> = lines.filter(is_property).collect();
    lines.sort_unstable();
    let sum = format!("{:08x}", crc32c(lines.join("\n").as_bytes()));
    match stated {
        Some(stated) if stated.trim() != sum => {
            Err(format!("its checksum is {stated}, that of its values {sum}: one was changed"))
        }
        _ => Ok(()),
    }
}

/// `partition.metadata`: the topic's id.
pub(crate) fn partition_metadata(text: &str) -> Result<Uuid, String> {
    let value = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':').map(str::trim))
    };
    match value("version") {
        Some("0") => {}
        other => return Err(format!("version {other:?} is unknown")),
    }
    let id = value("topic_id").ok_or("it has no topic_id")?;
    id.parse().map_err(|_| format!("{id:?} is no topic id"))
}

/// `meta.properties`: keys and values.
pub(crate) fn properties(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pair = |line: &str| {
        let (key, value) = line.split_once('=')?;
        Some((key.trim().to_owned(), value.trim().to_owned()))
    };
    lines.filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_end_where_the_zeros_begin() {
        let mut bytes = Vec::new();
        for (offset, position) in [(0_i32, 0_i32), (9, 4096), (20, 8192)] {
            bytes.extend_from_slice(&offset.to_be_bytes());
            bytes.extend_from_slice(&position.to_be_bytes());
        }
        let (entries, padding) = offset_index(100, &bytes).unwrap();
        assert_eq!((entries.len(), padding), (3, 0));
        assert_eq!(entries[2], IndexEntry { offset: 120, position: 8192 });
        bytes.resize(80, 0);
        let (entries, padding) = offset_index(100, &bytes).unwrap();
        assert_eq!((entries.len(), padding), (3, 56));
        assert!(offset_index(0, &bytes[..79]).is_err());
        assert_eq!(offset_index(0, &[]), Ok((vec![], 0)));
    }

    #[test]
    fn checkpoints() {
        assert_eq!(leader_epochs("0\n2\n0 0\n3 100\n"), Ok(vec![(0, 0), (3, 100)]));
        for wrong in ["", "1\n0\n", "0\n2\n0 0\n", "0\nx\n", "0\n1\n0\n"] {
            assert!(leader_epochs(wrong).is_err(), "{wrong:?}");
        }
        let expected = vec![(TopicPartition::new("a-b", 3), 42)];
        assert_eq!(offset_checkpoint("0\n1\na-b 3 42\n"), Ok(expected));
        assert!(offset_checkpoint("0\n1\na-b 3 42 1\n").is_err());
    }

    #[test]
    fn a_snapshot_with_a_flipped_bit_is_refused() {
        let mut bytes = vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
        bytes.extend_from_slice(&7_i64.to_be_bytes());
        bytes.extend_from_slice(&[0; 38]);
        bytes[55] = 1;
        let crc = crc32c(&bytes[6..]);
        bytes[2..6].copy_from_slice(&crc.to_be_bytes());
        let producers = snapshot(&bytes).unwrap();
        assert_eq!(producers[0].producer_id, 7);
        bytes[20] ^= 1;
        assert!(snapshot(&bytes).unwrap_err().contains("checksum"));
        assert!(snapshot(&bytes[..9]).is_err());
    }

    #[test]
    fn metadata_of_a_partition() {
        let id = Uuid::from_u128(5);
        assert_eq!(partition_metadata(&format!("version: 0\ntopic_id: {id}\n")), Ok(id));
        assert!(partition_metadata("version: 9\ntopic_id: x").is_err());
        assert!(partition_metadata("version: 0\n").is_err());
    }
}
