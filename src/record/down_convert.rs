//! Batches on their way out to readers from before 2017: message sets of format 0 or 1
//! (Kafka 3.9's `RecordsUtil.downConvert`; Kafka 4 has none of it).
//!
//! Every record becomes a message of its own, uncompressed and with its absolute offset, so that
//! a reader may begin anywhere and a set may end anywhere. Headers have no place in these formats,
//! nor have control batches; format 0 has no timestamps either. zstd is refused, as Kafka refuses
//! it to clients that are older than it (KIP-110).

use ringlog_types::Offset;

use crate::batch::{BatchIter, BatchView};
use crate::checksum::crc32;
use crate::compression::Compression;
use crate::record::{Record, RecordIter, decompressed_records};
use crate::{BatchError, DECOMPRESSED_BYTES_MAX};

/// The timestamp is the broker's.
const LOG_APPEND_TIME: u8 = 0x08;
/// Offset and size, which the size does not count.
const MESSAGE_PREFIX_BYTES: usize = 12;

/// A format of messages before record batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageFormat {
    /// Magic 0: no timestamps.
    V0,
    /// Magic 1: timestamps (KIP-32).
    V1,
}

/// How much a reader takes.
#[derive(Debug, Clone, Copy)]
pub struct MessageSetLimits {
    /// Bytes of the set, unless the first message may exceed them.
    pub bytes_max: usize,
    /// Bytes after which no message but the first is added.
    pub bytes_enough: usize,
    /// The first message may have any size.
    pub first_whole: bool,
    /// Of a first message with more bytes than this the reader gets the first `bytes_max`: they
    /// tell its size, so that the reader can ask for more or complain.
    pub torn_beyond: Option<usize>,
}

/// What came of some batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageSet {
    /// The messages, one after the other.
    pub bytes: Vec<u8>,
    /// The first offset that has not been looked at.
    pub next_offset: Offset,
    /// There is more than the limits let through.
    pub cut_short: bool,
}

/// Converts the records from `from_offset` on. `batches` may end in the middle of a batch.
///
/// # Errors
/// What is wrong with the first batch that has something for the reader, or
/// [`BatchError::ZstdForOldReader`]. A later bad batch ends the set before it.
pub fn down_convert(
    batches: &[u8],
    format: MessageFormat,
    from_offset: Offset,
    limits: &MessageSetLimits,
) -> Result<MessageSet, BatchError> {
    let mut converting = Converting {
        format,
        from_offset,
        limits,
        set: MessageSet { bytes: Vec::new(), next_offset: from_offset, cut_short: false },
    };
    for batch in BatchIter::new(batches) {
        let converted = match batch {
            Ok(batch) => converting.batch(&batch),
            Err(BatchError::Incomplete { .. }) => break,
            Err(error) => Err(error),
        };
        match converted {
            Ok(()) if converting.set.cut_short => break,
            Ok(()) => {}
            Err(error) if converting.set.bytes.is_empty() => return Err(error),
            Err(_) => {
                converting.set.cut_short = true;
                break;
            }
        }
    }
    Ok(converting.set)
}

struct Converting<'l> {
    format: MessageFormat,
    from_offset: Offset,
    limits: &'l MessageSetLimits,
    set: MessageSet,
}

impl Converting<'_> {
    /// All of a batch, or none of it when its end is not reached for an error; up to the limits.
    fn batch(&mut self, batch: &BatchView<'_>) -> Result<(), BatchError> {
        let after = batch.last_offset().wrapping_add(1);
        if batch.attributes().is_control() || after <= self.from_offset {
            self.set.next_offset = self.set.next_offset.max(after);
            return Ok(());
        }
        // A message gets a checksum of its own: it must not bless what is damaged.
        batch.verify_crc()?;
        if batch.compression()? == Compression::Zstd {
            return Err(BatchError::ZstdForOldReader);
        }
        let stamped = batch.attributes().is_log_append_time();
        let records = decompressed_records(batch, DECOMPRESSED_BYTES_MAX)?;
        let mut records = RecordIter::new(batch, &records);
        let start = (self.set.bytes.len(), self.set.next_offset);
        while let Some(record) = records.next_bare() {
            let record = record.inspect_err(|_| {
                self.set.bytes.truncate(start.0);
                self.set.next_offset = start.1;
            })?;
            if record.offset < self.from_offset {
                continue;
            }
            if !self.push(&record, stamped)? {
                self.set.cut_short = true;
                return Ok(());
            }
            self.set.next_offset = record.offset.wrapping_add(1);
        }
        self.set.next_offset = self.set.next_offset.max(after);
        Ok(())
    }

    /// Adds a message, or says that it is one too many.
    fn push(&mut self, record: &Record<'_>, stamped: bool) -> Result<bool, BatchError> {
        let MessageSetLimits { bytes_max, bytes_enough, first_whole, torn_beyond } = *self.limits;
        let size = message_bytes(self.format, record);
        let before = self.set.bytes.len();
        if before > 0 {
            let fits = before.saturating_add(size) <= bytes_max.min(bytes_enough);
            if fits {
                self.write(record, size, stamped)?;
            }
            return Ok(fits);
        }
        if size <= bytes_max || first_whole {
            self.write(record, size, stamped)?;
            return Ok(true);
        }
        if torn_beyond.is_some_and(|limit| size > limit) {
            self.write(record, size, stamped)?;
            self.set.bytes.truncate(bytes_max);
        }
        Ok(false)
    }

    fn write(&mut self, record: &Record<'_>, size: usize, stamped: bool) -> Result<(), BatchError> {
        let limit = i32::MAX as usize;
        let length = i32::try_from(size - MESSAGE_PREFIX_BYTES)
            .map_err(|_| BatchError::TooLarge { size, limit })?;
        let out = &mut self.set.bytes;
        out.reserve(size);
        out.extend_from_slice(&record.offset.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        let checksum = out.len();
        out.extend_from_slice(&[0; 4]);
        match self.format {
            MessageFormat::V0 => out.extend_from_slice(&[0, 0]),
            MessageFormat::V1 => {
                out.extend_from_slice(&[1, if stamped { LOG_APPEND_TIME } else { 0 }]);
                out.extend_from_slice(&record.timestamp.to_be_bytes());
            }
        }
        for bytes in [record.key, record.value] {
            // What was unpacked is far below the range of the field.
            let length = bytes.map_or(-1, |bytes| bytes.len() as i32);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(bytes.unwrap_or_default());
        }
        let crc = crc32(&out[checksum + 4..]);
        out[checksum..checksum + 4].copy_from_slice(&crc.to_be_bytes());
        Ok(())
    }
}

/// The size of a record as a message.
fn message_bytes(format: MessageFormat, record: &Record<'_>) -> usize {
    let fixed = match format {
        MessageFormat::V0 => MESSAGE_PREFIX_BYTES + 14,
        MessageFormat::V1 => MESSAGE_PREFIX_BYTES + 22,
    };
    let of = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    fixed + of(record.key) + of(record.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, Header, legacy, patch};

    const NOW: i64 = 1_700_000_000_000;
    const ALL: MessageSetLimits = MessageSetLimits {
        bytes_max: 1 << 20,
        bytes_enough: 1 << 20,
        first_whole: false,
        torn_beyond: None,
    };
    /// A message of format 0 with a value of one byte.
    const SMALL: usize = 12 + 14 + 1;

    /// A batch with these values, a key on every second record, and headers.
    fn batch(base_offset: i64, values: &[&str], codec: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new(NOW).compression(codec, None);
        for (index, value) in values.iter().enumerate() {
            let key = (index % 2 == 1).then_some(&b"key"[..]);
            let headers = [Header { key: "dropped", value: None }];
            builder.push(NOW + index as i64, key, Some(value.as_bytes()), &headers);
        }
        let (mut batch, _) = builder.build().unwrap();
        patch::set_base_offset(&mut batch, base_offset);
        batch
    }

    /// The offsets of the messages, from their prefixes.
    fn offsets(mut set: &[u8]) -> Vec<i64> {
        let mut offsets = Vec::new();
        while let Some((offset, rest)) = set.split_first_chunk::<8>() {
            offsets.push(i64::from_be_bytes(*offset));
            let (length, rest) = rest.split_first_chunk::<4>().unwrap();
            set = &rest[i32::from_be_bytes(*length) as usize..];
        }
        offsets
    }

    #[test]
    fn the_bytes_of_both_formats() {
        let mut builder = BatchBuilder::new(NOW);
        builder.push(NOW, Some(b"k"), None, &[Header { key: "h", value: Some(b"v") }]);
        let (mut batch, _) = builder.build().unwrap();
        patch::set_base_offset(&mut batch, 5);
        let body = [&[0u8, 0][..], &[0, 0, 0, 1], b"k", &[0xff; 4]].concat();
        let v0 = down_convert(&batch, MessageFormat::V0, 5, &ALL).unwrap();
        let (size, crc) = (body.len() as i32 + 4, crc32(&body));
        let expected =
            [&5i64.to_be_bytes()[..], &size.to_be_bytes(), &crc.to_be_bytes(), &body].concat();
        assert_eq!(v0, MessageSet { bytes: expected, next_offset: 6, cut_short: false });
        for (stamped, attributes, timestamp) in [(false, 0, NOW), (true, 8, NOW + 7)] {
            if stamped {
                patch::set_log_append_time(&mut batch, NOW + 7);
            }
            let v1 = down_convert(&batch, MessageFormat::V1, 5, &ALL).unwrap().bytes;
            let time = timestamp.to_be_bytes();
            let body = [&[1u8, attributes][..], &time, &[0, 0, 0, 1], b"k", &[0xff; 4]].concat();
            assert_eq!(v1[12..16], crc32(&body).to_be_bytes());
            assert_eq!(v1[16..], body);
        }
    }

    #[test]
    fn a_set_begins_with_the_offset_asked_for() {
        for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4] {
            let log = [batch(10, &["a", "b", "c"], codec), batch(13, &["d"], codec)].concat();
            for from in 10..14 {
                let set = down_convert(&log, MessageFormat::V1, from, &ALL).unwrap();
                assert_eq!(offsets(&set.bytes), (from..14).collect::<Vec<_>>(), "{codec:?}");
                assert_eq!((set.next_offset, set.cut_short), (14, false));
            }
            let torn = &log[..log.len() - 1];
            let set = down_convert(torn, MessageFormat::V1, 10, &ALL).unwrap();
            assert_eq!(offsets(&set.bytes), [10, 11, 12], "a torn batch is left for later");
        }
    }

    #[test]
    fn control_batches_are_left_out() {
        let mut builder = BatchBuilder::new(NOW).producer(7, 0, -1).transactional().control();
        builder.push(NOW, Some(&[0; 4]), Some(&[0; 6]), &[]);
        let (mut marker, _) = builder.build().unwrap();
        patch::set_base_offset(&mut marker, 10);
        let nothing = down_convert(&marker, MessageFormat::V0, 10, &ALL).unwrap();
        assert_eq!(nothing, MessageSet { bytes: vec![], next_offset: 11, cut_short: false });
        let log = [marker, batch(11, &["a"], Compression::None)].concat();
        let set = down_convert(&log, MessageFormat::V0, 10, &ALL).unwrap();
        assert_eq!(offsets(&set.bytes), [11]);
    }

    #[test]
    fn limits_cut_between_messages_and_let_everybody_on() {
        let log = batch(0, &["a", "b", "c", "d"], Compression::Gzip);
        let convert = |limits: MessageSetLimits| {
            let set = down_convert(&log, MessageFormat::V0, 0, &limits).unwrap();
            (set.bytes.len(), set.next_offset, set.cut_short)
        };
        let limits = |bytes_max| MessageSetLimits { bytes_max, ..ALL };
        // Every second message has a key of three bytes.
        let two = 2 * SMALL + 3;
        assert_eq!(convert(limits(two)), (two, 2, true));
        assert_eq!(convert(limits(two - 1)), (SMALL, 1, true));
        assert_eq!(convert(MessageSetLimits { bytes_enough: 1, ..ALL }), (SMALL, 1, true));
        let small = limits(SMALL - 1);
        assert_eq!(convert(small), (0, 0, true), "others have something to read");
        assert_eq!(convert(MessageSetLimits { first_whole: true, ..small }), (SMALL, 1, true));
        let torn = MessageSetLimits { torn_beyond: Some(SMALL - 1), ..small };
        assert_eq!(convert(torn), (SMALL - 1, 0, true), "the start of a message, with its size");
        let others_took_it = MessageSetLimits { torn_beyond: Some(SMALL), ..small };
        assert_eq!(convert(others_took_it), (0, 0, true), "its own limit is large enough");
    }

    #[test]
    fn what_cannot_be_converted_is_an_error_when_its_turn_comes() {
        let good = batch(0, &["a"], Compression::None);
        let zstd = batch(1, &["b"], Compression::Zstd);
        let mut damaged = batch(1, &["b"], Compression::Lz4);
        *damaged.last_mut().unwrap() ^= 1;
        let mut garbage = batch(1, &["b", "c"], Compression::None);
        let at = garbage.len() - 1;
        garbage[at] = 8;
        patch::set_crc(&mut garbage);
        for (bad, is_expected) in [
            (zstd, (|error| error == BatchError::ZstdForOldReader) as fn(BatchError) -> bool),
            (damaged, |error| matches!(error, BatchError::Crc { .. })),
            (garbage, |error| matches!(error, BatchError::Record { index: 1, .. })),
        ] {
            let log = [good.clone(), bad].concat();
            let set = down_convert(&log, MessageFormat::V1, 0, &ALL).unwrap();
            assert_eq!((offsets(&set.bytes), set.next_offset, set.cut_short), (vec![0], 1, true));
            let error = down_convert(&log, MessageFormat::V1, 1, &ALL).unwrap_err();
            assert!(is_expected(error));
        }
    }

    #[test]
    fn what_goes_out_comes_back_in() {
        let sent = batch(0, &["a", "b", "c"], Compression::Snappy);
        for format in [MessageFormat::V0, MessageFormat::V1] {
            let set = down_convert(&sent, format, 0, &ALL).unwrap();
            let (back, summary) = legacy::convert(&set.bytes).unwrap().unwrap();
            assert_eq!(summary.record_count, 3);
            let back = BatchView::check(&back).unwrap();
            let records = decompressed_records(&back, 1 << 20).unwrap();
            let values = RecordIter::new(&back, &records)
                .map(|record| record.map(|record| (record.timestamp, record.value)));
            let timestamp = |index| if format == MessageFormat::V0 { -1 } else { NOW + index };
            let expected = [&b"a"[..], b"b", b"c"].into_iter().zip(0..);
            let expected = expected.map(|(value, index)| Ok((timestamp(index), Some(value))));
            assert!(values.eq(expected));
        }
    }
}
