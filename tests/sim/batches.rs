//! Batches whose every byte follows from who sent them and when.

use bytes::Bytes;
use ringlog_record::{BatchBuilder, BatchSummary, ControlRecordType, end_transaction_batch};
use ringlog_runtime::sim::Prng;

/// A batch as its producer made it: at offset 0, without a leader epoch.
#[derive(Clone)]
pub(crate) struct Batch {
    pub bytes: Bytes,
    pub summary: BatchSummary,
    pub records: i32,
    pub timestamps: Vec<i64>,
    /// The largest of them.
    pub max_timestamp: i64,
}

/// Who sends a batch, and its place in what they send.
#[derive(Clone, Copy)]
pub(crate) struct Sender {
    /// -1: not idempotent.
    pub producer_id: i64,
    pub epoch: i16,
    pub base_sequence: i32,
}

/// The sizes of batches: mostly small, now and then several blocks.
fn value_bytes(prng: &mut Prng) -> usize {
    match prng.below(10) {
        0 => 4_000 + prng.index(9_000),
        1..3 => 500 + prng.index(3_000),
        _ => prng.index(300),
    }
}

/// Batches, one a marker, at offsets from `offset` on: what a mirror sends as payload, or somebody
/// who wants them to be taken for batches of the log.
fn nested(offset: i64, now_ms: i64, prng: &mut Prng) -> Vec<u8> {
    let mut payload = Vec::new();
    for _ in 0..1 + prng.index(6) {
        let far = if prng.below(4) == 0 { 1_000_000 } else { 4 };
        let base_offset = offset + prng.below(far) as i64;
        let mut batch = match prng.below(3) {
            0 => end_transaction_batch(ControlRecordType::Commit, 4_000, 0, 7, now_ms).0,
            _ => {
                let mut builder = BatchBuilder::new(now_ms).producer(1_001, 0, 0);
                let value = vec![b'n'; prng.index(700)];
                builder.push(now_ms, None, Some(&value), &[]);
                builder.build().expect("it has a record").0
            }
        };
        batch[..8].copy_from_slice(&base_offset.to_be_bytes());
        payload.extend(batch);
    }
    payload
}

/// Makes the next batch of a producer. With `nested_at`, batches at offsets from there on may be
/// in its payload.
pub(crate) fn make(sender: Sender, now_ms: i64, nested_at: Option<i64>, prng: &mut Prng) -> Batch {
    let mut builder = BatchBuilder::new(now_ms);
    if sender.producer_id >= 0 {
        builder = builder.producer(sender.producer_id, sender.epoch, sender.base_sequence);
    }
    let records = 1 + prng.index(4) as i32;
    let mut timestamps = Vec::new();
    for _ in 0..records {
        let fill = prng.next_u64();
        let mut value = vec![fill as u8 | 1; value_bytes(prng)];
        value.extend_from_slice(&fill.to_be_bytes());
        if let Some(offset) = nested_at {
            value.extend(nested(offset, now_ms, prng));
        }
        let timestamp = now_ms + prng.below(5) as i64;
        timestamps.push(timestamp);
        builder.push(timestamp, Some(&fill.to_le_bytes()), Some(&value), &[]);
    }
    let (bytes, summary) = builder.build().expect("it has records");
    let max_timestamp = timestamps.iter().copied().max().unwrap_or(-1);
    Batch { bytes: bytes.into(), summary, records, timestamps, max_timestamp }
}
