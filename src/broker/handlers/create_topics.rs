//! CreateTopics (key 19): the controller decides, and answers when every shard
//! serves the new topics.

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use ringlog_wire::messages::create_topics_response::{CreatableTopicResult, CreateTopicsResponse};

use crate::authorizer::{Operation, Resource};
use crate::handlers::authorized_topics::{self, occurrences};
use crate::handlers::forwarded::{self, Forwarded, take_refused};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

const METADATA_TOPIC: &str = "__cluster_metadata";

/// From this version the answer tells what settings the topics have (KIP-525).
const VERSION_CONFIGS: i16 = 5;
/// No more topics are created at once: each has a partition at least.
const TOPICS_MAX: usize = 10_000;
/// About what the settings of a topic take in an answer.
const CONFIGS_BYTES: usize = 2 << 10;

struct CreateTopics;

pub(crate) fn handle(shard: Rc<Shard>, request: Request) -> impl Future<Output = Answer> {
    forwarded::handle::<CreateTopics>(shard, request)
}

impl Forwarded for CreateTopics {
    type Request<'a> = CreateTopicsRequest<'a>;
    type Response<'a> = CreateTopicsResponse<'a>;
    type Outcome = CreatableTopicResult<'static>;

    fn check(asked: &CreateTopicsRequest<'_>) -> Result<(), ErrorCode> {
        // Kafka's controller does not begin what is to be done by now.
        if asked.timeout_ms > 0 { Ok(()) } else { Err(ErrorCode::RequestTimedOut) }
    }

    /// Each topic's settings are told.
    fn answer_bytes(asked: &CreateTopicsRequest<'_>, version: i16) -> usize {
        match version {
            VERSION_CONFIGS.. => asked.topics.len().min(TOPICS_MAX) * CONFIGS_BYTES,
            _ => 0,
        }
    }

    /// A name that stands there twice is refused whoever asks, and so is the metadata's own.
    fn take_denied(
        shard: &Shard,
        request: &Request,
        asked: &mut CreateTopicsRequest<'_>,
    ) -> Vec<Self::Outcome> {
        if request.authorize(shard.node.authorizer, Operation::Create, Resource::Cluster) {
            return Vec::new();
        }
        let times = occurrences(asked.topics.iter().map(|topic| &*topic.name));
        take_refused(&mut asked.topics, |topic| {
            let is_allowed = times[&*topic.name] > 1
                || topic.name == METADATA_TOPIC
                || authorized_topics::may(shard, request, Operation::Create, &topic.name);
            (!is_allowed).then(|| CreatableTopicResult {
                error_message: Some("Authorization failed.".into()),
                ..outcome(topic, ErrorCode::TopicAuthorizationFailed)
            })
        })
    }

    fn failed(asked: &CreateTopicsRequest<'_>, error: ErrorCode) -> Vec<Self::Outcome> {
        asked.topics.iter().map(|topic| outcome(topic, error)).collect()
    }

    fn add(response: &mut CreateTopicsResponse<'_>, outcomes: Vec<Self::Outcome>) {
        response.topics.extend(outcomes);
    }

    fn is_reviewed(shard: &Shard) -> bool {
        !shard.node.authorizer.allows_all()
    }

    /// A principal that may not describe a topic's settings is told that instead of them
    /// (KIP-525).
    fn review(shard: &Shard, request: &Request, response: &mut CreateTopicsResponse<'_>) {
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
}

fn outcome(topic: &CreatableTopic<'_>, error: ErrorCode) -> CreatableTopicResult<'static> {
    CreatableTopicResult {
        name: topic.name.to_string().into(),
        error_code: error.code(),
        error_message: None,
        ..Default::default()
    }
}
