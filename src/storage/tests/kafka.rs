//! Directories that Apache Kafka 4.3.1 wrote: after a clean stop, and after a kill -9 with its
//! preallocated indexes still padded. What Kafka's consumer would read is read here.
//!
//! The files are in `testdata/kafka-4.3.1`; `testdata/README.md` says how they were made.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ringlog_config::TopicConfig;
use ringlog_types::TopicPartition;

use crate::testing::{Bench, on_shard, read_all};
use crate::{Log, LogDirs};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

#[test]
fn directories_of_kafka_open_and_read_the_same() {
    for (name, clean) in [("clean", true), ("killed", false)] {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().to_owned();
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/kafka-4.3.1").join(name);
        copy(&data, &path);
        if !clean {
            // Not kept in the repository: ten megabytes of zeros each.
            for (file, length) in [("index", 10_485_760), ("timeindex", 10_485_756)] {
                let file = path.join("small-0").join(format!("{:020}.{file}", 0));
                let file = fs::File::options().write(true).open(file).expect("there");
                file.set_len(length).expect("padded");
            }
        }
        on_shard(move |runtime| {
            let path = path.clone();
            async move {
                let bench = Bench::new(runtime, &path, TopicConfig::default());
                let opened = LogDirs::open(bench.runtime(), &[path], 1, None).await.expect("ours");
                assert_eq!(opened.dirs.identity().cluster_id, "AAAAAAAAAAAAAAAAAAAAAQ");
                let small = TopicPartition::new("small", 0);
                let found = opened.logs.iter().find(|found| found.topic_partition == small);
                let found = found.expect("it is there");
                assert_eq!(found.hint.clean, clean);
                let dir = opened.dirs.get(0).expect("usable");
                let config = Arc::new(TopicConfig::default());
                let (log, report) =
                    Log::open(&bench.shard, dir, small, found.topic_id, config, found.hint)
                        .await
                        .expect("it opens");
                assert_eq!((report.cuts, report.fenced), (vec![], vec![]), "{name}");
                assert_eq!((log.log_start_offset(), log.log_end_offset()), (0, 260));
                assert_eq!(log.latest_epoch(), Some(0));
                let batches = read_all(&bench, &log).await;
                let count: i32 = batches.iter().map(|(header, _)| header.record_count).sum();
                assert_eq!(count, 260);
                let bytes: Vec<u8> = batches.into_iter().flat_map(|(_, bytes)| bytes).collect();
                let written = fs::read(data_file(&bench)).expect("there");
                assert!(written == bytes, "{name}: byte for byte");
                assert_eq!(log.producer_count(), 2, "{name}");
                log.close().await.expect("it closes");
            }
        });
    }
}

fn data_file(bench: &Bench) -> std::path::PathBuf {
    bench.root.join("small-0").join(format!("{:020}.log", 0))
}
