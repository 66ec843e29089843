//! Closing a segment and beginning the next, without a pause for those who append.
//!
//! 1. The append that does not fit closes the open segment and opens the next, in memory. With that
//!    the next one's base offset is known, and its files are begun at once, beside the writer,
//!    which has the last bytes of the closed segment still to write: the `.log`, with its first
//!    blocks written if the closed one was full, the indexes, and their names flushed with the
//!    directory.
//! 2. When everything of the closed segment is on disk, the writer goes on in the next one, whose
//!    files are there by then, or nearly.
//! 3. The closed one is sealed beside it (`keeper`).
//!
//! At most one segment is begun before the writer has come to the one before it. A crash leaves an
//! empty segment behind one that is perhaps not whole; a start removes it (`recovery/opening.rs`).
//! Its name says nothing of the end of the segment before it until that one is sealed, which writes
//! a producer snapshot for that offset.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use ringlog_types::{Offset, TimestampMs};

use crate::error::StorageError;
use crate::log::Log;
use crate::segment::batch_header::BatchHeader;
use crate::segment::tail::BLOCK;
use crate::segment::{Segment, Stage};

impl Log {
    /// Whether a new segment may be begun for its age or size. On a full disk the open one goes
    /// on: it has its files, and those of a new one, without which nothing would be written any
    /// more, might find no space.
    pub(crate) fn may_roll(&self) -> bool {
        let is_ending = self.closing.get() || self.is_being_cut.get();
        self.failure().is_none() && !is_ending && !self.dir.is_full()
    }

    /// Closes the open segment and opens the next, in memory; the writer does the rest.
    pub(crate) fn roll_in_memory(
        &self,
        segment: &Segment,
        header: &BatchHeader,
        now_ms: TimestampMs,
    ) -> Rc<Segment> {
        // With replicated batches there may be a gap before the next offset.
        let far = header.last_offset() - self.offsets.log_end() > i64::from(i32::MAX);
        let base = if far { header.base_offset } else { self.offsets.log_end() };
        self.open_next_segment(segment, base, now_ms)
    }

    /// Closes `segment` and opens one at `base_offset`.
    pub(crate) fn open_next_segment(
        &self,
        segment: &Segment,
        base_offset: Offset,
        now_ms: TimestampMs,
    ) -> Rc<Segment> {
        assert!(!self.is_being_cut.get(), "a roll during a truncation");
        assert!(segment.stage.get() == Stage::Open && base_offset >= segment.end_offset.get());
        segment.stage.set(Stage::Closed);
        segment.complete_time_index();
        segment.closing_snapshot.replace(Some(self.producers.borrow().entries().clone()));
        let next = Rc::new(Segment::open(&self.path.borrow(), base_offset, now_ms));
        let jitter = self.config.borrow().segment_jitter_ms.max(0) as u64;
        if jitter > 0 {
            next.jitter_ms.set((self.shard.runtime().random_u64() % jitter) as i64);
        }
        // A busy log goes on in steps as large as before; one that rolls for its age takes nothing
        // before it is written to.
        let segment_bytes = self.config.borrow().segment_bytes.max(0) as u64;
        if 2 * segment.size.get() >= segment_bytes {
            next.write.borrow_mut().allocation_step = segment.write.borrow().allocation_step;
        }
        self.segments.borrow_mut().push(next.clone());
        self.begin_next_files();
        next
    }

    /// Begins the files of the segment behind the one that is being written, if there is one.
    pub(crate) fn begin_next_files(&self) {
        let writer = &self.writer;
        let is_stopped = writer.is_paused.get() || self.failure().is_some() || self.dir.is_full();
        if is_stopped || writer.is_beginning.get() {
            return;
        }
        let Some(next) = self.segment_to_begin() else { return };
        let Some(log) = self.this.upgrade() else { return };
        writer.is_beginning.set(true);
        drop(self.shard.runtime().spawn(async move {
            let begun = log.begin_files(&next).await;
            log.writer.is_beginning.set(false);
            match begun {
                Ok(()) => {}
                // The writer tries it again, and waits until there is space.
                Err(error) if error.is_disk_full() => {}
                Err(error) => {
                    tracing::error!(partition = %log.topic_partition, %error, "log goes offline");
                    log.fail(&error);
                }
            }
            log.writer.stopped.wake_all();
        }));
    }

    /// The segment behind the one that the writer is at, unless it has its files.
    fn segment_to_begin(&self) -> Option<Rc<Segment>> {
        let segments = self.segments.borrow();
        let at = self.place_to_write(&segments);
        let next = segments.get(at + 1)?;
        (segments[at].has_file() && !next.has_file()).then(|| next.clone())
    }

    async fn begin_files(&self, next: &Rc<Segment>) -> Result<(), StorageError> {
        assert!(!next.has_file(), "its files are begun once");
        let file = self.open_new_log(next).await?;
        let is_busy = next.write.borrow().allocation_step > 0;
        if is_busy {
            self.prepare_blocks(next, &file, BLOCK).await?;
            self.zero_first_blocks(next, &file).await?;
        }
        self.finish_files(next, file).await
    }

    /// Waits for the files of the next segment, or makes them now if they could not be begun.
    pub(crate) async fn see_to_files(&self, next: &Rc<Segment>) -> Result<(), StorageError> {
        self.wait_for_begun_files().await;
        if next.has_file() {
            return Ok(());
        }
        // They are never begun twice: zeros would be written over records.
        self.writer.is_beginning.set(true);
        let made = self.create_files(next).await;
        self.writer.is_beginning.set(false);
        self.writer.stopped.wake_all();
        made.map(drop)
    }

    async fn wait_for_begun_files(&self) {
        let mut ended = self.writer.stopped.registration();
        poll_fn(|context| match self.writer.is_beginning.get() {
            true => {
                ended.register(context);
                Poll::Pending
            }
            false => Poll::Ready(()),
        })
        .await;
    }
}
