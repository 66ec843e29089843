//! Reads a `.log` batch by batch, in constant memory.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use ringlog_record::{BatchError, BatchView};

/// The next thing in a log.
pub(crate) enum NextBatch<'a> {
    /// A whole batch; its checksum is not looked at.
    Batch { position: u64, batch: BatchView<'a> },
    /// Zeros up to the end: blocks prepared for what was not written yet.
    Padding { position: u64, bytes: u64 },
    /// Not a batch; nothing after it can be read.
    Broken { position: u64, reason: String },
    /// The end.
    End,
}

/// Base offset and length, which come before everything else.
const PREFIX_BYTES: usize = 12;

/// A `.log` that is being read.
pub(crate) struct LogFile {
    input: BufReader<File>,
    position: u64,
    length: u64,
    batch: Vec<u8>,
}

impl LogFile {
    pub(crate) fn open(path: &Path) -> io::Result<LogFile> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let input = BufReader::with_capacity(1 << 20, file);
        Ok(LogFile { input, position: 0, length, batch: Vec::new() })
    }

    /// The file's, when it was opened.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// How far it is read.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Reads the next batch. After anything else there is no more.
    pub(crate) fn next(&mut self) -> io::Result<NextBatch<'_>> {
        let position = self.position;
        let left = self.length - position;
        if left == 0 {
            return Ok(NextBatch::End);
        }
        let prefix = (left as usize).min(PREFIX_BYTES);
        self.batch.resize(prefix, 0);
        self.input.read_exact(&mut self.batch)?;
        if self.batch.iter().all(|byte| *byte == 0) {
            return self.padding(position);
        }
        let claimed = match self.batch.get(8..12) {
            Some(&[a, b, c, d]) => i32::from_be_bytes([a, b, c, d]),
            _ => return Ok(self.broken(position, format!("{left} bytes are no batch"))),
        };
        let size = u64::try_from(claimed).map(|claimed| claimed + PREFIX_BYTES as u64);
        let Some(size) = size.ok().filter(|size| *size <= left) else {
            let reason = format!("a batch of length {claimed} where {left} bytes are left");
            return Ok(self.broken(position, reason));
        };
        // `size` is at most what the file has, so this is not an unchecked allocation.
        self.batch.resize(size as usize, 0);
        self.input.read_exact(&mut self.batch[PREFIX_BYTES..])?;
        self.position += size;
        match BatchView::parse(&self.batch) {
            Ok(_) => {}
            Err(BatchError::Magic(magic)) => {
                let reason = format!("magic {magic}: the format of Kafka before 0.11");
                return Ok(self.broken(position, reason));
            }
            Err(error) => return Ok(self.broken(position, error.to_string())),
        }
        let batch = BatchView::parse(&self.batch).expect("just parsed");
        Ok(NextBatch::Batch { position, batch })
    }

    fn broken(&mut self, position: u64, reason: String) -> NextBatch<'_> {
        self.position = self.length;
        NextBatch::Broken { position, reason }
    }

    fn padding(&mut self, position: u64) -> io::Result<NextBatch<'_>> {
        self.batch.resize(64 << 10, 0);
        loop {
            let count = self.input.read(&mut self.batch)?;
            if count == 0 {
                break;
            }
            if self.batch[..count].iter().any(|byte| *byte != 0) {
                return Ok(self.broken(position, "zeros, and then something else".into()));
            }
        }
        self.position = self.length;
        Ok(NextBatch::Padding { position, bytes: self.length - position })
    }
}
