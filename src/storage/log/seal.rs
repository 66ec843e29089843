//! The files of a segment at the ends of its life, and the checkpoints in between.
//!
//! A segment's three files are made together, beside the writer where that is possible (`roll`),
//! and their names flushed with the directory before anything in them counts. While the segment is
//! open its indexes live in memory; after every so many bytes (`ringlog.recovery.checkpoint.bytes`)
//! they are brought to their files together with a producer snapshot and the epochs, and only then
//! does the recovery point move: below it, the files can be believed. Sealing trims all three files
//! to their exact sizes, because Kafka's tools take padding for damage.

use std::rc::Rc;

use bytes::Bytes;
use ringlog_runtime::{Durability, File, OpenOptions, Runtime, WorkOwner, WriteBufs};
use ringlog_types::Offset;

use crate::directories::checkpoint;
use crate::error::StorageError;
use crate::index::{offset_index, time_index};
use crate::log::{Log, PendingCheckpoint};
use crate::names;
use crate::producers::entries::ProducerEntries;
use crate::producers::snapshot;
use crate::segment::index_files::Index;
use crate::segment::tail::block_floor;
use crate::segment::{Segment, Stage};

/// A snapshot of more producers than this takes too long to encode to do it between two requests.
const FEW_PRODUCERS: usize = 1000;

impl Log {
    /// Makes the files of a new segment and opens its `.log` for writing. Some may be there
    /// already, empty: with a full disk it is tried again.
    pub(crate) async fn create_files(&self, segment: &Segment) -> Result<File, StorageError> {
        let file = self.open_new_log(segment).await?;
        self.finish_files(segment, file.clone()).await?;
        Ok(file)
    }

    /// The `.log` of a new segment, without its name flushed.
    pub(crate) async fn open_new_log(&self, segment: &Segment) -> Result<File, StorageError> {
        open_log_file(self, segment, LogFile::NewOrEmpty).await
    }

    /// The same for the first segment of a new log, whose `.log` must not be there.
    pub(crate) async fn create_first_files(&self, segment: &Segment) -> Result<(), StorageError> {
        let file = open_log_file(self, segment, LogFile::New).await?;
        self.finish_files(segment, file).await
    }

    /// Makes the other files of a new segment and flushes the names of all.
    pub(crate) async fn finish_files(
        &self,
        segment: &Segment,
        file: File,
    ) -> Result<(), StorageError> {
        let runtime = self.shard.runtime();
        for suffix in [names::INDEX, names::TIME_INDEX] {
            let options =
                OpenOptions { write: true, create: true, truncate: true, ..Default::default() };
            let path = segment.path(suffix);
            runtime.open(&path, &options).await.map_err(StorageError::io("create", &path))?;
        }
        let directory = self.path.borrow().clone();
        runtime.sync_dir(&directory).await.map_err(StorageError::io("flush", &directory))?;
        let before = segment.write.borrow_mut().file.replace(file);
        assert!(before.is_none(), "the files of a segment are made once");
        Ok(())
    }

    /// Finishes a closed segment of which everything is written. Every step may be repeated: with
    /// a full disk it is.
    pub(crate) async fn seal(&self, segment: &Rc<Segment>) -> Result<(), StorageError> {
        assert!(segment.stage.get() == Stage::Closed && segment.is_written());
        assert!(self.offsets.settled() >= segment.end_offset.get());
        self.wait_for_zeroing(segment, u64::MAX).await;
        self.trim(segment).await?;
        let producers = segment.closing_snapshot.borrow().clone();
        self.write_checkpoint_files(segment.end_offset.get(), producers.as_ref()).await?;
        let end_offset = segment.end_offset.get();
        self.writer.pending_checkpoint.borrow_mut().take_if(|pending| pending.offset <= end_offset);
        self.writer.bytes_since_checkpoint.set(self.bytes_written_behind(segment));
        segment.closing_snapshot.take();
        segment.stage.set(Stage::Sealed);
        segment.write.borrow_mut().file = None;
        self.shard.segment_used(segment);
        self.shard.note_sealed(&self.dir, &self.this, segment.base_offset);
        // Its name says where the log ends, should all before it be removed.
        let next = self.segment_after(segment.base_offset);
        assert!(next.is_some_and(|next| next.has_file()), "a log ends in a segment with a file");
        Ok(())
    }

    /// Bytes written to the segments behind this one.
    fn bytes_written_behind(&self, segment: &Segment) -> u64 {
        let segments = self.segments.borrow();
        let behind = segments.iter().rev().take_while(|s| s.base_offset > segment.base_offset);
        behind.map(|segment| segment.write.borrow().written).sum()
    }

    /// Cuts the segment's files to their exact sizes and flushes them.
    pub(crate) async fn trim(&self, segment: &Segment) -> Result<(), StorageError> {
        let runtime = self.shard.runtime();
        let (begun, unflushed) = (runtime.now(), segment.write.borrow().unflushed_bytes);
        trim_files(runtime, segment).await?;
        self.shard.tell(|observer| observer.flushed(unflushed, runtime.now() - begun));
        Ok(())
    }

    /// When enough was written, remembers the state that belongs to the log's end.
    pub(crate) fn start_checkpoint(&self) {
        let checkpoint_bytes = self.shard.options().recovery_checkpoint_bytes;
        let due = self.writer.bytes_since_checkpoint.get() >= checkpoint_bytes;
        if !due || self.writer.pending_checkpoint.borrow().is_some() {
            return;
        }
        self.writer.bytes_since_checkpoint.set(0);
        let producers = self.producers.borrow().entries().clone();
        let offset = self.offsets.log_end();
        self.writer.pending_checkpoint.replace(Some(PendingCheckpoint { offset, producers }));
    }

    /// Whether a remembered state can be written: everything below it is in its segment, and
    /// segments that end before it are sealed.
    pub(crate) fn checkpoint_is_ready(&self) -> bool {
        let end_offset = self.unsealed_segment().end_offset.get().min(self.offsets.settled());
        self.writer
            .pending_checkpoint
            .borrow()
            .as_ref()
            .is_some_and(|state| state.offset <= end_offset)
    }

    /// Writes a remembered state if it can be. Returns whether it did.
    pub(crate) async fn checkpoint_step(&self) -> Result<bool, StorageError> {
        if !self.checkpoint_is_ready() {
            return Ok(false);
        }
        let Some(pending) = self.writer.pending_checkpoint.take() else { return Ok(false) };
        let segment = self.unsealed_segment();
        if segment.write.borrow().file.is_some() {
            write_index(self.shard.runtime(), &segment, Index::Offsets, false).await?;
            write_index(self.shard.runtime(), &segment, Index::Times, false).await?;
        }
        self.write_checkpoint_files(pending.offset, Some(&pending.producers)).await?;
        Ok(true)
    }

    /// Writes the epochs and a producer snapshot for `offset`, and moves the recovery point there.
    pub(crate) async fn write_checkpoint_files(
        &self,
        offset: Offset,
        producers: Option<&ProducerEntries>,
    ) -> Result<(), StorageError> {
        self.write_epochs().await?;
        if let Some(producers) = producers {
            self.write_snapshot(offset, producers).await?;
        }
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        if self.offsets.recovery_point_at(offset) {
            self.shard.tell(|observer| observer.recovery_point_moved());
        }
        Ok(())
    }

    /// Writes `leader-epoch-checkpoint` if there is news.
    pub(crate) async fn write_epochs(&self) -> Result<(), StorageError> {
        if !self.epochs.borrow_mut().take_changed() {
            return Ok(());
        }
        let text = checkpoint::encode_epochs(self.epochs.borrow().entries());
        let path = self.path.borrow().join(names::LEADER_EPOCH_CHECKPOINT);
        let written = self.shard.runtime().write_file_atomic(&path, text.as_bytes()).await;
        written.map_err(|error| {
            // Should the disk be full, it is tried again.
            self.epochs.borrow_mut().set_changed();
            StorageError::io("write", &path)(error)
        })
    }

    /// Writes a snapshot of the end of the log, to which nothing is appended meanwhile.
    pub(crate) async fn write_snapshot_of_end(&self) -> Result<(), StorageError> {
        let producers = self.producers.borrow().entries().clone();
        self.write_snapshot(self.offsets.log_end(), &producers).await
    }

    /// The same when the log was just opened, in the place of a newest one that was damaged.
    pub(crate) async fn replace_snapshot(&self) -> Result<(), StorageError> {
        match self.write_snapshot_of_end().await {
            // The next checkpoint does it.
            Err(error) if error.is_disk_full() => Ok(()),
            written => written,
        }
    }

    /// Writes a snapshot, and removes the ones that nothing needs: all but the newest and those
    /// at the start of a segment (`ProducerStateManager.removeStraySnapshots`).
    async fn write_snapshot(
        &self,
        offset: Offset,
        producers: &ProducerEntries,
    ) -> Result<(), StorageError> {
        let runtime = self.shard.runtime();
        let bytes = encode_snapshot(runtime, producers).await;
        let directory = self.path.borrow().clone();
        let path = directory.join(names::segment_file(offset, names::SNAPSHOT));
        let written = runtime.replace_file(&path, bytes).await;
        written.map_err(StorageError::io("write", &path))?;
        self.snapshots.borrow_mut().insert(offset);
        let stray: Vec<Offset> = {
            let segments = self.segments.borrow();
            let is_base = |offset: &Offset| {
                segments.binary_search_by_key(offset, |segment| segment.base_offset).is_ok()
            };
            let snapshots = self.snapshots.borrow();
            snapshots.range(..offset).filter(|offset| !is_base(offset)).copied().collect()
        };
        for offset in stray {
            let path = directory.join(names::segment_file(offset, names::SNAPSHOT));
            runtime.remove_file(&path).await.map_err(StorageError::io("remove", &path))?;
            self.snapshots.borrow_mut().remove(&offset);
        }
        Ok(())
    }
}

/// The bytes of a snapshot. Those of many producers are made on another thread.
async fn encode_snapshot(runtime: &Runtime, producers: &ProducerEntries) -> Bytes {
    if producers.len() <= FEW_PRODUCERS {
        return snapshot::encode(producers).into();
    }
    let producers = producers.clone();
    runtime.compute(WorkOwner::NOBODY, move || snapshot::encode(&producers).into()).await
}

/// What a `.log` must be when it is opened for writing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFile {
    /// There.
    Existing,
    /// Not there.
    New,
    /// Not there, or there from an attempt before.
    NewOrEmpty,
}

/// Opens a segment's `.log` for `O_DIRECT` writes.
pub(crate) async fn open_log_file(
    log: &Log,
    segment: &Segment,
    expected: LogFile,
) -> Result<File, StorageError> {
    let runtime = log.shard.runtime();
    let path = segment.path(names::LOG);
    let options = OpenOptions {
        read: true,
        write: true,
        create: expected == LogFile::NewOrEmpty,
        create_new: expected == LogFile::New,
        direct: true,
        ..Default::default()
    };
    runtime.open(&path, &options).await.map_err(StorageError::io("open", &path))
}

/// Cuts the segment's files to their exact sizes and flushes them.
pub(crate) async fn trim_files(runtime: &Runtime, segment: &Segment) -> Result<(), StorageError> {
    if segment.write.borrow().file.is_none() {
        return Ok(());
    }
    trim_log(runtime, segment).await?;
    rewrite_indexes(runtime, segment).await
}

/// The same when a log is opened. A full disk has no space for indexes perhaps; their files come
/// with the next checkpoint then.
pub(crate) async fn trim_recovered(
    runtime: &Runtime,
    segment: &Segment,
) -> Result<(), StorageError> {
    trim_log(runtime, segment).await?;
    match rewrite_indexes(runtime, segment).await {
        Err(error) if error.is_disk_full() => {
            tracing::warn!(%error, "the log is opened with its indexes in memory only");
            Ok(())
        }
        done => done,
    }
}

async fn trim_log(runtime: &Runtime, segment: &Segment) -> Result<(), StorageError> {
    let Some(file) = segment.write.borrow().file.clone() else { return Ok(()) };
    let path = segment.path(names::LOG);
    let size = segment.size.get();
    runtime.set_len(&file, size).await.map_err(StorageError::io("trim", &path))?;
    runtime.sync_data(&file).await.map_err(StorageError::io("flush", &path))?;
    {
        let mut write = segment.write.borrow_mut();
        write.allocated = block_floor(size);
        write.zeroed = 0;
        write.flushed();
    }
    Ok(())
}

/// Writes both index files of a segment anew.
pub(crate) async fn rewrite_indexes(
    runtime: &Runtime,
    segment: &Segment,
) -> Result<(), StorageError> {
    write_index(runtime, segment, Index::Offsets, true).await?;
    write_index(runtime, segment, Index::Times, true).await
}

/// Brings the entries of an index that are not in its file yet there. `whole` writes all of them,
/// and cuts off what is stale behind their end. The file is not emptied for that: a crash in
/// between must leave the entries below the recovery point, which are the same before and after.
async fn write_index(
    runtime: &Runtime,
    segment: &Segment,
    which: Index,
    whole: bool,
) -> Result<(), StorageError> {
    let turn = segment.index_files.turn().await;
    let from = if whole { 0 } else { turn.written(which) };
    // What is behind a new beginning is of another index.
    let whole = from == 0;
    let (bytes, entry_bytes, suffix) = {
        let index = segment.index.borrow();
        let Some(index) = index.as_ref() else { return Ok(()) };
        match which {
            Index::Offsets => {
                (index.offsets.encode_from(from), offset_index::ENTRY_BYTES, names::INDEX)
            }
            Index::Times => {
                (index.times.encode_from(from), time_index::ENTRY_BYTES, names::TIME_INDEX)
            }
        }
    };
    let (position, entries) = (from * entry_bytes, from + bytes.len() / entry_bytes);
    let path = segment.path(suffix);
    let options = OpenOptions { write: true, create: true, ..Default::default() };
    let file = runtime.open(&path, &options).await.map_err(StorageError::io("open", &path))?;
    let end = (position + bytes.len()) as u64;
    if !bytes.is_empty() {
        let bufs = WriteBufs::from_iter([bytes.into()]);
        runtime
            .write_at(&file, bufs, position as u64, Durability::Buffered)
            .await
            .map_err(StorageError::io("write", &path))?;
    }
    if whole {
        runtime.set_len(&file, end).await.map_err(StorageError::io("trim", &path))?;
    }
    // Should there be no space, all of it is written again.
    let flushed = runtime.sync_data(&file).await;
    flushed.map_err(StorageError::io("write and flush", &path))?;
    turn.note_written(which, entries);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ringlog_config::TopicConfig;

    use super::*;
    use crate::segment::SegmentIndex;
    use crate::testing::{BatchSpec, Bench, append, on_shard};
    use crate::{StorageOptions, StorageShard};

    fn index_of(entries: u32) -> SegmentIndex {
        let mut index = SegmentIndex::new(0);
        for at in 1..=entries {
            index.offsets.append(i64::from(10 * at), 100 * at);
        }
        index
    }

    /// The keeper went on where the old index had ended, and beyond the end of the new one.
    #[test]
    fn an_index_that_is_made_anew_while_it_is_written_is_written_again() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().to_owned();
        on_shard(move |runtime| {
            let path = path.clone();
            async move {
                let segment = Segment::open(&path.clone().into(), 0, 0);
                segment.replace_index(index_of(100));
                let written = async |whole| {
                    write_index(&runtime, &segment, Index::Offsets, whole).await.expect("written");
                };
                {
                    let mut writing = Box::pin(written(false));
                    let first = std::future::poll_fn(|context| {
                        std::task::Poll::Ready(writing.as_mut().poll(context))
                    });
                    assert!(first.await.is_pending(), "it waits for the disk");
                    segment.replace_index(index_of(10));
                    // One who examines writes all of it when its turn comes.
                    let both = async {
                        writing.await;
                        written(true).await;
                    };
                    both.await;
                }
                segment.index.borrow_mut().as_mut().expect("there").offsets.append(110, 1100);
                written(false).await;
                let file = std::fs::read(segment.path(names::INDEX)).expect("there");
                assert_eq!(file, index_of(11).offsets.encode_from(0));
                segment.replace_index(index_of(3));
                written(false).await;
                let file = std::fs::read(segment.path(names::INDEX)).expect("there");
                assert_eq!(file, index_of(3).offsets.encode_from(0));
            }
        });
    }

    #[test]
    fn the_recovery_point_moves_after_as_many_bytes_as_is_set() {
        for (recovery_checkpoint_bytes, moves) in [(1 << 20, true), (64 << 20, false)] {
            let root = tempfile::tempdir().expect("a directory");
            let path = root.path().to_owned();
            on_shard(move |runtime| {
                let path = path.clone();
                async move {
                    let options =
                        StorageOptions { recovery_checkpoint_bytes, ..Default::default() };
                    let shard = StorageShard::new(runtime, options);
                    let config = Mutex::new(TopicConfig::default());
                    let bench = Bench { root: path, shard, config };
                    let opened = bench.open().await;
                    let spec = BatchSpec { value_bytes: 100 << 10, ..Default::default() };
                    for _ in 0..40 {
                        let end = append(&opened.log, spec).expect("taken").last_offset + 1;
                        opened.log.wait_durable(opened.log.end_at(end)).await.expect("written");
                    }
                    assert_eq!(opened.log.recovery_point() > 20, moves);
                    bench.close(opened).await;
                }
            });
        }
    }
}
