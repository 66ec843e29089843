//! A small file beside the metadata log that can be given up when the disk is full, so that topics
//! can still be deleted then, and a restart can begin its epoch.
//!
//! Its blocks are allocated and never written. The log cannot keep spare blocks of its own over a
//! stop: its files end exactly where their records do, for Kafka's tools.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use ringlog_runtime::{OpenOptions, Runtime};

pub(crate) const SPARE_FILE: &str = "ringlog-spare";
/// The log takes this much at once when it is given up: room for a thousand deletions.
pub(crate) const SPARE_BYTES: u64 = 256 << 10;

/// The file, there or not.
pub(crate) struct SpareFile {
    rt: Runtime,
    path: PathBuf,
    is_there: Cell<bool>,
}

impl SpareFile {
    /// The spare file of the log in `directory`, as it was left.
    pub(crate) async fn find(rt: &Runtime, directory: &Path) -> SpareFile {
        let path = directory.join(SPARE_FILE);
        let found = rt.stat(&path).await;
        let is_there = Cell::new(found.is_ok_and(|stat| stat.len >= SPARE_BYTES));
        SpareFile { rt: rt.clone(), path, is_there }
    }

    /// Makes the file if it is not there. Without space it stays away.
    pub(crate) async fn keep(&self) {
        if self.is_there.get() {
            return;
        }
        let options = OpenOptions { write: true, create: true, ..OpenOptions::default() };
        let made = async {
            let file = self.rt.open(&self.path, &options).await?;
            self.rt.allocate(&file, 0, SPARE_BYTES).await?;
            self.rt.sync_data(&file).await
        };
        match made.await {
            Ok(()) => self.is_there.set(true),
            Err(error) => {
                tracing::debug!(path = %self.path.display(), %error, "no spare blocks");
                drop(self.rt.remove_file(&self.path).await);
            }
        }
    }

    /// Removes the file, so that its blocks are free. Returns whether there was one.
    pub(crate) async fn give_up(&self) -> bool {
        if !self.is_there.replace(false) {
            return false;
        }
        tracing::warn!(path = %self.path.display(), "the disk is full: spare blocks are given up");
        match self.rt.remove_file(&self.path).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "cannot be removed");
                false
            }
        }
    }
}
