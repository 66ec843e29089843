//! Producer state as a file, `<offset>.snapshot`: the state after everything below the offset.
//!
//! Pure; Kafka's format (`ProducerStateManager`, schema `ProducerSnapshot.json`), whose byte table
//! is in `docs/storage-format.md`. Kafka writes the newest batch of each producer only, and so
//! refuses after a crash what a client sends again of batches before a snapshot: the client takes a
//! new epoch, and its records are there twice. Here a producer has an entry for each batch that is
//! remembered, oldest first; who knows nothing of that, like Kafka, takes each entry in the place
//! of the one before.

use ringlog_record::crc32c;
use ringlog_types::{Offset, ProducerId};

use crate::producers::entries::ProducerEntries;
use crate::producers::state::{BatchMetadata, PRODUCERS_MAX, ProducerEntry, ProducerState};

/// The only version there is.
const VERSION: i16 = 1;
/// Version, CRC and count.
const HEADER_BYTES: usize = 2 + 4 + 4;
/// A batch of a producer, or a producer without one.
const ENTRY_BYTES: usize = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8;

type EntryBytes = [u8; ENTRY_BYTES];

/// In the entry of a producer that has no batch in its epoch.
const NO_BATCH: BatchMetadata =
    BatchMetadata { last_sequence: -1, last_offset: -1, offset_delta: 0, timestamp: -1 };

/// The bytes of a snapshot. Producers are written in the order of their ids.
pub(crate) fn encode(producers: &ProducerEntries) -> Vec<u8> {
    let mut producers: Vec<_> = producers.iter().collect();
    producers.sort_unstable_by_key(|(id, _)| *id);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + producers.len() * ENTRY_BYTES);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 8]);
    for (id, entry) in producers {
        let Some((newest, older)) = entry.batches().split_last() else {
            let none = BatchMetadata { timestamp: entry.last_timestamp, ..NO_BATCH };
            encode_entry(&mut bytes, id, entry, &none, entry.current_txn_first_offset);
            continue;
        };
        for batch in older {
            let timestamp = batch.timestamp.min(entry.last_timestamp);
            encode_entry(&mut bytes, id, entry, &BatchMetadata { timestamp, ..*batch }, None);
        }
        let newest = BatchMetadata { timestamp: entry.last_timestamp, ..*newest };
        encode_entry(&mut bytes, id, entry, &newest, entry.current_txn_first_offset);
    }
    let count = (bytes.len() - HEADER_BYTES) / ENTRY_BYTES;
    bytes[6..HEADER_BYTES].copy_from_slice(&(count as i32).to_be_bytes());
    let crc = crc32c(&bytes[6..]);
    bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Kafka leaves out entries whose timestamp is too old: none may be newer than the producer's last.
fn encode_entry(
    bytes: &mut Vec<u8>,
    id: ProducerId,
    entry: &ProducerEntry,
    batch: &BatchMetadata,
    current_txn_first_offset: Option<Offset>,
) {
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(&entry.epoch.to_be_bytes());
    bytes.extend_from_slice(&batch.last_sequence.to_be_bytes());
    bytes.extend_from_slice(&batch.last_offset.to_be_bytes());
    bytes.extend_from_slice(&batch.offset_delta.to_be_bytes());
    bytes.extend_from_slice(&batch.timestamp.to_be_bytes());
    bytes.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
    bytes.extend_from_slice(&current_txn_first_offset.unwrap_or(-1).to_be_bytes());
}

/// Reads a snapshot; the error says what is wrong with it.
pub(crate) fn decode(bytes: &[u8]) -> Result<ProducerState, &'static str> {
    if bytes.len() < HEADER_BYTES {
        return Err("shorter than its header");
    }
    let (header, entries) = bytes.split_at(HEADER_BYTES);
    if i16::from_be_bytes([header[0], header[1]]) != VERSION {
        return Err("of a version that is not known");
    }
    let crc = u32::from_be_bytes(header[2..6].try_into().expect("4 bytes"));
    if crc != crc32c(&bytes[6..]) {
        return Err("not what its CRC says");
    }
    let count = i32::from_be_bytes(header[6..10].try_into().expect("4 bytes"));
    let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
    if usize::try_from(count) != Ok(entries.len()) || !rest.is_empty() {
        return Err("not as long as its count says");
    }
    let mut state = ProducerState::default();
    let newest = newest_offsets(entries);
    for (id, entry) in producers(entries) {
        if entry.current_txn_first_offset.is_some() || entry.last_offset() >= newest {
            state.load(id, entry);
        }
    }
    Ok(state)
}

/// The offset from which on there are no more producers than a log remembers. Kafka writes
/// snapshots of any number.
fn newest_offsets(entries: &[EntryBytes]) -> Offset {
    let surplus = producers(entries).count().saturating_sub(PRODUCERS_MAX);
    if surplus == 0 {
        return Offset::MIN;
    }
    let mut offsets: Vec<Offset> =
        producers(entries).map(|(_, entry)| entry.last_offset()).collect();
    *offsets.select_nth_unstable(surplus).1
}

/// The producers, each of entries that follow each other.
fn producers(entries: &[EntryBytes]) -> impl Iterator<Item = (ProducerId, ProducerEntry)> {
    entries.chunk_by(|a, b| a[..8] == b[..8]).map(|of_one| {
        let (id, mut entry) = decode_entry(&of_one[0]);
        for bytes in &of_one[1..] {
            let (_, next) = decode_entry(bytes);
            entry = entry.followed_by(next);
        }
        (id, entry)
    })
}

fn decode_entry(bytes: &EntryBytes) -> (ProducerId, ProducerEntry) {
    let i64_at = |at: usize| i64::from_be_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    let i32_at = |at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
    let mut entry = ProducerEntry::new(i16::from_be_bytes([bytes[8], bytes[9]]));
    let (last_sequence, last_offset, offset_delta) = (i32_at(10), i64_at(14), i32_at(22));
    let timestamp = i64_at(26);
    entry.last_timestamp = timestamp;
    entry.coordinator_epoch = i32_at(34);
    let first = i64_at(38);
    entry.current_txn_first_offset = (first >= 0).then_some(first);
    if last_offset >= 0 {
        entry.remember(BatchMetadata { last_sequence, last_offset, offset_delta, timestamp });
    }
    (i64_at(0), entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producers::state::ProducerBatch;

    /// A snapshot with a million producers made its partition unusable.
    #[test]
    fn of_too_many_the_newest_are_taken() {
        let count = 2 * PRODUCERS_MAX;
        let mut entries = Vec::new();
        let mut state = ProducerState::default();
        for id in 0..count as i64 {
            let mut entry = ProducerEntry::new(0);
            let last_offset = id ^ 1;
            let (last_sequence, offset_delta, timestamp) = (0, 0, 5);
            entry.remember(BatchMetadata { last_sequence, last_offset, offset_delta, timestamp });
            entry.last_timestamp = timestamp;
            entry.current_txn_first_offset = (id == 7).then_some(0);
            entries.push((id, entry));
        }
        entries.into_iter().for_each(|(id, entry)| state.load(id, entry));
        let decoded = decode(&encode(state.entries())).expect("whole");
        assert_eq!(decoded.len(), PRODUCERS_MAX + 1);
        assert_eq!(decoded.first_undecided_offset(), Some(0));
        let known: Vec<_> =
            decoded.entries().iter().map(|(id, _)| id).filter(|id| *id != 7).collect();
        assert!(known.into_iter().all(|id| id >= PRODUCERS_MAX as i64));
    }

    #[test]
    fn snapshots_round_trip_and_damage_is_noticed() {
        let mut state = ProducerState::default();
        for (producer_id, transactional) in [(9, false), (4, true)] {
            state.apply(
                &ProducerBatch {
                    producer_id,
                    producer_epoch: 2,
                    base_sequence: 0,
                    base_offset: 10 * producer_id,
                    last_offset: 10 * producer_id + 3,
                    max_timestamp: 77,
                    transactional,
                },
                -1,
            );
        }
        state.apply_marker(11, 1, 5, 88, -1);
        // Of the seven batches of the next one, five are remembered.
        for at in 0..7 {
            state.apply(
                &ProducerBatch {
                    producer_id: 5,
                    producer_epoch: 3,
                    base_sequence: 10 * at,
                    base_offset: 1000 + i64::from(10 * at),
                    last_offset: 1009 + i64::from(10 * at),
                    max_timestamp: 99,
                    transactional: at >= 2,
                },
                -1,
            );
        }
        let bytes = encode(state.entries());
        assert_eq!(bytes.len(), HEADER_BYTES + (3 + 5) * ENTRY_BYTES);
        assert_eq!(decode(&bytes), Ok(state));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(decode(&damaged).is_err(), "{at}");
            assert!(decode(&bytes[..at]).is_err(), "{at}");
        }
    }
}
