//! When a fetch is answered, and with what, beyond the records.

use std::time::{Duration, Instant};

use ringlog_client::ProducerSettings;
use ringlog_types::ErrorCode;
use ringlog_wire::messages::fetch_request::{FetchPartition, FetchRequest};
use ringlog_wire::messages::fetch_response::FetchResponse;
use ringlog_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ringlog_wire::messages::metadata_response::MetadataResponse;

use crate::node::{Node, values};
use crate::positions::segment_starts;
use crate::raw_client::{RawClient, bytes_of_each, fetch, from_offset};

/// The wait of a fetch that must not wait: one that does is never answered.
const FOR_EVER: Duration = Duration::from_millis(i32::MAX as u64);

/// Fetches, and returns how many bytes came of each partition.
fn bytes_within(
    client: &mut RawClient,
    wait_max: Duration,
    request: FetchRequest<'_>,
) -> Vec<usize> {
    let max_wait_ms = wait_max.as_millis() as i32;
    let frame = client.ask(4, &FetchRequest { max_wait_ms, ..request });
    let response: FetchResponse<'_> = frame.decode();
    bytes_of_each(&response)
}

/// Where one shard had all the data, it was cut to its share of the limit, which was less than the
/// client wanted at least: every fetch waited for its whole time.
#[tokio::test]
async fn enough_is_enough_wherever_it_is() {
    let node = Node::start();
    node.create("t", 3, &[]).await;
    node.produce("t", 0, &values(3_000, 1_000), ProducerSettings::default()).await;
    node.produce("t", 2, &values(10, 1_000), ProducerSettings::default()).await;
    let mut client = RawClient::connect(&node);
    let mut fetched = |partitions: &[FetchPartition], min_bytes: i32, wait_max: Duration| {
        bytes_within(&mut client, wait_max, FetchRequest { min_bytes, ..fetch("t", partitions) })
    };
    // Partition 1 is on another shard than 0 and 2, and empty.
    for min_bytes in [300_000, 600_000, 1 << 20] {
        for partitions in [&[0][..], &[0, 1], &[1, 0], &[2, 0], &[0, 1, 2]] {
            let asked: Vec<_> = partitions.iter().map(|p| from_offset(*p, 0)).collect();
            let bytes = fetched(&asked, min_bytes, FOR_EVER);
            assert!(bytes.iter().any(|bytes| *bytes > 0), "{min_bytes} of {partitions:?}");
        }
    }
    // There are not as many bytes, within the limit of the partition or at all.
    let limited = FetchPartition { partition_max_bytes: 100_000, ..from_offset(0, 0) };
    for asked in [[limited, from_offset(1, 0)], [from_offset(2, 0), from_offset(1, 0)]] {
        let wait_max = Duration::from_secs(1);
        let answered_from = Instant::now() + wait_max;
        let bytes = fetched(&asked, 300_000, wait_max);
        assert!(Instant::now() >= answered_from, "it did not wait");
        assert!((5_000..200_000).contains(&bytes[0]), "{bytes:?}");
    }
}

/// What a read leaves for the next, because it is in another segment, is not worth waiting for.
#[tokio::test]
async fn the_end_of_a_segment_is_not_waited_at() {
    let node = Node::start();
    node.create("t", 1, &[("segment.bytes", "1048576")]).await;
    node.produce("t", 0, &values(3_000, 1_000), ProducerSettings::default()).await;
    let mut client = RawClient::connect(&node);
    let starts = segment_starts(&node);
    assert!(starts.len() >= 3, "{starts:?}");
    let partition = from_offset(0, starts[1] - 1);
    let request = FetchRequest { min_bytes: 900_000, ..fetch("t", &[partition]) };
    assert!(bytes_within(&mut client, FOR_EVER, request)[0] > 0);
}

/// A client that knows an older leader is told the present one with the error (KIP-951).
#[tokio::test]
async fn a_fenced_client_learns_who_leads() {
    let node = Node::start();
    node.create("t", 1, &[]).await;
    let node = Node::start_with(node.kill(), &["--shards", "2"]);
    let mut client = RawClient::connect(&node);
    let topic = MetadataRequestTopic { name: Some("t".into()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
    let frame = client.ask(13, &request);
    let metadata: MetadataResponse<'_> = frame.decode();
    let topic = &metadata.topics[0];
    let leader = &topic.partitions[0];
    assert!(leader.leader_epoch > 0);
    let partition =
        |current_leader_epoch| FetchPartition { current_leader_epoch, ..from_offset(0, 0) };
    for version in [12, 15, 16, 18] {
        for (epoch, expected) in [
            (leader.leader_epoch, ErrorCode::None),
            (leader.leader_epoch - 1, ErrorCode::FencedLeaderEpoch),
            (leader.leader_epoch + 1, ErrorCode::UnknownLeaderEpoch),
        ] {
            let mut request = fetch("t", &[partition(epoch)]);
            if version >= 13 {
                request.topics[0].topic_id = topic.topic_id;
                request.topics[0].topic = "".into();
            }
            if version >= 15 {
                request.replica_id = FetchRequest::default().replica_id;
            }
            let frame = client.ask(version, &request);
            let response: FetchResponse<'_> = frame.decode();
            let answer = &response.responses[0].partitions[0];
            assert_eq!(answer.error_code, expected.code(), "version {version}");
            let is_told = version >= 16 && expected == ErrorCode::FencedLeaderEpoch;
            let told = (answer.current_leader.leader_id, answer.current_leader.leader_epoch);
            let expected = if is_told { (leader.leader_id, leader.leader_epoch) } else { (-1, -1) };
            assert_eq!(told, expected, "version {version}");
            assert_eq!(response.node_endpoints.len(), usize::from(is_told));
            if let Some(endpoint) = response.node_endpoints.first() {
                let broker = &metadata.brokers[0];
                assert_eq!(endpoint.node_id, broker.node_id);
                assert_eq!((&endpoint.host, endpoint.port), (&broker.host, broker.port));
            }
        }
    }
}
