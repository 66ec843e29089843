//! The log engine: partitions as segments of record batches on disk, in Kafka's own files.
//!
//! It knows the runtime below and nothing of requests above. [`LogDirs`] is about directories and
//! is shared by all shards; a [`Log`] is one partition and belongs to one shard, whose
//! [`StorageShard`] holds what its logs share. The pure parts (indexes, producer state, epochs,
//! checkpoint texts, batch headers) do no input or output.
//!
//! Every file is described byte by byte in `docs/storage-format.md`.

mod append;
mod appender;
mod batch_header;
mod checkpoint;
#[cfg(test)]
mod damage_tests;
mod dir_files;
mod error;
mod examine;
#[cfg(test)]
mod kafka_tests;
mod leader_epoch_cache;
mod lifecycle;
mod log;
mod log_dir;
mod log_dirs;
mod names;
mod observer;
mod offset_index;
mod open;
mod opening;
#[cfg(test)]
mod page_tests;
mod preallocate;
mod producer_replay;
mod producer_snapshot;
mod producer_state;
mod read_ahead;
mod read_disk;
mod reader;
mod recovery;
#[cfg(test)]
mod recovery_tests;
#[cfg(test)]
mod reopen_tests;
mod retention;
mod scan;
mod seal;
mod segment;
mod shard;
#[cfg(test)]
mod sim_tests;
mod tail;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod time_index;
mod timestamps;
mod txn_index;
mod wait;
#[cfg(test)]
mod written_tests;

pub use append::{AppendOrigin, Appended};
pub use checkpoint::{MalformedFile, MetaProperties};
pub use error::{AppendError, ReadError, StorageError};
pub use leader_epoch_cache::EpochEntry;
pub use log::{Log, LogObserver};
pub use log_dir::LogDir;
pub use log_dirs::{
    CheckpointFile, DirLocks, FoundLog, Identity, LogCheckpoint, LogDirs, OpenedDirs, UnusableDir,
};
pub use observer::{ReadSource, StorageObserver};
pub use open::OpenHint;
pub use reader::{LogRead, ReadPlan};
pub use recovery::{Cut, Fenced, RecoveryReport};
pub use segment::Fence;
pub use shard::{StorageOptions, StorageShard};
pub use timestamps::TimestampOffset;
pub use txn_index::AbortedTransaction;
