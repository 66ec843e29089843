//! Cuts standard input and files into records, on a thread of its own.
//!
//! What has arrived is handed on at once, so that a pipe or a terminal is sent as it is written.
//! Lines are slices of the chunk they were read in; only a line across two chunks is copied.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

/// Read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that wait to be sent.
const QUEUE_MAX: usize = 4;

/// Some lines, without their ends.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) lines: Vec<Bytes>,
    /// Bytes of input that they took, for the progress bar.
    pub(crate) bytes_read: u64,
}

/// Where lines come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Stdin,
    Files(Vec<PathBuf>),
}

/// Reads `source` in the background. The channel ends after the last line or the first error.
pub(crate) fn read(
    source: Source,
    delimiter: u8,
    line_bytes_max: usize,
) -> mpsc::Receiver<Result<Chunk, String>> {
    let (sender, chunks) = mpsc::channel(QUEUE_MAX);
    std::thread::spawn(move || {
        let send = |chunk| sender.blocking_send(Ok(chunk)).is_ok();
        let outcome = match source {
            Source::Stdin => {
                let stdin = io::stdin().lock();
                cut(stdin, delimiter, line_bytes_max, send)
                    .map_err(|error| format!("standard input: {error}"))
            }
            Source::Files(paths) => paths.iter().try_for_each(|path| {
                File::open(path)
                    .and_then(|file| cut(file, delimiter, line_bytes_max, send))
                    .map_err(|error| format!("{}: {error}", path.display()))
            }),
        };
        if let Err(error) = outcome {
            // Nobody is left to hear it when the receiver is gone.
            sender.blocking_send(Err(error)).ok();
        }
    });
    chunks
}

/// Reads to the end; `send` says whether to go on.
fn cut(
    mut input: impl Read,
    delimiter: u8,
    line_bytes_max: usize,
    mut send: impl FnMut(Chunk) -> bool,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        let filled = buffer.len();
        buffer.resize(filled + CHUNK_BYTES, 0);
        let count = loop {
            match input.read(&mut buffer[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome?,
            }
        };
        buffer.truncate(filled + count);
        let mut chunk = Chunk { bytes_read: count as u64, ..Chunk::default() };
        if count == 0 {
            if !buffer.is_empty() {
                chunk.lines.push(buffer.freeze());
                send(chunk);
            }
            return Ok(());
        }
        if let Some(last) = buffer[filled..].iter().rposition(|byte| *byte == delimiter) {
            let whole = buffer.split_to(filled + last + 1).freeze();
            chunk.lines = split(&whole, delimiter);
        }
        if buffer.len() > line_bytes_max {
            let text =
                format!("a line is longer than {line_bytes_max} bytes: see --max-request-size");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if !send(chunk) {
            return Ok(());
        }
    }
}

/// The lines of `whole`, which ends with a delimiter.
fn split(whole: &Bytes, delimiter: u8) -> Vec<Bytes> {
    let mut lines = Vec::new();
    let mut start = 0;
    for (place, byte) in whole.iter().enumerate() {
        if *byte == delimiter {
            lines.push(whole.slice(start..place));
            start = place + 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives out a few bytes at a time, as a pipe does.
    struct Dribble<'a>(&'a [u8], usize);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn lines(text: &str, step: usize) -> Vec<String> {
        let mut found = Vec::new();
        let mut bytes = 0;
        cut(Dribble(text.as_bytes(), step), b'\n', 100, |chunk| {
            bytes += chunk.bytes_read;
            found.extend(chunk.lines.iter().map(|l| String::from_utf8(l.to_vec()).unwrap()));
            true
        })
        .unwrap();
        assert_eq!(bytes, text.len() as u64);
        found
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        for step in [1, 2, 3, 1000] {
            assert_eq!(lines("a\nbc\n\ndef\n", step), ["a", "bc", "", "def"]);
            assert_eq!(lines("a\nlast", step), ["a", "last"]);
            assert!(lines("", step).is_empty());
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let text = "x".repeat(500);
        let error = cut(Dribble(text.as_bytes(), 60), b'\n', 100, |_| true).unwrap_err();
        assert!(error.to_string().contains("longer than 100 bytes"));
    }
}
