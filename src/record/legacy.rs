//! Message sets of the formats 0 and 1, which agents from before 2017 still send, converted to one
//! batch on the way in.
//!
//! A message set is a row of messages: offset (8), size (4), CRC-32 of what follows (4), magic
//! (1), attributes (1), from magic 1 a timestamp (8), key and value with 4-byte lengths. A
//! compressed message's value is itself a message set, and nests no deeper than that.

use ringlog_types::TimestampMs;

use crate::batch::BatchSummary;
use crate::builder::BatchBuilder;
use crate::compression::{Compression, decompress};
use crate::{BatchError, DECOMPRESSED_BYTES_MAX};

const CODEC_MASK: u8 = 0x07;
/// Bytes of a message up to its key, in format 0.
const MESSAGE_BYTES_MIN: usize = 14;

/// Converts a message set. Messages of format 0 have no timestamp and get -1, as in Kafka.
///
/// # Errors
/// What is wrong with a message, in the words for batches.
pub fn convert(
    message_set: &[u8],
    bytes_max: usize,
    now_ms: TimestampMs,
) -> Result<(Vec<u8>, BatchSummary), BatchError> {
    if message_set.len() > bytes_max {
        return Err(BatchError::TooLarge { size: message_set.len(), limit: bytes_max });
    }
    let mut collected = Collected { builder: BatchBuilder::new(now_ms), codec: Compression::None };
    collected.messages(message_set, true)?;
    let codec = collected.codec;
    collected.builder.compression(codec, None).build()
}

struct Collected {
    builder: BatchBuilder,
    /// The codec of the outer messages, kept for the batch.
    codec: Compression,
}

impl Collected {
    fn messages(&mut self, mut rest: &[u8], may_nest: bool) -> Result<(), BatchError> {
        while !rest.is_empty() {
            let index = self.builder.len() as i32;
            let cut = || BatchError::Record { index, reason: "the message set ends in a message" };
            let (_offset, after) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
            let (size, after) = after.split_first_chunk::<4>().ok_or_else(cut)?;
            let size = usize::try_from(i32::from_be_bytes(*size)).map_err(|_| cut())?;
            let (message, after) = after.split_at_checked(size).ok_or_else(cut)?;
            self.message(message, index, may_nest)?;
            rest = after;
        }
        Ok(())
    }

    fn message(&mut self, message: &[u8], index: i32, may_nest: bool) -> Result<(), BatchError> {
        let damaged = |reason| BatchError::Record { index, reason };
        if message.len() < MESSAGE_BYTES_MIN {
            return Err(damaged("a message that is too short"));
        }
        let stored = u32::from_be_bytes([message[0], message[1], message[2], message[3]]);
        let computed = crc32fast::hash(&message[4..]);
        if stored != computed {
            return Err(BatchError::Crc { stored, computed });
        }
        let (magic, attributes) = (message[4] as i8, message[5]);
        let mut body = &message[6..];
        let timestamp = match magic {
            0 => -1,
            1 => {
                let (bytes, after) =
                    body.split_first_chunk::<8>().ok_or_else(|| damaged("no timestamp"))?;
                body = after;
                i64::from_be_bytes(*bytes)
            }
            magic => return Err(BatchError::Magic(magic)),
        };
        let key = nullable(&mut body).ok_or_else(|| damaged("a key beyond the message"))?;
        let value = nullable(&mut body).ok_or_else(|| damaged("a value beyond the message"))?;
        let codec = Compression::from_code(attributes & CODEC_MASK)?;
        if codec == Compression::None {
            self.builder.push(timestamp, key, value, &[]);
            return Ok(());
        }
        if !may_nest {
            return Err(damaged("a compressed message inside a compressed message"));
        }
        if codec == Compression::Zstd {
            return Err(BatchError::ZstdTooEarly);
        }
        let value = value.ok_or_else(|| damaged("a compressed message without a value"))?;
        self.codec = codec;
        let inner = decompress(codec, value, DECOMPRESSED_BYTES_MAX)?;
        self.messages(&inner, false)
    }
}

/// Bytes with a 4-byte length, -1 for null. `None` when they reach beyond the message.
fn nullable<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (length, after) = bytes.split_first_chunk::<4>()?;
    let length = i32::from_be_bytes(*length);
    *bytes = after;
    if length == -1 {
        return Some(None);
    }
    let (taken, after) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = after;
    Some(Some(taken))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::compress;
    use crate::{BatchView, RecordIter, decompressed_records};

    fn message(magic: u8, codec: u8, key: Option<&[u8]>, value: Option<&[u8]>) -> Vec<u8> {
        let mut body = vec![magic, codec];
        if magic == 1 {
            body.extend_from_slice(&77i64.to_be_bytes());
        }
        for bytes in [key, value] {
            let length = bytes.map_or(-1, |bytes| bytes.len() as i32);
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(bytes.unwrap_or_default());
        }
        let mut out = vec![0; 8];
        out.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
        out.extend_from_slice(&crc32fast::hash(&body).to_be_bytes());
        out.extend_from_slice(&body);
        out
    }

    fn converted(set: &[u8]) -> Result<Vec<(i64, i64, Option<Vec<u8>>)>, BatchError> {
        let (batch, _) = convert(set, 1 << 20, 1000)?;
        let view = BatchView::check(&batch).unwrap();
        let records = decompressed_records(&view, 1 << 20).unwrap();
        Ok(RecordIter::new(&view, &records)
            .map(|record| record.unwrap())
            .map(|record| (record.offset, record.timestamp, record.value.map(<[u8]>::to_vec)))
            .collect())
    }

    #[test]
    fn both_formats_become_one_batch() {
        let set = [message(0, 0, None, Some(b"a")), message(0, 0, Some(b"k"), None)].concat();
        assert_eq!(converted(&set).unwrap(), [(0, -1, Some(b"a".to_vec())), (1, -1, None)]);
        let set = [message(1, 0, None, Some(b"a")), message(1, 0, None, Some(b"b"))].concat();
        let expected = [(0, 77, Some(b"a".to_vec())), (1, 77, Some(b"b".to_vec()))];
        assert_eq!(converted(&set).unwrap(), expected);
        for code in [1, 2, 3] {
            let codec = Compression::from_code(code).unwrap();
            let wrapped = message(1, code, None, Some(&compress(codec, &set, None)));
            assert_eq!(converted(&wrapped).unwrap(), expected, "{codec:?}");
        }
    }

    #[test]
    fn damage_is_an_error() {
        let good = message(1, 0, Some(b"key"), Some(b"value"));
        for at in 12..good.len() {
            let mut flipped = good.clone();
            flipped[at] ^= 0x40;
            assert!(converted(&flipped).is_err(), "byte {at}");
            assert!(converted(&good[..at]).is_err(), "cut at {at}");
        }
        let packed = compress(Compression::Gzip, &good, None);
        let nested = message(1, 1, None, Some(&packed));
        let packed_twice = compress(Compression::Gzip, &nested, None);
        assert!(converted(&message(1, 1, None, Some(&packed_twice))).is_err());
        assert_eq!(converted(&[]), Err(BatchError::Empty));
        assert_eq!(converted(&message(2, 0, None, None)), Err(BatchError::Magic(2)));
    }
}
