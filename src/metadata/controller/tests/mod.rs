//! The answers, compared with what Apache Kafka 4.3.1 answers to the same requests.

mod brokers;
mod client_quotas;
mod configs;
mod directories;
mod topics;

use std::sync::Arc;

use ringlog_config::{BrokerConfig, RawSettings};
use ringlog_types::{BrokerId, ErrorCode, Uuid};
use ringlog_wire::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use ringlog_wire::messages::create_topics_response::CreatableTopicResult;

use super::{Controller, Decision, Registration, Unlimited};
use crate::image::{BrokerEndpoint, Image};
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
            broker_id: BrokerId(1),
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
        let decision = self.controller.create_topics(&request, random, &Unlimited);
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
    };
    CreatableTopic { configs: configs.iter().map(config).collect(), ..topic }
}
