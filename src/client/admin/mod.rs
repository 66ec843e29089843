//! The calls of administration: topics, settings, records, directories.
//!
//! Each call retries what may be retried and gives one result per topic or partition, so that a
//! caller can report every one of them.

mod configs;
mod dirs;
mod offsets;
mod topics;

pub use configs::{ConfigChange, ConfigOperation, ConfigResource, DescribedConfig};
pub use dirs::{LogDir, LogDirPartition};
pub use offsets::ListedOffset;
pub use topics::NewTopic;

/// The time that brokers are given for a change, in milliseconds.
pub(crate) const CHANGE_TIMEOUT_MS: i32 = 30_000;
