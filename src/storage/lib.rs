//! The log engine: partitions as segments of record batches on disk, in Kafka's own files.
//!
//! It knows the runtime below and nothing of requests above. [`LogDirs`] is about directories and
//! is shared by all shards; a [`Log`] is one partition and belongs to one shard, whose
//! [`StorageShard`] holds what its logs share. The pure parts (indexes, producer state, epochs,
//! checkpoint texts, batch headers) do no input or output.
//!
//! Every file is described byte by byte in `docs/storage-format.md`.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests look at files and clocks"))]

mod background_rate;
mod checked_segments;
mod compaction;
mod directories;
mod error;
mod index;
mod leader_epoch_cache;
mod local_offsets;
mod log;
mod log_dir;
mod names;
mod observer;
mod producers;
mod read;
mod recovery;
mod scrub;
mod segment;
mod shard;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod wait;

pub use background_rate::BackgroundRate;
pub use compaction::clean::{CleanOptions, Cleaned, CompactionError};
pub use compaction::{Cleanable, choose};
pub use directories::checkpoint::{MalformedFile, MetaProperties};
pub use directories::{
    CheckpointFile, DirLocks, FoundLog, Identity, LogCheckpoint, LogDirs, OpenedDirs, UnusableDir,
};
pub use error::{AppendError, ReadError, StorageError};
pub use index::transaction_index::AbortedTransaction;
pub use leader_epoch_cache::{EpochEndOffset, EpochEntry};
pub use log::append::{AppendOrigin, Appended};
pub use log::offsets::LogEnd;
pub use log::room::RoomTurn;
pub use log::timestamps::TimestampOffset;
pub use log::{Log, LogObserver};
pub use log_dir::LogDir;
pub use observer::{ReadSource, StorageObserver};
pub use producers::describe::DescribedProducer;
pub use read::{LogRead, ReadPlan};
pub use recovery::open::OpenHint;
pub use recovery::walk::{Cut, Fenced, RecoveryReport};
pub use scrub::Scrub;
pub use segment::Fence;
pub use segment::scan::ScanWork;
pub use shard::{StorageOptions, StorageShard};
