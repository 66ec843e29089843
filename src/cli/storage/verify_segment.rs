//! Checks one segment: its log, and its indexes against the log.

use std::io;
use std::path::Path;

use ringlog_record::{
    BatchError, BatchView, DECOMPRESSED_BYTES_MAX, RecordIter, decompressed_records,
};
use ringlog_types::{Offset, TimestampMs};

use super::log_file::{LogFile, NextBatch};
use super::small_files;
use super::verify_relations::SegmentEnds;

/// What the index checks need to know of a batch.
#[derive(Debug, Clone, Copy)]
struct Span {
    position: u64,
    base_offset: Offset,
    last_offset: Offset,
    /// The largest time of the segment up to and including this batch.
    max_timestamp: TimestampMs,
}

/// A checked segment.
#[derive(Debug, Default)]
pub(super) struct Segment {
    spans: Vec<Span>,
    pub(super) batches: u64,
    pub(super) records: u64,
    pub(super) padding_bytes: u64,
    /// Of the file, when it was opened.
    pub(super) bytes: u64,
    /// The offset after the last record; `None` when there is none.
    pub(super) end_offset: Option<Offset>,
    /// Offsets are missing between two batches, as compaction leaves them.
    pub(super) has_gaps: bool,
    pub(super) problems: Vec<String>,
}

/// How to check.
#[derive(Debug, Clone, Copy)]
pub(super) struct Depth {
    /// Unpack batches and look at every record.
    pub(super) records: bool,
    /// The segment may still be written: zeros may follow the last batch.
    pub(super) may_be_active: bool,
}

/// Reads the log and checks every batch. `progress` hears of the bytes read.
pub(super) fn check_log(
    path: &Path,
    base_offset: Offset,
    depth: Depth,
    mut progress: impl FnMut(u64),
) -> io::Result<Segment> {
    let mut log = LogFile::open(path)?;
    let mut segment = Segment { bytes: log.length(), ..Segment::default() };
    let mut next_offset = base_offset;
    let mut max_timestamp = -1;
    loop {
        let before = log.position();
        match log.next()? {
            NextBatch::End => return Ok(segment),
            NextBatch::Padding { position, bytes } => {
                segment.padding_bytes = bytes;
                if !depth.may_be_active {
                    let text = format!("@{position}: {bytes} zeros at the end of a sealed segment");
                    segment.problems.push(text);
                }
                progress(bytes);
                return Ok(segment);
            }
            NextBatch::Broken { position, reason } => {
                segment.problems.push(format!("@{position}: {reason}; nothing after it is read"));
                return Ok(segment);
            }
            NextBatch::Batch { position, batch } => {
                let span_end = batch.last_offset();
                if let Err(reason) = check_batch(&batch, next_offset, depth.records) {
                    let (first, last) = (batch.base_offset(), batch.last_offset());
                    let text = format!("@{position}: batch {first}..{last}: {reason}");
                    segment.problems.push(text);
                }
                segment.has_gaps |= batch.base_offset() > next_offset;
                max_timestamp = max_timestamp.max(batch.max_timestamp());
                let base_offset = batch.base_offset();
                let last_offset = span_end;
                segment.spans.push(Span { position, base_offset, last_offset, max_timestamp });
                segment.batches += 1;
                segment.records += u64::try_from(batch.record_count()).unwrap_or(0);
                next_offset = next_offset.max(span_end.saturating_add(1));
                segment.end_offset = Some(next_offset);
            }
        }
        progress(log.position() - before);
    }
}

fn check_batch(batch: &BatchView<'_>, next: Offset, records: bool) -> Result<(), String> {
    if batch.base_offset() < next {
        return Err(format!("its offsets begin before {next}, where the one before it ends"));
    }
    if batch.last_offset_delta() < 0 || batch.last_offset() < batch.base_offset() {
        return Err(format!("its last offset delta is {}", batch.last_offset_delta()));
    }
    batch.verify_crc().map_err(|error| error.to_string())?;
    if records {
        check_records(batch).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn check_records(batch: &BatchView<'_>) -> Result<(), BatchError> {
    let unpacked = decompressed_records(batch, DECOMPRESSED_BYTES_MAX)?;
    RecordIter::new(batch, &unpacked).try_for_each(|record| record.map(drop))
}

impl Segment {
    /// What others of the log are compared with.
    pub(super) fn ends(&self) -> SegmentEnds {
        let (end_offset, has_gaps) = (self.end_offset, self.has_gaps);
        SegmentEnds { end_offset, has_gaps, is_damaged: !self.problems.is_empty() }
    }

    /// The batch that holds `offset`.
    fn span_of(&self, offset: Offset) -> Option<&Span> {
        let place = self.spans.partition_point(|span| span.last_offset < offset);
        self.spans.get(place).filter(|span| span.base_offset <= offset)
    }

    /// Every entry must ascend and name the start of the batch that holds its offset.
    pub(super) fn check_offset_index(&mut self, file: &[u8], base: Offset) {
        let entries = match small_files::offset_index(base, file) {
            Ok((entries, _)) => entries,
            Err(reason) => {
                self.problems.push(format!("offset index: {reason}"));
                return;
            }
        };
        let mut before: Option<small_files::IndexEntry> = None;
        for entry in entries {
            let ascends = before.is_none_or(|before| {
                before.offset < entry.offset && before.position < entry.position
            });
            let place = self.spans.binary_search_by_key(&entry.position, |span| span.position);
            let span = place.ok().map(|place| self.spans[place]);
            let is_right = span
                .is_some_and(|span| (span.base_offset..=span.last_offset).contains(&entry.offset));
            if !ascends || !is_right {
                let (offset, position) = (entry.offset, entry.position);
                let why = if ascends { "no such batch" } else { "it does not ascend" };
                let text = format!("offset index: offset {offset} @{position}: {why}");
                self.problems.push(text);
                // What follows a wrong entry is wrong too, most likely.
                return;
            }
            before = Some(entry);
        }
    }

    /// Every entry must ascend and give the largest time up to its offset.
    pub(super) fn check_time_index(&mut self, file: &[u8], base: Offset) {
        let entries = match small_files::time_index(base, file) {
            Ok((entries, _)) => entries,
            Err(reason) => {
                self.problems.push(format!("time index: {reason}"));
                return;
            }
        };
        let mut before: Option<small_files::TimeEntry> = None;
        for entry in entries {
            let ascends = before.is_none_or(|before| {
                before.timestamp <= entry.timestamp && before.offset <= entry.offset
            });
            let latest = self.span_of(entry.offset).map(|span| span.max_timestamp);
            let why = match latest {
                _ if !ascends => "it does not ascend".to_owned(),
                None => "no such record".to_owned(),
                // Earlier than the records up to there: a search by time would miss some.
                Some(latest) if latest > entry.timestamp => format!("the time there is {latest}"),
                Some(latest) if latest < entry.timestamp => format!("the time there is {latest}"),
                Some(_) => {
                    before = Some(entry);
                    continue;
                }
            };
            let (time, offset) = (entry.timestamp, entry.offset);
            self.problems.push(format!("time index: time {time} offset {offset}: {why}"));
            return;
        }
    }
}
