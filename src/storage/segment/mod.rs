//! One segment of a log: a `.log` with its two indexes.
//!
//! A segment is *open* while batches are appended to it, *closed* when a newer one takes them but
//! its own are not all on disk yet, and *sealed* when its files are trimmed to their exact sizes,
//! flushed, and never written again. Only the newest segment is open; any number of closed ones
//! can wait for the writer; everything older is sealed. An open or closed segment has its index
//! in memory; a sealed one reads it when it is first asked and may forget it again.

pub(crate) mod batch_header;
pub(crate) mod fence_file;
pub(crate) mod heads;
pub(crate) mod index_files;
pub(crate) mod scan;
pub(crate) mod tail;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ringlog_runtime::File;
use ringlog_types::{Offset, TimestampMs};

use crate::index::offset_index::OffsetIndex;
use crate::index::time_index::TimeIndex;
use crate::names;
use crate::producers::entries::ProducerEntries;
use crate::segment::batch_header::BatchHeader;
use crate::segment::heads::CheckedStretches;
use crate::segment::index_files::IndexFiles;
use crate::segment::tail::Tail;
use crate::wait::Waiters;

/// Where in its life a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Takes appends.
    Open,
    /// Takes no appends; the writer has yet to finish it.
    Closed,
    /// Finished.
    Sealed,
}

/// How far a look at every batch of a segment is (see `examine`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Examination {
    /// It did not begin since the index was loaded.
    #[default]
    None,
    UnderWay,
    Done,
}

/// Both indexes of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentIndex {
    pub(crate) offsets: OffsetIndex,
    pub(crate) times: TimeIndex,
}

impl SegmentIndex {
    pub(crate) fn new(base_offset: Offset) -> SegmentIndex {
        let (offsets, times) = (OffsetIndex::new(base_offset), TimeIndex::new(base_offset));
        SegmentIndex { offsets, times }
    }
}

/// What the writer knows of a segment's files. Positions are bytes in the `.log`.
#[derive(Default)]
pub(crate) struct WriteState {
    /// The `.log`, open for `O_DIRECT` writes; `None` before its creation and after sealing.
    pub(crate) file: Option<File>,
    /// Everything below was handed to the disk.
    pub(crate) written: u64,
    /// The offset after the last batch that is whole in what was handed to the disk.
    pub(crate) written_offset: Offset,
    /// Where that batch ends.
    pub(crate) written_end: u64,
    /// Up to here the file has blocks; a multiple of a block.
    pub(crate) allocated: u64,
    /// How much was allocated last, for the next time.
    pub(crate) allocation_step: u64,
    /// Zeros were written up to here, so a commit below changes no metadata.
    pub(crate) zeroed: u64,
    /// Whether something was written without being flushed.
    pub(crate) unflushed: bool,
    /// Bytes written since the last flush.
    pub(crate) unflushed_bytes: u64,
}

impl WriteState {
    /// Notes that everything written is flushed. Returns how many bytes that made safe.
    pub(crate) fn flushed(&mut self) -> u64 {
        self.unflushed = false;
        std::mem::take(&mut self.unflushed_bytes)
    }
}

/// A run of damaged bytes in the middle of a segment. Reads of its offsets fail, those around it
/// do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The first damaged byte.
    pub position: u64,
    /// The first byte after it that is whole again.
    pub end_position: u64,
    /// The first offset that cannot be read.
    pub first_offset: Offset,
    /// The first offset after it that can.
    pub end_offset: Offset,
}

/// How far behind the written end of an open segment the page cache is used. A write around it
/// makes it forget the pages that it covers, and waits where there are any.
const SETTLED_DISTANCE: u64 = 16 << 20;

/// One segment.
pub(crate) struct Segment {
    pub(crate) base_offset: Offset,
    directory: RefCell<Rc<Path>>,
    pub(crate) stage: Cell<Stage>,
    /// Bytes appended.
    pub(crate) size: Cell<u64>,
    /// The offset after the last one appended; for a sealed segment, the next one's base.
    pub(crate) end_offset: Cell<Offset>,
    pub(crate) index: RefCell<Option<SegmentIndex>>,
    pub(crate) index_files: IndexFiles,
    bytes_since_index_entry: Cell<u64>,
    /// The largest timestamp, and the last offset of the first batch that has it. `None` when
    /// the segment is empty or nobody has looked yet.
    pub(crate) max_timestamp: Cell<Option<(TimestampMs, Offset)>>,
    /// The largest timestamp of the first batch, by which the segment's age is told.
    pub(crate) first_timestamp: Cell<Option<TimestampMs>>,
    /// When the segment was made; its age while it has no timestamp.
    pub(crate) created_ms: Cell<TimestampMs>,
    /// Subtracted from `segment.ms`, so that segments of many logs do not roll at once.
    pub(crate) jitter_ms: Cell<i64>,
    pub(crate) write: RefCell<WriteState>,
    pub(crate) tail: RefCell<Tail>,
    /// For sending it by page; opened at need.
    pub(crate) reader: RefCell<Option<File>>,
    /// For reading a sealed segment around the page cache; opened at need.
    pub(crate) direct_reader: RefCell<Option<File>>,
    /// How much was read of it by page or since it is sealed, by all readers together.
    pub(crate) bytes_read: Cell<u64>,
    /// Where the last read from disk ended, to tell who reads from front to back.
    pub(crate) disk_read_end: Cell<u64>,
    /// Up to here the page cache was asked to have the bytes of a sealed segment.
    pub(crate) advised_end: Cell<u64>,
    /// Up to here the page cache was told that its first reader has gone by.
    pub(crate) forgotten_end: Cell<u64>,
    /// Whether it has a `.txnindex` with entries. `None` when nobody has looked yet.
    pub(crate) has_aborted: Cell<Option<bool>>,
    /// Whether pages of the file may be on their way to a socket.
    pub(crate) lent: Cell<bool>,
    pub(crate) fences: RefCell<Vec<Fence>>,
    /// Goes up when other bytes take the place of the segment's, or it leaves the log.
    generation: Cell<u64>,
    retired: Cell<bool>,
    /// Its files have not got their names yet; they are open.
    moving: Cell<bool>,
    /// Once every batch on disk was checked since the index was loaded, what seems wrong is so.
    pub(crate) examination: Cell<Examination>,
    /// Those who wait for one that is under way.
    pub(crate) examination_ended: Waiters,
    /// What is on disk of which the chain of offsets was seen to be whole.
    heads_checked: RefCell<CheckedStretches>,
    /// Where a break of that chain had the segment examined last.
    examined_for: Cell<Option<u64>>,
    /// The producers of the snapshot to be written when a closed segment is sealed.
    pub(crate) closing_snapshot: RefCell<Option<ProducerEntries>>,
}

impl Segment {
    /// An empty segment that takes appends.
    pub(crate) fn open(directory: &Rc<Path>, base_offset: Offset, now_ms: TimestampMs) -> Segment {
        let segment = Segment::sealed(directory, base_offset, 0, base_offset);
        segment.stage.set(Stage::Open);
        segment.index.replace(Some(SegmentIndex::new(base_offset)));
        segment.created_ms.set(now_ms);
        segment
    }

    /// Whether what lies before `end` is on disk for good, and so far from where the segment is
    /// written that no reading ahead meets a write: it may be read through the page cache.
    pub(crate) fn is_settled(&self, end: u64) -> bool {
        match self.stage.get() {
            Stage::Sealed => true,
            _ => end + SETTLED_DISTANCE <= self.write.borrow().written,
        }
    }

    /// A segment that is complete on disk.
    pub(crate) fn sealed(
        directory: &Rc<Path>,
        base_offset: Offset,
        size: u64,
        end_offset: Offset,
    ) -> Segment {
        Segment {
            base_offset,
            directory: RefCell::new(directory.clone()),
            stage: Cell::new(Stage::Sealed),
            size: Cell::new(size),
            end_offset: Cell::new(end_offset),
            index: RefCell::new(None),
            index_files: IndexFiles::default(),
            bytes_since_index_entry: Cell::new(0),
            max_timestamp: Cell::new(None),
            first_timestamp: Cell::new(None),
            created_ms: Cell::new(0),
            jitter_ms: Cell::new(0),
            write: RefCell::new(WriteState {
                written: size,
                written_offset: end_offset,
                written_end: size,
                ..WriteState::default()
            }),
            tail: RefCell::default(),
            reader: RefCell::new(None),
            direct_reader: RefCell::new(None),
            bytes_read: Cell::new(0),
            disk_read_end: Cell::new(0),
            advised_end: Cell::new(0),
            forgotten_end: Cell::new(0),
            has_aborted: Cell::new(None),
            lent: Cell::new(false),
            fences: RefCell::default(),
            generation: Cell::new(0),
            retired: Cell::new(false),
            moving: Cell::new(false),
            examination: Cell::default(),
            examination_ended: Waiters::default(),
            heads_checked: RefCell::default(),
            examined_for: Cell::new(None),
            closing_snapshot: RefCell::new(None),
        }
    }

    /// The path of one of the segment's files.
    pub(crate) fn path(&self, suffix: &str) -> PathBuf {
        self.directory.borrow().join(names::segment_file(self.base_offset, suffix))
    }

    /// Changes when what was known of the segment's bytes does not hold any more.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Whether the segment is out of the log. Its files may be another's by their names.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// Notes that the segment is out of the log.
    pub(crate) fn retire(&self) {
        self.retired.set(true);
        self.note_cut();
    }

    /// Whether the segment's files have not got their names yet.
    pub(crate) fn is_moving(&self) -> bool {
        self.moving.get()
    }

    /// Notes whether the segment's files have not got their names yet.
    pub(crate) fn set_moving(&self, moving: bool) {
        self.moving.set(moving);
    }

    /// Notes that the segment's end was cut off.
    pub(crate) fn note_cut(&self) {
        self.generation.set(self.generation.get() + 1);
        self.examination.set(Examination::None);
        self.examination_ended.wake_all();
    }

    /// Tells the segment that its directory was renamed.
    pub(crate) fn moved_to(&self, directory: &Rc<Path>) {
        self.directory.replace(directory.clone());
    }

    /// Whether everything appended is on disk. What is appended later is not.
    pub(crate) fn is_written(&self) -> bool {
        let write = self.write.borrow();
        write.written == self.size.get() && !write.unflushed
    }

    /// Whether the segment has its `.log`, open for writing.
    pub(crate) fn has_file(&self) -> bool {
        self.write.borrow().file.is_some()
    }

    /// Bytes that are not written yet.
    pub(crate) fn dirty_bytes(&self) -> u64 {
        self.size.get() - self.write.borrow().written
    }

    /// Takes note of a batch that starts at the end of the segment: index entries by Kafka's rule
    /// (`LogSegment.append`), timestamps, size.
    pub(crate) fn note_batch(&self, header: &BatchHeader, index_interval_bytes: u64) {
        let position = self.size.get();
        if position == 0 {
            self.first_timestamp.set(Some(header.max_timestamp));
        }
        let newest = self.max_timestamp.get();
        if header.max_timestamp >= 0
            && newest.is_none_or(|(timestamp, _)| header.max_timestamp > timestamp)
        {
            self.max_timestamp.set(Some((header.max_timestamp, header.last_offset())));
        }
        if self.bytes_since_index_entry.get() > index_interval_bytes {
            let mut index = self.index.borrow_mut();
            let index = index.as_mut().expect("an open segment has its index");
            index.offsets.append(header.last_offset(), position as u32);
            if let Some((timestamp, offset)) = self.max_timestamp.get() {
                index.times.maybe_append(timestamp, offset);
            }
            self.bytes_since_index_entry.set(0);
        }
        let size = header.size as u64;
        self.bytes_since_index_entry.set(self.bytes_since_index_entry.get() + size);
        self.size.set(position + size);
        self.end_offset.set(header.next_offset());
    }

    /// Takes note of damaged bytes that are stepped over.
    pub(crate) fn note_fence(&self, fence: Fence) {
        self.size.set(fence.end_position);
        self.end_offset.set(fence.end_offset);
        self.fences.borrow_mut().push(fence);
    }

    /// Restores the state that walking the segment up to an index entry would have given.
    pub(crate) fn resume_at(&self, position: u64, end_offset: Offset) {
        self.size.set(position);
        self.end_offset.set(end_offset);
        // The entry was written for the batch at this position, so the count starts there.
        self.bytes_since_index_entry.set(0);
    }

    /// Takes another index in the place of the one in memory.
    pub(crate) fn replace_index(&self, index: SegmentIndex) {
        self.index.replace(Some(index));
        self.index_files.made_anew();
    }

    /// Adds the largest timestamp to the time index, as the last act on a segment.
    pub(crate) fn complete_time_index(&self) {
        if let (Some(index), Some((timestamp, offset))) =
            (self.index.borrow_mut().as_mut(), self.max_timestamp.get())
        {
            index.times.maybe_append(timestamp, offset);
        }
    }

    /// Whether the index of either kind has no room for another entry.
    pub(crate) fn index_is_full(&self, segment_index_bytes: usize) -> bool {
        let index = self.index.borrow();
        let Some(index) = index.as_ref() else { return false };
        let full = |entries: usize, entry_bytes: usize| {
            // Kafka rounds down to whole entries and keeps one free in the time index.
            entries + 1 >= (segment_index_bytes / entry_bytes).max(2)
        };
        full(index.offsets.len(), crate::index::offset_index::ENTRY_BYTES)
            || full(index.times.len(), crate::index::time_index::ENTRY_BYTES)
    }

    /// The fence that hides `offset`.
    pub(crate) fn fence_at(&self, offset: Offset) -> Option<Fence> {
        let fences = self.fences.borrow();
        fences.iter().find(|f| f.first_offset <= offset && offset < f.end_offset).copied()
    }

    /// Whether nothing of it can be read.
    pub(crate) fn is_gone(&self) -> bool {
        let fence = self.fence_at(self.base_offset);
        fence.is_some_and(|fence| fence.end_offset >= self.end_offset.get())
    }

    /// The first fence at or behind `position`.
    pub(crate) fn fence_behind(&self, position: u64) -> Option<Fence> {
        let fences = self.fences.borrow();
        fences.iter().filter(|fence| fence.position >= position).min_by_key(|f| f.position).copied()
    }

    /// Where what was checked of a stretch that begins at `start` ends.
    pub(crate) fn heads_checked_from(&self, start: u64) -> u64 {
        self.heads_checked.borrow().checked_from(start)
    }

    /// Remembers that the heads from `start` to `end`, where a batch starts, form a chain.
    pub(crate) fn note_heads_checked(&self, start: u64, end: u64) {
        self.heads_checked.borrow_mut().add(start, end);
    }

    /// Forgets what was checked: other bytes will be there.
    pub(crate) fn forget_heads_checked(&self) {
        self.heads_checked.borrow_mut().clear();
        self.examined_for.set(None);
    }

    /// Whether a break of the chain at `position` is another than the one that had the segment
    /// examined last.
    pub(crate) fn breaks_anew(&self, position: u64) -> bool {
        self.examined_for.replace(Some(position)) != Some(position)
    }

    /// Memory the tail takes.
    pub(crate) fn tail_memory(&self) -> usize {
        self.tail.borrow().memory()
    }
}

/// A batch met while a segment is walked, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) position: u64,
    pub(crate) header: BatchHeader,
}
