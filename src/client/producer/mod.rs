//! The producer: records are gathered into batches per partition and sent by one task.
//!
//! Life of a record: [`Producer::send`] finds its partition, waits for memory if there is none
//! left, and appends it to the partition's open batch (`accumulator`). The sender task seals a
//! batch when it is full, lingered long enough or is flushed, and sends it to the partition's
//! leader (`sender`), again and again until it is acknowledged, refused or too old. All records of
//! a batch share one outcome, which a [`Delivery`] waits for.
//!
//! Invariants:
//! - A partition's batches are sent in order; while one of them is being repeated, no later one is
//!   sent for the first time.
//! - With idempotence, a batch keeps its sequence number through all its attempts, so that the
//!   broker can tell a repetition. When a batch is given up, or the broker has lost some that it
//!   had taken, the partition goes on with a new id and numbers from 0 (as KIP-360 does with a new
//!   epoch), because the broker would not accept a gap.
//! - Every [`Delivery`] ends: after the delivery timeout at the latest, or with the producer.

mod accumulator;
#[cfg(test)]
mod accumulator_tests;
mod batch;
mod outcome;
mod sender;
mod sequence;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringlog_record::Compression;
use ringlog_types::TimestampMs;
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::JoinHandle;

use accumulator::Accumulator;
use sender::Sender;

pub use outcome::{Delivered, Delivery};

use crate::client::Client;
use crate::error::ClientError;
use crate::partitioner::Partitioner;

/// How many replicas must have a record before the producer hears of it (`acks`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// 0: none; the broker does not answer.
    None,
    /// 1: the leader.
    Leader,
    /// -1: all replicas in sync.
    #[default]
    All,
}

impl Acks {
    pub(crate) fn code(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

/// The settings of a [`Producer`]. Names are Kafka's.
#[derive(Debug, Clone)]
pub struct ProducerSettings {
    /// `acks`.
    pub acks: Acks,
    /// `enable.idempotence`; needs `acks` to be all.
    pub idempotence: bool,
    /// `compression.type`.
    pub compression: Compression,
    /// The codec's level; `None` for its own default.
    pub compression_level: Option<i32>,
    /// `batch.size`: a batch is sent when it has this many bytes before compression.
    pub batch_bytes: usize,
    /// `linger.ms`: how long a batch waits to become full.
    pub linger: Duration,
    /// `buffer.memory`: bytes of records that are not acknowledged; beyond, `send` waits.
    pub buffer_bytes: usize,
    /// `max.request.size`.
    pub request_bytes_max: usize,
    /// `max.in.flight.requests.per.connection`; at most 5 with idempotence.
    pub requests_in_flight_max: usize,
    /// `delivery.timeout.ms`: after this, a record is given up.
    pub delivery_timeout: Duration,
    /// `partitioner.class`.
    pub partitioner: Partitioner,
    /// Whether asking for an unknown topic may create it.
    pub create_topics: bool,
}

impl Default for ProducerSettings {
    fn default() -> ProducerSettings {
        ProducerSettings {
            acks: Acks::All,
            idempotence: true,
            compression: Compression::None,
            compression_level: None,
            batch_bytes: 128 << 10,
            linger: Duration::from_millis(5),
            buffer_bytes: 32 << 20,
            request_bytes_max: 4 << 20,
            requests_in_flight_max: 5,
            delivery_timeout: Duration::from_secs(120),
            partitioner: Partitioner::Default,
            create_topics: true,
        }
    }
}

/// With more, the broker cannot tell a repetition: it remembers five batches (KIP-98).
const IDEMPOTENT_IN_FLIGHT_MAX: usize = 5;

/// What Kafka's settings of times hold.
const TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);

impl ProducerSettings {
    /// Settings that contradict each other are refused here.
    fn check(&self) -> Result<(), ClientError> {
        let wrong = |text: &str| Err(ClientError::Invalid(text.into()));
        if self.idempotence && self.acks != Acks::All {
            return wrong("idempotence needs acks=all");
        }
        if self.idempotence && self.requests_in_flight_max > IDEMPOTENT_IN_FLIGHT_MAX {
            return wrong("idempotence allows at most 5 requests in flight");
        }
        if self.requests_in_flight_max == 0 || self.batch_bytes == 0 {
            return wrong("batch size and requests in flight cannot be 0");
        }
        if self.delivery_timeout > TIMEOUT_MAX || self.linger > TIMEOUT_MAX {
            return wrong("delivery timeout and linger are at most 2147483647 ms");
        }
        if self.buffer_bytes < self.batch_bytes || self.buffer_bytes > u32::MAX as usize {
            return wrong("buffer memory must be between the batch size and 4 GiB");
        }
        Ok(())
    }
}

/// A record on its way out.
#[derive(Debug, Clone, Default)]
pub struct ProducerRecord {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition; `None` to let the partitioner choose.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// Its time; `None` for now.
    pub timestamp: Option<TimestampMs>,
}

/// The most that a record's length, offset, time and lengths take in a batch.
const RECORD_OVERHEAD_BYTES: usize = 36;

impl ProducerRecord {
    /// An upper bound of its size in a batch.
    fn size(&self) -> usize {
        let bytes = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + bytes(value) + 10).sum();
        RECORD_OVERHEAD_BYTES + bytes(&self.key) + bytes(&self.value) + headers
    }
}

/// Sends records. Shared by reference; [`Producer::close`] it to be sure that all is sent.
pub struct Producer {
    client: Client,
    accumulator: Arc<Accumulator>,
    sender: AsyncMutex<Option<JoinHandle<()>>>,
}

impl Producer {
    /// Starts a producer; its task runs on the current tokio runtime.
    ///
    /// # Errors
    /// Settings that contradict each other.
    pub fn new(client: Client, settings: ProducerSettings) -> Result<Producer, ClientError> {
        settings.check()?;
        let accumulator = Arc::new(Accumulator::new(settings));
        let sender = Sender::new(client.clone(), accumulator.clone());
        let sender = AsyncMutex::new(Some(tokio::spawn(sender.run())));
        Ok(Producer { client, accumulator, sender })
    }

    /// Takes a record; waits while the memory for records is used up. The [`Delivery`] tells
    /// what became of it, and may be dropped.
    ///
    /// # Errors
    /// The topic does not exist, the partition does not, or the record is too large.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, ClientError> {
        let size = record.size();
        let settings = self.accumulator.settings();
        if size > settings.request_bytes_max {
            let max = settings.request_bytes_max;
            let text = format!("a record of {size} bytes is more than max.request.size {max}");
            return Err(ClientError::Invalid(text));
        }
        let create = settings.create_topics;
        if !self.accumulator.knows(&record.topic) {
            let topic = self.client.topic(&record.topic, create).await?;
            self.accumulator.learn(topic);
        }
        self.accumulator.reserve(size).await?;
        self.accumulator.append(record, size)
    }

    /// Sends everything that was taken so far and waits until it is acknowledged or given up.
    pub async fn flush(&self) {
        self.accumulator.flush().await;
    }

    /// Flushes, then ends the producer's task. Records sent from now on are refused.
    pub async fn close(&self) {
        self.accumulator.close();
        self.accumulator.flush().await;
        if let Some(sender) = self.sender.lock().await.take() {
            sender.abort();
        }
    }

    /// Ends the producer's task at once. What is not acknowledged by then is given up, whether
    /// or not it is on its way; records sent from now on are refused.
    pub async fn abandon(&self) {
        if let Some(sender) = self.sender.lock().await.take() {
            sender.abort();
            // How it ended is no news.
            drop(sender.await);
        }
        self.accumulator.abandon();
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.get_mut().take() {
            sender.abort();
        }
    }
}
