//! A small Kafka client on tokio: connections with pipelining and version negotiation, cluster
//! metadata, a producer, a consumer without groups, and the calls of topic administration.
//!
//! Invariants:
//! - Bytes from a broker never panic, and what is kept of them is bounded.
//! - Every error that a person may see says what was tried and what to do.
//! - Nothing waits for ever: each request has a timeout, each operation a deadline.

mod admin;
mod client;
mod connection;
#[cfg(test)]
mod connection_tests;
mod consumer;
mod error;
mod metadata;
mod partitioner;
mod pieces;
mod producer;
mod retry;
mod settings;
mod versions;

pub use admin::{
    ConfigChange, ConfigOperation, ConfigResource, DescribedConfig, ListedOffset, LogDir,
    LogDirPartition, NewTopic,
};
pub use client::{Client, Node};
pub use connection::Reply;
pub use consumer::{Consumer, ConsumerSettings, FetchedRecord, OffsetSpec, StartFrom, Until};
pub use error::ClientError;
pub use metadata::{Broker, Cluster, PartitionMetadata, TopicMetadata};
pub use partitioner::{Partitioner, murmur2};
pub use producer::{Acks, Delivered, Delivery, Producer, ProducerRecord, ProducerSettings};
pub use settings::ClientSettings;
