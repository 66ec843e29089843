//! Compaction of a log with transactions, as Kafka wrote it: what was aborted goes and never comes
//! back, and markers stay as long as they matter.

use std::fs;
use std::sync::{Arc, Mutex};

use ringlog_config::{CleanupPolicy, TopicConfig};
use ringlog_record::{BatchBuilder, BatchView, ControlRecordType, end_transaction_batch};
use ringlog_types::Offset;

use crate::index::transaction_index::{self, AbortedTransaction};
use crate::names;
use crate::testing::{Bench, on_shard, read_all};
use crate::tests::compaction::{Model, compact, options, records_of};
use crate::{AppendOrigin, CompactionError, Log};

const NOW: i64 = 1_700_000_000_000;
const DELETE_RETENTION_MS: i64 = 1_000;

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
            let config = TopicConfig {
                cleanup_policy: CleanupPolicy { delete: false, compact: true },
                segment_bytes: 2_000,
                min_cleanable_dirty_ratio: 0.0,
                delete_retention_ms: DELETE_RETENTION_MS,
                ..TopicConfig::default()
            };
            test(Bench::new(runtime, &path, config)).await;
        }
    });
}

/// Appends one record. Of producer 0, which is none, or in the transaction of another.
fn put(log: &Log, producer_id: i64, sequence: i32, key: &str, value: &str) -> Offset {
    let mut builder = BatchBuilder::new(NOW);
    if producer_id > 0 {
        builder = builder.producer(producer_id, 0, sequence).transactional();
    }
    builder.push(NOW, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
    let (batch, summary) = builder.build().expect("a record");
    let appended = log.append(&batch, &summary, AppendOrigin::Client, 0, NOW);
    appended.expect("taken").base_offset
}

fn end(log: &Log, producer_id: i64, kind: ControlRecordType) -> Offset {
    let (batch, summary) = end_transaction_batch(kind, producer_id, 0, 3, NOW);
    let appended = log.append(&batch, &summary, AppendOrigin::Coordinator, 0, NOW);
    appended.expect("taken").base_offset
}

/// Appends until the segment that takes appends now is finished.
async fn roll(log: &Log, seed: u8) {
    let segments = log.segment_count();
    while log.segment_count() == segments {
        put(log, 0, 0, &format!("filler-{seed}"), &"x".repeat(300));
    }
    log.wait_durable(log.end()).await.expect("written");
    log.wait_sealed().await.expect("sealed");
}

/// Writes the index of the segment that holds `offset`.
fn write_index(bench: &Bench, log: &Log, offset: Offset, entries: &[AbortedTransaction]) {
    let segment = log.segment_for(offset).expect("it is in the log");
    let name = names::segment_file(segment.base_offset, names::TXN_INDEX);
    fs::write(bench.directory().join(name), transaction_index::encode(entries)).expect("written");
    segment.has_aborted.set(None);
}

/// The producers of the markers that are there with their record.
async fn markers(bench: &Bench, log: &Log) -> Vec<i64> {
    let batches = read_all(bench, log).await;
    let views = batches.iter().map(|(_, bytes)| BatchView::check(bytes).expect("whole"));
    let with_records = views.filter(|batch| batch.record_count() > 0);
    let markers = with_records.filter(|batch| batch.attributes().is_control());
    markers.map(|batch| batch.producer_id()).collect()
}

#[test]
fn aborted_records_go_and_markers_follow_them() {
    with_log(|bench| async move {
        let opened = bench.open().await;
        let log = &opened.log;
        let model = Arc::new(Mutex::new(Model::default()));
        let kept = put(log, 0, 0, "a", "kept");
        let first_offset = put(log, 1, 0, "a", "aborted");
        let committed = put(log, 2, 0, "b", "committed");
        put(log, 1, 1, "c", "aborted");
        let last_offset = end(log, 1, ControlRecordType::Abort);
        end(log, 2, ControlRecordType::Commit);
        let last_stable_offset = committed;
        let entry =
            AbortedTransaction { producer_id: 1, first_offset, last_offset, last_stable_offset };
        write_index(&bench, log, last_offset, &[entry]);
        roll(log, 1).await;

        let round = async |now_ms| {
            compact(log, &model, &options(1 << 20), now_ms).await.expect("compacted")
        };
        assert!(round(NOW).await.is_some());
        let found = records_of(&bench, log).await;
        assert!(found.contains_key(&kept), "what was aborted takes nothing's place");
        assert!(found.contains_key(&committed) && !found.contains_key(&first_offset));
        assert!(found.values().all(|(_, value)| value.as_deref() != Some(b"aborted")));
        assert_eq!(markers(&bench, log).await, [1, 2]);
        let plan = log.plan_read(0, 1 << 20, Offset::MAX, true).await.expect("readable");
        let told = log.aborted_transactions(0, &plan).await.expect("readable");
        assert_eq!(told, [entry]);

        // As long as the producers may write again, their last batches stay, and the markers.
        roll(log, 2).await;
        assert!(round(NOW + 10).await.is_some());
        assert_eq!(markers(&bench, log).await, [1, 2]);
        bench.shard.set_producer_id_expiration_ms(0);
        log.apply_retention(bench.runtime().wall_clock_ms()).await.expect("applied");
        assert_eq!(log.producer_count(), 0);
        // The first round drops the empty batch, the second sees that nothing is left of the
        // transaction, and one after the horizon drops the marker of what was aborted.
        for (seed, now_ms) in [(3, NOW + 20), (4, NOW + 30), (5, NOW + 40 + DELETE_RETENTION_MS)] {
            roll(log, seed).await;
            assert!(round(now_ms).await.is_some());
        }
        assert_eq!(markers(&bench, log).await, [2]);
        assert!(records_of(&bench, log).await.contains_key(&committed));
        bench.close(opened).await;
        let opened = bench.open().await;
        assert!(records_of(&bench, &opened.log).await.contains_key(&committed));
        assert_eq!(opened.log.last_stable_offset(), opened.log.log_end_offset());
        bench.close(opened).await;
    });
}

/// No checksum covers the index: it must not make compaction drop what was committed.
#[test]
fn an_index_that_is_wrong_drops_nothing() {
    with_log(|bench| async move {
        let opened = bench.open().await;
        let log = &opened.log;
        let committed = put(log, 1, 0, "a", "committed");
        let marker = end(log, 1, ControlRecordType::Commit);
        roll(log, 1).await;
        for (last_offset, last_stable_offset) in [(marker, 0), (marker + 500, 0)] {
            let entry = AbortedTransaction {
                producer_id: 1,
                first_offset: committed,
                last_offset,
                last_stable_offset,
            };
            write_index(&bench, log, marker, &[entry]);
            let cleanable = log.cleanable(NOW).await.expect("readable");
            let refused = log.compact(&cleanable, &options(1 << 20), NOW).await;
            assert!(matches!(refused, Err(CompactionError::Uncleanable(_))), "{refused:?}");
            assert!(records_of(&bench, log).await.contains_key(&committed));
        }
        bench.close(opened).await;
    });
}
