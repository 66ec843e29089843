//! The node's window for people and monitoring: an HTTP thread that shows `/metrics`,
//! `/health/live` and `/health/ready`.
//!
//! The thread owns the only tokio runtime of a node. It knows the node by its handle: it reads what
//! the shards count with relaxed atomics, may ask them, and never makes one wait.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests look at files and clocks"))]

mod deadline;
mod server;

pub use server::{AdminHandle, AdminServer};
