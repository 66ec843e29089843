//! A consumer without groups: partitions are assigned, read from where the caller says, and stop
//! by themselves when asked to.
//!
//! One task ([`fetcher`]) keeps a Fetch on its way to every leader and hands over the answers as
//! they came; another one ([`unpack`]) makes records of them, batch by batch. Short queues lie
//! between them and before the caller; when the caller does not take records, they fill up and
//! unpacking stops, then fetching. Memory is thus bounded by the answers in the queue and on their
//! way, a few chunks of records, and one unpacked batch for each of those.

mod fetcher;
mod position;
mod unpack;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringlog_types::{Offset, TimestampMs, TopicPartition};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::error::ClientError;

/// An offset named by what it is, not by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first record that is left.
    Earliest,
    /// Where the next record will be.
    Latest,
    /// The record with the largest time.
    MaxTimestamp,
    /// The first record of this time or later.
    Timestamp(TimestampMs),
}

impl OffsetSpec {
    /// What stands for it in ListOffsets.
    pub(crate) fn timestamp(self) -> i64 {
        match self {
            OffsetSpec::Earliest => -2,
            OffsetSpec::Latest => -1,
            OffsetSpec::MaxTimestamp => -3,
            OffsetSpec::Timestamp(time) => time.max(0),
        }
    }
}

/// Where a consumer begins in each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFrom {
    /// At the first record that is left.
    Start,
    /// After the last record.
    End,
    /// At this offset; a negative one counts from the end.
    Offset(Offset),
    /// At the first record of this time or later.
    Timestamp(TimestampMs),
}

/// When a consumer stops by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Until {
    /// Never.
    #[default]
    Forever,
    /// When every partition is read to where it ended when the consumer was made.
    End,
}

/// The settings of a [`Consumer`]. Names are Kafka's.
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// `fetch.max.wait.ms`: how long a broker may wait for `fetch.min.bytes`.
    pub wait_max: Duration,
    /// `fetch.min.bytes`.
    pub bytes_min: i32,
    /// `fetch.max.bytes`: of one answer; a single larger batch is still sent.
    pub bytes_max: i32,
    /// `max.partition.fetch.bytes`.
    pub partition_bytes_max: i32,
    /// `check.crcs`: whether batches are checked.
    pub check_crcs: bool,
    /// The most bytes that one batch may decompress to.
    pub decompressed_bytes_max: usize,
    /// Whether partitions are read too, from their start, that these topics get later. They are
    /// looked for every `metadata.max.age.ms`, by a consumer that does not stop by itself.
    pub new_partitions: bool,
}

impl Default for ConsumerSettings {
    fn default() -> ConsumerSettings {
        ConsumerSettings {
            wait_max: Duration::from_millis(500),
            bytes_min: 1,
            bytes_max: 16 << 20,
            partition_bytes_max: 4 << 20,
            check_crcs: true,
            decompressed_bytes_max: ringlog_record::DECOMPRESSED_BYTES_MAX,
            new_partitions: false,
        }
    }
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedRecord {
    /// Where it was read.
    pub partition: TopicPartition,
    /// Its offset.
    pub offset: Offset,
    /// Its time.
    pub timestamp: TimestampMs,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Vec<(Arc<str>, Option<Bytes>)>,
}

/// Answers that wait to be unpacked; another one may be on its way from each leader.
const ANSWERS_MAX: usize = 2;
/// Chunks of records that wait for the caller.
const CHUNKS_MAX: usize = 2;

/// Reads partitions.
pub struct Consumer {
    records: mpsc::Receiver<Result<Vec<FetchedRecord>, ClientError>>,
    tasks: [JoinHandle<()>; 2],
}

impl Consumer {
    /// Finds out where to begin and to end, and starts to read. Its task runs on the current
    /// tokio runtime.
    ///
    /// # Errors
    /// A partition does not exist, or its offsets cannot be had.
    pub async fn start(
        client: Client,
        partitions: &[TopicPartition],
        from: StartFrom,
        until: Until,
        settings: ConsumerSettings,
    ) -> Result<Consumer, ClientError> {
        let positions = position::find(&client, partitions, from, until).await?;
        let new_partitions = settings.new_partitions && until == Until::Forever;
        let settings = ConsumerSettings { new_partitions, ..settings };
        let (answers, fetched) = mpsc::channel(ANSWERS_MAX);
        let (chunks, records) = mpsc::channel(CHUNKS_MAX);
        let unpacker = unpack::Unpacker::new(&settings, chunks);
        let fetcher = fetcher::Fetcher::new(client, settings, from, positions, answers);
        let tasks = [tokio::spawn(fetcher.run()), tokio::spawn(unpacker.run(fetched))];
        Ok(Consumer { records, tasks })
    }

    /// The next records: some of one answer, in order for each partition. `None` when all that
    /// was asked for is read.
    pub async fn next(&mut self) -> Option<Result<Vec<FetchedRecord>, ClientError>> {
        self.records.recv().await
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
