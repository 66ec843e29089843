//! The metadata of a cluster of one node: its controller runs here and writes its own log.

pub(crate) mod controller;
pub(crate) mod log;
pub(crate) mod requests;
pub(crate) mod snapshots;
pub(crate) mod spare_file;
