//! Reading a segment's bytes from disk, around the page cache.

use std::rc::Rc;

use bytes::Bytes;
use ringlog_runtime::{File, Piece};

use crate::error::{ReadError, StorageError};
use crate::log::Log;
use crate::names;
use crate::observer::ReadSource;
use crate::segment::tail::{BLOCK, block_ceil, block_floor};
use crate::segment::{Segment, Stage};

/// One `O_DIRECT` read.
const DISK_READ_BYTES: u64 = 1 << 20;
/// Less than this is not worth reading ahead.
const AHEAD_BYTES_MIN: u64 = 64 << 10;
/// The system reads ahead well enough for less than this.
const ADVICE_BYTES_MIN: u64 = 256 << 10;
/// At most this much of a sealed segment is asked for before its reader asks.
const AHEAD_BYTES_MAX: u64 = 8 << 20;
/// The page cache forgets this much at once, or more.
const FORGOTTEN_BYTES_MIN: u64 = 8 << 20;
/// No folio of the page cache is larger. What is nearer to a reader may be in its socket still.
const FOLIO_BYTES_MAX: u64 = 4 << 20;

impl Log {
    /// The bytes from `start` to `end`, which were written; and reads ahead if the reader seems to
    /// go through the segment from front to back.
    pub(crate) async fn disk_pieces(
        &self,
        segment: &Rc<Segment>,
        start: u64,
        end: u64,
    ) -> Result<Vec<Piece>, ReadError> {
        let ahead = self.shard.read_ahead();
        let mut sequential = segment.disk_read_end.replace(end) == start;
        let mut pieces = Vec::new();
        let mut position = start;
        while position < end {
            if let Some(window) = ahead.find(segment, position) {
                sequential = true;
                self.read_ahead(segment, end, end - start);
                if let Some(bytes) = window.bytes(position, end).await {
                    let length = bytes.len() as u64;
                    position += length;
                    pieces.push(Piece::Bytes(bytes));
                    let first = window.note_read(end);
                    self.shard.tell(|observer| {
                        observer.read(ReadSource::ReadAhead, length);
                        if first {
                            observer.window_used();
                        }
                    });
                    continue;
                }
            }
            let until = end.min(ahead.next_start(segment, position));
            let until = until.min(block_floor(position) + DISK_READ_BYTES);
            pieces.push(Piece::Bytes(self.read_disk(segment, position, until).await?));
            self.shard.tell(|observer| observer.read(ReadSource::Disk, until - position));
            position = until;
        }
        if sequential {
            self.read_ahead(segment, end, end - start);
        }
        Ok(pieces)
    }

    /// Tells the system which bytes of a sealed segment are about to be sent, all at once, and if
    /// the reader goes from front to back, which will be next: on its own it would find out a
    /// window at a time, and stop while the reader works.
    pub(crate) fn advise(&self, segment: &Segment, file: &File, start: u64, end: u64) {
        let length = end - start;
        if length < ADVICE_BYTES_MIN {
            return;
        }
        let sequential = segment.disk_read_end.replace(end) == start;
        let ahead = if sequential { length.min(AHEAD_BYTES_MAX) } else { 0 };
        let known = if sequential { segment.advised_end.get().max(start) } else { start };
        let until = (end + ahead).min(segment.size.get());
        if until <= known {
            return;
        }
        segment.advised_end.set(until);
        let (runtime, file) = (self.shard.runtime().clone(), file.clone());
        drop(self.shard.runtime().spawn(async move {
            runtime.will_need(&file, known, until - known).await;
        }));
    }

    /// Has the page cache forget what the first reader of a segment has behind it, if it goes from
    /// front to back: others use the memory better, and new pages cost more than used ones. When
    /// all of it was read once, more readers may come, and it stays.
    pub(crate) fn forget_behind(&self, segment: &Segment, file: &File, start: u64, end: u64) {
        let sequential = segment.disk_read_end.replace(end) == start;
        if !sequential || segment.bytes_read.get() > segment.size.get() {
            segment.forgotten_end.set(start);
            return;
        }
        let known = segment.forgotten_end.get();
        if start < known + FORGOTTEN_BYTES_MIN {
            return;
        }
        let until = start - FOLIO_BYTES_MAX;
        segment.forgotten_end.set(until);
        // The folio that the last call ended in is still there.
        let from = known.saturating_sub(FOLIO_BYTES_MAX);
        let (runtime, file) = (self.shard.runtime().clone(), file.clone());
        drop(self.shard.runtime().spawn(async move {
            runtime.wont_need(&file, from, until - from).await;
        }));
    }

    /// Reads settled bytes through the page cache, fewer if the segment ends before `end`. `None`
    /// if they cannot be read so.
    pub(crate) async fn read_page(
        &self,
        segment: &Rc<Segment>,
        start: u64,
        end: u64,
    ) -> Result<Option<Bytes>, ReadError> {
        let file = self.reader(segment).await?;
        let runtime = self.shard.runtime();
        let wanted = (end - start) as usize;
        let (read, buffer) = runtime.read_at(&file, runtime.buffers().get(wanted), start).await;
        Ok(read.ok().map(|read| buffer.freeze().slice(..read.min(wanted))))
    }

    /// Starts reading what a reader that has just read `length` bytes up to `position` will ask
    /// for next, unless that is in memory already or on its way.
    fn read_ahead(&self, segment: &Rc<Segment>, position: u64, length: u64) {
        let ahead = self.shard.read_ahead();
        let mut start = block_floor(position);
        while let Some(window) = ahead.find(segment, start) {
            start = window.end();
        }
        if start.saturating_sub(position) >= length {
            return;
        }
        let in_memory = segment.tail.borrow().start().unwrap_or(u64::MAX);
        let limit = match segment.stage.get() {
            Stage::Sealed => segment.size.get(),
            // The last block may be written again.
            _ => block_floor(segment.write.borrow().written.min(in_memory)),
        };
        let wanted = block_ceil(length).clamp(AHEAD_BYTES_MIN, DISK_READ_BYTES);
        let end = limit.min(start + wanted).min(ahead.next_start(segment, start));
        if end < start + AHEAD_BYTES_MIN {
            return;
        }
        let runtime = self.shard.runtime();
        if self.shard.is_short_of_memory() {
            return;
        }
        let Some(log) = self.this.upgrade() else { return };
        let Some(window) = ahead.reserve(segment, start, end, runtime.now()) else { return };
        self.shard.tell(|observer| observer.window_begun());
        let segment = Rc::clone(segment);
        drop(runtime.spawn(async move {
            let read = log.read_disk(&segment, start, end).await;
            // Whoever needs the bytes meets the error again and tells of it.
            log.shard.read_ahead().fill(&window, read.ok());
        }));
    }

    /// Reads bytes that were written.
    pub(crate) async fn read_disk(
        &self,
        segment: &Rc<Segment>,
        start: u64,
        end: u64,
    ) -> Result<Bytes, ReadError> {
        let runtime = self.shard.runtime();
        let writer = segment.write.borrow().file.clone();
        let file = match writer {
            Some(file) => file,
            None => self.direct_reader(segment).await?,
        };
        let from = block_floor(start);
        let length = (block_ceil(end) - from).max(BLOCK) as usize;
        let path = || segment.path(names::LOG);
        let (mut filled, wanted) = (0, (end - from) as usize);
        let mut parts = Vec::new();
        while filled < wanted {
            let buffer = runtime.buffers().get(length - filled);
            let (read, buffer) = runtime.read_at(&file, buffer, from + filled as u64).await;
            let read = read.map_err(|error| StorageError::io("read", &path())(error))?;
            let useful =
                if filled + read < wanted { block_floor(read as u64) as usize } else { read };
            if useful == 0 {
                let position = from + filled as u64;
                return Err(self.corrupt(
                    segment,
                    segment.base_offset,
                    position,
                    "the file ends early",
                ));
            }
            filled += useful;
            parts.push(buffer.freeze().slice(..useful));
        }
        let skip = (start - from) as usize;
        if let [whole] = parts.as_slice() {
            return Ok(whole.slice(skip..wanted));
        }
        let joined: Vec<u8> = parts.concat();
        Ok(Bytes::from(joined).slice(skip..wanted))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ringlog_config::TopicConfig;

    use crate::segment::batch_header::BatchHeader;
    use crate::testing::{BatchSpec, Bench, append, bytes_of, on_shard};
    use crate::{StorageOptions, StorageShard};

    /// A log of 1 batch of 3 MiB and 400 of 30 KiB, of which memory holds only the last ones, is
    /// read from front to back, twice; memory for reading ahead and the size of a segment are as
    /// given.
    fn read_from_front_to_back(read_ahead_bytes: usize, segment_bytes: i32) {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().to_owned();
        on_shard(move |runtime| {
            let path = path.clone();
            async move {
                let options = StorageOptions {
                    tail_cache_bytes: 1 << 20,
                    read_ahead_bytes,
                    ..StorageOptions::default()
                };
                let max_message_bytes = 4 << 20;
                let config =
                    TopicConfig { max_message_bytes, segment_bytes, ..TopicConfig::default() };
                let config = Mutex::new(config);
                let shard = StorageShard::new(runtime, options);
                let bench = Bench { root: path, shard, config };
                let opened = bench.open().await;
                let log = &opened.log;
                let mut appended = Vec::new();
                for seed in 0..=400 {
                    let value_bytes = if seed == 0 { 3 << 20 } else { 30 << 10 };
                    let spec = BatchSpec { value_bytes, seed: seed as u8, ..Default::default() };
                    appended.push(spec.build());
                    let end = append(log, spec).expect("taken").last_offset + 1;
                    log.wait_durable(log.end_at(end)).await.expect("written");
                }
                let end = log.log_end_offset();
                let first = log.read(0, 1000, end, true).await.expect("read");
                assert_eq!(first.bytes, appended[0].len(), "the first batch is whole");
                let (mut offset, mut reads, mut passes) = (0, 0, 0);
                while passes < 2 {
                    let read = log.read(offset, 50 << 20, end, true).await.expect("read");
                    let bytes = bytes_of(&bench, &read.pieces).await;
                    assert!(!bytes.is_empty() && bytes.len() == read.bytes);
                    let mut at = 0;
                    while at < bytes.len() {
                        let left = (bytes.len() - at) as u64;
                        let header = BatchHeader::parse(&bytes[at..], left).expect("not torn");
                        assert_eq!(header.base_offset, offset);
                        // But for the offset and the epoch, as it was sent.
                        let sent = &appended[offset as usize];
                        assert_eq!(bytes[at + 16..at + header.size], sent[16..]);
                        at += header.size;
                        offset = header.next_offset();
                    }
                    reads += 1;
                    if offset == end {
                        (offset, passes) = (0, passes + 1);
                    }
                }
                assert!((8..60).contains(&reads), "{reads} reads");
                bench.close(opened).await;
            }
        });
    }

    #[test]
    fn the_bytes_are_the_same_with_and_without_reading_ahead() {
        for segment_bytes in [1 << 30, 4 << 20] {
            for read_ahead_bytes in [0, 1 << 20, 8 << 20] {
                read_from_front_to_back(read_ahead_bytes, segment_bytes);
            }
        }
    }
}
