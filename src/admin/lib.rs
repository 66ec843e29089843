//! The node's window for people and monitoring: the counters the shards write, and the HTTP
//! thread that shows them as `/metrics`, `/health/live` and `/health/ready`.
//!
//! The HTTP thread owns the only tokio runtime of a node. It reads what the shards write with
//! relaxed atomics and never makes a shard wait.

mod api_names;
mod deadline;
mod health;
pub mod metrics;
mod process;
mod render;
mod server;

pub use server::{AdminHandle, AdminServer};
