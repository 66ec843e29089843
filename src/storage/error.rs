//! What can go wrong in the log engine, and the Kafka code each error becomes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringlog_types::{ErrorCode, Offset, ProducerId};

/// A log, or a whole log directory, that cannot be opened, written or flushed. Cheap to clone:
/// one failure is told to everyone who waits.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    /// The operating system refused something.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried, such as `write`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: Arc<io::Error>,
    },
    /// A write or flush failed before: the log is offline until the process is restarted. A
    /// failed flush is never retried, because the kernel may have dropped what it could not
    /// write.
    #[error("the log is offline since a failure: {reason}")]
    Offline {
        /// The first failure.
        reason: Arc<str>,
    },
    /// The log was closed or deleted.
    #[error("the log is closed")]
    Closed,
    /// The disk took nothing until the time of a request was up.
    #[error("the disk of the log directory took nothing in time")]
    HeldUp,
    /// The log was closed while the disk did not take what was appended; nobody who asked for a
    /// flush was told that it is safe.
    #[error(
        "{bytes} bytes could not be written in time: the log ends at offset {durable_offset} and \
         not at {log_end_offset}; with flush=sync nothing between was acknowledged"
    )]
    Unwritten {
        /// How much was not written.
        bytes: usize,
        /// Everything below is on disk.
        durable_offset: Offset,
        /// Where the log ended in memory.
        log_end_offset: Offset,
    },
    /// None of the log directories can be used. The first one's reason is told.
    #[error("no log directory can be used: {0}")]
    NoDirectory(Arc<StorageError>),
    /// A file is not what it should be. Nothing was changed.
    #[error("{path} cannot be used: {reason}")]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// What was durable is damaged, in a log that may not have a hole. Nothing was changed.
    #[error(
        "{path} is damaged at position {position}: {reason}. Offsets {first_offset} to \
         {end_offset} (exclusive) were on disk and cannot be read; nothing was changed"
    )]
    Damaged {
        /// The `.log`.
        path: PathBuf,
        /// The first damaged byte.
        position: u64,
        /// The first offset that cannot be read.
        first_offset: Offset,
        /// The first offset after it that can, or the end of the log.
        end_offset: Offset,
        /// What is wrong there.
        reason: &'static str,
    },
    /// What was waited for, or was being read, is gone: the end of the log was cut off, because
    /// the leader's log ended otherwise.
    #[error("the log was truncated below offset {offset}")]
    Truncated {
        /// The offset up to which something was waited for or read.
        offset: Offset,
    },
    /// An argument that does not fit the log, such as an offset beyond its end.
    #[error("offset {offset} is outside the log ({start} to {end})")]
    OffsetOutOfRange {
        /// The offset asked for.
        offset: Offset,
        /// The log's first offset.
        start: Offset,
        /// The offset after the log's last.
        end: Offset,
    },
}

impl StorageError {
    pub(crate) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> StorageError + use<> {
        let path = path.to_owned();
        move |source| StorageError::Io { action, path, source: Arc::new(source) }
    }

    pub(crate) fn unusable(path: &Path, reason: impl Into<String>) -> StorageError {
        StorageError::Unusable { path: path.to_owned(), reason: reason.into() }
    }

    /// Whether the disk is full, which passes without a restart. A `flush` by itself that fails
    /// for want of space has failed like any other: trying again would find nothing left to flush,
    /// and succeed.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, StorageError::Io { action, source, .. }
            if *action != "flush" && is_disk_full(source))
    }

    /// Whether there is no log directory to serve from.
    pub fn is_without_directory(&self) -> bool {
        matches!(self, StorageError::NoDirectory(_))
    }

    /// Whether a file is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, StorageError::Io { source, .. }
            if source.kind() == io::ErrorKind::NotFound)
    }

    /// Kafka's code for it.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            StorageError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            StorageError::Closed | StorageError::Truncated { .. } => ErrorCode::NotLeaderOrFollower,
            StorageError::HeldUp => ErrorCode::RequestTimedOut,
            _ => ErrorCode::KafkaStorageError,
        }
    }
}

/// Whether the disk, or its user's share of it, is full.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Why a batch is not appended. Nothing of it was taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The log cannot be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The log directory has no room but its reserve. Appends resume when there is space.
    #[error("no space left for appends in the log directory; free some and they resume")]
    NoSpace,
    /// The batch is larger than `max.message.bytes`.
    #[error("a batch of {size} bytes is larger than max.message.bytes ({limit})")]
    MessageTooLarge {
        /// The batch's size.
        size: usize,
        /// The topic's limit.
        limit: usize,
    },
    /// The batch is larger than a segment may be.
    #[error("a batch of {size} bytes is larger than segment.bytes ({limit})")]
    BatchTooLarge {
        /// The batch's size.
        size: usize,
        /// The topic's limit.
        limit: usize,
    },
    /// The sequence does not follow the producer's last one.
    #[error(
        "out of order: producer {producer_id} epoch {epoch} sends sequence {sequence} \
         after {current}"
    )]
    OutOfOrderSequence {
        /// The producer.
        producer_id: ProducerId,
        /// The batch's epoch.
        epoch: i16,
        /// The batch's first sequence.
        sequence: i32,
        /// The last sequence in the log; -1 if none of this epoch.
        current: i32,
    },
    /// A newer instance of the producer has taken over.
    #[error("producer {producer_id} is at epoch {current}, the batch has {epoch}")]
    InvalidProducerEpoch {
        /// The producer.
        producer_id: ProducerId,
        /// The batch's epoch.
        epoch: i16,
        /// The newest epoch seen.
        current: i16,
    },
    /// A batch outside of the producer's open transaction.
    #[error("producer {producer_id} is in a transaction, the batch is not")]
    InvalidTxnState {
        /// The producer.
        producer_id: ProducerId,
    },
    /// A replicated batch that does not follow the log's end.
    #[error("a batch at offset {base_offset} does not follow the log's end {log_end_offset}")]
    NotContiguous {
        /// The batch's first offset.
        base_offset: Offset,
        /// Where it would have to start.
        log_end_offset: Offset,
    },
}

impl AppendError {
    /// Kafka's code for it.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            AppendError::Storage(error) => error.error_code(),
            AppendError::NoSpace => ErrorCode::KafkaStorageError,
            AppendError::MessageTooLarge { .. } => ErrorCode::MessageTooLarge,
            AppendError::BatchTooLarge { .. } => ErrorCode::RecordListTooLarge,
            AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            AppendError::InvalidTxnState { .. } => ErrorCode::InvalidTxnState,
            AppendError::NotContiguous { .. } => ErrorCode::UnknownServerError,
        }
    }
}

/// Why a read gives nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The log cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The offset is not in the log.
    #[error("offset {offset} is outside the log ({start} to {end})")]
    OffsetOutOfRange {
        /// The offset asked for.
        offset: Offset,
        /// The log's first offset.
        start: Offset,
        /// The offset after the log's last.
        end: Offset,
    },
    /// The bytes on disk are damaged here; what follows can be read.
    #[error("damaged bytes at offset {offset} in {path}, position {position}: {reason}")]
    Corrupt {
        /// The offset asked for.
        offset: Offset,
        /// The segment.
        path: PathBuf,
        /// The byte at which the damage starts.
        position: u64,
        /// What is wrong.
        reason: &'static str,
    },
}

impl ReadError {
    /// Kafka's code for it.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            ReadError::Storage(error) => error.error_code(),
            ReadError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            ReadError::Corrupt { .. } => ErrorCode::CorruptMessage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flush that a thin or remote disk had no space for was tried again, and the second one,
    /// which had nothing to do, counted.
    #[test]
    fn a_flush_that_fails_is_never_a_full_disk() {
        let error = |action, kind: io::ErrorKind| {
            StorageError::io(action, Path::new("0.log"))(io::Error::from(kind))
        };
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            for action in ["write", "allocate space for", "create", "write and flush"] {
                assert!(error(action, kind).is_disk_full(), "{action}");
            }
            assert!(!error("flush", kind).is_disk_full());
        }
        assert!(!error("write", io::ErrorKind::Other).is_disk_full());
        assert!(!StorageError::Closed.is_disk_full());
    }
}
