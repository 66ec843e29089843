//! `ringlog consume`: records of topics and partitions, printed.

use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use ringlog_client::{Client, Consumer, ConsumerSettings, FetchedRecord, StartFrom, Until};
use ringlog_types::TopicPartition;
use serde::Serialize;

use crate::bootstrap::Bootstrap;
use crate::exit::Failure;
use crate::line_format::LineFormat;
use crate::output::Output;
use crate::times;

const EXAMPLES: &str = "\
Where to begin (--from):
  start, end, an offset such as 1000 or offset:1000, or -10 for ten before the end,
  time:2026-11-23T07:30:00Z, time:1795419015250, time:-2h

The format language (--format-string):
  %t topic     %p partition   %o offset    %k key          %v value     %h headers
  %T time, ms  %D time, UTC   %K key size  %V value size   %% a percent sign
  \\n \\t \\r \\0 \\xHH \\\\

Examples:
  ringlog consume logs --until end
  ringlog consume logs:0,2-4 --from -10 --until end
  ringlog consume logs --from time:-1h --format-string '%D %p %o %v\\n'
  ringlog consume logs --count 1 --format json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ConsumeArgs {
    /// Topics, all partitions or some: TOPIC or TOPIC:0,2-4
    #[arg(required = true, value_name = "TOPIC[:PARTITIONS]")]
    topics: Vec<Selection>,
    /// Where to begin
    #[arg(
        long,
        short = 'f',
        default_value = "start",
        value_name = "WHERE",
        value_parser = start_from,
        allow_hyphen_values = true
    )]
    from: StartFrom,
    /// When to stop: `end` for where the partitions end now, or count:N
    #[arg(long, short = 'u', value_name = "WHEN", value_parser = until)]
    until: Option<Stop>,
    /// Stop after this many records
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,
    /// How to print a record
    #[arg(long, short = 's', default_value = "%v\\n", value_name = "FORMAT")]
    #[arg(value_parser = LineFormat::parse)]
    format_string: LineFormat,
    /// Milliseconds that a broker may wait for new records
    #[arg(long, default_value_t = 500, value_name = "MS")]
    max_wait: u64,
    /// Bytes of one answer
    #[arg(long, default_value_t = 16_777_216, value_name = "BYTES")]
    max_bytes: i32,
    /// Bytes of one partition in an answer
    #[arg(long, default_value_t = 4_194_304, value_name = "BYTES")]
    max_partition_bytes: i32,
    /// Do not check the batches' checksums
    #[arg(long)]
    no_check_crcs: bool,
    #[command(flatten)]
    bootstrap: Bootstrap,
}

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    End,
    Count(u64),
}

fn until(text: &str) -> Result<Stop, String> {
    match text.strip_prefix("count:") {
        None if text == "end" => Ok(Stop::End),
        Some(count) => count.parse().map(Stop::Count).map_err(|error| error.to_string()),
        None => Err("expected `end` or `count:N`".into()),
    }
}

fn start_from(text: &str) -> Result<StartFrom, String> {
    match text {
        "start" | "beginning" | "earliest" => return Ok(StartFrom::Start),
        "end" | "latest" => return Ok(StartFrom::End),
        _ => {}
    }
    if let Some(time) = text.strip_prefix("time:") {
        return times::parse(time, times::now_ms()).map(StartFrom::Timestamp);
    }
    let offset = text.strip_prefix("offset:").unwrap_or(text);
    offset.parse().map(StartFrom::Offset).map_err(|_| {
        format!("{text:?} is no place; write start, end, an offset, or time:2026-11-23T07:30:00Z")
    })
}

/// A topic, and which of its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection {
    topic: String,
    /// Ranges, both ends included; none means all partitions.
    ranges: Vec<(i32, i32)>,
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Selection, String> {
        let Some((topic, partitions)) = text.split_once(':') else {
            return Ok(Selection { topic: text.to_owned(), ranges: Vec::new() });
        };
        let number = |text: &str| match text.parse::<i32>() {
            Ok(number) if number >= 0 => Ok(number),
            _ => Err(format!("{text:?} is no partition; write TOPIC:0,2-4")),
        };
        let ranges: Result<Vec<(i32, i32)>, String> = partitions
            .split(',')
            .map(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let (first, last) = (number(first)?, number(last)?);
                match first <= last {
                    true => Ok((first, last)),
                    false => Err(format!("{range:?} is no range; write the lower one first")),
                }
            })
            .collect();
        Ok(Selection { topic: topic.to_owned(), ranges: ranges? })
    }
}

impl Selection {
    /// The partitions that are meant.
    pub(crate) async fn resolve(&self, client: &Client) -> Result<Vec<TopicPartition>, Failure> {
        let topic = client.topic(&self.topic, false).await?;
        let is_meant = |partition: i32| {
            self.ranges.is_empty()
                || self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&partition))
        };
        for (_, last) in &self.ranges {
            if topic.partition(*last).is_none() {
                let (name, count) = (&self.topic, topic.partitions.len());
                let text = format!("topic {name} has {count} partitions, none is {last}");
                return Err(Failure::usage(text));
            }
        }
        let meant = topic.partitions.iter().filter(|partition| is_meant(partition.partition));
        let name: &Arc<str> = &topic.name;
        Ok(meant.map(|meant| TopicPartition::new(name.clone(), meant.partition)).collect())
    }
}

/// How often a consumer that waits for records looks whether anybody still reads them.
const ABANDONED_INTERVAL: Duration = Duration::from_millis(500);

pub(crate) async fn run(args: ConsumeArgs, output: &mut Output) -> Result<(), Failure> {
    let client = args.bootstrap.connect().await?;
    let mut partitions = Vec::new();
    for selection in &args.topics {
        partitions.extend(selection.resolve(&client).await?);
    }
    partitions.sort();
    partitions.dedup();
    let settings = ConsumerSettings {
        wait_max: Duration::from_millis(args.max_wait),
        bytes_max: args.max_bytes,
        partition_bytes_max: args.max_partition_bytes,
        check_crcs: !args.no_check_crcs,
        new_partitions: args.topics.iter().all(|topic| topic.ranges.is_empty()),
        ..ConsumerSettings::default()
    };
    let (until, mut left) = match args.until {
        Some(Stop::End) => (Until::End, args.count),
        Some(Stop::Count(count)) => (Until::Forever, Some(count)),
        None => (Until::Forever, args.count),
    };
    let mut consumer = Consumer::start(client, &partitions, args.from, until, settings).await?;
    while left != Some(0) {
        let next = tokio::time::timeout(ABANDONED_INTERVAL, consumer.next());
        let Ok(next) = next.await else {
            if output.is_abandoned() {
                break;
            }
            continue;
        };
        let Some(records) = next else { break };
        let mut records = records?;
        if let Some(left) = &mut left {
            records.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= records.len() as u64;
        }
        for record in &records {
            if output.is_json() {
                output.print_line(&JsonRecord::from(record), |_| String::new())?;
            } else {
                args.format_string.write(record, output.stream())?;
            }
        }
        output.flush()?;
    }
    output.stream().flush().map_err(Failure::from)
}

/// A record as JSON. What is not UTF-8 is given in base64, under another name.
#[derive(Debug, Serialize)]
struct JsonRecord<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    #[serde(flatten)]
    key: JsonKey<'a>,
    #[serde(flatten)]
    value: JsonValue<'a>,
    headers: Vec<JsonHeader<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum JsonKey<'a> {
    Text { key: Option<&'a str> },
    Binary { key_base64: String },
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum JsonValue<'a> {
    Text { value: Option<&'a str> },
    Binary { value_base64: String },
}

#[derive(Debug, Serialize)]
struct JsonHeader<'a> {
    key: &'a str,
    #[serde(flatten)]
    value: JsonValue<'a>,
}

impl<'a> From<Option<&'a [u8]>> for JsonValue<'a> {
    fn from(bytes: Option<&'a [u8]>) -> JsonValue<'a> {
        match bytes.map(|bytes| (std::str::from_utf8(bytes), bytes)) {
            None => JsonValue::Text { value: None },
            Some((Ok(text), _)) => JsonValue::Text { value: Some(text) },
            Some((Err(_), bytes)) => JsonValue::Binary { value_base64: STANDARD.encode(bytes) },
        }
    }
}

impl<'a> From<&'a FetchedRecord> for JsonRecord<'a> {
    fn from(record: &'a FetchedRecord) -> JsonRecord<'a> {
        let key = match JsonValue::from(record.key.as_deref()) {
            JsonValue::Text { value } => JsonKey::Text { key: value },
            JsonValue::Binary { value_base64 } => JsonKey::Binary { key_base64: value_base64 },
        };
        let headers = record.headers.iter();
        JsonRecord {
            topic: &record.partition.topic,
            partition: record.partition.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key,
            value: record.value.as_deref().into(),
            headers: headers
                .map(|(key, value)| JsonHeader { key, value: value.as_deref().into() })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn places_to_begin() {
        for (text, expected) in [
            ("start", StartFrom::Start),
            ("end", StartFrom::End),
            ("1000", StartFrom::Offset(1000)),
            ("offset:7", StartFrom::Offset(7)),
            ("-10", StartFrom::Offset(-10)),
            ("time:1970-01-02", StartFrom::Timestamp(86_400_000)),
        ] {
            assert_eq!(start_from(text), Ok(expected), "{text}");
        }
        assert!(start_from("time:yesterday").is_err());
        assert_eq!(until("count:5"), Ok(Stop::Count(5)));
        assert!(until("5").is_err());
    }

    #[test]
    fn selections() {
        let ranges = |text: &str| Selection::from_str(text).map(|selection| selection.ranges);
        assert_eq!(ranges("t"), Ok(vec![]));
        assert_eq!(ranges("t:0,2-4"), Ok(vec![(0, 0), (2, 4)]));
        for wrong in ["t:", "t:x", "t:-1", "t:1-", "t:5-2"] {
            assert!(ranges(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn json_keeps_every_byte() {
        let record = FetchedRecord {
            partition: TopicPartition::new("t", 0),
            offset: 1,
            timestamp: 2,
            key: Some(Bytes::from_static(&[0xff])),
            value: None,
            headers: vec![("h".into(), Some(Bytes::from_static(b"x")))],
        };
        let json = serde_json::to_string(&JsonRecord::from(&record)).unwrap();
        assert_eq!(
            json,
            r#"{"topic":"t","partition":0,"offset":1,"timestamp":2,"key_base64":"/w==","#
                .to_owned()
                + r#""value":null,"headers":[{"key":"h","value":"x"}]}"#
        );
    }
}
