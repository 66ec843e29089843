//! AlterConfigs (key 33): replaces all settings of topics or brokers; the old
//! way, which a client should not use.

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::alter_configs_request::AlterConfigsRequest;
use ringlog_wire::messages::alter_configs_response::{
    AlterConfigsResourceResponse, AlterConfigsResponse,
};

use crate::handlers::forwarded::forward;
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    if let Err(close) = request.decode::<AlterConfigsRequest>() {
        return close;
    }
    let body = request.body.clone();
    forward(&shard, &request, body, |error| failed(&request, error)).await
}

/// Nothing could be written.
fn failed(request: &Request, error: ErrorCode) -> Answer {
    let asked = match request.decode::<AlterConfigsRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let responses = asked.resources.iter().map(|resource| AlterConfigsResourceResponse {
        error_code: error.code(),
        error_message: None,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
    });
    request.respond(&AlterConfigsResponse { responses: responses.collect(), ..Default::default() })
}
