//! `ringlog storage dump`: prints the entries of files.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ringlog_record::{BatchView, DECOMPRESSED_BYTES_MAX, RecordIter, decompressed_records};
use serde::Serialize;

use super::DumpArgs;
use super::files::{self, Kind};
use super::log_file::{LogFile, NextBatch};
use super::small_files;
use crate::exit::{Failure, at_path};
use crate::output::Output;
use crate::times;

/// A line of output: which file, and an entry of it.
#[derive(Debug, Serialize)]
struct Line<'a, T> {
    file: &'a str,
    #[serde(flatten)]
    entry: T,
}

/// A batch as it is shown.
#[derive(Debug, Serialize)]
struct Batch {
    position: u64,
    base_offset: i64,
    last_offset: i64,
    count: i32,
    size: usize,
    leader_epoch: i32,
    codec: String,
    base_timestamp: i64,
    max_timestamp: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    is_transactional: bool,
    is_control: bool,
    crc_is_valid: bool,
}

impl Batch {
    fn new(position: u64, batch: &BatchView<'_>) -> Batch {
        let codec = batch.compression();
        Batch {
            position,
            base_offset: batch.base_offset(),
            last_offset: batch.last_offset(),
            count: batch.record_count(),
            size: batch.size(),
            leader_epoch: batch.leader_epoch(),
            codec: codec.map_or_else(|error| error.to_string(), |codec| codec.name().to_owned()),
            base_timestamp: batch.base_timestamp(),
            max_timestamp: batch.max_timestamp(),
            producer_id: batch.producer_id(),
            producer_epoch: batch.producer_epoch(),
            base_sequence: batch.base_sequence(),
            is_transactional: batch.attributes().is_transactional(),
            is_control: batch.attributes().is_control(),
            crc_is_valid: batch.verify_crc().is_ok(),
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "@{} offsets {}..{} count {} size {} epoch {} codec {} time {}",
            self.position,
            self.base_offset,
            self.last_offset,
            self.count,
            self.size,
            self.leader_epoch,
            self.codec,
            times::format(self.max_timestamp),
        );
        if self.producer_id >= 0 {
            let (id, epoch, sequence) = (self.producer_id, self.producer_epoch, self.base_sequence);
            text.push_str(&format!(" producer {id}/{epoch} sequence {sequence}"));
        }
        for (is_so, word) in [
            (self.is_transactional, " transactional"),
            (self.is_control, " control"),
            (!self.crc_is_valid, " CRC IS WRONG"),
        ] {
            text.push_str(if is_so { word } else { "" });
        }
        text
    }
}

/// A record as it is shown.
#[derive(Debug, Serialize)]
struct Record {
    offset: i64,
    timestamp: i64,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, Option<String>)>,
}

pub(super) fn run(args: &DumpArgs, output: &mut Output) -> Result<(), Failure> {
    for path in files::collect(&args.paths)? {
        let name = path.display().to_string();
        if !output.is_json() {
            use std::io::Write;
            writeln!(output.stream(), "{name}")?;
        }
        let mut sink = Sink { name: &name, output, left: args.limit };
        dump(&path, args, &mut sink)?;
        output.flush()?;
    }
    Ok(())
}

/// Prints entries of one file, up to the limit.
struct Sink<'a> {
    name: &'a str,
    output: &'a mut Output,
    left: Option<u64>,
}

impl Sink<'_> {
    /// Whether another entry may be printed.
    fn take(&mut self) -> bool {
        match &mut self.left {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    fn print<T: Serialize>(
        &mut self,
        entry: T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let line = Line { file: self.name, entry };
        self.output.print_line(&line, |line| format!("  {}", text(&line.entry)))
    }

    fn print_all<T: Serialize>(
        &mut self,
        entries: impl IntoIterator<Item = T>,
        text: impl Fn(&T) -> String,
    ) -> Result<(), Failure> {
        for entry in entries {
            if !self.take() {
                break;
            }
            self.print(entry, &text)?;
        }
        Ok(())
    }

    /// A file that cannot be read as what its name says. `verify` is the judge; here it is shown.
    fn broken(&mut self, reason: &str) -> Result<(), Failure> {
        #[derive(Serialize)]
        struct Broken<'a> {
            error: &'a str,
        }
        self.print(Broken { error: reason }, |broken| format!("BROKEN: {}", broken.error))
    }
}

fn dump(path: &Path, args: &DumpArgs, sink: &mut Sink<'_>) -> Result<(), Failure> {
    let read = || fs::read(path).map_err(at_path(path));
    let text = || fs::read_to_string(path).map_err(at_path(path));
    match Kind::of(path) {
        Kind::Log(_) => dump_log(path, args.records, sink),
        Kind::OffsetIndex(base) => match small_files::offset_index(base, &read()?) {
            Ok((entries, _)) => {
                sink.print_all(entries, |e| format!("offset {} @{}", e.offset, e.position))
            }
            Err(reason) => sink.broken(&reason),
        },
        Kind::TimeIndex(base) => match small_files::time_index(base, &read()?) {
            Ok((entries, _)) => sink.print_all(entries, |entry| {
                format!("time {} offset {}", times::format(entry.timestamp), entry.offset)
            }),
            Err(reason) => sink.broken(&reason),
        },
        Kind::ProducerSnapshot(_) => match small_files::snapshot(&read()?) {
            Ok(producers) => sink.print_all(producers, |producer| {
                let (id, epoch) = (producer.producer_id, producer.producer_epoch);
                let (sequence, offset) = (producer.last_sequence, producer.last_offset);
                format!("producer {id}/{epoch} last sequence {sequence} last offset {offset}")
            }),
            Err(reason) => sink.broken(&reason),
        },
        Kind::LeaderEpochs
        | Kind::PartitionMetadata
        | Kind::OffsetCheckpoint
        | Kind::FencedRanges
        | Kind::CheckedSegments
        | Kind::MetaProperties => {
            #[derive(Serialize)]
            struct TextLine {
                line: String,
            }
            let lines: Vec<TextLine> =
                text()?.lines().map(|line| TextLine { line: line.to_owned() }).collect();
            sink.print_all(lines, |line| line.line.clone())
        }
        Kind::TransactionIndex(_) | Kind::Other | Kind::Unknown => {
            #[derive(Serialize)]
            struct Size {
                bytes: u64,
            }
            let bytes = fs::metadata(path).map_err(at_path(path))?.len();
            sink.print(Size { bytes }, |size| format!("{} bytes", size.bytes))
        }
    }
}

fn dump_log(path: &Path, with_records: bool, sink: &mut Sink<'_>) -> Result<(), Failure> {
    let mut log = LogFile::open(path).map_err(at_path(path))?;
    loop {
        match log.next().map_err(at_path(path))? {
            NextBatch::End => return Ok(()),
            NextBatch::Padding { position, bytes } => {
                #[derive(Serialize)]
                struct Padding {
                    position: u64,
                    padding_bytes: u64,
                }
                let padding = Padding { position, padding_bytes: bytes };
                return sink
                    .print(padding, |p| format!("@{} {} zeros", p.position, p.padding_bytes));
            }
            NextBatch::Broken { position, reason } => {
                return sink.broken(&format!("@{position} {reason}"));
            }
            NextBatch::Batch { position, batch } => {
                if !sink.take() {
                    return Ok(());
                }
                sink.print(Batch::new(position, &batch), Batch::text)?;
                if with_records {
                    dump_records(&batch, sink)?;
                }
            }
        }
    }
}

fn dump_records(batch: &BatchView<'_>, sink: &mut Sink<'_>) -> Result<(), Failure> {
    let unpacked = match decompressed_records(batch, DECOMPRESSED_BYTES_MAX) {
        Ok(unpacked) => unpacked,
        Err(error) => return sink.broken(&error.to_string()),
    };
    for record in RecordIter::new(batch, &unpacked) {
        let record = match record {
            Ok(record) => record,
            Err(error) => return sink.broken(&error.to_string()),
        };
        let headers = record.headers.iter();
        let shown = Record {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(printable),
            value: record.value.map(printable),
            headers: headers.map(|h| (h.key.to_owned(), h.value.map(printable))).collect(),
        };
        sink.print(shown, |record| {
            let or_null = |text: &Option<String>| text.clone().unwrap_or_else(|| "null".into());
            let (key, value) = (or_null(&record.key), or_null(&record.value));
            let time = times::format(record.timestamp);
            let mut text = format!("  {} {time} key {key} value {value}", record.offset);
            for (key, value) in &record.headers {
                text.push_str(&format!(" header {key}={}", or_null(value)));
            }
            text
        })?;
    }
    Ok(())
}

/// Text as it is, anything else in base64.
fn printable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(|char: char| char.is_control() && char != '\t') => text.into(),
        _ => format!("base64:{}", STANDARD.encode(bytes)),
    }
}
