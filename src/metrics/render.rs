//! The Prometheus text format (version 0.0.4) of everything that is counted.
//!
//! Its size is bounded by the shards and the topics they may name. Label values are ours or topic
//! names, which have no character that needs escaping; they are escaped all the same.

use std::fmt::{Display, Write};

use crate::api_names::api_name;
use crate::instruments::{Counter, Gauge, HistogramReading};
use crate::node::NodeMetrics;
use crate::process::{self, ProcessReading};
use crate::shard::ShardMetrics;
use crate::topic::TopicMetrics;

/// The content type that goes with [`prometheus`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The whole page.
pub fn prometheus(node: &NodeMetrics) -> String {
    let mut page = Page { text: String::with_capacity(32 << 10) };
    page_node(&mut page, node);
    page_process(&mut page, &process::read());
    let shards = node.shards();
    page_requests(&mut page, &shards);
    page_shards(&mut page, &shards);
    page_topics(&mut page, &shards);
    page.text
}

fn page_node(page: &mut Page, node: &NodeMetrics) {
    page.head("ringlog_build_info", "gauge", "What was built; always 1.");
    page.sample("ringlog_build_info", &[("version", node.build.version)], 1);
    let one = |page: &mut Page, name, kind, help, value: &dyn Display| {
        page.head(name, kind, help);
        page.sample(name, &[], value);
    };
    let ready = u8::from(node.health.reasons().is_empty());
    one(page, "ringlog_ready", "gauge", "1 when /health/ready says yes.", &ready);
    let uptime = node.uptime_s();
    one(page, "ringlog_uptime_seconds", "gauge", "Time since the process started.", &uptime);
    let topics = node.topics.get();
    one(page, "ringlog_cluster_topics", "gauge", "Topics of the cluster.", &topics);
    let partitions = node.partitions.get();
    one(page, "ringlog_cluster_partitions", "gauge", "Partitions of the cluster.", &partitions);
    let offline = node.log_dirs_offline.get();
    one(page, "ringlog_log_dirs_offline", "gauge", "Log directories that failed.", &offline);
    let records = node.metadata_records.get();
    let name = "ringlog_metadata_records_total";
    one(page, name, "counter", "Records of the metadata log applied.", &records);
    let offset = node.metadata_offset.get();
    one(page, "ringlog_metadata_offset", "gauge", "Last metadata offset applied.", &offset);
    let dropped = node.dropped_log_lines();
    let name = "ringlog_log_lines_dropped_total";
    one(page, name, "counter", "Lines of the log that nobody read in time.", &dropped);
    let started = node.start_time_s();
    let name = "process_start_time_seconds";
    one(page, name, "gauge", "Start of the process, since the epoch.", &started);
}

fn page_process(page: &mut Page, reading: &ProcessReading) {
    let mut one = |name, kind, help, value: Option<f64>| {
        if let Some(value) = value {
            page.head(name, kind, help);
            page.sample(name, &[], value);
        }
    };
    let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
    one("process_cpu_seconds_total", "counter", "User and system CPU time.", reading.cpu_s);
    let resident = bytes(reading.resident_bytes);
    one("process_resident_memory_bytes", "gauge", "Resident memory.", resident);
    let virtual_bytes = bytes(reading.virtual_bytes);
    one("process_virtual_memory_bytes", "gauge", "Virtual memory.", virtual_bytes);
    one("process_threads", "gauge", "Threads.", bytes(reading.threads));
    one("process_open_fds", "gauge", "Open file descriptors.", bytes(reading.open_fds));
    one("process_max_fds", "gauge", "Limit of file descriptors.", bytes(reading.max_fds));
}

/// Only the APIs that were used have samples.
fn page_requests(page: &mut Page, shards: &[std::sync::Arc<ShardMetrics>]) {
    let errors = "ringlog_request_errors_total";
    let latency = "ringlog_request_duration_seconds";
    let mut error_samples = Page { text: String::new() };
    page.head(latency, "histogram", "Requests by the time from receipt to the answer.");
    for shard in shards {
        let number = shard.shard.to_string();
        for (key, api) in shard.apis() {
            let reading = api.latency.read();
            if reading.count == 0 {
                continue;
            }
            let labels = [("shard", number.as_str()), ("api", api_name(key).unwrap_or("unknown"))];
            page.histogram(latency, &labels, &reading);
            error_samples.sample(errors, &labels, api.errors.get());
        }
    }
    page.head(errors, "counter", "Requests answered by hanging up.");
    page.text.push_str(&error_samples.text);
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn page_shards(page: &mut Page, shards: &[std::sync::Arc<ShardMetrics>]) {
    type Count = (&'static str, &'static str, fn(&ShardMetrics) -> &Counter);
    const COUNTERS: &[Count] = &[
        ("ringlog_received_bytes_total", "Bytes of requests.", |s| &s.bytes_received),
        ("ringlog_sent_bytes_total", "Bytes of answers.", |s| &s.bytes_sent),
        ("ringlog_connections_accepted_total", "Connections accepted.", |s| {
            &s.connections_accepted
        }),
        (
            "ringlog_connections_taken_over_total",
            "Connections taken over from another shard.",
            |s| &s.connections_taken_over,
        ),
        (
            "ringlog_connections_refused_total",
            "Connections refused: too many of one address.",
            |s| &s.connections_refused,
        ),
        ("ringlog_protocol_errors_total", "Connections closed for what they sent.", |s| {
            &s.protocol_errors
        }),
        ("ringlog_fetches_parked_total", "Fetches that waited for data.", |s| {
            &s.fetches_parked_total
        }),
        ("ringlog_damage_found_total", "Damaged places found in segments.", |s| &s.damage_found),
        ("ringlog_damage_passed_total", "Reads that went on behind damaged records.", |s| {
            &s.damage_passed
        }),
        ("ringlog_scrub_checked_bytes_total", "Bytes read by the scrub.", |s| &s.scrubbed_bytes),
        ("ringlog_scrub_damage_found_total", "Segments damaged or unreadable.", |s| {
            &s.scrub_damage_found
        }),
        ("ringlog_appended_bytes_total", "Bytes of batches appended.", |s| &s.bytes_appended),
        ("ringlog_written_bytes_total", "Bytes written to segments.", |s| &s.bytes_written),
        ("ringlog_flushed_bytes_total", "Bytes made durable.", |s| &s.bytes_flushed),
        ("ringlog_tail_hits_total", "Reads served from memory.", |s| &s.tail_hits),
        ("ringlog_tail_read_bytes_total", "Bytes read from memory.", |s| &s.tail_read_bytes),
        ("ringlog_tail_misses_total", "Reads served from files.", |s| &s.tail_misses),
        ("ringlog_file_read_bytes_total", "Bytes read from files.", |s| &s.file_read_bytes),
        ("ringlog_read_ahead_windows_total", "Windows read ahead of consumers.", |s| {
            &s.read_ahead_windows
        }),
        ("ringlog_read_ahead_windows_used_total", "Windows that a consumer came for.", |s| {
            &s.read_ahead_windows_used
        }),
        ("ringlog_mailbox_messages_total", "Messages from other shards.", |s| &s.mailbox_messages),
        ("ringlog_compactions_total", "Compactions of a log that ended well.", |s| &s.compactions),
        ("ringlog_compaction_read_bytes_total", "Bytes that compactions rewrote.", |s| {
            &s.compaction_read_bytes
        }),
        ("ringlog_compaction_written_bytes_total", "Bytes that are left of those.", |s| {
            &s.compaction_written_bytes
        }),
        ("ringlog_compaction_dropped_records_total", "Records that compactions left out.", |s| {
            &s.compaction_dropped_records
        }),
    ];
    type Level = (&'static str, &'static str, fn(&ShardMetrics) -> &Gauge);
    const GAUGES: &[Level] = &[
        ("ringlog_connections", "Open connections.", |s| &s.connections),
        ("ringlog_requests_open", "Requests not yet answered.", |s| &s.requests_open),
        ("ringlog_fetches_parked", "Fetches waiting for data.", |s| &s.fetches_parked),
        ("ringlog_dirty_bytes", "Bytes appended and not written yet.", |s| &s.dirty_bytes),
        ("ringlog_tail_bytes", "Memory of the logs' ends.", |s| &s.tail_bytes),
        ("ringlog_partitions", "Partitions of the shard.", |s| &s.partitions),
        ("ringlog_partitions_offline", "Partitions whose log failed.", |s| &s.partitions_offline),
        (
            "ringlog_compaction_dirty_percent",
            "The largest share of a log that could be compacted now.",
            |s| &s.compaction_dirty_percent,
        ),
        (
            "ringlog_compaction_oldest_dirty_seconds",
            "Age of the oldest records that could be compacted now.",
            |s| &s.compaction_oldest_dirty_seconds,
        ),
        ("ringlog_compaction_uncleanable", "Logs that cannot be compacted.", |s| {
            &s.compaction_uncleanable
        }),
    ];
    for (name, help, counter) in COUNTERS {
        page.head(name, "counter", help);
        for shard in shards {
            let number = shard.shard.to_string();
            page.sample(name, &[("shard", &number)], counter(shard).get());
        }
    }
    for (name, help, gauge) in GAUGES {
        page.head(name, "gauge", help);
        for shard in shards {
            let number = shard.shard.to_string();
            page.sample(name, &[("shard", &number)], gauge(shard).get());
        }
    }
    page.head("ringlog_flush_duration_seconds", "histogram", "Durable writes and flushes.");
    for shard in shards {
        let number = shard.shard.to_string();
        let reading = shard.flushes.read();
        page.histogram("ringlog_flush_duration_seconds", &[("shard", &number)], &reading);
    }
    let turns = "ringlog_shard_turn_duration_seconds";
    page.head(turns, "histogram", "Turns of a shard's loop; requests wait for the one they meet.");
    for shard in shards {
        let number = shard.shard.to_string();
        page.histogram(turns, &[("shard", &number)], &shard.turns.read());
    }
    let unchecked = "ringlog_scrub_longest_unchecked_seconds";
    page.head(unchecked, "gauge", "Age of the oldest last check of a finished segment.");
    for shard in shards {
        let number = shard.shard.to_string();
        let seconds = shard.longest_unchecked_ms.get() as f64 / 1e3;
        page.sample(unchecked, &[("shard", &number)], seconds);
    }
    let longest = "ringlog_shard_turn_max_seconds";
    page.head(longest, "gauge", "The longest turn since the start.");
    for shard in shards {
        let number = shard.shard.to_string();
        page.sample(longest, &[("shard", &number)], shard.turn_max_ns.get() as f64 / 1e9);
    }
}

fn page_topics(page: &mut Page, shards: &[std::sync::Arc<ShardMetrics>]) {
    type Count = (&'static str, &'static str, fn(&TopicMetrics) -> &Counter);
    const COUNTERS: &[Count] = &[
        ("ringlog_topic_records_in_total", "Records appended.", |t| &t.records_in),
        ("ringlog_topic_in_bytes_total", "Bytes of batches appended.", |t| &t.bytes_in),
        ("ringlog_topic_out_bytes_total", "Bytes sent to consumers.", |t| &t.bytes_out),
    ];
    let topics: Vec<_> = shards.iter().map(|s| (s.shard.to_string(), s.topics())).collect();
    for (name, help, counter) in COUNTERS {
        page.head(name, "counter", help);
        for (shard, topics) in &topics {
            for (topic, metrics) in topics {
                page.sample(name, &[("shard", shard), ("topic", topic)], counter(metrics).get());
            }
        }
    }
}

struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.line(format_args!("{name}{} {value}\n", Labels(labels, None)));
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], reading: &HistogramReading) {
        for (bound, count) in &reading.cumulative {
            let labels = Labels(labels, Some(*bound));
            self.line(format_args!("{name}_bucket{labels} {count}\n"));
        }
        let (count, sum) = (reading.count, reading.sum_s);
        let infinite = Labels(labels, Some(f64::INFINITY));
        let labels = Labels(labels, None);
        self.line(format_args!("{name}_bucket{infinite} {count}\n"));
        self.line(format_args!("{name}_sum{labels} {sum}\n{name}_count{labels} {count}\n"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.text.write_fmt(line).expect("a String takes all that is written to it");
    }
}

/// Labels in braces, with the bound of a bucket as the last one.
struct Labels<'a>(&'a [(&'a str, &'a str)], Option<f64>);

impl Display for Labels<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() && self.1.is_none() {
            return Ok(());
        }
        f.write_char('{')?;
        for (place, (name, value)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{name}=\"")?;
            for char in value.chars() {
                match char {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    other => f.write_char(other)?,
                }
            }
            f.write_char('"')?;
        }
        if let Some(bound) = self.1 {
            let comma = if self.0.is_empty() { "" } else { "," };
            let infinite = bound.is_infinite();
            let bound: &dyn Display = if infinite { &"+Inf" } else { &bound };
            write!(f, "{comma}le=\"{bound}\"")?;
        }
        f.write_char('}')
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::node::BuildInfo;

    fn busy_node() -> String {
        let node = NodeMetrics::new(BuildInfo { version: "1.2.3" });
        let shard = node.shard(0);
        shard.request_begun();
        shard.request_answered(0, Duration::from_micros(150), true);
        shard.request_begun();
        shard.request_answered(500, Duration::from_secs(20), false);
        shard.flushed(4096, Duration::from_micros(90));
        shard.topic("a.b").appended(3, 300);
        node.shard(1).received(77);
        prometheus(&node)
    }

    fn check(line: &str) {
        let page = busy_node();
        assert!(page.lines().any(|found| found == line), "no line {line} in\n{page}");
    }

    #[test]
    fn samples() {
        check(r#"ringlog_build_info{version="1.2.3"} 1"#);
        check("ringlog_ready 0");
        check(r#"ringlog_received_bytes_total{shard="1"} 77"#);
        check(r#"ringlog_topic_records_in_total{shard="0",topic="a.b"} 3"#);
        check(r#"ringlog_request_errors_total{shard="0",api="Produce"} 1"#);
        let duration = "ringlog_request_duration_seconds";
        check(&format!(r#"{duration}_bucket{{shard="0",api="Produce",le="0.0001"}} 0"#));
        check(&format!(r#"{duration}_bucket{{shard="0",api="Produce",le="0.0002"}} 1"#));
        check(&format!(r#"{duration}_bucket{{shard="0",api="unknown",le="10"}} 0"#));
        check(&format!(r#"{duration}_bucket{{shard="0",api="unknown",le="+Inf"}} 1"#));
        check(&format!(r#"{duration}_sum{{shard="0",api="unknown"}} 20"#));
        check(r#"ringlog_flush_duration_seconds_count{shard="0"} 1"#);
        check("# TYPE ringlog_requests_open gauge");
    }

    /// The rules of the text format: every sample follows its family's HELP and TYPE, families
    /// come once, values are numbers.
    #[test]
    fn the_page_is_well_formed() {
        let (mut family, mut seen) = (String::new(), BTreeSet::new());
        for line in busy_node().lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                family = rest.split(' ').next().unwrap().to_owned();
                assert!(seen.insert(family.clone()), "{family} twice");
                assert!(rest.len() > family.len() + 5, "no help: {line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert!(rest.starts_with(&family));
            } else {
                assert!(line.starts_with(&family), "{line} after {family}");
                let value = line.rsplit(' ').next().unwrap();
                value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
            }
        }
        assert!(seen.len() > 25);
    }

    #[test]
    fn labels_are_escaped() {
        let labels = Labels(&[("a", "x\"y\\z\n")], None).to_string();
        assert_eq!(labels, r#"{a="x\"y\\z\n"}"#);
    }
}
