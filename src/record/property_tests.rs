//! What holds for all inputs: records survive every codec, and no bytes make anything panic or
//! unfold without bound.

use proptest::prelude::*;

use crate::compression::{Compression, compress, decompress};
use crate::validate::{ProduceRules, validate_produce};
use crate::{
    BatchBuilder, BatchIter, BatchView, Header, MessageFormat, MessageSetLimits, RecordIter,
    decompressed_records, down_convert, first_at_or_after, legacy, patch, recompress,
};

const NOW: i64 = 1_700_000_000_000;
const BYTES_MAX: usize = 1 << 20;

type Bytes = Option<Vec<u8>>;
type Fields = (i64, Bytes, Bytes, Vec<(String, Bytes)>);

fn bytes(size_max: usize) -> impl Strategy<Value = Bytes> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..size_max))
}

fn fields() -> impl Strategy<Value = Fields> {
    let header = ("[a-z\u{e9}]{0,9}", bytes(9));
    let headers = proptest::collection::vec(header, 0..4);
    (prop_oneof![any::<i64>(), NOW - 999..NOW], bytes(40), bytes(400), headers)
}

fn codec() -> impl Strategy<Value = Compression> {
    (0u8..=4).prop_map(|code| Compression::from_code(code).unwrap())
}

fn build(records: &[Fields], codec: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(records[0].0).compression(codec, None);
    for (timestamp, key, value, headers) in records {
        let headers: Vec<_> =
            headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
        builder.push(*timestamp, key.as_deref(), value.as_deref(), &headers);
    }
    let (batch, summary) = builder.build().unwrap();
    assert_eq!(BatchView::check(&batch).unwrap().summary().unwrap(), summary);
    batch
}

fn read(batch: &[u8]) -> Vec<Fields> {
    let view = BatchView::check(batch).unwrap();
    let records = decompressed_records(&view, BYTES_MAX).unwrap();
    let records = RecordIter::new(&view, &records).map(|record| record.unwrap());
    let fields = records.map(|record| {
        let headers = record.headers.iter();
        let headers =
            headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)));
        let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
        (record.timestamp, key, value, headers.collect())
    });
    fields.collect()
}

fn strict() -> ProduceRules {
    ProduceRules {
        max_message_bytes: BYTES_MAX,
        log_append_time: false,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        timestamp_believed_ms: 600_000,
        keys_required: false,
        produce_version: 9,
        strict: true,
    }
}

/// The limits of a reader that takes so many bytes and not one more.
fn torn_at(bytes_max: usize) -> MessageSetLimits {
    MessageSetLimits {
        bytes_max,
        bytes_enough: bytes_max,
        first_whole: false,
        torn_beyond: Some(bytes_max),
    }
}

/// Everything that takes bytes from outside.
fn try_everything(bytes: &[u8]) {
    for batch in BatchIter::new(bytes).flatten() {
        let _ = batch.verify_crc();
        let _ = first_at_or_after(&batch, 0, 0);
        if let Ok(records) = decompressed_records(&batch, BYTES_MAX) {
            assert!(records.len() <= BYTES_MAX.max(batch.size()));
            let _ = RecordIter::new(&batch, &records).last();
        }
        let _ = recompress(batch.bytes(), Compression::Lz4, None);
    }
    for limits in [torn_at(BYTES_MAX), torn_at(40)] {
        if let Ok(set) = down_convert(bytes, MessageFormat::V1, 0, &limits) {
            assert!(set.bytes.len() <= limits.bytes_max);
        }
    }
    let _ = validate_produce(bytes, &strict(), NOW);
    let _ = legacy::convert(bytes);
    for code in 0..=4 {
        let codec = Compression::from_code(code).unwrap();
        if let Ok(unpacked) = decompress(codec, bytes, 10_000) {
            assert!(unpacked.len() <= 10_000);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn records_survive(
        records in proptest::collection::vec(fields(), 1..20),
        (codec, other) in (codec(), codec()),
    ) {
        let batch = build(&records, codec);
        prop_assert_eq!(&read(&batch), &records);
        let other = recompress(&batch, other, None).unwrap();
        prop_assert_eq!(&read(&other), &records);
        let summary = validate_produce(&batch, &strict(), NOW);
        let latest = records.iter().map(|record| record.0).max().unwrap().max(-1);
        prop_assert!(summary.is_ok_and(|summary| summary.max_timestamp == latest));
    }

    /// A reader of the oldest formats gets every record, whatever pieces it asks for.
    #[test]
    fn records_survive_in_message_sets(
        records in proptest::collection::vec(fields(), 1..20),
        codec in (0u8..=3).prop_map(|code| Compression::from_code(code).unwrap()),
        bytes_max in 1..2000usize,
    ) {
        let batch = build(&records, codec);
        let limits = MessageSetLimits { first_whole: true, ..torn_at(bytes_max) };
        let (mut offset, mut read_back) = (0, Vec::new());
        while offset < records.len() as i64 {
            let set = down_convert(&batch, MessageFormat::V1, offset, &limits).unwrap();
            prop_assert!(set.next_offset > offset, "stuck at {}", offset);
            offset = set.next_offset;
            read_back.extend(read(&legacy::convert(&set.bytes).unwrap().unwrap().0));
        }
        let without_headers = records.into_iter().map(|mut fields| {
            fields.3.clear();
            fields
        });
        prop_assert_eq!(read_back, without_headers.collect::<Vec<_>>());
    }

    #[test]
    fn a_changed_byte_is_noticed(
        records in proptest::collection::vec(fields(), 1..5),
        codec in codec(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255u8,
    ) {
        let mut batch = build(&records, codec);
        let at = 16 + at.index(batch.len() - 16);
        batch[at] ^= flip;
        prop_assert!(BatchView::check(&batch).is_err());
    }

    /// With a checksum that fits, the damage reaches the codecs and the records.
    #[test]
    fn damage_under_a_right_checksum_never_panics(
        records in proptest::collection::vec(fields(), 1..5),
        codec in codec(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut batch = build(&records, codec);
        for (at, byte) in changes {
            let at = 17 + at.index(batch.len() - 17);
            batch[at] = byte;
        }
        patch::set_crc(&mut batch);
        try_everything(&batch);
    }

    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        try_everything(&bytes);
    }

    #[test]
    fn codecs_keep_to_their_cap(
        part in proptest::collection::vec(any::<u8>(), 1..50),
        times in 1..5000usize,
        codec in codec(),
        cut in any::<prop::sample::Index>(),
    ) {
        let input = part.repeat(times);
        let packed = compress(codec, &input, None);
        prop_assert_eq!(decompress(codec, &packed, input.len()).unwrap(), &input[..]);
        prop_assert!(decompress(codec, &packed, input.len() - 1).is_err());
        let cut = &packed[..cut.index(packed.len())];
        if let Ok(unpacked) = decompress(codec, cut, input.len()) {
            prop_assert!(input.starts_with(&unpacked), "a cut stream unpacks to a prefix at most");
        }
    }
}

/// Old formats have no builder, so the bytes are made by a seeded generator that often gets the
/// structure right and the rest wrong.
#[test]
fn message_sets_of_noise_never_panic() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for _ in 0..20_000 {
        let mut set = Vec::new();
        for _ in 0..random(4) {
            let mut body = vec![random(3) as u8, random(16) as u8];
            body.extend(
                (0..random(60)).map(|_| if random(2) == 0 { 0 } else { random(256) as u8 }),
            );
            let crc = crate::crc32(&body);
            set.extend_from_slice(&[0; 8]);
            set.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
            set.extend_from_slice(&crc.to_be_bytes());
            set.extend_from_slice(&body);
        }
        set.truncate(set.len() - random(set.len() as u64 / 8 + 1) as usize);
        try_everything(&set);
    }
}
