//! Offsets of one log that go before what the checkpoints of its directory say.
//!
//! Checkpoints are files of all logs of a directory, written now and then by whoever has collected
//! the offsets of all shards. A log that must have a lower recovery point, or another start, on
//! disk *before* it does something else cannot wait for that: it writes the offset to a file of
//! its own, flushed with its name.
//!
//! 1. Each such file has a number, one more than the one before.
//! 2. What is collected for a checkpoint carries the newest number there was.
//! 3. When the checkpoint is on disk, the files up to that number are removed, for good. A
//!    checkpoint that was collected before the newest of them leaves that one, and it counts.
//!
//! So at any time the files and the checkpoint together say what was meant last.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringlog_runtime::Runtime;
use ringlog_types::Offset;

use crate::error::StorageError;

/// Which of a log's offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LocalOffset {
    /// At most this is the recovery point.
    RecoveryPoint,
    /// This is the log start.
    LogStart,
}

impl LocalOffset {
    fn prefix(self) -> &'static str {
        match self {
            LocalOffset::RecoveryPoint => "ringlog-recovery-point-",
            LocalOffset::LogStart => "ringlog-log-start-",
        }
    }

    /// The name of the file with this number.
    pub(crate) fn file_name(self, number: u64) -> String {
        format!("{}{number}", self.prefix())
    }

    /// Which offset a file has, and its number, by the file's name.
    pub(crate) fn parse(name: &str) -> Option<(LocalOffset, u64)> {
        [LocalOffset::RecoveryPoint, LocalOffset::LogStart].into_iter().find_map(|which| {
            let digits = name.strip_prefix(which.prefix())?;
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse().ok()).flatten().map(|number| (which, number))
        })
    }
}

/// The files of one log with one of its offsets.
pub(crate) struct LocalOffsets {
    which: LocalOffset,
    newest: Cell<u64>,
    removed_to: Arc<AtomicU64>,
}

impl LocalOffsets {
    /// Of a log whose newest file has this number; 0 if there is none.
    pub(crate) fn new(which: LocalOffset, newest: u64) -> LocalOffsets {
        LocalOffsets { which, newest: Cell::new(newest), removed_to: Arc::default() }
    }

    /// Has `offset` count from now on, also after a crash, whatever the checkpoint says.
    pub(crate) async fn write(
        &self,
        runtime: &Runtime,
        directory: &Path,
        offset: Offset,
    ) -> Result<(), StorageError> {
        let number = self.newest.get() + 1;
        let path = directory.join(self.which.file_name(number));
        let text = format!("{offset}\n");
        let written = runtime.write_file_atomic(&path, text.as_bytes()).await;
        written.map_err(StorageError::io("write", &path))?;
        self.newest.set(number);
        Ok(())
    }

    /// What a checkpoint of now makes superfluous.
    pub(crate) fn superseded(&self) -> SupersededFiles {
        SupersededFiles {
            which: self.which,
            newest: self.newest.get(),
            removed_to: self.removed_to.clone(),
        }
    }
}

/// Files that are superfluous once a checkpoint is on disk.
#[derive(Debug, Clone)]
pub(crate) struct SupersededFiles {
    which: LocalOffset,
    newest: u64,
    removed_to: Arc<AtomicU64>,
}

impl SupersededFiles {
    /// Removes them from the log's directory, for good when it returns. The log may be gone.
    pub(crate) async fn remove(
        &self,
        runtime: &Runtime,
        directory: &Path,
    ) -> Result<(), StorageError> {
        let first = self.removed_to.load(Ordering::Relaxed) + 1;
        if first > self.newest {
            return Ok(());
        }
        let mut removed = false;
        for number in first..=self.newest {
            let path = directory.join(self.which.file_name(number));
            match runtime.remove_file(&path).await {
                Ok(()) => removed = true,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(StorageError::io("remove", &path)(error)),
            }
        }
        if removed {
            let flushed = runtime.sync_dir(directory).await;
            flushed.map_err(StorageError::io("flush", directory))?;
        }
        self.removed_to.store(self.newest, Ordering::Relaxed);
        Ok(())
    }
}

/// Reads the offset from a file's bytes.
pub(crate) fn parse_offset(bytes: &[u8]) -> Option<Offset> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.strip_suffix('\n')?.parse().ok().filter(|offset| *offset >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_read_back() {
        for which in [LocalOffset::RecoveryPoint, LocalOffset::LogStart] {
            assert_eq!(LocalOffset::parse(&which.file_name(17)), Some((which, 17)));
        }
        for other in ["ringlog-fenced-ranges", "ringlog-log-start-", "ringlog-log-start-1.tmp"] {
            assert_eq!(LocalOffset::parse(other), None, "{other}");
        }
        assert_eq!(parse_offset(b"123\n"), Some(123));
        for bad in [&b""[..], b"123", b"-1\n", b"x\n", b"\xff\n"] {
            assert_eq!(parse_offset(bad), None);
        }
    }
}
