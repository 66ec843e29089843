//! Topics.

use ringlog_types::Uuid;
use ringlog_wire::ApiKey;
use ringlog_wire::messages::create_partitions_request::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use ringlog_wire::messages::create_partitions_response::CreatePartitionsResponse;
use ringlog_wire::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use ringlog_wire::messages::create_topics_response::CreateTopicsResponse;
use ringlog_wire::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use ringlog_wire::messages::delete_topics_response::DeleteTopicsResponse;
use ringlog_wire::messages::describe_topic_partitions_request::{
    DescribeTopicPartitionsRequest, TopicRequest,
};
use ringlog_wire::messages::describe_topic_partitions_response::DescribeTopicPartitionsResponse;
use ringlog_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ringlog_wire::messages::metadata_response::MetadataResponse;

use super::{Asker, NOWHERE, TOPIC, listed};

/// An id that no topic has.
const UNKNOWN: Uuid = Uuid::from_u128(77);

/// What is told, if the API is of this area.
pub(super) async fn told(asker: &mut Asker, api: ApiKey) -> Option<String> {
    Some(match api {
        ApiKey::Metadata => metadata(asker).await,
        ApiKey::CreateTopics => create_topics(asker).await,
        ApiKey::DeleteTopics => delete_topics(asker).await,
        ApiKey::CreatePartitions => create_partitions(asker).await,
        ApiKey::DescribeTopicPartitions => describe_topic_partitions(asker).await,
        _ => return None,
    })
}

fn new(name: &'static str) -> CreatableTopic<'static> {
    CreatableTopic {
        name: name.into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    }
}

/// Makes the topic, while that may be done, and returns its id.
pub(super) async fn create(asker: &mut Asker) -> Uuid {
    let request =
        CreateTopicsRequest { topics: vec![new(TOPIC)], timeout_ms: 30_000, ..Default::default() };
    let answer = asker.ask(7, &request).await;
    let body: CreateTopicsResponse = answer.decode();
    assert_eq!(body.topics[0].error_code, 0);
    body.topics[0].topic_id
}

async fn metadata(asker: &mut Asker) -> String {
    let by_name = [TOPIC, NOWHERE]
        .map(|name| MetadataRequestTopic { name: Some(name.into()), topic_id: Uuid::ZERO });
    let by_id =
        [asker.topic_id, UNKNOWN].map(|topic_id| MetadataRequestTopic { name: None, topic_id });
    let mut parts = Vec::new();
    for (what, topics) in
        [("", Some(by_name.to_vec())), ("by id ", Some(by_id.to_vec())), ("all", None)]
    {
        let request = MetadataRequest {
            topics,
            allow_auto_topic_creation: true,
            include_topic_authorized_operations: true,
            ..Default::default()
        };
        let answer = asker.ask(12, &request).await;
        let body: MetadataResponse = answer.decode();
        assert_eq!(body.brokers.len(), 1, "where to connect is no secret");
        let topics = body.topics.iter().map(|topic| {
            let id = if topic.topic_id == Uuid::ZERO { "no id" } else { "its id" };
            let name = topic.name.as_deref().unwrap_or("-");
            format!("{name} {} {id}", topic.error_code)
        });
        parts.push(what.to_owned() + &listed(topics, ", "));
    }
    let request = MetadataRequest {
        topics: Some(Vec::new()),
        include_cluster_authorized_operations: true,
        ..Default::default()
    };
    let answer = asker.ask(9, &request).await;
    let body: MetadataResponse = answer.decode();
    parts.push(format!("cluster {}", body.cluster_authorized_operations));
    listed(parts, " | ")
}

async fn create_topics(asker: &mut Asker) -> String {
    let request = CreateTopicsRequest {
        topics: vec![new("new"), new("twice"), new("twice")],
        timeout_ms: 30_000,
        ..Default::default()
    };
    let answer = asker.ask(7, &request).await;
    let body: CreateTopicsResponse = answer.decode();
    let mut topics: Vec<String> = body
        .topics
        .iter()
        .map(|topic| {
            let message = topic.error_message.as_deref().unwrap_or_default();
            format!("{} {} {message}", topic.name, topic.error_code)
        })
        .collect();
    topics.sort();
    topics.dedup();
    listed(topics, ", ")
}

async fn delete_topics(asker: &mut Asker) -> String {
    let by_name = [TOPIC, NOWHERE]
        .map(|name| DeleteTopicState { name: Some(name.into()), topic_id: Uuid::ZERO });
    let by_id = [asker.topic_id, UNKNOWN].map(|topic_id| DeleteTopicState { name: None, topic_id });
    let mut topics = Vec::new();
    // Kafka shuffles its answers, so that their order tells nothing.
    for topic in by_name.into_iter().chain(by_id) {
        let request =
            DeleteTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
        let answer = asker.ask(6, &request).await;
        let body: DeleteTopicsResponse = answer.decode();
        let [response] = &body.responses[..] else { panic!("one was asked for") };
        let name = response.name.as_deref().unwrap_or("-");
        topics.push(format!("{name} {}", response.error_code));
    }
    listed(topics, ", ")
}

async fn create_partitions(asker: &mut Asker) -> String {
    let topics = [TOPIC, NOWHERE].map(|name| CreatePartitionsTopic {
        name: name.into(),
        count: 5,
        assignments: None,
    });
    let request = CreatePartitionsRequest {
        topics: topics.to_vec(),
        timeout_ms: 30_000,
        ..Default::default()
    };
    let answer = asker.ask(3, &request).await;
    let body: CreatePartitionsResponse = answer.decode();
    let results = body.results.iter();
    listed(results.map(|result| format!("{} {}", result.name, result.error_code)), ", ")
}

async fn describe_topic_partitions(asker: &mut Asker) -> String {
    let named = [TOPIC, NOWHERE].map(|name| TopicRequest { name: name.into() });
    let mut parts = Vec::new();
    for (what, topics) in [("", named.to_vec()), ("all", Vec::new())] {
        let request = DescribeTopicPartitionsRequest {
            topics,
            response_partition_limit: 100,
            ..Default::default()
        };
        let answer = asker.ask(0, &request).await;
        let body: DescribeTopicPartitionsResponse = answer.decode();
        let topics = body
            .topics
            .iter()
            .map(|topic| format!("{} {}", topic.name.as_deref().unwrap_or("-"), topic.error_code));
        parts.push(what.to_owned() + &listed(topics, ", "));
    }
    listed(parts, " | ")
}
