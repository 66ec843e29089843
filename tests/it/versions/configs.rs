//! Settings and log directories.

use ringlog_types::ErrorCode;
use ringlog_wire::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use ringlog_wire::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse,
};
use ringlog_wire::messages::describe_log_dirs_request::{
    DescribableLogDirTopic, DescribeLogDirsRequest,
};
use ringlog_wire::messages::describe_log_dirs_response::DescribeLogDirsResponse;
use ringlog_wire::messages::list_config_resources_request::ListConfigResourcesRequest;
use ringlog_wire::messages::list_config_resources_response::ListConfigResourcesResponse;
use ringlog_wire::messages::{
    alter_configs_request as alter, incremental_alter_configs_request as incremental,
};
use ringlog_wire::messages::{alter_configs_response, incremental_alter_configs_response};

use super::{RETENTION_MS, TOPIC, World, topics};
use crate::raw_client::RawClient;

const OF_TOPICS: i8 = 2;
const OF_BROKERS: i8 = 4;
/// Where a value comes from: the topic, or nowhere.
const DYNAMIC_TOPIC_CONFIG: i8 = 1;
const DEFAULT_CONFIG: i8 = 5;
const TYPE_LONG: i8 = 5;

fn resource<'a>(name: &'a str, keys: &[&'a str]) -> DescribeConfigsResource<'a> {
    DescribeConfigsResource {
        resource_type: OF_TOPICS,
        resource_name: name.into(),
        configuration_keys: Some(keys.iter().map(|key| (*key).into()).collect()),
    }
}

pub(super) fn describe_configs(world: &mut World, version: i16) {
    let broker = DescribeConfigsResource {
        resource_type: OF_BROKERS,
        resource_name: "1".into(),
        configuration_keys: None,
    };
    let keys = ["retention.ms", "flush.ms"];
    let resources = vec![resource(TOPIC, &keys), resource("nowhere", &keys), broker];
    let request = DescribeConfigsRequest {
        resources,
        include_synonyms: version >= 1,
        include_documentation: version >= 3,
    };
    let answer = world.wire.ask(version, &request);
    let body: DescribeConfigsResponse = answer.decode();
    let [topic, unknown, broker] = &body.results[..] else { panic!("three results") };
    assert_eq!((topic.error_code, topic.resource_type, &*topic.resource_name), (0, 2, TOPIC));
    assert_eq!(topic.configs.len(), 2);
    let find = |name: &str| -> &DescribeConfigsResourceResult<'_> {
        topic.configs.iter().find(|config| config.name == name).unwrap()
    };
    let set = find("retention.ms");
    assert_eq!((set.value.as_deref(), set.read_only), (Some(RETENTION_MS), false));
    let default = find("flush.ms");
    assert_eq!(default.value.as_deref(), Some("9223372036854775807"));
    if version == 0 {
        assert_eq!((set.is_default, default.is_default), (false, true));
    } else {
        let sources = (set.config_source, default.config_source);
        assert_eq!(sources, (DYNAMIC_TOPIC_CONFIG, DEFAULT_CONFIG));
        let first = &set.synonyms[0];
        assert_eq!((&*first.name, first.source), ("retention.ms", DYNAMIC_TOPIC_CONFIG));
        let last = set.synonyms.last().unwrap();
        assert_eq!((&*last.name, last.source), ("log.retention.hours", DEFAULT_CONFIG));
    }
    assert_eq!(set.config_type, if version < 3 { 0 } else { TYPE_LONG });
    let is_documented = set.documentation.as_deref().is_some_and(|text| !text.is_empty());
    assert_eq!(is_documented, version >= 3);
    assert_eq!(unknown.error_code, ErrorCode::UnknownTopicOrPartition.code());
    assert!(unknown.configs.is_empty());
    let node_id = broker.configs.iter().find(|config| config.name == "node.id").unwrap();
    assert_eq!((node_id.value.as_deref(), node_id.read_only), (Some("1"), true));
}

/// The value of one setting of a topic, and where it comes from.
fn value(wire: &mut RawClient, topic: &str, key: &str) -> (String, i8) {
    let resources = vec![resource(topic, &[key])];
    let answer = wire.ask(1, &DescribeConfigsRequest { resources, ..Default::default() });
    let body: DescribeConfigsResponse = answer.decode();
    let config = &body.results[0].configs[0];
    (config.value.as_deref().unwrap().to_owned(), config.config_source)
}

pub(super) fn alter_configs(world: &mut World, version: i16) {
    let name = format!("alter-{version}");
    topics::create(&mut world.wire, &name, 1, &[("flush.ms", "77")]);
    let mut ask = |value: &str, validate_only| {
        let config =
            alter::AlterableConfig { name: "retention.ms".into(), value: Some(value.into()) };
        let resource = alter::AlterConfigsResource {
            resource_type: OF_TOPICS,
            resource_name: name.as_str().into(),
            configs: vec![config],
        };
        let request = alter::AlterConfigsRequest { resources: vec![resource], validate_only };
        let answer = world.wire.ask(version, &request);
        let body: alter_configs_response::AlterConfigsResponse = answer.decode();
        assert_eq!(body.responses[0].resource_name, name);
        (body.responses[0].error_code, body.responses[0].error_message.is_some())
    };
    assert_eq!(ask("5", true), (0, false));
    assert_eq!(ask("nonsense", false), (ErrorCode::InvalidConfig.code(), true));
    assert_eq!(ask("6", false), (0, false));
    let retention = value(&mut world.wire, &name, "retention.ms");
    assert_eq!(retention, ("6".into(), DYNAMIC_TOPIC_CONFIG));
    let flush = value(&mut world.wire, &name, "flush.ms");
    assert_eq!(flush.1, DEFAULT_CONFIG, "what is not named is as if it had not been set");
}

pub(super) fn incremental_alter_configs(world: &mut World, version: i16) {
    let name = format!("incremental-{version}");
    topics::create(&mut world.wire, &name, 1, &[("flush.ms", "77"), ("retention.ms", "5")]);
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    let mut ask = |configs: &[(&'static str, i8, Option<&'static str>)]| {
        let configs = configs.iter().map(|(name, operation, value)| incremental::AlterableConfig {
            name: (*name).into(),
            config_operation: *operation,
            value: value.map(Into::into),
        });
        let resource = incremental::AlterConfigsResource {
            resource_type: OF_TOPICS,
            resource_name: name.as_str().into(),
            configs: configs.collect(),
        };
        let request = incremental::IncrementalAlterConfigsRequest {
            resources: vec![resource],
            validate_only: false,
        };
        let answer = world.wire.ask(version, &request);
        let body: incremental_alter_configs_response::IncrementalAlterConfigsResponse =
            answer.decode();
        (body.responses[0].error_code, body.responses[0].error_message.is_some())
    };
    let changes = [("retention.ms", SET, Some("6")), ("flush.ms", DELETE, None)];
    assert_eq!(ask(&changes), (0, false));
    let invalid = ErrorCode::InvalidConfig.code();
    assert_eq!(ask(&[("no.such.key", SET, Some("1"))]), (invalid, true));
    let retention = value(&mut world.wire, &name, "retention.ms");
    assert_eq!(retention, ("6".into(), DYNAMIC_TOPIC_CONFIG));
    assert_eq!(value(&mut world.wire, &name, "flush.ms").1, DEFAULT_CONFIG);
}

pub(super) fn list_config_resources(world: &mut World, version: i16) {
    let mut ask = |resource_types| {
        let answer = world.wire.ask(version, &ListConfigResourcesRequest { resource_types });
        let body: ListConfigResourcesResponse = answer.decode();
        assert_eq!(body.error_code, 0);
        let resources = body.config_resources.iter();
        let resources = resources.map(|it| (it.resource_type, it.resource_name.to_string()));
        resources.collect::<Vec<_>>()
    };
    if version == 0 {
        assert_eq!(ask(vec![]), [], "nobody subscribed to clients' metrics");
    } else {
        assert!(ask(vec![OF_TOPICS]).contains(&(OF_TOPICS, TOPIC.into())));
        assert!(ask(vec![]).contains(&(OF_BROKERS, "1".into())));
    }
}

pub(super) fn describe_log_dirs(world: &mut World, version: i16) {
    let topic = DescribableLogDirTopic { topic: TOPIC.into(), partitions: vec![0] };
    let request = DescribeLogDirsRequest { topics: Some(vec![topic]) };
    let answer = world.wire.ask(version, &request);
    let body: DescribeLogDirsResponse = answer.decode();
    assert_eq!((body.error_code, body.results.len()), (0, 1));
    let dir = &body.results[0];
    assert_eq!(dir.error_code, 0);
    assert!(dir.log_dir.starts_with('/'), "{}", dir.log_dir);
    assert_eq!((dir.topics.len(), &*dir.topics[0].name), (1, TOPIC));
    let [partition] = &dir.topics[0].partitions[..] else { panic!("one partition was asked for") };
    assert_eq!((partition.partition_index, partition.offset_lag), (0, 0));
    assert!(partition.partition_size > 100 && !partition.is_future_key);
    let sizes = (dir.total_bytes > 0, dir.usable_bytes > 0);
    assert_eq!(sizes, (version >= 4, version >= 4));
    let answer = world.wire.ask(version, &DescribeLogDirsRequest { topics: None });
    let body: DescribeLogDirsResponse = answer.decode();
    assert!(body.results[0].topics.len() > 1, "null means all of them");
}
