//! DeleteTopics (key 20): by name or, from version 6, by id.

use std::rc::Rc;

use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::messages::delete_topics_request::DeleteTopicsRequest;
use ringlog_wire::messages::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};

use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::publisher::{self, decode_again};
use crate::shard::Shard;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    match request.decode::<DeleteTopicsRequest>() {
        Ok(asked) if asked.timeout_ms > 0 => {}
        // Kafka's controller does not begin what is to be done by now.
        Ok(_) => return request.respond(&failed(&request, ErrorCode::RequestTimedOut)),
        Err(close) => return close,
    }
    let (body, version) = (request.body.clone(), request.version);
    let decided = publisher::change(&shard, move |decisions, _random| {
        let asked: DeleteTopicsRequest = decode_again(&body, version);
        decisions.delete_topics(&asked, version)
    });
    match decided.await {
        Ok(response) => request.respond(&response),
        Err(error) => request.respond(&failed(&request, error)),
    }
}

/// Nothing was written.
fn failed(request: &Request, error: ErrorCode) -> DeleteTopicsResponse<'static> {
    let asked: DeleteTopicsRequest = decode_again(&request.body, request.version);
    let named = asked.topic_names.iter().map(|name| (Some(name), Uuid::ZERO));
    let states = asked.topics.iter().map(|topic| (topic.name.as_ref(), topic.topic_id));
    let responses = named.chain(states).map(|(name, topic_id)| DeletableTopicResult {
        name: name.map(|name| name.to_string().into()),
        topic_id,
        error_code: error.code(),
        ..Default::default()
    });
    DeleteTopicsResponse { responses: responses.collect(), ..Default::default() }
}
