//! Whose turn it is to write the file of a log's fences, and whether it says all of them.
//!
//! Several segments of a log may be examined at once, and each writing is of all fences: one that
//! began earlier must not end later.

use std::cell::Cell;

use ringlog_runtime::sync::SharedRun;

use crate::error::StorageError;

/// See the head of this file.
#[derive(Default)]
pub(crate) struct FenceFile {
    turn: SharedRun<Result<(), StorageError>>,
    /// The last writing failed.
    is_stale: Cell<bool>,
}

impl FenceFile {
    /// Whether the file lacks fences that are known.
    pub(crate) fn is_stale(&self) -> bool {
        self.is_stale.get()
    }

    /// Has `work` write what is known when its turn comes, unless another writing that begins
    /// after this call serves as well.
    pub(crate) async fn write<F>(&self, work: impl FnOnce() -> F) -> Result<(), StorageError>
    where
        F: Future<Output = Result<(), StorageError>>,
    {
        let written = self.turn.join(work).await;
        self.is_stale.set(written.is_err());
        written
    }
}
