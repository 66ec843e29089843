//! Every setting of a node and of a topic: one table, the typed values that come of it, the
//! files and flags they are read from, and what DescribeConfigs tells of them. Pure.

mod broker_config;
mod error;
mod topic_config;

pub use broker_config::{BrokerConfig, IoBackend, Listener};
pub use error::ConfigError;
pub use topic_config::{CleanupPolicy, Flush, TimestampType, TopicCompression, TopicConfig};
