//! Topics created, widened and deleted.

use ringlog_types::{BrokerId, ErrorCode, Uuid};
use ringlog_wire::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use ringlog_wire::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreateTopicsRequest,
};
use ringlog_wire::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};

use super::super::Unlimited;
use super::{Node, shown, topic, with_configs};
use crate::image::{ConfigResource, Image};
use crate::record::MetadataRecord;

fn assigned<'a>(name: &'a str, replicas: &[(i32, &[i32])]) -> CreatableTopic<'a> {
    let assignment = |(index, brokers): &(i32, &[i32])| CreatableReplicaAssignment {
        partition_index: *index,
        broker_ids: brokers.to_vec(),
    };
    let assignments = replicas.iter().map(assignment).collect();
    CreatableTopic { assignments, ..topic(name, -1, -1) }
}

#[test]
fn topics_are_created_as_kafka_writes_them() {
    let mut node = Node::start();
    let request = CreateTopicsRequest {
        topics: vec![with_configs(topic("logs", 2, 1), &[("retention.ms", Some("1000"))])],
        ..Default::default()
    };
    let decision = node.controller.create_topics(&request, 7, &Unlimited);
    let kinds: Vec<i16> = decision.records.iter().map(MetadataRecord::api_key).collect();
    assert_eq!(kinds, [2, 4, 3, 3], "topic, config, partitions");
    let again = node.controller.create_topics(&request, 7, &Unlimited);
    assert_eq!(decision.records, again.records, "the same chance gives the same topic id");

    let response = node.commit(decision);
    let result = &response.topics[0];
    assert_eq!((result.error_code, result.num_partitions, result.replication_factor), (0, 2, 1));
    let created = node.controller.image().topic("logs").unwrap();
    assert_eq!(created.id, result.topic_id);
    let partition = &created.partitions[&1];
    assert_eq!((partition.leader_epoch, partition.partition_epoch), (0, 0));
    let own = BrokerId(1);
    assert_eq!(
        (partition.leader, &*partition.replicas, &*partition.isr),
        (own, &[own][..], &[own][..])
    );
    assert_eq!(partition.directories, [Uuid::from_u128(4711)]);
    let configs = result.configs.as_ref().unwrap();
    let retention = configs.iter().find(|config| config.name == "retention.ms").unwrap();
    assert_eq!((retention.value.as_deref(), retention.config_source), (Some("1000"), 1));
    let segment = configs.iter().find(|config| config.name == "segment.bytes").unwrap();
    assert_eq!((segment.value.as_deref(), segment.config_source), (Some("1073741824"), 5));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn refusals_of_creation_are_kafkas() {
    let mut node = Node::start();
    assert_eq!(node.create_one(topic("dump", 3, 1)), "");
    assert_eq!(node.create_one(topic("col.a", -1, -1)), "");
    let long = "x".repeat(250);
    let cases = [
        (topic("dump", 1, 1), "TOPIC_ALREADY_EXISTS: Topic 'dump' already exists."),
        (
            topic("a b", 1, 1),
            "INVALID_TOPIC_EXCEPTION: Topic name is invalid: 'a b' contains one or more \
             characters other than ASCII alphanumerics, '.', '_' and '-'",
        ),
        (topic(".", 1, 1), "INVALID_TOPIC_EXCEPTION: Topic name is invalid: '.' is not allowed"),
        (
            topic("col_a", 1, 1),
            "INVALID_TOPIC_EXCEPTION: Topic 'col_a' collides with existing topic: col.a",
        ),
        (
            topic("p0", 0, 1),
            "INVALID_PARTITIONS: Number of partitions was set to an invalid non-positive value.",
        ),
        (
            topic("r0", 1, 0),
            "INVALID_REPLICATION_FACTOR: Replication factor must be larger than 0, or -1 to use \
             the default value.",
        ),
        (
            topic("r2", 1, 2),
            "INVALID_REPLICATION_FACTOR: Unable to replicate the partition 2 time(s): The target \
             replication factor of 2 cannot be reached because only 1 broker(s) are registered.",
        ),
        (
            topic("big", 10_001, 1),
            "POLICY_VIOLATION: Excessively large number of partitions per request.",
        ),
        (
            with_configs(topic("c", 1, 1), &[("nosuch.key", Some("1"))]),
            "INVALID_CONFIG: Unknown topic config name: nosuch.key",
        ),
        (
            with_configs(topic("c", 1, 1), &[("retention.ms", Some("-5"))]),
            "INVALID_CONFIG: Invalid value -5 for configuration retention.ms: \
             Value must be at least -1",
        ),
        (
            with_configs(topic("c", 1, 1), &[("retention.ms", None)]),
            "INVALID_CONFIG: Null value not supported for topic configs: retention.ms",
        ),
        (
            topic("__cluster_metadata", 1, 1),
            "INVALID_REQUEST: Creation of internal topic __cluster_metadata is prohibited.",
        ),
        (
            assigned("m", &[(0, &[1]), (2, &[1])]),
            "INVALID_REPLICA_ASSIGNMENT: partitions should be a consecutive 0-based integer \
             sequence",
        ),
        (
            assigned("m", &[(0, &[9])]),
            "INVALID_REPLICA_ASSIGNMENT: The manual partition assignment includes broker 9, but \
             no such broker is registered.",
        ),
        (
            assigned("m", &[(0, &[1, 1])]),
            "INVALID_REPLICA_ASSIGNMENT: The manual partition assignment includes the broker 1 \
             more than once.",
        ),
        (
            assigned("m", &[(0, &[])]),
            "INVALID_REPLICA_ASSIGNMENT: The manual partition assignment includes an empty \
             replica list.",
        ),
        (
            assigned("m", &[(0, &[1]), (0, &[1])]),
            "INVALID_REPLICA_ASSIGNMENT: Found multiple manual partition assignments for \
             partition 0",
        ),
        (
            CreatableTopic { num_partitions: 1, ..assigned("m", &[(0, &[1])]) },
            "INVALID_REQUEST: A manual partition assignment was specified, but numPartitions was \
             not set to -1.",
        ),
    ];
    for (topic, expected) in cases {
        let name = topic.name.to_string();
        assert_eq!(node.create_one(topic), expected, "{name}");
    }
    assert!(node.create_one(topic(&long, 1, 1)).contains("longer than the max allowed length 249"));
    assert_eq!(node.create_one(assigned("m", &[(1, &[1]), (0, &[1])])), "");
    assert_eq!(node.records_of("m"), 2);
}

#[test]
fn one_bad_topic_does_not_harm_the_others() {
    let mut node = Node::start();
    let results = node.create(vec![
        topic("a", 1, 1),
        topic("twice", 1, 1),
        topic("b", 0, 1),
        topic("twice", 2, 1),
        topic("x.y", 1, 1),
        topic("x_y", 1, 1),
    ]);
    let told: Vec<_> =
        results.iter().map(|result| (result.name.to_string(), result.error_code)).collect();
    let code = |code: ErrorCode| code.code();
    let expected = [
        ("a".to_owned(), 0),
        ("twice".to_owned(), code(ErrorCode::InvalidRequest)),
        ("b".to_owned(), code(ErrorCode::InvalidPartitions)),
        ("x.y".to_owned(), 0),
        ("x_y".to_owned(), code(ErrorCode::InvalidTopicException)),
    ];
    assert_eq!(told, expected);
    assert_eq!(node.controller.image().topic_count(), 2);
}

#[test]
fn validation_alone_writes_nothing() {
    let node = Node::start();
    let request = CreateTopicsRequest {
        topics: vec![topic("v", 2, 1)],
        validate_only: true,
        ..Default::default()
    };
    let decision = node.controller.create_topics(&request, 1, &Unlimited);
    assert_eq!(decision.response.topics[0].error_code, 0);
    assert_eq!(decision.response.topics[0].num_partitions, 2);
    assert!(decision.records.is_empty());
}

#[test]
fn topics_are_created_with_the_defaults() {
    let mut node = Node::start_with(&[("num.partitions", "4")], Image::default(), true);
    assert_eq!(node.create_one(topic("new", -1, -1)), "");
    assert_eq!(node.records_of("new"), 4);
}

#[test]
fn many_partitions_stand_in_a_transaction() {
    let mut node = Node::start();
    assert_eq!(node.create_one(topic("wide", 10_000, 1)), "");
    assert_eq!(node.records_of("wide"), 10_000);
    assert!(!node.controller.image().in_transaction());
    let request = CreateTopicsRequest { topics: vec![topic("w", 10_000, 1)], ..Default::default() };
    let decision = node.controller.create_topics(&request, 3, &Unlimited);
    assert_eq!(decision.batches().count(), 2);
    assert_eq!(decision.records.first().unwrap().api_key(), 23);
    assert_eq!(decision.records.last().unwrap().api_key(), 24);
}

#[test]
fn deleted_topics_do_not_come_back() {
    let mut node = Node::start();
    node.create(vec![with_configs(topic("a", 1, 1), &[("retention.ms", Some("9"))])]);
    let old_id = node.controller.image().topic("a").unwrap().id;
    let by_name =
        |name: &'static str| DeleteTopicState { name: Some(name.into()), ..Default::default() };
    let by_id = |topic_id| DeleteTopicState { name: None, topic_id };
    let request = DeleteTopicsRequest {
        topics: vec![
            by_name("a"),
            by_id(old_id),
            by_name("nosuch"),
            by_id(Uuid::from_u128(5)),
            by_name("b"),
            by_name("b"),
            by_id(Uuid::ZERO),
        ],
        ..Default::default()
    };
    let decision = node.controller.delete_topics(&request, 6, &Unlimited);
    assert_eq!(decision.records.len(), 1);
    let response = node.commit(decision);
    let told: Vec<_> = response
        .responses
        .iter()
        .map(|result| shown(result.error_code, result.error_message.as_deref()))
        .collect();
    let expected = [
        "",
        "INVALID_REQUEST: The provided topic name maps to an ID that was already supplied.",
        "UNKNOWN_TOPIC_OR_PARTITION: This server does not host this topic-partition.",
        "UNKNOWN_TOPIC_ID: This server does not host this topic ID.",
        "INVALID_REQUEST: Duplicate topic name.",
        "INVALID_REQUEST: Neither topic name nor id were specified.",
    ];
    assert_eq!(told, expected);
    assert_eq!(response.responses[0].topic_id, old_id);
    assert!(node.controller.image().topic("a").is_none());
    node.create(vec![topic("a", 1, 1)]);
    let image = node.controller.image();
    assert_ne!(image.topic("a").unwrap().id, old_id);
    assert!(image.topic_by_id(old_id).is_none());
    assert!(image.configs(&ConfigResource::topic("a")).is_empty(), "settings go with the topic");

    let old = DeleteTopicsRequest { topic_names: vec!["a".into()], ..Default::default() };
    let node = Node::start_with(&[("delete.topic.enable", "false")], image.clone(), true);
    let code = |version| {
        node.controller.delete_topics(&old, version, &Unlimited).response.responses[0].error_code
    };
    assert_eq!(code(1), ErrorCode::InvalidRequest.code());
    assert_eq!(code(4), ErrorCode::TopicDeletionDisabled.code());
}

#[test]
fn partitions_are_added() {
    let mut node = Node::start();
    node.create(vec![topic("dump", 3, 1)]);
    let ask = |name: &'static str, count, assignments: Option<&[&[i32]]>| CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: name.into(),
            count,
            assignments: assignments.map(|lists| {
                let assignment =
                    |list: &&[i32]| CreatePartitionsAssignment { broker_ids: list.to_vec() };
                lists.iter().map(assignment).collect()
            }),
        }],
        ..Default::default()
    };
    let cases = [
        (ask("dump", 3, None), "INVALID_PARTITIONS: Topic already has 3 partition(s)."),
        (
            ask("dump", 2, None),
            "INVALID_PARTITIONS: The topic dump currently has 3 partition(s); 2 would not be an \
             increase.",
        ),
        (ask("nosuch", 3, None), "UNKNOWN_TOPIC_OR_PARTITION: "),
        (
            ask("dump", 5, Some(&[&[1]])),
            "INVALID_REPLICA_ASSIGNMENT: Attempted to add 2 additional partition(s), but only 1 \
             assignment(s) were specified.",
        ),
        (
            ask("dump", 5, Some(&[&[1], &[2]])),
            "INVALID_REPLICA_ASSIGNMENT: The manual partition assignment includes broker 2, but \
             no such broker is registered.",
        ),
        (
            ask("dump", 20_000, None),
            "POLICY_VIOLATION: Excessively large number of partitions per request.",
        ),
        (ask("dump", 5, None), ""),
        (ask("dump", 6, Some(&[&[1]])), ""),
    ];
    for (request, expected) in cases {
        let decision = node.controller.create_partitions(&request, 3, &Unlimited);
        let results = node.commit(decision).results;
        assert_eq!(shown(results[0].error_code, results[0].error_message.as_deref()), expected);
    }
    assert_eq!(node.records_of("dump"), 6);
}
