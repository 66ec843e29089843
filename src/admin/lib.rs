//! The node's window for people and monitoring: an HTTP thread that shows `/metrics`,
//! `/health/live` and `/health/ready`.
//!
//! The thread owns the only tokio runtime of a node. It reads what the shards write with relaxed
//! atomics and never makes a shard wait.

mod deadline;
mod server;

pub use server::{AdminHandle, AdminServer};
