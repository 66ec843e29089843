//! CreatePartitions (key 37): adds partitions to topics.

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::create_partitions_request::CreatePartitionsRequest;
use ringlog_wire::messages::create_partitions_response::{
    CreatePartitionsResponse, CreatePartitionsTopicResult,
};

use crate::handlers::forwarded::forward;
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    if let Err(close) = request.decode::<CreatePartitionsRequest>() {
        return close;
    }
    let body = request.body.clone();
    forward(&shard, &request, body, |error| failed(&request, error)).await
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
