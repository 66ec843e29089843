//! Leaving records out of a batch, as compaction does.
//!
//! What identifies the batch stays as it was: its base and last offset, its leader epoch, its
//! producer with epoch and base sequence, and its codec. So the offsets of the records that are
//! left do not change, and neither does what the batch says about its producer's sequence. Records
//! that stay are copied as they lie; only a delete horizon that the batch gets now takes the place
//! of the base timestamp (KIP-534), from which the records' timestamps then count.
//!
//! Kafka's `MemoryRecords.filterTo`, but for the base timestamp, which there is that of the first
//! record that is left.

use ringlog_types::TimestampMs;

use crate::batch::{
    ATTRIBUTES, Attributes, BASE_TIMESTAMP, BatchView, HEADER_BYTES, LENGTH, LENGTH_END,
    MAX_TIMESTAMP, RECORD_COUNT,
};
use crate::compression::{Compression, compress};
use crate::record::{Record, RecordIter, decompressed_records};
use crate::{BatchError, DECOMPRESSED_BYTES_MAX, NO_TIMESTAMP, patch, varint};

/// What becomes of a batch beside its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterRules {
    /// Keep the batch, with no record in it, if none is left.
    pub keep_empty: bool,
    /// The delete horizon of a batch that has none and in which a record without a value is left.
    pub horizon_ms: TimestampMs,
    /// Give it one in any case, if a record is left.
    pub needs_horizon: bool,
}

/// What a batch has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filtered {
    /// All of it is left, as it was.
    Unchanged,
    /// Some records are left, or all with a delete horizon.
    Rewritten,
    /// No record is left, and the batch is there for its offsets and its producer.
    Emptied,
    /// Nothing is left.
    Dropped,
}

/// Appends to `out` what is left of a batch when only the records that `retains` says stay.
/// `scratch` is memory for the records.
///
/// # Errors
/// An unknown codec, or records that are not what the header says. Nothing is appended then.
pub fn filter_batch(
    batch: &BatchView<'_>,
    rules: &FilterRules,
    retains: impl FnMut(&Record<'_>) -> bool,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<Filtered, BatchError> {
    let records = decompressed_records(batch, DECOMPRESSED_BYTES_MAX)?;
    scratch.clear();
    let left = retain(batch, &records, retains, scratch)?;
    if left.count == 0 {
        if !rules.keep_empty {
            return Ok(Filtered::Dropped);
        }
        out.extend_from_slice(&emptied_batch(batch));
        return Ok(Filtered::Emptied);
    }
    let is_due = rules.needs_horizon || left.has_tombstone;
    let horizon_ms =
        (is_due && !batch.attributes().has_delete_horizon()).then_some(rules.horizon_ms);
    let is_whole = left.count == batch.record_count();
    if is_whole && horizon_ms.is_none() {
        out.extend_from_slice(batch.bytes());
        return Ok(Filtered::Unchanged);
    }
    let rebased = match horizon_ms {
        Some(horizon_ms) => {
            let all = if is_whole { &records[..] } else { &scratch[..] };
            Some(rebase(batch, all, horizon_ms)?)
        }
        None => None,
    };
    append_rewritten(batch, &left, rebased.as_deref().unwrap_or(scratch), horizon_ms, out)?;
    Ok(Filtered::Rewritten)
}

/// The records of a batch that are left.
struct Left {
    count: i32,
    max_timestamp: TimestampMs,
    has_tombstone: bool,
}

/// Copies the records that are to stay to `kept`, unless all of them are.
fn retain(
    batch: &BatchView<'_>,
    records: &[u8],
    mut retains: impl FnMut(&Record<'_>) -> bool,
    kept: &mut Vec<u8>,
) -> Result<Left, BatchError> {
    let mut left = Left { count: 0, max_timestamp: NO_TIMESTAMP, has_tombstone: false };
    let mut iter = RecordIter::new(batch, records);
    // Records that stay one after the other are copied at once.
    let (mut run_start, mut at) = (0, 0);
    while let Some(record) = iter.next_bare() {
        let record = record?;
        let end = records.len() - iter.rest().len();
        if retains(&record) {
            left.count += 1;
            left.max_timestamp = left.max_timestamp.max(record.timestamp);
            left.has_tombstone |= record.value.is_none();
        } else {
            kept.extend_from_slice(&records[run_start..at]);
            run_start = end;
        }
        at = end;
    }
    if left.count < batch.record_count() {
        kept.extend_from_slice(&records[run_start..at]);
    }
    Ok(left)
}

/// The records with their timestamps counted from `base_ms`.
fn rebase(
    batch: &BatchView<'_>,
    mut records: &[u8],
    base_ms: TimestampMs,
) -> Result<Vec<u8>, BatchError> {
    let broken = || BatchError::Record { index: 0, reason: "a broken number" };
    let stamped = batch.attributes().is_log_append_time().then(|| batch.max_timestamp());
    let mut out = Vec::with_capacity(records.len() + records.len() / 8);
    while !records.is_empty() {
        let length = varint::read(&mut records).ok_or_else(broken)?;
        let length = usize::try_from(length).map_err(|_| broken())?;
        let (mut body, rest) = records.split_at_checked(length).ok_or_else(broken)?;
        records = rest;
        let (&attributes, after) = body.split_first().ok_or_else(broken)?;
        body = after;
        let delta = varint::read(&mut body).ok_or_else(broken)?;
        let timestamp = stamped.unwrap_or_else(|| batch.base_timestamp().wrapping_add(delta));
        let delta = timestamp.wrapping_sub(base_ms);
        varint::write(&mut out, (1 + varint::size(delta) + body.len()) as i64);
        out.push(attributes);
        varint::write(&mut out, delta);
        out.extend_from_slice(body);
    }
    Ok(out)
}

fn append_rewritten(
    batch: &BatchView<'_>,
    left: &Left,
    records: &[u8],
    horizon_ms: Option<TimestampMs>,
    out: &mut Vec<u8>,
) -> Result<(), BatchError> {
    let start = out.len();
    out.extend_from_slice(&batch.bytes()[..HEADER_BYTES]);
    match batch.compression()? {
        Compression::None => out.extend_from_slice(records),
        codec => out.extend_from_slice(&compress(codec, records, None)),
    }
    let size = out.len() - start;
    let Ok(length) = i32::try_from(size - LENGTH_END) else {
        out.truncate(start);
        return Err(BatchError::TooLarge { size, limit: i32::MAX as usize });
    };
    let rewritten = &mut out[start..];
    put(rewritten, LENGTH, &length.to_be_bytes());
    put(rewritten, RECORD_COUNT, &left.count.to_be_bytes());
    if !batch.attributes().is_log_append_time() {
        put(rewritten, MAX_TIMESTAMP, &left.max_timestamp.to_be_bytes());
    }
    if let Some(horizon_ms) = horizon_ms {
        let attributes = batch.attributes().0 | Attributes::DELETE_HORIZON;
        put(rewritten, ATTRIBUTES, &attributes.to_be_bytes());
        put(rewritten, BASE_TIMESTAMP, &horizon_ms.to_be_bytes());
    }
    patch::set_crc(rewritten);
    Ok(())
}

/// A batch without its records, for its offsets and what it says of its producer
/// (`DefaultRecordBatch.writeEmptyHeader`).
pub fn emptied_batch(batch: &BatchView<'_>) -> [u8; HEADER_BYTES] {
    let mut emptied: [u8; HEADER_BYTES] =
        batch.bytes()[..HEADER_BYTES].try_into().expect("a batch has a header");
    let dropped = Attributes::CODEC_MASK | Attributes::DELETE_HORIZON;
    let attributes = batch.attributes().0 & !dropped;
    put(&mut emptied, LENGTH, &((HEADER_BYTES - LENGTH_END) as i32).to_be_bytes());
    put(&mut emptied, ATTRIBUTES, &attributes.to_be_bytes());
    put(&mut emptied, BASE_TIMESTAMP, &NO_TIMESTAMP.to_be_bytes());
    put(&mut emptied, RECORD_COUNT, &0i32.to_be_bytes());
    patch::set_crc(&mut emptied);
    emptied
}

fn put(batch: &mut [u8], at: usize, bytes: &[u8]) {
    batch[at..at + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, Header};

    type Seen = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, usize);

    const NOW: TimestampMs = 1_700_000_000_000;
    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    fn rules() -> FilterRules {
        FilterRules { keep_empty: false, horizon_ms: NOW + 5000, needs_horizon: false }
    }

    /// Eight records at offset 100; the sixth is a tombstone, the fourth has a header.
    fn batch(codec: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new(NOW).compression(codec, None).producer(7, 2, 40);
        for index in 0..8u8 {
            let key = [b'k', index];
            let value = vec![index; 300];
            let headers = [Header { key: "h", value: Some(b"x") }];
            let headers = if index == 3 { &headers[..] } else { &[] };
            let value = (index != 5).then_some(&value[..]);
            builder.push(NOW + i64::from(index) * 10, Some(&key), value, headers);
        }
        let mut batch = builder.build().expect("it has records").0;
        patch::set_base_offset(&mut batch, 100);
        patch::set_leader_epoch(&mut batch, 9);
        batch
    }

    fn records(batch: &[u8]) -> Vec<Seen> {
        let view = BatchView::check(batch).expect("whole");
        let bytes = decompressed_records(&view, 1 << 20).expect("unpacked");
        let seen = |record: Record<'_>| {
            let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
            (
                record.offset,
                record.timestamp,
                own(record.key),
                own(record.value),
                record.headers.len(),
            )
        };
        RecordIter::new(&view, &bytes).map(|record| seen(record.expect("sound"))).collect()
    }

    fn filter(batch: &[u8], rules: FilterRules, keep: impl Fn(i64) -> bool) -> (Filtered, Vec<u8>) {
        let view = BatchView::check(batch).expect("whole");
        let (mut scratch, mut out) = (Vec::new(), Vec::new());
        let filtered =
            filter_batch(&view, &rules, |record| keep(record.offset), &mut scratch, &mut out);
        (filtered.expect("sound"), out)
    }

    /// What stays the same whatever is left out.
    fn identity(batch: &[u8]) -> (i64, i64, i32, i64, i16, i32, Result<Compression, BatchError>) {
        let view = BatchView::check(batch).expect("whole");
        let last_offset = view.base_offset() + i64::from(view.last_offset_delta());
        let producer = (view.producer_id(), view.producer_epoch(), view.base_sequence());
        (
            view.base_offset(),
            last_offset,
            view.leader_epoch(),
            producer.0,
            producer.1,
            producer.2,
            view.compression(),
        )
    }

    #[test]
    fn every_choice_of_records_keeps_those_and_the_batch() {
        for codec in CODECS {
            let batch = batch(codec);
            let all = records(&batch);
            for chosen in 1..=255u32 {
                let keep = |offset: i64| chosen >> (offset - 100) & 1 == 1;
                let (filtered, out) = filter(&batch, rules(), keep);
                assert_eq!(filtered, Filtered::Rewritten);
                let expected: Vec<_> = all.iter().filter(|seen| keep(seen.0)).cloned().collect();
                assert_eq!(records(&out), expected, "{codec:?} {chosen:b}");
                assert_eq!(identity(&out), identity(&batch));
                let view = BatchView::check(&out).expect("whole");
                let newest = expected.iter().map(|seen| seen.1).max();
                assert_eq!(Some(view.max_timestamp()), newest);
                let has_tombstone = keep(105);
                assert_eq!(view.attributes().has_delete_horizon(), has_tombstone);
                if has_tombstone {
                    assert_eq!(view.base_timestamp(), NOW + 5000);
                }
            }
        }
    }

    #[test]
    fn a_horizon_is_given_once() {
        let (_, first) = filter(&batch(Compression::Lz4), rules(), |_| true);
        let later = FilterRules { horizon_ms: NOW + 900_000, needs_horizon: true, ..rules() };
        assert_eq!(filter(&first, later, |_| true), (Filtered::Unchanged, first.clone()));
        let (filtered, second) = filter(&first, later, |offset| offset >= 105);
        assert_eq!(filtered, Filtered::Rewritten);
        assert_eq!(BatchView::check(&second).expect("whole").base_timestamp(), NOW + 5000);
        assert_eq!(records(&second), records(&first)[5..]);
        // A batch without a tombstone gets one on demand, and its records keep their times.
        let (_, plain) = filter(&batch(Compression::None), rules(), |offset| offset < 105);
        let (filtered, marked) = filter(&plain, later, |_| true);
        assert_eq!(filtered, Filtered::Rewritten);
        assert!(BatchView::check(&marked).expect("whole").attributes().has_delete_horizon());
        assert_eq!(records(&marked), records(&plain));
    }

    #[test]
    fn without_records_the_batch_goes_or_stays_for_its_producer() {
        for codec in CODECS {
            let batch = batch(codec);
            let (filtered, out) = filter(&batch, rules(), |_| false);
            assert_eq!((filtered, out.len()), (Filtered::Dropped, 0));
            let (filtered, out) =
                filter(&batch, FilterRules { keep_empty: true, ..rules() }, |_| false);
            assert_eq!((filtered, out.len()), (Filtered::Emptied, HEADER_BYTES));
            let (mut before, after) = (identity(&batch), identity(&out));
            before.6 = Ok(Compression::None);
            assert_eq!(after, before);
            assert_eq!(records(&out), []);
            let view = BatchView::check(&out).expect("whole");
            assert_eq!(view.max_timestamp(), NOW + 70);
            // Emptied again, it is the same.
            let keep_empty = FilterRules { keep_empty: true, ..rules() };
            assert_eq!(filter(&out, keep_empty, |_| true).1, out);
        }
    }

    #[test]
    fn times_of_the_broker_stay() {
        let mut stamped = batch(Compression::Zstd);
        patch::set_log_append_time(&mut stamped, NOW + 77);
        let (_, out) = filter(&stamped, rules(), |offset| offset > 103);
        let view = BatchView::check(&out).expect("whole");
        assert!(view.attributes().is_log_append_time() && view.attributes().has_delete_horizon());
        assert_eq!(view.max_timestamp(), NOW + 77);
        assert_eq!(records(&out), records(&stamped)[4..]);
    }

    #[test]
    fn broken_records_are_an_error_and_leave_nothing() {
        let mut broken = batch(Compression::None);
        broken[61] ^= 0x10;
        patch::set_crc(&mut broken);
        let view = BatchView::check(&broken).expect("the checksum is right");
        let mut out = vec![1, 2, 3];
        let filtered = filter_batch(&view, &rules(), |_| true, &mut Vec::new(), &mut out);
        assert!(matches!(filtered, Err(BatchError::Record { .. })), "{filtered:?}");
        assert_eq!(out, [1, 2, 3]);
    }
}
