//! Damage that is met while a log is open: what the next start knows of it, and a file that goes.

use std::cell::Cell;
use std::fs;
use std::rc::Rc;
use std::sync::Arc;

use ringlog_config::TopicConfig;
use ringlog_runtime::WorkOwner;

use crate::error::ReadError;
use crate::observer::StorageObserver;
use crate::segment::batch_header::BatchHeader;
use crate::testing::{BatchSpec, Bench, append, bytes_of, on_shard};
use crate::tests::damage::{END, files_of, log_file, put_back, spec, with_three_segments};
use crate::{Log, StorageError};

#[derive(Default)]
struct Damage(Cell<u64>);

impl StorageObserver for Damage {
    fn damage_found(&self) {
        self.0.set(self.0.get() + 1);
    }
}

fn count_damage(bench: &Bench) -> Rc<Damage> {
    let damage = Rc::new(Damage::default());
    bench.shard.set_observer(damage.clone());
    damage
}

async fn is_fenced(log: &Log, offset: i64) -> bool {
    match log.read(offset, 10_000, log.log_end_offset(), true).await {
        Ok(_) => false,
        Err(ReadError::Corrupt { .. }) => true,
        Err(error) => panic!("{error}"),
    }
}

/// Every start had to stumble over the same damage again, and said each time that it was new.
#[test]
fn damage_that_a_read_finds_is_known_to_the_next_start() {
    with_three_segments(|bench| async move {
        let opened = bench.open().await;
        let second = spec(0).build().len();
        let mut bytes = fs::read(log_file(&bench, 0)).expect("there");
        bytes[second + 16] ^= 1;
        fs::write(log_file(&bench, 0), bytes).expect("written");
        let damage = count_damage(&bench);
        assert!(is_fenced(&opened.log, 2).await);
        assert_eq!(damage.0.get(), 1);
        // Also if that start comes after a crash.
        opened.log.pause_writer().await;
        drop(opened);
        for _ in 0..2 {
            let opened = bench.open().await;
            let damage = count_damage(&bench);
            assert_eq!(opened.log.pass_damage(2), Some(4), "it is known before it is read");
            assert!(is_fenced(&opened.log, 2).await);
            assert_eq!(damage.0.get(), 0);
            bench.close(opened).await;
        }
    });
}

/// A fence that could not be written down is, as soon as it can be.
#[test]
fn a_fence_is_written_down_when_that_is_possible_again() {
    with_three_segments(|bench| async move {
        let opened = bench.open().await;
        let second = spec(0).build().len();
        let mut bytes = fs::read(log_file(&bench, 0)).expect("there");
        bytes[second + 16] ^= 1;
        fs::write(log_file(&bench, 0), bytes).expect("written");
        let file = bench.directory().join("ringlog-fenced-ranges");
        // Nothing can be renamed to the name of a directory that is not empty.
        fs::create_dir_all(file.join("in-the-way")).expect("made");
        assert!(is_fenced(&opened.log, 2).await);
        assert!(file.is_dir() && !opened.log.retry_fences().await);
        fs::remove_dir_all(&file).expect("removed");
        let now_ms = spec(0).timestamp;
        opened.log.apply_retention(now_ms).await.expect("it goes on");
        let text = fs::read_to_string(&file).expect("there");
        assert!(text.starts_with("0\n1\n0 "), "{text}");
    });
}

/// Readers got an error of storage for ever, and consumers stood there.
#[test]
fn a_segment_that_goes_while_the_log_is_open_is_a_fence() {
    for is_all in [false, true] {
        with_three_segments(move |bench| async move {
            let opened = bench.open().await;
            fs::remove_file(log_file(&bench, END)).expect("removed");
            if is_all {
                for suffix in ["index", "timeindex"] {
                    let file = log_file(&bench, END).with_extension(suffix);
                    fs::remove_file(file).expect("removed");
                }
            }
            let damage = count_damage(&bench);
            let log = &opened.log;
            for offset in END..2 * END {
                assert!(is_fenced(log, offset).await);
                assert_eq!(log.pass_damage(offset), Some(2 * END));
            }
            assert_eq!(damage.0.get(), 1, "it is told once");
            for offset in [0, 2 * END] {
                let read = log.read(offset, 1 << 20, 3 * END, true).await.expect("readable");
                assert_eq!(read.first_batch_base, Some(offset));
            }
            // A look by time goes over it.
            let found = log
                .offset_for_timestamp(spec(0).timestamp + 1, WorkOwner::NOBODY)
                .await
                .expect("found");
            assert_eq!(found.map(|found| found.offset), Some(1));
            log.max_timestamp_offset(WorkOwner::NOBODY).await.expect("found");
            append(log, spec(0)).expect("taken");
            bench.close(opened).await;
            let opened = bench.open().await;
            for offset in END..2 * END {
                assert!(is_fenced(&opened.log, offset).await);
                assert_eq!(opened.log.pass_damage(offset), Some(2 * END));
            }
            // Retention goes on over it.
            let mut config = (*opened.log.config()).clone();
            config.retention_ms = 1_000;
            opened.log.update_config(Arc::new(config));
            // What is fenced may have been as new as its file.
            let now_ms = bench.runtime().wall_clock_ms() + 1_000_000;
            opened.log.apply_retention(now_ms).await.expect("it goes on");
            assert!(opened.log.log_start_offset() >= 2 * END);
        });
    }
}

/// A disk that is gone is not taken for records that are.
#[test]
fn a_directory_that_goes_is_no_fence() {
    with_three_segments(|bench| async move {
        let opened = bench.open().await;
        let damage = count_damage(&bench);
        let aside = bench.root.join("aside");
        fs::rename(bench.directory(), &aside).expect("renamed");
        let read = opened.log.read(END, 10_000, 3 * END, true).await;
        assert!(matches!(read, Err(ReadError::Storage(StorageError::Io { .. }))), "{read:?}");
        fs::rename(&aside, bench.directory()).expect("renamed");
        opened.log.read(END, 10_000, 3 * END, true).await.expect("it is back");
        assert_eq!(damage.0.get(), 0);
    });
}

/// No checksum covers a base offset, and a clean start reads no more of the newest segment than its
/// end: consumers skipped records in silence.
#[test]
fn a_changed_base_offset_in_the_newest_segment_is_never_delivered() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("data");
    on_shard(move |runtime| {
        let path = path.clone();
        async move {
            let bench = Bench::new(runtime, &path, TopicConfig::default());
            let opened = bench.open().await;
            let spec = |seed| BatchSpec { count: 2, value_bytes: 450, seed, ..Default::default() };
            for seed in 0..40 {
                append(&opened.log, spec(seed)).expect("taken");
            }
            bench.close(opened).await;
            let files = files_of(&bench);
            let size = spec(0).build().len();
            // Batches all over the segment, and every byte of their base offsets.
            for (batch, byte) in [0, 1, 7, 20, 37, 39].into_iter().zip((0..8).cycle()) {
                for mask in [1, 0x40] {
                    put_back(&bench, &files);
                    let mut damaged = files[&log_file(&bench, 0)].clone();
                    damaged[batch * size + byte] ^= mask;
                    damaged[batch * size + (byte + 3) % 8] ^= mask;
                    fs::write(log_file(&bench, 0), damaged).expect("written");
                    let opened = bench.open().await;
                    let delivered = deliver(&bench, &opened.log, size).await;
                    let expected: Vec<_> = (0..40).filter(|at| *at != batch as i64).collect();
                    assert_eq!(delivered, expected, "batch {batch}, byte {byte}, {mask:x}");
                    opened.log.pause_writer().await;
                }
            }
        }
    });
}

/// Which of the batches of two records a consumer gets, each of which says by its bytes which it
/// is; none under the offsets of another.
async fn deliver(bench: &Bench, log: &Log, size: usize) -> Vec<i64> {
    let (mut offset, mut delivered) = (0, Vec::new());
    for _ in 0..1000 {
        if offset >= log.log_end_offset() {
            return delivered;
        }
        match log.read(offset, 5_000, log.log_end_offset(), true).await {
            Ok(read) => {
                let bytes = bytes_of(bench, &read.pieces).await;
                for batch in bytes.chunks_exact(size) {
                    let header = BatchHeader::parse(batch, size as u64).expect("a batch");
                    let sent = header.base_offset / 2;
                    let spec = BatchSpec {
                        count: 2,
                        value_bytes: 450,
                        seed: sent as u8,
                        ..Default::default()
                    };
                    assert_eq!(batch[16..], spec.build()[16..], "at {}", header.base_offset);
                    delivered.push(sent);
                    offset = header.next_offset();
                }
            }
            Err(ReadError::Corrupt { .. }) => {
                offset = log.pass_damage(offset).expect("what is damaged is fenced");
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("a consumer stands at {offset}");
}

/// A reader that has found its segment just before retention removes it does not take that for
/// damage, nor does the scrub.
#[test]
fn a_segment_that_retention_removes_is_no_damage() {
    with_three_segments(|bench| async move {
        let opened = bench.open().await;
        let log = &opened.log;
        let damage = count_damage(&bench);
        let first = log.segment_for(0).expect("there");
        log.delete_records(END).await.expect("removed");
        assert!(!log_file(&bench, 0).exists());
        let path = log_file(&bench, 0);
        let error = StorageError::io("open", &path)(std::io::ErrorKind::NotFound.into());
        let told = log.unopened(&first, error).await;
        assert!(matches!(told, ReadError::Storage(_)), "{told}");
        assert!(log.examine(&first).await.is_err());
        assert_eq!((damage.0.get(), first.is_gone()), (0, false));
        assert!(!path.with_extension("index").exists(), "it is nobody's");
    });
}
