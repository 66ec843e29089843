//! The writer of a log: carries what was appended in memory to disk.
//!
//! One task per log, started when there is something to do and gone when there is not. It has one
//! write in flight: whatever is appended meanwhile goes with the next one, so that a slow disk
//! makes larger writes and not a longer queue. A write is made of whole blocks; the last block, if
//! it is not full, goes as a copy with zeros behind the end, and again with the next write.
//! Nothing that was acknowledged is ever in a block that is not repeated bit for bit.
//!
//! Segments are written in order: of a closed one everything is written and flushed before the next
//! has a byte on disk. So everything below the durable offset is on disk, always, and a segment
//! whose successor is not empty was whole. The files of the next one are made beside the writer
//! (`roll`), and so is what is left to do for the closed one (`keeper`).

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use ringlog_config::Flush;
use ringlog_runtime::sim::PlantedBug;
use ringlog_runtime::{Durability, File, WriteBufs};
use ringlog_types::Offset;

use crate::error::StorageError;
use crate::log::Log;
use crate::names;
use crate::segment::tail::{BLOCK, WritePlan, block_ceil};
use crate::segment::{Segment, Stage};

/// A write takes about this much at most, so that a reader or a commit behind it does not wait
/// for long: 1 MiB writes already run at the device's speed.
pub(crate) const WRITE_BYTES_MAX: usize = 4 << 20;
/// How long a writer waits for space before it tries again.
pub(crate) const SPACE_RETRY: Duration = Duration::from_secs(1);

/// How much is left to do.
enum Progress {
    More,
    Idle,
}

impl Log {
    /// Starts the writer if it is not running and there may be something for it.
    pub(crate) fn kick_writer(&self) {
        if self.writer.is_paused.get() || self.failure().is_some() || self.writer.is_running.get() {
            return;
        }
        let Some(log) = self.this.upgrade() else { return };
        self.writer.is_running.set(true);
        drop(self.shard.runtime().spawn(run(log)));
    }

    /// Stops writer and keeper, and what else writes, after what they are doing now, until
    /// [`Log::resume_writer`].
    pub(crate) async fn pause_writer(&self) {
        self.writer.is_paused.set(true);
        let mut stopped = self.writer.stopped.registration();
        let mut zeroed = self.writer.zeroing_done.registration();
        poll_fn(|context| {
            let is_running = self.writer.is_running.get()
                || self.writer.keeper_is_running.get()
                || self.writer.is_beginning.get();
            if !is_running && self.writer.zeroing.get().is_none() {
                return Poll::Ready(());
            }
            stopped.register(context);
            zeroed.register(context);
            Poll::Pending
        })
        .await;
    }

    /// Whether writer and keeper are stopped, or to be stopped.
    pub(crate) fn writer_is_paused(&self) -> bool {
        self.writer.is_paused.get()
    }

    /// Has writer and keeper go on after [`Log::pause_writer`].
    pub(crate) fn resume_writer(&self) {
        self.writer.is_paused.set(false);
        self.kick_writer();
        self.kick_keeper();
        self.begin_next_files();
    }

    /// With `flush=async`: has everything below `end_offset` flushed.
    pub(crate) fn want_flush(&self, end_offset: Offset) {
        self.writer.flush_wanted.set(self.writer.flush_wanted.get().max(end_offset));
        self.kick_writer();
    }

    /// What was wanted or prepared for offsets beyond `end_offset` is not any more.
    pub(crate) fn forget_work_beyond(&self, end_offset: Offset) {
        self.writer.flush_wanted.set(self.writer.flush_wanted.get().min(end_offset));
        self.writer.pending_checkpoint.borrow_mut().take_if(|state| state.offset > end_offset);
    }

    /// Counts bytes that the next start would read again for the next checkpoint.
    pub(crate) fn count_unchecked(&self, bytes: u64) {
        let before = self.writer.bytes_since_checkpoint.get();
        self.writer.bytes_since_checkpoint.set(before + bytes);
    }

    /// The oldest segment that is not sealed.
    pub(crate) fn unsealed_segment(&self) -> Rc<Segment> {
        let segments = self.segments.borrow();
        let first = segments.iter().rposition(|segment| segment.stage.get() == Stage::Sealed);
        segments[first.map_or(0, |at| at + 1)].clone()
    }

    /// Where the segment to write to is: the first that is not all on disk, or has no successor
    /// with files.
    pub(crate) fn place_to_write(&self, segments: &[Rc<Segment>]) -> usize {
        let sealed = segments.iter().rposition(|segment| segment.stage.get() == Stage::Sealed);
        let mut at = sealed.map_or(0, |at| at + 1);
        while let Some(next) = segments.get(at + 1)
            && next.has_file()
            && segments[at].is_written()
            // A closed segment that got nothing, as after a roll by age, is begun, too.
            && segments[at].has_file()
        {
            at += 1;
        }
        at
    }

    /// The segment to write to, and the one behind it if that has to be begun: everything of this
    /// one is on disk.
    fn segment_to_write(&self) -> (Rc<Segment>, Option<Rc<Segment>>) {
        let segments = self.segments.borrow();
        let at = self.place_to_write(&segments);
        let segment = segments[at].clone();
        let is_done = segment.is_written() && segment.has_file();
        (segment, segments.get(at + 1).filter(|_| is_done).cloned())
    }

    async fn write_step(&self) -> Result<Progress, StorageError> {
        let (segment, next) = self.segment_to_write();
        if let Some(next) = next {
            assert!(self.offsets.settled() >= segment.end_offset.get(), "it is on disk");
            self.see_to_files(&next).await?;
            self.kick_keeper();
            self.begin_next_files();
            return Ok(Progress::More);
        }
        // Before more is written: under load there always is more.
        if self.flush_is_due(&segment) {
            self.flush_segment(&segment).await?;
            return Ok(Progress::More);
        }
        if segment.dirty_bytes() > 0 {
            self.write_some(&segment).await?;
            return Ok(Progress::More);
        }
        if !segment.has_file() {
            self.create_files(&segment).await?;
            return Ok(Progress::More);
        }
        Ok(Progress::Idle)
    }

    async fn write_some(&self, segment: &Rc<Segment>) -> Result<(), StorageError> {
        let file = self.writable_file(segment).await?;
        let written = segment.write.borrow().written;
        let plan = segment.tail.borrow().plan(written, WRITE_BYTES_MAX);
        assert!(plan.end > written, "there is something to write");
        let end_aligned = block_ceil(plan.end);
        self.prepare_blocks(segment, &file, end_aligned).await?;
        self.wait_for_zeroing(segment, end_aligned).await;
        let sync = self.flush() == Flush::Sync;
        // Where it is not, a flush makes up for it below.
        let through = sync && self.writes_are_durable();
        let durability = if through { Durability::Durable } else { Durability::Buffered };
        let (start, end, batch_end) = (plan.start, plan.end, plan.batch_end);
        let bufs = self.gather(plan);
        let path = || segment.path(names::LOG);
        let runtime = self.shard.runtime();
        let begun = runtime.now();
        if runtime.planted(PlantedBug::AcknowledgeBeforeWritten)
            && sync
            && let Some((_, end_offset)) = batch_end
        {
            self.advance_durable(end_offset);
        }
        runtime
            .write_at(&file, bufs, start, durability)
            .await
            .map_err(|error| StorageError::io("write", &path())(error))?;
        self.follow_directory();
        if self.failure().is_some() {
            return Ok(());
        }
        let bytes = end - written;
        self.shard.tell(|observer| {
            observer.written(end_aligned - start);
            if through {
                observer.flushed(bytes, runtime.now() - begun);
            }
        });
        let was_unflushed = {
            let mut write = segment.write.borrow_mut();
            write.written = end;
            if let Some((position, end_offset)) = batch_end {
                write.written_end = position;
                write.written_offset = end_offset;
            }
            if !through {
                write.unflushed = true;
                write.unflushed_bytes += bytes;
            }
            write.unflushed
        };
        self.writer.dirty_bytes.set(self.writer.dirty_bytes.get() - bytes as usize);
        self.writer.writes.set(self.writer.writes.get() + 1);
        self.shard.remove_dirty(&self.budget, bytes as usize);
        self.writer.bytes_since_checkpoint.set(self.writer.bytes_since_checkpoint.get() + bytes);
        if let Some((_, end_offset)) = batch_end {
            self.advance_written(end_offset);
        }
        if sync && was_unflushed {
            // Written earlier under flush=async, of which one durable write says nothing; or just
            // now, where no write is durable.
            self.flush_segment(segment).await?;
        } else if sync && let Some((_, end_offset)) = batch_end {
            self.advance_settled(end_offset);
        }
        self.zero_ahead(segment, &file, bytes);
        self.start_checkpoint();
        self.kick_keeper();
        self.set_flush_timer();
        Ok(())
    }

    /// Whether a durable write that has returned is on the disk.
    fn writes_are_durable(&self) -> bool {
        self.dir.honours_dsync() || self.shard.runtime().planted(PlantedBug::TrustDurableWrites)
    }

    /// Whole blocks as they are, the last one as a copy with zeros behind.
    fn gather(&self, plan: WritePlan) -> WriteBufs {
        let mut bufs: WriteBufs = plan.blocks.into_iter().collect();
        if let Some(partial) = plan.partial {
            let mut block = self.shard.runtime().buffers().get(BLOCK as usize);
            block.extend_from_slice(&partial);
            const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
            block.extend_from_slice(&ZEROS[partial.len()..]);
            bufs.push(block.freeze());
        }
        bufs
    }

    /// With `flush=async`: whether somebody, or `flush.messages`, asks for a flush.
    fn flush_is_due(&self, segment: &Segment) -> bool {
        let write = segment.write.borrow();
        if !write.unflushed {
            return false;
        }
        let (durable, written) = (self.offsets.durable(), write.written_offset);
        let wanted = self.writer.flush_wanted.get().min(segment.end_offset.get());
        let messages = self.config.borrow().flush_messages;
        // Nothing of the next segment may be on disk while this one may be lost.
        let is_left = segment.stage.get() == Stage::Closed && segment.dirty_bytes() == 0;
        self.flush() == Flush::Sync
            || is_left
            || (durable < wanted && wanted <= written)
            || written - durable >= messages
            // The recovery point cannot move beyond what is durable.
            || write.unflushed_bytes >= self.shard.options().recovery_checkpoint_bytes
    }

    /// Makes everything written of the segment durable.
    pub(crate) async fn flush_segment(&self, segment: &Segment) -> Result<(), StorageError> {
        let Some(file) = segment.write.borrow().file.clone() else { return Ok(()) };
        // Nothing else writes meanwhile: this is the writer.
        let end_offset = segment.write.borrow().written_offset;
        let runtime = self.shard.runtime();
        let begun = runtime.now();
        let flushing = self.budget.begin_flush();
        runtime
            .sync_data(&file)
            .await
            .map_err(|error| StorageError::io("flush", &segment.path(names::LOG))(error))?;
        drop(flushing);
        self.writer.writes.set(self.writer.writes.get() + 1);
        let bytes = segment.write.borrow_mut().flushed();
        self.shard.tell(|observer| observer.flushed(bytes, runtime.now() - begun));
        self.advance_settled(end_offset);
        self.kick_keeper();
        Ok(())
    }

    /// With `flush.ms`: asks for a flush when that time has passed.
    fn set_flush_timer(&self) {
        let flush_ms = self.config.borrow().flush_ms;
        if self.flush() == Flush::Sync
            || flush_ms == i64::MAX
            || self.writer.flush_timer_is_set.get()
        {
            return;
        }
        self.writer.flush_timer_is_set.set(true);
        let log = self.this.clone();
        let runtime = self.shard.runtime().clone();
        let end_offset = self.offsets.log_end();
        drop(self.shard.runtime().spawn(async move {
            runtime.sleep(Duration::from_millis(flush_ms.max(0) as u64)).await;
            let Some(log) = log.upgrade() else { return };
            log.writer.flush_timer_is_set.set(false);
            log.writer.flush_wanted.set(log.writer.flush_wanted.get().max(end_offset));
            log.kick_writer();
        }));
    }

    /// The segment's `.log`, made now if need be.
    async fn writable_file(&self, segment: &Segment) -> Result<File, StorageError> {
        if let Some(file) = segment.write.borrow().file.clone() {
            return Ok(file);
        }
        self.create_files(segment).await
    }
}

async fn run(log: Rc<Log>) {
    loop {
        log.follow_directory();
        if log.writer.is_paused.get() || log.failure().is_some() {
            break;
        }
        match log.write_step().await {
            Ok(Progress::More) => {}
            Ok(Progress::Idle) => break,
            Err(error) if error.is_disk_full() => {
                log.dir.set_exhausted(true);
                tracing::error!(partition = %log.topic_partition, %error, "disk full");
                log.shard.runtime().sleep(SPACE_RETRY).await;
            }
            Err(error) => {
                tracing::error!(partition = %log.topic_partition, %error, "log goes offline");
                log.fail(&error);
                break;
            }
        }
    }
    log.writer.is_running.set(false);
    log.writer.stopped.wake_all();
}
