//! Putting a compacted segment in the place of those that it was made from.
//!
//! A `kill -9` or a loss of power at any step leaves either the old segments or the new one. The
//! names are Kafka's (`LocalLog.replaceSegments`), so that each finishes what the other began; the
//! flushes of the directory are not Kafka's, and make the order of the steps that of the disk.
//!
//! 1. The new files are there, flushed, with names that end in `.cleaned`. The directory is
//!    flushed. A start removes such files.
//! 2. They are renamed to `.swap`, and the directory is flushed. From here on a start finishes what
//!    is left to do (`recovery/swapped.rs`). As long as one is `.cleaned`, it removes all of them.
//! 3. The new segment takes the old ones' place in memory, in one step. It has its files open; who
//!    holds an old one is told to look again, and has its bytes if its file is open.
//! 4. The old files are renamed to `.deleted`: the indexes first and then the `.log`s, because an
//!    index alone says that a segment is gone. The directory is flushed after each.
//! 5. The new `.log` gets its name, and then its indexes; the directory is flushed after each.
//!
//! The last batch of the new segment ends where that of the last old one did. So its file alone
//! says which segments it stands for.

use std::path::Path;
use std::rc::Rc;

use ringlog_types::Offset;

use crate::compaction::clean::CleanError;
use crate::compaction::new_segment::cleaned_path;
use crate::error::StorageError;
use crate::log::Log;
use crate::names;
use crate::segment::{Examination, Segment, Stage};

/// The files of a segment, the `.log` first.
const FILES: [&str; 4] = [names::LOG, names::INDEX, names::TIME_INDEX, names::TXN_INDEX];

impl Log {
    /// Whether segments may be replaced now.
    pub(crate) fn may_replace(&self) -> bool {
        let is_stopping = self.is_closing() || self.writer_is_paused();
        self.failure().is_none() && !is_stopping && !self.cleaning.is_repairing()
    }

    /// Puts `new`, of which the files are `.cleaned` and flushed, in the place of `old`.
    pub(crate) async fn replace(
        &self,
        old: &[Rc<Segment>],
        new: Rc<Segment>,
    ) -> Result<(), CleanError> {
        let directory = self.path.borrow().clone();
        self.flush_directory(&directory).await?;
        // What the scrub has checked are other bytes, also where there are as many.
        self.forget_checks().await?;
        if !self.may_replace() || !self.has_all(old) {
            return Err(CleanError::Overtaken);
        }
        let _replacing = self.cleaning.begin_to_replace();
        if let Err(error) = self.finish(&directory, old, &new).await {
            // What is in memory and what is on disk are not the same any more.
            self.fail(&error);
            return Err(error.into());
        }
        new.set_moving(false);
        self.shard.segment_used(&new);
        // It may have been looked for under the name of the old one.
        new.has_aborted.set(None);
        for segment in old {
            self.remove_later(directory.clone(), segment.base_offset);
        }
        Ok(())
    }

    /// Steps 2 to 5, from which there is no way back.
    async fn finish(
        &self,
        directory: &Rc<Path>,
        old: &[Rc<Segment>],
        new: &Rc<Segment>,
    ) -> Result<(), StorageError> {
        for suffix in FILES {
            let path = directory.join(names::segment_file(new.base_offset, suffix));
            let (from, to) = (with_suffix(&path, names::CLEANED), with_suffix(&path, names::SWAP));
            self.rename(&from, &to).await?;
        }
        self.flush_directory(directory).await?;
        self.replace_in_memory(old, new);
        for files in [&FILES[1..], &FILES[..1]] {
            for segment in old {
                for suffix in files {
                    let path = directory.join(names::segment_file(segment.base_offset, suffix));
                    self.rename(&path, &with_suffix(&path, names::DELETED)).await?;
                }
            }
            self.flush_directory(directory).await?;
        }
        for files in [&FILES[..1], &FILES[1..]] {
            for suffix in files {
                let path = directory.join(names::segment_file(new.base_offset, suffix));
                self.rename(&with_suffix(&path, names::SWAP), &path).await?;
            }
            self.flush_directory(directory).await?;
        }
        Ok(())
    }

    /// Step 3.
    fn replace_in_memory(&self, old: &[Rc<Segment>], new: &Rc<Segment>) {
        new.set_moving(true);
        {
            let mut segments = self.segments.borrow_mut();
            let first = old.first().expect("a new segment stands for an old one");
            let at = segments.iter().position(|segment| Rc::ptr_eq(segment, first));
            let at = at.expect("nobody takes segments out meanwhile");
            let gone = segments.splice(at..at + old.len(), [new.clone()]);
            assert!(gone.zip(old).all(|(gone, old)| Rc::ptr_eq(&gone, old)), "they are in order");
            assert!(segments.last().is_some_and(|last| last.stage.get() != Stage::Sealed));
        }
        for segment in old {
            segment.retire();
            self.shard.tail_shrank(segment.tail.borrow_mut().clear());
            self.shard.read_ahead().forget(segment);
        }
    }

    /// Whether these segments are in the log, one after the other, and finished.
    fn has_all(&self, old: &[Rc<Segment>]) -> bool {
        let segments = self.segments.borrow();
        let first = segments.iter().position(|segment| Rc::ptr_eq(segment, &old[0]));
        first.is_some_and(|at| {
            segments.len() > at + old.len()
                && segments[at..].iter().zip(old).all(|(a, b)| Rc::ptr_eq(a, b))
                && old.iter().all(|segment| segment.stage.get() == Stage::Sealed)
                && old.iter().all(|segment| segment.examination.get() != Examination::UnderWay)
        })
    }

    /// Removes what a round that ended early has made. A start does so as well.
    pub(crate) async fn remove_cleaned(&self, base_offset: Offset) {
        let directory = self.path.borrow().clone();
        for suffix in FILES {
            let path = cleaned_path(&directory, base_offset, suffix);
            self.shard.runtime().remove_file(&path).await.ok();
        }
    }

    /// Renames a file if it is there: not every segment has every index.
    async fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        match self.shard.runtime().rename(from, to).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StorageError::io("rename", from)(error))
            }
            _ => Ok(()),
        }
    }

    async fn flush_directory(&self, directory: &Path) -> Result<(), StorageError> {
        let flushed = self.shard.runtime().sync_dir(directory).await;
        flushed.map_err(StorageError::io("flush", directory))
    }
}

fn with_suffix(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
