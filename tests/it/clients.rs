//! What our own client does where the broker or the topic changes under it.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use ringlog_client::{
    Client, ClientSettings, Consumer, ConsumerSettings, Delivery, Partitioner, Producer,
    ProducerRecord, ProducerSettings, StartFrom, Until,
};
use ringlog_types::{ErrorCode, TopicPartition};

use crate::node::{Node, PATIENCE, texts, values};

async fn send(producer: &Producer, topic: &str, value: String) -> Delivery {
    let value = Some(Bytes::from(value));
    let record = ProducerRecord { topic: topic.into(), value, ..ProducerRecord::default() };
    producer.send(record).await.unwrap()
}

/// A client for which metadata is old after a moment.
async fn forgetful(node: &Node) -> Client {
    let mut settings = ClientSettings::new(vec![node.address().to_string()]);
    settings.metadata_age_max = Duration::from_millis(100);
    Client::connect(settings).await.unwrap()
}

/// Keys went on to the partitions of the old number, and parted from those of other clients.
#[tokio::test]
async fn partitions_that_are_added_are_written_and_read() {
    let node = Node::start();
    node.create("growing", 1, &[]).await;
    let settings =
        ProducerSettings { partitioner: Partitioner::RoundRobin, ..ProducerSettings::default() };
    let producer = Producer::new(forgetful(&node).await, settings).unwrap();
    let all = [TopicPartition::new("growing", 0)];
    let settings = ConsumerSettings { new_partitions: true, ..ConsumerSettings::default() };
    // From the end, as a tail: what is new is read from its start all the same.
    let (from, until) = (StartFrom::End, Until::Forever);
    let client = forgetful(&node).await;
    client.topic("growing", false).await.unwrap();
    let mut consumer = Consumer::start(client, &all, from, until, settings).await.unwrap();
    send(&producer, "growing", "first".into()).await.wait().await.unwrap();

    node.client().await.create_partitions("growing", 3).await.unwrap();
    let mut sent = 1;
    let mut used = [true, false, false];
    while used != [true; 3] {
        assert!(sent < 1_000, "the new partitions are not used");
        let delivery = send(&producer, "growing", format!("{sent}")).await;
        used[delivery.wait().await.unwrap().partition.partition as usize] = true;
        sent += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut read = 0;
    while read < sent {
        let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
        read += next.expect("all partitions are read").unwrap().unwrap().len();
    }
    assert_eq!(read, sent);
}

/// A broker that lost the end of a log, as `flush=async` allows, ended every producer of it with
/// OUT_OF_ORDER_SEQUENCE_NUMBER.
#[tokio::test]
async fn a_producer_goes_on_where_the_broker_lost_records() {
    let node = Node::start();
    node.create("lossy", 1, &[("flush", "async")]).await;
    let producer = Producer::new(node.client().await, ProducerSettings::default()).unwrap();
    for value in values(10, 100) {
        send(&producer, "lossy", value).await.wait().await.unwrap();
    }
    let address = node.address();
    // Stopped, so that all is in the file; then it ends after the fourth batch.
    let data = node.stop();
    let log = data.path().join("lossy-0/00000000000000000000.log");
    let sent = batches(&log);
    assert_eq!(sent.len(), 10);
    let (kept, identity) = sent[4];
    OpenOptions::new().write(true).open(&log).unwrap().set_len(kept as u64).unwrap();
    for file in [".kafka_cleanshutdown", "lossy-0/00000000000000000010.snapshot"] {
        std::fs::remove_file(data.path().join(file)).unwrap();
    }
    for entry in std::fs::read_dir(data.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("recovery-point") {
            std::fs::write(data.path().join(name), "0\n0\n").unwrap();
        }
    }
    let node = Node::start_at(address, data, &["--shards", "2"]);
    for value in values(3, 50) {
        send(&producer, "lossy", value).await.wait().await.unwrap();
    }
    let mut expected = values(10, 100);
    expected.truncate(4);
    expected.extend(values(3, 50));
    assert_eq!(texts(&node.consume("lossy", 0, 0).await), expected);
    let _data = node.stop();
    let identities: Vec<i64> = batches(&log).iter().map(|(_, identity)| *identity).collect();
    assert_eq!(identities[..4], [identity; 4]);
    assert!(identities[4..].iter().all(|other| *other != identity), "{identities:?}");
}

/// Where each batch of a segment begins, and its producer id.
fn batches(log: &Path) -> Vec<(usize, i64)> {
    let bytes = std::fs::read(log).unwrap();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let length: [u8; 4] = bytes[at + 8..at + 12].try_into().unwrap();
        let identity: [u8; 8] = bytes[at + 43..at + 51].try_into().unwrap();
        found.push((at, i64::from_be_bytes(identity)));
        at += 12 + i32::from_be_bytes(length) as usize;
    }
    found
}

/// The batches behind a refused one are out of order for the broker, and have to arrive.
#[tokio::test]
async fn a_refused_batch_costs_only_itself() {
    let node = Node::start();
    node.create("narrow", 1, &[("max.message.bytes", "2000")]).await;
    let settings = ProducerSettings {
        batch_bytes: 1_000,
        linger: Duration::ZERO,
        ..ProducerSettings::default()
    };
    let producer = Producer::new(node.client().await, settings).unwrap();
    let mut deliveries = Vec::new();
    for (index, value) in values(40, 600).into_iter().enumerate() {
        let value = if index % 10 == 3 { "x".repeat(5_000) } else { value };
        deliveries.push((index, send(&producer, "narrow", value).await));
    }
    for (index, delivery) in deliveries {
        let outcome = delivery.wait().await;
        match index % 10 {
            3 => assert_eq!(outcome.unwrap_err().code(), Some(ErrorCode::MessageTooLarge)),
            _ => drop(outcome.unwrap()),
        }
    }
    let mut index = 0;
    let mut expected = values(40, 600);
    expected.retain(|_| {
        index += 1;
        (index - 1) % 10 != 3
    });
    assert_eq!(texts(&node.consume("narrow", 0, 0).await), expected);
}

/// Neither a dropped producer nor an abandoned one leaves anybody waiting.
#[tokio::test]
async fn deliveries_end_with_their_producer() {
    let node = Node::start();
    node.create("left", 1, &[]).await;
    for is_dropped in [false, true] {
        let settings =
            ProducerSettings { linger: Duration::from_secs(600), ..ProducerSettings::default() };
        let producer = Producer::new(node.client().await, settings).unwrap();
        let delivery = send(&producer, "left", "x".into()).await;
        match is_dropped {
            false => producer.abandon().await,
            true => drop(producer),
        }
        let ended = tokio::time::timeout(PATIENCE, delivery.wait()).await;
        assert!(ended.expect("it ends").is_err());
    }
}
