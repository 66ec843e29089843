//! Reading a sealed segment from front to back, some whole batches at a time, around the page
//! cache.

use std::rc::Rc;

use ringlog_runtime::{File, OpenOptions};

use crate::compaction::clean::CleanError;
use crate::log::Log;
use crate::segment::Segment;
use crate::segment::batch_header::{BatchHeader, HeaderFault};
use crate::segment::tail::block_floor;

/// What is read at once. Looking at so much takes the computing thread a few milliseconds.
const READ_BYTES: u64 = 1 << 20;
/// A batch that is larger is none.
const BATCH_BYTES_MAX: u64 = 512 << 20;

/// A walk over a segment.
pub(crate) struct WholeBatches<'a> {
    log: &'a Log,
    segment: Rc<Segment>,
    file: File,
    /// What was read and not given out, which begins with a batch.
    carry: Vec<u8>,
    /// Where that begins.
    position: u64,
    end: u64,
}

impl<'a> WholeBatches<'a> {
    /// From the batch at `position` on.
    pub(crate) async fn open(
        log: &'a Log,
        segment: &Rc<Segment>,
        position: u64,
    ) -> Result<WholeBatches<'a>, CleanError> {
        let options = OpenOptions { read: true, direct: true, ..Default::default() };
        let file = log.open_log(segment, &options).await?;
        let end = segment.size.get();
        let segment = segment.clone();
        Ok(WholeBatches { log, segment, file, carry: Vec::new(), position, end })
    }

    /// Some batches, none of which is cut off; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, CleanError> {
        loop {
            let whole = self.whole_bytes()?;
            if whole > 0 {
                let rest = self.carry.split_off(whole);
                self.position += whole as u64;
                return Ok(Some(std::mem::replace(&mut self.carry, rest)));
            }
            let read_end = self.position + self.carry.len() as u64;
            if read_end >= self.end {
                return match self.carry.is_empty() {
                    true => Ok(None),
                    false => Err(self.damaged("a batch is cut off")),
                };
            }
            self.read_on(read_end).await?;
        }
    }

    async fn read_on(&mut self, from: u64) -> Result<(), CleanError> {
        let block = block_floor(from);
        let runtime = self.log.shard.runtime();
        let wanted = READ_BYTES.min(self.end - block);
        let buffer = runtime.buffers().get(wanted as usize);
        let (read, buffer) = runtime.read_at(&self.file, buffer, block).await;
        let path = self.segment.path(crate::names::LOG);
        let read = read.map_err(crate::error::StorageError::io("read", &path))? as u64;
        let until = (block + read).min(self.end);
        if until <= from {
            return Err(self.damaged("the file ends early"));
        }
        self.carry.extend_from_slice(&buffer[(from - block) as usize..(until - block) as usize]);
        Ok(())
    }

    /// How much of what was read are whole batches.
    fn whole_bytes(&self) -> Result<usize, CleanError> {
        let mut at = 0;
        while at < self.carry.len() {
            let available = self.end - self.position - at as u64;
            let left = &self.carry[at..];
            match BatchHeader::parse(left, available.min(BATCH_BYTES_MAX)) {
                Ok(header) if header.size <= left.len() => at += header.size,
                Ok(_) => break,
                // The header itself is not all there yet.
                Err(HeaderFault::Incomplete | HeaderFault::Empty)
                    if left.len() < crate::segment::batch_header::HEADER_BYTES
                        && available > left.len() as u64 =>
                {
                    break;
                }
                Err(fault) => return Err(self.damaged(fault.reason())),
            }
        }
        Ok(at)
    }

    /// Damage at the first batch that was not given out.
    pub(crate) fn damaged(&self, reason: &'static str) -> CleanError {
        CleanError::Damaged { segment: self.segment.clone(), position: self.position, reason }
    }
}
