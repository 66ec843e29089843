//! Building a batch.

use ringlog_types::{ProducerId, TimestampMs};

use crate::batch::{Attributes, BatchSummary, BatchView, HEADER_BYTES, LENGTH_END};
use crate::compression::{Compression, compress};
use crate::{BatchError, Header, MAGIC_V2, patch, varint};

/// Puts records together into one batch with base offset 0.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    records: Vec<u8>,
    count: i32,
    base_timestamp: TimestampMs,
    max_timestamp: TimestampMs,
    compression: Compression,
    level: Option<i32>,
    attributes: i16,
    producer: (ProducerId, i16, i32),
}

impl BatchBuilder {
    /// An empty batch whose timestamps count from `base_timestamp`.
    pub fn new(base_timestamp: TimestampMs) -> BatchBuilder {
        BatchBuilder {
            records: Vec::new(),
            count: 0,
            base_timestamp,
            max_timestamp: -1,
            compression: Compression::None,
            level: None,
            attributes: 0,
            producer: (-1, -1, -1),
        }
    }

    /// Compresses with `codec`; `level` as in Kafka's settings.
    pub fn compression(mut self, codec: Compression, level: Option<i32>) -> BatchBuilder {
        (self.compression, self.level) = (codec, level);
        self
    }

    /// Marks the batch as an idempotent producer's.
    pub fn producer(mut self, id: ProducerId, epoch: i16, base_sequence: i32) -> BatchBuilder {
        self.producer = (id, epoch, base_sequence);
        self
    }

    /// Marks the batch as part of a transaction.
    pub fn transactional(mut self) -> BatchBuilder {
        self.attributes |= Attributes::TRANSACTIONAL;
        self
    }

    /// Marks the batch as one of markers.
    pub fn control(mut self) -> BatchBuilder {
        self.attributes |= Attributes::CONTROL;
        self
    }

    /// Marks the timestamps as the broker's.
    pub fn log_append_time(mut self) -> BatchBuilder {
        self.attributes |= Attributes::LOG_APPEND_TIME;
        self
    }

    /// Adds a record.
    pub fn push(
        &mut self,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) {
        let delta = timestamp.wrapping_sub(self.base_timestamp);
        let bytes = |bytes: Option<&[u8]>| match bytes {
            Some(bytes) => varint::size(bytes.len() as i64) + bytes.len(),
            None => 1,
        };
        let in_headers: usize = headers
            .iter()
            .map(|header| bytes(Some(header.key.as_bytes())) + bytes(header.value))
            .sum();
        let length = 1
            + varint::size(delta)
            + varint::size(i64::from(self.count))
            + bytes(key)
            + bytes(value)
            + varint::size(headers.len() as i64)
            + in_headers;
        let out = &mut self.records;
        varint::write(out, length as i64);
        out.push(0);
        varint::write(out, delta);
        varint::write(out, i64::from(self.count));
        write_nullable(out, key);
        write_nullable(out, value);
        varint::write(out, headers.len() as i64);
        for header in headers {
            write_nullable(out, Some(header.key.as_bytes()));
            write_nullable(out, header.value);
        }
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(timestamp);
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Size of the batch before compression, in bytes.
    pub fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// The batch and what it is.
    ///
    /// # Errors
    /// `Empty`, or `TooLarge` beyond 2 GiB.
    pub fn build(self) -> Result<(Vec<u8>, BatchSummary), BatchError> {
        if self.count == 0 {
            return Err(BatchError::Empty);
        }
        let records = match self.compression {
            Compression::None => self.records,
            codec => compress(codec, &self.records, self.level),
        };
        let size = HEADER_BYTES + records.len();
        let length = i32::try_from(size - LENGTH_END)
            .map_err(|_| BatchError::TooLarge { size, limit: i32::MAX as usize })?;
        let mut batch = Vec::with_capacity(size);
        batch.extend_from_slice(&0i64.to_be_bytes());
        batch.extend_from_slice(&length.to_be_bytes());
        batch.extend_from_slice(&(-1i32).to_be_bytes());
        batch.push(MAGIC_V2 as u8);
        batch.extend_from_slice(&[0; 4]);
        let attributes = self.attributes | i16::from(self.compression.code());
        batch.extend_from_slice(&attributes.to_be_bytes());
        batch.extend_from_slice(&(self.count - 1).to_be_bytes());
        batch.extend_from_slice(&self.base_timestamp.to_be_bytes());
        batch.extend_from_slice(&self.max_timestamp.to_be_bytes());
        let (id, epoch, sequence) = self.producer;
        batch.extend_from_slice(&id.to_be_bytes());
        batch.extend_from_slice(&epoch.to_be_bytes());
        batch.extend_from_slice(&sequence.to_be_bytes());
        batch.extend_from_slice(&self.count.to_be_bytes());
        batch.extend_from_slice(&records);
        patch::set_crc(&mut batch);
        let summary = BatchView::parse(&batch)?.summary()?;
        Ok((batch, summary))
    }
}

fn write_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            varint::write(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
        None => varint::write(out, -1),
    }
}
