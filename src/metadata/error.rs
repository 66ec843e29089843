//! Why a metadata record, or a log of them, cannot be used.

use ringlog_types::{BrokerId, Uuid};

/// A metadata log that does not make sense here. A node that meets one must not serve from it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The bytes of a record are not what its type and version say.
    #[error("a metadata record of type {api_key}, version {version}, cannot be read: {reason}")]
    Malformed {
        /// The record's type; -1 when even that cannot be read.
        api_key: i16,
        /// Its version.
        version: i16,
        /// What is wrong.
        reason: String,
    },
    /// A record of a type, or in a version, that a newer Kafka writes.
    #[error(
        "a metadata record of type {api_key}, version {version}, is newer than this node knows; \
         the log was written at a newer metadata.version"
    )]
    Unknown {
        /// The record's type.
        api_key: i16,
        /// Its version.
        version: i16,
    },
    /// A record about a topic that does not exist.
    #[error("a {record} names topic id {topic_id}, which no topic has")]
    UnknownTopic {
        /// The kind of record.
        record: &'static str,
        /// The id.
        topic_id: Uuid,
    },
    /// A record about a partition that does not exist.
    #[error("a {record} names partition {partition} of topic id {topic_id}, which does not exist")]
    UnknownPartition {
        /// The kind of record.
        record: &'static str,
        /// The topic's id.
        topic_id: Uuid,
        /// The partition.
        partition: i32,
    },
    /// A record about a broker that is not registered, or not in this epoch.
    #[error("a {record} names broker {broker} in epoch {epoch}, which is not registered so")]
    UnknownBroker {
        /// The kind of record.
        record: &'static str,
        /// The broker.
        broker: BrokerId,
        /// The epoch.
        epoch: i64,
    },
    /// A topic created twice.
    #[error("a TopicRecord creates topic {0:?}, which exists")]
    DuplicateTopic(String),
    /// A name that no topic may have.
    #[error("a TopicRecord creates a topic with the illegal name {0:?}")]
    IllegalTopicName(String),
    /// Records outside the order that transactions want.
    #[error("{0}")]
    Transaction(&'static str),
    /// A batch of the log that is not a good batch.
    #[error("offset {offset} of the metadata log: {reason}")]
    Batch {
        /// Where.
        offset: i64,
        /// What is wrong.
        reason: String,
    },
}
