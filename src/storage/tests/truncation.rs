//! Cutting off the end of a log: who waits for what is gone, and what a crash leaves.

use std::fs;

use ringlog_config::TopicConfig;
use ringlog_runtime::WorkOwner;
use ringlog_types::Offset;

use crate::index::time_index::{ENTRY_BYTES, TimeIndex};
use crate::testing::{BatchSpec, Bench, append, on_shard, read_all};
use crate::{Log, StorageError, names};

const BATCHES: Offset = 60;

/// A log of segments with some ten batches of one record.
fn with_log<F, Fut>(test: F)
where
    F: Fn(Bench) -> Fut + Send + Sync + Copy + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().to_owned();
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let config = TopicConfig { segment_bytes: 10_000, ..Default::default() };
            test(Bench::new(runtime, &path, config)).await;
        }
    });
}

async fn fill(log: &Log, batches: Offset) {
    for seed in 0..batches as u8 {
        append(log, BatchSpec { value_bytes: 900, seed, ..Default::default() }).expect("taken");
    }
    log.wait_durable(log.end()).await.expect("written");
    log.wait_sealed().await.expect("sealed");
}

/// Once they were answered when others had got their offsets.
#[test]
fn who_waits_for_what_is_cut_off_is_told() {
    with_log(|bench| async move {
        let opened = bench.open().await;
        let log = &opened.log;
        fill(log, 10).await;
        let kept = append(log, BatchSpec::default()).expect("taken");
        let gone = append(log, BatchSpec::default()).expect("taken");
        let end = log.end();
        assert_eq!(log.truncate_to(11).await.expect("cut"), 11);
        fill(log, 20).await;
        assert_eq!(log.log_end_offset(), 31);
        let told = log.wait_committed(end).await;
        assert!(matches!(told, Err(StorageError::Truncated { offset: 12 })), "{told:?}");
        let told = log.wait_committed(gone.end).await;
        assert!(matches!(told, Err(StorageError::Truncated { .. })), "{told:?}");
        log.wait_committed(kept.end).await.expect("it is there");

        log.truncate_fully_and_start_at(500).await.expect("made anew");
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (500, 500));
        assert_eq!((log.high_watermark(), log.recovery_point()), (500, 500));
        log.wait_committed(kept.end).await.expect_err("it is gone, too");
        fill(log, 15).await;
        assert_eq!(read_all(&bench, log).await.len(), 15);
        bench.close(opened).await;
        let opened = bench.open().await;
        assert_eq!((opened.log.log_start_offset(), opened.log.log_end_offset()), (500, 515));
        assert_eq!(opened.report.fenced, []);
    });
}

/// The checkpoint on disk says that more was durable than the log has now.
#[test]
fn a_write_that_a_crash_cuts_off_behind_a_truncation_is_no_damage() {
    with_log(|bench| async move {
        let opened = bench.open().await;
        fill(&opened.log, BATCHES).await;
        let checkpoint = opened.log.checkpoint();
        let recovery_point = checkpoint.recovery_point;
        let dirs = &opened.dirs.dirs;
        dirs.write_checkpoints(bench.runtime(), &[checkpoint]).await.expect("written");
        let cut = recovery_point - 15;
        opened.log.truncate_to(cut).await.expect("cut");
        fill(&opened.log, 1).await;
        opened.log.pause_writer().await;
        drop(opened);
        let (newest, _) = newest_log(&bench);
        let bytes = fs::read(&newest).expect("there");
        let data_end = bytes.iter().rposition(|byte| *byte != 0).expect("not empty");
        fs::write(&newest, &bytes[..data_end - 50]).expect("cut");

        let opened = bench.open().await;
        assert_eq!(opened.report.fenced, []);
        assert_eq!(opened.report.cuts.len(), 1);
        assert_eq!(opened.log.log_end_offset(), cut);
        assert!(opened.log.recovery_point() <= cut);
        // The next checkpoint says so, and the log's own file is not needed any more.
        let checkpoint = opened.log.checkpoint();
        let dirs = &opened.dirs.dirs;
        dirs.write_checkpoints(bench.runtime(), &[checkpoint]).await.expect("written");
        let left = names_in(&bench).into_iter().filter(|name| name.starts_with("ringlog-"));
        assert_eq!(left.collect::<Vec<_>>(), Vec::<String>::new());
    });
}

/// A crash in a truncation left a checkpoint that was of the new log, and files of the old one.
/// Everything in those is deleted then; what was appended afterwards was, too, after one crash
/// more.
#[test]
fn a_start_beyond_the_end_does_not_hide_what_comes_later() {
    with_log(|bench| async move {
        let opened = bench.open().await;
        fill(&opened.log, 10).await;
        bench.close(opened).await;
        for name in ["log-start-offset-checkpoint", "recovery-point-offset-checkpoint"] {
            fs::write(bench.root.join(name), "0\n1\nt 0 500\n").expect("written");
        }
        fs::remove_file(bench.root.join(".kafka_cleanshutdown")).expect("removed");
        let opened = bench.open().await;
        assert_eq!((opened.log.log_start_offset(), opened.log.log_end_offset()), (10, 10));
        fill(&opened.log, 5).await;
        opened.log.pause_writer().await;
        drop(opened);
        let opened = bench.open().await;
        assert_eq!((opened.log.log_start_offset(), opened.log.log_end_offset()), (10, 15));
        assert_eq!(read_all(&bench, &opened.log).await.len(), 5);
    });
}

/// Without a truncation, the same files are damage: what was durable is missing.
#[test]
fn an_end_that_is_gone_is_damage_unless_it_was_cut_off() {
    with_log(|bench| async move {
        let opened = bench.open().await;
        fill(&opened.log, BATCHES).await;
        let checkpoint = opened.log.checkpoint();
        let recovery_point = checkpoint.recovery_point;
        let dirs = &opened.dirs.dirs;
        dirs.write_checkpoints(bench.runtime(), &[checkpoint]).await.expect("written");
        opened.log.pause_writer().await;
        drop(opened);
        fs::remove_file(newest_log(&bench).0).expect("removed");
        let (newest, length) = newest_log(&bench);
        let batch = BatchSpec { value_bytes: 900, ..Default::default() }.build().len() as u64;
        let file = fs::File::options().write(true).open(newest).expect("there");
        file.set_len(length - 3 * batch).expect("cut");

        let opened = bench.open().await;
        assert_eq!(opened.report.fenced.len(), 1, "{:?}", opened.report);
        let fence = opened.report.fenced[0].fence;
        assert_eq!((fence.first_offset, fence.end_offset), (recovery_point - 3, recovery_point));
        assert_eq!(opened.log.log_end_offset(), recovery_point);
    });
}

/// Changes the base offset, which no checksum covers, of the batch at `offset`; batches are of two
/// records.
fn damage(log: &Log, offset: Offset) {
    let segment = log.segment_for(offset).expect("it is in the log");
    let path = segment.path(names::LOG);
    let mut bytes = fs::read(&path).expect("there");
    let at = (offset - segment.base_offset) as usize / 2 * pair(0).build().len();
    bytes[at + 7] ^= 0x40;
    fs::write(&path, bytes).expect("written");
}

fn pair(seed: u8) -> BatchSpec {
    BatchSpec { count: 2, value_bytes: 450, seed, ..Default::default() }
}

/// Once it was refused, for ever: a follower that had to go back there was stuck.
#[test]
fn a_log_is_cut_at_damage_and_within() {
    with_log(|bench| async move {
        let opened = bench.open().await;
        for seed in 0..30 {
            append(&opened.log, pair(seed)).expect("taken");
        }
        opened.log.wait_durable(opened.log.end()).await.expect("written");
        for offset in [22, 26] {
            damage(&opened.log, offset);
        }
        bench.close(opened).await;
        let opened = bench.open().await;
        let log = &opened.log;
        log.read(22, 1, 60, true).await.expect_err("it is damaged");
        for (cut, end) in [(31, 30), (28, 28), (27, 26), (23, 22)] {
            assert_eq!(log.truncate_to(cut).await.expect("cut"), end, "{cut}");
        }
        fill(log, 5).await;
        assert_eq!(read_all(&bench, log).await.len(), 11 + 5);
        bench.close(opened).await;
        let opened = bench.open().await;
        assert_eq!(opened.report.fenced, []);
        assert_eq!(read_all(&bench, &opened.log).await.len(), 11 + 5);
    });
}

/// The fence of offsets without bytes stayed, and hid what was appended there.
#[test]
fn a_log_is_cut_within_offsets_of_which_nothing_is_left() {
    with_log(|bench| async move {
        let opened = bench.open().await;
        fill(&opened.log, BATCHES).await;
        bench.close(opened).await;
        let (newest, length) = newest_log(&bench);
        let batch = BatchSpec { value_bytes: 900, ..Default::default() }.build().len() as u64;
        fs::File::options()
            .write(true)
            .open(newest)
            .expect("there")
            .set_len(length - 3 * batch)
            .expect("cut");

        let opened = bench.open().await;
        let log = &opened.log;
        let fence = opened.report.fenced[0].fence;
        assert_eq!((fence.first_offset, fence.end_offset), (BATCHES - 3, BATCHES));
        assert_eq!(log.truncate_to(BATCHES - 1).await.expect("cut"), BATCHES - 3);
        fill(log, 5).await;
        assert_eq!(read_all(&bench, log).await.len() as i64, BATCHES + 2);
        bench.close(opened).await;
        let opened = bench.open().await;
        assert_eq!(opened.report.fenced, []);
        assert_eq!(read_all(&bench, &opened.log).await.len() as i64, BATCHES + 2);
    });
}

/// The segment that was closed kept a snapshot of producers whose batches were cut off.
#[test]
fn no_segment_is_rolled_during_a_truncation() {
    with_log(|bench| async move {
        bench.config.lock().expect("one thread").retention_ms = 1_000;
        let opened = bench.open().await;
        let log = &opened.log;
        fill(log, 5).await;
        log.cut_begins();
        log.roll_if_larger(1, i64::MAX / 2);
        log.roll_if_old(i64::MAX / 2);
        log.apply_retention(i64::MAX / 2).await.expect("nothing to do");
        assert_eq!(log.segment_count(), 1);
        log.cut_ends();
        log.roll_if_larger(1, i64::MAX / 2);
        assert_eq!(log.segment_count(), 2);
    });
}

/// The recovery point was where the next segment begins, though the one before was closed for its
/// age and not sealed any more. It was believed to be, and its last records were hidden from who
/// looked by time.
#[test]
fn a_segment_that_ends_at_the_recovery_point_may_not_be_sealed() {
    with_log(|bench| async move {
        let opened = bench.open().await;
        let log = &opened.log;
        let time = |offset: Offset| 1_700_000_000_000 + offset;
        for offset in 0..9 {
            let timestamp = time(offset);
            append(log, BatchSpec { value_bytes: 900, timestamp, ..Default::default() })
                .expect("taken");
        }
        log.roll_if_larger(1, time(9));
        log.wait_sealed().await.expect("sealed");
        assert_eq!(log.truncate_to(8).await.expect("cut"), 8);
        log.pause_writer().await;
        log.roll_if_larger(1, time(8));
        assert_eq!((log.segment_count(), log.recovery_point()), (2, 8));
        drop(opened);
        // The files of the next one are begun before this one is sealed.
        for suffix in [names::LOG, names::INDEX, names::TIME_INDEX] {
            let path = bench.directory().join(names::segment_file(8, suffix));
            fs::write(path, []).expect("written");
        }
        let path = bench.directory().join(names::segment_file(0, names::TIME_INDEX));
        assert_eq!(fs::read(&path).expect("there").len(), ENTRY_BYTES, "that of an open one");

        let (log, report) = bench.open_after_crash(8).await;
        assert_eq!((report.fenced, log.segment_count()), (vec![], 2));
        let file = fs::read(&path).expect("there");
        assert_eq!(TimeIndex::decode(0, &file).last(), Some((time(7), 7)));
        for offset in 0..8 {
            let found = log.offset_for_timestamp(time(offset), WorkOwner::NOBODY).await;
            let found = found.expect("readable").map(|found| found.offset);
            assert_eq!(found, Some(offset));
        }
    });
}

fn names_in(bench: &Bench) -> Vec<String> {
    let entries = fs::read_dir(bench.directory()).expect("there");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect()
}

/// The newest `.log` and its length.
fn newest_log(bench: &Bench) -> (std::path::PathBuf, u64) {
    let logs = names_in(bench).into_iter();
    let logs = logs.filter(|name| matches!(names::parse_segment_file(name), Some((_, names::LOG))));
    let path = bench.directory().join(logs.max().expect("there is one"));
    let length = fs::metadata(&path).expect("there").len();
    (path, length)
}
