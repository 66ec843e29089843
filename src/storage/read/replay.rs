//! Reading a log back into memory, in bounded pieces of whole batches: how the state that its
//! records make is made again.

use ringlog_record::BatchIter;
use ringlog_runtime::{File, Piece, Runtime};
use ringlog_types::Offset;

use crate::error::{ReadError, StorageError};
use crate::log::Log;

/// What is asked of a file at once.
const READ_BYTES: usize = 1 << 20;

impl Log {
    /// Whole batches from `offset` on, below `up_to`, in memory: at most `bytes_max`, or one batch
    /// that is larger. Empty at the end of what there is, and where what is there is no batch.
    ///
    /// # Errors
    /// As [`Log::read`]; damage is never stepped over.
    pub async fn read_whole_batches(
        &self,
        offset: Offset,
        bytes_max: usize,
        up_to: Offset,
    ) -> Result<Vec<u8>, ReadError> {
        let mut read = self.read(offset, bytes_max, up_to, true).await?;
        // The segment was replaced by a compacted one, or its end was cut off, meanwhile.
        while read.cut_short && read.pieces.is_empty() && self.failure().is_none() {
            self.shard.runtime().yield_now().await;
            read = self.read(offset, bytes_max, up_to, true).await?;
        }
        let mut bytes = Vec::with_capacity(read.bytes);
        for piece in read.pieces {
            match piece {
                Piece::Bytes(part) => bytes.extend_from_slice(&part),
                Piece::File { file, pos, len } => {
                    let runtime = self.shard.runtime();
                    let appended = append_stretch(runtime, &mut bytes, &file, pos, len).await;
                    let path = self.path.borrow().clone();
                    appended.map_err(StorageError::io("read", &path))?;
                }
            }
        }
        let whole = whole_bytes(&bytes);
        bytes.truncate(whole);
        Ok(bytes)
    }
}

async fn append_stretch(
    runtime: &Runtime,
    bytes: &mut Vec<u8>,
    file: &File,
    mut position: u64,
    mut left: usize,
) -> std::io::Result<()> {
    while left > 0 {
        let buffer = runtime.buffers().get(left.min(READ_BYTES));
        let (read, buffer) = runtime.read_at(file, buffer, position).await;
        let count = read?.min(left);
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..count]);
        position += count as u64;
        left -= count;
    }
    Ok(())
}

/// A read ends where its limit is, which may be in the middle of a batch.
fn whole_bytes(bytes: &[u8]) -> usize {
    let mut batches = BatchIter::new(bytes);
    let mut whole = 0;
    while let Some(Ok(batch)) = batches.next() {
        whole += batch.size();
    }
    whole
}
