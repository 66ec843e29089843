//! Topics with `cleanup.policy=compact`: what consumers get of them while the node runs, and after
//! a kill.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringlog_client::{Producer, ProducerRecord, ProducerSettings};
use ringlog_types::ErrorCode;
use ringlog_wire::messages::produce_response::ProduceResponse;

use crate::node::{Node, PATIENCE};
use crate::raw_client::{RawClient, batch, produce};

const FLAGS: [&str; 2] = ["--set", "log.cleaner.backoff.ms=20"];
const KEYS: usize = 50;

/// Offsets, keys and values.
type Sent = Vec<(i64, String, String)>;

async fn send(node: &Node, topic: &str, count: usize, what: &str) -> Sent {
    let producer = Producer::new(node.client().await, ProducerSettings::default()).unwrap();
    let mut sent = Vec::new();
    for number in 0..count {
        let key = format!("key-{}", number * 7 % KEYS);
        let value = format!("{what} {number} {}", "x".repeat(900));
        let record = ProducerRecord {
            topic: topic.into(),
            partition: Some(0),
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            ..ProducerRecord::default()
        };
        sent.push((key, value, producer.send(record).await.unwrap()));
    }
    let mut records = Sent::new();
    for (key, value, delivery) in sent {
        records.push((delivery.wait().await.unwrap().offset.unwrap(), key, value));
    }
    producer.close().await;
    records
}

/// Reads all of the topic; each record has to be one that was sent, at its offset, and the newest
/// of each key has to be there. Returns how many there are.
async fn read(node: &Node, topic: &str, sent: &Sent) -> usize {
    let text = |bytes: &Option<Bytes>| String::from_utf8(bytes.clone().unwrap().to_vec()).unwrap();
    let by_offset: HashMap<i64, &(i64, String, String)> =
        sent.iter().map(|record| (record.0, record)).collect();
    let found = node.consume(topic, 0, 0).await;
    for record in &found {
        let known = by_offset[&record.offset];
        assert_eq!((&known.1, &known.2), (&text(&record.key), &text(&record.value)));
    }
    let newest: HashMap<&str, i64> = sent.iter().map(|(at, key, _)| (&**key, *at)).collect();
    for (key, offset) in newest {
        let is_there = found.iter().any(|record| record.offset == offset);
        assert!(is_there, "the newest record of {key}, at {offset}, is gone");
    }
    found.len()
}

async fn until_compacted(node: &Node, topic: &str, sent: &Sent, left_max: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = read(node, topic, sent).await;
        if left <= left_max {
            return;
        }
        assert!(Instant::now() < deadline, "{left} records are left");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn the_newest_record_of_each_key_stays() {
    let mut node = Node::start_with(Arc::new(tempfile::tempdir().unwrap()), &FLAGS);
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ];
    node.create("table", 1, &configs).await;
    let mut sent = send(&node, "table", 4000, "first").await;
    // What is in the open segment stays.
    until_compacted(&node, "table", &sent, 1500).await;
    node = Node::start_with(node.kill(), &FLAGS);
    read(&node, "table", &sent).await;
    sent.extend(send(&node, "table", 3000, "second").await);
    until_compacted(&node, "table", &sent, 1500).await;
    let data = node.stop();
    let checkpoint = data.path().join("cleaner-offset-checkpoint");
    let text = std::fs::read_to_string(checkpoint).unwrap();
    assert!(text.contains("table 0 "), "{text}");
    let node = Node::start_with(data, &FLAGS);
    assert!(read(&node, "table", &sent).await <= 1500);
}

#[tokio::test]
async fn a_record_without_a_key_is_refused() {
    let node = Node::start();
    node.create("table", 1, &[("cleanup.policy", "compact,delete")]).await;
    let mut client = RawClient::connect(&node);
    let frame = client.ask(9, &produce("table", 0, batch(&["no key".to_owned()]), 1000));
    let response: ProduceResponse<'_> = frame.decode();
    let partition = &response.responses[0].partition_responses[0];
    assert_eq!(partition.error_code, ErrorCode::InvalidRecord.code());
    let error = &partition.record_errors[0];
    assert_eq!(error.batch_index, 0);
    assert_eq!(
        error.batch_index_error_message.as_deref(),
        Some("Compacted topic cannot accept message without key in topic partition table-0")
    );
}
