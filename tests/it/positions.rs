//! Where readers stand in a log, and what they are told when the log is no longer the one they
//! have read.

use std::io::Write;

use ringlog_client::ProducerSettings;
use ringlog_record::BatchBuilder;
use ringlog_types::ErrorCode;
use ringlog_wire::messages::fetch_request::{FetchPartition, FetchRequest};
use ringlog_wire::messages::fetch_response::{EpochEndOffset, FetchResponse};
use ringlog_wire::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use ringlog_wire::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse,
};
use ringlog_wire::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use ringlog_wire::messages::offset_for_leader_epoch_response::OffsetForLeaderEpochResponse;

use crate::node::{Node, values};
use crate::raw_client::{RawClient, bytes_of_each, fetch, from_offset};

const FETCH: i16 = 12;

/// The error and the diverging epoch that a reader gets who has read up to an offset under an
/// epoch.
fn position_of(client: &mut RawClient, offset: i64, epoch: i32) -> (ErrorCode, EpochEndOffset) {
    let partition = FetchPartition { last_fetched_epoch: epoch, ..from_offset(0, offset) };
    let frame = client.ask(FETCH, &fetch("t", &[partition]));
    let response: FetchResponse<'_> = frame.decode();
    let partition = &response.responses[0].partitions[0];
    (ErrorCode::from_code(partition.error_code).unwrap(), partition.diverging_epoch.clone())
}

fn end_of_epoch(client: &mut RawClient, leader_epoch: i32) -> (i32, i64) {
    let partition =
        OffsetForLeaderPartition { partition: 0, current_leader_epoch: -1, leader_epoch };
    let topic = OffsetForLeaderTopic { topic: "t".into(), partitions: vec![partition] };
    let request = OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic] };
    let frame = client.ask(4, &request);
    let response: OffsetForLeaderEpochResponse<'_> = frame.decode();
    let end = &response.topics[0].partitions[0];
    (end.leader_epoch, end.end_offset)
}

/// What is answered for a time, or a special position.
fn at_time(
    client: &mut RawClient,
    version: i16,
    timestamp: i64,
    max_num_offsets: i32,
) -> ListOffsetsPartitionResponse {
    let partition = ListOffsetsPartition { timestamp, max_num_offsets, ..Default::default() };
    let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![partition] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let frame = client.ask(version, &request);
    let response: ListOffsetsResponse<'_> = frame.decode();
    response.topics[0].partitions[0].clone()
}

/// The offset and the leader epoch at a time, or at a special position.
fn offset_at(client: &mut RawClient, timestamp: i64) -> (i64, i32) {
    let answer = at_time(client, 7, timestamp, 1);
    assert_eq!(answer.error_code, 0);
    (answer.offset, answer.leader_epoch)
}

/// A reader that had read more than a crash left, or of a topic that has been made anew, was
/// answered at once and with nothing, over and over, until something was written.
#[tokio::test]
async fn a_reader_of_another_log_starts_over() {
    let mut node = Node::start();
    node.create("t", 1, &[("flush", "async")]).await;
    node.produce("t", 0, &values(10, 10), ProducerSettings::default()).await;
    // Its records are on disk, and its leader epoch is 0; the next start has the next.
    node = Node::start_with(node.stop(), &["--shards", "2"]);
    node = Node::start_with(node.kill(), &["--shards", "2"]);
    let mut client = RawClient::connect(&node);
    let latest = offset_at(&mut client, -1);
    let (end, epoch) = latest;
    assert_eq!(end, 10);
    assert!(epoch >= 1, "a kill raises it");
    assert_eq!(end_of_epoch(&mut client, epoch), (epoch, 10), "nothing is written under it yet");
    assert_eq!(end_of_epoch(&mut client, 0), (0, 10));
    assert_eq!(end_of_epoch(&mut client, epoch + 1), (-1, -1));

    let nothing = EpochEndOffset::default();
    assert_eq!(position_of(&mut client, 10, 0), (ErrorCode::None, nothing.clone()));
    assert_eq!(position_of(&mut client, 10, epoch), (ErrorCode::None, nothing.clone()));
    let diverging = EpochEndOffset { epoch: 0, end_offset: 10 };
    assert_eq!(position_of(&mut client, 15, 0), (ErrorCode::None, diverging));
    let lost = (ErrorCode::OffsetOutOfRange, nothing);
    assert_eq!(position_of(&mut client, 15, epoch + 1), lost);
    assert_eq!(position_of(&mut client, 5, epoch + 1), lost);

    node.client().await.delete_topic("t").await.unwrap();
    node.create("t", 1, &[]).await;
    assert_eq!(position_of(&mut client, 0, epoch), lost, "it is another topic");
}

#[tokio::test]
async fn special_positions_are_known_from_a_version_on() {
    let node = Node::start();
    node.create("t", 1, &[]).await;
    node.produce("t", 0, &values(10, 10), ProducerSettings::default()).await;
    let mut client = RawClient::connect(&node);
    let unsupported = ErrorCode::UnsupportedVersion.code();
    for (timestamp, first_version, expected) in
        [(-1, 1, 10), (-2, 1, 0), (-4, 8, 0), (-5, 9, -1), (-6, 11, -1), (-7, 12, -1)]
    {
        for version in 1..=11 {
            let answer = at_time(&mut client, version, timestamp, 1);
            let is_known = version >= first_version;
            let expected = if is_known { (0, expected) } else { (unsupported, -1) };
            assert_eq!((answer.error_code, answer.offset), expected, "{timestamp} in {version}");
            assert_eq!(answer.timestamp, -1);
        }
    }
    for (version, error) in [(6, unsupported), (7, 0)] {
        assert_eq!(at_time(&mut client, version, -3, 1).error_code, error);
    }
    for timestamp in [-3, -4, -5, -6] {
        let answer = at_time(&mut client, 0, timestamp, 1);
        assert_eq!((answer.error_code, answer.old_style_offsets), (unsupported, vec![]));
    }
}

/// Version 0 asks for what was there before a time, not for the first record after it.
#[tokio::test]
async fn the_oldest_clients_ask_for_segments() {
    let node = Node::start();
    node.create("t", 1, &[("segment.bytes", "1048576")]).await;
    let mut client = RawClient::connect(&node);
    assert_eq!(at_time(&mut client, 0, -1, 5).old_style_offsets, [0], "it is empty");
    node.produce("t", 0, &values(3_000, 1_000), ProducerSettings::default()).await;
    let mut starts = segment_starts(&node);
    assert!(starts.len() >= 3, "{starts:?}");
    starts.reverse();
    let all = [&[3_000], &starts[..]].concat();
    let mut offsets =
        |timestamp, count| at_time(&mut client, 0, timestamp, count).old_style_offsets;
    assert_eq!(offsets(-1, 1), [3_000]);
    assert_eq!(offsets(-1, 2), all[..2]);
    assert_eq!(offsets(-1, 1_000_000), all);
    assert!(offsets(-1, 0).is_empty());
    assert!(offsets(-1, -1).is_empty());
    assert_eq!(offsets(-2, 5), [0]);
    assert_eq!(offsets(i64::MAX, 1), [3_000], "the future has all of it");
    assert_eq!(offsets(i64::MAX, 1_000), all);
    assert!(offsets(0, 1_000).is_empty(), "and 1970 nothing");
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(5_000);
    let second = node.partition_dir("t-0").join(format!("{:020}.log", starts[starts.len() - 2]));
    std::fs::File::options().write(true).open(second).unwrap().set_modified(long_ago).unwrap();
    assert_eq!(offsets(5_000, 1_000), all[all.len() - 2..]);
    assert!(offsets(4_999, 1_000).is_empty());
}

/// The base offsets of a log's segments.
pub(crate) fn segment_starts(node: &Node) -> Vec<i64> {
    let entries = std::fs::read_dir(node.partition_dir("t-0")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut starts: Vec<i64> =
        names.filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
    starts.sort();
    starts
}

/// A batch of a transaction as it stands in a log.
fn of_transaction(producer_id: i64, base_offset: i64, marker: Option<&[u8]>) -> Vec<u8> {
    let mut batch = BatchBuilder::new(0).transactional();
    match marker {
        Some(kind) => {
            batch = batch.control().producer(producer_id, 0, -1);
            batch.push(0, Some(kind), Some(&[0; 6]), &[]);
        }
        None => {
            batch = batch.producer(producer_id, 0, 0);
            (0..5).for_each(|_| batch.push(0, None, Some(b"undecided"), &[]));
        }
    }
    let mut batch = batch.build().unwrap().0;
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&0i32.to_be_bytes());
    batch
}

/// A directory that Kafka had may have transactions in it that were aborted, and end inside of one.
#[tokio::test]
async fn transactions_that_kafka_left_are_told_to_those_who_ask() {
    const ABORT: &[u8] = &[0, 0, 0, 0];
    let node = Node::start();
    node.create("t", 1, &[]).await;
    node.produce("t", 0, &values(10, 10), ProducerSettings::default()).await;
    let file = |suffix: &str| node.partition_dir("t-0").join(format!("{:020}.{suffix}", 0));
    let (log, txn_index) = (file("log"), file("txnindex"));
    let data = node.stop();
    std::fs::remove_file(data.path().join(".kafka_cleanshutdown")).unwrap();
    let open = of_transaction(78, 16, None);
    let aborted = [of_transaction(77, 10, None), of_transaction(77, 15, Some(ABORT))].concat();
    let mut log = std::fs::File::options().append(true).open(log).unwrap();
    log.write_all(&[&aborted[..], &open].concat()).unwrap();
    let entry = [77i64, 10, 15, 16].map(i64::to_be_bytes).concat();
    std::fs::write(txn_index, [&[0, 0], &entry[..]].concat()).unwrap();

    let node = Node::start_with(data, &["--shards", "2"]);
    let mut client = RawClient::connect(&node);
    let mut fetched = |offset: i64, isolation_level: i8| {
        let request = FetchRequest { isolation_level, ..fetch("t", &[from_offset(0, offset)]) };
        let frame = client.ask(FETCH, &request);
        let response: FetchResponse<'_> = frame.decode();
        let answer = &response.responses[0].partitions[0];
        assert_eq!((answer.high_watermark, answer.last_stable_offset), (21, 16));
        let told = answer.aborted_transactions.iter().flatten();
        let told = told.map(|aborted| (aborted.producer_id, aborted.first_offset));
        (bytes_of_each(&response)[0], told.collect::<Vec<_>>())
    };
    let (all, nothing_told) = fetched(0, 0);
    assert_eq!(nothing_told, []);
    assert_eq!(fetched(0, 1), (all - open.len(), vec![(77, 10)]));
    assert_eq!(fetched(15, 1).1, [(77, 10)]);
    assert_eq!(fetched(16, 0), (open.len(), vec![]));
    assert_eq!(fetched(16, 1), (0, vec![]));
    for (isolation_level, end) in [(0, 21), (1, 16)] {
        let partition = ListOffsetsPartition { timestamp: -1, ..Default::default() };
        let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![partition] };
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level,
            topics: vec![topic],
            ..Default::default()
        };
        let frame = client.ask(2, &request);
        let response: ListOffsetsResponse<'_> = frame.decode();
        assert_eq!(response.topics[0].partitions[0].offset, end);
    }
}
