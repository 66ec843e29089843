//! The words every layer shares: error codes, ids, topic names and partitions. Pure.

mod error_code;
mod ids;
mod topic;
mod uuid;

pub use error_code::ErrorCode;
pub use ids::BrokerId;
pub use topic::{InvalidTopicName, TopicIdPartition, TopicPartition, validate_topic_name};
pub use uuid::{InvalidUuid, Uuid};

/// The position of a record in a partition's log; the first is 0.
pub type Offset = i64;

/// Milliseconds since the Unix epoch, as Kafka stamps records; -1 means none.
pub type TimestampMs = i64;

/// The id of an idempotent or transactional producer (KIP-98); -1 means none.
pub type ProducerId = i64;

/// Which leadership of a partition wrote a batch (KIP-101); -1 means unknown.
pub type LeaderEpoch = i32;
