//! `ringlog produce`: lines become records.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use ringlog_client::{
    Acks, ClientError, Delivery, Partitioner, Producer, ProducerRecord, ProducerSettings,
};
use ringlog_record::Compression;
use serde::Serialize;

use crate::args::Bootstrap;
use crate::exit::{FAILED, Failure};
use crate::lines::{self, Source};
use crate::output::Output;
use crate::sizes;
use crate::topic::key_value;

const EXAMPLES: &str = "\
Examples:
  seq 1 1000 | ringlog produce numbers
  ringlog produce logs /var/log/syslog --compression zstd
  echo 'user1:hello' | ringlog produce events --key-separator :
  tail -F app.log | ringlog produce logs --linger 0";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ProduceArgs {
    /// The topic; it is created if the broker does that
    topic: String,
    /// Files to send line by line; standard input if none is given
    files: Vec<PathBuf>,
    /// Each line is a key, this, and a value
    #[arg(long, short = 'k', value_name = "TEXT", value_parser = separator)]
    key_separator: Option<String>,
    /// The key of every record
    #[arg(long, conflicts_with = "key_separator")]
    key: Option<String>,
    /// A header of every record; repeatable
    #[arg(long, short = 'H', value_name = "KEY=VALUE", value_parser = key_value)]
    header: Vec<(String, String)>,
    /// A value that stands for no value (a tombstone)
    #[arg(long, value_name = "TEXT")]
    null_value: Option<String>,
    /// What ends a record: one character, \n, \t or \0
    #[arg(long, default_value = "\\n", value_name = "CHAR", value_parser = delimiter)]
    delimiter: u8,
    /// Send everything to this partition
    #[arg(long, short = 'p', conflicts_with = "partitioner")]
    partition: Option<i32>,
    /// How a record gets its partition
    #[arg(long, value_enum, default_value_t = PartitionerArg::Default)]
    partitioner: PartitionerArg,
    /// Who must have a record before it counts as sent
    #[arg(long, short = 'a', value_enum, default_value_t = AcksArg::All)]
    acks: AcksArg,
    /// The codec of batches
    #[arg(long, short = 'z', value_enum, default_value_t = CompressionArg::None)]
    compression: CompressionArg,
    /// The codec's level
    #[arg(long, value_name = "N")]
    compression_level: Option<i32>,
    /// Bytes of a full batch before compression
    #[arg(long, default_value_t = 131_072, value_name = "BYTES")]
    batch_size: usize,
    /// Milliseconds that a batch waits to become full
    #[arg(long, default_value_t = 5, value_name = "MS")]
    linger: u64,
    /// Requests on their way to a broker at once
    #[arg(long, default_value_t = 5, value_name = "N")]
    in_flight: usize,
    /// Bytes of records that may wait to be acknowledged
    #[arg(long, default_value_t = 33_554_432, value_name = "BYTES")]
    buffer_memory: usize,
    /// Let the broker drop repetitions (yes if --acks all)
    #[arg(long, value_name = "BOOL")]
    idempotence: Option<bool>,
    /// Seconds after which a record is given up
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    delivery_timeout: u64,
    /// Say nothing at the end
    #[arg(long, short = 'q')]
    quiet: bool,
    #[command(flatten)]
    bootstrap: Bootstrap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PartitionerArg {
    /// By the key's murmur2 hash, as Kafka's Java client; without a key, sticky
    Default,
    /// One after the other
    RoundRobin,
    /// One partition until a batch is full, whatever the key
    Sticky,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AcksArg {
    /// Nobody; the broker does not answer
    #[value(name = "0")]
    None,
    /// The leader
    #[value(name = "1")]
    Leader,
    /// All replicas in sync
    #[value(name = "all", alias = "-1")]
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the codecs' own names")]
enum CompressionArg {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

fn separator(text: &str) -> Result<String, String> {
    match crate::line_format::unescape(text)?.as_slice() {
        [] => Err("it cannot be empty".into()),
        bytes => String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string()),
    }
}

fn delimiter(text: &str) -> Result<u8, String> {
    match crate::line_format::unescape(text)?.as_slice() {
        [byte] => Ok(*byte),
        _ => Err("expected one character".into()),
    }
}

impl ProduceArgs {
    fn settings(&self) -> ProducerSettings {
        let acks = match self.acks {
            AcksArg::None => Acks::None,
            AcksArg::Leader => Acks::Leader,
            AcksArg::All => Acks::All,
        };
        ProducerSettings {
            acks,
            idempotence: self.idempotence.unwrap_or(acks == Acks::All),
            compression: match self.compression {
                CompressionArg::None => Compression::None,
                CompressionArg::Gzip => Compression::Gzip,
                CompressionArg::Snappy => Compression::Snappy,
                CompressionArg::Lz4 => Compression::Lz4,
                CompressionArg::Zstd => Compression::Zstd,
            },
            compression_level: self.compression_level,
            batch_bytes: self.batch_size,
            linger: Duration::from_millis(self.linger),
            buffer_bytes: self.buffer_memory,
            requests_in_flight_max: self.in_flight,
            delivery_timeout: Duration::from_secs(self.delivery_timeout),
            partitioner: match self.partitioner {
                PartitionerArg::Default => Partitioner::Default,
                PartitionerArg::RoundRobin => Partitioner::RoundRobin,
                PartitionerArg::Sticky => Partitioner::Sticky,
            },
            ..ProducerSettings::default()
        }
    }
}

/// Makes records of lines.
struct Template {
    topic: Arc<str>,
    partition: Option<i32>,
    key: Option<Bytes>,
    key_separator: Option<Vec<u8>>,
    null_value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Bytes>)>,
}

impl Template {
    fn new(args: &ProduceArgs) -> Template {
        let header = |(key, value): &(String, String)| {
            (key.clone(), Some(Bytes::from(value.clone().into_bytes())))
        };
        Template {
            topic: args.topic.as_str().into(),
            partition: args.partition,
            key: args.key.clone().map(|key| Bytes::from(key.into_bytes())),
            key_separator: args.key_separator.clone().map(String::into_bytes),
            null_value: args.null_value.clone().map(String::into_bytes),
            headers: args.header.iter().map(header).collect(),
        }
    }

    fn record(&self, line: Bytes) -> Result<ProducerRecord, String> {
        let (key, value) = match &self.key_separator {
            None => (self.key.clone(), line),
            Some(separator) => {
                let place = line.windows(separator.len()).position(|part| part == separator);
                let Some(place) = place else {
                    let text = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
                    return Err(format!("no key separator in the line {text:?}"));
                };
                (Some(line.slice(..place)), line.slice(place + separator.len()..))
            }
        };
        let is_null = self.null_value.as_deref() == Some(&*value);
        Ok(ProducerRecord {
            topic: self.topic.clone(),
            partition: self.partition,
            key,
            value: (!is_null).then_some(value),
            headers: self.headers.clone(),
            timestamp: None,
        })
    }
}

/// What was sent.
#[derive(Debug, Default, Serialize)]
struct Summary {
    topic: String,
    records: u64,
    bytes: u64,
    failed: u64,
    seconds: f64,
    records_per_second: f64,
    bytes_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Summary {
    fn text(&self) -> String {
        format!(
            "{} records, {} in {:.3} s: {} records/s, {}/s",
            sizes::grouped(self.records),
            sizes::bytes(self.bytes),
            self.seconds,
            sizes::grouped(self.records_per_second as u64),
            sizes::bytes(self.bytes_per_second as u64),
        )
    }
}

/// Deliveries that are not looked at yet; beyond, the oldest is waited for.
const UNCHECKED_MAX: usize = 50_000;

/// Counts what became of the records.
#[derive(Default)]
struct Ledger {
    unchecked: VecDeque<Delivery>,
    delivered: u64,
    failed: u64,
    first_error: Option<ClientError>,
}

impl Ledger {
    async fn add(&mut self, delivery: Delivery) {
        self.unchecked.push_back(delivery);
        if self.unchecked.len() > UNCHECKED_MAX {
            self.check_oldest().await;
        }
    }

    async fn check_oldest(&mut self) {
        let Some(delivery) = self.unchecked.pop_front() else { return };
        match delivery.wait().await {
            Ok(_) => self.delivered += 1,
            Err(error) => {
                self.failed += 1;
                self.first_error.get_or_insert(error);
            }
        }
    }
}

pub(crate) async fn run(args: ProduceArgs, output: &mut Output) -> Result<(), Failure> {
    let client = args.bootstrap.connect().await?;
    let settings = args.settings();
    let line_bytes_max = settings.request_bytes_max;
    let producer = Producer::new(client, settings).map_err(Failure::usage)?;
    let progress = progress_bar(&args.files, args.quiet)?;
    let source = match args.files.is_empty() {
        true => Source::Stdin,
        false => Source::Files(args.files.clone()),
    };
    let template = Template::new(&args);
    let mut chunks = lines::read(source, args.delimiter, line_bytes_max);
    let (started, mut ledger) = (Instant::now(), Ledger::default());
    let mut bytes = 0;
    let mut stopped: Option<Failure> = None;
    'input: while let Some(chunk) = chunks.recv().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                stopped = Some(Failure::new(FAILED, error));
                break;
            }
        };
        progress.inc(chunk.bytes_read);
        for line in chunk.lines {
            let size = line.len() as u64;
            let sent = match template.record(line) {
                Ok(record) => producer.send(record).await.map_err(Failure::from),
                Err(error) => Err(Failure::usage(error)),
            };
            match sent {
                Ok(delivery) => {
                    bytes += size;
                    ledger.add(delivery).await;
                }
                Err(error) => {
                    stopped = Some(error);
                    break 'input;
                }
            }
            if ledger.first_error.is_some() {
                break 'input;
            }
        }
    }
    producer.close().await;
    while !ledger.unchecked.is_empty() {
        ledger.check_oldest().await;
    }
    progress.finish_and_clear();
    let summary = summary(&args, &ledger, bytes, started.elapsed(), stopped.as_ref());
    if output.is_json() {
        output.print(&summary, Summary::text)?;
    } else if !args.quiet {
        eprintln!("{}", summary.text());
    }
    match (stopped, ledger.first_error) {
        (_, Some(error)) => {
            Err(Failure::new(FAILED, format!("{} records failed: {error}", ledger.failed)))
        }
        (Some(failure), None) => Err(failure),
        (None, None) => Ok(()),
    }
}

fn summary(
    args: &ProduceArgs,
    ledger: &Ledger,
    bytes: u64,
    took: Duration,
    stopped: Option<&Failure>,
) -> Summary {
    let seconds = took.as_secs_f64().max(1e-9);
    let error = ledger.first_error.as_ref().map(ClientError::to_string);
    Summary {
        topic: args.topic.clone(),
        records: ledger.delivered,
        bytes,
        failed: ledger.failed,
        seconds,
        records_per_second: ledger.delivered as f64 / seconds,
        bytes_per_second: bytes as f64 / seconds,
        error: error.or_else(|| stopped.map(ToString::to_string)),
    }
}

/// A bar over all files, on standard error if that is a terminal.
fn progress_bar(files: &[PathBuf], quiet: bool) -> Result<ProgressBar, Failure> {
    let mut total = 0;
    for file in files {
        total += std::fs::metadata(file).map_err(crate::exit::at_path(file))?.len();
    }
    if files.is_empty() || quiet {
        return Ok(ProgressBar::hidden());
    }
    let style = "{bar:40} {bytes}/{total_bytes}  {bytes_per_sec}  {eta}";
    let style = ProgressStyle::with_template(style).expect("a constant");
    Ok(ProgressBar::new(total).with_style(style))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn parsed(line: &str) -> ProduceArgs {
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Produce(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_become_records() {
        let args = parsed("ringlog produce t -k : --null-value NULL -H a=b");
        let template = Template::new(&args);
        let record = template.record(Bytes::from_static(b"k:v:w")).unwrap();
        assert_eq!(record.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(record.value.as_deref(), Some(&b"v:w"[..]));
        assert_eq!(record.headers, [("a".to_owned(), Some(Bytes::from_static(b"b")))]);
        assert_eq!(template.record(Bytes::from_static(b"k:NULL")).unwrap().value, None);
        assert!(template.record(Bytes::from_static(b"no separator")).is_err());
        let plain = Template::new(&parsed("ringlog produce t --key x"));
        assert_eq!(plain.record(Bytes::new()).unwrap().key.as_deref(), Some(&b"x"[..]));
    }

    #[test]
    fn idempotence_follows_acks() {
        assert!(parsed("ringlog produce t").settings().idempotence);
        assert!(!parsed("ringlog produce t -a 1").settings().idempotence);
        assert!(!parsed("ringlog produce t --idempotence false").settings().idempotence);
        assert_eq!(parsed("ringlog produce t --delimiter \\0").delimiter, 0);
    }
}
