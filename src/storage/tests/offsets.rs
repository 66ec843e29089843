//! A base offset, which no CRC covers, that changed on disk: it is never given to a reader. It went
//! out as valid, and consumers skipped what lies between without a word.

use std::fs;

use ringlog_config::TopicConfig;
use ringlog_types::Offset;

use crate::Log;
use crate::error::ReadError;
use crate::segment::batch_header::BatchHeader;
use crate::testing::{BatchSpec, Bench, append, bytes_of, on_shard};

const BATCHES: i64 = 60;
/// Records in each batch.
const RECORDS: i64 = 4;

fn spec(at: i64) -> BatchSpec {
    BatchSpec { count: RECORDS as i32, value_bytes: 120, seed: at as u8, ..Default::default() }
}

/// Reads everything in pieces of `bytes_max`, over damage, and returns the base offsets it was
/// given.
async fn read_over_damage(bench: &Bench, log: &Log, bytes_max: usize) -> Vec<Offset> {
    let (mut offset, end) = (0, BATCHES * RECORDS);
    let mut given = Vec::new();
    while offset < end {
        let read = match log.read(offset, bytes_max, end, true).await {
            Ok(read) => read,
            Err(ReadError::Corrupt { .. }) => {
                offset += 1;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let bytes = bytes_of(bench, &read.pieces).await;
        let (mut at, before) = (0, offset);
        while let Ok(header) = BatchHeader::parse(&bytes[at..], (bytes.len() - at) as u64) {
            given.push(header.base_offset);
            at += header.size;
            offset = header.next_offset();
        }
        assert!(offset > before, "a read at {before} makes progress");
    }
    given
}

/// In a log that is compacted, where a gap is no damage, the head behind a read was noted as
/// checked before the one behind that was seen.
#[test]
fn the_head_behind_a_read_is_not_checked_yet() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("data");
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let size = spec(0).build().len();
            let mut config = TopicConfig {
                segment_bytes: (20 * size) as i32,
                index_interval_bytes: 1,
                ..Default::default()
            };
            config.cleanup_policy.compact = true;
            let bench = Bench::new(runtime, &path, config);
            let opened = bench.open().await;
            for at in 0..BATCHES {
                append(&opened.log, spec(at)).expect("taken");
            }
            bench.close(opened).await;
            let log_file = bench.directory().join(format!("{:020}.log", 0));
            let mut damaged = fs::read(&log_file).expect("there");
            damaged[3 * size + 5] ^= 1;
            fs::write(&log_file, damaged).expect("written");
            let opened = bench.open().await;
            let (end, mut given) = (BATCHES * RECORDS, Vec::new());
            for first in [0, 2] {
                let read = opened.log.read(first * RECORDS, 3 * size, end, true).await;
                let bytes = bytes_of(&bench, &read.expect("sound").pieces).await;
                let mut at = 0;
                while let Ok(header) = BatchHeader::parse(&bytes[at..], (bytes.len() - at) as u64) {
                    given.push(header.base_offset / RECORDS);
                    at += header.size;
                }
            }
            assert_eq!(given, [0, 1, 2, 2]);
        }
    });
}

#[test]
fn a_changed_base_offset_is_never_given_to_a_reader() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("data");
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let size = spec(0).build().len();
            let config = TopicConfig {
                segment_bytes: (20 * size) as i32,
                index_interval_bytes: (3 * size) as i32,
                ..Default::default()
            };
            let bench = Bench::new(runtime, &path, config);
            let opened = bench.open().await;
            for at in 0..BATCHES {
                let end = append(&opened.log, spec(at)).expect("taken").last_offset + 1;
                opened.log.wait_durable(opened.log.end_at(end)).await.expect("written");
            }
            bench.close(opened).await;
            let marker = bench.root.join(".kafka_cleanshutdown");
            // The first, one with an index entry or its neighbours, and the last of a segment;
            // sealed ones and, after a clean stop, the newest.
            for batch in [0, 1, 3, 4, 5, 19, 20, 27, 39, 40, 41, 58] {
                let base = batch / 20 * 20 * RECORDS;
                let log_file = bench.directory().join(format!("{base:020}.log"));
                let sound = fs::read(&log_file).expect("there");
                for bit in [0, 1, 2, 3, 5, 8, 20, 33] {
                    let mut damaged = sound.clone();
                    let place = (batch % 20) as usize * size + 7 - bit / 8;
                    damaged[place] ^= 1 << (bit % 8);
                    fs::write(&log_file, &damaged).expect("written");
                    fs::remove_file(bench.directory().join("ringlog-fenced-ranges")).ok();
                    for bytes_max in [1, 5 * size + 7, 1 << 20] {
                        let opened = bench.open().await;
                        let given = read_over_damage(&bench, &opened.log, bytes_max).await;
                        let sound = (0..BATCHES).filter(|at| *at != batch).map(|at| at * RECORDS);
                        let sound: Vec<Offset> = sound.collect();
                        assert_eq!(given, sound, "batch {batch}, bit {bit}, up to {bytes_max}");
                        drop(opened);
                        fs::write(&marker, "").expect("written");
                    }
                    fs::write(&log_file, &sound).expect("written");
                }
            }
        }
    });
}
