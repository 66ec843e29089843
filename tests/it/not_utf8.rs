//! Names and client ids that are not UTF-8, as a topic named after a Latin-1 line of a log has:
//! that name alone is refused, and the rest of the request is served.

use ringlog_types::ErrorCode;
use ringlog_wire::Message;
use ringlog_wire::messages::create_partitions_request::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use ringlog_wire::messages::create_partitions_response::CreatePartitionsResponse;
use ringlog_wire::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use ringlog_wire::messages::create_topics_response::CreateTopicsResponse;
use ringlog_wire::messages::delete_topics_request::DeleteTopicsRequest;
use ringlog_wire::messages::delete_topics_response::DeleteTopicsResponse;
use ringlog_wire::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use ringlog_wire::messages::describe_configs_response::DescribeConfigsResponse;
use ringlog_wire::messages::fetch_request::FetchTopic;
use ringlog_wire::messages::fetch_response::FetchResponse;
use ringlog_wire::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use ringlog_wire::messages::list_offsets_response::ListOffsetsResponse;
use ringlog_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ringlog_wire::messages::metadata_response::MetadataResponse;
use ringlog_wire::messages::produce_response::ProduceResponse;

use crate::node::{Node, texts};
use crate::raw_client::{RawClient, batch, fetch, from_offset, produce};

/// Stands in a request for what is not UTF-8, byte for byte.
const STAND_IN: &str = "QQQQ";
const LATIN_1: &[u8] = b"caf\xe9";
/// What Kafka answers for it.
const ANSWERED: &str = "caf\u{fffd}";
const GOOD: &str = "good";

/// Sends the request with the Latin-1 name in the stand-in's place, and under a client id of no
/// encoding at all.
fn ask<'a, M: Message<'a>>(
    client: &mut RawClient,
    version: i16,
    request: &M,
) -> crate::raw_client::Answer {
    client.set_client_id("CCCC");
    let mut frame = client.encode(version, request);
    for (stand_in, bytes) in [(STAND_IN.as_bytes(), LATIN_1), (b"CCCC", b"\xff\xfe\x80\xc3")] {
        while let Some(at) = frame.windows(4).position(|window| window == stand_in) {
            frame[at..at + 4].copy_from_slice(bytes);
        }
    }
    client.send_frame(&frame).unwrap();
    client.receive::<M>(version).expect("the connection stays open")
}

/// Sorts answers by name.
fn sorted(answers: impl Iterator<Item = (String, i16)>) -> Vec<(String, i16)> {
    let mut answers: Vec<_> = answers.collect();
    answers.sort();
    answers
}

fn expected(error: ErrorCode) -> Vec<(String, i16)> {
    vec![(ANSWERED.to_owned(), error.code()), (GOOD.to_owned(), 0)]
}

const NAMES: [&str; 2] = [STAND_IN, GOOD];

#[tokio::test]
async fn a_produce_to_such_a_topic_costs_the_others_nothing() {
    let node = Node::start();
    node.create(GOOD, 1, &[]).await;
    let mut client = RawClient::connect(&node);
    let asked = MetadataRequest {
        topics: Some(NAMES.map(named).to_vec()),
        allow_auto_topic_creation: true,
        ..Default::default()
    };
    for version in [4, 9, 13] {
        let frame = ask(&mut client, version, &asked);
        let answer = frame.decode::<MetadataResponse<'_>>();
        let topics = answer.topics.iter();
        let answers = sorted(
            topics.map(|topic| (topic.name.as_ref().unwrap().to_string(), topic.error_code)),
        );
        assert_eq!(answers, expected(ErrorCode::InvalidTopicException), "version {version}");
    }
    for version in [3, 7, 9, 12] {
        let lines = batch(&["a good line".to_owned()]);
        let mut asked = produce(STAND_IN, 0, lines.clone(), 1000);
        asked.topic_data.extend(produce(GOOD, 0, lines, 1000).topic_data);
        let frame = ask(&mut client, version, &asked);
        let answer = frame.decode::<ProduceResponse<'_>>();
        let answers = sorted(
            answer
                .responses
                .iter()
                .map(|topic| (topic.name.to_string(), topic.partition_responses[0].error_code)),
        );
        assert_eq!(answers, expected(ErrorCode::UnknownTopicOrPartition), "version {version}");
    }
    assert_eq!(texts(&node.consume(GOOD, 0, 0).await), ["a good line"; 4]);
}

fn named(name: &str) -> MetadataRequestTopic<'static> {
    MetadataRequestTopic { name: Some(name.to_owned().into()), ..Default::default() }
}

#[tokio::test]
async fn reading_and_describing_answer_each_name_for_itself() {
    let node = Node::start();
    node.create(GOOD, 1, &[]).await;
    let mut client = RawClient::connect(&node);
    let mut asked = fetch(GOOD, &[from_offset(0, 0)]);
    let bad = FetchTopic { topic: STAND_IN.into(), ..asked.topics[0].clone() };
    asked.topics.push(bad);
    let frame = ask(&mut client, 11, &asked);
    let answer = frame.decode::<FetchResponse<'_>>();
    let answers =
        sorted(answer.responses.iter().map(|t| (t.topic.to_string(), t.partitions[0].error_code)));
    assert_eq!(answers, expected(ErrorCode::UnknownTopicOrPartition));
    let partition =
        ListOffsetsPartition { timestamp: -1, current_leader_epoch: -1, ..Default::default() };
    let asked = ListOffsetsRequest {
        replica_id: -1,
        topics: NAMES
            .map(|name| ListOffsetsTopic { name: name.into(), partitions: vec![partition.clone()] })
            .to_vec(),
        ..Default::default()
    };
    let frame = ask(&mut client, 7, &asked);
    let answer = frame.decode::<ListOffsetsResponse<'_>>();
    let answers =
        sorted(answer.topics.iter().map(|t| (t.name.to_string(), t.partitions[0].error_code)));
    assert_eq!(answers, expected(ErrorCode::UnknownTopicOrPartition));
    let asked = DescribeConfigsRequest {
        resources: NAMES
            .map(|name| DescribeConfigsResource {
                resource_type: 2,
                resource_name: name.into(),
                configuration_keys: Some(vec![STAND_IN.into()]),
            })
            .to_vec(),
        ..Default::default()
    };
    let frame = ask(&mut client, 4, &asked);
    let answer = frame.decode::<DescribeConfigsResponse<'_>>();
    let answers =
        sorted(answer.results.iter().map(|t| (t.resource_name.to_string(), t.error_code)));
    assert_eq!(answers, expected(ErrorCode::InvalidTopicException));
}

#[tokio::test]
async fn changes_refuse_that_name_alone() {
    let node = Node::start();
    let mut client = RawClient::connect(&node);
    let topics = NAMES.map(|name| CreatableTopic {
        name: name.into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    });
    let asked =
        CreateTopicsRequest { topics: topics.to_vec(), timeout_ms: 30_000, ..Default::default() };
    let frame = ask(&mut client, 5, &asked);
    let answer = frame.decode::<CreateTopicsResponse<'_>>();
    let answers = sorted(answer.topics.iter().map(|t| (t.name.to_string(), t.error_code)));
    assert_eq!(answers, expected(ErrorCode::InvalidTopicException));
    let topics =
        NAMES.map(|name| CreatePartitionsTopic { name: name.into(), count: 2, assignments: None });
    let asked = CreatePartitionsRequest {
        topics: topics.to_vec(),
        timeout_ms: 30_000,
        ..Default::default()
    };
    let frame = ask(&mut client, 3, &asked);
    let answer = frame.decode::<CreatePartitionsResponse<'_>>();
    let answers = sorted(answer.results.iter().map(|t| (t.name.to_string(), t.error_code)));
    assert_eq!(answers, expected(ErrorCode::UnknownTopicOrPartition));
    let asked = DeleteTopicsRequest {
        topic_names: NAMES.map(Into::into).to_vec(),
        timeout_ms: 30_000,
        ..Default::default()
    };
    let frame = ask(&mut client, 5, &asked);
    let answer = frame.decode::<DeleteTopicsResponse<'_>>();
    let answers = sorted(
        answer.responses.iter().map(|t| (t.name.as_ref().unwrap().to_string(), t.error_code)),
    );
    assert_eq!(answers, expected(ErrorCode::UnknownTopicOrPartition));
}
