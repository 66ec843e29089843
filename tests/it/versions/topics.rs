//! Topics and brokers.

use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::messages::create_partitions_request::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use ringlog_wire::messages::create_partitions_response::CreatePartitionsResponse;
use ringlog_wire::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use ringlog_wire::messages::create_topics_response::CreateTopicsResponse;
use ringlog_wire::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use ringlog_wire::messages::delete_topics_response::DeleteTopicsResponse;
use ringlog_wire::messages::describe_cluster_request::DescribeClusterRequest;
use ringlog_wire::messages::describe_cluster_response::DescribeClusterResponse;
use ringlog_wire::messages::describe_topic_partitions_request::{
    Cursor, DescribeTopicPartitionsRequest, TopicRequest,
};
use ringlog_wire::messages::describe_topic_partitions_response::DescribeTopicPartitionsResponse;
use ringlog_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ringlog_wire::messages::metadata_response::MetadataResponse;

use super::{TOPIC, World};
use crate::raw_client::RawClient;

/// "Not asked for" (KIP-430).
const NO_OPERATIONS: i32 = i32::MIN;

fn topic_to_create<'a>(
    name: &'a str,
    num_partitions: i32,
    configs: &[(&'a str, &'a str)],
) -> CreatableTopic<'a> {
    let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
        name: (*name).into(),
        value: Some((*value).into()),
    });
    CreatableTopic {
        name: name.into(),
        num_partitions,
        replication_factor: 1,
        configs: configs.collect(),
        ..Default::default()
    }
}

/// Creates a topic for another check.
pub(super) fn create(wire: &mut RawClient, name: &str, partitions: i32, configs: &[(&str, &str)]) {
    let topics = vec![topic_to_create(name, partitions, configs)];
    let request = CreateTopicsRequest { topics, timeout_ms: 9000, validate_only: false };
    let answer = wire.ask(5, &request);
    assert_eq!(answer.decode::<CreateTopicsResponse>().topics[0].error_code, 0);
}

fn named(name: &str) -> MetadataRequestTopic<'_> {
    MetadataRequestTopic { name: Some(name.into()), ..Default::default() }
}

/// The id of a topic, or none.
fn find_id(wire: &mut RawClient, name: &str) -> Option<Uuid> {
    let request = MetadataRequest {
        topics: Some(vec![named(name)]),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let answer = wire.ask(12, &request);
    let body: MetadataResponse = answer.decode();
    (body.topics[0].error_code == 0).then_some(body.topics[0].topic_id)
}

pub(super) fn id_of(wire: &mut RawClient, name: &str) -> Uuid {
    find_id(wire, name).unwrap()
}

pub(super) fn metadata(world: &mut World, version: i16) {
    let mut request = MetadataRequest { topics: Some(vec![named(TOPIC)]), ..Default::default() };
    // Before, a topic that is asked for is created.
    let may_say_no = version >= 4;
    if may_say_no {
        request.allow_auto_topic_creation = false;
        request.topics.as_mut().unwrap().push(named("nowhere"));
    }
    let answer = world.wire.ask(version, &request);
    let body: MetadataResponse = answer.decode();
    let broker = &body.brokers[0];
    let address = world.node.address();
    assert_eq!((body.brokers.len(), broker.node_id), (1, 1));
    assert_eq!((&*broker.host, broker.port), ("127.0.0.1", i32::from(address.port())));
    assert_eq!(body.controller_id, if version < 1 { -1 } else { 1 });
    assert_eq!(body.cluster_id.is_some(), version >= 2);
    let topic = &body.topics[0];
    assert_eq!((topic.error_code, topic.name.as_deref()), (0, Some(TOPIC)));
    assert_eq!(topic.topic_id, if version < 10 { Uuid::ZERO } else { world.topic_id });
    assert_eq!(topic.topic_authorized_operations, NO_OPERATIONS);
    assert_eq!(topic.partitions.len(), 2);
    for (partition, index) in topic.partitions.iter().zip(0..) {
        assert_eq!((partition.error_code, partition.partition_index), (0, index));
        assert_eq!((partition.leader_id, &partition.isr_nodes), (1, &vec![1]));
        assert_eq!(partition.replica_nodes, [1]);
        assert_eq!(partition.leader_epoch, if version < 7 { -1 } else { 0 });
    }
    if may_say_no {
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        assert_eq!(body.topics[1].error_code, unknown);
    }
    let mut topics = |topics| {
        let answer = world.wire.ask(version, &MetadataRequest { topics, ..Default::default() });
        let body: MetadataResponse = answer.decode();
        body.topics.iter().filter(|topic| topic.name.as_deref() == Some(TOPIC)).count()
    };
    if version == 0 {
        assert_eq!(topics(Some(vec![])), 1, "an empty list means all");
    } else {
        assert_eq!((topics(Some(vec![])), topics(None)), (0, 1));
    }
    if version >= 12 {
        let by_id = MetadataRequestTopic { topic_id: world.topic_id, name: None };
        let request = MetadataRequest { topics: Some(vec![by_id]), ..Default::default() };
        let answer = world.wire.ask(version, &request);
        let body: MetadataResponse = answer.decode();
        assert_eq!(body.topics[0].name.as_deref(), Some(TOPIC));
    }
}

pub(super) fn create_topics(world: &mut World, version: i16) {
    let name = format!("create-{version}");
    let configs = [("retention.ms", "1234")];
    let mut ask = |name: &str, num_partitions, validate_only| {
        let topics = vec![topic_to_create(name, num_partitions, &configs)];
        let request = CreateTopicsRequest { topics, timeout_ms: 9000, validate_only };
        let answer = world.wire.ask(version, &request);
        let body: CreateTopicsResponse = answer.decode();
        let topic = &body.topics[0];
        assert_eq!(topic.name, name);
        if topic.error_code == 0 && version >= 5 {
            assert_eq!((topic.num_partitions, topic.replication_factor), (3, 1));
            let configs = topic.configs.as_ref().unwrap();
            let retention = configs.iter().find(|config| config.name == "retention.ms").unwrap();
            // Its source is the topic itself.
            assert_eq!((retention.value.as_deref(), retention.config_source), (Some("1234"), 1));
            assert!(configs.iter().any(|config| config.name == "segment.bytes"));
        }
        let message = topic.error_message.as_deref().is_some_and(|message| !message.is_empty());
        (topic.error_code, message, topic.topic_id)
    };
    if version >= 1 {
        let (error, message, _) = ask(&name, 3, true);
        assert_eq!((error, message), (0, false), "a dry run");
    }
    let (error, _, id) = ask(&name, 3, false);
    assert_eq!((error, id == Uuid::ZERO), (0, version < 7));
    let (error, message, _) = ask(&name, 3, false);
    let exists = ErrorCode::TopicAlreadyExists.code();
    assert_eq!((error, message), (exists, version >= 1));
    let invalid = ErrorCode::InvalidPartitions.code();
    assert_eq!(ask("none", 0, false).0, invalid);
    let created = id_of(&mut world.wire, &name);
    assert!(version < 7 || created == id);
    if version >= 4 {
        // The broker's defaults.
        let topic = CreatableTopic {
            num_partitions: -1,
            replication_factor: -1,
            ..topic_to_create("d", 1, &[])
        };
        let request =
            CreateTopicsRequest { topics: vec![topic], timeout_ms: 9000, validate_only: true };
        let answer = world.wire.ask(version, &request);
        assert_eq!(answer.decode::<CreateTopicsResponse>().topics[0].error_code, 0);
    }
}

pub(super) fn delete_topics(world: &mut World, version: i16) {
    let names = [format!("delete-{version}-a"), format!("delete-{version}-b")];
    names.iter().for_each(|name| create(&mut world.wire, name, 1, &[]));
    let id = id_of(&mut world.wire, &names[1]);
    let mut request = DeleteTopicsRequest { timeout_ms: 9000, ..Default::default() };
    if version < 6 {
        request.topic_names =
            vec![names[0].as_str().into(), names[1].as_str().into(), "nowhere".into()];
    } else {
        let by_name =
            |name: &'static str| DeleteTopicState { name: Some(name.into()), ..Default::default() };
        let first = DeleteTopicState { name: Some(names[0].as_str().into()), ..Default::default() };
        request.topics =
            vec![first, DeleteTopicState { name: None, topic_id: id }, by_name("nowhere")];
    }
    let answer = world.wire.ask(version, &request);
    let mut body: DeleteTopicsResponse = answer.decode();
    body.responses.sort_by_key(|response| response.error_code);
    let [first, second, unknown] = &body.responses[..] else { panic!("three answers") };
    assert_eq!((first.error_code, second.error_code), (0, 0));
    assert_eq!(unknown.error_code, ErrorCode::UnknownTopicOrPartition.code());
    assert_eq!(unknown.name.as_deref(), Some("nowhere"));
    assert_eq!(unknown.error_message.is_some(), version >= 5);
    for response in [first, second] {
        assert!(names.iter().any(|name| response.name.as_deref() == Some(name)));
        assert_eq!(response.topic_id == Uuid::ZERO, version < 6);
    }
    assert!(names.iter().all(|name| find_id(&mut world.wire, name).is_none()));
}

pub(super) fn create_partitions(world: &mut World, version: i16) {
    let name = format!("grow-{version}");
    create(&mut world.wire, &name, 1, &[]);
    let mut ask = |count, validate_only| {
        let topic = CreatePartitionsTopic { name: name.as_str().into(), count, assignments: None };
        let request =
            CreatePartitionsRequest { topics: vec![topic], timeout_ms: 9000, validate_only };
        let answer = world.wire.ask(version, &request);
        let body: CreatePartitionsResponse = answer.decode();
        assert_eq!(body.results[0].name, name);
        (body.results[0].error_code, body.results[0].error_message.is_some())
    };
    assert_eq!(ask(3, true), (0, false));
    assert_eq!(ask(3, false), (0, false));
    assert_eq!(ask(2, false), (ErrorCode::InvalidPartitions.code(), true));
    let answer = world
        .wire
        .ask(1, &MetadataRequest { topics: Some(vec![named(&name)]), ..Default::default() });
    assert_eq!(answer.decode::<MetadataResponse>().topics[0].partitions.len(), 3);
}

pub(super) fn describe_topic_partitions(world: &mut World, version: i16) {
    let mut ask = |limit, cursor| {
        let topics = [TOPIC, "nowhere"].map(|name| TopicRequest { name: name.into() }).to_vec();
        let request =
            DescribeTopicPartitionsRequest { topics, response_partition_limit: limit, cursor };
        let answer = world.wire.ask(version, &request);
        let body: DescribeTopicPartitionsResponse = answer.decode();
        let find = |name| body.topics.iter().find(|topic| topic.name.as_deref() == Some(name));
        let topic = find(TOPIC).unwrap();
        assert_eq!((topic.error_code, topic.topic_id), (0, world.topic_id));
        let indexes: Vec<_> = topic.partitions.iter().map(|it| it.partition_index).collect();
        assert!(topic.partitions.iter().all(|it| it.leader_id == 1 && it.isr_nodes == [1]));
        let unknown = find("nowhere").map(|topic| topic.error_code);
        let next = body.next_cursor.as_ref().map(|next| next.partition_index);
        (indexes, unknown, next)
    };
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(ask(100, None), (vec![0, 1], Some(unknown), None));
    let cursor = Cursor { topic_name: TOPIC.into(), partition_index: 1 };
    assert_eq!(ask(100, Some(cursor)).0, [1]);
    let cut = ask(1, Some(Cursor { topic_name: TOPIC.into(), partition_index: 0 }));
    assert_eq!((cut.0, cut.2), (vec![0], Some(1)));
}

pub(super) fn describe_cluster(world: &mut World, version: i16) {
    let answer = world.wire.ask(version, &DescribeClusterRequest::default());
    let body: DescribeClusterResponse = answer.decode();
    assert_eq!((body.error_code, body.controller_id, body.endpoint_type), (0, 1, 1));
    assert!(!body.cluster_id.is_empty());
    assert_eq!(body.cluster_authorized_operations, NO_OPERATIONS);
    let broker = &body.brokers[0];
    let port = i32::from(world.node.address().port());
    assert_eq!((body.brokers.len(), broker.broker_id, &*broker.host), (1, 1, "127.0.0.1"));
    assert_eq!((broker.port, broker.is_fenced), (port, false));
    if version >= 1 {
        let controllers = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
        let answer = world.wire.ask(version, &controllers);
        let body: DescribeClusterResponse = answer.decode();
        assert_eq!(body.error_code, ErrorCode::MismatchedEndpointType.code());
    }
}
