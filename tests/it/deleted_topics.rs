//! Fetches of topics that are deleted, and created again, meanwhile. Each answer makes clients look
//! at the metadata again and wait; what was answered before made franz-go ask 7,000 times a second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use ringlog_wire::messages::delete_topics_response::DeleteTopicsResponse;
use ringlog_wire::messages::fetch_request::{FetchRequest, FetchTopic};
use ringlog_wire::messages::fetch_response::FetchResponse;
use ringlog_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ringlog_wire::messages::metadata_response::MetadataResponse;

use crate::metrics::{get, sum};
use crate::node::{Node, free_address};
use crate::raw_client::{RawClient, batch, fetch, from_offset, produce};

const TOPIC: &str = "short.lived";
const PARTITIONS: i32 = 4;

fn start() -> (Node, SocketAddr) {
    let admin = free_address();
    let flags = ["--shards", "2", "--admin", &admin.to_string()];
    (Node::start_with(Arc::new(tempfile::tempdir().unwrap()), &flags), admin)
}

/// Waits until a fetch waits for data.
fn wait_until_parked(admin: SocketAddr) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while sum(&get(admin, "/metrics").1, "ringlog_fetches_parked") == 0.0 {
        assert!(Instant::now() < deadline, "no fetch waits");
    }
}

fn topic_id(client: &mut RawClient) -> Uuid {
    let topic = MetadataRequestTopic { name: Some(TOPIC.into()), ..Default::default() };
    let frame =
        client.ask(12, &MetadataRequest { topics: Some(vec![topic]), ..Default::default() });
    let answer = frame.decode::<MetadataResponse<'_>>();
    assert_eq!(answer.topics[0].error_code, 0);
    answer.topics[0].topic_id
}

fn delete(client: &mut RawClient) {
    let topic = DeleteTopicState { name: Some(TOPIC.into()), ..Default::default() };
    let asked =
        DeleteTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
    let frame = client.ask(6, &asked);
    let answer = frame.decode::<DeleteTopicsResponse<'_>>();
    assert_eq!(answer.responses[0].error_code, 0);
}

/// The first request of a session.
fn fetch_all(id: Uuid) -> FetchRequest<'static> {
    let partitions: Vec<_> = (0..PARTITIONS).map(|partition| from_offset(partition, 0)).collect();
    let topics = vec![FetchTopic { topic: "".into(), topic_id: id, partitions }];
    FetchRequest { session_epoch: 0, topics, ..fetch(TOPIC, &[]) }
}

/// The session that an answer is of, and the error of each partition in it.
fn errors(frame: &crate::raw_client::Answer) -> (i32, Vec<i16>) {
    let answer = frame.decode::<FetchResponse<'_>>();
    assert_eq!(answer.error_code, 0);
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    (answer.session_id, partitions.map(|partition| partition.error_code).collect())
}

#[tokio::test]
async fn a_session_outlives_its_topic() {
    let (node, _) = start();
    let (mut client, mut other) = (RawClient::connect(&node), RawClient::connect(&node));
    node.create(TOPIC, PARTITIONS, &[]).await;
    let id = topic_id(&mut other);
    let (session_id, first) = errors(&client.ask(13, &fetch_all(id)));
    assert_eq!(first, [0; PARTITIONS as usize]);
    let mut next_epoch = 1;
    let mut next = |client: &mut RawClient| {
        let session_epoch = next_epoch;
        next_epoch += 1;
        let asked = FetchRequest { session_id, session_epoch, topics: vec![], ..fetch_all(id) };
        errors(&client.ask(13, &asked)).1
    };
    assert!(next(&mut client).is_empty(), "there is no news");
    delete(&mut other);
    let gone = [ErrorCode::UnknownTopicOrPartition.code(); PARTITIONS as usize];
    assert_eq!(next(&mut client), gone);
    node.create(TOPIC, PARTITIONS, &[]).await;
    let of_another = [ErrorCode::InconsistentTopicId.code(); PARTITIONS as usize];
    assert_eq!(next(&mut client), of_another);
    // To a new fetch the old id is like one that never was.
    let unknown = [ErrorCode::UnknownTopicId.code(); PARTITIONS as usize];
    assert_eq!(errors(&client.ask(13, &fetch_all(id))).1, unknown);
    assert_ne!(topic_id(&mut other), id);
}

#[tokio::test]
async fn a_long_poll_ends_with_its_topic() {
    let (node, admin) = start();
    let (mut client, mut other) = (RawClient::connect(&node), RawClient::connect(&node));
    // Of one shard, and of both; by name and by id.
    for (version, partitions) in [(12, 1), (12, PARTITIONS), (13, 1), (13, PARTITIONS)] {
        node.create(TOPIC, PARTITIONS, &[]).await;
        let id = topic_id(&mut other);
        for partition in 0..PARTITIONS {
            let one = batch(&["one".to_owned()]);
            other.ask(9, &produce(TOPIC, partition, one, 30_000));
        }
        let at_end: Vec<_> = (0..partitions).map(|partition| from_offset(partition, 1)).collect();
        let mut asked = fetch(TOPIC, &at_end);
        (asked.max_wait_ms, asked.min_bytes) = (600_000, 1);
        if version == 13 {
            asked.topics[0] =
                FetchTopic { topic_id: id, topic: "".into(), ..asked.topics[0].clone() };
        }
        client.send(version, &asked).unwrap();
        wait_until_parked(admin);
        delete(&mut other);
        let frame = client.receive::<FetchRequest<'_>>(version).expect("an answer");
        let gone = ErrorCode::UnknownTopicOrPartition.code();
        let (_, answered) = errors(&frame);
        assert!(answered.contains(&gone), "version {version}: {answered:?}");
        assert!(answered.iter().all(|error| [0, gone].contains(error)), "{answered:?}");
    }
}
