//! zstd with its working memory kept from batch to batch.
//!
//! Making that memory costs more than a small batch's data does: 40 µs for 100 bytes. Each thread
//! keeps one of each kind, and gives back what an unusual batch (a high level, a large window) has
//! made grow beyond [`KEPT_BYTES_MAX`].

use std::cell::RefCell;
use std::io;

use zstd::bulk::Compressor;
use zstd::stream::read::Decoder;
use zstd::zstd_safe::{DCtx, DParameter, get_error_name};

/// Enough for Kafka's default level and for the windows that it makes.
const KEPT_BYTES_MAX: usize = 8 << 20;
/// The largest window that the default settings of any client make; more memory is not spent.
const WINDOW_LOG_MAX: u32 = 27;

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// Compresses; level 0 is the default.
pub(crate) fn compress(input: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let kept = COMPRESSOR.take();
    let mut compressor = kept.map_or_else(|| Compressor::new(level), Ok)?;
    compressor.set_compression_level(level)?;
    let mut out = compressor.compress(input)?;
    // What was allocated is for the worst case, and a batch may live long.
    out.shrink_to_fit();
    if compressor.context_mut().sizeof() <= KEPT_BYTES_MAX {
        COMPRESSOR.set(Some(compressor));
    }
    Ok(out)
}

/// Calls `read` with a reader of what `input` unpacks to.
pub(crate) fn decompress<T>(
    input: &[u8],
    read: impl FnOnce(&mut Decoder<'_, &[u8]>) -> T,
) -> io::Result<T> {
    let mut context = match DECOMPRESSOR.take() {
        Some(context) => context,
        None => new_context()?,
    };
    let out = read(&mut Decoder::with_context(input, &mut context));
    if context.sizeof() <= KEPT_BYTES_MAX {
        DECOMPRESSOR.set(Some(context));
    }
    Ok(out)
}

fn new_context() -> io::Result<DCtx<'static>> {
    let mut context = DCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
    context
        .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))
        .map_err(|code| io::Error::other(get_error_name(code)))?;
    Ok(context)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decompress(packed, |reader| reader.read_to_end(&mut out))??;
        Ok(out)
    }

    /// What one batch leaves behind must not show in the next.
    #[test]
    fn batches_do_not_see_each_other() {
        let inputs = [vec![1; 100_000], b"second".to_vec(), Vec::new(), vec![3; 70]];
        for level in [0, 19, -5, 3] {
            for input in &inputs {
                let packed = compress(input, level).unwrap();
                assert_eq!(packed, zstd::bulk::compress(input, level).unwrap(), "level {level}");
                assert!(unpack(&packed[..packed.len() - 1]).is_err());
                assert_eq!(unpack(&packed).unwrap(), *input);
                let _ = unpack(b"not zstd at all");
                // A reader that stops early leaves the rest of the frame inside.
                decompress(&packed, |reader| reader.read(&mut [0; 1]).unwrap()).unwrap();
                assert_eq!(unpack(&packed).unwrap(), *input);
            }
        }
    }

    #[test]
    fn what_grew_too_large_is_given_back() {
        compress(&vec![7; 1 << 20], 22).unwrap();
        assert!(COMPRESSOR.take().is_none());
        compress(b"small", 3).unwrap();
        assert!(COMPRESSOR.take().is_some());
    }
}
