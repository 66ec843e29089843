//! The partitions of this shard: their logs, what is read of them, and who waits for more.

pub(crate) mod apply;
pub(crate) mod message_sets;
pub(crate) mod offline;
pub(crate) mod partition;
pub(crate) mod read;
pub(crate) mod storage_metrics;
pub(crate) mod topics;
