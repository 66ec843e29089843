//! What one shard counts.

use std::sync::Arc;
use std::time::Duration;

use crate::instruments::{Counter, Gauge, Histogram};
use crate::topic::{TopicMetrics, Topics};

/// API keys from 0 that are counted one by one; Kafka 4.3's highest is 93. Higher ones share the
/// last place.
pub const API_KEYS: usize = 96;

/// The requests of one API.
#[derive(Debug, Default)]
pub struct ApiMetrics {
    /// Requests that were answered by closing the connection.
    pub errors: Counter,
    /// From the last byte of the request to the answer being ready, long polls included. Its
    /// count is the number of requests.
    pub latency: Histogram,
}

/// The counters of one shard. Created once per shard ([`super::NodeMetrics::shard`]), written by
/// that shard's thread only, read by the HTTP thread.
#[derive(Debug)]
#[repr(align(128))]
pub struct ShardMetrics {
    pub(crate) shard: u16,
    apis: Box<[ApiMetrics]>,
    /// Bytes of requests, length prefixes included.
    pub bytes_received: Counter,
    /// Bytes of answers, length prefixes included.
    pub bytes_sent: Counter,
    /// Connections that are open.
    pub connections: Gauge,
    /// Connections accepted.
    pub connections_accepted: Counter,
    /// Connections taken over from another shard.
    pub connections_taken_over: Counter,
    /// Connections refused: too many of one address.
    pub connections_refused: Counter,
    /// Connections closed because of what came over them.
    pub protocol_errors: Counter,
    /// Requests taken up and not yet answered.
    pub requests_open: Gauge,
    /// Fetches that wait for data.
    pub fetches_parked: Gauge,
    /// Fetches that had to wait for data.
    pub fetches_parked_total: Counter,
    /// Places where records on disk were found damaged, and fenced.
    pub damage_found: Counter,
    /// Reads that went on behind damaged records.
    pub damage_passed: Counter,
    /// Bytes that the scrub has read.
    pub scrubbed_bytes: Counter,
    /// Segments in which the scrub found damage, or that it could not read.
    pub scrub_damage_found: Counter,
    /// How long the segment that was not checked for longest was not, in milliseconds.
    pub longest_unchecked_ms: Gauge,
    /// Bytes of batches appended to logs.
    pub bytes_appended: Counter,
    /// Bytes written to segments, padding and zeros ahead of their end included.
    pub bytes_written: Counter,
    /// Bytes made durable.
    pub bytes_flushed: Counter,
    /// Durable writes and fdatasyncs, with their time.
    pub flushes: Histogram,
    /// Turns of the shard's loop: while one lasts, nobody else of the shard is served.
    pub turns: Histogram,
    /// The longest of them, in nanoseconds.
    pub turn_max_ns: Gauge,
    /// Reads served from the append buffers. One that takes from there and from a file counts as
    /// both.
    pub tail_hits: Counter,
    /// Bytes of those reads.
    pub tail_read_bytes: Counter,
    /// Reads served from files, read ahead or not.
    pub tail_misses: Counter,
    /// Bytes of those reads.
    pub file_read_bytes: Counter,
    /// Windows read ahead of consumers that catch up.
    pub read_ahead_windows: Counter,
    /// Windows of those that somebody came for.
    pub read_ahead_windows_used: Counter,
    /// Bytes appended and not written yet.
    pub dirty_bytes: Gauge,
    /// Memory of the append buffers.
    pub tail_bytes: Gauge,
    /// Compactions of a log that ended well.
    pub compactions: Counter,
    /// Bytes of batches that compactions rewrote.
    pub compaction_read_bytes: Counter,
    /// Bytes that are left of those.
    pub compaction_written_bytes: Counter,
    /// Records that compactions left out.
    pub compaction_dropped_records: Counter,
    /// The largest share of a log that is not compacted and could be, in percent.
    pub compaction_dirty_percent: Gauge,
    /// Age of the oldest records that are not compacted and could be.
    pub compaction_oldest_dirty_seconds: Gauge,
    /// Logs that cannot be compacted.
    pub compaction_uncleanable: Gauge,
    /// Messages received from other shards.
    pub mailbox_messages: Counter,
    /// Partitions this shard owns.
    pub partitions: Gauge,
    /// Partitions of those whose log has failed.
    pub partitions_offline: Gauge,
    topics: Topics,
}

impl ShardMetrics {
    pub(crate) fn new(shard: u16) -> ShardMetrics {
        ShardMetrics {
            shard,
            apis: (0..=API_KEYS).map(|_| ApiMetrics::default()).collect(),
            bytes_received: Counter::default(),
            bytes_sent: Counter::default(),
            connections: Gauge::default(),
            connections_accepted: Counter::default(),
            connections_taken_over: Counter::default(),
            connections_refused: Counter::default(),
            protocol_errors: Counter::default(),
            requests_open: Gauge::default(),
            fetches_parked: Gauge::default(),
            fetches_parked_total: Counter::default(),
            damage_found: Counter::default(),
            damage_passed: Counter::default(),
            scrubbed_bytes: Counter::default(),
            scrub_damage_found: Counter::default(),
            longest_unchecked_ms: Gauge::default(),
            bytes_appended: Counter::default(),
            bytes_written: Counter::default(),
            bytes_flushed: Counter::default(),
            flushes: Histogram::default(),
            turns: Histogram::default(),
            turn_max_ns: Gauge::default(),
            tail_hits: Counter::default(),
            tail_read_bytes: Counter::default(),
            tail_misses: Counter::default(),
            file_read_bytes: Counter::default(),
            read_ahead_windows: Counter::default(),
            read_ahead_windows_used: Counter::default(),
            dirty_bytes: Gauge::default(),
            tail_bytes: Gauge::default(),
            compactions: Counter::default(),
            compaction_read_bytes: Counter::default(),
            compaction_written_bytes: Counter::default(),
            compaction_dropped_records: Counter::default(),
            compaction_dirty_percent: Gauge::default(),
            compaction_oldest_dirty_seconds: Gauge::default(),
            compaction_uncleanable: Gauge::default(),
            mailbox_messages: Counter::default(),
            partitions: Gauge::default(),
            partitions_offline: Gauge::default(),
            topics: Topics::default(),
        }
    }

    /// The counters of one API.
    pub fn api(&self, api_key: i16) -> &ApiMetrics {
        let place = usize::try_from(api_key).map_or(API_KEYS, |key| key.min(API_KEYS));
        &self.apis[place]
    }

    /// All APIs by key; the last one is of the keys from [`API_KEYS`] on.
    pub(crate) fn apis(&self) -> impl Iterator<Item = (usize, &ApiMetrics)> {
        self.apis.iter().enumerate()
    }

    /// A request's frame of `bytes` came in.
    pub fn received(&self, bytes: usize) {
        self.bytes_received.add(bytes as u64);
    }

    /// An answer of `bytes` went out.
    pub fn sent(&self, bytes: usize) {
        self.bytes_sent.add(bytes as u64);
    }

    /// A request was taken up; [`ShardMetrics::request_answered`] follows.
    pub fn request_begun(&self) {
        self.requests_open.add(1);
    }

    /// A request's answer is ready, `took` after the request was complete.
    pub fn request_answered(&self, api_key: i16, took: Duration, is_error: bool) {
        self.requests_open.add(-1);
        let api = self.api(api_key);
        api.latency.record(took);
        if is_error {
            api.errors.increment();
        }
    }

    /// A connection was accepted; [`ShardMetrics::connection_closed`] follows.
    pub fn connection_opened(&self) {
        self.connections_accepted.increment();
        self.connections.add(1);
    }

    /// A connection came from another shard; [`ShardMetrics::connection_closed`] follows.
    pub fn connection_taken_over(&self) {
        self.connections_taken_over.increment();
        self.connections.add(1);
    }

    /// A connection has ended, or goes on on another shard.
    pub fn connection_closed(&self) {
        self.connections.add(-1);
    }

    /// A connection was closed at once because its address has too many.
    pub fn connection_refused(&self) {
        self.connections_refused.increment();
    }

    /// A connection was closed because of what came over it.
    pub fn protocol_error(&self) {
        self.protocol_errors.increment();
    }

    /// A fetch begins to wait for data; [`ShardMetrics::fetch_unparked`] follows.
    pub fn fetch_parked(&self) {
        self.fetches_parked_total.increment();
        self.fetches_parked.add(1);
    }

    /// A waiting fetch goes on.
    pub fn fetch_unparked(&self) {
        self.fetches_parked.add(-1);
    }

    /// A batch of `bytes` was appended to a log.
    pub fn appended(&self, bytes: usize) {
        self.bytes_appended.add(bytes as u64);
    }

    /// A read took `bytes` from the append buffers.
    pub fn read_from_tail(&self, bytes: u64) {
        self.tail_hits.increment();
        self.tail_read_bytes.add(bytes);
    }

    /// A read took `bytes` from a file.
    pub fn read_from_file(&self, bytes: u64) {
        self.tail_misses.increment();
        self.file_read_bytes.add(bytes);
    }

    /// A turn of the shard's loop took so long.
    pub fn turned(&self, took: Duration) {
        self.turns.record(took);
        let took_ns = i64::try_from(took.as_nanos()).unwrap_or(i64::MAX);
        if took_ns > self.turn_max_ns.get() {
            self.turn_max_ns.set(took_ns);
        }
    }

    /// `bytes` were made durable in `took`.
    pub fn flushed(&self, bytes: u64, took: Duration) {
        self.bytes_flushed.add(bytes);
        self.flushes.record(took);
    }

    /// The counters of a topic, to be kept by whoever counts; the number of names is bounded.
    pub fn topic(&self, name: &str) -> Arc<TopicMetrics> {
        self.topics.register(name)
    }

    /// Forgets a deleted topic.
    pub fn remove_topic(&self, name: &str) {
        self.topics.remove(name);
    }

    pub(crate) fn topics(&self) -> Vec<(String, Arc<TopicMetrics>)> {
        self.topics.list()
    }
}
