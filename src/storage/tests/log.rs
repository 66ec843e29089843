//! Logs on real files: appends, reads, rolls, stops and crashes.

use ringlog_config::{Flush, TopicConfig};
use ringlog_runtime::{IoChoice, WorkOwner};
use ringlog_types::ErrorCode;

use crate::StorageError;
use crate::index::offset_index::OffsetIndex;
use crate::index::time_index::TimeIndex;
use crate::names;
use crate::testing::{BatchSpec, Bench, append, bytes_of, on_backend, on_shard, read_all};

fn small_segments() -> TopicConfig {
    TopicConfig { segment_bytes: 100_000, index_interval_bytes: 1000, ..Default::default() }
}

/// Appends batches of many sizes, and returns what they are.
async fn fill(bench: &Bench, log: &crate::Log, batches: usize) -> Vec<Vec<u8>> {
    let mut appended = Vec::new();
    for at in 0..batches {
        let spec = BatchSpec {
            count: 1 + (at % 7) as i32,
            value_bytes: [10, 500, 3000, 9000][at % 4],
            timestamp: 1_700_000_000_000 + at as i64 * 10,
            seed: at as u8,
            ..Default::default()
        };
        appended.push(spec.build());
        append(log, spec).expect("it is taken");
        if at % 5 == 0 {
            log.wait_durable(log.end()).await.expect("written");
        }
        if at % 3 == 0 {
            bench.runtime().yield_now().await;
        }
    }
    log.wait_durable(log.end()).await.expect("written");
    appended
}

/// What was read is what was appended, but for offset and epoch.
fn check_same(read: &[(crate::segment::batch_header::BatchHeader, Vec<u8>)], appended: &[Vec<u8>]) {
    assert_eq!(read.len(), appended.len());
    let mut offset = 0;
    for ((header, bytes), batch) in read.iter().zip(appended) {
        assert_eq!(header.base_offset, offset);
        assert_eq!(bytes[16..], batch[16..]);
        offset = header.next_offset();
    }
}

#[test]
fn what_is_appended_is_read_from_memory_and_from_disk() {
    append_read_stop_and_read(IoChoice::Auto);
}

#[test]
fn the_fallback_does_the_same() {
    append_read_stop_and_read(IoChoice::Fallback);
}

fn append_read_stop_and_read(io: IoChoice) {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().to_owned();
    on_backend(io, move |runtime| {
        let path = path.clone();
        async move {
            let bench = Bench::new(runtime, &path, small_segments());
            let opened = bench.open().await;
            let log = opened.log.clone();
            let appended = fill(&bench, &log, 200).await;
            assert!(log.segment_count() > 3, "{}", log.segment_count());
            check_same(&read_all(&bench, &log).await, &appended);
            while log.evict_oldest_chunk() > 0 {}
            check_same(&read_all(&bench, &log).await, &appended);
            bench.close(opened).await;
            drop(log);

            let opened = bench.open().await;
            assert!(opened.dirs.logs[0].hint.clean);
            assert_eq!(
                opened.report,
                crate::RecoveryReport {
                    scanned_bytes: opened.report.scanned_bytes,
                    work: opened.report.work,
                    ..Default::default()
                }
            );
            check_same(&read_all(&bench, &opened.log).await, &appended);
            let more = fill(&bench, &opened.log, 50).await;
            let all: Vec<_> = appended.into_iter().chain(more).collect();
            check_same(&read_all(&bench, &opened.log).await, &all);
        }
    });
}

#[test]
fn a_log_that_was_not_closed_opens_whole() {
    for flush in [Flush::Sync, Flush::Async] {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().to_owned();
        on_shard(move |runtime| {
            let path = path.clone();
            async move {
                let config = TopicConfig { flush, ..small_segments() };
                let bench = Bench::new(runtime, &path, config);
                let mut appended = Vec::new();
                for _ in 0..4 {
                    let opened = bench.open().await;
                    assert_eq!(opened.report.cuts, [], "nothing is cut");
                    assert_eq!(opened.report.fenced, [], "nothing is damaged");
                    check_same(&read_all(&bench, &opened.log).await, &appended);
                    appended.extend(fill(&bench, &opened.log, 30).await);
                    opened.log.pause_writer().await;
                }
            }
        });
    }
}

#[test]
fn indexes_are_what_a_rebuild_gives() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().to_owned();
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let bench = Bench::new(runtime, &path, small_segments());
            let opened = bench.open().await;
            fill(&bench, &opened.log, 120).await;
            bench.close(opened).await;
            let directory = bench.directory();
            let mut files: Vec<_> = std::fs::read_dir(&directory)
                .expect("listed")
                .map(|entry| entry.expect("an entry").path())
                .filter(|path| {
                    let suffix = path.extension().and_then(|suffix| suffix.to_str());
                    matches!(suffix, Some(names::INDEX | names::TIME_INDEX))
                })
                .collect();
            files.sort();
            let written: Vec<_> =
                files.iter().map(|file| std::fs::read(file).expect("read")).collect();
            assert!(written.iter().filter(|bytes| !bytes.is_empty()).count() > 4);
            for file in &files {
                std::fs::write(file, b"").expect("emptied");
            }
            let (log, report) = bench.open_after_crash(0).await;
            assert!(report.indexes_rebuilt > 2);
            log.close().await.expect("closed");
            for (file, written) in files.iter().zip(&written) {
                assert_eq!(&std::fs::read(file).expect("read"), written, "{}", file.display());
            }
            assert!(OffsetIndex::decode(0, &written[0]).len() > 4);
            assert!(TimeIndex::decode(0, &written[1]).len() > 4);
        }
    });
}

#[test]
fn reads_start_at_a_batch_and_end_within_bounds() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().to_owned();
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let bench = Bench::new(runtime, &path, TopicConfig::default());
            let opened = bench.open().await;
            let log = &opened.log;
            for seed in 0..20 {
                let spec = BatchSpec { count: 10, value_bytes: 100, seed, ..Default::default() };
                append(log, spec).expect("taken");
            }
            log.wait_durable(log.end_at(200)).await.expect("written");
            let size =
                BatchSpec { count: 10, value_bytes: 100, ..Default::default() }.build().len();
            // (offset, max bytes, up to, at least one) gives (first base, bytes).
            for (offset, max_bytes, up_to, min_one, expected) in [
                (0, size * 3, 200, false, Some((0, size * 3))),
                (15, size, 200, false, Some((10, size))),
                (199, 1 << 20, 200, false, Some((190, size))),
                (0, 10, 200, false, None),
                (0, 10, 200, true, Some((0, size))),
                (0, 0, 200, true, Some((0, size))),
                (0, 1 << 20, 50, false, Some((0, size * 5))),
                (50, 1 << 20, 50, false, None),
                (200, 1 << 20, 200, true, None),
            ] {
                let read = log.read(offset, max_bytes, up_to, min_one).await.expect("read");
                let got = read.first_batch_base.map(|base| (base, read.bytes));
                assert_eq!(got, expected, "{offset} {max_bytes} {up_to} {min_one}");
                assert_eq!(bytes_of(&bench, &read.pieces).await.len(), read.bytes);
            }
            assert!(log.read(201, 100, 300, true).await.is_err());
            assert!(log.read(-1, 100, 300, true).await.is_err());
        }
    });
}

#[test]
fn offsets_are_found_by_time() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().to_owned();
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let bench = Bench::new(runtime, &path, small_segments());
            let opened = bench.open().await;
            let log = &opened.log;
            assert_eq!(log.max_timestamp_offset(WorkOwner::NOBODY).await.expect("read"), None);
            // 100 batches of 4 records, 10 ms apart; each record is 1 ms later than the last.
            for at in 0..100 {
                let timestamp = 1_000_000 + at * 10;
                let spec =
                    BatchSpec { count: 4, value_bytes: 900, timestamp, ..Default::default() };
                append(log, spec).expect("taken");
            }
            log.wait_durable(log.end_at(400)).await.expect("written");
            assert!(log.segment_count() > 2);
            for evict in [false, true] {
                while evict && log.evict_oldest_chunk() > 0 {}
                for (timestamp, expected) in [
                    (0, Some((1_000_000, 0))),
                    (1_000_000, Some((1_000_000, 0))),
                    (1_000_002, Some((1_000_002, 2))),
                    (1_000_004, Some((1_000_010, 4))),
                    (1_000_501, Some((1_000_501, 201))),
                    (1_000_993, Some((1_000_993, 399))),
                    (1_000_994, None),
                ] {
                    let found =
                        log.offset_for_timestamp(timestamp, WorkOwner::NOBODY).await.expect("read");
                    let found = found.map(|found| (found.timestamp, found.offset));
                    assert_eq!(found, expected, "{timestamp}");
                }
                let newest =
                    log.max_timestamp_offset(WorkOwner::NOBODY).await.expect("read").expect("some");
                assert_eq!((newest.timestamp, newest.offset), (1_000_993, 399));
            }
            log.delete_records(203).await.expect("deleted");
            let found =
                log.offset_for_timestamp(0, WorkOwner::NOBODY).await.expect("read").expect("some");
            assert_eq!((found.timestamp, found.offset), (1_000_503, 203));
        }
    });
}

/// Kafka does not look at header keys; agents send what they like.
#[test]
fn a_header_key_that_is_not_text_hides_nothing() {
    use ringlog_record::{BatchBuilder, Compression, Header, compression::compress, patch};
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().to_owned();
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let bench = Bench::new(runtime, &path, TopicConfig::default());
            let log = bench.open().await.log;
            for (base_offset, codec) in [(0, Compression::None), (3, Compression::Zstd)] {
                let mut builder = BatchBuilder::new(1000);
                for timestamp in 1000..1003 {
                    let header = Header { key: "not-text", value: None };
                    builder.push(timestamp + base_offset, None, Some(b"value"), &[header]);
                }
                let (mut batch, _) = builder.build().expect("three records");
                for at in 0..batch.len() - 8 {
                    if &batch[at..at + 8] == b"not-text" {
                        batch[at..at + 8].fill(0xff);
                    }
                }
                if codec != Compression::None {
                    let records = compress(codec, &batch[61..], None);
                    batch.splice(61.., records);
                    let length = (batch.len() - 12) as i32;
                    batch[8..12].copy_from_slice(&length.to_be_bytes());
                    batch[22] |= codec.code();
                }
                patch::set_crc(&mut batch);
                let summary = crate::testing::summary(&batch);
                log.append(&batch, &summary, crate::AppendOrigin::Client, 0, 0).expect("taken");
                for delta in 0..3 {
                    let (timestamp, offset) = (1000 + base_offset + delta, base_offset + delta);
                    let found = log
                        .offset_for_timestamp(timestamp, WorkOwner::NOBODY)
                        .await
                        .expect("readable");
                    let found = found.map(|found| (found.timestamp, found.offset));
                    assert_eq!(found, Some((timestamp, offset)), "{codec:?}");
                }
                let newest = log
                    .max_timestamp_offset(WorkOwner::NOBODY)
                    .await
                    .expect("readable")
                    .expect("some");
                assert_eq!(newest.offset, base_offset + 2);
            }
        }
    });
}

#[test]
fn retention_removes_whole_segments() {
    for (retention_bytes, retention_ms, left) in
        [(-1, -1, 12), (300_000, -1, 4), (-1, 4_000, 5), (0, -1, 1), (-1, 0, 1)]
    {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().to_owned();
        on_shard(move |runtime| {
            let path = path.clone();
            async move {
                let config = TopicConfig {
                    segment_bytes: 100_000,
                    retention_bytes,
                    retention_ms,
                    file_delete_delay_ms: 0,
                    ..Default::default()
                };
                let bench = Bench::new(runtime, &path, config);
                let opened = bench.open().await;
                let log = &opened.log;
                // Nine batches of 11 kB and 100 ms a segment.
                for at in 0..104 {
                    let timestamp = 1_000_000 + at * 100;
                    let spec = BatchSpec { value_bytes: 11_000, timestamp, ..Default::default() };
                    append(log, spec).expect("taken");
                }
                log.wait_durable(log.end_at(104)).await.expect("written");
                log.wait_sealed().await.expect("sealed");
                assert_eq!(log.segment_count(), 12);
                // The newest record is from 1_010_300.
                log.apply_retention(1_010_350).await.expect("applied");
                log.wait_sealed().await.expect("sealed");
                log.apply_retention(1_010_350).await.expect("applied");
                assert_eq!(log.segment_count(), left, "{retention_bytes} {retention_ms}");
                assert_eq!(log.log_start_offset(), log.segments.borrow()[0].base_offset);
                while std::fs::read_dir(bench.directory()).expect("listed").any(|entry| {
                    let name = entry.expect("an entry").file_name();
                    name.to_string_lossy().ends_with(names::DELETED)
                }) {
                    bench.runtime().yield_now().await;
                }
                let logs = std::fs::read_dir(bench.directory()).expect("listed").filter(|entry| {
                    let name = entry.as_ref().expect("an entry").file_name();
                    name.to_string_lossy().ends_with(".log")
                });
                assert_eq!(logs.count(), left);
                bench.close(opened).await;
                let opened = bench.open().await;
                assert_eq!(opened.log.segment_count(), left);
            }
        });
    }
}

#[test]
fn truncation_takes_the_end_away() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().to_owned();
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let bench = Bench::new(runtime, &path, small_segments());
            let opened = bench.open().await;
            let log = opened.log.clone();
            let appended = fill(&bench, &log, 100).await;
            let all = read_all(&bench, &log).await;
            for keep in [90, 40, 41, 3, 0] {
                let end = all[keep].0.base_offset;
                // An offset inside a batch takes the whole batch away.
                let offset = all[keep].0.last_offset();
                if offset > log.log_end_offset() {
                    continue;
                }
                assert_eq!(log.truncate_to(offset).await.expect("cut"), end);
                assert_eq!(log.log_end_offset(), end);
                check_same(&read_all(&bench, &log).await, &appended[..keep]);
                let more = fill(&bench, &log, 3).await;
                let expected: Vec<_> = appended[..keep].iter().chain(&more).cloned().collect();
                check_same(&read_all(&bench, &log).await, &expected);
                log.truncate_to(end).await.expect("cut");
            }
            let more = fill(&bench, &log, 30).await;
            log.pause_writer().await;
            drop((log, opened));
            let (log, report) = bench.open_after_crash(0).await;
            assert_eq!((report.cuts, report.fenced), (vec![], vec![]));
            check_same(&read_all(&bench, &log).await, &more);
        }
    });
}

#[test]
fn duplicates_are_answered_also_after_a_restart() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().to_owned();
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let bench = Bench::new(runtime, &path, small_segments());
            let spec = |sequence: i32| BatchSpec {
                count: 3,
                value_bytes: 2000,
                producer_id: 5,
                producer_epoch: 1,
                base_sequence: 3 * sequence,
                ..Default::default()
            };
            let opened = bench.open().await;
            for sequence in 0..40 {
                let appended = append(&opened.log, spec(sequence)).expect("taken");
                assert!(!appended.duplicate);
            }
            opened.log.wait_durable(opened.log.end_at(120)).await.expect("written");
            let again = append(&opened.log, spec(38)).expect("answered");
            assert_eq!((again.base_offset, again.last_offset, again.duplicate), (114, 116, true));
            opened.log.pause_writer().await;
            drop(opened);
            // After a crash, from the snapshot of the last roll and the batches behind it: all that
            // a client may have had in flight, though a roll was in between.
            let (log, _) = bench.open_after_crash(0).await;
            for sequence in 35..40 {
                let again = append(&log, spec(sequence)).expect("answered");
                let first = 3 * i64::from(sequence);
                assert_eq!((again.base_offset, again.duplicate), (first, true));
            }
            assert!(append(&log, spec(34)).is_err());
            assert!(append(&log, spec(41)).is_err());
            assert!(!append(&log, spec(40)).expect("taken").duplicate);
            log.close().await.expect("closed");
            drop(log);
            let (log, _) = bench.open_after_crash(123).await;
            for sequence in 36..41 {
                let again = append(&log, spec(sequence)).expect("answered");
                assert_eq!((again.base_offset, again.duplicate), (3 * i64::from(sequence), true));
            }
        }
    });
}

#[test]
fn the_time_of_the_append_is_stamped() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().to_owned();
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let config = TopicConfig {
                message_timestamp_type: ringlog_config::TimestampType::LogAppendTime,
                ..Default::default()
            };
            let bench = Bench::new(runtime, &path, config);
            let log = bench.open().await.log;
            let batch = BatchSpec { count: 5, timestamp: 1000, ..Default::default() }.build();
            let summary = crate::testing::summary(&batch);
            let origin = crate::AppendOrigin::Client;
            let appended = log.append(&batch, &summary, origin, 7, 5000).expect("taken");
            assert_eq!(appended.log_append_time, 5000);
            log.wait_durable(log.end_at(5)).await.expect("written");
            // The CRC is right: `read_all` checks it.
            let header = read_all(&bench, &log).await[0].0;
            assert_eq!((header.max_timestamp, header.leader_epoch), (5000, 7));
            let found = log
                .offset_for_timestamp(4000, WorkOwner::NOBODY)
                .await
                .expect("read")
                .expect("some");
            assert_eq!((found.timestamp, found.offset, found.leader_epoch), (5000, 0, 7));
        }
    });
}

/// One log's failed write took only that log offline: others of the directory went on
/// acknowledging what the same disk was to keep.
#[test]
fn no_log_of_a_failed_directory_acknowledges() {
    for flush in [Flush::Sync, Flush::Async] {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().to_owned();
        on_shard(move |runtime| {
            let path = path.clone();
            async move {
                let config = TopicConfig { flush, ..Default::default() };
                let bench = Bench::new(runtime, &path, config);
                let opened = bench.open().await;
                let other = bench.create_beside(&opened, "u").await;
                let kept = append(&other, BatchSpec::default()).expect("taken").last_offset + 1;
                other.wait_durable(other.end_at(kept)).await.expect("written");
                let lost = append(&other, BatchSpec::default()).expect("taken").last_offset + 1;
                opened.log.fail(&StorageError::unusable(&path, "a write failed"));
                other.wait_committed(other.end_at(kept)).await.expect("it is on disk");
                let told = other.wait_committed(other.end_at(lost)).await;
                assert!(matches!(told, Err(StorageError::Offline { .. })), "{told:?}");
                assert_eq!(other.durable_offset(), kept);
                let told = append(&other, BatchSpec::default());
                let code = told.expect_err("the directory is offline").error_code();
                assert_eq!(code, ErrorCode::KafkaStorageError);
                let told = other.failure().expect("it failed").to_string();
                assert_eq!(told.matches("offline since").count(), 1, "{told}");
                other.close().await.expect_err("it did not close cleanly");
            }
        });
    }
}
