//! What a node counts and knows of its health, and the text in which monitoring reads it.
//!
//! Every instrument is a relaxed atomic: a reading is a moment's value of each number, not of all
//! of them together. A shard writes only its own [`ShardMetrics`], so that no cache line is
//! written by two cores, and is never made to wait by a reader.

mod api_names;
mod health;
mod instruments;
mod node;
mod process;
mod render;
mod shard;
mod topic;

pub use instruments::{Counter, Gauge, Histogram, HistogramReading};
pub use node::{BuildInfo, NodeMetrics};
pub use render::{CONTENT_TYPE, prometheus};
pub use shard::{API_KEYS, ApiMetrics, ShardMetrics};
pub use topic::{TOPICS_MAX, TopicMetrics};
