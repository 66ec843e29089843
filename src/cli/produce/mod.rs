//! `ringlog produce`: lines become records.

mod ledger;
mod template;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, ValueEnum, value_parser};
use indicatif::{ProgressBar, ProgressStyle};
use ringlog_client::{Acks, ClientError, Partitioner, Producer, ProducerSettings, TopicMetadata};
use ringlog_record::Compression;
use tokio::sync::mpsc;

use crate::bootstrap::{Bootstrap, MILLISECONDS_MAX, SECONDS_MAX};
use crate::exit::{FAILED, Failure, say};
use crate::interrupts::Interrupts;
use crate::lines::{self, Chunk, Source};
use crate::output::Output;
use crate::topic::key_value;
use ledger::{Ledger, Summary};
use template::Template;

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
    /// The codec's level: gzip 1 to 9, lz4 1 to 17, zstd -131072 to 22
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    compression_level: Option<i32>,
    /// Bytes of a full batch before compression
    #[arg(long, default_value_t = 131_072, value_name = "BYTES")]
    batch_size: usize,
    /// Milliseconds that a batch waits to become full
    #[arg(long, default_value_t = 5, value_name = "MS")]
    #[arg(value_parser = value_parser!(u64).range(..=MILLISECONDS_MAX))]
    linger: u64,
    /// Requests on their way to a broker at once
    #[arg(long, default_value_t = 5, value_name = "N")]
    in_flight: usize,
    /// Bytes of records that may wait to be acknowledged
    #[arg(long, default_value_t = 33_554_432, value_name = "BYTES")]
    buffer_memory: usize,
    /// Bytes of the longest line, and of one request
    #[arg(long, default_value_t = 4_194_304, value_name = "BYTES")]
    max_request_size: usize,
    /// Let the broker drop repetitions (yes if --acks all)
    #[arg(long, value_name = "BOOL")]
    idempotence: Option<bool>,
    /// Seconds after which a record is given up
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    #[arg(value_parser = value_parser!(u64).range(1..=SECONDS_MAX))]
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
    /// Refuses what would be ignored.
    fn check(&self) -> Result<(), Failure> {
        let Some(level) = self.compression_level else { return Ok(()) };
        let levels = match self.compression {
            CompressionArg::None => {
                return Err(Failure::usage("--compression-level needs --compression"));
            }
            CompressionArg::Snappy => return Err(Failure::usage("snappy has no levels")),
            CompressionArg::Gzip => 1..=9,
            CompressionArg::Lz4 => 1..=17,
            CompressionArg::Zstd => -131_072..=22,
        };
        if !levels.contains(&level) {
            let (low, high) = (levels.start(), levels.end());
            let text = format!("--compression-level {level}: it is {low} to {high} for this codec");
            return Err(Failure::usage(text));
        }
        Ok(())
    }

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
            request_bytes_max: self.max_request_size,
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

pub(crate) async fn run(args: ProduceArgs, output: &mut Output) -> Result<(), Failure> {
    args.check()?;
    let mut interrupts = Interrupts::listen()?;
    let answers = Duration::from_secs(args.delivery_timeout);
    let client = args.bootstrap.connect_for(answers).await?;
    if let Some(partition) = args.partition {
        let topic = client.topic(&args.topic, true).await?;
        check_partition(&topic, partition)?;
    }
    let producer = Producer::new(client, args.settings()).map_err(Failure::usage)?;
    let mut sending = Sending {
        template: Template::new(&args),
        producer,
        progress: progress_bar(&args.files, args.quiet)?,
        ledger: Ledger::default(),
        lines: 0,
        bytes: 0,
    };
    let source = match args.files.is_empty() {
        true => Source::Stdin,
        false => Source::Files(args.files.clone()),
    };
    let chunks = lines::read(source, args.delimiter, args.max_request_size);
    let started = Instant::now();
    let stopped = sending.send_all(chunks, &mut interrupts).await.err();
    sending.finish(&mut interrupts).await;
    sending.progress.finish_and_clear();
    let Sending { ledger, bytes, .. } = &sending;
    let summary = ledger.summary(&args.topic, *bytes, started.elapsed(), stopped.as_ref());
    if output.is_json() {
        output.print(&summary, Summary::text)?;
    } else if !args.quiet {
        say(summary.text());
    }
    match ledger.failure().or(stopped) {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

fn check_partition(topic: &TopicMetadata, partition: i32) -> Result<(), Failure> {
    match topic.partition(partition) {
        Some(_) => Ok(()),
        None => {
            let (name, count) = (&topic.name, topic.partitions.len());
            let text = format!("topic {name} has {count} partitions, none is {partition}");
            Err(Failure::usage(text))
        }
    }
}

/// Lines on their way.
struct Sending {
    template: Template,
    producer: Producer,
    progress: ProgressBar,
    ledger: Ledger,
    /// Lines taken from the input.
    lines: u64,
    /// Their bytes.
    bytes: u64,
}

impl Sending {
    /// Sends all lines; ends early at the first that cannot be sent or was not delivered, and
    /// when it is interrupted.
    async fn send_all(
        &mut self,
        mut chunks: mpsc::Receiver<Result<Chunk, String>>,
        interrupts: &mut Interrupts,
    ) -> Result<(), Failure> {
        loop {
            // However slowly lines come, a failed one is heard of at once.
            let chunk = tokio::select! {
                biased;
                interrupted = interrupts.next() => return Err(interrupted),
                () = self.ledger.oldest_is_done(), if self.ledger.is_waiting() => {
                    self.ledger.check().await;
                    match self.ledger.first_error() {
                        Some(_) => return Ok(()),
                        None => continue,
                    }
                }
                chunk = chunks.recv() => chunk,
            };
            let Some(chunk) = chunk else { return Ok(()) };
            let chunk = chunk.map_err(|error| {
                Failure::new(FAILED, format!("after {} lines: {error}", self.lines))
            })?;
            self.progress.inc(chunk.bytes_read);
            for line in chunk.lines {
                interrupts.unless_interrupted(self.send(line)).await??;
                if self.ledger.first_error().is_some() {
                    return Ok(());
                }
            }
        }
    }

    async fn send(&mut self, line: Bytes) -> Result<(), Failure> {
        let (number, size) = (self.lines + 1, line.len() as u64);
        let record = self.template.record(line);
        let record = record.map_err(|error| Failure::usage(format!("line {number}: {error}")))?;
        if self.ledger.is_full() {
            self.ledger.oldest_is_done().await;
            self.ledger.check().await;
        }
        let delivery = self.producer.send(record).await;
        let delivery =
            delivery.map_err(|error| Failure::new(FAILED, format!("line {number}: {error}")))?;
        self.ledger.add(delivery);
        self.lines = number;
        self.bytes += size;
        Ok(())
    }

    /// Waits for what is on its way. Where the broker did not take records in time, or when
    /// interrupted (once more), the rest is given up.
    async fn finish(&mut self, interrupts: &mut Interrupts) {
        let is_late = matches!(self.ledger.first_error(), Some(ClientError::Timeout { .. }));
        if is_late || interrupts.unless_interrupted(self.producer.close()).await.is_err() {
            self.producer.abandon().await;
        }
        while self.ledger.is_waiting() {
            self.ledger.oldest_is_done().await;
            self.ledger.check().await;
        }
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

    pub(super) fn parsed(line: &str) -> ProduceArgs {
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Produce(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn idempotence_follows_acks() {
        assert!(parsed("ringlog produce t").settings().idempotence);
        assert!(!parsed("ringlog produce t -a 1").settings().idempotence);
        assert!(!parsed("ringlog produce t --idempotence false").settings().idempotence);
        assert_eq!(parsed("ringlog produce t --delimiter \\0").delimiter, 0);
    }

    #[test]
    fn levels_are_those_of_the_codec() {
        for (flags, is_good) in [
            ("", true),
            (" -z gzip --compression-level 9", true),
            (" -z zstd --compression-level -5", true),
            (" -z gzip --compression-level 99", false),
            (" -z snappy --compression-level 1", false),
            (" --compression-level 5", false),
        ] {
            let args = parsed(&format!("ringlog produce t{flags}"));
            assert_eq!(args.check().is_ok(), is_good, "{flags}");
        }
    }
}
