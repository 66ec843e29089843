//! The ends of a log's life: closing it cleanly, deleting it, cutting its end.

use std::rc::Rc;
use std::time::Duration;

use ringlog_runtime::{Elapsed, Instant};
use ringlog_types::{Offset, TimestampMs, Uuid};

use crate::error::StorageError;
use crate::log::Log;
use crate::log::seal::{self, LogFile};
use crate::names;
use crate::producers::snapshot;
use crate::recovery::producer_replay::{Loaded, Replay};
use crate::segment::tail::{BLOCK, Tail, block_floor};
use crate::segment::{Segment, SegmentIndex, Stage};

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
            self.wait_settled(self.offsets.log_end()).await?;
            self.pause_writer().await;
            Ok(())
        };
        match runtime.timeout(deadline - runtime.now(), written).await {
            Ok(written) => written?,
            Err(Elapsed) => {
                let unwritten = StorageError::Unwritten {
                    bytes: self.dirty_bytes.get(),
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
        let segment = self.open_segment();
        segment.complete_time_index();
        self.trim(&segment).await?;
        let snapshot = snapshot::encode(&self.producers.borrow());
        let end = self.offsets.log_end();
        self.write_checkpoint_files(end, Some(&snapshot)).await?;
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

    /// Cuts off everything from `offset` on, which must lie in the log; used by followers whose
    /// end differs from the leader's. If `offset` is in the middle of a batch, the batch goes
    /// too. Returns the new end. The caller sees to it that nothing is appended meanwhile.
    pub async fn truncate_to(&self, offset: Offset) -> Result<Offset, StorageError> {
        let (start, end) = (self.offsets.log_start(), self.offsets.log_end());
        if offset < start || offset > end {
            return Err(StorageError::OffsetOutOfRange { offset, start, end });
        }
        if offset == end {
            return Ok(end);
        }
        self.wait_settled(end).await?;
        self.pause_writer().await;
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        let result = self.cut(offset).await;
        if let Err(error) = &result {
            self.fail(error);
        }
        self.writer_paused.set(false);
        self.kick_writer();
        result
    }

    async fn cut(&self, offset: Offset) -> Result<Offset, StorageError> {
        let segment = self.segment_for(offset).expect("the offset is in the log");
        let located = self.locate(offset).await.map_err(|error| {
            StorageError::unusable(&segment.path(names::LOG), error.to_string())
        })?;
        let (segment, position, end_offset) = match located {
            Some((found, at)) => (found, at.position, at.header.base_offset.min(offset)),
            None => (segment.clone(), segment.size.get(), offset),
        };
        // Newest first, so that a crash in between leaves a log without a gap.
        loop {
            let last = self.open_last();
            if Rc::ptr_eq(&last, &segment) {
                break;
            }
            self.remove_last(&last).await?;
        }
        self.reopen_at(&segment, position, end_offset).await?;
        self.offsets.truncated_to(end_offset);
        self.epochs.borrow_mut().truncate_from_end(end_offset);
        self.reset_notification(end_offset);
        self.reload_producers(end_offset).await?;
        self.write_epochs().await?;
        Ok(end_offset)
    }

    fn open_last(&self) -> Rc<Segment> {
        self.segments.borrow().last().expect("a log has a segment").clone()
    }

    async fn remove_last(&self, segment: &Rc<Segment>) -> Result<(), StorageError> {
        self.segments.borrow_mut().pop();
        self.shard.tail_shrank(segment.tail.borrow_mut().clear());
        segment.write.borrow_mut().file = None;
        let directory = self.path.borrow().clone();
        self.snapshots.borrow_mut().remove(&segment.base_offset);
        self.mark_deleted(&directory, segment.base_offset).await?;
        self.remove_later(directory, segment.base_offset);
        Ok(())
    }

    /// Cuts a segment at a batch boundary and makes it the open one.
    async fn reopen_at(
        &self,
        segment: &Rc<Segment>,
        position: u64,
        end_offset: Offset,
    ) -> Result<(), StorageError> {
        self.load_index(segment).await.map_err(|error| {
            StorageError::unusable(&segment.path(names::INDEX), error.to_string())
        })?;
        self.shard.tail_shrank(segment.tail.borrow_mut().clear());
        segment.reader.take();
        segment.direct_reader.take();
        if segment.lent.replace(false) {
            // Pages of the file may still be queued in sockets, and cutting it would change
            // them: the cut is made on a copy that takes the file's place.
            self.copy_prefix(segment, position).await?;
        }
        segment.write.borrow_mut().file = None;
        let file = seal::open_log_file(self, segment, LogFile::Existing).await?;
        let block = block_floor(position);
        let path = segment.path(names::LOG);
        let runtime = self.shard.runtime();
        let buffer = runtime.buffers().get(BLOCK as usize);
        let (read, buffer) = runtime.read_at(&file, buffer, block).await;
        let read = read.map_err(StorageError::io("read", &path))?;
        let length = (position - block) as usize;
        if read < length {
            return Err(StorageError::unusable(&path, "it is shorter than its index says"));
        }
        let residue = bytes::Bytes::copy_from_slice(&buffer[..length]);
        segment.tail.replace(Tail::with_residue(block, residue));
        segment.stage.set(Stage::Open);
        segment.closing_snapshot.take();
        if let Some(SegmentIndex { offsets, times, .. }) = segment.index.borrow_mut().as_mut() {
            offsets.truncate(end_offset, position);
            times.truncate(end_offset);
            segment.max_timestamp.set(times.last());
        }
        segment.resume_at(position, end_offset);
        segment.fences.borrow_mut().retain(|fence| fence.end_position <= position);
        {
            let mut write = segment.write.borrow_mut();
            write.file = Some(file);
            write.written = position;
            write.written_end = position;
            write.written_offset = end_offset;
        }
        self.shard.read_ahead().forget(segment);
        self.trim(segment).await
    }

    async fn copy_prefix(&self, segment: &Rc<Segment>, length: u64) -> Result<(), StorageError> {
        use ringlog_runtime::{Durability, OpenOptions, WriteBufs};
        let runtime = self.shard.runtime();
        let path = segment.path(names::LOG);
        let copy = segment.path(names::LOG).with_extension("log.cleaned");
        let from = OpenOptions { read: true, ..Default::default() };
        let from = runtime.open(&path, &from).await.map_err(StorageError::io("open", &path))?;
        let to = OpenOptions { write: true, create: true, truncate: true, ..Default::default() };
        let to = runtime.open(&copy, &to).await.map_err(StorageError::io("create", &copy))?;
        let mut position = 0;
        while position < length {
            let buffer = runtime.buffers().get(((length - position) as usize).min(1 << 20));
            let (read, buffer) = runtime.read_at(&from, buffer, position).await;
            let read = read.map_err(StorageError::io("read", &path))?;
            let useful = read.min((length - position) as usize);
            if useful == 0 {
                return Err(StorageError::unusable(&path, "it is shorter than its index says"));
            }
            let bufs = WriteBufs::from_iter([buffer.freeze().slice(..useful)]);
            let written = runtime.write_at(&to, bufs, position, Durability::Buffered).await;
            written.map_err(StorageError::io("write", &copy))?;
            position += useful as u64;
        }
        runtime.sync_data(&to).await.map_err(StorageError::io("flush", &copy))?;
        runtime.rename(&copy, &path).await.map_err(StorageError::io("rename", &copy))?;
        let directory = self.path.borrow().clone();
        runtime.sync_dir(&directory).await.map_err(StorageError::io("flush", &directory))
    }

    /// Producer state as it was at `end_offset`: from a snapshot and the batches behind it.
    async fn reload_producers(&self, end_offset: Offset) -> Result<(), StorageError> {
        let segments = self.segments.borrow().clone();
        let known = self.snapshots.borrow().clone();
        let directory = self.path.borrow().clone();
        let replay = Replay { shard: &self.shard, directory: &directory, segments: &segments };
        let Loaded { state, snapshots, .. } = replay.load(known, end_offset, false).await?;
        self.producers.replace(state);
        self.snapshots.replace(snapshots);
        Ok(())
    }
}
