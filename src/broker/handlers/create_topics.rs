//! CreateTopics (key 19): the controller decides, and answers when every shard
//! serves the new topics.

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::create_topics_request::CreateTopicsRequest;
use ringlog_wire::messages::create_topics_response::{CreatableTopicResult, CreateTopicsResponse};

use crate::handlers::forwarded::forward;
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    match request.decode::<CreateTopicsRequest>() {
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
