//! Batches, message sets and answers of Apache Kafka's own classes; see `tests/golden/record/`.

use ringlog_types::ErrorCode;

use crate::compression::Compression;
use crate::validate::{ProduceRules, validate_produce};
use crate::{
    BatchBuilder, BatchError, BatchView, ControlRecordType, Header, RecordIter,
    decompressed_records, end_transaction_batch, leader_change_batch, legacy, patch,
    snapshot_footer_batch, snapshot_header_batch,
};

const BATCHES: &str = include_str!("../../tests/golden/record/kafka-4.3.1-batches.txt");
const VERDICTS: &str = include_str!("../../tests/golden/record/kafka-4.3.1-verdicts.txt");
const BASE: i64 = 1_700_000_000_000;
const BYTES_MAX: usize = 1 << 20;

/// A record with owned parts. `RecordGolden.java` makes the same.
#[derive(Debug, Clone, PartialEq)]
struct Owned {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn small(index: i64) -> Owned {
    let headers =
        [("trace".to_owned(), Some(format!("t-{index}").into_bytes())), ("empty".to_owned(), None)];
    Owned {
        timestamp: BASE + index * 7919 % 1000 - 500,
        key: (index % 3 != 0).then(|| format!("key-{index}").into_bytes()),
        value: (index % 5 != 4).then(|| format!("value-{index} ").repeat(8).into_bytes()),
        headers: if index % 4 == 2 { headers.to_vec() } else { Vec::new() },
    }
}

fn large(index: i64) -> Owned {
    let value = (0..70_000).map(|at| (at / 700 % 251) as u8).collect();
    Owned { timestamp: BASE + index, key: None, value: Some(value), headers: Vec::new() }
}

fn expected(name: &str) -> Vec<Owned> {
    match name.contains("large") {
        true => (0..2).map(large).collect(),
        false => (0..20).map(small).collect(),
    }
}

fn build(mut builder: BatchBuilder, records: &[Owned]) -> Vec<u8> {
    for record in records {
        let headers: Vec<_> = record
            .headers
            .iter()
            .map(|(key, value)| Header { key, value: value.as_deref() })
            .collect();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        builder.push(record.timestamp, key, value, &headers);
    }
    builder.build().unwrap().0
}

fn read(batch: &[u8]) -> Vec<Owned> {
    let view = BatchView::check(batch).unwrap();
    let records = decompressed_records(&view, BYTES_MAX).unwrap();
    let records = RecordIter::new(&view, &records).map(|record| record.unwrap());
    let owned = records.enumerate().map(|(index, record)| {
        assert_eq!(record.offset, index as i64);
        let headers = record.headers.iter();
        Owned {
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect(),
        }
    });
    owned.collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// The batches of the file whose names begin so.
fn golden(prefix: &'static str) -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let lines = BATCHES.lines().map(|line| line.split_once(' ').unwrap());
    let chosen: Vec<_> = lines.filter(|(name, _)| name.starts_with(prefix)).collect();
    assert!(!chosen.is_empty(), "{prefix}");
    chosen.into_iter().map(|(name, hex)| (name, unhex(hex)))
}

fn codec(name: &str) -> Compression {
    let codes = (0..=4).map(|code| Compression::from_code(code).unwrap());
    codes.into_iter().find(|codec| name.ends_with(codec.name())).unwrap_or_default()
}

#[test]
fn batches_of_java_are_read() {
    for (name, batch) in golden("v2-") {
        let view = BatchView::check(&batch).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(view.size(), batch.len());
        assert_eq!(view.compression(), Ok(codec(name)), "{name}");
        let mut records = expected(name);
        if name == "v2-stamped" {
            records.iter_mut().for_each(|record| record.timestamp = BASE + 12345);
        }
        assert_eq!(read(&batch), records, "{name}");
    }
}

#[test]
fn uncompressed_batches_are_those_of_java() {
    let builder = || BatchBuilder::new(small(0).timestamp);
    let mut stamped = build(builder(), &expected("small"));
    patch::set_log_append_time(&mut stamped, BASE + 12345);
    for (name, ours) in [
        ("v2-small-none", build(builder(), &expected("small"))),
        ("v2-idempotent", build(builder().producer(4711, 3, 41), &expected("small"))),
        (
            "v2-transactional",
            build(builder().producer(4711, 3, 41).transactional(), &expected("small")),
        ),
        ("v2-stamped", stamped),
    ] {
        assert_eq!(golden(name).next().unwrap().1, ours, "{name}");
    }
}

#[test]
fn control_batches_are_those_of_java() {
    let end = |kind| end_transaction_batch(kind, 4711, 3, 17, BASE).0;
    let of_epoch_9 = |(mut batch, _): (Vec<u8>, _)| {
        patch::set_leader_epoch(&mut batch, 9);
        batch
    };
    for (name, kind, ours) in [
        ("control-ABORT", ControlRecordType::Abort, end(ControlRecordType::Abort)),
        ("control-COMMIT", ControlRecordType::Commit, end(ControlRecordType::Commit)),
        (
            "control-LEADER_CHANGE",
            ControlRecordType::LeaderChange,
            of_epoch_9(leader_change_batch(5, BASE)),
        ),
        (
            "control-SNAPSHOT_HEADER",
            ControlRecordType::SnapshotHeader,
            of_epoch_9(snapshot_header_batch(BASE - 1, BASE)),
        ),
        (
            "control-SNAPSHOT_FOOTER",
            ControlRecordType::SnapshotFooter,
            of_epoch_9(snapshot_footer_batch(BASE)),
        ),
    ] {
        let batch = golden(name).next().unwrap().1;
        assert_eq!(batch, ours, "{name}");
        let key = read(&batch)[0].key.clone().unwrap();
        assert_eq!(ControlRecordType::from_key(&key), Some(kind));
    }
}

#[test]
fn message_sets_of_java_are_converted() {
    for (name, set) in golden("v0-").chain(golden("v1-")) {
        let converted = legacy::convert(&set);
        let converted = converted.unwrap_or_else(|error| panic!("{name}: {error}"));
        let (batch, summary) = converted.expect("a whole message");
        let codec = if name == "v1-stamped" { Compression::Gzip } else { codec(name) };
        assert_eq!(summary.compression, codec, "{name}");
        let mut records = expected(name);
        for record in &mut records {
            record.headers.clear();
            match name {
                "v1-stamped" => record.timestamp = BASE + 12345,
                _ if name.starts_with("v0") => record.timestamp = -1,
                _ => {}
            }
        }
        assert_eq!(read(&batch), records, "{name}");
    }
}

/// Every byte that the checksums cover, in every kind of batch and message set.
#[test]
fn no_flipped_byte_passes() {
    for (name, batch) in golden("v2-").filter(|(name, _)| !name.contains("large")) {
        for at in 16..batch.len() {
            let mut flipped = batch.clone();
            flipped[at] ^= 0x10;
            assert!(BatchView::check(&flipped).is_err(), "{name} {at}");
        }
    }
    let sets = golden("v0-").chain(golden("v1-"));
    for (name, set) in sets.filter(|(name, _)| !name.contains("large")) {
        let good = legacy::convert(&set);
        for at in 12..set.len() {
            let mut flipped = set.clone();
            flipped[at] ^= 0x10;
            let converted = legacy::convert(&flipped);
            // The later messages' offsets are not covered, and do not matter. One whose size is
            // more than what is left looks as if it was cut off.
            let is_offset = name.ends_with("none") && converted == good;
            let is_cut = converted == legacy::convert(&set[..at]);
            assert!(converted.is_err() || is_offset || is_cut, "{name} {at}");
        }
    }
}

fn rules(text: &str, produce_version: i16) -> ProduceRules {
    let bound = |name: &str, otherwise| {
        let number = text.strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
        number.map_or(otherwise, |number| number.parse().unwrap())
    };
    ProduceRules {
        max_message_bytes: bound("small", BYTES_MAX as i64) as usize,
        log_append_time: text == "stamped",
        timestamp_before_max_ms: bound("before", i64::MAX),
        timestamp_after_max_ms: bound("after", 3_600_000),
        timestamp_believed_ms: 600_000,
        keys_required: text == "compact",
        produce_version,
        strict: text == "strict",
    }
}

/// What would be appended, and the largest timestamp.
fn append(bytes: &[u8], rules: &ProduceRules) -> Result<(Vec<u8>, i64), BatchError> {
    let mut batch = match rules.produce_version {
        ..3 => legacy::convert(bytes)?.expect("a whole message").0,
        _ => bytes.to_vec(),
    };
    let summary = validate_produce(&batch, rules, BASE)?;
    if rules.log_append_time {
        patch::set_log_append_time(&mut batch, BASE);
        patch::set_leader_epoch(&mut batch, -1);
        return Ok((batch, BASE));
    }
    let mut batch = patch::with_create_time(&batch, summary.max_timestamp).unwrap_or(batch);
    patch::set_leader_epoch(&mut batch, -1);
    Ok((batch, summary.max_timestamp))
}

#[test]
fn answers_are_those_of_kafka() {
    let mut compared = 0;
    for line in VERDICTS.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let [name, version, rule, hex, error, timestamp, appended] = words[..] else {
            panic!("{line}")
        };
        let what = format!("{name} {rule}");
        match append(&unhex(hex), &rules(rule, version.parse().unwrap())) {
            Ok((batch, max_timestamp)) => {
                assert_eq!(error, "NONE", "{what}");
                assert_eq!(max_timestamp.to_string(), timestamp, "{what}");
                // The codecs of other makers write other bytes.
                let is_packed_anew = version == "2" && !name.contains("none");
                assert!(is_packed_anew || batch == unhex(appended), "{what}");
            }
            Err(ours) => {
                let code: ErrorCode = ours.error_code();
                assert_eq!(code.name(), error, "{what}: {ours}");
            }
        }
        compared += 1;
    }
    assert!(compared > 150, "only {compared}");
}

/// With `RINGLOG_RECORD_OUT=FILE`, writes batches for `RecordGolden.java check FILE`.
#[test]
fn batches_for_java_to_read() {
    let mut lines = String::new();
    for kind in ["small", "large"] {
        let records = expected(kind);
        for code in 0..=4 {
            let codec = Compression::from_code(code).unwrap();
            let builder = BatchBuilder::new(records[0].timestamp).compression(codec, None);
            let batch = build(builder, &records);
            assert_eq!(read(&batch), records, "{kind} {codec:?}");
            let hex: String = batch.iter().map(|byte| format!("{byte:02x}")).collect();
            lines += &format!("{kind}-{} {hex}\n", codec.name());
        }
    }
    if let Ok(path) = std::env::var("RINGLOG_RECORD_OUT") {
        std::fs::write(path, lines).unwrap();
    }
}
