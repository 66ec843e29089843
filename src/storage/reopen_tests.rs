//! What a log still knows when it is opened again, besides its records.

use ringlog_config::TopicConfig;

use crate::testing::{BatchSpec, Bench, append, on_shard, summary};
use crate::{AppendOrigin, EpochEntry, Log, names};

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
            let config = TopicConfig { index_interval_bytes: 300, ..Default::default() };
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

async fn append_under(log: &Log, epoch: i32, batches: usize) {
    let batch = BatchSpec { value_bytes: 200, ..Default::default() }.build();
    for _ in 0..batches {
        let origin = AppendOrigin::Client;
        log.append(&batch, &summary(&batch), origin, epoch, 0).expect("taken");
    }
    log.wait_durable(log.log_end_offset()).await.expect("written");
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
            assert_eq!(opened.log.epoch_end_offset(0), (0, 2));
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
