//! CreateTopics (key 19): the controller decides, and answers when every shard
//! serves the new topics.

use std::collections::HashMap;
use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::create_topics_request::CreateTopicsRequest;
use ringlog_wire::messages::create_topics_response::{CreatableTopicResult, CreateTopicsResponse};

use crate::authorizer::{Operation, Resource};
use crate::handlers::authorized_topics;
use crate::handlers::forwarded::{forward, forward_part, said};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

const METADATA_TOPIC: &str = "__cluster_metadata";

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let mut asked = match request.decode::<CreateTopicsRequest>() {
        Ok(asked) if asked.timeout_ms > 0 => asked,
        // Kafka's controller does not begin what is to be done by now.
        Ok(_) => return failed(&request, ErrorCode::RequestTimedOut),
        Err(close) => return close,
    };
    let denied = take_denied(&shard, &request, &mut asked);
    let failed = |error| failed(&request, error);
    if shard.node.authorizer.allows_all() {
        let body = request.body.clone();
        return forward(&shard, &request, body, failed).await;
    }
    let body = match request.encode_body(&asked) {
        Ok(body) => body.bytes,
        Err(close) => return close,
    };
    let add_denied = |body: &[u8]| {
        let mut response: CreateTopicsResponse<'_> = said(body, request.version);
        hide_configs(&shard, &request, &mut response);
        response.topics.extend(denied);
        request.respond(&response)
    };
    forward_part(&shard, &request, body, failed, add_denied).await
}

/// Takes the topics out that may not be created, and says what they are answered. A name that
/// stands there twice is refused whoever asks, and so is the metadata's own.
fn take_denied(
    shard: &Shard,
    request: &Request,
    asked: &mut CreateTopicsRequest<'_>,
) -> Vec<CreatableTopicResult<'static>> {
    if request.authorize(shard.node.authorizer, Operation::Create, Resource::Cluster) {
        return Vec::new();
    }
    let mut times: HashMap<String, usize> = HashMap::new();
    for topic in &asked.topics {
        *times.entry(topic.name.to_string()).or_default() += 1;
    }
    let mut denied = Vec::new();
    asked.topics.retain(|topic| {
        let is_allowed = times[&*topic.name] > 1
            || topic.name == METADATA_TOPIC
            || authorized_topics::may(shard, request, Operation::Create, &topic.name);
        if !is_allowed {
            denied.push(CreatableTopicResult {
                name: topic.name.to_string().into(),
                error_code: ErrorCode::TopicAuthorizationFailed.code(),
                error_message: Some("Authorization failed.".into()),
                ..Default::default()
            });
        }
        is_allowed
    });
    denied
}

/// Who may not describe a topic's settings is told that instead of them (KIP-525).
fn hide_configs(shard: &Shard, request: &Request, response: &mut CreateTopicsResponse<'_>) {
    for topic in response.topics.iter_mut().filter(|topic| topic.error_code == 0) {
        let describe = Operation::DescribeConfigs;
        if !authorized_topics::may(shard, request, describe, &topic.name) {
            *topic = CreatableTopicResult {
                name: std::mem::take(&mut topic.name),
                topic_id: topic.topic_id,
                topic_config_error_code: ErrorCode::TopicAuthorizationFailed.code(),
                ..Default::default()
            };
        }
    }
}

/// Nothing was written.
fn failed(request: &Request, error: ErrorCode) -> Answer {
    let asked = match request.decode::<CreateTopicsRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let topics = asked.topics.iter().map(|topic| CreatableTopicResult {
        name: topic.name.clone(),
        error_code: error.code(),
        error_message: None,
        ..Default::default()
    });
    request.respond(&CreateTopicsResponse { topics: topics.collect(), ..Default::default() })
}
