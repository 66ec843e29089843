//! The codecs of record batches. What comes out is capped: a small batch may claim to unfold to
//! gigabytes.
//!
//! gzip; snappy in xerial's framing, as Java writes it, or raw, as librdkafka does; LZ4 frames;
//! zstd.

use std::io::{Read, Write};

use crate::{BatchError, zstd_context};

/// A codec, by its number in the batch's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs, reason = "the codecs' own names")]
pub enum Compression {
    #[default]
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

impl Compression {
    /// The codec with this number.
    pub fn from_code(code: u8) -> Result<Compression, BatchError> {
        Ok(match code {
            0 => Compression::None,
            1 => Compression::Gzip,
            2 => Compression::Snappy,
            3 => Compression::Lz4,
            4 => Compression::Zstd,
            _ => return Err(BatchError::Codec(code)),
        })
    }

    /// Its number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Kafka's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// What Java's snappy writes first: a magic, a version and the lowest version that reads it.
const XERIAL_HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
/// Java's block size.
const XERIAL_BLOCK_BYTES: usize = 32 << 10;
/// LZ4's blocks: what Kafka's producer uses, too.
const LZ4_BLOCK: lz4_flex::frame::BlockSize = lz4_flex::frame::BlockSize::Max64KB;

/// Compresses. `level` means what Kafka's `compression.*.level` means; `None` is the default.
pub fn compress(codec: Compression, input: &[u8], level: Option<i32>) -> Vec<u8> {
    let out = Vec::with_capacity(input.len() / 2 + 64);
    // Writing to memory does not fail.
    const MEMORY: &str = "memory takes what is written";
    match codec {
        Compression::None => input.to_vec(),
        Compression::Gzip => {
            let level = level.filter(|level| (1..=9).contains(level));
            let level = level.map_or(flate2::Compression::default(), |level| {
                flate2::Compression::new(level as u32)
            });
            let mut encoder = flate2::write::GzEncoder::new(out, level);
            encoder.write_all(input).expect(MEMORY);
            encoder.finish().expect(MEMORY)
        }
        Compression::Snappy => xerial(input, out),
        Compression::Lz4 => {
            let info = lz4_flex::frame::FrameInfo::new().block_size(LZ4_BLOCK);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, out);
            encoder.write_all(input).expect(MEMORY);
            encoder.finish().expect(MEMORY)
        }
        Compression::Zstd => {
            zstd_context::compress(input, level.unwrap_or(0)).expect("zstd takes any input")
        }
    }
}

fn xerial(input: &[u8], mut out: Vec<u8>) -> Vec<u8> {
    out.extend_from_slice(&XERIAL_HEADER);
    let mut encoder = snap::raw::Encoder::new();
    for block in input.chunks(XERIAL_BLOCK_BYTES) {
        let packed = encoder.compress_vec(block).expect("a block is far below snappy's limit");
        out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        out.extend_from_slice(&packed);
    }
    out
}

/// Decompresses to at most `bytes_max` bytes.
///
/// # Errors
/// `Decompress` for bytes that are not what the codec writes, `DecompressedTooLarge`.
pub fn decompress(
    codec: Compression,
    input: &[u8],
    bytes_max: usize,
) -> Result<Vec<u8>, BatchError> {
    let damaged = |reason: String| BatchError::Decompress { codec: codec.name(), reason };
    match codec {
        Compression::None if input.len() > bytes_max => {
            Err(BatchError::DecompressedTooLarge(bytes_max))
        }
        Compression::None => Ok(input.to_vec()),
        Compression::Gzip => {
            read_capped(flate2::read::MultiGzDecoder::new(input), codec, bytes_max)
        }
        Compression::Snappy => unsnappy(input, bytes_max),
        Compression::Lz4 => {
            read_capped(lz4_flex::frame::FrameDecoder::new(input), codec, bytes_max)
        }
        Compression::Zstd => {
            zstd_context::decompress(input, |decoder| read_capped(decoder, codec, bytes_max))
                .map_err(|error| damaged(error.to_string()))?
        }
    }
}

/// Calls `read` with what unpacks `input` as it is read: for gzip, LZ4 and zstd, which can be
/// unpacked in pieces.
///
/// # Errors
/// There is no memory for the codec's own.
pub(crate) fn with_decoder<T>(
    codec: Compression,
    input: &[u8],
    read: impl FnOnce(&mut dyn Read) -> T,
) -> std::io::Result<T> {
    Ok(match codec {
        Compression::Gzip => read(&mut flate2::read::MultiGzDecoder::new(input)),
        Compression::Lz4 => read(&mut lz4_flex::frame::FrameDecoder::new(input)),
        Compression::Zstd => return zstd_context::decompress(input, |decoder| read(decoder)),
        Compression::None | Compression::Snappy => unreachable!("these are unpacked as a whole"),
    })
}

fn read_capped(
    decoder: impl Read,
    codec: Compression,
    bytes_max: usize,
) -> Result<Vec<u8>, BatchError> {
    let mut out = Vec::new();
    let read = decoder.take(bytes_max as u64 + 1).read_to_end(&mut out);
    if let Err(error) = read {
        let reason = error.to_string();
        return Err(BatchError::Decompress { codec: codec.name(), reason });
    }
    if out.len() > bytes_max {
        return Err(BatchError::DecompressedTooLarge(bytes_max));
    }
    Ok(out)
}

/// Framed or raw: only the magic tells.
fn unsnappy(input: &[u8], bytes_max: usize) -> Result<Vec<u8>, BatchError> {
    let mut out = Vec::new();
    if !input.starts_with(XERIAL_MAGIC) {
        unsnappy_block(input, &mut out, bytes_max)?;
        return Ok(out);
    }
    let cut = || BatchError::Decompress { codec: "snappy", reason: "it ends in a block".into() };
    let mut rest = input;
    while !rest.is_empty() {
        // Streams may stand one after the other, each with its header.
        if let Some(after) = rest.strip_prefix(XERIAL_MAGIC) {
            rest = after.get(XERIAL_HEADER.len() - XERIAL_MAGIC.len()..).ok_or_else(cut)?;
            continue;
        }
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = after.split_at_checked(length).ok_or_else(cut)?;
        unsnappy_block(block, &mut out, bytes_max)?;
        rest = after;
    }
    Ok(out)
}

fn unsnappy_block(block: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> Result<(), BatchError> {
    let damaged =
        |error: snap::Error| BatchError::Decompress { codec: "snappy", reason: error.to_string() };
    // A block says how long it is unpacked; snappy cannot pack more than 21:1 or so, so a claim
    // beyond that is a lie that is not worth an allocation.
    let length = snap::raw::decompress_len(block).map_err(damaged)?;
    if length > block.len().saturating_mul(64) {
        let reason = format!("{} bytes that claim to unpack to {length}", block.len());
        return Err(BatchError::Decompress { codec: "snappy", reason });
    }
    if out.len() + length > bytes_max {
        return Err(BatchError::DecompressedTooLarge(bytes_max));
    }
    let start = out.len();
    out.resize(start + length, 0);
    snap::raw::Decoder::new().decompress(block, &mut out[start..]).map_err(damaged)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    #[test]
    fn every_codec_round_trips() {
        for size in [0, 1, 100, 40_000, 300_000] {
            let input: Vec<u8> = (0..size).map(|index| (index / 7 % 251) as u8).collect();
            for codec in CODECS {
                let packed = compress(codec, &input, None);
                assert_eq!(decompress(codec, &packed, size).as_ref(), Ok(&input), "{codec:?}");
                if size > 100 {
                    let capped = decompress(codec, &packed, size - 1);
                    assert_eq!(capped, Err(BatchError::DecompressedTooLarge(size - 1)));
                }
            }
        }
    }

    #[test]
    fn raw_snappy_is_taken_too() {
        let packed = snap::raw::Encoder::new().compress_vec(b"hello hello hello").unwrap();
        let unpacked = decompress(Compression::Snappy, &packed, 100);
        assert_eq!(unpacked.as_deref(), Ok(&b"hello hello hello"[..]));
    }

    #[test]
    fn xerial_streams_may_follow_one_another() {
        let twice = [b"one ", b"two "].map(|part| compress(Compression::Snappy, part, None));
        let unpacked = decompress(Compression::Snappy, &twice.concat(), 100);
        assert_eq!(unpacked.as_deref(), Ok(&b"one two "[..]));
    }

    #[test]
    fn damage_is_an_error() {
        let input = vec![7; 10_000];
        for codec in &CODECS[1..] {
            let packed = compress(*codec, &input, None);
            assert!(decompress(*codec, &packed[..packed.len() / 2], 20_000).is_err(), "{codec:?}");
            assert!(decompress(*codec, b"no such thing", 20_000).is_err(), "{codec:?}");
        }
        // A claim of 4 GB in five bytes allocates nothing.
        assert!(decompress(Compression::Snappy, &[0xff, 0xff, 0xff, 0xff, 0x0f], 1 << 40).is_err());
    }
}
