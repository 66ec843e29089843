//! What the tests of this crate share: batches made by hand, logs in temporary directories, and a
//! shard to run them on.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use ringlog_config::TopicConfig;
use ringlog_record::BatchSummary;
use ringlog_runtime::{IoChoice, Launch, Mesh, Piece, Runtime, launch};
use ringlog_types::{Offset, TopicPartition, Uuid};

use crate::directories::OpenedDirs;
use crate::segment::batch_header::{BatchHeader, HEADER_BYTES};
use crate::{
    AppendError, AppendOrigin, Appended, Log, LogDirs, OpenHint, RecoveryReport, StorageError,
    StorageOptions, StorageShard,
};

/// What a batch of a test is like.
#[derive(Clone, Copy)]
pub(crate) struct BatchSpec {
    pub(crate) count: i32,
    pub(crate) value_bytes: usize,
    pub(crate) timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    /// Tells the records of one batch from those of another.
    pub(crate) seed: u8,
}

impl Default for BatchSpec {
    fn default() -> BatchSpec {
        BatchSpec {
            count: 1,
            value_bytes: 100,
            timestamp: 1_700_000_000_000,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            seed: 0,
        }
    }
}

fn put_varint(bytes: &mut Vec<u8>, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    while left >= 0x80 {
        bytes.push(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
}

impl BatchSpec {
    /// A valid batch at offset 0; record `i` is `i` ms later than the first.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut records = Vec::new();
        for delta in 0..i64::from(self.count) {
            let mut record = vec![0];
            put_varint(&mut record, delta);
            put_varint(&mut record, delta);
            put_varint(&mut record, -1);
            put_varint(&mut record, self.value_bytes as i64);
            let noise = |at: usize| self.seed.wrapping_mul(31).wrapping_add(at as u8) | 1;
            record.extend((0..self.value_bytes).map(noise));
            put_varint(&mut record, 0);
            put_varint(&mut records, record.len() as i64);
            records.extend(record);
        }
        let mut batch = vec![0; 8];
        batch.extend(((HEADER_BYTES - 12 + records.len()) as i32).to_be_bytes());
        batch.extend((-1i32).to_be_bytes());
        batch.push(2);
        batch.extend([0; 4]);
        batch.extend(0i16.to_be_bytes());
        batch.extend((self.count - 1).to_be_bytes());
        batch.extend(self.timestamp.to_be_bytes());
        batch.extend((self.timestamp + i64::from(self.count) - 1).to_be_bytes());
        batch.extend(self.producer_id.to_be_bytes());
        batch.extend(self.producer_epoch.to_be_bytes());
        batch.extend(self.base_sequence.to_be_bytes());
        batch.extend(self.count.to_be_bytes());
        batch.extend(records);
        let crc = ringlog_record::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        batch
    }
}

/// Appends a batch as a client's.
pub(crate) fn append(log: &Log, spec: BatchSpec) -> Result<Appended, AppendError> {
    let batch = spec.build();
    log.append(&batch, &summary(&batch), AppendOrigin::Client, 0, spec.timestamp)
}

/// The summary that validation gives for a batch.
pub(crate) fn summary(batch: &[u8]) -> BatchSummary {
    let header = BatchHeader::parse(batch, batch.len() as u64).expect("a valid batch");
    BatchSummary { last_offset_delta: header.last_offset_delta, ..Default::default() }
}

/// Runs a test on a shard of its own.
pub(crate) fn on_shard<F, Fut>(test: F)
where
    F: Fn(Runtime) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + 'static,
{
    on_backend(IoChoice::Auto, test);
}

/// The same on a backend of choice.
pub(crate) fn on_backend<F, Fut>(io: IoChoice, test: F)
where
    F: Fn(Runtime) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let options = Launch { shards: 1, io, pin: false, name: "storage-test".to_owned() };
    let node = launch(options, move |runtime: Runtime, _: Mesh<()>| test(runtime));
    node.expect("a shard").join().expect("the test ends");
}

/// A data directory that is opened, and opened again.
pub(crate) struct Bench {
    pub(crate) root: PathBuf,
    pub(crate) shard: StorageShard,
    pub(crate) config: Mutex<TopicConfig>,
}

/// A log that is open.
pub(crate) struct Opened {
    pub(crate) log: Rc<Log>,
    pub(crate) report: RecoveryReport,
    pub(crate) dirs: OpenedDirs,
}

impl Bench {
    pub(crate) fn new(runtime: Runtime, root: &Path, config: TopicConfig) -> Bench {
        let shard = StorageShard::new(runtime, StorageOptions::default());
        Bench { root: root.to_owned(), shard, config: Mutex::new(config) }
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.shard.runtime()
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.root.join("t-0")
    }

    fn topic_id() -> Uuid {
        Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef)
    }

    /// Opens the directory and the partition `t-0`, which is made if it is not there.
    pub(crate) async fn open(&self) -> Opened {
        self.try_open().await.expect("the log opens")
    }

    /// The same where the disk may fail.
    pub(crate) async fn try_open(&self) -> Result<Opened, StorageError> {
        let paths = std::slice::from_ref(&self.root);
        let dirs = LogDirs::open(self.runtime(), paths, 1, None).await?;
        let config = Arc::new(self.config.lock().expect("one thread").clone());
        let partition = TopicPartition::new("t", 0);
        let dir = dirs.dirs.get(0).expect("it is usable").clone();
        let found = dirs.logs.iter().find(|found| found.topic_partition == partition);
        let id = Bench::topic_id();
        let (log, report) = match found.map(|found| found.hint) {
            Some(hint) => Log::open(&self.shard, &dir, partition, Some(id), config, hint).await?,
            None => {
                let log = Log::create(&self.shard, &dir, partition, id, config).await?;
                (log, RecoveryReport::default())
            }
        };
        Ok(Opened { log, report, dirs })
    }

    /// Makes partition 0 of another topic in the same directory.
    pub(crate) async fn create_beside(&self, opened: &Opened, topic: &str) -> Rc<Log> {
        let config = Arc::new(self.config.lock().expect("one thread").clone());
        let partition = TopicPartition::new(topic, 0);
        let id = Uuid::from_u128(0x4321);
        let created = Log::create(&self.shard, opened.log.dir(), partition, id, config).await;
        created.expect("the log is made")
    }

    /// Stops cleanly.
    pub(crate) async fn close(&self, opened: Opened) {
        opened.log.close().await.expect("the log closes");
        let checkpoint = opened.log.checkpoint();
        let dirs = &opened.dirs.dirs;
        dirs.write_checkpoints(self.runtime(), &[checkpoint]).await.expect("checkpoints");
        dirs.mark_clean_shutdown(self.runtime(), |_| true).await.expect("the marker");
    }

    /// Opens `t-0` as it is, after a crash.
    pub(crate) async fn open_after_crash(
        &self,
        recovery_point: Offset,
    ) -> (Rc<Log>, RecoveryReport) {
        let dirs = LogDirs::open(self.runtime(), std::slice::from_ref(&self.root), 1, None).await;
        let dir = dirs.expect("the directory is ours").dirs.get(0).expect("usable").clone();
        let config = Arc::new(self.config.lock().expect("one thread").clone());
        let hint = OpenHint { recovery_point, ..OpenHint::default() };
        let partition = TopicPartition::new("t", 0);
        let opened = Log::open(&self.shard, &dir, partition, None, config, hint).await;
        opened.expect("the log opens")
    }
}

/// The bytes of a read.
pub(crate) async fn bytes_of(bench: &Bench, pieces: &[Piece]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Bytes(piece) => bytes.extend_from_slice(piece),
            Piece::File { file, pos, len } => {
                let buffer = bench.runtime().buffers().get(*len);
                let (read, buffer) = bench.runtime().read_at(file, buffer, *pos).await;
                assert!(read.expect("it can be read") >= *len);
                bytes.extend_from_slice(&buffer[..*len]);
            }
        }
    }
    bytes
}

/// Reads the whole log, a few batches at a time, and returns each batch's header and bytes.
pub(crate) async fn read_all(bench: &Bench, log: &Log) -> Vec<(BatchHeader, Vec<u8>)> {
    let mut batches = Vec::new();
    let mut offset = log.log_start_offset();
    while offset < log.log_end_offset() {
        let read = log.read(offset, 50_000, log.log_end_offset(), true).await.expect("readable");
        let bytes = bytes_of(bench, &read.pieces).await;
        assert_eq!(bytes.len(), read.bytes);
        let mut at = 0;
        let before = offset;
        while let Ok(header) = BatchHeader::parse(&bytes[at..], (bytes.len() - at) as u64) {
            let batch = &bytes[at..at + header.size];
            assert!(header.crc_matches(batch), "batch at {}", header.base_offset);
            batches.push((header, batch.to_vec()));
            at += header.size;
            offset = header.next_offset();
        }
        assert!(offset > before, "a read makes progress");
    }
    batches
}
