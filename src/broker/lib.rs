//! The broker: shards, connections, request handlers, and the controller's log.
//!
//! This crate knows all the others. Decisions are theirs; here they meet clients, time and disks.
//! Its rooms: `network` (bytes of connections), `replicas` (the partitions of a shard),
//! `coordinators` (groups, on their partitions), `metadata_source` (where the cluster's metadata
//! comes from), `handlers` (one file for each API) and `node` (start, stop and upkeep of the
//! whole). `node/mod.rs` is where to begin reading.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests look at files and clocks"))]

mod authorizer;
mod checkpoints;
mod coordinators;
mod error;
mod fetch_session;
mod handlers;
mod metadata_cache;
mod metadata_source;
mod network;
mod node;
mod publisher;
mod refused_topics;
mod replicas;
mod router;
mod shard;
mod shared;
#[cfg(test)]
mod tests;

pub use error::NodeError;
pub use node::simulated::SimulatedNode;
pub use node::{Node, NodeHandle};
