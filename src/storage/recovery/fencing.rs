//! Damage that is met while a log is open: written down, so that the next start knows of it, and a
//! `.log` that is gone.
//!
//! * A fence counts in memory at once. Its file is written by one at a time, whole, from what the
//!   segments know when the writing begins.
//! * A file that could not be written is tried again with every turn of retention and of the scrub.
//!   A segment is not noted as checked before its fences are on disk.
//! * A sealed segment without its `.log` is a fence over all of its offsets: consumers go on behind
//!   it, nobody is told that they are out of range, and retention takes it as one that is too old.
//!   Where the partition's own directory is not there either, it is the disk that is gone: that is
//!   an error of storage, and says nothing of the records.

use std::rc::Rc;

use crate::error::{ReadError, StorageError};
use crate::log::Log;
use crate::names;
use crate::recovery::opening::write_fences;
use crate::recovery::walk::Fenced;
use crate::segment::{Fence, Segment, Stage};

impl Log {
    /// Takes note of damage that was just found in a segment. Returns whether any of it is news.
    pub(crate) fn note_damage(&self, segment: &Segment, damage: &[Fenced]) -> bool {
        let mut is_news = false;
        for Fenced { path, fence, reason } in damage {
            if segment.fence_at(fence.first_offset).is_some() {
                continue;
            }
            is_news = true;
            segment.fences.borrow_mut().push(*fence);
            self.shard.tell(|observer| observer.damage_found());
            // The read that found it has no more to say.
            self.shard.may_complain(path, fence.position);
            tracing::error!(partition = %self.topic_partition, path = %path.display(),
                ?fence, reason, "durable records are damaged; their offsets cannot be read");
        }
        is_news
    }

    /// Has the file of fences say what the segments know. Returns whether it does now.
    pub(crate) async fn write_down_fences(&self) -> bool {
        match self.write_fence_file().await {
            Ok(()) => true,
            Err(error) => {
                let partition = &self.topic_partition;
                if self.shard.may_complain(&self.path.borrow().join(names::FENCED_RANGES), 0) {
                    tracing::warn!(%partition, %error, "the damage is not written down yet");
                }
                false
            }
        }
    }

    async fn write_fence_file(&self) -> Result<(), StorageError> {
        let write = || async {
            let path = self.path.borrow().join(names::FENCED_RANGES);
            let segments = self.segments.borrow().clone();
            write_fences(self.shard.runtime(), &path, &segments).await
        };
        self.fence_file.write(write).await
    }

    /// Has the file say what is left of the fences after a truncation, if there is one.
    pub(crate) async fn rewrite_fences(&self) -> Result<(), StorageError> {
        let path = self.path.borrow().join(names::FENCED_RANGES);
        let is_there = self.shard.runtime().stat(&path).await.is_ok();
        match is_there || self.fence_file.is_stale() {
            true => self.write_fence_file().await,
            false => Ok(()),
        }
    }

    /// Tries again what could not be written. Returns whether nothing is left to write.
    pub(crate) async fn retry_fences(&self) -> bool {
        !self.fence_file.is_stale() || self.write_down_fences().await
    }

    /// What a reader is told of a segment whose `.log` could not be opened.
    pub(crate) async fn unopened(&self, segment: &Rc<Segment>, error: StorageError) -> ReadError {
        let generation = segment.generation();
        let metadata = self.path.borrow().join(names::PARTITION_METADATA);
        let is_gone = error.is_not_found()
            && segment.stage.get() == Stage::Sealed
            && self.shard.runtime().stat(&metadata).await.is_ok()
            // Compaction may have put it there since.
            && self.shard.runtime().stat(&segment.path(names::LOG)).await.is_err();
        if segment.is_retired() || segment.is_moving() || segment.generation() != generation {
            return StorageError::Truncated { offset: segment.base_offset }.into();
        }
        // Retention takes a segment out of the log before it gives its files other names.
        if !is_gone || !self.has_segment(segment) || self.failure().is_some() {
            return error.into();
        }
        let (path, reason) = (segment.path(names::LOG), "the file is gone");
        if !segment.is_gone() {
            let fence = Fence {
                position: 0,
                end_position: segment.size.get(),
                first_offset: segment.base_offset,
                end_offset: segment.end_offset.get(),
            };
            segment.fences.borrow_mut().clear();
            if self.note_damage(segment, &[Fenced { path: path.clone(), fence, reason }]) {
                self.write_down_fences().await;
            }
        }
        ReadError::Corrupt { offset: segment.base_offset, path, position: 0, reason }
    }
}
