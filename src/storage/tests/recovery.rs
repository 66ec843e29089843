//! Recovery: whatever a crash or a disk does to a log, what is whole is kept, and what is not is
//! named.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use ringlog_config::TopicConfig;
use ringlog_record::{BatchBuilder, ControlRecordType, end_transaction_batch};

use crate::error::ReadError;
use crate::names;
use crate::testing::{BatchSpec, Bench, append, on_shard, read_all};

const BATCHES: usize = 6;

fn spec(at: usize) -> BatchSpec {
    BatchSpec { count: 2, value_bytes: 300 + 10 * at, seed: at as u8, ..Default::default() }
}

/// A log of some batches, written and then left without being closed; the bytes of its file up
/// to the end of the batches, and where each batch starts.
async fn written(bench: &Bench) -> (Vec<u8>, Vec<usize>) {
    let opened = bench.open().await;
    for at in 0..BATCHES {
        append(&opened.log, spec(at)).expect("taken");
        opened.log.wait_durable(opened.log.end()).await.expect("written");
    }
    opened.log.pause_writer().await;
    let mut starts = vec![0];
    for at in 0..BATCHES {
        starts.push(starts[at] + spec(at).build().len());
    }
    let mut bytes = fs::read(log_file(bench)).expect("the file is there");
    assert!(bytes.len() > starts[BATCHES], "space is prepared ahead");
    assert!(bytes[starts[BATCHES]..].iter().all(|byte| *byte == 0));
    bytes.truncate(starts[BATCHES]);
    (bytes, starts)
}

fn log_file(bench: &Bench) -> PathBuf {
    bench.directory().join("00000000000000000000.log")
}

fn put(bench: &Bench, bytes: &[u8], padding: usize) {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len() + padding, 0);
    fs::write(log_file(bench), bytes).expect("written");
    // What was found of the bytes before does not count.
    let _ = fs::remove_file(bench.directory().join(names::FENCED_RANGES));
}

/// Runs a test on a log of [`BATCHES`] batches.
fn with_log<F, Fut>(test: F)
where
    F: Fn(Bench, Vec<u8>, Vec<usize>) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().to_owned();
    on_shard(move |runtime| {
        let (path, test) = (path.clone(), test.clone());
        async move {
            let bench = Bench::new(runtime, &path, TopicConfig::default());
            let (bytes, starts) = written(&bench).await;
            test(bench, bytes, starts).await;
        }
    });
}

#[test]
fn a_last_batch_cut_anywhere_is_cut_off() {
    with_log(|bench, bytes, starts| async move {
        let last = starts[BATCHES - 1];
        for length in last..=bytes.len() {
            for padding in [0, 5000] {
                if padding == 0 && length == last {
                    continue;
                }
                put(&bench, &bytes[..length], padding);
                let (log, report) = bench.open_after_crash(0).await;
                // Zeros that are missing at the end may be read from the padding.
                let zeros = bytes[length..].iter().all(|byte| *byte == 0);
                let whole = length == bytes.len() || (padding > 0 && zeros);
                let end = if whole { 2 * BATCHES } else { 2 * (BATCHES - 1) } as i64;
                assert_eq!(log.log_end_offset(), end, "length {length}");
                assert_eq!(report.fenced, []);
                match report.cuts.as_slice() {
                    [] => assert!(whole || bytes[last..length].iter().all(|byte| *byte == 0)),
                    [cut] => {
                        assert_eq!((cut.position, cut.offset), (last as u64, end));
                        let zeros = bytes[last..length].iter().rev().take_while(|b| **b == 0);
                        assert_eq!(cut.bytes as usize, length - last - zeros.count(), "{length}");
                    }
                    more => panic!("{more:?}"),
                }
                let file = fs::metadata(log_file(&bench)).expect("there").len();
                assert_eq!(file, if whole { bytes.len() } else { last } as u64);
            }
        }
    });
}

#[test]
fn damage_in_the_middle_is_fenced_and_the_rest_readable() {
    with_log(|bench, bytes, starts| async move {
        for at in starts[2]..starts[3] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            // The epoch is outside of the CRC; any value is an epoch.
            if (12..16).contains(&(at - starts[2])) {
                continue;
            }
            put(&bench, &damaged, 3000);
            let (log, report) = bench.open_after_crash(0).await;
            if (8..12).contains(&(at - starts[2])) {
                // The length leads nowhere, and nothing says that more was durable.
                assert_eq!((report.cuts.len(), report.fenced.len()), (1, 0), "byte {at}");
                assert_eq!(log.log_end_offset(), 4);
                continue;
            }
            assert_eq!(report.cuts, [], "byte {at}");
            assert_eq!(report.fenced.len(), 1, "byte {at}: {report:?}");
            let fence = report.fenced[0].fence;
            assert_eq!((fence.position, fence.end_position), (starts[2] as u64, starts[3] as u64));
            assert_eq!((fence.first_offset, fence.end_offset), (4, 6));
            assert_eq!(log.log_end_offset(), 2 * BATCHES as i64);
            for offset in [4, 5] {
                let error = log.read(offset, 10_000, 12, true).await.expect_err("fenced");
                assert!(matches!(error, ReadError::Corrupt { .. }), "{error}");
            }
            let before = log.read(0, 1 << 20, 12, true).await.expect("readable");
            assert_eq!(before.bytes, starts[2]);
            let after = log.read(6, 1 << 20, 12, true).await.expect("readable");
            assert_eq!(after.bytes, bytes.len() - starts[3]);
            if at == starts[2] {
                // The damage is remembered over a clean stop, where nothing is walked.
                log.close().await.expect("closed");
                drop(log);
                let (log, report) = bench.open_after_crash(12).await;
                assert!(report.scanned_bytes < bytes.len() as u64);
                assert!(log.read(4, 10_000, 12, true).await.is_err());
                assert_eq!(log.read(6, 1 << 20, 12, true).await.expect("read").bytes, after.bytes);
            }
        }
    });
}

#[test]
fn a_torn_last_write_is_cut_off_whole() {
    // Three small batches in one write; the disk got the first and the last sectors only.
    with_log(|bench, bytes, starts| async move {
        let from = starts[2].next_multiple_of(512);
        let to = (from + 512).min(bytes.len());
        let mut torn = bytes.clone();
        torn[from..to].fill(0);
        put(&bench, &torn, 3000);
        let (log, report) = bench.open_after_crash(0).await;
        assert_eq!(report.fenced, []);
        assert_eq!(report.cuts.len(), 1);
        let kept = starts.iter().rposition(|start| *start <= from).expect("the first is kept");
        assert_eq!(log.log_end_offset(), 2 * kept as i64);
        assert_eq!(read_all(&bench, &log).await.len(), kept);
        drop(log);
        // A hole in one batch below the recovery point was acknowledged: it is damage.
        let mut torn = bytes.clone();
        torn[starts[2] + 61..starts[3]].fill(0);
        put(&bench, &torn, 3000);
        let (log, report) = bench.open_after_crash(2 * BATCHES as i64).await;
        assert_eq!(report.cuts, []);
        assert_eq!(report.fenced.len(), 1);
        assert_eq!(log.log_end_offset(), 2 * BATCHES as i64);
    });
}

/// A batch that is larger than a write is torn in its last part; it was fenced, and consumers
/// were told of damage for ever.
#[test]
fn a_torn_write_that_ends_a_large_batch_is_cut_off() {
    with_log(|bench, _, _| async move {
        let mut bytes = BatchSpec { value_bytes: 8 << 20, ..Default::default() }.build();
        let large = bytes.len();
        let mut last = spec(1).build();
        last[..8].copy_from_slice(&1i64.to_be_bytes());
        bytes.extend(last);
        // Without its head nothing leads from the first batch to the next.
        for (missing, torn) in [(7 << 20, true), (4 << 20, true), (2 << 20, false), (0, true)] {
            let mut damaged = bytes.clone();
            damaged[missing..missing + 512].fill(0);
            put(&bench, &damaged, 3000);
            let (log, report) = bench.open_after_crash(0).await;
            let found = (report.cuts.len(), report.fenced.len(), log.log_end_offset());
            assert_eq!(found, if torn { (1, 0, 0) } else { (0, 1, 3) }, "{missing} of {large}");
        }
    });
}

#[test]
fn appends_go_on_after_a_cut() {
    with_log(|bench, bytes, starts| async move {
        put(&bench, &bytes[..starts[4] + 100], 10_000);
        let (log, _) = bench.open_after_crash(0).await;
        for at in 4..40 {
            append(&log, spec(at)).expect("taken");
        }
        log.wait_durable(log.end_at(80)).await.expect("written");
        log.pause_writer().await;
        let file = fs::File::open(log_file(&bench)).expect("there");
        let mut expected: Vec<u8> = Vec::new();
        for at in 0..40 {
            let mut batch = spec(at).build();
            batch[..8].copy_from_slice(&(2 * at as i64).to_be_bytes());
            batch[12..16].copy_from_slice(&0i32.to_be_bytes());
            expected.extend(batch);
        }
        let mut found = vec![0; expected.len()];
        file.read_exact_at(&mut found, 0).expect("as long");
        assert!(found == expected, "the file is what a single run would have written");
        let (log, report) = bench.open_after_crash(0).await;
        assert_eq!(report.cuts, []);
        assert_eq!(log.log_end_offset(), 80);
    });
}

#[test]
fn an_old_format_is_named_not_cut() {
    with_log(|bench, _, _| async move {
        // Offset, size, CRC, magic 1, attributes, timestamp, null key, a value of two bytes.
        let mut bytes = vec![0; 8];
        bytes.extend([0, 0, 0, 24, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0]);
        bytes.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2, b'h', b'i']);
        let crc = ringlog_record::crc32(&bytes[16..]);
        bytes[12..16].copy_from_slice(&crc.to_be_bytes());
        put(&bench, &bytes, 0);
        let root = std::slice::from_ref(&bench.root);
        let dirs = crate::LogDirs::open(bench.runtime(), root, 1, None).await;
        let dir = dirs.expect("ours").dirs.get(0).expect("usable").clone();
        let config = std::sync::Arc::new(TopicConfig::default());
        let partition = ringlog_types::TopicPartition::new("t", 0);
        let hint = crate::OpenHint::default();
        let opened = crate::Log::open(&bench.shard, &dir, partition, None, config, hint).await;
        let error = opened.err().expect("refused").to_string();
        assert!(error.contains("older than v2"), "{error}");
        assert_eq!(fs::read(log_file(&bench)).expect("there"), bytes);
    });
}

/// A batch at `base_offset` with one record of `value`.
fn batch_at(base_offset: i64, value: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(1_700_000_000_000);
    builder.push(1_700_000_000_000, None, Some(value), &[]);
    let (batch, _) = builder.build().expect("it has a record");
    stamped(batch, base_offset)
}

fn stamped(mut batch: Vec<u8>, base_offset: i64) -> Vec<u8> {
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].fill(0);
    batch
}

/// Batches, as a mirror, a dump of a log or an attacker sends them, at the offset that would
/// follow `end`, far away, and as a marker of a transaction.
fn payload_of_batches(end: i64) -> Vec<u8> {
    let marker = end_transaction_batch(ControlRecordType::Commit, 4_000, 1, 7, 1000).0;
    let mut payload = vec![7; 900];
    for offset in [end, end + 1, end + 2, 1000, i64::from(i32::MAX) - 1] {
        payload.extend(batch_at(offset, b"phantom"));
        payload.extend(stamped(marker.clone(), offset + 1));
    }
    // Heads without a body, one in the other.
    payload.extend(batch_at(end, b"phantom")[..32].repeat(40));
    payload.extend(batch_at(end + 1, &[9; 700]));
    payload
}

/// With uncompressed batches in the payload of a torn one, recovery took one of those for the
/// log's: a record that nobody had sent, at an offset of its choice.
#[test]
fn a_batch_in_the_payload_of_a_torn_one_is_not_of_the_log() {
    with_log(|bench, bytes, starts| async move {
        let end = 2 * BATCHES as i64;
        let holder = batch_at(end, &payload_of_batches(end));
        let next = batch_at(end + 1, b"next");
        let whole = [bytes.as_slice(), &holder, &next].concat();
        let last = starts[BATCHES];
        let kept = bytes.len();
        // Cut off anywhere, and with any sector missing.
        let mut images: Vec<Vec<u8>> = (kept + 62..kept + holder.len())
            .step_by(37)
            .map(|length| whole[..length].to_vec())
            .collect();
        for sector in (kept / 512 + 1)..(kept + holder.len()) / 512 {
            let mut image = whole.clone();
            image[sector * 512..(sector + 1) * 512].fill(0);
            images.push(image);
        }
        let mut without_head = whole.clone();
        without_head[kept..kept.next_multiple_of(512)].fill(0);
        images.push(without_head);
        for image in images {
            put(&bench, &image, 3000);
            let (log, report) = bench.open_after_crash(0).await;
            assert_eq!((log.log_end_offset(), report.fenced.as_slice()), (end, &[][..]));
            assert_eq!(report.cuts.first().map(|cut| cut.position), Some(last as u64));
            assert_eq!(log.last_stable_offset(), end);
            assert_eq!(read_all(&bench, &log).await.len(), BATCHES);
        }
    });
}

/// The same where the damage is one to durable records: what is fenced ends where the next batch
/// of the log begins, not at one in the payload.
#[test]
fn a_fence_ends_at_a_batch_of_the_log() {
    with_log(|bench, bytes, _| async move {
        let end = 2 * BATCHES as i64;
        let holder = batch_at(end, &payload_of_batches(end));
        let next = batch_at(end + 1, b"next");
        let whole = [bytes.as_slice(), &holder, &next].concat();
        fs::write(bench.directory().join(format!("{:020}.snapshot", end + 2)), snapshot())
            .expect("written");
        let head = 8..12;
        for at in head.chain([16, 23, 70]).chain((100..holder.len()).step_by(211)) {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[bytes.len() + at] ^= 1 << bit;
                put(&bench, &damaged, 3000);
                // With an index, what lies before its last entry is not walked over.
                fs::write(log_file(&bench).with_extension("index"), []).expect("emptied");
                let (log, report) = bench.open_after_crash(end + 2).await;
                assert_eq!(report.cuts, [], "byte {at}, bit {bit}");
                assert_eq!(report.fenced.len(), 1, "byte {at}, bit {bit}");
                let fence = report.fenced[0].fence;
                let place = (fence.position, fence.end_position);
                let length = bytes.len() as u64;
                assert_eq!(place, (length, length + holder.len() as u64), "byte {at}, bit {bit}");
                assert_eq!((fence.first_offset, fence.end_offset), (end, end + 1));
                assert_eq!(log.log_end_offset(), end + 2);
            }
        }
    });
}

fn snapshot() -> Vec<u8> {
    crate::producers::snapshot::encode(&Default::default())
}

/// A torn MiB of heads that each claim the rest of the file was summed once for each of them: a
/// start took a minute.
#[test]
fn recovery_reads_and_sums_each_byte_a_few_times_at_most() {
    with_log(|bench, bytes, _| async move {
        let end = 2 * BATCHES as i64;
        let mut head = batch_at(end, &[]);
        head[8..12].copy_from_slice(&(1i32 << 19).to_be_bytes());
        for (is_torn, recovery_point) in [(true, 0), (false, 0), (false, end + 1)] {
            let holder = batch_at(end, &head[..32].repeat((1 << 20) / 32));
            let mut image = [bytes.as_slice(), &holder].concat();
            match is_torn {
                true => image.truncate(image.len() - 5000),
                false => *image.last_mut().expect("bytes") ^= 1,
            }
            put(&bench, &image, 1 << 20);
            let length = (image.len() + (1 << 20)) as u64;
            let (log, report) = bench.open_after_crash(recovery_point).await;
            assert_eq!(log.log_end_offset(), end);
            let work = report.work;
            assert!(work.read_bytes <= 8 * length, "{work:?} for {length}");
            assert!(work.summed_bytes <= 5 * length, "{work:?} for {length}");
        }
    });
}
