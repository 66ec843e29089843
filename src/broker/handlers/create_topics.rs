//! CreateTopics (key 19): the controller decides, and answers when every shard
//! serves the new topics.

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::create_topics_request::CreateTopicsRequest;
use ringlog_wire::messages::create_topics_response::{CreatableTopicResult, CreateTopicsResponse};

use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::publisher::{self, decode_again};
use crate::shard::Shard;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    match request.decode::<CreateTopicsRequest>() {
        Ok(asked) if asked.timeout_ms > 0 => {}
        // Kafka's controller does not begin what is to be done by now.
        Ok(_) => return request.respond(&failed(&request, ErrorCode::RequestTimedOut)),
        Err(close) => return close,
    }
    let (body, version) = (request.body.clone(), request.version);
    let decided = publisher::change(&shard, move |decisions, random| {
        let asked: CreateTopicsRequest = decode_again(&body, version);
        decisions.create_topics(&asked, random)
    });
    match decided.await {
        Ok(response) => request.respond(&response),
        Err(error) => request.respond(&failed(&request, error)),
    }
}

/// Nothing was written.
fn failed(request: &Request, error: ErrorCode) -> CreateTopicsResponse<'static> {
    let asked: CreateTopicsRequest = decode_again(&request.body, request.version);
    let topics = asked.topics.iter().map(|topic| CreatableTopicResult {
        name: topic.name.to_string().into(),
        error_code: error.code(),
        error_message: None,
        ..Default::default()
    });
    CreateTopicsResponse { topics: topics.collect(), ..Default::default() }
}
