//! Topics: create, delete, list, describe, add partitions.

use std::sync::Arc;

use ringlog_types::Uuid;
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

use super::CHANGE_TIMEOUT_MS;
use crate::client::{Client, Node};
use crate::error::ClientError;
use crate::metadata::TopicMetadata;

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; `None` for the broker's `num.partitions`.
    pub partitions: Option<i32>,
    /// How many replicas; `None` for the broker's `default.replication.factor`.
    pub replication_factor: Option<i16>,
    /// Settings that differ from the broker's.
    pub configs: Vec<(String, String)>,
}

impl Client {
    /// Creates a topic, or only checks whether it could be. Gives its id.
    ///
    /// # Errors
    /// As the broker answers: the topic exists, a setting is wrong, and so on.
    pub async fn create_topic(
        &self,
        topic: &NewTopic,
        validate_only: bool,
    ) -> Result<Uuid, ClientError> {
        let config = |(name, value): &(String, String)| CreatableTopicConfig {
            name: name.clone().into(),
            value: Some(value.clone().into()),
        };
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: topic.name.clone().into(),
                num_partitions: topic.partitions.unwrap_or(-1),
                replication_factor: topic.replication_factor.unwrap_or(-1),
                configs: topic.configs.iter().map(config).collect(),
                ..Default::default()
            }],
            timeout_ms: CHANGE_TIMEOUT_MS,
            validate_only,
        };
        self.retrying(async || {
            let reply = self.request(Node::Controller, &request).await?;
            let response: CreateTopicsResponse<'_> = reply.decode()?;
            let context = || format!("creating topic {}", topic.name);
            let result = only(response.topics, context)?;
            let message = result.error_message.as_deref();
            ClientError::from_code(result.error_code, message, context)
                .map_or(Ok(result.topic_id), Err)
        })
        .await
    }

    /// Deletes a topic with all its records.
    ///
    /// # Errors
    /// As the broker answers.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        // The version decides which of the two fields is sent.
        let by_name = DeleteTopicState { name: Some(name.into()), ..Default::default() };
        let request = |version: i16| DeleteTopicsRequest {
            topics: if version >= 6 { vec![by_name.clone()] } else { Vec::new() },
            topic_names: if version < 6 { vec![name.into()] } else { Vec::new() },
            timeout_ms: CHANGE_TIMEOUT_MS,
        };
        let connection_and_delete = async || {
            let connection = self.connection(Node::Controller).await?;
            let version = connection.version::<DeleteTopicsRequest<'_>>(i16::MAX)?;
            let reply = connection.request(&request(version), version).await?;
            let response: DeleteTopicsResponse<'_> = reply.decode()?;
            let context = || format!("deleting topic {name}");
            let result = only(response.responses, context)?;
            let message = result.error_message.as_deref();
            // Deleting is not repeated until the topic appears: that it is unknown is final.
            ClientError::from_code(result.error_code, message, context).map_or(Ok(()), Err)
        };
        match connection_and_delete().await {
            Err(error) if error.is_retriable() && error.code() != UNKNOWN_TOPIC => {
                self.retrying(connection_and_delete).await
            }
            result => result,
        }
    }

    /// Gives a topic more partitions, `total` in all.
    ///
    /// # Errors
    /// As the broker answers; fewer partitions than there are is one.
    pub async fn create_partitions(&self, name: &str, total: i32) -> Result<(), ClientError> {
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: name.into(),
                count: total,
                assignments: None,
            }],
            timeout_ms: CHANGE_TIMEOUT_MS,
            validate_only: false,
        };
        // That the topic is unknown is final here too: asked first, with few retries.
        self.refresh_topic(name, false).await?;
        self.retrying(async || {
            let reply = self.request(Node::Controller, &request).await?;
            let response: CreatePartitionsResponse<'_> = reply.decode()?;
            let context = || format!("adding partitions to topic {name}");
            let result = only(response.results, context)?;
            let message = result.error_message.as_deref();
            ClientError::from_code(result.error_code, message, context).map_or(Ok(()), Err)
        })
        .await
    }

    /// All topics, by name.
    ///
    /// # Errors
    /// No broker answers.
    pub async fn topics(&self) -> Result<Vec<Arc<TopicMetadata>>, ClientError> {
        self.retrying(async || self.fetch_metadata(None, false).await).await?;
        let mut topics: Vec<_> = self.cluster().topics.values().cloned().collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }
}

const UNKNOWN_TOPIC: Option<ringlog_types::ErrorCode> =
    Some(ringlog_types::ErrorCode::UnknownTopicOrPartition);

/// The one result of a request for one thing.
pub(super) fn only<T>(results: Vec<T>, context: impl FnOnce() -> String) -> Result<T, ClientError> {
    let missing = || ClientError::Invalid(format!("{}: the answer has no result", context()));
    results.into_iter().next().ok_or_else(missing)
}
