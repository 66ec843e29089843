//! CreatePartitions (key 37): adds partitions to topics.

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::create_partitions_request::CreatePartitionsRequest;
use ringlog_wire::messages::create_partitions_response::{
    CreatePartitionsResponse, CreatePartitionsTopicResult,
};

use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::publisher::{self, decode_again};
use crate::shard::Shard;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    if let Err(close) = request.decode::<CreatePartitionsRequest>() {
        return close;
    }
    let (body, version) = (request.body.clone(), request.version);
    let decided = publisher::change(&shard, move |decisions, random| {
        let asked: CreatePartitionsRequest = decode_again(&body, version);
        decisions.create_partitions(&asked, random)
    });
    match decided.await {
        Ok(response) => request.respond(&response),
        Err(error) => request.respond(&failed(&request, error)),
    }
}

/// Nothing could be written.
fn failed(request: &Request, error: ErrorCode) -> CreatePartitionsResponse<'static> {
    let asked: CreatePartitionsRequest = decode_again(&request.body, request.version);
    let results = asked.topics.iter().map(|topic| CreatePartitionsTopicResult {
        name: topic.name.to_string().into(),
        error_code: error.code(),
        ..Default::default()
    });
    CreatePartitionsResponse { results: results.collect(), ..Default::default() }
}
