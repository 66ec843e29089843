//! IncrementalAlterConfigs (key 44): sets, deletes, appends to and
//! subtracts from settings (KIP-339).

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::incremental_alter_configs_request::IncrementalAlterConfigsRequest;
use ringlog_wire::messages::incremental_alter_configs_response::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsResponse,
};

use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::publisher::{self, decode_again};
use crate::shard::Shard;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    if let Err(close) = request.decode::<IncrementalAlterConfigsRequest>() {
        return close;
    }
    let (body, version) = (request.body.clone(), request.version);
    let decided = publisher::change(&shard, move |decisions, _random| {
        let asked: IncrementalAlterConfigsRequest = decode_again(&body, version);
        decisions.incremental_alter_configs(&asked)
    });
    match decided.await {
        Ok(response) => request.respond(&response),
        Err(error) => request.respond(&failed(&request, error)),
    }
}

/// Nothing could be written.
fn failed(request: &Request, error: ErrorCode) -> IncrementalAlterConfigsResponse<'static> {
    let asked: IncrementalAlterConfigsRequest = decode_again(&request.body, request.version);
    let responses = asked.resources.iter().map(|resource| AlterConfigsResourceResponse {
        error_code: error.code(),
        error_message: None,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.to_string().into(),
    });
    IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() }
}
