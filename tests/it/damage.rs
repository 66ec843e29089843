//! Records that a disk changed: everything else is served, and what is missing is said.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringlog_client::{OffsetSpec, ProducerSettings};
use ringlog_types::{ErrorCode, TopicPartition};
use ringlog_wire::messages::fetch_response::FetchResponse;

use crate::metrics::{get, sum};
use crate::node::{Node, PATIENCE, free_address, texts, values};
use crate::raw_client::{RawClient, fetch, from_offset};

/// A consumer got CORRUPT_MESSAGE at damaged records for ever.
#[tokio::test]
async fn a_consumer_goes_on_behind_damaged_records_or_stops_if_the_topic_says_so() {
    let node = Node::start();
    node.create("passes", 1, &[]).await;
    node.create("stops", 1, &[("stop.at.damage", "true")]).await;
    let sent = values(60, 30);
    for topic in ["passes", "stops"] {
        for part in sent.chunks(10) {
            node.produce(topic, 0, part, ProducerSettings::default()).await;
        }
    }
    let segments = ["passes", "stops"]
        .map(|topic| node.partition_dir(&format!("{topic}-0")).join("00000000000000000000.log"));
    let data = node.stop();
    for path in &segments {
        let mut bytes = fs::read(path).unwrap();
        // In the third batch: records 20 to 29.
        let size = |at: usize| {
            12 + u32::from_be_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize
        };
        let second = size(0);
        let third = second + size(second);
        bytes[third + 100] ^= 4;
        fs::write(path, bytes).unwrap();
    }
    let node = Node::start_with(data, &["--shards", "1"]);
    let read = node.consume("passes", 0, 0).await;
    let expected: Vec<_> = sent[..20].iter().chain(&sent[30..]).cloned().collect();
    assert_eq!(texts(&read), expected);
    assert_eq!(read[20].offset, 30);
    // Also for one that stands in the middle of what is gone, and never out of range.
    let read = node.consume("passes", 0, 24).await;
    assert_eq!(texts(&read), sent[30..]);
    let partition = TopicPartition::new("passes", 0);
    let client = node.client().await;
    for (spec, offset) in [(OffsetSpec::Earliest, 0), (OffsetSpec::Latest, 60)] {
        let found = client.list_offsets(std::slice::from_ref(&partition), spec).await.unwrap();
        assert_eq!(found[&partition].offset, Some(offset));
    }
    let mut client = RawClient::connect(&node);
    for (offset, error) in [(0, 0), (24, ErrorCode::CorruptMessage.code()), (30, 0)] {
        let frame = client.ask(4, &fetch("stops", &[from_offset(0, offset)]));
        let response: FetchResponse<'_> = frame.decode();
        assert_eq!(response.responses[0].partitions[0].error_code, error, "from {offset}");
    }
    for _ in 0..20 {
        client.ask(4, &fetch("stops", &[from_offset(0, 24)]));
        assert_eq!(texts(&node.consume("passes", 0, 24).await), sent[30..]);
    }
    // That it was found, and that it is passed over; not with each read, and no two with one.
    let (_, log) = node.stop_and_tell();
    for (topic, expected) in [("passes-0", 2), ("stops-0", 1)] {
        let told = log.lines().filter(|line| line.contains("ERROR") && line.contains(topic));
        // Once more for each minute that this takes.
        let told = told.count();
        assert!((expected..expected + 10).contains(&told), "{told} of {topic}: {log}");
    }
}

/// A changed topic id set the directory aside, and the partition started empty at offset 0.
#[tokio::test]
async fn nothing_empty_takes_the_place_of_a_partition_whose_id_is_damaged() {
    let node = Node::start();
    node.create("t", 1, &[]).await;
    let sent = values(20, 30);
    node.produce("t", 0, &sent, ProducerSettings::default()).await;
    let metadata = node.partition_dir("t-0").join("partition.metadata");
    let data = node.stop();
    let sound = fs::read_to_string(&metadata).unwrap();
    let at = sound.find("topic_id: ").unwrap() + 14;
    // One bit of what the character stands for.
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = digits.iter().position(|digit| *digit == sound.as_bytes()[at]).unwrap();
    let mut damaged = sound.clone().into_bytes();
    damaged[at] = digits[value ^ 8];
    fs::write(&metadata, damaged).unwrap();
    let node = Node::start_with(data, &["--shards", "1"]);
    let mut client = RawClient::connect(&node);
    let frame = client.ask(4, &fetch("t", &[from_offset(0, 0)]));
    let response: FetchResponse<'_> = frame.decode();
    let error = response.responses[0].partitions[0].error_code;
    // It is offline, and so without a leader.
    assert_eq!(error, ErrorCode::NotLeaderOrFollower.code());
    assert!(metadata.exists(), "it was set aside");
    let data = node.stop();
    fs::write(&metadata, sound).unwrap();
    let node = Node::start_with(data, &["--shards", "1"]);
    assert_eq!(texts(&node.consume("t", 0, 0).await), sent);
}

/// Where nobody reads, nobody finds a changed payload; and who reads it has only its own check.
#[tokio::test]
async fn the_scrub_fences_what_rots_in_a_finished_segment() {
    // What one life of the node has checked, the next does not check again so soon.
    let data = Arc::new(tempfile::tempdir().unwrap());
    let off = ["--shards", "1", "--set", "ringlog.scrub.megabytes.per.second=0"];
    let node = Node::start_with(data, &off);
    node.create("t", 1, &[("segment.bytes", "1048576")]).await;
    let sent = values(3_000, 1_000);
    for part in sent.chunks(100) {
        node.produce("t", 0, part, ProducerSettings::default()).await;
    }
    let log = node.partition_dir("t-0").join("00000000000000000000.log");
    let data = node.stop();
    let mut bytes = fs::read(&log).unwrap();
    let lost = u32::from_be_bytes(bytes[57..61].try_into().unwrap()) as usize;
    bytes[500] ^= 4;
    fs::write(&log, bytes).unwrap();
    let admin = free_address();
    let flags = ["--shards", "1", "--admin", &admin.to_string()];
    let node = Node::start_with(data, &flags);
    let deadline = Instant::now() + PATIENCE;
    let page = loop {
        let page = get(admin, "/metrics").1;
        if sum(&page, "ringlog_scrub_damage_found_total") >= 1.0 {
            break page;
        }
        assert!(Instant::now() < deadline, "{page}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(sum(&page, "ringlog_scrub_checked_bytes_total") > 0.0);
    assert_eq!(sum(&page, "ringlog_damage_found_total"), 1.0);
    assert_eq!(texts(&node.consume("t", 0, 0).await), sent[lost..]);
    // The next start knows.
    let node = Node::start_with(node.kill(), &flags);
    assert_eq!(texts(&node.consume("t", 0, 0).await), sent[lost..]);
    assert_eq!(sum(&get(admin, "/metrics").1, "ringlog_scrub_damage_found_total"), 0.0);
}
