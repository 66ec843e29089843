//! The broker: shards, connections, request handlers, and the controller's log.
//!
//! This crate knows all the others. Decisions are theirs; here they meet clients, time and disks.
//! `node.rs` is where to begin reading, `handlers/` has one file for each API.

mod answers;
mod authorized_operations;
mod checkpoints;
mod connection;
mod connection_limits;
mod controller;
#[cfg(test)]
mod controller_tests;
mod directories;
mod fetch_session;
mod fetching;
mod frames;
#[cfg(test)]
mod full_disk_tests;
mod handlers;
mod home;
mod housekeeping;
mod listening;
mod message_sets;
mod metadata_cache;
mod metadata_log;
#[cfg(test)]
mod metadata_snapshot_tests;
mod metadata_snapshots;
mod node;
mod offline;
mod partition;
mod produce_check;
mod request;
mod request_memory;
mod router;
mod shard;
mod shutdown;
mod simulated;
mod spare_file;
mod startup;
mod storage_metrics;
mod topic_changes;
mod topics;

pub use node::{Node, NodeError, NodeStopper};
pub use simulated::SimulatedNode;
