//! Counters that shards write and the HTTP thread reads.
//!
//! Every instrument is a relaxed atomic: a reading is a moment's value of each number, not of all
//! of them together. A shard writes only its own [`ShardMetrics`], so that no cache line is
//! written by two cores.

mod instruments;
mod node;
mod shard;
mod topic;

pub use instruments::{Counter, Gauge, Histogram, HistogramReading};
pub use node::{BuildInfo, NodeMetrics};
pub use shard::{API_KEYS, ApiMetrics, ShardMetrics};
pub use topic::{TOPICS_MAX, TopicMetrics};
