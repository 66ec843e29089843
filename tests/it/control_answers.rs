//! What Apache Kafka 4.3.1 answers to requests about the cluster, where a broker without an
//! authorizer, or a client that asks for odd things, makes a difference.

use ringlog_client::{ConfigChange, ConfigOperation, ConfigResource};
use ringlog_types::{BrokerId, ErrorCode};
use ringlog_wire::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use ringlog_wire::messages::create_topics_response::CreateTopicsResponse;
use ringlog_wire::messages::delete_topics_request::DeleteTopicsRequest;
use ringlog_wire::messages::delete_topics_response::DeleteTopicsResponse;
use ringlog_wire::messages::describe_cluster_request::DescribeClusterRequest;
use ringlog_wire::messages::describe_cluster_response::DescribeClusterResponse;
use ringlog_wire::messages::describe_topic_partitions_request::{
    Cursor, DescribeTopicPartitionsRequest, TopicRequest,
};
use ringlog_wire::messages::describe_topic_partitions_response::DescribeTopicPartitionsResponse;
use ringlog_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ringlog_wire::messages::metadata_response::MetadataResponse;

use crate::node::Node;
use crate::raw_client::RawClient;

/// Every operation on a topic, and on the cluster (KIP-430).
const ALL_OF_TOPIC: i32 = 3576;
const ALL_OF_CLUSTER: i32 = 8096;

fn metadata_of(names: &[&'static str]) -> MetadataRequest<'static> {
    let topic = |name: &&'static str| MetadataRequestTopic {
        name: Some((*name).into()),
        ..Default::default()
    };
    MetadataRequest { topics: Some(names.iter().map(topic).collect()), ..Default::default() }
}

#[tokio::test]
async fn authorized_operations_are_all_of_them_where_asked_for() {
    let node = Node::start();
    node.create("t", 1, &[]).await;
    let mut client = RawClient::connect(&node);
    for asked in [false, true] {
        let request = MetadataRequest {
            include_cluster_authorized_operations: asked,
            include_topic_authorized_operations: asked,
            allow_auto_topic_creation: false,
            ..metadata_of(&["t", "missing"])
        };
        let expect = |all: i32| if asked { all } else { i32::MIN };
        let frame = client.ask(8, &request);
        let response: MetadataResponse<'_> = frame.decode();
        assert_eq!(response.cluster_authorized_operations, expect(ALL_OF_CLUSTER));
        for topic in &response.topics {
            assert_eq!(topic.topic_authorized_operations, expect(ALL_OF_TOPIC));
        }
        let request = DescribeClusterRequest {
            include_cluster_authorized_operations: asked,
            ..Default::default()
        };
        let frame = client.ask(1, &request);
        let response: DescribeClusterResponse<'_> = frame.decode();
        assert_eq!(response.cluster_authorized_operations, expect(ALL_OF_CLUSTER));
    }
}

#[tokio::test]
async fn a_cursor_must_stand_in_what_is_asked_for() {
    let node = Node::start();
    node.create("t", 3, &[]).await;
    let mut client = RawClient::connect(&node);
    for (cursor, expected) in [
        (("t", 0), (ErrorCode::None, 3, ALL_OF_TOPIC)),
        (("t", 2), (ErrorCode::None, 1, ALL_OF_TOPIC)),
        (("t", -1), (ErrorCode::InvalidRequest, 0, i32::MIN)),
        (("u", 0), (ErrorCode::InvalidRequest, 0, i32::MIN)),
    ] {
        let (topic_name, partition_index) = (cursor.0.into(), cursor.1);
        let request = DescribeTopicPartitionsRequest {
            topics: vec![TopicRequest { name: "t".into() }],
            response_partition_limit: 100,
            cursor: Some(Cursor { topic_name, partition_index }),
        };
        let frame = client.ask(0, &request);
        let response: DescribeTopicPartitionsResponse<'_> = frame.decode();
        assert_eq!(response.topics.len(), 1);
        let topic = &response.topics[0];
        let error = ErrorCode::from_code(topic.error_code).unwrap();
        let told = (error, topic.partitions.len(), topic.topic_authorized_operations);
        assert_eq!(told, expected, "{cursor:?}");
    }
}

#[tokio::test]
async fn controllers_are_not_at_this_endpoint() {
    let node = Node::start();
    let mut client = RawClient::connect(&node);
    for (endpoint_type, expected) in [
        (1, ErrorCode::None),
        (2, ErrorCode::MismatchedEndpointType),
        (0, ErrorCode::UnsupportedEndpointType),
    ] {
        let request = DescribeClusterRequest { endpoint_type, ..Default::default() };
        let frame = client.ask(1, &request);
        let response: DescribeClusterResponse<'_> = frame.decode();
        assert_eq!(response.error_code, expected.code());
        assert_eq!(response.endpoint_type, 1);
    }
}

#[tokio::test]
async fn what_is_to_be_done_by_now_is_not_begun() {
    let node = Node::start();
    let mut client = RawClient::connect(&node);
    let topic = CreatableTopic {
        name: "t".into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let mut create = |timeout_ms| {
        let topics = vec![topic.clone()];
        let request = CreateTopicsRequest { topics, timeout_ms, validate_only: false };
        let frame = client.ask(7, &request);
        let response: CreateTopicsResponse<'_> = frame.decode();
        assert_eq!(response.topics[0].error_message, None);
        response.topics[0].error_code
    };
    let timed_out = ErrorCode::RequestTimedOut.code();
    assert_eq!([0, -1, 9000].map(&mut create), [timed_out, timed_out, 0]);
    let mut delete = |timeout_ms| {
        let topic_names = vec!["t".into()];
        let request = DeleteTopicsRequest { topic_names, timeout_ms, ..Default::default() };
        let frame = client.ask(5, &request);
        let response: DeleteTopicsResponse<'_> = frame.decode();
        response.responses[0].error_code
    };
    assert_eq!([0, -1, 9000].map(&mut delete), [timed_out, timed_out, 0]);
}

/// They were made with one partition that retention deletes from.
#[tokio::test]
async fn the_coordinators_topics_are_not_made_by_being_asked_for() {
    let node = Node::start();
    let mut client = RawClient::connect(&node);
    let frame = client.ask(9, &metadata_of(&["__consumer_offsets", "__transaction_state", "t"]));
    let response: MetadataResponse<'_> = frame.decode();
    let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(codes, [unknown, unknown, 0]);
    assert!(!node.partition_dir("__consumer_offsets-0").exists());
}

/// They were taken, shown, and nothing listened there.
#[tokio::test]
async fn listeners_cannot_be_changed_while_running() {
    let node = Node::start();
    let client = node.client().await;
    for (name, value) in [
        ("listeners", "PLAINTEXT://127.0.0.1:9"),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT"),
    ] {
        let change =
            ConfigChange { name: name.into(), operation: ConfigOperation::Set(value.into()) };
        let resource = ConfigResource::Broker(Some(BrokerId(1)));
        let error = client.alter_configs(&resource, &[change], false).await.unwrap_err();
        let error = error.to_string();
        assert!(error.contains("INVALID_REQUEST") && error.contains("dynamically"), "{error}");
    }
}
