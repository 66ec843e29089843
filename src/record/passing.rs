//! Looking at the records of a batch in passing, without having all of them unpacked at once: a few
//! compressed bytes unfold to as much as is allowed, and what is looked for is in their heads.
//!
//! What a codec unpacks as a stream is walked as it comes, through a buffer of [`BUFFER_BYTES`];
//! keys, values and headers are passed over. Records that are not compressed, and snappy, which
//! unfolds to little, are walked in memory. The slow twin is [`RecordIter`]: both find the same
//! records, and the same batches sound.

use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;

use ringlog_types::{Offset, TimestampMs};

use crate::BatchError;
use crate::batch::BatchView;
use crate::compression::{Compression, with_decoder};
use crate::record::{RecordIter, decompressed_records};
use crate::varint;

/// What of the unpacked records is in memory at once, beside what the codec keeps.
const BUFFER_BYTES: usize = 64 << 10;

/// What is seen of a record in passing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PassedRecord {
    pub(crate) offset: Offset,
    pub(crate) timestamp: TimestampMs,
    pub(crate) has_key: bool,
}

/// How a batch is passed through.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PassRules {
    /// The timestamps are those that the producer gave, whoever the header says has stamped them.
    pub(crate) create_time: bool,
    /// The records have to be numbered one after the other, as in what a producer sends.
    pub(crate) in_order: bool,
}

/// Calls `look` with each record until it breaks off. If it does not, the records are all there and
/// nothing follows them.
///
/// # Errors
/// Damaged records, or more than `bytes_max` bytes of them; what `look` says.
pub(crate) fn pass_records(
    batch: &BatchView<'_>,
    bytes_max: usize,
    rules: PassRules,
    look: &mut dyn FnMut(PassedRecord) -> Result<ControlFlow<()>, BatchError>,
) -> Result<(), BatchError> {
    let codec = batch.compression()?;
    if matches!(codec, Compression::None | Compression::Snappy) {
        return pass_in_memory(batch, bytes_max, rules, look);
    }
    let damaged = |error: io::Error| BatchError::Decompress {
        codec: codec.name(),
        reason: error.to_string(),
    };
    let passed = with_decoder(codec, batch.records_bytes(), |decoder| {
        let limited = decoder.take(bytes_max as u64 + 1);
        let mut input = BufReader::with_capacity(BUFFER_BYTES, limited);
        let passed = pass_stream(batch, &mut input, rules, look);
        let is_too_large = input.get_ref().limit() == 0;
        match passed {
            Err(_) if is_too_large => Err(BatchError::DecompressedTooLarge(bytes_max)),
            Err(Fault::Unpack(error)) => Err(damaged(error)),
            Err(Fault::Batch(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    });
    passed.map_err(damaged)?
}

/// Whether its offset is where a producer's batch has it.
fn check_order(
    batch: &BatchView<'_>,
    rules: PassRules,
    index: i32,
    offset: Offset,
) -> Result<(), BatchError> {
    if rules.in_order && offset != batch.base_offset().wrapping_add(i64::from(index)) {
        let reason = "its offset does not follow the one before";
        return Err(BatchError::Record { index, reason });
    }
    Ok(())
}

fn pass_in_memory(
    batch: &BatchView<'_>,
    bytes_max: usize,
    rules: PassRules,
    look: &mut dyn FnMut(PassedRecord) -> Result<ControlFlow<()>, BatchError>,
) -> Result<(), BatchError> {
    let records = decompressed_records(batch, bytes_max)?;
    let mut records = RecordIter::new(batch, &records);
    if rules.create_time {
        records = records.with_create_time();
    }
    let mut index = 0;
    while let Some(record) = records.next_bare() {
        let record = record?;
        check_order(batch, rules, index, record.offset)?;
        index += 1;
        let (offset, timestamp) = (record.offset, record.timestamp);
        let passed = PassedRecord { offset, timestamp, has_key: record.key.is_some() };
        if look(passed)?.is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// What ends a walk early.
enum Fault {
    /// The codec meets what it has not written.
    Unpack(io::Error),
    Batch(BatchError),
}

fn pass_stream(
    batch: &BatchView<'_>,
    input: &mut impl BufRead,
    rules: PassRules,
    look: &mut dyn FnMut(PassedRecord) -> Result<ControlFlow<()>, BatchError>,
) -> Result<(), Fault> {
    let attributes = batch.attributes();
    let stamped =
        (attributes.is_log_append_time() && !rules.create_time).then(|| batch.max_timestamp());
    let count = batch.record_count();
    for index in 0..count {
        let at = |fault| match fault {
            RecordFault::Unpack(error) => Fault::Unpack(error),
            RecordFault::Damaged(reason) => Fault::Batch(BatchError::Record { index, reason }),
        };
        let head = pass_record(batch, input).map_err(at)?;
        let timestamp =
            stamped.unwrap_or_else(|| batch.base_timestamp().wrapping_add(head.timestamp_delta));
        let offset = batch.base_offset().wrapping_add(head.offset_delta);
        check_order(batch, rules, index, offset).map_err(Fault::Batch)?;
        let passed = PassedRecord { offset, timestamp, has_key: head.has_key };
        if look(passed).map_err(Fault::Batch)?.is_break() {
            return Ok(());
        }
    }
    // To the end, where some codecs have a checksum.
    if input.fill_buf().map_err(Fault::Unpack)?.is_empty() {
        return Ok(());
    }
    let reason = "bytes follow the last record";
    Err(Fault::Batch(BatchError::Record { index: count.max(0), reason }))
}

struct Head {
    timestamp_delta: i64,
    offset_delta: i64,
    has_key: bool,
}

enum RecordFault {
    Unpack(io::Error),
    Damaged(&'static str),
}

use RecordFault::Damaged;

fn pass_record(batch: &BatchView<'_>, input: &mut impl BufRead) -> Result<Head, RecordFault> {
    let mut frame = Body { input, left: u64::MAX, at_end: "a broken number" };
    let length = frame.number("a broken number")?;
    let left = u64::try_from(length).map_err(|_| Damaged("its length is beyond the batch"))?;
    let mut body = Body { input: frame.input, left, at_end: "its length is beyond the batch" };
    let _attributes = body.byte("it is empty")?;
    let timestamp_delta = body.number("a broken timestamp")?;
    let offset_delta = body.number("a broken number")?;
    if !(0..=i64::from(batch.last_offset_delta())).contains(&offset_delta) {
        return Err(Damaged("its offset is outside the batch"));
    }
    let has_key = body.pass_nullable()?;
    body.pass_nullable()?;
    let headers = body.number("a broken number")?;
    let headers = u64::try_from(headers).ok().filter(|count| *count <= body.left / 2);
    for _ in 0..headers.ok_or(Damaged("a header count beyond the record"))? {
        let key_bytes = body.number("a broken number")?;
        body.pass(key_bytes, "a header key beyond the record")?;
        body.pass_nullable()?;
    }
    match body.left {
        0 => Ok(Head { timestamp_delta, offset_delta, has_key }),
        _ => Err(Damaged("bytes follow its headers")),
    }
}

/// What is left of a record.
struct Body<'i, I> {
    input: &'i mut I,
    left: u64,
    /// What it means that the batch ends before the record does.
    at_end: &'static str,
}

impl<I: BufRead> Body<'_, I> {
    fn byte(&mut self, missing: &'static str) -> Result<u8, RecordFault> {
        if self.left == 0 {
            return Err(Damaged(missing));
        }
        let buffer = self.input.fill_buf().map_err(RecordFault::Unpack)?;
        let byte = *buffer.first().ok_or(Damaged(self.at_end))?;
        self.input.consume(1);
        self.left -= 1;
        Ok(byte)
    }

    fn number(&mut self, broken: &'static str) -> Result<i64, RecordFault> {
        let mut bytes = [0; varint::BYTES_MAX];
        for byte in &mut bytes {
            *byte = self.byte(broken)?;
            if *byte < 0x80 {
                break;
            }
        }
        varint::read(&mut &bytes[..]).ok_or(Damaged(broken))
    }

    /// Whether there is something; if so, passes it. Any negative length is a null.
    fn pass_nullable(&mut self) -> Result<bool, RecordFault> {
        let length = self.number("a broken number")?;
        if length < 0 {
            return Ok(false);
        }
        self.pass(length, "a length beyond the record")?;
        Ok(true)
    }

    fn pass(&mut self, length: i64, beyond: &'static str) -> Result<(), RecordFault> {
        let length = u64::try_from(length).ok().filter(|length| *length <= self.left);
        let mut to_pass = length.ok_or(Damaged(beyond))?;
        self.left -= to_pass;
        while to_pass > 0 {
            let buffer = self.input.fill_buf().map_err(RecordFault::Unpack)?;
            if buffer.is_empty() {
                return Err(Damaged(self.at_end));
            }
            let here = buffer.len().min(usize::try_from(to_pass).unwrap_or(usize::MAX));
            self.input.consume(here);
            to_pass -= here as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, Header, patch};

    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    fn rules() -> impl Iterator<Item = PassRules> {
        [(false, false), (false, true), (true, false), (true, true)]
            .into_iter()
            .map(|(create_time, in_order)| PassRules { create_time, in_order })
    }

    fn passed(
        batch: &[u8],
        bytes_max: usize,
        rules: PassRules,
    ) -> Result<Vec<PassedRecord>, BatchError> {
        let view = BatchView::parse(batch).unwrap();
        let mut all = Vec::new();
        pass_records(&view, bytes_max, rules, &mut |record| {
            all.push(record);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(all)
    }

    /// What the slow twin finds.
    fn by_iter(batch: &[u8], rules: PassRules) -> Result<Vec<PassedRecord>, BatchError> {
        let view = BatchView::parse(batch).unwrap();
        let mut all = Vec::new();
        pass_in_memory(&view, 1 << 24, rules, &mut |record| {
            all.push(record);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(all)
    }

    /// Records of all kinds, one of them larger than the buffer.
    fn batch(codec: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new(1000).compression(codec, None);
        let large = vec![7; BUFFER_BYTES * 3 + 5];
        let header = |key, value| Header { key, value };
        builder.push(1000, None, Some(b"value"), &[]);
        builder.push(5, Some(b""), None, &[header("a", None), header("", Some(b"b"))]);
        builder.push(1_000_000_000_000, Some(b"key"), Some(&large), &[header("c", Some(&large))]);
        builder.push(990, None, None, &[]);
        builder.build().unwrap().0
    }

    #[test]
    fn agrees_with_the_records() {
        for codec in CODECS {
            let mut batch = batch(codec);
            for rules in rules() {
                let found = passed(&batch, 1 << 24, rules).unwrap();
                assert_eq!(found.len(), 4);
                assert_eq!(Ok(found), by_iter(&batch, rules), "{codec:?}");
            }
            patch::set_log_append_time(&mut batch, 77);
            for rules in rules() {
                assert_eq!(passed(&batch, 1 << 24, rules), by_iter(&batch, rules), "{codec:?}");
            }
        }
    }

    #[test]
    fn what_unfolds_to_too_much_is_refused() {
        for codec in CODECS {
            let batch = batch(codec);
            let too_large = passed(&batch, BUFFER_BYTES, PassRules::default());
            let expected = match codec {
                Compression::None => too_large.clone(),
                _ => Err(BatchError::DecompressedTooLarge(BUFFER_BYTES)),
            };
            assert_eq!(too_large, expected, "{codec:?}");
        }
    }

    /// Both find the same batches sound, whichever byte of the records is another.
    #[test]
    fn agrees_with_the_records_about_damage() {
        let mut builder = BatchBuilder::new(1000);
        builder.push(1000, Some(b"k"), Some(b"v"), &[Header { key: "h", value: Some(b"w") }]);
        builder.push(1001, None, Some(b"v"), &[]);
        let sound = builder.build().unwrap().0;
        let mut refused = 0;
        for at in crate::HEADER_BYTES..sound.len() {
            for change in 1..=0xff {
                let mut damaged = sound.clone();
                damaged[at] ^= change;
                let packed = repack(&damaged, Compression::Lz4);
                let rules = PassRules { create_time: false, in_order: true };
                let (found, expected) = (passed(&packed, 1 << 20, rules), by_iter(&packed, rules));
                assert_eq!(found.is_ok(), expected.is_ok(), "{at}: {found:?}, {expected:?}");
                refused += usize::from(found.is_err());
                if expected.is_ok() {
                    assert_eq!(found, expected, "{at}");
                }
            }
        }
        assert!(refused > 1000, "{refused}");
    }

    /// The same records under a codec, sound or not.
    fn repack(batch: &[u8], codec: Compression) -> Vec<u8> {
        let view = BatchView::parse(batch).unwrap();
        let records = crate::compression::compress(codec, view.records_bytes(), None);
        let mut out = batch[..crate::HEADER_BYTES].to_vec();
        out.extend_from_slice(&records);
        let length = (out.len() - crate::batch::LENGTH_END) as i32;
        out[8..12].copy_from_slice(&length.to_be_bytes());
        out[22] |= codec.code();
        out
    }

    #[test]
    fn a_look_may_break_off() {
        for codec in CODECS {
            let batch = batch(codec);
            let view = BatchView::parse(&batch).unwrap();
            let mut seen = 0;
            let end = pass_records(&view, 1 << 24, PassRules::default(), &mut |_| {
                seen += 1;
                Ok(if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            });
            assert_eq!((end, seen), (Ok(()), 2), "{codec:?}");
        }
    }
}
