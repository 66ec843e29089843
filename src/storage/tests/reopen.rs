//! What a log still knows when it is opened again, besides its records.

use std::path::Path;

use ringlog_config::TopicConfig;
use ringlog_runtime::WorkOwner;

use crate::testing::{BatchSpec, Bench, append, on_shard, summary};
use crate::{AppendOrigin, EpochEndOffset, EpochEntry, Log, names};

/// Runs a test on an empty data directory with an index entry for nearly every batch.
fn on_bench<F, Fut>(test: F)
where
    F: Fn(Bench) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().to_owned();
    on_shard(move |runtime| {
        let (path, test) = (path.clone(), test.clone());
        async move {
            let config = TopicConfig {
                index_interval_bytes: 300,
                max_message_bytes: 1000,
                ..Default::default()
            };
            test(Bench::new(runtime, &path, config)).await;
        }
    });
}

/// Snapshots are any number of producers long; this one took its partition offline.
#[test]
fn a_snapshot_that_is_too_large_is_made_up_for_by_the_log() {
    on_bench(|bench| async move {
        let opened = bench.open().await;
        let spec =
            BatchSpec { producer_id: 5, producer_epoch: 0, base_sequence: 0, ..Default::default() };
        append(&opened.log, spec).expect("taken");
        bench.close(opened).await;
        let path = bench.directory().join(names::segment_file(1, names::SNAPSHOT));
        let file = std::fs::OpenOptions::new().write(true).open(path).expect("there");
        file.set_len(300 << 20).expect("sparse");
        let opened = bench.open().await;
        assert_eq!(opened.log.producer_count(), 1);
        assert!(append(&opened.log, spec).expect("known").duplicate);
        bench.close(opened).await;
    });
}

/// Records may be as old as they like: producers age by when they wrote. One that sent a batch of
/// long ago again was not known any more, and the batch was stored twice.
#[test]
fn a_producer_of_old_records_is_known_for_as_long_as_any() {
    on_bench(|bench| async move {
        let config = TopicConfig { retention_ms: -1, ..Default::default() };
        *bench.config.lock().expect("one thread") = config;
        let spec =
            BatchSpec { producer_id: 5, producer_epoch: 0, base_sequence: 0, ..Default::default() };
        let batch = spec.build();
        let again = |log: &Log, now_ms| {
            let origin = AppendOrigin::Client;
            log.append(&batch, &summary(&batch), origin, 0, now_ms).expect("taken").duplicate
        };
        let expiration_ms = bench.shard.producer_id_expiration_ms();
        let start_ms = bench.runtime().wall_clock_ms();
        let opened = bench.open().await;
        assert!(!again(&opened.log, start_ms));
        let later_ms = start_ms + expiration_ms - 1;
        opened.log.apply_retention(later_ms).await.expect("nothing goes");
        assert!(again(&opened.log, later_ms));
        bench.close(opened).await;
        // From the snapshot of the clean stop, which tells the timestamps of the records only.
        let opened = bench.open().await;
        opened.log.apply_retention(later_ms).await.expect("nothing goes");
        assert!(again(&opened.log, later_ms));
        opened.log.pause_writer().await;
        drop(opened);
        // From the log.
        let snapshot = bench.directory().join(names::segment_file(1, names::SNAPSHOT));
        std::fs::remove_file(snapshot).expect("it was there");
        let (log, _) = bench.open_after_crash(0).await;
        log.apply_retention(later_ms).await.expect("nothing goes");
        assert!(again(&log, later_ms));
        let expired_ms = bench.runtime().wall_clock_ms() + expiration_ms;
        log.apply_retention(expired_ms).await.expect("nothing goes");
        assert!(!again(&log, expired_ms));
    });
}

async fn append_under(log: &Log, epoch: i32, batches: usize) {
    let batch = BatchSpec { value_bytes: 200, ..Default::default() }.build();
    for _ in 0..batches {
        let origin = AppendOrigin::Client;
        log.append(&batch, &summary(&batch), origin, epoch, 0).expect("taken");
    }
    log.wait_durable(log.end()).await.expect("written");
}

/// Opening walks the newest segment from its last index entry, which is in the middle of an epoch.
/// That made the epoch start there, and so did the next checkpoint file.
#[test]
fn epochs_start_where_they_did() {
    on_bench(|bench| async move {
        let entries = [(0, 0), (1, 2), (2, 11)]
            .map(|(epoch, start_offset)| EpochEntry { epoch, start_offset });
        let opened = bench.open().await;
        for (epoch, batches) in [(0, 2), (1, 9), (2, 1)] {
            append_under(&opened.log, epoch, batches).await;
        }
        assert_eq!(opened.log.epoch_entries(), entries);
        bench.close(opened).await;
        let file = bench.directory().join(names::LEADER_EPOCH_CHECKPOINT);
        let written = std::fs::read(&file).expect("there");
        for _ in 0..2 {
            let opened = bench.open().await;
            assert_eq!(opened.log.epoch_entries(), entries);
            assert_eq!(
                opened.log.epoch_end_offset(0),
                Some(EpochEndOffset { epoch: 0, end_offset: 2 })
            );
            bench.close(opened).await;
            assert_eq!(std::fs::read(&file).expect("there"), written);
        }
        // Without the file, and without an index, the batches say the same.
        std::fs::remove_file(&file).expect("removed");
        let index = bench.directory().join(names::segment_file(0, names::INDEX));
        std::fs::remove_file(index).expect("removed");
        let (log, _) = bench.open_after_crash(0).await;
        assert_eq!(log.epoch_entries(), entries);
    });
}

/// A sealed segment without its indexes was walked at each look-up.
#[test]
fn indexes_that_are_missing_or_end_early_are_made_anew() {
    on_bench(|bench| async move {
        let opened = bench.open().await;
        let time = |at: i64| 1_700_000_000_000 + 10 * at;
        for at in 0..40 {
            let spec = BatchSpec { timestamp: time(at), ..Default::default() };
            append(&opened.log, spec).expect("taken");
        }
        opened.log.wait_durable(opened.log.end_at(40)).await.expect("written");
        opened.log.roll_if_larger(1, time(40));
        append(&opened.log, BatchSpec { timestamp: time(40), ..Default::default() })
            .expect("taken");
        bench.close(opened).await;
        let indexes = [names::INDEX, names::TIME_INDEX]
            .map(|suffix| bench.directory().join(names::segment_file(0, suffix)));
        let whole = indexes.clone().map(|file| std::fs::read(file).expect("there"));
        assert!(whole.iter().all(|bytes| bytes.len() > 100), "{whole:?}");
        let damages: [fn(&Path, &[u8]); 4] = [
            |file, _| std::fs::remove_file(file).expect("removed"),
            |file, _| std::fs::write(file, []).expect("written"),
            |file, bytes| {
                std::fs::write(file, [&bytes[..50], &[0xff; 30]].concat()).expect("written")
            },
            |file, bytes| std::fs::write(file, [bytes, &[0x7f; 12]].concat()).expect("written"),
        ];
        for (nth, damage) in damages.into_iter().enumerate() {
            for (file, bytes) in indexes.iter().zip(&whole) {
                damage(file, bytes);
                let opened = bench.open().await;
                let found = opened
                    .log
                    .offset_for_timestamp(time(30), WorkOwner::NOBODY)
                    .await
                    .expect("readable");
                assert_eq!(found.map(|found| found.offset), Some(30));
                let made = indexes.clone().map(|file| std::fs::read(file).expect("there"));
                assert_eq!(made, whole, "damage {nth} of {}", file.display());
                bench.close(opened).await;
            }
        }
    });
}
