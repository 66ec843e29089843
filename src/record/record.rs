//! The records inside a batch.

use std::borrow::Cow;

use ringlog_types::{Offset, TimestampMs};

use crate::batch::BatchView;
use crate::compression::{Compression, decompress};
use crate::{BatchError, varint};

/// A record's header (KIP-82).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its key.
    pub key: &'a str,
    /// Its value.
    pub value: Option<&'a [u8]>,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its place in the log.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: TimestampMs,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Vec<Header<'a>>,
}

/// The uncompressed records of a batch: its own bytes, or unpacked ones.
///
/// # Errors
/// An unknown codec, damaged data, or more than `bytes_max` bytes.
pub fn decompressed_records<'a>(
    batch: &BatchView<'a>,
    bytes_max: usize,
) -> Result<Cow<'a, [u8]>, BatchError> {
    match batch.compression()? {
        Compression::None => Ok(Cow::Borrowed(batch.records_bytes())),
        codec => decompress(codec, batch.records_bytes(), bytes_max).map(Cow::Owned),
    }
}

/// The records of a batch, from its uncompressed bytes. Ends after the first error.
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    rest: &'a [u8],
    index: i32,
    count: i32,
    base_offset: Offset,
    last_offset_delta: i32,
    base_timestamp: TimestampMs,
    /// What every record has when the broker stamps them.
    log_append_time: Option<TimestampMs>,
}

impl<'a> RecordIter<'a> {
    /// The records of `batch`, whose uncompressed bytes are `records`
    /// (see [`decompressed_records`]).
    pub fn new(batch: &BatchView<'_>, records: &'a [u8]) -> RecordIter<'a> {
        let stamped = batch.attributes().is_log_append_time();
        RecordIter {
            rest: records,
            index: 0,
            count: batch.record_count(),
            base_offset: batch.base_offset(),
            last_offset_delta: batch.last_offset_delta(),
            base_timestamp: batch.base_timestamp(),
            log_append_time: stamped.then(|| batch.max_timestamp()),
        }
    }

    /// The same with the timestamps that the producer gave, whoever the header says has stamped the
    /// records.
    pub(crate) fn with_create_time(mut self) -> RecordIter<'a> {
        self.log_append_time = None;
        self
    }

    /// The next record without its headers, which are walked but not kept: what the broker needs
    /// to check or find a record. Headers with keys that are not UTF-8 pass, as they do in Kafka.
    pub fn next_bare(&mut self) -> Option<Result<Record<'a>, BatchError>> {
        self.advance(|body| skip_headers(body).map(|()| Vec::new()))
    }

    /// The bytes of the records that are still to come.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Calls `look` with every record, without headers, and makes sure that they are all there
    /// and numbered one after the other: what a producer's batch must be.
    pub(crate) fn each_in_order(
        mut self,
        mut look: impl FnMut(&Record<'a>) -> Result<(), BatchError>,
    ) -> Result<(), BatchError> {
        while let Some(record) = self.next_bare() {
            let (record, index) = (record?, self.index - 1);
            if record.offset != self.base_offset.wrapping_add(i64::from(index)) {
                let reason = "its offset does not follow the one before";
                return Err(BatchError::Record { index, reason });
            }
            look(&record)?;
        }
        Ok(())
    }

    fn advance(
        &mut self,
        headers: impl FnOnce(&mut &'a [u8]) -> Result<Vec<Header<'a>>, &'static str>,
    ) -> Option<Result<Record<'a>, BatchError>> {
        let index = self.index;
        let error = |reason| BatchError::Record { index, reason };
        if index >= self.count {
            let left_over = !std::mem::take(&mut self.rest).is_empty();
            return left_over.then(|| Err(error("bytes follow the last record")));
        }
        self.index += 1;
        let read = self.read(headers).map_err(error);
        if read.is_err() {
            (self.index, self.rest) = (self.count, &[]);
        }
        Some(read)
    }

    fn read(
        &mut self,
        headers: impl FnOnce(&mut &'a [u8]) -> Result<Vec<Header<'a>>, &'static str>,
    ) -> Result<Record<'a>, &'static str> {
        let length = number(&mut self.rest)?;
        let mut body = take(&mut self.rest, length, "its length is beyond the batch")?;
        let (_attributes, after) = body.split_first().ok_or("it is empty")?;
        body = after;
        let timestamp_delta = varint::read(&mut body).ok_or("a broken timestamp")?;
        let offset_delta = number(&mut body)?;
        if !(0..=i64::from(self.last_offset_delta)).contains(&offset_delta) {
            return Err("its offset is outside the batch");
        }
        let key = nullable(&mut body)?;
        let value = nullable(&mut body)?;
        let headers = headers(&mut body)?;
        if !body.is_empty() {
            return Err("bytes follow its headers");
        }
        Ok(Record {
            offset: self.base_offset.wrapping_add(offset_delta),
            timestamp: self
                .log_append_time
                .unwrap_or_else(|| self.base_timestamp.wrapping_add(timestamp_delta)),
            key,
            value,
            headers,
        })
    }
}

fn number(bytes: &mut &[u8]) -> Result<i64, &'static str> {
    varint::read(bytes).ok_or("a broken number")
}

fn take<'a>(
    bytes: &mut &'a [u8],
    length: i64,
    why: &'static str,
) -> Result<&'a [u8], &'static str> {
    let length = usize::try_from(length).map_err(|_| why)?;
    let (taken, rest) = bytes.split_at_checked(length).ok_or(why)?;
    *bytes = rest;
    Ok(taken)
}

/// Any negative length is a null, as Kafka reads it.
fn nullable<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, &'static str> {
    match number(bytes)? {
        ..0 => Ok(None),
        length => take(bytes, length, "a length beyond the record").map(Some),
    }
}

fn header_count(bytes: &mut &[u8]) -> Result<usize, &'static str> {
    let count = number(bytes)?;
    // A header takes two bytes at least.
    match usize::try_from(count) {
        Ok(count) if count <= bytes.len() / 2 => Ok(count),
        _ => Err("a header count beyond the record"),
    }
}

fn header_key<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], &'static str> {
    let length = number(bytes)?;
    take(bytes, length, "a header key beyond the record")
}

fn headers<'a>(bytes: &mut &'a [u8]) -> Result<Vec<Header<'a>>, &'static str> {
    let count = header_count(bytes)?;
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let key = header_key(bytes)?;
        let key = std::str::from_utf8(key).map_err(|_| "a header key that is not UTF-8")?;
        headers.push(Header { key, value: nullable(bytes)? });
    }
    Ok(headers)
}

fn skip_headers(bytes: &mut &[u8]) -> Result<(), &'static str> {
    for _ in 0..header_count(bytes)? {
        header_key(bytes)?;
        nullable(bytes)?;
    }
    Ok(())
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance(headers)
    }
}
