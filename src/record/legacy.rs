//! Message sets of the formats 0 and 1, which agents from before 2017 still send, converted to one
//! batch on the way in. The other way: [`crate::down_convert`].
//!
//! A message set is a row of messages: offset (8), size (4), CRC-32 of what follows (4), magic
//! (1), attributes (1), from magic 1 a timestamp (8), key and value with 4-byte lengths. A
//! compressed message's value is itself a message set, and nests no deeper than that.
//!
//! The broker numbers the records anew, so the offsets inside a wrapper, absolute in format 0 and
//! relative in format 1 (or wrong, as some clients wrote them), do not matter.

use std::borrow::Cow;

use ringlog_types::TimestampMs;

use crate::batch::BatchSummary;
use crate::builder::BatchBuilder;
use crate::checksum::crc32;
use crate::compression::{Compression, decompress};
use crate::lz4_header::with_right_checksum;
use crate::{BatchError, DECOMPRESSED_BYTES_MAX};

const CODEC_MASK: u8 = 0x07;
/// The wrapper's timestamp is the broker's and holds for every message inside.
const LOG_APPEND_TIME: u8 = 0x08;
/// Bytes of a message up to its key, in format 0: also the least a message can have.
const MESSAGE_BYTES_MIN: usize = 14;

/// Converts a message set, keeping its codec. Messages of format 0 have no timestamp and get -1,
/// as in Kafka. A message that is cut off at the end of a set is dropped, as Kafka 3.9 does, whose
/// producers of that time may cut a set at any byte; of a set without a whole message nothing is
/// left, and that is no error: `None`.
///
/// `max.message.bytes` is about what is stored: the caller holds the batch against it, not the
/// set, whose many small messages take more room.
///
/// # Errors
/// What is wrong with a message, in the words for batches.
pub fn convert(message_set: &[u8]) -> Result<Option<(Vec<u8>, BatchSummary)>, BatchError> {
    let mut collected = Collected {
        builder: None,
        codec: Compression::None,
        magic: None,
        unpacked_bytes_left: DECOMPRESSED_BYTES_MAX,
    };
    collected.messages(message_set, None)?;
    let Some(builder) = collected.builder else { return Ok(None) };
    builder.compression(collected.codec, None).build().map(Some)
}

struct Collected {
    /// Made with the first message, whose timestamp the others count from.
    builder: Option<BatchBuilder>,
    /// The codec of the outer messages, kept for the batch.
    codec: Compression,
    /// The format of the first message. All have the same.
    magic: Option<u8>,
    /// For all wrappers together, so that many small bombs are as bounded as one.
    unpacked_bytes_left: usize,
}

/// What a compressed message says about those inside.
#[derive(Clone, Copy)]
struct Wrapper {
    log_append_time: Option<TimestampMs>,
}

struct Message<'a> {
    magic: u8,
    attributes: u8,
    timestamp: TimestampMs,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

impl Collected {
    fn index(&self) -> i32 {
        self.builder.as_ref().map_or(0, |builder| builder.len() as i32)
    }

    fn messages(&mut self, mut rest: &[u8], wrapper: Option<Wrapper>) -> Result<(), BatchError> {
        while let Some((_offset, after)) = rest.split_first_chunk::<8>()
            && let Some((size, after)) = after.split_first_chunk::<4>()
        {
            let size = i32::from_be_bytes(*size);
            let bytes = usize::try_from(size).ok().filter(|bytes| *bytes >= MESSAGE_BYTES_MIN);
            let bytes = bytes.ok_or(BatchError::Length(size))?;
            let Some((message, after)) = after.split_at_checked(bytes) else { break };
            self.message(read(message, self.index())?, wrapper)?;
            rest = after;
        }
        Ok(())
    }

    fn message(
        &mut self,
        message: Message<'_>,
        wrapper: Option<Wrapper>,
    ) -> Result<(), BatchError> {
        let index = self.index();
        let damaged = |reason| BatchError::Record { index, reason };
        if *self.magic.get_or_insert(message.magic) != message.magic {
            return Err(damaged("a message of another format than the first"));
        }
        let codec = Compression::from_code(message.attributes & CODEC_MASK)?;
        if codec == Compression::None {
            let stamped = wrapper.and_then(|wrapper| wrapper.log_append_time);
            let timestamp = stamped.unwrap_or(message.timestamp);
            let builder = self.builder.get_or_insert_with(|| BatchBuilder::new(timestamp));
            builder.push(timestamp, message.key, message.value, &[]);
            return Ok(());
        }
        if wrapper.is_some() {
            return Err(damaged("a compressed message inside a compressed message"));
        }
        if codec == Compression::Zstd {
            return Err(BatchError::ZstdTooEarly);
        }
        let value = message.value.ok_or_else(|| damaged("a compressed message without a value"))?;
        self.codec = codec;
        let value = match (message.magic, codec) {
            (0, Compression::Lz4) => with_right_checksum(value),
            _ => Cow::Borrowed(value),
        };
        let inner = decompress(codec, &value, self.unpacked_bytes_left)?;
        self.unpacked_bytes_left -= inner.len();
        let stamped = message.magic == 1 && message.attributes & LOG_APPEND_TIME != 0;
        let log_append_time = stamped.then_some(message.timestamp);
        self.messages(&inner, Some(Wrapper { log_append_time }))?;
        if self.index() == index {
            return Err(damaged("a compressed message with nothing inside"));
        }
        Ok(())
    }
}

/// Reads what follows a message's size. There are at least [`MESSAGE_BYTES_MIN`] bytes.
fn read(message: &[u8], index: i32) -> Result<Message<'_>, BatchError> {
    let damaged = |reason| BatchError::Record { index, reason };
    let stored = u32::from_be_bytes([message[0], message[1], message[2], message[3]]);
    let computed = crc32(&message[4..]);
    if stored != computed {
        return Err(BatchError::Crc { stored, computed });
    }
    let (magic, attributes) = (message[4], message[5]);
    let mut body = &message[6..];
    let timestamp = match magic {
        0 => -1,
        1 => {
            let (bytes, after) =
                body.split_first_chunk::<8>().ok_or_else(|| damaged("no timestamp"))?;
            body = after;
            i64::from_be_bytes(*bytes)
        }
        _ => return Err(BatchError::Magic(magic as i8)),
    };
    let key = nullable(&mut body).ok_or_else(|| damaged("a key beyond the message"))?;
    let value = nullable(&mut body).ok_or_else(|| damaged("a value beyond the message"))?;
    Ok(Message { magic, attributes, timestamp, key, value })
}

/// Bytes with a 4-byte length, negative for null. `None` when they reach beyond the message.
fn nullable<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (length, after) = bytes.split_first_chunk::<4>()?;
    let length = i32::from_be_bytes(*length);
    *bytes = after;
    if length < 0 {
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

    fn message(magic: u8, attributes: u8, key: Option<&[u8]>, value: Option<&[u8]>) -> Vec<u8> {
        let mut body = vec![magic, attributes];
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
        out.extend_from_slice(&crc32(&body).to_be_bytes());
        out.extend_from_slice(&body);
        out
    }

    /// Offset, timestamp and value.
    type Read = (i64, i64, Option<Vec<u8>>);

    fn converted(set: &[u8]) -> Result<Vec<Read>, BatchError> {
        let Some((batch, _)) = convert(set)? else { return Ok(Vec::new()) };
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
    fn a_stamped_wrapper_stamps_what_is_inside() {
        let inner = [message(1, 0, None, Some(b"a")), message(1, 0, None, Some(b"b"))].concat();
        let mut wrapped = message(1, 1 | 8, None, Some(&compress(Compression::Gzip, &inner, None)));
        wrapped[18..26].copy_from_slice(&99i64.to_be_bytes());
        let crc = crc32(&wrapped[16..]).to_be_bytes();
        wrapped[12..16].copy_from_slice(&crc);
        let timestamps: Vec<_> =
            converted(&wrapped).unwrap().iter().map(|record| record.1).collect();
        assert_eq!(timestamps, [99, 99]);
    }

    #[test]
    fn formats_do_not_mix() {
        let (old, new) = (message(0, 0, None, Some(b"a")), message(1, 0, None, Some(b"b")));
        assert!(matches!(
            converted(&[old.clone(), new].concat()),
            Err(BatchError::Record { index: 1, .. })
        ));
        let wrapped = message(1, 1, None, Some(&compress(Compression::Gzip, &old, None)));
        assert!(matches!(converted(&wrapped), Err(BatchError::Record { index: 0, .. })));
        let empty = message(1, 1, None, Some(&compress(Compression::Gzip, &[], None)));
        assert!(matches!(converted(&empty), Err(BatchError::Record { .. })));
    }

    #[test]
    fn many_small_bombs_are_as_bounded_as_one() {
        let inner = message(1, 0, None, Some(&vec![0; DECOMPRESSED_BYTES_MAX / 3]));
        let wrapped = message(1, 1, None, Some(&compress(Compression::Gzip, &inner, None)));
        let error = convert(&wrapped.repeat(3)).unwrap_err();
        assert!(matches!(error, BatchError::DecompressedTooLarge(_)), "{error}");
    }

    #[test]
    fn a_message_that_is_cut_off_is_dropped() {
        let good = message(1, 0, Some(b"key"), Some(b"value"));
        for at in 0..good.len() {
            assert_eq!(converted(&good[..at]), Ok(Vec::new()), "cut at {at}");
            let set = [&good, &good[..at]].concat();
            assert_eq!(converted(&set).unwrap().len(), 1, "cut at {at}");
            let packed = message(1, 1, None, Some(&compress(Compression::Gzip, &set, None)));
            assert_eq!(converted(&packed).unwrap().len(), 1, "cut at {at}");
            let set = message(1, 1, None, Some(&compress(Compression::Gzip, &good[..at], None)));
            assert!(matches!(converted(&set), Err(BatchError::Record { .. })), "cut at {at}");
        }
        let mut negative = good.clone();
        negative[8] = 0x80;
        assert!(matches!(converted(&negative), Err(BatchError::Length(_))));
    }

    #[test]
    fn damage_is_an_error() {
        let good = message(1, 0, Some(b"key"), Some(b"value"));
        for at in 12..good.len() {
            let mut flipped = good.clone();
            flipped[at] ^= 0x40;
            // A length beyond the set's end is that of a message which is cut off there.
            let is_cut = (8..12).contains(&at);
            assert!(converted(&flipped).is_err() || is_cut, "byte {at}");
        }
        let packed = compress(Compression::Gzip, &good, None);
        let nested = message(1, 1, None, Some(&packed));
        let packed_twice = compress(Compression::Gzip, &nested, None);
        assert!(converted(&message(1, 1, None, Some(&packed_twice))).is_err());
        assert_eq!(converted(&message(2, 0, None, None)), Err(BatchError::Magic(2)));
    }
}
