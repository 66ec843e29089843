//! Blocks ahead of the writer.
//!
//! A durable write is quickest into blocks that were written before: it changes no metadata. So
//! space is allocated ahead in steps (never by extending writes, which fall to kernel threads),
//! and while commits are small and the log is at rest, zeros are written a little ahead of its
//! end. Under load large writes follow each other and zeros would only cost the disk their bytes.
//!
//! Both start small and grow with the segment, so that a thousand quiet partitions take little.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use ringlog_runtime::{Durability, File, WriteBufs};

use crate::error::{StorageError, is_disk_full};
use crate::log::Log;
use crate::names;
use crate::segment::Segment;
use crate::segment::tail::{block_ceil, block_floor};

/// The first allocation of a segment.
const ALLOCATE_BYTES_FIRST: u64 = 1 << 20;
/// The largest step: 32 MiB take some 10 to 40 µs.
const ALLOCATE_BYTES_MAX: u64 = 32 << 20;
/// Commits up to this size profit from zeros written ahead.
const SMALL_COMMIT_BYTES: u64 = 64 << 10;
/// The least and the most that is written ahead.
const ZERO_BYTES_MIN: u64 = 64 << 10;
const ZERO_BYTES_MAX: u64 = 1 << 20;

impl Log {
    /// Sees to it that the file has blocks up to `end`, a multiple of a block.
    pub(crate) async fn prepare_blocks(
        &self,
        segment: &Segment,
        file: &File,
        end: u64,
    ) -> Result<(), StorageError> {
        let (allocated, step) = {
            let write = segment.write.borrow();
            if end <= write.allocated {
                return Ok(());
            }
            let step = (write.allocation_step * 2).clamp(ALLOCATE_BYTES_FIRST, ALLOCATE_BYTES_MAX);
            (write.allocated, step)
        };
        // Not beyond the size at which the segment rolls, unless this write goes there.
        let segment_bytes = self.config.borrow().segment_bytes.max(0) as u64;
        let target = (allocated + step).min(block_ceil(segment_bytes)).max(end);
        match self.allocate_to(segment, file, target).await {
            Ok(()) => {
                self.dir.set_exhausted(false);
                segment.write.borrow_mut().allocation_step = step;
                Ok(())
            }
            // What is needed now may still be there. It says nothing of the next append.
            Err(error) if error.is_disk_full() && target > end => {
                self.allocate_to(segment, file, end).await
            }
            Err(error) => Err(error),
        }
    }

    async fn allocate_to(
        &self,
        segment: &Segment,
        file: &File,
        end: u64,
    ) -> Result<(), StorageError> {
        let allocated = segment.write.borrow().allocated;
        if end <= allocated {
            return Ok(());
        }
        let result = self.shard.runtime().allocate(file, allocated, end - allocated).await;
        result.map_err(StorageError::io("allocate space for", &segment.path(names::LOG)))?;
        let mut write = segment.write.borrow_mut();
        write.allocated = write.allocated.max(end);
        Ok(())
    }

    /// Sees to it that `bytes` more can be written, with `spare_bytes` behind them if the disk has
    /// those too, so that an append of the node itself does not wait for space. To be called
    /// where nobody else appends meanwhile.
    ///
    /// # Errors
    /// The disk is full ([`StorageError::is_disk_full`]), or the log is offline.
    pub async fn reserve(&self, bytes: usize, spare_bytes: u64) -> Result<(), StorageError> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        let segment = self.open_segment();
        // A segment that is not made yet begins on a disk that had room for it.
        let Some(file) = segment.write.borrow().file.clone() else { return Ok(()) };
        let end = segment.size.get() + bytes as u64;
        if self.has_blocks_for(&segment, bytes) {
            return Ok(());
        }
        match self.allocate_to(&segment, &file, block_ceil(end + spare_bytes)).await {
            Err(error) if error.is_disk_full() => {
                self.allocate_to(&segment, &file, block_ceil(end)).await
            }
            done => done,
        }
    }

    /// Whether the segment's file has blocks for `bytes` more.
    pub(crate) fn has_blocks_for(&self, segment: &Segment, bytes: usize) -> bool {
        let write = segment.write.borrow();
        write.file.is_some() && segment.size.get() + bytes as u64 <= write.allocated
    }

    /// After a small commit, starts to write zeros ahead if there are few left.
    pub(crate) fn zero_ahead(&self, segment: &Rc<Segment>, file: &File, commit_bytes: u64) {
        let idle = segment.dirty_bytes() == 0 && self.writer.zeroing.get().is_none();
        if !idle || commit_bytes > SMALL_COMMIT_BYTES {
            return;
        }
        let (from, to) = {
            let mut write = segment.write.borrow_mut();
            let end = block_ceil(write.written);
            write.zeroed = write.zeroed.max(end);
            let lead = block_floor(write.written.clamp(ZERO_BYTES_MIN, ZERO_BYTES_MAX));
            if write.zeroed - end > lead / 2 {
                return;
            }
            (write.zeroed, (end + lead).min(write.allocated))
        };
        if to <= from {
            return;
        }
        let Some(log) = self.this.upgrade() else { return };
        self.writer.zeroing.set(Some((segment.base_offset, from)));
        let (segment, file) = (segment.clone(), file.clone());
        drop(self.shard.runtime().spawn(async move {
            let result = log.write_zeros(&file, from, to).await;
            log.writer.zeroing.set(None);
            match result {
                Ok(()) => segment.write.borrow_mut().zeroed = to,
                // Where blocks are not overwritten in place, zeros take space too. Nothing is
                // lost without them, and they are not tried again here.
                Err(error) if is_disk_full(&error) => segment.write.borrow_mut().zeroed = to,
                Err(error) => {
                    log.fail(&StorageError::io("write zeros to", &segment.path(names::LOG))(error));
                }
            }
            log.writer.zeroing_done.wake_all();
        }));
    }

    /// Writes zeros to the first blocks of a segment that has none, so that its first commits
    /// change no metadata. Should there be no space, they do.
    pub(crate) async fn zero_first_blocks(
        &self,
        segment: &Segment,
        file: &File,
    ) -> Result<(), StorageError> {
        assert!(segment.write.borrow().written == 0 && !segment.has_file());
        let end = segment.write.borrow().allocated.min(ZERO_BYTES_MIN);
        match self.write_zeros(file, 0, end).await {
            Ok(()) => segment.write.borrow_mut().zeroed = end,
            Err(error) if is_disk_full(&error) => {}
            Err(error) => {
                return Err(StorageError::io("write zeros to", &segment.path(names::LOG))(error));
            }
        }
        Ok(())
    }

    async fn write_zeros(&self, file: &File, from: u64, to: u64) -> std::io::Result<()> {
        let runtime = self.shard.runtime();
        let mut zeros = runtime.buffers().get(ZERO_BYTES_MIN as usize);
        zeros.extend_from_slice(&[0; ZERO_BYTES_MIN as usize]);
        let zeros = zeros.freeze();
        let mut bufs = WriteBufs::new();
        let mut left = (to - from) as usize;
        while left > 0 {
            let part = left.min(zeros.len());
            bufs.push(zeros.slice(..part));
            left -= part;
        }
        runtime.write_at(file, bufs, from, Durability::Buffered).await?;
        self.shard.tell(|observer| observer.written(to - from));
        Ok(())
    }

    /// Waits while zeros are being written to the segment below `end`: a write must never race
    /// them.
    pub(crate) async fn wait_for_zeroing(&self, segment: &Segment, end: u64) {
        let mut registration = self.writer.zeroing_done.registration();
        poll_fn(|context| match self.writer.zeroing.get() {
            Some((base_offset, from)) if base_offset == segment.base_offset && from < end => {
                registration.register(context);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        })
        .await;
    }
}
