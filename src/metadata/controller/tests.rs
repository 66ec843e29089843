//! The answers, compared with what Apache Kafka 4.3.1 answers to the same requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringlog_config::{BrokerConfig, RawSettings};
use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::messages::alter_configs_request as legacy;
use ringlog_wire::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use ringlog_wire::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use ringlog_wire::messages::create_topics_response::CreatableTopicResult;
use ringlog_wire::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use ringlog_wire::messages::incremental_alter_configs_request as incremental;

use super::{Controller, Decision, Registration};
use crate::image::{BrokerEndpoint, ConfigResource, Image};
use crate::record::MetadataRecord;

/// A controller and the end of its log.
struct Node {
    controller: Controller,
    next_offset: i64,
}

impl Node {
    fn start() -> Node {
        Node::start_with(&[], Image::default(), true)
    }

    fn start_with(settings: &[(&str, &str)], image: Image, stopped_cleanly: bool) -> Node {
        let raw: RawSettings =
            settings.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let config = Arc::new(BrokerConfig::from_settings(raw).unwrap());
        let next_offset = image.last_offset() + 1;
        let mut node = Node { controller: Controller::new(image, config), next_offset };
        let bootstrap = node.controller.bootstrap();
        node.commit(bootstrap);
        let registration = Registration {
            broker_id: 1,
            incarnation_id: Uuid::from_u128(77),
            endpoints: vec![BrokerEndpoint {
                name: "PLAINTEXT".into(),
                host: "127.0.0.1".into(),
                port: 9092,
                security_protocol: 0,
            }],
            rack: None,
            log_dirs: vec![Uuid::from_u128(4711)],
            stopped_cleanly,
        };
        let registered = node.controller.register_broker(registration, node.next_offset);
        node.commit(registered);
        node
    }

    /// What the broker does: write each batch, read it back, apply it.
    fn commit<R>(&mut self, decision: Decision<R>) -> R {
        for batch in decision.batches() {
            let image = self.controller.image().clone();
            let bytes: Vec<_> = batch.iter().map(|record| record.encode(&image).unwrap()).collect();
            let read: Vec<_> =
                bytes.iter().map(|bytes| MetadataRecord::decode(bytes).unwrap()).collect();
            assert_eq!(read, batch);
            self.controller.commit(&read, self.next_offset, 1).unwrap();
            self.next_offset += batch.len() as i64;
        }
        decision.response
    }

    fn create(&mut self, topics: Vec<CreatableTopic<'_>>) -> Vec<CreatableTopicResult<'static>> {
        let request = CreateTopicsRequest { topics, ..Default::default() };
        let random = 0x1234_5678_9abc_def0 + self.next_offset as u128;
        let decision = self.controller.create_topics(&request, random);
        self.commit(decision).topics
    }

    /// The error of one creation, as `CODE: message`, or nothing.
    fn create_one(&mut self, topic: CreatableTopic<'_>) -> String {
        let results = self.create(vec![topic]);
        assert_eq!(results.len(), 1);
        shown(results[0].error_code, results[0].error_message.as_deref())
    }

    fn records_of(&self, name: &str) -> usize {
        self.controller.image().topic(name).map_or(0, |topic| topic.partitions.len())
    }
}

fn shown(code: i16, message: Option<&str>) -> String {
    match ErrorCode::from_code(code).unwrap() {
        ErrorCode::None => String::new(),
        code => format!("{code}: {}", message.unwrap_or_default()),
    }
}

fn topic(name: &str, partitions: i32, factor: i16) -> CreatableTopic<'_> {
    CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: factor,
        ..Default::default()
    }
}

fn with_configs<'a>(
    topic: CreatableTopic<'a>,
    configs: &[(&'a str, Option<&'a str>)],
) -> CreatableTopic<'a> {
    let config = |(name, value): &(&'a str, Option<&'a str>)| CreatableTopicConfig {
        name: (*name).into(),
        value: value.map(Into::into),
        ..Default::default()
    };
    CreatableTopic { configs: configs.iter().map(config).collect(), ..topic }
}

fn assigned<'a>(name: &'a str, replicas: &[(i32, &[i32])]) -> CreatableTopic<'a> {
    let assignment = |(index, brokers): &(i32, &[i32])| CreatableReplicaAssignment {
        partition_index: *index,
        broker_ids: brokers.to_vec(),
        ..Default::default()
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
    let decision = node.controller.create_topics(&request, 7);
    let kinds: Vec<i16> = decision.records.iter().map(MetadataRecord::api_key).collect();
    assert_eq!(kinds, [2, 4, 3, 3], "topic, config, partitions");
    let again = node.controller.create_topics(&request, 7);
    assert_eq!(decision.records, again.records, "the same chance gives the same topic id");

    let response = node.commit(decision);
    let result = &response.topics[0];
    assert_eq!((result.error_code, result.num_partitions, result.replication_factor), (0, 2, 1));
    let created = node.controller.image().topic("logs").unwrap();
    assert_eq!(created.id, result.topic_id);
    let partition = &created.partitions[&1];
    assert_eq!((partition.leader, partition.leader_epoch, partition.partition_epoch), (1, 0, 0));
    assert_eq!((&partition.replicas, &partition.isr), (&vec![1], &vec![1]));
    assert_eq!(partition.directories, [Uuid::from_u128(4711)]);
    let configs = result.configs.as_ref().unwrap();
    let retention = configs.iter().find(|config| config.name == "retention.ms").unwrap();
    assert_eq!((retention.value.as_deref(), retention.config_source), (Some("1000"), 1));
    let segment = configs.iter().find(|config| config.name == "segment.bytes").unwrap();
    assert_eq!((segment.value.as_deref(), segment.config_source), (Some("1073741824"), 5));
}

#[test]
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
        (topic("__cluster_metadata", 1, 1), "TOPIC_AUTHORIZATION_FAILED: Authorization failed."),
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
    let decision = node.controller.create_topics(&request, 1);
    assert_eq!(decision.response.topics[0].error_code, 0);
    assert_eq!(decision.response.topics[0].num_partitions, 2);
    assert!(decision.records.is_empty());
}

#[test]
fn topics_asked_for_are_created_with_the_defaults() {
    let mut node = Node::start_with(&[("num.partitions", "4")], Image::default(), true);
    let decision = node.controller.auto_create_topics(&["new", "a b", "new"], 5);
    let outcomes = node.commit(decision);
    let told: Vec<_> = outcomes.iter().map(|auto| (auto.name.as_str(), auto.error)).collect();
    assert_eq!(told, [("a b", ErrorCode::InvalidTopicException), ("new", ErrorCode::None)]);
    assert_eq!(node.records_of("new"), 4);
    assert!(node.controller.auto_create_topics(&["new"], 6).records.is_empty());
}

#[test]
fn many_partitions_stand_in_a_transaction() {
    let mut node = Node::start();
    assert_eq!(node.create_one(topic("wide", 10_000, 1)), "");
    assert_eq!(node.records_of("wide"), 10_000);
    assert!(!node.controller.image().in_transaction());
    let request = CreateTopicsRequest { topics: vec![topic("w", 10_000, 1)], ..Default::default() };
    let decision = node.controller.create_topics(&request, 3);
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
    let by_id = |topic_id| DeleteTopicState { name: None, topic_id, ..Default::default() };
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
    let decision = node.controller.delete_topics(&request, 6);
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
    let code =
        |version| node.controller.delete_topics(&old, version).response.responses[0].error_code;
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
                let assignment = |list: &&[i32]| CreatePartitionsAssignment {
                    broker_ids: list.to_vec(),
                    ..Default::default()
                };
                lists.iter().map(assignment).collect()
            }),
            ..Default::default()
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
        (
            ask("nosuch", 3, None),
            "UNKNOWN_TOPIC_OR_PARTITION: This server does not host this topic-partition.",
        ),
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
        let decision = node.controller.create_partitions(&request, 3);
        let results = node.commit(decision).results;
        assert_eq!(shown(results[0].error_code, results[0].error_message.as_deref()), expected);
    }
    assert_eq!(node.records_of("dump"), 6);
}

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn alter(node: &mut Node, kind: i8, name: &str, changes: &[(i8, &str, Option<&str>)]) -> String {
    let config =
        |(operation, key, value): &(i8, &str, Option<&str>)| incremental::AlterableConfig {
            name: (*key).to_owned().into(),
            config_operation: *operation,
            value: value.map(|value| value.to_owned().into()),
            ..Default::default()
        };
    let request = incremental::IncrementalAlterConfigsRequest {
        resources: vec![incremental::AlterConfigsResource {
            resource_type: kind,
            resource_name: name.to_owned().into(),
            configs: changes.iter().map(config).collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let decision = node.controller.incremental_alter_configs(&request);
    let responses = node.commit(decision).responses;
    shown(responses[0].error_code, responses[0].error_message.as_deref())
}

#[test]
fn settings_are_altered_and_refused_as_kafka_does() {
    let mut node = Node::start();
    node.create(vec![with_configs(
        topic("dump", 1, 1),
        &[("cleanup.policy", Some("compact,delete"))],
    )]);
    let (t, b) = (2, 4);
    let cases: &[(i8, &str, i8, &str, Option<&str>, &str)] = &[
        (t, "dump", SET, "retention.ms", Some("5000"), ""),
        (
            t,
            "dump",
            SET,
            "retention.ms",
            Some("x"),
            "INVALID_CONFIG: Invalid value x for configuration retention.ms: \
             Not a number of type LONG",
        ),
        (t, "dump", SET, "nosuch", Some("x"), "INVALID_CONFIG: Unknown topic config name: nosuch"),
        (t, "dump", DELETE, "nosuch", None, ""),
        (
            t,
            "dump",
            APPEND,
            "retention.ms",
            Some("1"),
            "INVALID_CONFIG: Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        (t, "dump", SUBTRACT, "cleanup.policy", Some("compact"), ""),
        (t, "dump", APPEND, "cleanup.policy", Some("delete"), ""),
        (
            t,
            "dump",
            APPEND,
            "cleanup.policy",
            Some("foo"),
            "INVALID_CONFIG: Invalid value foo for configuration cleanup.policy: \
             String must be one of: compact, delete",
        ),
        (
            t,
            "dump",
            SET,
            "retention.ms",
            None,
            "INVALID_REQUEST: Null value not supported for : retention.ms",
        ),
        (
            t,
            "nosuch",
            SET,
            "retention.ms",
            Some("5000"),
            "UNKNOWN_TOPIC_OR_PARTITION: The topic 'nosuch' does not exist.",
        ),
        (
            t,
            "",
            SET,
            "retention.ms",
            Some("5000"),
            "INVALID_REQUEST: Default topic resources are not allowed.",
        ),
        (
            b,
            "1",
            SET,
            "num.partitions",
            Some("4"),
            "INVALID_REQUEST: Cannot update these configs dynamically: [num.partitions]",
        ),
        (b, "1", SET, "log.cleaner.threads", Some("2"), ""),
        (
            b,
            "1",
            SET,
            "message.max.bytes",
            Some("-4"),
            "INVALID_REQUEST: Invalid value -4 for configuration message.max.bytes: \
             Value must be at least 0",
        ),
        (b, "", SET, "log.retention.ms", Some("99999"), ""),
        (
            b,
            "7",
            SET,
            "log.retention.ms",
            Some("1"),
            "INVALID_REQUEST: Unexpected broker id, expected 1, but received 7",
        ),
        (
            b,
            "x",
            SET,
            "log.retention.ms",
            Some("1"),
            "INVALID_REQUEST: Node id must be an integer, but it is: x",
        ),
        (b, "1", SET, "nosuch.key", Some("1"), ""),
        (
            b,
            "1",
            APPEND,
            "log.retention.ms",
            Some("1"),
            "INVALID_CONFIG: Config value append is not allowed for config key: log.retention.ms",
        ),
        (8, "1", SET, "kafka", Some("DEBUG"), "INVALID_CONFIG: Logger kafka does not exist!"),
        (
            8,
            "1",
            DELETE,
            "root",
            None,
            "INVALID_REQUEST: Removing the log level of the root logger is not allowed",
        ),
        (0, "x", SET, "a", Some("b"), "INVALID_REQUEST: Unknown resource type 0"),
        (16, "x", SET, "interval.ms", Some("1000"), ""),
        (32, "g", SET, "consumer.session.timeout.ms", Some("46000"), ""),
        (
            32,
            "g",
            SET,
            "consumer.nosuch",
            Some("1"),
            "INVALID_CONFIG: Unknown group config name: consumer.nosuch",
        ),
    ];
    for (kind, name, operation, key, value, expected) in cases {
        let told = alter(&mut node, *kind, name, &[(*operation, key, *value)]);
        assert_eq!(told, *expected, "{kind} {name} {operation} {key}");
    }
    assert_eq!(
        alter(&mut node, t, "dump", &[(SET, "flush", Some("async")), (SET, "flush", Some("sync"))]),
        "INVALID_REQUEST: Error due to duplicate config keys"
    );
    let image = node.controller.image();
    let topic: BTreeMap<_, _> = (*image.configs(&ConfigResource::topic("dump"))).clone();
    let topic: Vec<_> = topic.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(topic, [("cleanup.policy", "delete"), ("retention.ms", "5000")]);
    assert_eq!(node.controller.config().topic_defaults.retention_ms, 99_999);
}

#[test]
fn the_older_call_replaces_everything() {
    let mut node = Node::start();
    node.create(vec![with_configs(
        topic("a", 1, 1),
        &[("retention.ms", Some("1")), ("flush", Some("async"))],
    )]);
    let request = legacy::AlterConfigsRequest {
        resources: vec![legacy::AlterConfigsResource {
            resource_type: 2,
            resource_name: "a".into(),
            configs: vec![legacy::AlterableConfig {
                name: "retention.ms".into(),
                value: Some("2".into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        validate_only: true,
        ..Default::default()
    };
    assert!(node.controller.alter_configs(&request).records.is_empty());
    let request = legacy::AlterConfigsRequest { validate_only: false, ..request };
    let decision = node.controller.alter_configs(&request);
    assert_eq!(decision.records.len(), 2);
    assert_eq!(node.commit(decision).responses[0].error_code, 0);
    let configs = node.controller.image().configs(&ConfigResource::topic("a"));
    assert_eq!(configs.len(), 1);
    assert_eq!(configs["retention.ms"], "2");
    let decision = node.controller.alter_configs(&request);
    assert!(decision.records.is_empty(), "nothing changes the second time");
}

#[test]
fn producer_ids_are_given_once() {
    let mut node = Node::start();
    let epoch = node.controller.image().broker(1).unwrap().epoch;
    for first in [0, 1000, 2000] {
        let decision = node.controller.allocate_producer_ids(1, epoch).unwrap();
        let block = node.commit(decision);
        assert_eq!((block.first, block.len), (first, 1000));
    }
    let stale = node.controller.allocate_producer_ids(1, epoch - 1);
    assert_eq!(stale.unwrap_err(), ErrorCode::StaleBrokerEpoch);
    let unknown = node.controller.allocate_producer_ids(2, epoch);
    assert_eq!(unknown.unwrap_err(), ErrorCode::BrokerIdNotRegistered);
}

#[test]
fn an_unclean_stop_begins_new_leader_epochs() {
    let mut node = Node::start();
    node.create(vec![topic("a", 2, 1)]);
    let first_epoch = node.controller.image().broker(1).unwrap().epoch;
    let image = node.controller.image().clone();
    let leader_epoch =
        |node: &Node| node.controller.image().topic("a").unwrap().partitions[&0].leader_epoch;
    let clean = Node::start_with(&[], image.clone(), true);
    assert_eq!(leader_epoch(&clean), 0);
    let unclean = Node::start_with(&[], image, false);
    assert_eq!(leader_epoch(&unclean), 1);
    let broker = unclean.controller.image().broker(1).unwrap();
    assert!(broker.epoch > first_epoch);
    assert!(!broker.fenced);
}
