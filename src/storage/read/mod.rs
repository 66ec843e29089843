//! Reading: from memory where the bytes are, else from disk.
//!
//! A read starts with the batch that holds the offset, even if the offset is in its middle, and
//! ends at a batch boundary that the index knows, or in the middle of a batch as Kafka's reads do
//! (clients drop the torn end). The end of the log is served from the tails. Below those, where the
//! page cache has large folios, all of a segment but the last 16 MiB of one that is still written
//! goes out as a stretch of its file, never copied, and the cache forgets what its first reader has
//! behind it. Elsewhere only a sealed segment does, if the page cache has it or should have it
//! because it is read more than once. What is left is read around the page cache.

mod check;
mod disk;
mod replay;

use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;
use ringlog_runtime::{File, OpenOptions, Piece};
use ringlog_types::Offset;

use crate::error::{ReadError, StorageError};
use crate::index::offset_index::{INDEX_BYTES_MAX, OffsetIndex};
use crate::index::time_index::TimeIndex;
use crate::log::Log;
use crate::names;
use crate::observer::ReadSource;
use crate::segment::batch_header::{BatchHeader, HEADER_BYTES, HeaderFault};
use crate::segment::{Examination, Located, Segment, SegmentIndex, Stage};
use crate::shard::PlannedMemory;

/// At most this much, or one batch, is read around the page cache for one read of the log: while
/// the reader works on it, the next is read ahead.
const DISK_READ_BYTES_MAX: u64 = 1 << 20;
/// At most this much, or one batch, is taken to memory for one read while memory is short.
const SHORT_READ_BYTES_MAX: u64 = 64 << 10;
/// Less than this of a sealed segment goes by page in any case.
const PAGE_BYTES_MAX: u64 = 64 << 10;
/// A sealed segment longer than a batch and so many times `index.interval.bytes` has index entries.
const EMPTY_INDEX_INTERVALS: u64 = 4;
/// What is read at once while walking from an index entry to an offset.
const WALK_READ_BYTES: u64 = 16 << 10;

/// What a read found.
#[derive(Debug, Clone, Default)]
pub struct LogRead {
    /// The batches, in order and back to back.
    pub pieces: Vec<Piece>,
    /// Bytes in all pieces.
    pub bytes: usize,
    /// The first offset of the first batch; it may be below the one asked for.
    pub first_batch_base: Option<Offset>,
    /// There is more that was asked for, but it is better asked for again.
    pub cut_short: bool,
}

/// What a read will find, before the disk is asked for it.
pub struct ReadPlan {
    offset: Offset,
    first_batch_base: Option<Offset>,
    stretch: Option<Stretch>,
    available: u64,
    cut_short: bool,
    /// The memory it will take.
    memory: Option<PlannedMemory>,
}

impl ReadPlan {
    fn nothing(offset: Offset) -> ReadPlan {
        ReadPlan {
            offset,
            first_batch_base: None,
            stretch: None,
            available: 0,
            cut_short: false,
            memory: None,
        }
    }

    /// The offset it was made for.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// How many bytes it will be, at most.
    pub fn bytes(&self) -> usize {
        self.stretch.as_ref().map_or(0, |stretch| (stretch.end - stretch.start) as usize)
    }

    /// How many bytes there are in the segment, however few of them fit into the read. Of a first
    /// batch that did not fit at all, its size.
    pub fn available(&self) -> u64 {
        self.available
    }

    /// The segment it reads and an offset that none of its batches reaches.
    pub(crate) fn range(&self) -> Option<(Rc<Segment>, Offset)> {
        let Stretch { segment, end, .. } = self.stretch.as_ref()?;
        let index = segment.index.borrow();
        let beyond = index.as_ref().and_then(|index| index.offsets.offset_beyond(*end));
        Some((segment.clone(), beyond.unwrap_or(segment.end_offset.get())))
    }

    /// Whether it takes a wait for the disk.
    pub fn waits(&self) -> bool {
        self.stretch.as_ref().is_some_and(|stretch| stretch.way == Way::Disk)
    }
}

/// How a stretch is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From the tail.
    Memory,
    /// By page, through the page cache.
    Page,
    /// Into a buffer, around the page cache; its end may be in memory by then.
    Disk,
}

/// The stretch of one segment that a read takes.
struct Stretch {
    segment: Rc<Segment>,
    start: u64,
    end: u64,
    /// The segment's when this was decided.
    generation: u64,
    way: Way,
    /// Bytes in memory are copied, so that a reader who does not take them does not hold the much
    /// larger chunk they are in.
    copied: bool,
}

impl Log {
    /// Reads batches from `offset` on: at most `max_bytes`, and none that starts at or beyond
    /// `up_to`. With `min_one` the first batch is returned whole whatever its size.
    pub async fn read(
        &self,
        offset: Offset,
        max_bytes: usize,
        up_to: Offset,
        min_one: bool,
    ) -> Result<LogRead, ReadError> {
        let plan = self.plan_read(offset, max_bytes, up_to, min_one).await?;
        self.read_planned(plan).await
    }

    /// Decides what a [`Log::read`] takes, so that several logs can then be read at once.
    pub async fn plan_read(
        &self,
        offset: Offset,
        max_bytes: usize,
        up_to: Offset,
        min_one: bool,
    ) -> Result<ReadPlan, ReadError> {
        let cuts = self.offsets.cuts();
        let result = self.find_stretch(offset, max_bytes, up_to, min_one).await;
        if self.offsets.cuts() != cuts {
            // What was found may be gone. The next try meets the log as it is now.
            return Ok(ReadPlan { cut_short: true, ..ReadPlan::nothing(offset) });
        }
        match result {
            // Compaction has put another segment in the place of the one that was looked at.
            Err(ReadError::Storage(StorageError::Truncated { .. })) => {
                Ok(ReadPlan { cut_short: true, ..ReadPlan::nothing(offset) })
            }
            result => result.map_err(|error| self.explain(offset, error)),
        }
    }

    /// Reads what was planned.
    pub async fn read_planned(&self, plan: ReadPlan) -> Result<LogRead, ReadError> {
        let ReadPlan { offset, first_batch_base, stretch, cut_short, memory, .. } = plan;
        let Some(stretch) = stretch else {
            return Ok(LogRead { cut_short, ..LogRead::default() });
        };
        let is_current = || stretch.segment.generation() == stretch.generation;
        if !is_current() {
            return Ok(LogRead { cut_short: true, ..LogRead::default() });
        }
        let pieces = self.pieces(&stretch).await;
        drop(memory);
        if !is_current() {
            return Ok(LogRead { cut_short: true, ..LogRead::default() });
        }
        let pieces = pieces.map_err(|error| self.explain(offset, error))?;
        let bytes: usize = pieces.iter().map(piece_len).sum();
        Ok(LogRead { pieces, bytes, first_batch_base, cut_short })
    }

    /// A segment may be removed while it is looked at; then that is what the reader is told.
    fn explain(&self, offset: Offset, error: ReadError) -> ReadError {
        let (start, end) = (self.offsets.log_start(), self.offsets.log_end());
        self.complain(offset, &error);
        match error {
            ReadError::Storage(_) if offset < start => {
                ReadError::OffsetOutOfRange { offset, start, end }
            }
            error => error,
        }
    }

    async fn find_stretch(
        &self,
        offset: Offset,
        max_bytes: usize,
        up_to: Offset,
        min_one: bool,
    ) -> Result<ReadPlan, ReadError> {
        let (start, end) = (self.offsets.log_start(), self.offsets.log_end());
        if offset < start || offset > end {
            return Err(ReadError::OffsetOutOfRange { offset, start, end });
        }
        let cuts = self.offsets.cuts();
        let up_to = up_to.min(end);
        if offset >= up_to || (max_bytes == 0 && !min_one) {
            return Ok(ReadPlan::nothing(offset));
        }
        let Some((segment, first)) = self.locate(offset).await? else {
            return Ok(ReadPlan::nothing(offset));
        };
        if first.header.base_offset >= up_to {
            return Ok(ReadPlan::nothing(offset));
        }
        let first_size = first.header.size as u64;
        if first_size > max_bytes as u64 && !min_one {
            return Ok(ReadPlan { available: first_size, ..ReadPlan::nothing(offset) });
        }
        let limit = self.end_position(&segment, up_to).await?;
        self.check_uncut(offset, cuts)?;
        let wanted = limit.min(first.position + (max_bytes as u64).max(first_size));
        let way = self.way(&segment, first.position, wanted).await?;
        self.check_uncut(offset, cuts)?;
        let is_short = way != Way::Page && self.shard.is_short_of_memory();
        if is_short && !min_one {
            return Ok(ReadPlan { cut_short: true, ..ReadPlan::nothing(offset) });
        }
        let bytes_max = match way {
            _ if is_short => SHORT_READ_BYTES_MAX,
            Way::Disk => DISK_READ_BYTES_MAX,
            Way::Memory | Way::Page => u64::MAX,
        };
        let mut end = wanted.min(first.position.saturating_add(bytes_max.max(first_size)));
        // What follows in another segment takes another read, too.
        let next = self.segment_after(segment.base_offset);
        let goes_on = next.is_some_and(|next| next.base_offset < up_to);
        let cut_short = end < wanted || goes_on;
        if end < limit {
            // Ending where a batch starts spares the client a torn one.
            let boundary = match segment.index.borrow().as_ref() {
                Some(index) => u64::from(index.offsets.floor_position(end)),
                None => 0,
            };
            if boundary >= first.position + first_size {
                end = boundary;
            }
        }
        if let Some(fence) = segment.fence_behind(first.position) {
            end = end.min(fence.position);
        }
        if way == Way::Page {
            end = self.sound_end(&segment, first.position, end).await?;
        }
        let memory =
            (way == Way::Disk).then(|| self.shard.plan_memory((end - first.position) as usize));
        let generation = segment.generation();
        let (start, copied) = (first.position, is_short);
        let stretch = Stretch { segment, start, end, generation, way, copied };
        let first_batch_base = Some(first.header.base_offset);
        let available = limit - first.position;
        let stretch = Some(stretch);
        Ok(ReadPlan { offset, first_batch_base, stretch, available, cut_short, memory })
    }

    /// While a read is planned, what it goes by may be cut off.
    fn check_uncut(&self, offset: Offset, cuts: u64) -> Result<(), ReadError> {
        match self.offsets.cuts() == cuts {
            true => Ok(()),
            false => Err(StorageError::Truncated { offset }.into()),
        }
    }

    /// How to read from `start` on.
    async fn way(&self, segment: &Rc<Segment>, start: u64, end: u64) -> Result<Way, ReadError> {
        if segment.tail.borrow().start().is_some_and(|memory_start| start >= memory_start) {
            return Ok(Way::Memory);
        }
        if let Some(file) = segment.reader.borrow().as_ref()
            && file.is_unreadable()
        {
            // Reading it into a buffer tells what is wrong.
            return Ok(Way::Disk);
        }
        if segment.is_settled(end) && self.reads_by_page(segment).await? {
            return Ok(Way::Page);
        }
        if segment.stage.get() != Stage::Sealed {
            return Ok(Way::Disk);
        }
        let length = end - start;
        if length < PAGE_BYTES_MAX || segment.bytes_read.get() >= segment.size.get() {
            return Ok(Way::Page);
        }
        let file = self.reader(segment).await?;
        let probe = start + length.min(DISK_READ_BYTES_MAX) - 1;
        match self.shard.runtime().is_cached(&file, probe).await {
            true => Ok(Way::Page),
            false => Ok(Way::Disk),
        }
    }

    /// The first batch that reaches `offset`, and its segment. `None` when there is none, which
    /// can only be at the end of the log.
    pub(crate) async fn locate(
        &self,
        offset: Offset,
    ) -> Result<Option<(Rc<Segment>, Located)>, ReadError> {
        let Some(mut segment) = self.segment_for(offset) else { return Ok(None) };
        loop {
            if let Some(found) = self.locate_in(&segment, offset).await? {
                return Ok(Some((segment, found)));
            }
            // Compaction may have taken the segment's last batches: the next one has it.
            match self.segment_after(segment.base_offset) {
                Some(next) => segment = next,
                None => return Ok(None),
            }
        }
    }

    pub(crate) async fn locate_in(
        &self,
        segment: &Rc<Segment>,
        offset: Offset,
    ) -> Result<Option<Located>, ReadError> {
        if let Some(fence) = segment.fence_at(offset) {
            return Err(self.corrupt(segment, offset, fence.position, "damaged earlier"));
        }
        self.load_index(segment).await?;
        let generation = segment.generation();
        let walked = self.walk(segment, offset).await;
        if segment.generation() != generation {
            return Err(StorageError::Truncated { offset }.into());
        }
        let is_wrong = match &walked {
            Err(ReadError::Corrupt { .. }) => segment.fence_at(offset).is_none(),
            // What most readers ask for: what comes after the batch they had.
            Ok(Some(found)) if found.follows && found.located.header.base_offset == offset => false,
            Ok(Some(found)) => self.overlaps_next(segment, &found.located).await?,
            _ => false,
        };
        if is_wrong && self.examine(segment).await? {
            return Ok(self.walk(segment, offset).await?.map(|found| found.located));
        }
        Ok(walked?.map(|found| found.located))
    }

    /// The file that holds `offset`, and the position of its batch: for who finds it damaged.
    pub async fn place_of(&self, offset: Offset) -> Result<Option<(PathBuf, u64)>, ReadError> {
        let located = self.locate(offset).await?;
        Ok(located.map(|(segment, found)| (segment.path(names::LOG), found.position)))
    }

    /// Walks from the last index entry below `offset` to the first batch that reaches it.
    async fn walk(
        &self,
        segment: &Rc<Segment>,
        offset: Offset,
    ) -> Result<Option<Walked>, ReadError> {
        if let Some(fence) = segment.fence_at(offset) {
            return Err(self.corrupt(segment, offset, fence.position, "damaged earlier"));
        }
        let entry =
            segment.index.borrow().as_ref().and_then(|index| index.offsets.entry_below(offset));
        let mut position = entry.map_or(0, |entry| u64::from(entry.position));
        let mut window = Window::default();
        // Where the batch at `position` starts, if that is known.
        let mut expected = (position == 0).then_some(segment.base_offset);
        loop {
            if let Some(fence) = segment.fence_behind(position)
                && fence.position == position
            {
                position = fence.end_position;
                expected = Some(fence.end_offset);
            }
            let size = segment.size.get();
            if position >= size {
                return Ok(None);
            }
            let left = size - position;
            let bytes = self.peek(segment, position, &mut window).await?;
            let header = match BatchHeader::parse(&bytes, left) {
                Ok(header) => header,
                // A segment that Kafka preallocated and did not trim ends in zeros.
                Err(HeaderFault::Empty) if segment.examination.get() == Examination::Done => {
                    return Ok(None);
                }
                Err(fault) => return Err(self.corrupt(segment, offset, position, fault.reason())),
            };
            if let Some(entry) = entry
                && position == u64::from(entry.position)
                && header.last_offset() > segment.base_offset + i64::from(entry.relative_offset)
            {
                return Err(self.corrupt(
                    segment,
                    offset,
                    position,
                    "the index is of something else",
                ));
            }
            if expected.is_some_and(|expected| header.base_offset < expected) {
                return Err(self.corrupt(segment, offset, position, "the offset does not follow"));
            }
            if header.last_offset() >= offset {
                let follows = expected.is_none_or(|expected| expected == header.base_offset);
                return Ok(Some(Walked { located: Located { position, header }, follows }));
            }
            position += header.size as u64;
            expected = Some(header.next_offset());
        }
    }

    /// Whether a batch reaches into the one behind it, as one whose base offset (which the CRC does
    /// not cover) or length in offsets was changed. Otherwise a gap before it is of compaction.
    async fn overlaps_next(
        &self,
        segment: &Rc<Segment>,
        found: &Located,
    ) -> Result<bool, ReadError> {
        let next = found.position + found.header.size as u64;
        let size = segment.size.get();
        if next >= size {
            return Ok(found.header.next_offset() > segment.end_offset.get());
        }
        let bytes = self.peek(segment, next, &mut Window::default()).await?;
        Ok(BatchHeader::parse(&bytes, size - next)
            .is_ok_and(|next| next.base_offset < found.header.next_offset()))
    }

    /// The header of a segment's first batch, if there is one.
    pub(crate) async fn first_header(
        &self,
        segment: &Rc<Segment>,
    ) -> Result<Option<BatchHeader>, ReadError> {
        let generation = segment.generation();
        let bytes = self.peek(segment, 0, &mut Window::default()).await?;
        match segment.generation() == generation {
            true => Ok(BatchHeader::parse(&bytes, segment.size.get()).ok()),
            false => Err(StorageError::Truncated { offset: segment.base_offset }.into()),
        }
    }

    /// The first bytes of the batch at `position`: a header's worth if there are as many.
    pub(crate) async fn peek(
        &self,
        segment: &Rc<Segment>,
        position: u64,
        window: &mut Window,
    ) -> Result<Vec<u8>, ReadError> {
        let length = (segment.size.get() - position).min(HEADER_BYTES as u64);
        let mut bytes = vec![0; length as usize];
        // The header may begin on disk and end in memory.
        let memory_start = segment.tail.borrow().start().unwrap_or(u64::MAX);
        let disk_length = memory_start.saturating_sub(position).min(length);
        let (on_disk, in_memory) = bytes.split_at_mut(disk_length as usize);
        if !in_memory.is_empty() {
            segment.tail.borrow().copy(position + disk_length, in_memory);
        }
        if on_disk.is_empty() {
            return Ok(bytes);
        }
        if !window.covers(position, disk_length)
            && let Some(ahead) = self.shard.read_ahead().find(segment, position)
        {
            let end = (position + WALK_READ_BYTES).min(ahead.end());
            if let Some(bytes) = ahead.bytes(position, end).await {
                *window = Window { start: position, bytes };
            }
        }
        let page_end = position + WALK_READ_BYTES;
        if !window.covers(position, disk_length)
            && segment.is_settled(page_end)
            && self.reads_by_page(segment).await?
            && let Some(bytes) = self.read_page(segment, position, page_end).await?
        {
            *window = Window { start: position, bytes };
        }
        if !window.covers(position, disk_length) {
            let written = segment.write.borrow().written;
            let end = (position + WALK_READ_BYTES).min(written).min(memory_start);
            let end = end.max(position + disk_length);
            let read = self.read_disk(segment, position, end).await?;
            *window = Window { start: position, bytes: read };
        }
        let at = (position - window.start) as usize;
        on_disk.copy_from_slice(&window.bytes[at..at + disk_length as usize]);
        Ok(bytes)
    }

    /// The position at which batches that start at or beyond `up_to` begin.
    async fn end_position(&self, segment: &Rc<Segment>, up_to: Offset) -> Result<u64, ReadError> {
        if up_to >= segment.end_offset.get() {
            return Ok(segment.size.get());
        }
        let (written_offset, written_end) = {
            let write = segment.write.borrow();
            (write.written_offset, write.written_end)
        };
        if up_to == written_offset && segment.fences.borrow().is_empty() {
            // The usual case: everything that is durable. The bytes of a batch that is not whole
            // yet may count as written, so the exact end is kept with the offset.
            return Ok(written_end);
        }
        if let Some(fence) = segment.fence_at(up_to) {
            return Ok(fence.position);
        }
        match self.locate_in(segment, up_to).await? {
            Some(found) if found.header.base_offset < up_to => {
                Ok(found.position + found.header.size as u64)
            }
            Some(found) => Ok(found.position),
            None => Ok(segment.size.get()),
        }
    }

    /// The bytes of a stretch.
    async fn pieces(&self, stretch: &Stretch) -> Result<Vec<Piece>, ReadError> {
        let Stretch { segment, start, end, way, copied, .. } = stretch;
        let (start, end) = (*start, *end);
        let tell = |source, bytes| self.shard.tell(|observer| observer.read(source, bytes));
        if segment.stage.get() == Stage::Sealed || *way == Way::Page {
            segment.bytes_read.set(segment.bytes_read.get() + (end - start));
        }
        if *way == Way::Page {
            let file = self.reader(segment).await?;
            segment.lent.set(true);
            tell(ReadSource::File, end - start);
            match self.reads_by_page(segment).await? {
                true => self.forget_behind(segment, &file, start, end),
                false => self.advise(segment, &file, start, end),
            }
            return Ok(vec![Piece::File { file, pos: start, len: (end - start) as usize }]);
        }
        let memory_start = segment.tail.borrow().start().unwrap_or(u64::MAX);
        if start >= memory_start {
            tell(ReadSource::Tail, end - start);
            if *copied {
                let mut copy = self.shard.runtime().buffers().get((end - start) as usize);
                let mut slices = Vec::with_capacity(2);
                segment.tail.borrow().slices(start, end, &mut slices);
                slices.iter().for_each(|slice| copy.extend_from_slice(slice));
                return Ok(vec![Piece::Bytes(copy.freeze())]);
            }
            return Ok(memory_pieces(segment, start, end));
        }
        let disk_end = end.min(memory_start);
        // While the disk is read, chunks may leave memory; what is in it is taken first.
        let mut in_memory = Vec::new();
        if disk_end == memory_start && end > memory_start {
            in_memory = memory_pieces(segment, memory_start, end);
            tell(ReadSource::Tail, end - memory_start);
        }
        let pieces = self.disk_pieces(segment, start, disk_end).await?;
        let mut pieces = self.sound_pieces(segment, start, pieces).await?;
        if pieces.iter().map(|piece| piece_len(piece) as u64).sum::<u64>() < disk_end - start {
            in_memory.clear();
        }
        pieces.append(&mut in_memory);
        Ok(pieces)
    }

    /// The handle through which a sealed segment is read around the page cache.
    pub(crate) async fn direct_reader(&self, segment: &Rc<Segment>) -> Result<File, ReadError> {
        self.shard.segment_used(segment);
        if let Some(file) = segment.direct_reader.borrow().clone() {
            return Ok(file);
        }
        let options = OpenOptions { read: true, direct: true, ..Default::default() };
        let file = self.open_log(segment, &options).await?;
        segment.direct_reader.replace(Some(file.clone()));
        Ok(file)
    }

    /// Opens a segment's `.log` by its name.
    pub(crate) async fn open_log(
        &self,
        segment: &Rc<Segment>,
        how: &OpenOptions,
    ) -> Result<File, ReadError> {
        if segment.is_moving() {
            return Err(StorageError::Truncated { offset: segment.base_offset }.into());
        }
        let (path, generation) = (segment.path(names::LOG), segment.generation());
        let file = match self.shard.runtime().open(&path, how).await {
            Ok(file) => file,
            Err(error) => {
                let error = StorageError::io("open", &path)(error);
                return Err(Box::pin(self.unopened(segment, error)).await);
            }
        };
        // By now the name may be another file's.
        match segment.generation() == generation && !segment.is_retired() {
            true => Ok(file),
            false => Err(StorageError::Truncated { offset: segment.base_offset }.into()),
        }
    }

    /// Whether what no cache has is read through the page cache, too.
    async fn reads_by_page(&self, segment: &Rc<Segment>) -> Result<bool, ReadError> {
        let known = self.dir.reads_by_page();
        if let Some(by_page) = known.get() {
            return Ok(*by_page);
        }
        let file = self.reader(segment).await?;
        Ok(*known.get_or_init(|| self.shard.runtime().reads_well_by_page(&file)))
    }

    /// The handle through which a segment is sent by page.
    pub(crate) async fn reader(&self, segment: &Rc<Segment>) -> Result<File, ReadError> {
        self.shard.segment_used(segment);
        if let Some(file) = segment.reader.borrow().clone() {
            return Ok(file);
        }
        let options = OpenOptions { read: true, ..Default::default() };
        let file = self.open_log(segment, &options).await?;
        segment.reader.replace(Some(file.clone()));
        Ok(file)
    }

    /// Reads the index of a sealed segment from its files. What the files say is checked against
    /// the segment's size here, and against the log when it is used. Both are made anew if one of
    /// them is missing or ends early.
    pub(crate) async fn load_index(&self, segment: &Rc<Segment>) -> Result<(), ReadError> {
        let sealed = segment.stage.get() == Stage::Sealed;
        if sealed {
            self.shard.segment_used(segment);
        }
        if segment.index.borrow().is_some() {
            return Ok(());
        }
        let generation = segment.generation();
        let (offsets, offsets_are_all) = self.load_offsets(segment).await;
        let (times, times_are_all) = self.load_times(segment).await;
        if segment.generation() != generation || segment.is_retired() {
            return Err(StorageError::Truncated { offset: segment.base_offset }.into());
        }
        // Nobody may believe the parts of a damaged one, so it is not shown until it is whole.
        if sealed && !(offsets_are_all && times_are_all) && self.examine(segment).await? {
            return Ok(());
        }
        if segment.index.borrow().is_none() {
            segment.index.replace(Some(SegmentIndex { offsets, times }));
        }
        Ok(())
    }

    /// The entries of the `.index`, and whether it seems to have all of them.
    async fn load_offsets(&self, segment: &Segment) -> (OffsetIndex, bool) {
        let file = self.index_file(segment, names::INDEX).await;
        let mut offsets =
            OffsetIndex::decode(segment.base_offset, file.as_deref().unwrap_or_default());
        let is_all_of_file = file.is_some_and(|bytes| offsets.is_all_of(&bytes));
        let (end_offset, size) = (segment.end_offset.get(), segment.size.get());
        let lies_beyond = offsets.truncate(end_offset, size);
        // A crash may leave a file without its bytes. The first batch has no entry.
        let unindexed_max = {
            let config = self.config.borrow();
            let interval = config.index_interval_bytes.max(0) as u64;
            EMPTY_INDEX_INTERVALS * interval + config.max_message_bytes.max(0) as u64
        };
        let is_lost = offsets.len() == 0 && size > unindexed_max;
        (offsets, is_all_of_file && !lies_beyond && !is_lost)
    }

    /// The entries of the `.timeindex`, and whether it seems to have all of them.
    async fn load_times(&self, segment: &Segment) -> (TimeIndex, bool) {
        let file = self.index_file(segment, names::TIME_INDEX).await;
        let mut times = TimeIndex::decode(segment.base_offset, file.as_deref().unwrap_or_default());
        let is_all_of_file = file.is_some_and(|bytes| times.is_all_of(&bytes));
        let lies_beyond = times.truncate(segment.end_offset.get()).is_some();
        (times, is_all_of_file && !lies_beyond)
    }

    async fn index_file(&self, segment: &Segment, suffix: &str) -> Option<Vec<u8>> {
        self.shard.runtime().read_file(&segment.path(suffix), INDEX_BYTES_MAX).await.ok()
    }
}

/// What a walk came to.
struct Walked {
    located: Located,
    /// The batch starts where the one before it ends, as far as that is known.
    follows: bool,
}

/// Bytes of a segment read while walking.
#[derive(Default)]
pub(crate) struct Window {
    start: u64,
    bytes: Bytes,
}

impl Window {
    fn covers(&self, position: u64, length: u64) -> bool {
        self.start <= position && position + length <= self.start + self.bytes.len() as u64
    }
}

fn memory_pieces(segment: &Segment, start: u64, end: u64) -> Vec<Piece> {
    let mut bytes = Vec::with_capacity(2);
    segment.tail.borrow().slices(start, end, &mut bytes);
    bytes.into_iter().map(Piece::Bytes).collect()
}

fn piece_len(piece: &Piece) -> usize {
    match piece {
        Piece::Bytes(bytes) => bytes.len(),
        Piece::File { len, .. } => *len,
    }
}
