//! The ends of a log's life: closing it cleanly, deleting it.

use std::rc::Rc;
use std::time::Duration;

use ringlog_runtime::{Elapsed, Instant};
use ringlog_types::{TimestampMs, Uuid};

use crate::error::StorageError;
use crate::log::Log;
use crate::names;

/// How long closing a log waits for the disk. A write takes milliseconds; longer than this takes
/// only a disk that is full or gone.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(10);

impl Log {
    /// Writes and flushes everything, trims the files, writes epochs and producer snapshot. The
    /// log takes nothing afterwards. Like [`Log::close_by`], in a time that suits one log.
    pub async fn close(&self) -> Result<(), StorageError> {
        self.close_by(self.shard.runtime().now() + CLOSE_TIME_MAX).await
    }

    /// Closes the log, and waits for what is not written no longer than until `deadline`. A log
    /// that is written already closes cleanly even after it.
    ///
    /// # Errors
    /// `Unwritten` when time ran out, as on a full disk: recovery then finds a log that ends
    /// earlier, and the directory must not be marked as cleanly shut down. Other errors are the
    /// disk's.
    pub async fn close_by(&self, deadline: Instant) -> Result<(), StorageError> {
        self.follow_directory();
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        self.closing.set(true);
        let runtime = self.shard.runtime();
        let written = async {
            self.wait_settled(self.end()).await?;
            self.wait_sealed().await?;
            self.pause_writer().await;
            self.cleaning.wait_replaced().await;
            Ok(())
        };
        match runtime.timeout(deadline - runtime.now(), written).await {
            Ok(written) => written?,
            Err(Elapsed) => {
                let unwritten = StorageError::Unwritten {
                    bytes: self.writer.dirty_bytes.get(),
                    durable_offset: self.offsets.durable(),
                    log_end_offset: self.offsets.log_end(),
                };
                self.fail(&StorageError::Closed);
                return Err(unwritten);
            }
        }
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        self.write_down_checks(0).await;
        let segment = self.open_segment();
        segment.complete_time_index();
        self.trim(&segment).await?;
        let producers = self.producers.borrow().entries().clone();
        let end = self.offsets.log_end();
        self.write_checkpoint_files(end, Some(&producers)).await?;
        segment.write.borrow_mut().file = None;
        self.fail(&StorageError::Closed);
        Ok(())
    }

    /// Rolls the open segment if it has at least `bytes`.
    pub fn roll_if_larger(&self, bytes: u64, now_ms: TimestampMs) {
        let segment = self.open_segment();
        if segment.size.get() >= bytes.max(1) && self.may_roll() {
            self.open_next_segment(&segment, self.offsets.log_end(), now_ms);
            self.kick_writer();
        }
    }

    /// Deletes the log: its directory is renamed at once, so that the name is free, and removed
    /// after `file.delete.delay.ms`.
    pub async fn delete(&self) -> Result<(), StorageError> {
        self.pause_writer().await;
        self.cleaning.wait_replaced().await;
        self.fail(&StorageError::Closed);
        let runtime = self.shard.runtime();
        let (high, low) = (runtime.random_u64(), runtime.random_u64());
        let unique = Uuid::from_random((u128::from(high) << 64) | u128::from(low));
        let from = self.path.borrow().clone();
        let name = names::deleted_directory(&self.topic_partition, unique);
        let to: Rc<std::path::Path> = self.dir.path().join(name).into();
        runtime.rename(&from, &to).await.map_err(StorageError::io("rename", &from))?;
        let parent = self.dir.path();
        runtime.sync_dir(parent).await.map_err(StorageError::io("flush", parent))?;
        // Reads under way find their files under the new name.
        for segment in self.segments.borrow().iter() {
            segment.moved_to(&to);
        }
        self.path.replace(to.clone());
        let delay_ms = self.config.borrow().file_delete_delay_ms.max(0) as u64;
        let runtime = runtime.clone();
        drop(self.shard.runtime().spawn(async move {
            runtime.sleep(Duration::from_millis(delay_ms)).await;
            if let Err(error) = runtime.remove_dir_all(&to).await {
                tracing::warn!(path = %to.display(), %error, "cannot be removed");
            }
        }));
        Ok(())
    }
}
