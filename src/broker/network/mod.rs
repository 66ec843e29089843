//! A connection's bytes, from the listener to the answer.

pub(crate) mod answers;
pub(crate) mod connection;
pub(crate) mod connection_limits;
pub(crate) mod frames;
pub(crate) mod home;
pub(crate) mod lane;
pub(crate) mod listener;
pub(crate) mod pace;
pub(crate) mod registry;
pub(crate) mod request;
pub(crate) mod request_memory;
pub(crate) mod turn_metrics;
