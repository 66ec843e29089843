//! What goes by the high watermark once it is given: other replicas may lack what lies beyond it.

use std::sync::Arc;

use ringlog_config::TopicConfig;

use crate::StorageError;
use crate::testing::{BatchSpec, Bench, append, on_shard};

#[test]
fn nothing_beyond_the_high_watermark_is_removed_or_stable() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().to_owned();
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let config = TopicConfig { segment_bytes: 10_000, ..Default::default() };
            let bench = Bench::new(runtime, &path, config.clone());
            let opened = bench.open().await;
            let log = &opened.log;
            for seed in 0..100 {
                append(log, BatchSpec { value_bytes: 900, seed, ..Default::default() })
                    .expect("taken");
            }
            log.wait_durable(log.end_at(100)).await.expect("written");
            assert_eq!(log.high_watermark(), 100, "it is the only replica");
            log.set_high_watermark(55);
            assert_eq!((log.last_stable_offset(), log.checkpoint().high_watermark), (55, 55));
            append(log, BatchSpec::default()).expect("taken");
            log.wait_durable(log.end_at(101)).await.expect("written");
            log.wait_sealed().await.expect("sealed");
            assert_eq!(log.high_watermark(), 55, "from now on it is given");

            let config = TopicConfig { retention_bytes: 1, ..config };
            log.update_config(Arc::new(config));
            log.apply_retention(0).await.expect("it works");
            let start = log.log_start_offset();
            assert!((40..=55).contains(&start), "segments have some 10 records: {start}");
            let refused = log.delete_records(56).await.expect_err("it is beyond");
            assert!(matches!(refused, StorageError::OffsetOutOfRange { end: 55, .. }));

            log.set_high_watermark(101);
            log.apply_retention(0).await.expect("it works");
            assert_eq!(log.log_start_offset(), 90, "all but the open segment went");
            bench.close(opened).await;
        }
    });
}
