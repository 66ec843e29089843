//! Removing what is old: by time, by size, and by request.
//!
//! Whole segments go, oldest first, and only what is sealed and below the high watermark. A
//! segment's files are renamed to `.deleted` at once and removed after `file.delete.delay.ms`, so
//! that a read that has just found them can finish; a restart removes what is left of them.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use ringlog_types::{Offset, TimestampMs};

use crate::error::{ReadError, StorageError};
use crate::log::Log;
use crate::log::append::roll_ms;
use crate::names;
use crate::segment::{Segment, Stage};

/// The files of a segment, and the snapshot that goes with it.
const SEGMENT_FILES: [&str; 5] =
    [names::LOG, names::INDEX, names::TIME_INDEX, names::TXN_INDEX, names::SNAPSHOT];

impl Log {
    /// Moves the start of the log up to `before`, which must not be beyond the high watermark.
    /// Returns the new start. Segments entirely below it are removed.
    pub async fn delete_records(&self, before: Offset) -> Result<Offset, StorageError> {
        self.follow_directory();
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        let (start, end) = (self.offsets.log_start(), self.high_watermark());
        if before < 0 || before > end {
            return Err(StorageError::OffsetOutOfRange { offset: before, start, end });
        }
        // With `flush=async` the end may be lost with the power, and the start must not be beyond.
        self.wait_durable(self.offsets.end_at(before)).await?;
        if self.offsets.started_at(before) {
            self.epochs.borrow_mut().truncate_from_start(before);
            self.delete_below_start().await?;
        }
        Ok(self.offsets.log_start())
    }

    /// Removes segments that are too old or too many, and forgets producers that were idle for
    /// long. Returns how many segments went.
    pub async fn apply_retention(&self, now_ms: TimestampMs) -> Result<usize, StorageError> {
        self.follow_directory();
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        let expiration_ms = self.shard.producer_id_expiration_ms();
        self.producers.borrow_mut().remove_expired(now_ms, expiration_ms);
        self.retry_fences().await;
        let mut removed = self.delete_below_start().await?;
        let config = self.config();
        if !config.cleanup_policy.delete {
            return Ok(removed);
        }
        let mut excess = match config.retention_bytes {
            bytes if bytes < 0 => 0,
            bytes => self.size_bytes().saturating_sub(bytes as u64),
        };
        loop {
            let segment = self.segments.borrow()[0].clone();
            let size = segment.size.get();
            if size == 0 {
                return Ok(removed);
            }
            let expired = config.retention_ms >= 0
                && match self.newest_timestamp(&segment).await {
                    Ok(newest) => now_ms.saturating_sub(newest) > config.retention_ms,
                    // There is nothing left to keep, and what follows is not to stay for ever.
                    Err(error) if segment.stage.get() == Stage::Sealed && error.is_not_found() => {
                        tracing::error!(partition = %self.topic_partition, %error,
                            base_offset = segment.base_offset, "a segment is gone");
                        true
                    }
                    Err(error) => return Err(error),
                };
            if !expired && (size > excess || excess == 0) {
                return Ok(removed);
            }
            if segment.stage.get() == Stage::Open {
                // Kafka rolls the active segment when all of it is too old; by size it stays.
                let written = self.offsets.settled() == self.offsets.log_end();
                if !expired || !written || self.closing.get() || self.is_being_cut.get() {
                    return Ok(removed);
                }
                self.open_next_segment(&segment, self.offsets.log_end(), now_ms);
                self.kick_writer();
                // It is removed when it is sealed, with the next round.
                return Ok(removed);
            }
            if !self.remove_first(&segment).await? {
                return Ok(removed);
            }
            excess = excess.saturating_sub(size);
            removed += 1;
        }
    }

    /// Rolls a segment that is older than `segment.ms` though nothing is appended to it.
    pub fn roll_if_old(&self, now_ms: TimestampMs) {
        let segment = self.open_segment();
        let age_ms = now_ms.saturating_sub(segment.created_ms.get());
        let limit_ms = roll_ms(&self.config.borrow()).saturating_sub(segment.jitter_ms.get());
        if segment.size.get() > 0 && age_ms > limit_ms && self.may_roll() {
            self.open_next_segment(&segment, self.offsets.log_end(), now_ms);
            self.kick_writer();
        }
    }

    async fn delete_below_start(&self) -> Result<usize, StorageError> {
        let mut removed = 0;
        loop {
            let first = {
                let segments = self.segments.borrow();
                let below = segments
                    .get(1)
                    .is_some_and(|next| next.base_offset <= self.offsets.log_start());
                if !below {
                    return Ok(removed);
                }
                segments[0].clone()
            };
            if !self.remove_first(&first).await? {
                return Ok(removed);
            }
            removed += 1;
        }
    }

    /// Removes the first segment of the log, if it is sealed, still the first, and below the high
    /// watermark.
    async fn remove_first(&self, segment: &Rc<Segment>) -> Result<bool, StorageError> {
        {
            let mut segments = self.segments.borrow_mut();
            let removable = segments.len() > 1
                && !self.cleaning.is_replacing()
                && Rc::ptr_eq(&segments[0], segment)
                && segment.stage.get() == Stage::Sealed
                && segments[1].base_offset <= self.high_watermark();
            if !removable {
                return Ok(false);
            }
            segments.remove(0);
        }
        self.shard.tail_shrank(segment.tail.borrow_mut().clear());
        let start = self.segments.borrow()[0].base_offset;
        if self.offsets.started_at(start) {
            self.epochs.borrow_mut().truncate_from_start(start);
        }
        self.snapshots.borrow_mut().remove(&segment.base_offset);
        let directory = self.path.borrow().clone();
        let base_offset = segment.base_offset;
        tracing::info!(partition = %self.topic_partition, base_offset, "segment removed");
        self.mark_deleted(&directory, base_offset).await?;
        self.remove_later(directory, base_offset);
        Ok(true)
    }

    pub(crate) async fn mark_deleted(
        &self,
        directory: &Path,
        base: Offset,
    ) -> Result<(), StorageError> {
        let runtime = self.shard.runtime();
        for suffix in SEGMENT_FILES {
            let path = directory.join(names::segment_file(base, suffix));
            let deleted = directory.join(names::segment_file(base, suffix) + names::DELETED);
            match runtime.rename(&path, &deleted).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StorageError::io("rename", &path)(error));
                }
                _ => {}
            }
        }
        runtime.sync_dir(directory).await.map_err(StorageError::io("flush", directory))
    }

    pub(crate) fn remove_later(&self, directory: Rc<Path>, base: Offset) {
        let delay_ms = self.config.borrow().file_delete_delay_ms.max(0) as u64;
        let runtime = self.shard.runtime().clone();
        drop(self.shard.runtime().spawn(async move {
            runtime.sleep(Duration::from_millis(delay_ms)).await;
            for suffix in SEGMENT_FILES {
                let path = directory.join(names::segment_file(base, suffix) + names::DELETED);
                match runtime.remove_file(&path).await {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        tracing::warn!(path = %path.display(), %error, "cannot be removed");
                    }
                    _ => {}
                }
            }
        }));
    }

    /// The largest timestamp of a segment; the time it was last written if it has none.
    async fn newest_timestamp(&self, segment: &Rc<Segment>) -> Result<TimestampMs, StorageError> {
        self.load_max_timestamp(segment).await.map_err(|error| match error {
            ReadError::Storage(error) => error,
            other => StorageError::unusable(&segment.path(names::LOG), other.to_string()),
        })?;
        let newest = segment.max_timestamp.get().map(|(timestamp, _)| timestamp);
        // Damaged batches may have been the newest.
        if let Some(timestamp) = newest
            && segment.fences.borrow().is_empty()
        {
            return Ok(timestamp);
        }
        let path = segment.path(names::LOG);
        let stat = self.shard.runtime().stat(&path).await;
        let written_ms = stat.map_err(StorageError::io("stat", &path))?.modified_ms;
        Ok(newest.map_or(written_ms, |timestamp| timestamp.max(written_ms)))
    }
}
