//! IncrementalAlterConfigs (key 44): sets, deletes, appends to and
//! subtracts from settings (KIP-339).

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::incremental_alter_configs_request::IncrementalAlterConfigsRequest;
use ringlog_wire::messages::incremental_alter_configs_response::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsResponse,
};

use crate::authorizer::Operation;
use crate::handlers::authorized_configs;
use crate::handlers::forwarded::{forward, forward_part, said};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let mut asked = match request.decode::<IncrementalAlterConfigsRequest>() {
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
        let mut response: IncrementalAlterConfigsResponse<'_> = said(body, request.version);
        response.responses.extend(denied);
        request.respond(&response)
    };
    forward_part(&shard, &request, body, failed, add_denied).await
}

/// Takes the resources out that may not be altered, and says what they are answered.
fn take_denied<'a>(
    shard: &Shard,
    request: &Request,
    asked: &mut IncrementalAlterConfigsRequest<'a>,
) -> Vec<AlterConfigsResourceResponse<'static>> {
    let mut denied = Vec::new();
    asked.resources.retain(|resource| {
        let (resource_type, name) = (resource.resource_type, &resource.resource_name);
        let alter = Operation::AlterConfigs;
        match authorized_configs::check(shard, request, alter, resource_type, name) {
            Ok(()) => true,
            Err((error, words)) => {
                denied.push(AlterConfigsResourceResponse {
                    error_code: error.code(),
                    error_message: Some(words.into()),
                    resource_type,
                    resource_name: name.to_string().into(),
                });
                false
            }
        }
    });
    denied
}

/// Nothing could be written.
fn failed(request: &Request, error: ErrorCode) -> Answer {
    let asked = match request.decode::<IncrementalAlterConfigsRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let responses = asked.resources.iter().map(|resource| AlterConfigsResourceResponse {
        error_code: error.code(),
        error_message: None,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
    });
    request.respond(&IncrementalAlterConfigsResponse {
        responses: responses.collect(),
        ..Default::default()
    })
}
