//! Where readers stand in a log, and what they are told when the log is no longer the one they
//! have read.

use ringlog_client::ProducerSettings;
use ringlog_types::ErrorCode;
use ringlog_wire::messages::fetch_request::FetchPartition;
use ringlog_wire::messages::fetch_response::{EpochEndOffset, FetchResponse};
use ringlog_wire::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use ringlog_wire::messages::list_offsets_response::ListOffsetsResponse;
use ringlog_wire::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use ringlog_wire::messages::offset_for_leader_epoch_response::OffsetForLeaderEpochResponse;

use crate::node::{Node, values};
use crate::raw_client::{RawClient, fetch, from_offset};

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

/// The offset and the leader epoch at a time, or at a special position.
fn offset_at(client: &mut RawClient, timestamp: i64) -> (i64, i32) {
    let partition = ListOffsetsPartition {
        partition_index: 0,
        current_leader_epoch: -1,
        timestamp,
        ..Default::default()
    };
    let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![partition] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let frame = client.ask(7, &request);
    let response: ListOffsetsResponse<'_> = frame.decode();
    let answer = &response.topics[0].partitions[0];
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
