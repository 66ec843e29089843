//! Topics, settings, and the errors in Kafka's words.

use std::sync::Arc;

use ringlog_client::{
    ConfigChange, ConfigOperation, ConfigResource, NewTopic, OffsetSpec, ProducerSettings,
};
use ringlog_types::{ErrorCode, TopicPartition};
use ringlog_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ringlog_wire::messages::metadata_response::MetadataResponse;

use crate::node::{Node, texts, values};
use crate::raw_client::RawClient;

#[tokio::test]
async fn topics_come_change_and_go() {
    let node = Node::start();
    let client = node.client().await;
    node.create("one", 2, &[("retention.ms", "1000")]).await;
    let again = NewTopic { name: "one".into(), ..NewTopic::default() };
    let error = client.create_topic(&again, false).await.unwrap_err().to_string();
    assert!(error.contains("TOPIC_ALREADY_EXISTS"), "{error}");
    client.create_partitions("one", 5).await.unwrap();
    let topics = client.topics().await.unwrap();
    assert_eq!(topics[0].partitions.len(), 5);
    for bad in ["..", "a/b", ""] {
        let topic = NewTopic { name: bad.into(), ..NewTopic::default() };
        let error = client.create_topic(&topic, false).await.unwrap_err().to_string();
        assert!(error.contains("INVALID_TOPIC_EXCEPTION"), "{bad}: {error}");
    }
    let dry = NewTopic { name: "dry".into(), ..NewTopic::default() };
    client.create_topic(&dry, true).await.unwrap();
    client.delete_topic("one").await.unwrap();
    assert!(client.topics().await.unwrap().is_empty(), "a dry run creates nothing");
}

/// Who asks for a topic that cannot be made is told that it is unknown: only the log says why, and
/// names the topic that is in the way.
#[tokio::test]
async fn why_a_topic_is_not_made_by_being_asked_for_is_told_once() {
    let node = Node::start();
    node.create("a_b", 1, &[]).await;
    let mut client = RawClient::connect(&node);
    for _ in 0..20 {
        let topic = MetadataRequestTopic { name: Some("a.b".into()), ..Default::default() };
        let asked = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: true,
            ..Default::default()
        };
        let answer = client.ask(9, &asked);
        let metadata = answer.decode::<MetadataResponse<'_>>();
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        assert_eq!(metadata.topics[0].error_code, unknown);
    }
    let (_, log) = node.stop_and_tell();
    let told = log.matches("Topic 'a.b' collides with existing topic: a_b").count();
    assert_eq!(told, 1, "{log}");
}

/// Answers are kept until the metadata changes; one that was given while a change was under way
/// must not be kept beyond it.
#[tokio::test]
async fn a_change_that_was_answered_is_seen_by_everybody() {
    tokio::task::LocalSet::new().run_until(change_while_others_ask()).await;
}

async fn change_while_others_ask() {
    let node = Node::start_with(Arc::new(tempfile::tempdir().unwrap()), &["--shards", "2"]);
    let mut others = Vec::new();
    for _ in 0..6 {
        others.push(Arc::new(node.client().await));
    }
    let asking: Vec<_> = others
        .iter()
        .cloned()
        .map(|client| {
            tokio::task::spawn_local(async move {
                loop {
                    client.topics().await.unwrap();
                }
            })
        })
        .collect();
    for round in 0..40 {
        let name = format!("new-{round}");
        node.create(&name, 4, &[]).await;
        for (index, client) in others.iter().enumerate() {
            let seen = client.topics().await.unwrap();
            assert!(seen.iter().any(|topic| *topic.name == *name), "{name}, client {index}");
        }
        if round % 4 == 3 {
            others[0].delete_topic(&name).await.unwrap();
            for (index, client) in others.iter().enumerate() {
                let seen = client.topics().await.unwrap();
                assert!(seen.iter().all(|topic| *topic.name != *name), "{name}, client {index}");
            }
        }
    }
    asking.iter().for_each(|task| task.abort());
}

#[tokio::test]
async fn settings_take_effect_and_survive() {
    let node = Node::start();
    let client = node.client().await;
    node.create("set", 1, &[]).await;
    let resource = ConfigResource::Topic("set".into());
    let set = |name: &str, value: &str| ConfigChange {
        name: name.into(),
        operation: ConfigOperation::Set(value.into()),
    };
    client.alter_configs(&resource, &[set("max.message.bytes", "2000")], false).await.unwrap();
    let wrong = client.alter_configs(&resource, &[set("retention.ms", "soon")], false).await;
    assert!(wrong.unwrap_err().to_string().contains("INVALID_CONFIG"));
    let node = Node::start_with(node.kill(), &["--shards", "1"]);
    let configs = node.client().await.describe_configs(&resource).await.unwrap();
    let found = configs.iter().find(|config| config.name == "max.message.bytes").unwrap();
    assert_eq!((found.value.as_deref(), found.is_override), (Some("2000"), true));
    node.produce("set", 0, &values(1, 100), ProducerSettings::default()).await;
    assert_eq!(node.consume("set", 0, 0).await.len(), 1);
}

#[tokio::test]
async fn records_are_deleted_from_the_front() {
    let node = Node::start();
    node.create("front", 1, &[]).await;
    let sent = values(100, 30);
    node.produce("front", 0, &sent, ProducerSettings::default()).await;
    let partition = TopicPartition::new("front", 0);
    let low_watermark = node.client().await.delete_records(&partition, 40).await.unwrap();
    assert_eq!(low_watermark, 40);
    let node = Node::start_with(node.kill(), &["--shards", "2"]);
    // It was answered, so it is erased: the start went back to 0 after a crash.
    let found = node.client().await.list_offsets(&[partition], OffsetSpec::Earliest).await.unwrap();
    assert_eq!(found.values().next().unwrap().offset, Some(40));
    let read = node.consume("front", 0, 40).await;
    assert_eq!(texts(&read), sent[40..]);
    assert_eq!(read[0].offset, 40);
}
