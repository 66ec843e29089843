//! CreatePartitions (key 37): adds partitions to topics.

use std::collections::HashMap;
use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::create_partitions_request::CreatePartitionsRequest;
use ringlog_wire::messages::create_partitions_response::{
    CreatePartitionsResponse, CreatePartitionsTopicResult,
};

use crate::authorizer::Operation;
use crate::handlers::authorized_topics;
use crate::handlers::forwarded::{forward, forward_part, said};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let mut asked = match request.decode::<CreatePartitionsRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let denied = take_denied(&shard, &request, &mut asked);
    let failed = |error| failed(&request, error);
    if denied.is_empty() {
        let body = request.body.clone();
        return forward(&shard, &request, body, failed).await;
    }
    let body = match request.encode_body(&asked) {
        Ok(body) => body.bytes,
        Err(close) => return close,
    };
    let add_denied = |body: &[u8]| {
        let mut response: CreatePartitionsResponse<'_> = said(body, request.version);
        response.results.extend(denied);
        request.respond(&response)
    };
    forward_part(&shard, &request, body, failed, add_denied).await
}

/// Takes the topics out that may not be altered, and says what they are answered. A name that
/// stands there twice is refused whoever asks.
fn take_denied(
    shard: &Shard,
    request: &Request,
    asked: &mut CreatePartitionsRequest<'_>,
) -> Vec<CreatePartitionsTopicResult<'static>> {
    let mut times: HashMap<String, usize> = HashMap::new();
    for topic in &asked.topics {
        *times.entry(topic.name.to_string()).or_default() += 1;
    }
    let mut denied = Vec::new();
    asked.topics.retain(|topic| {
        let is_allowed = times[&*topic.name] > 1
            || authorized_topics::may(shard, request, Operation::Alter, &topic.name);
        if !is_allowed {
            denied.push(CreatePartitionsTopicResult {
                name: topic.name.to_string().into(),
                error_code: ErrorCode::TopicAuthorizationFailed.code(),
                ..Default::default()
            });
        }
        is_allowed
    });
    denied
}

/// Nothing could be written.
fn failed(request: &Request, error: ErrorCode) -> Answer {
    let asked = match request.decode::<CreatePartitionsRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let results = asked.topics.iter().map(|topic| CreatePartitionsTopicResult {
        name: topic.name.clone(),
        error_code: error.code(),
        ..Default::default()
    });
    request.respond(&CreatePartitionsResponse { results: results.collect(), ..Default::default() })
}
