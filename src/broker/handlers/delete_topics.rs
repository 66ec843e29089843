//! DeleteTopics (key 20): by name or, from version 6, by id.

use std::rc::Rc;

use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::messages::delete_topics_request::DeleteTopicsRequest;
use ringlog_wire::messages::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};

use crate::handlers::forwarded::forward;
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    match request.decode::<DeleteTopicsRequest>() {
        Ok(asked) if asked.timeout_ms > 0 => {}
        // Kafka's controller does not begin what is to be done by now.
        Ok(_) => return failed(&request, ErrorCode::RequestTimedOut),
        Err(close) => return close,
    }
    let body = request.body.clone();
    forward(&shard, &request, body, |error| failed(&request, error)).await
}

/// Nothing was written.
fn failed(request: &Request, error: ErrorCode) -> Answer {
    let asked = match request.decode::<DeleteTopicsRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let named = asked.topic_names.iter().map(|name| (Some(name), Uuid::ZERO));
    let states = asked.topics.iter().map(|topic| (topic.name.as_ref(), topic.topic_id));
    let responses = named.chain(states).map(|(name, topic_id)| DeletableTopicResult {
        name: name.cloned(),
        topic_id,
        error_code: error.code(),
        ..Default::default()
    });
    request.respond(&DeleteTopicsResponse { responses: responses.collect(), ..Default::default() })
}
