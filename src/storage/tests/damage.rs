//! Damage to what was durable, at the end of a log: nothing is removed, and no offset is given
//! out twice. It was once taken for an unfinished write and cut off, so that the next producer got
//! the offset of a record that had been acknowledged.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use ringlog_config::TopicConfig;
use ringlog_types::{Offset, TopicPartition};

use crate::error::{ReadError, StorageError};
use crate::testing::{BatchSpec, Bench, append, bytes_of, on_shard};
use crate::{Log, LogDirs, OpenHint};

const BATCHES: usize = 4;
/// Two records in each batch.
pub(super) const END: Offset = 2 * BATCHES as Offset;

/// The files of a log directory.
pub(super) type Files = BTreeMap<PathBuf, Vec<u8>>;

pub(super) fn spec(at: usize) -> BatchSpec {
    BatchSpec { count: 2, value_bytes: 150 + 10 * at, seed: at as u8, ..Default::default() }
}

pub(super) fn log_file(bench: &Bench, base: Offset) -> PathBuf {
    bench.directory().join(format!("{base:020}.log"))
}

pub(super) fn files_of(bench: &Bench) -> Files {
    let mut files = Files::new();
    for directory in [bench.root.clone(), bench.directory()] {
        for entry in fs::read_dir(&directory).expect("there") {
            let path = entry.expect("listed").path();
            if path.is_file() {
                files.insert(path.clone(), fs::read(path).expect("readable"));
            }
        }
    }
    files
}

pub(super) fn put_back(bench: &Bench, files: &Files) {
    fs::remove_dir_all(&bench.root).expect("removed");
    fs::create_dir_all(bench.directory()).expect("made");
    for (path, bytes) in files {
        fs::write(path, bytes).expect("written");
    }
}

/// Runs a test on a log of [`BATCHES`] batches that was closed cleanly; it gets the files and
/// where the last batch starts.
fn with_closed_log<F, Fut>(test: F)
where
    F: Fn(Bench, Files, usize) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("data");
    on_shard(move |runtime| {
        let (path, test) = (path.clone(), test.clone());
        async move {
            let bench = Bench::new(runtime, &path, TopicConfig::default());
            let opened = bench.open().await;
            for at in 0..BATCHES {
                append(&opened.log, spec(at)).expect("taken");
            }
            bench.close(opened).await;
            let last = (0..BATCHES - 1).map(|at| spec(at).build().len()).sum();
            let files = files_of(&bench);
            let checkpoint = &files[&bench.root.join("recovery-point-offset-checkpoint")];
            assert_eq!(checkpoint, format!("0\n1\nt 0 {END}\n").as_bytes(), "the log's end");
            test(bench, files, last).await;
        }
    });
}

/// Whether the last start ended cleanly, besides the files: the marker goes with the crash.
fn crash(bench: &Bench, crashed: bool) {
    if crashed {
        fs::remove_file(bench.root.join(".kafka_cleanshutdown")).expect("it was there");
    }
}

/// Opens a log whose last batch is gone, and sees to it that the rest is served, that appends go
/// on behind, and that all of that stays over more starts.
async fn check_goes_on(bench: &Bench, damaged: &[u8], what: &str) {
    let opened = bench.open().await;
    assert_eq!(opened.report.cuts, [], "{what}");
    assert_eq!(opened.report.fenced.len(), 1, "{what}: {:?}", opened.report);
    let fence = opened.report.fenced[0].fence;
    assert_eq!((fence.first_offset, fence.end_offset), (END - 2, END), "{what}");
    let mut expected = END;
    let mut opened = opened;
    for start in 0..3 {
        let log = &opened.log;
        assert_eq!(log.log_end_offset(), expected, "{what}, start {start}");
        let appended = append(log, spec(9)).expect("taken");
        assert_eq!(appended.base_offset, expected, "{what}: an offset is given out twice");
        expected += 2;
        log.wait_durable(log.end_at(expected)).await.expect("written");
        for offset in [END - 2, END - 1] {
            let error = log.read(offset, 10_000, expected, true).await.expect_err("fenced");
            assert!(matches!(error, ReadError::Corrupt { .. }), "{what}: {error}");
        }
        let before = log.read(0, 1 << 20, expected, true).await.expect("readable");
        assert_eq!(before.bytes, (0..BATCHES - 1).map(|at| spec(at).build().len()).sum::<usize>());
        let after = log.read(END, 1 << 20, expected, true).await.expect("readable");
        let bytes = bytes_of(bench, &after.pieces).await;
        assert_eq!(bytes.len(), (start + 1) * spec(9).build().len(), "{what}");
        // Zeros at the end are no more than space.
        let kept = fs::read(log_file(bench, 0)).expect("there");
        assert!(damaged.starts_with(&kept), "{what}: bytes were changed");
        assert!(damaged[kept.len()..].iter().all(|byte| *byte == 0), "{what}: bytes were removed");
        if start == 1 {
            opened.log.pause_writer().await;
            drop(opened);
        } else {
            bench.close(opened).await;
        }
        opened = bench.open().await;
        assert_eq!(opened.report.cuts, [], "{what}");
    }
}

#[test]
fn a_damaged_last_batch_is_fenced_and_kept() {
    with_closed_log(|bench, files, last| async move {
        let path = log_file(&bench, 0);
        // Every byte of the header but the epoch, which is outside of the CRC, and some behind.
        let places = (0..12).chain(16..61).chain((61..400).step_by(67));
        for at in places {
            for crashed in [false, true] {
                put_back(&bench, &files);
                let mut damaged = files[&path].clone();
                damaged[last + at] ^= 0x40;
                fs::write(&path, &damaged).expect("written");
                crash(&bench, crashed);
                check_goes_on(&bench, &damaged, &format!("byte {at}, crashed: {crashed}")).await;
            }
        }
    });
}

#[test]
fn a_last_batch_that_is_gone_leaves_its_offsets_unused() {
    with_closed_log(|bench, files, last| async move {
        let path = log_file(&bench, 0);
        for crashed in [false, true] {
            for (left, zeros) in [(0, 0), (0, 5000), (30, 0), (100, 0), (100, 5000)] {
                put_back(&bench, &files);
                let mut damaged = files[&path][..last + left].to_vec();
                damaged.resize(damaged.len() + zeros, 0);
                fs::write(&path, &damaged).expect("written");
                crash(&bench, crashed);
                let what = format!("{left} bytes and {zeros} zeros, crashed: {crashed}");
                check_goes_on(&bench, &damaged, &what).await;
            }
            put_back(&bench, &files);
            fs::remove_file(&path).expect("removed");
            crash(&bench, crashed);
            let log = bench.open().await.log;
            assert_eq!((log.log_start_offset(), log.log_end_offset()), (END, END));
        }
    });
}

/// The recovery point has no checksum and may be left of another log of the name.
#[test]
fn a_recovery_point_beyond_the_log_moves_nothing() {
    with_closed_log(|bench, files, _| async move {
        for crashed in [false, true] {
            put_back(&bench, &files);
            let checkpoint = bench.root.join("recovery-point-offset-checkpoint");
            fs::write(checkpoint, "0\n1\nt 0 900000\n").expect("written");
            crash(&bench, crashed);
            let opened = bench.open().await;
            assert_eq!(opened.log.log_end_offset(), END);
            assert_eq!((opened.report.cuts, opened.report.fenced), (vec![], vec![]));
        }
    });
}

#[test]
fn a_log_that_may_not_have_a_hole_is_refused_and_left_as_it_is() {
    with_closed_log(|bench, files, last| async move {
        let path = log_file(&bench, 0);
        for clean in [false, true] {
            for at in [0, last] {
                put_back(&bench, &files);
                let mut damaged = files[&path].clone();
                damaged[at + 70] ^= 1;
                fs::write(&path, &damaged).expect("written");
                let dirs =
                    LogDirs::open(bench.runtime(), std::slice::from_ref(&bench.root), 1, None);
                let dir = dirs.await.expect("ours").dirs.get(0).expect("usable").clone();
                let before = files_of(&bench);
                let open = |from| {
                    let config = Arc::new(TopicConfig::default());
                    let hint = OpenHint {
                        clean,
                        recovery_point: END,
                        refuse_damage_from: Some(from),
                        ..OpenHint::default()
                    };
                    let name = TopicPartition::new("t", 0);
                    Log::open(&bench.shard, &dir, name, None, config, hint)
                };
                let refused = open(0).await.err().expect("there is damage");
                let StorageError::Damaged { position, path: named, .. } = &refused else {
                    panic!("{refused}");
                };
                assert_eq!((*position, named), (at as u64, &path));
                assert_eq!(files_of(&bench), before, "nothing is changed");
                // Of no consequence where it is known otherwise what the records said.
                let (log, report) = open(END).await.expect("not refused");
                assert_eq!((log.log_end_offset(), report.fenced.len()), (END, 1));
            }
        }
    });
}

/// A log of three segments, each of which starts another leader epoch, that was closed cleanly.
async fn three_segments(bench: &Bench) {
    let opened = bench.open().await;
    for epoch in 0..3 {
        for at in 0..BATCHES {
            let batch = spec(at).build();
            let summary = crate::testing::summary(&batch);
            let now_ms = spec(at).timestamp;
            let origin = crate::AppendOrigin::Client;
            opened.log.append(&batch, &summary, origin, epoch, now_ms).expect("taken");
        }
        if epoch < 2 {
            opened.log.roll_if_larger(1, 0);
        }
    }
    bench.close(opened).await;
}

pub(super) fn with_three_segments<F, Fut>(test: F)
where
    F: Fn(Bench) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("data");
    on_shard(move |runtime| {
        let (path, test) = (path.clone(), test.clone());
        async move {
            let bench = Bench::new(runtime, &path, TopicConfig::default());
            three_segments(&bench).await;
            test(bench).await;
        }
    });
}

/// Acknowledged records were missing without a word.
#[test]
fn a_segment_that_is_gone_at_a_start_is_a_fence() {
    with_three_segments(|bench| async move {
        fs::remove_file(log_file(&bench, END)).expect("removed");
        let opened = bench.open().await;
        assert_eq!(opened.report.fenced.len(), 1, "{:?}", opened.report);
        let fence = opened.report.fenced[0].fence;
        assert_eq!((fence.first_offset, fence.end_offset), (END, 2 * END));
        let log = &opened.log;
        let error = log.read(END + 1, 10_000, 3 * END, true).await.expect_err("fenced");
        assert!(matches!(error, ReadError::Corrupt { .. }), "{error}");
        assert_eq!(log.pass_damage(END + 1), Some(2 * END));
        for offset in [0, 2 * END] {
            let read = log.read(offset, 1 << 20, 3 * END, true).await.expect("readable");
            assert_eq!(read.first_batch_base, Some(offset));
        }
    });
}

/// What a truncation leaves of a segment's files, and what is appended later, is no gap.
#[test]
fn an_index_that_is_left_of_a_segment_is_no_fence() {
    with_three_segments(|bench| async move {
        for base in [1, END + 3] {
            fs::write(log_file(&bench, base).with_extension("index"), []).expect("written");
        }
        let opened = bench.open().await;
        assert_eq!(opened.report.fenced, []);
        assert_eq!(opened.log.log_end_offset(), 3 * END);
    });
}

/// Retention of the partition failed for ever.
#[test]
fn a_segment_that_is_gone_while_the_log_is_open_does_not_hold_retention() {
    with_three_segments(|bench| async move {
        let opened = bench.open().await;
        fs::remove_file(log_file(&bench, 0)).expect("removed");
        let mut config = (*opened.log.config()).clone();
        config.retention_ms = 1_000;
        opened.log.update_config(Arc::new(config));
        let now_ms = spec(0).timestamp + 1_000_000;
        let removed = opened.log.apply_retention(now_ms).await.expect("it goes on");
        assert!(removed >= 2, "{removed}");
        assert!(opened.log.log_start_offset() >= 2 * END);
    });
}

/// It took the partition offline though the log has all of it.
#[test]
fn damaged_leader_epochs_are_made_anew_from_the_log() {
    with_three_segments(|bench| async move {
        let opened = bench.open().await;
        let epochs = opened.log.epoch_entries();
        assert_eq!(epochs.len(), 3);
        bench.close(opened).await;
        let path = bench.directory().join("leader-epoch-checkpoint");
        // The last two lost epochs without a word: they can be read, and do not ascend.
        let bits = ["0\n3\n4 0\n1 8\n2 16\n", "0\n3\n0 0\n1 88\n2 16\n"];
        for damaged in ["0\n3\n0 0\n", "\u{1}", "0\n1\nx 0\n"].into_iter().chain(bits) {
            fs::write(&path, damaged).expect("written");
            let opened = bench.open().await;
            assert_eq!(opened.log.epoch_entries(), epochs, "{damaged:?}");
            bench.close(opened).await;
        }
    });
}
