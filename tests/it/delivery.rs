//! What is produced is read back, by every way of producing and from every part of a log.

use std::time::{Duration, Instant};

use ringlog_client::{Acks, Consumer, ConsumerSettings, OffsetSpec};
use ringlog_client::{ProducerSettings, StartFrom, Until};
use ringlog_record::Compression;
use ringlog_types::TopicPartition;
use ringlog_wire::messages::produce_response::ProduceResponse;

use crate::node::{Node, PATIENCE, texts, values};
use crate::raw_client::{RawClient, batch, produce};

#[tokio::test]
async fn every_acks_and_codec() {
    let node = Node::start();
    node.create("codecs", 1, &[]).await;
    let mut expected = Vec::new();
    for acks in [Acks::All, Acks::Leader, Acks::None] {
        for compression in [
            Compression::None,
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            let sent = values(100, 50);
            let idempotence = acks == Acks::All;
            let settings =
                ProducerSettings { acks, compression, idempotence, ..Default::default() };
            node.produce("codecs", 0, &sent, settings).await;
            expected.extend(sent);
            // With acks=0 the producer is done before the broker is.
            wait_for_end(&node, "codecs", expected.len() as i64).await;
        }
    }
    assert_eq!(texts(&node.consume("codecs", 0, 0).await), expected);
}

/// A client with a short patience for other replicas was told of a time-out, for records that were
/// there all the same, and sent them again.
#[tokio::test]
async fn a_timeout_is_for_other_replicas() {
    let node = Node::start();
    node.create("t", 1, &[]).await;
    let mut client = RawClient::connect(&node);
    for (sent, timeout_ms) in (0..100).step_by(4).zip([0, 1, -1].into_iter().cycle()) {
        let records = batch(&values(4, 50_000));
        let frame = client.ask(9, &produce("t", 0, records, timeout_ms));
        let response: ProduceResponse<'_> = frame.decode();
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (0, sent));
    }
}

/// Waits until partition 0 ends where it is to end.
async fn wait_for_end(node: &Node, topic: &str, end_offset: i64) {
    let partition = [TopicPartition::new(topic, 0)];
    let client = node.client().await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = client.list_offsets(&partition, OffsetSpec::Latest).await.unwrap();
        if found[&partition[0]].offset == Some(end_offset) {
            return;
        }
        assert!(Instant::now() < deadline, "{:?}", found[&partition[0]].offset);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn from_the_tail_from_the_disk_and_from_sealed_segments() {
    let node = Node::start();
    // 24 MB in segments of 4 MiB: more than the tail holds of it, most of it sealed.
    node.create("long", 1, &[("segment.bytes", "4194304")]).await;
    let sent = values(6_000, 4_000);
    let offsets = node.produce("long", 0, &sent, ProducerSettings::default()).await;
    assert_eq!(offsets, (0..6_000).collect::<Vec<i64>>());
    let segments = std::fs::read_dir(node.partition_dir("long-0")).unwrap();
    let logs = segments.filter(|entry| {
        entry.as_ref().unwrap().path().extension().is_some_and(|suffix| suffix == "log")
    });
    assert!(logs.count() >= 5, "the log has rolled");
    for from in [0, 1, 2_999, 5_999] {
        let read = node.consume("long", 0, from).await;
        assert_eq!(read.first().unwrap().offset, from);
        assert_eq!(texts(&read), sent[from as usize..]);
    }
}

#[tokio::test]
async fn a_fetch_waits_for_data_and_is_woken() {
    let node = Node::start();
    node.create("wait", 4, &[]).await;
    let partitions: Vec<_> = (0..4).map(|p| TopicPartition::new("wait", p)).collect();
    let settings = ConsumerSettings { wait_max: 10 * PATIENCE, ..ConsumerSettings::default() };
    let client = node.client().await;
    let mut consumer =
        Consumer::start(client, &partitions, StartFrom::End, Until::Forever, settings)
            .await
            .unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    // One on each shard.
    for partition in [0, 1] {
        let sent = values(1, 20);
        node.produce("wait", partition, &sent, ProducerSettings::default()).await;
        let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
        let read = next.expect("woken, not timed out").unwrap().unwrap();
        assert_eq!(texts(&read), sent);
    }
}

#[tokio::test]
async fn offsets_by_time() {
    let node = Node::start();
    node.create("times", 1, &[]).await;
    let partition = TopicPartition::new("times", 0);
    node.produce("times", 0, &values(10, 5), ProducerSettings::default()).await;
    let client = node.client().await;
    let at = async |spec| {
        let found = client.list_offsets(std::slice::from_ref(&partition), spec).await.unwrap();
        found[&partition]
    };
    assert_eq!(at(OffsetSpec::Earliest).await.offset, Some(0));
    assert_eq!(at(OffsetSpec::Latest).await.offset, Some(10));
    let newest = at(OffsetSpec::MaxTimestamp).await;
    let time = newest.timestamp.unwrap();
    assert!(at(OffsetSpec::Timestamp(0)).await.offset == Some(0));
    assert!(at(OffsetSpec::Timestamp(time)).await.offset.unwrap() <= newest.offset.unwrap());
    assert_eq!(at(OffsetSpec::Timestamp(time + 1)).await.offset, None);
}
