//! Cutting off the end of a log, as followers do whose end differs from the leader's.
//!
//! A loss of power at any step leaves a log that opens without complaint, and in which nothing
//! that was appended after the truncation is ever taken for what was there before:
//!
//! 1. Everything is written and flushed, and writer and keeper are stopped. The place of the cut
//!    is found.
//! 2. The recovery point on disk is lowered to the cut ([`crate::local_offsets`]). From here on a
//!    start reads everything behind the cut again and believes no witness of what was there.
//! 3. The log in memory is cut, in one step: readers see the old log or the new one. Who waits for
//!    an offset that is gone is told so, and never hears of what gets that offset later.
//! 4. The producers are those of the new end, and a snapshot of them is written. Then what vouches
//!    for the records behind the cut goes: producer snapshots, fences, epochs, index entries; and
//!    the directory is flushed.
//! 5. The segments behind the cut are removed, newest first, so that there is never a gap.
//! 6. The `.log` is cut, and flushed. Where its pages may be on their way to a consumer, a copy of
//!    what is kept takes its place.
//!
//! When everything is removed, there is no `.log` to cut: once the segments are gone, the new start
//! is written down as the recovery point was, and then the first segment is made.
//!
//! The caller sees to it that nothing is appended meanwhile.

use std::rc::Rc;

use bytes::Bytes;
use ringlog_runtime::sim::PlantedBug;
use ringlog_runtime::{Durability, File, OpenOptions, WriteBufs};
use ringlog_types::{Offset, TimestampMs};

use crate::error::StorageError;
use crate::log::Log;
use crate::log::seal::{self, LogFile};
use crate::log::writer::SPACE_RETRY;
use crate::names;
use crate::producers::state::ProducerState;
use crate::recovery::producer_replay::{Loaded, Replay};
use crate::segment::batch_header::HeaderFault;
use crate::segment::scan::Scanner;
use crate::segment::tail::{BLOCK, Tail, block_floor};
use crate::segment::{Fence, Segment, SegmentIndex, Stage};

/// Where a log is cut, and what is needed to go on from there.
struct Place {
    segment: Rc<Segment>,
    /// Where in its `.log`; the end of a batch.
    position: u64,
    end_offset: Offset,
    /// The `.log`, open for writing.
    file: File,
    /// What is kept of the last block.
    residue: Bytes,
    max_timestamp: Option<(TimestampMs, Offset)>,
    /// The indexes of what is kept.
    index: SegmentIndex,
}

/// What step 3 leaves for those behind it.
struct Remains {
    /// Segments that are out of the log, oldest first.
    removed: Vec<Rc<Segment>>,
    /// Pages of the segment that is cut may be on their way to a consumer.
    is_lent: bool,
}

/// What a walk to the place of a cut came to.
struct WalkedTo {
    /// Where the last batch ends.
    end: u64,
    max_timestamp: Option<(TimestampMs, Offset)>,
    /// There is damage that is not fenced.
    is_damaged: bool,
}

impl Log {
    /// Cuts off everything from `offset` on, which must lie in the log. If `offset` is in the
    /// middle of a batch, the batch goes too; if that batch began below the log start, so does
    /// the log afterwards. Returns the new end.
    pub async fn truncate_to(&self, offset: Offset) -> Result<Offset, StorageError> {
        self.check_cut(offset)?;
        if offset == self.offsets.log_end() {
            return Ok(offset);
        }
        self.stop_for_cut().await?;
        let result = self.cut(offset).await;
        self.go_on_after_cut();
        let end_offset = result?;
        tracing::info!(partition = %self.topic_partition, offset, end_offset, "truncated");
        assert!(end_offset <= offset, "nothing is left behind {offset}");
        Ok(end_offset)
    }

    /// Removes everything, and has the log start and end at `offset`, which may be anywhere.
    pub async fn truncate_fully_and_start_at(&self, offset: Offset) -> Result<(), StorageError> {
        if offset < 0 {
            let (start, end) = (self.offsets.log_start(), self.offsets.log_end());
            return Err(StorageError::OffsetOutOfRange { offset, start, end });
        }
        self.stop_for_cut().await?;
        let result = self.restart_at(offset).await;
        self.go_on_after_cut();
        result?;
        tracing::info!(partition = %self.topic_partition, offset, "emptied, to go on there");
        Ok(())
    }

    fn check_cut(&self, offset: Offset) -> Result<(), StorageError> {
        let (start, end) = (self.offsets.log_start(), self.offsets.log_end());
        match (start..=end).contains(&offset) {
            true => Ok(()),
            false => Err(StorageError::OffsetOutOfRange { offset, start, end }),
        }
    }

    async fn stop_for_cut(&self) -> Result<(), StorageError> {
        // From here on no segment is rolled: its snapshot would be of producers that are gone.
        self.cut_begins();
        if let Err(error) = self.wait_settled(self.end()).await {
            self.go_on_after_cut();
            return Err(error);
        }
        self.pause_writer().await;
        self.cleaning.wait_replaced().await;
        match self.failure() {
            Some(failure) => {
                self.go_on_after_cut();
                Err(failure)
            }
            None => Ok(()),
        }
    }

    fn go_on_after_cut(&self) {
        self.cut_ends();
        self.resume_writer();
    }

    async fn cut(&self, offset: Offset) -> Result<Offset, StorageError> {
        let place = self.place_of_cut(offset).await?;
        let end_offset = place.end_offset;
        self.lower_recovery_point(end_offset).await?;
        // Retention may have gone on meanwhile.
        self.check_cut(offset)?;
        let segment = place.segment.clone();
        let remains = self.cut_in_memory(place);
        self.until_there_is_space(async || {
            self.reload_producers(end_offset).await?;
            self.remove_witnesses(end_offset).await?;
            seal::rewrite_indexes(self.shard.runtime(), &segment).await?;
            self.remove_segments(&remains.removed).await?;
            if remains.is_lent {
                self.copy_prefix(&segment).await?;
            }
            self.trim(&segment).await
        })
        .await?;
        assert!(self.offsets.log_end() == end_offset, "nothing is appended during a truncation");
        Ok(end_offset)
    }

    async fn restart_at(&self, offset: Offset) -> Result<(), StorageError> {
        self.lower_recovery_point(0).await?;
        let directory = self.path.borrow().clone();
        let now_ms = self.shard.runtime().wall_clock_ms();
        let next = Rc::new(Segment::open(&directory, offset, now_ms));
        let removed = self.segments.replace(vec![next.clone()]);
        self.offsets.restarted_at(offset);
        self.cleaning.cut_to(0);
        self.epochs.borrow_mut().truncate_from_end(0);
        self.producers.replace(ProducerState::default());
        self.let_go(&removed);
        self.until_there_is_space(async || {
            // Whatever they vouch for is gone, also below the new start.
            self.remove_witnesses(-1).await?;
            self.remove_segments(&removed).await?;
            // Not before: what is left of the old log would start there, and hide what it gets.
            self.local_start.write(self.shard.runtime(), &directory, offset).await?;
            self.create_files(&next).await.map(drop)
        })
        .await?;
        assert!(self.offsets.log_end() == offset, "nothing is appended during a truncation");
        // Not before: what is left of the old log, further on than this, was to be read again.
        self.offsets.recovery_point_at(offset);
        Ok(())
    }

    /// Step 1: the last batch boundary at or below `offset`, and the end of the log there. Damage
    /// is cut off as a whole, because nobody knows where in it a record begins.
    async fn boundary(
        &self,
        segment: &Rc<Segment>,
        offset: Offset,
    ) -> Result<(u64, Offset), StorageError> {
        let before = |fence: Fence| (fence.position, fence.first_offset);
        match self.locate_in(segment, offset).await {
            Ok(Some(found)) => Ok((found.position, found.header.base_offset.min(offset))),
            // It lies behind the last batch that compaction has left there.
            Ok(None) => Ok((segment.size.get(), offset)),
            Err(error) => segment.fence_at(offset).map(before).ok_or_else(|| {
                StorageError::unusable(&segment.path(names::LOG), error.to_string())
            }),
        }
    }

    async fn place_of_cut(&self, offset: Offset) -> Result<Place, StorageError> {
        let segment = self.segment_for(offset).expect("the offset is in the log");
        let unusable =
            |segment: &Segment, why: String| StorageError::unusable(&segment.path(names::LOG), why);
        let mut is_examined = false;
        let (position, end_offset, index, max_timestamp) = loop {
            let (position, end_offset) = self.boundary(&segment, offset).await?;
            let loaded = self.load_index(&segment).await;
            loaded.map_err(|error| unusable(&segment, error.to_string()))?;
            // Of a sealed segment it may be forgotten at any time.
            let mut index = segment.index.borrow().clone().expect("it was just loaded");
            index.offsets.truncate(end_offset, position);
            index.times.truncate(end_offset);
            let walked = self.walk_to(&segment, position, &index).await?;
            if !walked.is_damaged || is_examined {
                break (walked.end, end_offset, index, walked.max_timestamp);
            }
            is_examined = true;
            let examined = Box::pin(self.examine_again(&segment, walked.end)).await;
            examined.map_err(|error| unusable(&segment, error.to_string()))?;
        };
        let file = seal::open_log_file(self, &segment, LogFile::Existing).await?;
        let block = block_floor(position);
        let runtime = self.shard.runtime();
        let (read, buffer) =
            runtime.read_at(&file, runtime.buffers().get(BLOCK as usize), block).await;
        let path = segment.path(names::LOG);
        let read = read.map_err(StorageError::io("read", &path))?;
        let length = (position - block) as usize;
        if read < length {
            return Err(unusable(&segment, "it is shorter than its index says".to_owned()));
        }
        let residue = Bytes::copy_from_slice(&buffer[..length]);
        Ok(Place { segment, position, end_offset, file, residue, max_timestamp, index })
    }

    /// Walks over the last batches before a cut. Their timestamps are those that the time index
    /// leaves out, and damage among them has to be fenced before the cut: an open segment's last
    /// block is never examined, because it is written again.
    async fn walk_to(
        &self,
        segment: &Segment,
        position: u64,
        index: &SegmentIndex,
    ) -> Result<WalkedTo, StorageError> {
        let mut newest = index.times.last();
        let mut at = u64::from(index.offsets.floor_position(block_floor(position)));
        let mut expected = None;
        let mut is_damaged = false;
        let path = segment.path(names::LOG);
        let mut scanner = Scanner::open(self.shard.runtime(), &path).await?;
        while at < position {
            if let Some(fence) = segment.fence_behind(at).filter(|fence| fence.position == at)
                && fence.end_position > at
            {
                (at, expected) = (fence.end_position, Some(fence.end_offset));
                continue;
            }
            let header = match scanner.header(at).await? {
                Ok(header) => header,
                // A segment that Kafka preallocated and did not trim ends in zeros.
                Err(HeaderFault::Empty) => break,
                Err(_) => {
                    is_damaged = true;
                    break;
                }
            };
            is_damaged |= expected.is_some_and(|expected| header.base_offset < expected);
            expected = Some(header.next_offset());
            let is_newer = newest.is_none_or(|(timestamp, _)| header.max_timestamp > timestamp);
            if is_newer && header.max_timestamp >= 0 {
                newest = Some((header.max_timestamp, header.last_offset()));
            }
            at += header.size as u64;
        }
        let end = if is_damaged { position } else { at };
        Ok(WalkedTo { end, max_timestamp: newest, is_damaged })
    }

    /// Step 2.
    async fn lower_recovery_point(&self, offset: Offset) -> Result<(), StorageError> {
        // A checkpoint that is collected from now on says so, too.
        self.offsets.lower_recovery_point(offset);
        self.forget_work_beyond(offset);
        let runtime = self.shard.runtime();
        if runtime.planted(PlantedBug::KeepRecoveryPoint) {
            return Ok(());
        }
        let directory = self.path.borrow().clone();
        self.local_recovery_point.write(runtime, &directory, offset).await
    }

    /// Step 3, without waiting.
    fn cut_in_memory(&self, place: Place) -> Remains {
        let Place { segment, position, end_offset, file, residue, max_timestamp, index } = place;
        let removed = {
            let mut segments = self.segments.borrow_mut();
            let at = segments.iter().position(|known| Rc::ptr_eq(known, &segment));
            // `check_cut` has seen that the offset is not below the start.
            segments.split_off(at.expect("the segment is in the log") + 1)
        };
        self.shard.tail_shrank(
            segment.tail.replace(Tail::with_residue(block_floor(position), residue)).memory(),
        );
        segment.reader.take();
        segment.direct_reader.take();
        segment.forget_heads_checked();
        let is_lent = segment.lent.replace(false);
        segment.stage.set(Stage::Open);
        segment.closing_snapshot.take();
        segment.replace_index(index);
        segment.max_timestamp.set(max_timestamp);
        segment.resume_at(position, end_offset);
        // By their offsets: of some there are no bytes.
        segment.fences.borrow_mut().retain(|fence| fence.end_offset <= end_offset);
        {
            let mut write = segment.write.borrow_mut();
            write.file = Some(file);
            write.written = position;
            write.written_end = position;
            write.written_offset = end_offset;
        }
        segment.note_cut();
        self.shard.read_ahead().forget(&segment);
        self.offsets.truncated_to(end_offset);
        self.cleaning.cut_to(end_offset);
        self.epochs.borrow_mut().truncate_from_end(end_offset);
        self.let_go(&removed);
        assert!(segment.dirty_bytes() == 0 && segment.end_offset.get() == end_offset);
        Remains { removed, is_lent }
    }

    /// Frees what segments have that are out of the log, and tells everyone who waits.
    fn let_go(&self, removed: &[Rc<Segment>]) {
        for segment in removed {
            segment.retire();
            segment.write.borrow_mut().file = None;
            self.shard.tail_shrank(segment.tail.borrow_mut().clear());
            self.shard.read_ahead().forget(segment);
        }
        let end_offset = self.offsets.log_end();
        self.reset_notification(self.committed_offset());
        self.durable_waiters.wake_all();
        self.tell_truncated(end_offset);
    }

    /// Step 4, but for the indexes.
    async fn remove_witnesses(&self, end_offset: Offset) -> Result<(), StorageError> {
        let runtime = self.shard.runtime();
        let directory = self.path.borrow().clone();
        let beyond: Vec<Offset> =
            self.snapshots.borrow().range(end_offset + 1..).copied().collect();
        for offset in beyond {
            let path = directory.join(names::segment_file(offset, names::SNAPSHOT));
            match runtime.remove_file(&path).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StorageError::io("remove", &path)(error));
                }
                _ => drop(self.snapshots.borrow_mut().remove(&offset)),
            }
        }
        self.rewrite_fences().await?;
        self.forget_checks().await?;
        self.write_epochs().await?;
        runtime.sync_dir(&directory).await.map_err(StorageError::io("flush", &directory))
    }

    /// What was checked may become something else.
    pub(crate) async fn forget_checks(&self) -> Result<(), StorageError> {
        let _turn = self.checked.file_turn().await;
        self.checked.forget_all();
        let path = self.path.borrow().join(names::CHECKED_SEGMENTS);
        match self.shard.runtime().remove_file(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StorageError::io("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Step 5.
    async fn remove_segments(&self, removed: &[Rc<Segment>]) -> Result<(), StorageError> {
        let directory = self.path.borrow().clone();
        for segment in removed.iter().rev() {
            self.snapshots.borrow_mut().remove(&segment.base_offset);
            self.mark_deleted(&directory, segment.base_offset).await?;
            self.remove_later(directory.clone(), segment.base_offset);
        }
        Ok(())
    }

    /// Puts a copy of what is kept in the place of a segment's `.log`.
    async fn copy_prefix(&self, segment: &Rc<Segment>) -> Result<(), StorageError> {
        let runtime = self.shard.runtime();
        let length = segment.size.get();
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
        // Should there be no space, all of it is written again.
        let flushed = runtime.sync_data(&to).await;
        flushed.map_err(StorageError::io("write and flush", &copy))?;
        runtime.rename(&copy, &path).await.map_err(StorageError::io("rename", &copy))?;
        let directory = self.path.borrow().clone();
        runtime.sync_dir(&directory).await.map_err(StorageError::io("flush", &directory))?;
        let file = seal::open_log_file(self, segment, LogFile::Existing).await?;
        segment.write.borrow_mut().file = Some(file);
        segment.reader.take();
        segment.direct_reader.take();
        segment.forget_heads_checked();
        Ok(())
    }

    /// Producer state as it was at `end_offset`: from a snapshot and the batches behind it. It is
    /// written down at once: a snapshot is a witness that everything before it was durable, and
    /// those behind the cut, which said so of what is kept too, are about to go.
    async fn reload_producers(&self, end_offset: Offset) -> Result<(), StorageError> {
        let segments = self.segments.borrow().clone();
        let known = self.snapshots.borrow().range(..=end_offset).copied().collect();
        let directory = self.path.borrow().clone();
        let replay = Replay { shard: &self.shard, directory: &directory, segments: &segments };
        let Loaded { state, .. } = replay.load(known, end_offset, false).await?;
        self.producers.replace(state);
        self.write_snapshot_of_end().await
    }

    /// Does what has to be done once the log in memory is cut, however long it takes: a full disk
    /// passes, and with any other error nobody knows any more what a start would find.
    async fn until_there_is_space(
        &self,
        step: impl AsyncFn() -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        loop {
            match step().await {
                Err(error) if error.is_disk_full() && self.failure().is_none() => {
                    self.dir.set_exhausted(true);
                    tracing::error!(partition = %self.topic_partition, %error, "disk full");
                    self.shard.runtime().sleep(SPACE_RETRY).await;
                }
                Err(error) => {
                    self.fail(&error);
                    return Err(error);
                }
                Ok(()) => return Ok(()),
            }
        }
    }
}
