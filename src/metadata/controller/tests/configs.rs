//! Settings altered and refused.

use std::collections::BTreeMap;

use ringlog_wire::messages::alter_configs_request as legacy;
use ringlog_wire::messages::incremental_alter_configs_request as incremental;

use super::{Node, shown, topic, with_configs};
use crate::image::ConfigResource;

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
        };
    let request = incremental::IncrementalAlterConfigsRequest {
        resources: vec![incremental::AlterConfigsResource {
            resource_type: kind,
            resource_name: name.to_owned().into(),
            configs: changes.iter().map(config).collect(),
        }],
        ..Default::default()
    };
    let decision = node.controller.incremental_alter_configs(&request);
    let responses = node.commit(decision).responses;
    shown(responses[0].error_code, responses[0].error_message.as_deref())
}

/// Resource type and name, operation, key and value, and what is told.
type Case = (i8, &'static str, i8, &'static str, Option<&'static str>, &'static str);

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn settings_are_altered_and_refused_as_kafka_does() {
    let mut node = Node::start();
    node.create(vec![with_configs(
        topic("dump", 1, 1),
        &[("cleanup.policy", Some("compact,delete"))],
    )]);
    let (t, b) = (2, 4);
    let cases: &[Case] = &[
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
        (b, "1", DELETE, "num.partitions", None, ""),
        (
            b,
            "1",
            SET,
            "ssl.truststore.type",
            Some("PKCS12"),
            "INVALID_REQUEST: These security configs can be dynamically updated only \
             per-listener using the listener prefix: [ssl.truststore.type]",
        ),
        (b, "1", SET, "listener.name.plaintext.ssl.truststore.type", Some("PKCS12"), ""),
        (
            b,
            "1",
            SET,
            "num.io.threads",
            Some("17"),
            "INVALID_REQUEST: Invalid value org.apache.kafka.common.config.ConfigException: \
             Dynamic thread count update validation failed for num.io.threads=17, value should \
             not be greater than double the current value 8 for configuration Invalid dynamic \
             configuration",
        ),
        (b, "1", SET, "num.io.threads", Some("16"), ""),
        (b, "", SET, "num.io.threads", Some("32"), ""),
        (
            b,
            "1",
            SET,
            "log.retention.ms",
            Some("0"),
            "INVALID_REQUEST: requirement failed: log.retention.ms must be unlimited (-1) or, \
             greater than or equal to 1",
        ),
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
        (
            16,
            "x",
            SET,
            "nosuch",
            Some("1"),
            "INVALID_REQUEST: Unknown client metrics configuration: nosuch",
        ),
        (
            16,
            "x",
            SET,
            "interval.ms",
            Some("bbb"),
            "INVALID_CONFIG: Invalid value bbb for configuration interval.ms: \
             Not a number of type INT",
        ),
        (
            16,
            "x",
            SET,
            "interval.ms",
            Some("5"),
            "INVALID_REQUEST: Invalid value 5 for interval.ms, interval must be between 100 and \
             3600000 (1 hour)",
        ),
        (
            16,
            "x",
            SET,
            "match",
            Some("xx=1"),
            "INVALID_CONFIG: Illegal client matching pattern: xx=1",
        ),
        (
            16,
            "",
            SET,
            "interval.ms",
            Some("1000"),
            "INVALID_REQUEST: Subscription name can't be empty",
        ),
        (
            32,
            "",
            SET,
            "consumer.session.timeout.ms",
            Some("46000"),
            "INVALID_REQUEST: Default group resources are not allowed.",
        ),
        (
            32,
            "g",
            SET,
            "consumer.session.timeout.ms",
            Some("50"),
            "INVALID_CONFIG: consumer.session.timeout.ms must be greater than or equal to \
             group.consumer.min.session.timeout.ms",
        ),
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
            }],
        }],
        validate_only: true,
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
fn what_would_fill_the_memory_is_refused() {
    let mut node = Node::start();
    let long = "x".repeat(40_000);
    let told = alter(&mut node, 4, "", &[(SET, "nosuch.key", Some(&long))]);
    assert_eq!(told, "INVALID_CONFIG: A setting is longer than 32767 bytes.");
    let keys: Vec<String> = (0..10_001).map(|index| format!("key.{index}")).collect();
    let many: Vec<_> = keys.iter().map(|key| (SET, key.as_str(), Some("1"))).collect();
    let told = alter(&mut node, 4, "", &many);
    assert_eq!(told, "POLICY_VIOLATION: Unable to perform excessively large batch operation.");
    assert!(node.controller.image().configs(&ConfigResource::all_brokers()).is_empty());
}
