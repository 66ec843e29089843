//! The segment that compaction makes: files with names that end in `.cleaned`, flushed before
//! anything else knows of them.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use ringlog_runtime::{Durability, File, IoBuf, OpenOptions, WriteBufs};
use ringlog_types::Offset;

use crate::error::StorageError;
use crate::index::transaction_index::{self, AbortedTransaction};
use crate::log::Log;
use crate::names;
use crate::segment::batch_header::BatchHeader;
use crate::segment::tail::block_ceil;
use crate::segment::{Segment, Stage};

/// What is written at once.
const WRITE_BYTES: usize = 1 << 20;

/// A segment that is being written.
pub(crate) struct NewSegment<'a> {
    log: &'a Log,
    pub(crate) segment: Rc<Segment>,
    directory: Rc<Path>,
    file: File,
    buffer: IoBuf,
    written: u64,
    index_interval_bytes: u64,
}

/// The name of one of the files before it is finished.
pub(crate) fn cleaned_path(directory: &Path, base_offset: Offset, suffix: &str) -> PathBuf {
    directory.join(names::segment_file(base_offset, suffix) + names::CLEANED)
}

impl<'a> NewSegment<'a> {
    /// An empty one.
    pub(crate) async fn create(
        log: &'a Log,
        base_offset: Offset,
    ) -> Result<NewSegment<'a>, StorageError> {
        let runtime = log.shard.runtime();
        let directory = log.path.borrow().clone();
        let path = cleaned_path(&directory, base_offset, names::LOG);
        let options = OpenOptions {
            read: true,
            write: true,
            create: true,
            truncate: true,
            direct: true,
            ..Default::default()
        };
        let file =
            runtime.open(&path, &options).await.map_err(StorageError::io("create", &path))?;
        Ok(NewSegment {
            log,
            segment: Rc::new(Segment::open(&directory, base_offset, runtime.wall_clock_ms())),
            directory,
            file,
            buffer: runtime.buffers().get(WRITE_BYTES),
            written: 0,
            index_interval_bytes: log.config().index_interval_bytes.max(0) as u64,
        })
    }

    /// Appends whole batches.
    pub(crate) async fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let mut batches = bytes;
        while !batches.is_empty() {
            let header = BatchHeader::parse(batches, batches.len() as u64);
            let header = header.expect("what was just made is a batch");
            if self.segment.size.get() + header.size as u64 > i32::MAX as u64 {
                let why = "what is left of it is too large for one segment";
                return Err(StorageError::unusable(&self.segment.path(names::LOG), why));
            }
            let end_offset = self.segment.end_offset.get();
            assert!(header.base_offset >= end_offset, "offsets ascend in what compaction leaves");
            self.segment.note_batch(&header, self.index_interval_bytes);
            batches = &batches[header.size..];
        }
        let mut left = bytes;
        while !left.is_empty() {
            let room = WRITE_BYTES - self.buffer.len();
            let (now, later) = left.split_at(room.min(left.len()));
            self.buffer.extend_from_slice(now);
            left = later;
            if self.buffer.len() == WRITE_BYTES {
                self.write().await?;
            }
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), StorageError> {
        let runtime = self.log.shard.runtime();
        let mut full = std::mem::replace(&mut self.buffer, runtime.buffers().get(WRITE_BYTES));
        let length = full.len();
        full.extend_from_slice(&vec![0; block_ceil(length as u64) as usize - length]);
        let bufs = WriteBufs::from_iter([full.freeze()]);
        let written = runtime.write_at(&self.file, bufs, self.written, Durability::Buffered).await;
        let path = cleaned_path(&self.directory, self.segment.base_offset, names::LOG);
        written.map_err(StorageError::io("write", &path))?;
        self.written += length as u64;
        Ok(())
    }

    /// Finishes all files and flushes them. `end_offset` is that of the segments that it replaces.
    pub(crate) async fn finish(
        mut self,
        end_offset: Offset,
        aborted: &[AbortedTransaction],
    ) -> Result<Rc<Segment>, StorageError> {
        if !self.buffer.is_empty() {
            self.write().await?;
        }
        let (runtime, segment) = (self.log.shard.runtime(), self.segment.clone());
        let path = cleaned_path(&self.directory, segment.base_offset, names::LOG);
        let size = segment.size.get();
        assert!(self.written == size, "everything is written");
        runtime.set_len(&self.file, size).await.map_err(StorageError::io("trim", &path))?;
        runtime.sync_data(&self.file).await.map_err(StorageError::io("write and flush", &path))?;
        segment.complete_time_index();
        let (offsets, times) = {
            let index = segment.index.borrow();
            let index = index.as_ref().expect("it was made with one");
            (index.offsets.encode_from(0), index.times.encode_from(0))
        };
        self.write_small(names::INDEX, &offsets).await?;
        self.write_small(names::TIME_INDEX, &times).await?;
        if !aborted.is_empty() {
            let bytes = transaction_index::encode(aborted);
            self.write_small(names::TXN_INDEX, &bytes).await?;
        }
        segment.end_offset.set(end_offset.max(segment.end_offset.get()));
        segment.stage.set(Stage::Sealed);
        {
            let mut write = segment.write.borrow_mut();
            write.written = size;
            write.written_end = size;
            write.written_offset = segment.end_offset.get();
        }
        let options = OpenOptions { read: true, ..Default::default() };
        let reader =
            runtime.open(&path, &options).await.map_err(StorageError::io("open", &path))?;
        segment.reader.replace(Some(reader));
        segment.direct_reader.replace(Some(self.file));
        Ok(segment)
    }

    async fn write_small(&self, suffix: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let runtime = self.log.shard.runtime();
        let path = cleaned_path(&self.directory, self.segment.base_offset, suffix);
        let options =
            OpenOptions { write: true, create: true, truncate: true, ..Default::default() };
        let file =
            runtime.open(&path, &options).await.map_err(StorageError::io("create", &path))?;
        if !bytes.is_empty() {
            let bufs = WriteBufs::from_iter([bytes.to_vec().into()]);
            let written = runtime.write_at(&file, bufs, 0, Durability::Buffered).await;
            written.map_err(StorageError::io("write", &path))?;
        }
        runtime.sync_data(&file).await.map_err(StorageError::io("write and flush", &path))
    }
}
