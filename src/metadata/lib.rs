//! The cluster's metadata: KRaft records, the image they add up to, and the embedded controller
//! that decides on new ones. Pure: no clock, no chance, no files.
//!
//! Records are Kafka's own, in Kafka's framing, so that Apache Kafka reads a metadata log written
//! here, and the other way round.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests look at files and clocks"))]

mod controller;
mod error;
mod features;
mod image;
mod record;
mod replay;
mod snapshot_file;

pub use controller::{
    Controller, Decision, DirectoriesAtStart, DirectoryAssignment, MutationQuota, ProducerIdBlock,
    Registration, Unlimited, is_internal_topic,
};
pub use error::MetadataError;
pub use features::{
    Feature, GROUP_VERSION, GROUP_VERSION_CONSUMER, METADATA_VERSION, METADATA_VERSION_LEVEL,
    SUPPORTED_FEATURES,
};
pub use image::{
    Broker, BrokerEndpoint, BrokerFeature, ConfigResource, Delta, Image, Partition, QuotaEntity,
    QuotaValues, ResourceType, Topic,
};
pub use record::MetadataRecord;
pub use snapshot_file::{SnapshotBatches, SnapshotId, parse_snapshot_name, snapshot_timestamp_ms};
