//! Walking a segment's file from front to back, through a window of memory.
//!
//! What is read here may be anything: every length is compared with the file before it is used.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use ringlog_record::{Crc32c, crc32};
use ringlog_runtime::sim::PlantedBug;
use ringlog_runtime::{File, Instant, OpenOptions, Runtime};
use ringlog_types::Offset;

use crate::error::StorageError;
use crate::segment::batch_header::{
    BatchHeader, BatchStart, CRC_COVERS_FROM, HEADER_BYTES, HeaderFault, LENGTH_OVERHEAD,
};
use crate::segment::tail::{block_ceil, block_floor};

/// What is read at once.
const WINDOW_BYTES: u64 = 1 << 20;
/// Offset, size, CRC, magic and attributes of an old message.
const OLD_HEADER_BYTES: usize = 18;
/// Disks tear writes between sectors.
const SECTOR: u64 = 512;

/// The same of a scan in the background, which is not to keep anybody waiting.
const PACED_WINDOW_BYTES: u64 = 256 << 10;

/// Slows a scan in the background down, or ends it.
pub(crate) trait Pace {
    /// When the next piece, of so many bytes, may be read.
    fn book(&self, bytes: u64) -> Result<Instant, StorageError>;
}

/// A file being walked.
pub(crate) struct Scanner {
    runtime: Runtime,
    file: File,
    path: PathBuf,
    length: u64,
    window_start: u64,
    window: Vec<u8>,
    /// Where the zeros at the end of the file begin, once somebody has asked.
    data_end: Option<u64>,
    work: ScanWork,
    /// Read at once.
    window_bytes: u64,
    /// Such a scan reads around the page cache, which has better uses.
    pace: Option<Rc<dyn Pace>>,
}

/// What walking a file has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScanWork {
    /// Bytes read from the disk.
    pub read_bytes: u64,
    /// Bytes of which a checksum was taken.
    pub summed_bytes: u64,
}

impl std::ops::AddAssign for ScanWork {
    fn add_assign(&mut self, other: ScanWork) {
        self.read_bytes += other.read_bytes;
        self.summed_bytes += other.summed_bytes;
    }
}

impl Scanner {
    /// Opens a segment's `.log`.
    pub(crate) async fn open(runtime: &Runtime, path: &Path) -> Result<Scanner, StorageError> {
        Scanner::open_as(runtime, path, None).await
    }

    /// The same for a scan in the background.
    pub(crate) async fn open_paced(
        runtime: &Runtime,
        path: &Path,
        pace: Rc<dyn Pace>,
    ) -> Result<Scanner, StorageError> {
        Scanner::open_as(runtime, path, Some(pace)).await
    }

    async fn open_as(
        runtime: &Runtime,
        path: &Path,
        pace: Option<Rc<dyn Pace>>,
    ) -> Result<Scanner, StorageError> {
        let options = OpenOptions { read: true, direct: pace.is_some(), ..Default::default() };
        let file = runtime.open(path, &options).await.map_err(StorageError::io("open", path))?;
        let length = runtime.file_len(&file).await.map_err(StorageError::io("stat", path))?;
        Ok(Scanner {
            runtime: runtime.clone(),
            file,
            path: path.to_owned(),
            length,
            window_start: 0,
            window: Vec::new(),
            data_end: None,
            work: ScanWork::default(),
            window_bytes: if pace.is_some() { PACED_WINDOW_BYTES } else { WINDOW_BYTES },
            pace,
        })
    }

    /// What was done so far.
    pub(crate) fn work(&self) -> ScanWork {
        self.work
    }

    /// The file's length.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The bytes from `position` on: `length` of them, fewer at the end of the file.
    pub(crate) async fn bytes(
        &mut self,
        position: u64,
        length: u64,
    ) -> Result<&[u8], StorageError> {
        let end = (position.saturating_add(length)).min(self.length).max(position);
        let window_end = self.window_start + self.window.len() as u64;
        if position < self.window_start || end > window_end {
            self.refill(position, (end - position).max(self.window_bytes)).await?;
        }
        let from = (position - self.window_start) as usize;
        let to = (end - self.window_start) as usize;
        Ok(&self.window[from.min(self.window.len())..to.min(self.window.len())])
    }

    async fn refill(&mut self, position: u64, length: u64) -> Result<(), StorageError> {
        self.window.clear();
        // Around the page cache, whole blocks are read.
        let start = if self.pace.is_some() { block_floor(position) } else { position };
        self.window_start = start;
        let end = (position + length).min(self.length);
        let mut at = start;
        while at < end {
            let wanted = (end - at).min(self.window_bytes);
            let wanted = if self.pace.is_some() { block_ceil(wanted) } else { wanted };
            if let Some(pace) = &self.pace {
                let turn = pace.book(wanted)?;
                self.runtime.sleep_until(turn).await;
            }
            let buffer = self.runtime.buffers().get(wanted as usize);
            let (read, buffer) = self.runtime.read_at(&self.file, buffer, at).await;
            let read = read.map_err(StorageError::io("read", &self.path))?;
            let useful = read.min((end - at) as usize);
            self.work.read_bytes += useful as u64;
            self.window.extend_from_slice(&buffer[..useful]);
            at += useful as u64;
            if (read as u64) < wanted && (read == 0 || self.pace.is_some()) {
                break;
            }
        }
        Ok(())
    }

    /// The header of the batch at `position`.
    pub(crate) async fn header(
        &mut self,
        position: u64,
    ) -> Result<Result<BatchHeader, HeaderFault>, StorageError> {
        let left = self.length.saturating_sub(position);
        let bytes = self.bytes(position, HEADER_BYTES as u64).await?;
        Ok(BatchHeader::parse(bytes, left))
    }

    /// The header of the batch at `position` if its CRC is right.
    pub(crate) async fn whole_batch(
        &mut self,
        position: u64,
    ) -> Result<Result<BatchHeader, &'static str>, StorageError> {
        let header = match self.header(position).await? {
            Ok(header) => header,
            Err(fault) => return Ok(Err(fault.reason())),
        };
        let end = position + header.size as u64;
        let crc = self.crc(position + CRC_COVERS_FROM as u64, end).await?;
        let is_right = crc == Some(header.crc) || self.believes_everything();
        Ok(if is_right { Ok(header) } else { Err("the CRC does not match") })
    }

    /// The CRC-32C of the bytes from `from` to `to`, a window at a time: what a damaged header
    /// claims may be as long as the file. `None` if the file ends before that.
    pub(crate) async fn crc(&mut self, from: u64, to: u64) -> Result<Option<u32>, StorageError> {
        let mut crc = Crc32c::new();
        let mut at = from;
        while at < to {
            let piece = self.piece(at).await?;
            let useful = piece.len().min((to - at) as usize);
            if useful == 0 {
                return Ok(None);
            }
            crc.update(&piece[..useful]);
            self.work.summed_bytes += useful as u64;
            at += useful as u64;
        }
        Ok(Some(crc.finish()))
    }

    /// What is in memory from `position` on, at least a byte unless the file ends there.
    async fn piece(&mut self, position: u64) -> Result<&[u8], StorageError> {
        let window_end = self.window_start + self.window.len() as u64;
        if position < self.window_start || position >= window_end {
            self.refill(position, self.window_bytes).await?;
        }
        let from = (position - self.window_start) as usize;
        Ok(&self.window[from.min(self.window.len())..])
    }

    /// What the first bytes at `position` say of a batch there, whatever else is wrong with it.
    pub(crate) async fn start_of_batch(
        &mut self,
        position: u64,
    ) -> Result<Option<BatchStart>, StorageError> {
        Ok(BatchStart::parse(self.bytes(position, CRC_COVERS_FROM as u64).await?))
    }

    /// Whether a message of a format older than v2 is at `position`, whole: its CRC is that of
    /// IEEE 802.3 and covers everything behind it.
    pub(crate) async fn is_old_message(&mut self, position: u64) -> Result<bool, StorageError> {
        let head = self.bytes(position, OLD_HEADER_BYTES as u64).await?;
        if head.len() < OLD_HEADER_BYTES {
            return Ok(false);
        }
        let size = i32::from_be_bytes(head[8..12].try_into().expect("4 bytes"));
        let crc = u32::from_be_bytes(head[12..16].try_into().expect("4 bytes"));
        let left = self.length.saturating_sub(position);
        let size = size.max(0) as u64 + LENGTH_OVERHEAD as u64;
        if size < OLD_HEADER_BYTES as u64 || size > left {
            return Ok(false);
        }
        let message = self.bytes(position, size).await?;
        Ok(message.len() as u64 == size && crc32(&message[16..]) == crc)
    }

    /// Where zeros that reach to the end of the file begin, from `position` on: the end of the
    /// file if its last byte is not zero.
    pub(crate) async fn trailing_zeros(&mut self, position: u64) -> Result<u64, StorageError> {
        let data_end = match self.data_end {
            Some(known) => known,
            None => self.find_data_end().await?,
        };
        self.data_end = Some(data_end);
        Ok(data_end.max(position))
    }

    /// Looks from the end of the file backwards, so that it costs no more than there are zeros.
    async fn find_data_end(&mut self) -> Result<u64, StorageError> {
        let mut end = self.length;
        while end > 0 {
            let start = end.saturating_sub(WINDOW_BYTES);
            let bytes = self.bytes(start, end - start).await?;
            if let Some(found) = bytes.iter().rposition(|byte| *byte != 0) {
                return Ok(start + found as u64 + 1);
            }
            end = start;
        }
        Ok(0)
    }

    /// Takes the file for one that is no longer than this.
    pub(crate) fn limit(&mut self, length: u64) {
        self.length = self.length.min(length);
        self.data_end = None;
    }

    /// See [`PlantedBug::ScrubBelievesChecksums`].
    fn believes_everything(&self) -> bool {
        self.pace.is_some() && self.runtime.planted(PlantedBug::ScrubBelievesChecksums)
    }

    /// See [`PlantedBug::SearchPayloads`].
    pub(crate) fn searches_payloads(&self) -> bool {
        self.runtime.planted(PlantedBug::SearchPayloads)
    }

    /// For the planted bug alone: the next position at or behind `from` at which a whole batch
    /// starts whose offsets are at or beyond `expected`, were it in the payload of another batch.
    pub(crate) async fn find_batch(
        &mut self,
        from: u64,
        expected: Offset,
    ) -> Result<Option<(u64, BatchHeader)>, StorageError> {
        let mut at = from;
        while at + HEADER_BYTES as u64 <= self.length {
            let bytes = self.bytes(at, WINDOW_BYTES).await?;
            if bytes.len() < HEADER_BYTES {
                break;
            }
            let candidate = (0..=bytes.len() - HEADER_BYTES).find(|&i| {
                // Magic first: it rules out nearly everything.
                bytes[i + 16] == 2 && may_follow(&bytes[i..], expected)
            });
            let Some(candidate) = candidate else {
                at += (bytes.len() - HEADER_BYTES + 1) as u64;
                continue;
            };
            at += candidate as u64;
            if let Ok(header) = self.whole_batch(at).await? {
                return Ok(Some((at, header)));
            }
            at += 1;
        }
        Ok(None)
    }

    /// Whether a whole sector between `from` and `to` is zeros, or the rest of the one that `from`
    /// is in, where a batch at offset `expected` should begin: the mark of a write that did not
    /// reach the disk entirely.
    pub(crate) async fn has_missing_sector(
        &mut self,
        from: u64,
        to: u64,
        expected: Offset,
    ) -> Result<bool, StorageError> {
        let mut at = from;
        while at < to {
            let end = ((at / SECTOR + 1) * SECTOR).min(to);
            let bytes = self.bytes(at, end - at).await?;
            if bytes.is_empty() {
                break;
            }
            // A few zero bytes say nothing at the far edge, and at the near one only if the start
            // of a batch cannot look like that: it begins with its offset and its length.
            let tells = match at == from {
                true => {
                    bytes.len() >= LENGTH_OVERHEAD
                        || expected.to_be_bytes().iter().take(bytes.len()).any(|byte| *byte != 0)
                }
                false => bytes.len() as u64 * 2 >= SECTOR,
            };
            if tells && bytes.iter().all(|byte| *byte == 0) {
                return Ok(true);
            }
            at = end;
        }
        Ok(false)
    }
}

fn may_follow(bytes: &[u8], expected: Offset) -> bool {
    let base = i64::from_be_bytes(bytes[..8].try_into().expect("8 bytes"));
    base >= expected && base - expected <= i64::from(i32::MAX)
}
