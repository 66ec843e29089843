//! Changing a batch's codec, for topics whose `compression.type` is not `producer`.

use crate::batch::{Attributes, BatchView, HEADER_BYTES, LENGTH_END};
use crate::compression::{Compression, compress};
use crate::record::{RecordIter, decompressed_records};
use crate::{BatchError, DECOMPRESSED_BYTES_MAX, NO_TIMESTAMP, patch};

/// A produced batch under another codec: records are unpacked, looked at and packed anew. The
/// header's fields stay, but for the maximal timestamp, which is that of the records from now on.
///
/// # Errors
/// An unknown codec, damaged data, or records that are not what the header says.
pub fn recompress(
    batch: &[u8],
    codec: Compression,
    level: Option<i32>,
) -> Result<Vec<u8>, BatchError> {
    let view = BatchView::parse(batch)?;
    let records = decompressed_records(&view, DECOMPRESSED_BYTES_MAX)?;
    let mut max_timestamp = NO_TIMESTAMP;
    RecordIter::new(&view, &records).each_in_order(|record| {
        max_timestamp = max_timestamp.max(record.timestamp);
        Ok(())
    })?;
    let records = compress(codec, &records, level);
    let size = HEADER_BYTES + records.len();
    let length = i32::try_from(size - LENGTH_END)
        .map_err(|_| BatchError::TooLarge { size, limit: i32::MAX as usize })?;
    let mut out = Vec::with_capacity(size);
    out.extend_from_slice(&view.bytes()[..HEADER_BYTES]);
    out.extend_from_slice(&records);
    out[8..12].copy_from_slice(&length.to_be_bytes());
    let attributes = view.attributes().0 & !Attributes::CODEC_MASK | i16::from(codec.code());
    out[21..23].copy_from_slice(&attributes.to_be_bytes());
    patch::set_max_timestamp(&mut out, max_timestamp);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, RecordIter};

    #[test]
    fn records_survive_every_change_of_codec() {
        let mut builder = BatchBuilder::new(5).producer(7, 0, 3);
        builder.push(5, Some(b"k"), Some(b"v"), &[]);
        builder.push(6, None, None, &[]);
        let (mut batch, summary) = builder.build().unwrap();
        let expected: Vec<_> = values(&batch);
        for code in [1, 4, 2, 3, 0] {
            let codec = Compression::from_code(code).unwrap();
            batch = recompress(&batch, codec, None).unwrap();
            let view = BatchView::check(&batch).unwrap();
            let changed = view.summary().unwrap();
            assert_eq!(changed.compression, codec);
            assert_eq!(changed.base_sequence, summary.base_sequence);
            assert_eq!(values(&batch), expected);
        }
    }

    /// Under a right checksum, as only a broken producer writes it.
    #[test]
    fn records_that_are_not_what_the_header_says_are_refused() {
        let mut builder = BatchBuilder::new(5);
        builder.push(5, Some(b"k"), Some(b"v"), &[]);
        builder.push(9, None, None, &[]);
        let (batch, _) = builder.build().unwrap();
        // The lengths, the offset deltas and the header counts of both records.
        for (at, byte) in [(61, 8), (61, 20), (64, 2), (69, 2), (73, 0), (76, 2)] {
            let mut damaged = batch.clone();
            assert_ne!(damaged[at], byte);
            damaged[at] = byte;
            patch::set_crc(&mut damaged);
            let error = recompress(&damaged, Compression::Lz4, None).unwrap_err();
            assert!(matches!(error, BatchError::Record { .. }), "{at}: {error}");
        }
        let mut lie = batch.clone();
        patch::set_max_timestamp(&mut lie, 7);
        let packed = recompress(&lie, Compression::Lz4, None).unwrap();
        assert_eq!(BatchView::check(&packed).unwrap().max_timestamp(), 9);
    }

    fn values(batch: &[u8]) -> Vec<(i64, Option<Vec<u8>>)> {
        let view = BatchView::check(batch).unwrap();
        let records = decompressed_records(&view, 1000).unwrap();
        RecordIter::new(&view, &records)
            .map(|record| record.unwrap())
            .map(|record| (record.timestamp, record.value.map(<[u8]>::to_vec)))
            .collect()
    }
}
