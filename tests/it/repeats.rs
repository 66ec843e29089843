//! A request that names the same thing many times gets no more than one that names it once: a few
//! bytes of a request must not become hundreds of megabytes of answer.

use ringlog_client::ProducerSettings;
use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use ringlog_wire::messages::delete_records_response::DeleteRecordsResponse;
use ringlog_wire::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use ringlog_wire::messages::describe_configs_response::DescribeConfigsResponse;
use ringlog_wire::messages::list_config_resources_request::ListConfigResourcesRequest;
use ringlog_wire::messages::list_config_resources_response::ListConfigResourcesResponse;
use ringlog_wire::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use ringlog_wire::messages::list_offsets_response::ListOffsetsResponse;
use ringlog_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ringlog_wire::messages::metadata_response::MetadataResponse;
use ringlog_wire::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use ringlog_wire::messages::offset_for_leader_epoch_response::OffsetForLeaderEpochResponse;

use crate::node::{Node, values};
use crate::raw_client::{RawClient, fetch, from_offset};

const TOPIC_RESOURCE: i8 = 2;

fn metadata_of(topics: Vec<MetadataRequestTopic<'_>>) -> MetadataRequest<'_> {
    MetadataRequest { topics: Some(topics), ..Default::default() }
}

fn named(name: &str) -> MetadataRequestTopic<'_> {
    MetadataRequestTopic { name: Some(name.into()), ..Default::default() }
}

#[tokio::test]
async fn metadata() {
    let node = Node::start();
    node.create("many", 50, &[]).await;
    let mut client = RawClient::connect(&node);
    for version in [0, 4, 13] {
        let once = client.ask(version, &metadata_of(vec![named("many")]));
        let often = client.ask(version, &metadata_of(vec![named("many"); 20_000]));
        assert_eq!(often.len(), once.len(), "version {version}");
        let often: MetadataResponse<'_> = often.decode();
        assert_eq!(often.topics[0].partitions.len(), 50);
    }
    let frame = client.ask(13, &metadata_of(vec![named("many")]));
    let response: MetadataResponse<'_> = frame.decode();
    let by_id = |topic_id| MetadataRequestTopic { topic_id, name: None };
    let topic_id = response.topics[0].topic_id;
    let often = client.ask(13, &metadata_of(vec![by_id(topic_id); 1000]));
    assert_eq!(often.len(), frame.len());
}

/// Versions 10 and 11 have the fields for topic ids and cannot answer them: the connection was
/// closed over it.
#[tokio::test]
async fn metadata_without_a_name() {
    let node = Node::start();
    node.create("t", 1, &[]).await;
    let mut client = RawClient::connect(&node);
    let nameless = MetadataRequestTopic { topic_id: Uuid::ZERO, name: None };
    let with_id = MetadataRequestTopic { topic_id: Uuid::from_random(7), ..named("u") };
    for version in [10, 11] {
        for odd in [&nameless, &with_id] {
            let frame = client.ask(version, &metadata_of(vec![named("t"), odd.clone()]));
            let response: MetadataResponse<'_> = frame.decode();
            assert_eq!(response.topics.len(), 2);
            for topic in &response.topics {
                assert_eq!(topic.error_code, ErrorCode::InvalidRequest.code());
                assert!(topic.partitions.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn describe_configs() {
    let node = Node::start();
    node.create("t", 1, &[]).await;
    let mut client = RawClient::connect(&node);
    let resource = |keys: Option<&[&'static str]>| DescribeConfigsResource {
        resource_type: TOPIC_RESOURCE,
        resource_name: "t".into(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).into()).collect()),
    };
    let mut count = |resources: Vec<DescribeConfigsResource<'static>>| {
        let request = DescribeConfigsRequest { resources, ..Default::default() };
        let frame = client.ask(4, &request);
        let response: DescribeConfigsResponse<'_> = frame.decode();
        assert_eq!(response.results.len(), 1);
        response.results[0].configs.len()
    };
    let all = count(vec![resource(None)]);
    assert!(all > 20);
    assert_eq!(count(vec![resource(None); 1000]), all);
    let (bytes, time) = (resource(Some(&["retention.bytes"])), resource(Some(&["retention.ms"])));
    assert_eq!(count(vec![bytes.clone(), time.clone()]), 2, "all that was asked for");
    assert_eq!(count(vec![bytes.clone(), resource(None), time]), all);
    assert_eq!(count(vec![bytes, resource(Some(&[]))]), all);
}

#[tokio::test]
async fn list_offsets() {
    let node = Node::start();
    node.create("t", 3, &[]).await;
    let mut client = RawClient::connect(&node);
    let partition = |partition_index| ListOffsetsPartition {
        partition_index,
        timestamp: -1,
        ..Default::default()
    };
    let topic = |partitions: &[i32]| ListOffsetsTopic {
        name: "t".into(),
        partitions: partitions.iter().copied().map(partition).collect(),
    };
    let topics = vec![topic(&[0, 1, 0]), topic(&[0, 2])];
    let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
    let frame = client.ask(1, &request);
    let response: ListOffsetsResponse<'_> = frame.decode();
    let answers = response.topics.iter().flat_map(|topic| &topic.partitions);
    let answers: Vec<_> =
        answers.map(|answer| (answer.partition_index, answer.error_code, answer.offset)).collect();
    let refused = ErrorCode::InvalidRequest.code();
    assert_eq!(answers, [(0, refused, -1), (1, 0, 0), (2, 0, 0)]);
}

#[tokio::test]
async fn config_resources() {
    let node = Node::start();
    node.create("t", 1, &[]).await;
    let mut client = RawClient::connect(&node);
    let request = ListConfigResourcesRequest { resource_types: vec![TOPIC_RESOURCE; 10_000] };
    let frame = client.ask(1, &request);
    let response: ListConfigResourcesResponse<'_> = frame.decode();
    assert_eq!(response.config_resources.len(), 1);
}

#[tokio::test]
async fn delete_records() {
    let node = Node::start();
    node.create("t", 2, &[]).await;
    for partition in 0..2 {
        node.produce("t", partition, &values(10, 10), ProducerSettings::default()).await;
    }
    let mut client = RawClient::connect(&node);
    let topic = |partitions: &[(i32, i64)]| DeleteRecordsTopic {
        name: "t".into(),
        partitions: partitions
            .iter()
            .map(|&(partition_index, offset)| DeleteRecordsPartition { partition_index, offset })
            .collect(),
    };
    let topics = vec![topic(&[(0, 7), (1, 3), (0, 99)]), topic(&[(0, 5)])];
    let frame = client.ask(1, &DeleteRecordsRequest { topics, timeout_ms: 9000 });
    let response: DeleteRecordsResponse<'_> = frame.decode();
    let answers = response.topics.iter().flat_map(|topic| &topic.partitions);
    let answers: Vec<_> =
        answers.map(|p| (p.partition_index, p.error_code, p.low_watermark)).collect();
    assert_eq!(answers, [(0, 0, 5), (1, 0, 3)], "the last counts, as in Kafka");
}

#[tokio::test]
async fn offsets_for_leader_epochs() {
    let node = Node::start();
    node.create("t", 2, &[]).await;
    let mut client = RawClient::connect(&node);
    let partition = |partition| OffsetForLeaderPartition {
        partition,
        current_leader_epoch: -1,
        leader_epoch: 0,
    };
    let topic = |partitions: &[i32]| OffsetForLeaderTopic {
        topic: "t".into(),
        partitions: partitions.iter().copied().map(partition).collect(),
    };
    let topics = vec![topic(&[0, 1, 0, 0]), topic(&[1])];
    let frame = client.ask(3, &OffsetForLeaderEpochRequest { replica_id: -1, topics });
    let response: OffsetForLeaderEpochResponse<'_> = frame.decode();
    let answers = response.topics.iter().flat_map(|topic| &topic.partitions);
    let answers: Vec<_> = answers.map(|p| (p.partition, p.error_code, p.end_offset)).collect();
    assert_eq!(answers, [(0, 0, 0), (1, 0, 0)]);
}

#[tokio::test]
async fn fetches() {
    let node = Node::start();
    node.create("t", 1, &[]).await;
    let mut client = RawClient::connect(&node);
    let once = client.ask(12, &fetch("t", &[from_offset(0, 0)]));
    let often = client.ask(12, &fetch("t", &vec![from_offset(0, 0); 1000]));
    assert_eq!(often.len(), once.len());
}
