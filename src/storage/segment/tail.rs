//! The end of a segment in memory: what is not written yet, and the newest of what is.
//!
//! A tail is a run of aligned chunks that continue each other; it always reaches to the end of
//! its segment. A batch is a stretch of bytes like any other and may cross from one chunk to the
//! next: chunks are filled to the brim, so that every chunk but the last is a whole number of
//! blocks and can be written as it is. Readers and the writer share the memory; nothing below a
//! chunk's length ever changes.
//!
//! When nothing of a segment is held but its last, partly filled block, that block is kept by
//! itself (the *residue*), because the next write has to repeat it.

use std::collections::VecDeque;

use bytes::Bytes;
use ringlog_runtime::{AppendBuffer, BufferPool};
use ringlog_types::Offset;

/// The unit of `O_DIRECT` writes.
pub(crate) const BLOCK: u64 = 4096;
/// The size of the first chunk of a quiet log: a thousand of them are cheap.
const CHUNK_BYTES_FIRST: usize = 16 << 10;
/// The size of the chunks of a busy log.
pub(crate) const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Each chunk is this much larger than the one before, up to the maximum.
const CHUNK_GROWTH: usize = 4;

/// `position` rounded down to a block.
pub(crate) fn block_floor(position: u64) -> u64 {
    position & !(BLOCK - 1)
}

/// `position` rounded up to a block.
pub(crate) fn block_ceil(position: u64) -> u64 {
    block_floor(position + BLOCK - 1)
}

struct Chunk {
    /// Position in the segment of the chunk's first byte; a multiple of [`BLOCK`].
    start: u64,
    capacity: usize,
    buffer: AppendBuffer,
    /// The last batch that ends in this chunk: position of its end, and the offset after it.
    last_batch_end: Option<(u64, Offset)>,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.start + self.buffer.len() as u64
    }
}

/// A stretch to write: whole chunks or the rest of the last one.
#[derive(Debug)]
pub(crate) struct WritePlan {
    /// Where the first block goes.
    pub(crate) start: u64,
    /// Whole blocks.
    pub(crate) blocks: Vec<Bytes>,
    /// The bytes of the last block, if it is not full.
    pub(crate) partial: Option<Bytes>,
    /// The end of the bytes that count.
    pub(crate) end: u64,
    /// The last batch that is whole with this write, if any ends in it: the position of its end
    /// and the offset after it.
    pub(crate) batch_end: Option<(u64, Offset)>,
}

/// The in-memory end of one segment.
#[derive(Default)]
pub(crate) struct Tail {
    chunks: VecDeque<Chunk>,
    /// The last block, when no chunk holds it.
    residue: Option<(u64, Bytes)>,
    next_chunk_bytes: usize,
}

impl Tail {
    /// The tail of a segment whose last block is `bytes`, starting at `start`.
    pub(crate) fn with_residue(start: u64, bytes: Bytes) -> Tail {
        assert!(start.is_multiple_of(BLOCK) && (bytes.len() as u64) < BLOCK);
        let residue = (!bytes.is_empty()).then_some((start, bytes));
        Tail { chunks: VecDeque::new(), residue, next_chunk_bytes: 0 }
    }

    /// Position of the first byte in memory; `None` when nothing is.
    pub(crate) fn start(&self) -> Option<u64> {
        match (&self.residue, self.chunks.front()) {
            (Some((start, _)), _) => Some(*start),
            (None, Some(chunk)) => Some(chunk.start),
            (None, None) => None,
        }
    }

    /// Copies `bytes` behind the end of the segment, which is at `position`. Returns the bytes of
    /// memory taken for new chunks.
    pub(crate) fn append(&mut self, pool: &BufferPool, position: u64, mut bytes: &[u8]) -> usize {
        let mut taken = 0;
        let mut position = position;
        while !bytes.is_empty() {
            if self.chunks.back().is_none_or(|chunk| chunk.buffer.len() == chunk.capacity) {
                taken += self.add_chunk(pool, position, bytes.len());
            }
            let chunk = self.chunks.back_mut().expect("one was added");
            assert!(chunk.end() == position, "a tail has no gaps");
            let part = bytes.len().min(chunk.capacity - chunk.buffer.len());
            let (now, later) = bytes.split_at(part);
            chunk.buffer.append_with(part, |into| into.copy_from_slice(now));
            position += part as u64;
            bytes = later;
        }
        taken
    }

    fn add_chunk(&mut self, pool: &BufferPool, position: u64, wanted: usize) -> usize {
        let residue = self.residue.take();
        let start = residue.as_ref().map_or(position, |(start, _)| *start);
        assert!(start.is_multiple_of(BLOCK), "a chunk starts with a block");
        let first = self.next_chunk_bytes.max(CHUNK_BYTES_FIRST);
        let wanted = (wanted + BLOCK as usize).next_power_of_two();
        let capacity = first.max(wanted).min(CHUNK_BYTES_MAX);
        self.next_chunk_bytes = (capacity * CHUNK_GROWTH).min(CHUNK_BYTES_MAX);
        let mut buffer = AppendBuffer::new(pool, capacity);
        if let Some((start, bytes)) = residue {
            assert!(start + bytes.len() as u64 == position, "the residue is the end");
            buffer.append_with(bytes.len(), |into| into.copy_from_slice(&bytes));
        }
        self.chunks.push_back(Chunk { start, capacity, buffer, last_batch_end: None });
        capacity
    }

    /// Notes that a batch ends at the end of the tail.
    pub(crate) fn mark_batch_end(&mut self, end_offset: Offset) {
        let chunk = self.chunks.back_mut().expect("a batch was appended");
        chunk.last_batch_end = Some((chunk.end(), end_offset));
    }

    /// Adds the bytes from `from` to `to` to `pieces`, without copying. Both must be in memory.
    pub(crate) fn slices(&self, from: u64, to: u64, pieces: &mut Vec<Bytes>) {
        assert!(self.start().is_some_and(|start| start <= from), "evicted bytes were asked for");
        if let Some((start, bytes)) = &self.residue {
            pieces.push(bytes.slice((from - start) as usize..(to - start) as usize));
            return;
        }
        let first = self.chunks.partition_point(|chunk| chunk.end() <= from);
        for chunk in self.chunks.range(first..) {
            if chunk.start >= to {
                break;
            }
            let start = from.max(chunk.start) - chunk.start;
            let end = to.min(chunk.end()) - chunk.start;
            pieces.push(chunk.buffer.slice(start as usize..end as usize));
        }
    }

    /// Copies bytes from `from` on into `into`; they must be in memory.
    pub(crate) fn copy(&self, from: u64, into: &mut [u8]) {
        let mut pieces = Vec::with_capacity(2);
        self.slices(from, from + into.len() as u64, &mut pieces);
        let mut at = 0;
        for piece in pieces {
            into[at..at + piece.len()].copy_from_slice(&piece);
            at += piece.len();
        }
    }

    /// What to write next when everything below `written` is written: at most about `bytes_max`,
    /// up to the end of a chunk or of the tail.
    pub(crate) fn plan(&self, written: u64, bytes_max: usize) -> WritePlan {
        let start = block_floor(written);
        let mut plan =
            WritePlan { start, blocks: Vec::new(), partial: None, end: start, batch_end: None };
        let first = self.chunks.partition_point(|chunk| chunk.end() <= written);
        for chunk in self.chunks.range(first..) {
            let from = plan.end.max(chunk.start);
            assert!(from == plan.end, "a tail has no gaps");
            let whole = block_floor(chunk.end());
            let slice = |from: u64, to: u64| {
                chunk.buffer.slice((from - chunk.start) as usize..(to - chunk.start) as usize)
            };
            if whole > from {
                plan.blocks.push(slice(from, whole));
            }
            if whole < chunk.end() {
                plan.partial = Some(slice(whole.max(from), chunk.end()));
            }
            plan.end = chunk.end();
            if let Some((position, end_offset)) = chunk.last_batch_end
                && position > written
            {
                plan.batch_end = Some((position, end_offset));
            }
            if plan.end - plan.start >= bytes_max as u64 {
                break;
            }
        }
        plan
    }

    /// Gives up the oldest chunk if everything in it is below `written`. Returns the memory that
    /// is given up, 0 if none.
    pub(crate) fn evict_oldest(&mut self, written: u64) -> usize {
        let Some(chunk) = self.chunks.front() else { return 0 };
        if chunk.end() > written {
            return 0;
        }
        let chunk = self.chunks.pop_front().expect("looked at");
        if self.chunks.is_empty() {
            // The next write repeats the last block if it is not full.
            let block = block_floor(chunk.end());
            if block < chunk.end() {
                let from = (block - chunk.start) as usize;
                let bytes = Bytes::copy_from_slice(&chunk.buffer.slice(from..chunk.buffer.len()));
                self.residue = Some((block, bytes));
            }
            self.next_chunk_bytes = 0;
        }
        chunk.capacity
    }

    /// Gives up everything. Returns the memory that is given up.
    pub(crate) fn clear(&mut self) -> usize {
        self.residue = None;
        self.next_chunk_bytes = 0;
        self.chunks.drain(..).map(|chunk| chunk.capacity).sum()
    }

    /// Memory held by chunks.
    pub(crate) fn memory(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.capacity).sum()
    }

    /// Chunks held.
    pub(crate) fn chunk_count(&self) -> usize {
        self.chunks.len()
    }
}
