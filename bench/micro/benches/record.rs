//! What `ringlog_record` costs: checksums, the checks of a produced batch, building, the codecs,
//! and conversion of the old formats.
//!
//! `cargo bench -p ringlog-bench-micro --bench record -- [filter]`. Figures of this machine and
//! commit are in `bench/micro/record.md`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringlog_record::compression::{compress, decompress};
use ringlog_record::validate::{ProduceRules, validate_produce};
use ringlog_record::{
    BatchBuilder, BatchView, Compression, RecordIter, decompressed_records, legacy,
};

const NOW_MS: i64 = 1_760_000_000_000;
const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// Values that look like log lines: a third of it is new, so that codecs have their usual work.
fn values(count: usize, bytes: usize) -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..count)
        .map(|_| {
            let mut line = Vec::with_capacity(bytes + 64);
            while line.len() < bytes {
                line.extend_from_slice(b"level=info component=gateway request=");
                line.extend_from_slice(format!("{:016x} ", random()).as_bytes());
            }
            line.truncate(bytes);
            line
        })
        .collect()
}

fn batch(values: &[Vec<u8>], codec: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(NOW_MS).compression(codec, None);
    for value in values {
        builder.push(NOW_MS, None, Some(value), &[]);
    }
    builder.build().expect("the batch is small enough").0
}

fn message_set(values: &[Vec<u8>]) -> Vec<u8> {
    let mut set = Vec::new();
    for value in values {
        let mut body = vec![1, 0];
        body.extend_from_slice(&NOW_MS.to_be_bytes());
        body.extend_from_slice(&(-1i32).to_be_bytes());
        body.extend_from_slice(&(value.len() as i32).to_be_bytes());
        body.extend_from_slice(value);
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, &body) as u32;
        set.extend_from_slice(&[0; 8]);
        set.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
        set.extend_from_slice(&crc.to_be_bytes());
        set.extend_from_slice(&body);
    }
    set
}

fn rules(keys_required: bool) -> ProduceRules {
    ProduceRules {
        max_message_bytes: 16 << 20,
        log_append_time: false,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        timestamp_believed_ms: 600_000,
        keys_required,
        produce_version: 9,
        strict: !keys_required,
    }
}

/// The two candidates for the checksum of batches.
fn checksum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("crc32c");
    for bytes in [100, 1 << 10, 16 << 10, 64 << 10, 1 << 20] {
        let input = values(1, bytes).remove(0);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_with_input(BenchmarkId::new("crc-fast", bytes), &input, |bencher, input| {
            bencher.iter(|| ringlog_record::crc32c(black_box(input)));
        });
        group.bench_with_input(BenchmarkId::new("crc32c", bytes), &input, |bencher, input| {
            bencher.iter(|| crc32c::crc32c(black_box(input)));
        });
    }
    group.finish();
}

/// One batch of 1,000 records of 1 KiB, and a small one: header and checksum, or every record.
fn validate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("validate");
    for (name, count, bytes) in [("1000x1KiB", 1000, 1024), ("1x100B", 1, 100)] {
        for codec in [Compression::None, Compression::Lz4, Compression::Zstd] {
            let batch = batch(&values(count, bytes), codec);
            group.throughput(Throughput::Bytes((count * bytes) as u64));
            for (depth, strict) in [("header", false), ("records", true)] {
                let rules = ProduceRules { strict, ..rules(false) };
                let id = BenchmarkId::new(format!("{name}/{}", codec.name()), depth);
                group.bench_with_input(id, &batch, |bencher, batch| {
                    bencher.iter(|| {
                        validate_produce(black_box(batch), &rules, NOW_MS).expect("it is valid")
                    });
                });
            }
        }
    }
    group.finish();
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build");
    let values = values(1000, 1024);
    group.throughput(Throughput::Bytes(1000 * 1024));
    for codec in CODECS {
        group.bench_with_input(codec.name(), &values, |bencher, values| {
            bencher.iter(|| batch(black_box(values), codec));
        });
    }
    group.finish();
}

fn iterate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("iterate");
    let batch = batch(&values(1000, 1024), Compression::None);
    group.throughput(Throughput::Elements(1000));
    group.bench_function("1000x1KiB", |bencher| {
        bencher.iter(|| {
            let view = BatchView::parse(black_box(&batch)).expect("it is a batch");
            let records = decompressed_records(&view, usize::MAX).expect("it is not compressed");
            RecordIter::new(&view, &records).filter(|record| record.is_ok()).count()
        });
    });
    group.finish();
}

fn codecs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    let input = values(1000, 1024).concat();
    group.throughput(Throughput::Bytes(input.len() as u64));
    for codec in &CODECS[1..] {
        group.bench_function(BenchmarkId::new("compress", codec.name()), |bencher| {
            bencher.iter(|| compress(*codec, black_box(&input), None));
        });
        let packed = compress(*codec, &input, None);
        group.bench_function(BenchmarkId::new("decompress", codec.name()), |bencher| {
            bencher.iter(|| decompress(*codec, black_box(&packed), input.len()));
        });
    }
    group.finish();
}

fn convert(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("legacy");
    let set = message_set(&values(1000, 1024));
    group.throughput(Throughput::Bytes(set.len() as u64));
    group.bench_function("convert 1000x1KiB", |bencher| {
        bencher.iter(|| legacy::convert(black_box(&set)).expect("it is valid"));
    });
    group.finish();
}

criterion_group! {
    name = record;
    config = Criterion::default().sample_size(20);
    targets = checksum, validate, build, iterate, codecs, convert
}
criterion_main!(record);
