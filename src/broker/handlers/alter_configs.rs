//! AlterConfigs (key 33): replaces all settings of topics or brokers; the old
//! way, which a client should not use.

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::alter_configs_request::{AlterConfigsRequest, AlterConfigsResource};
use ringlog_wire::messages::alter_configs_response::{
    AlterConfigsResourceResponse, AlterConfigsResponse,
};

use crate::authorizer::Operation;
use crate::handlers::authorized_configs;
use crate::handlers::forwarded::{self, Forwarded, take_refused};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

struct AlterConfigs;

pub(crate) fn handle(shard: Rc<Shard>, request: Request) -> impl Future<Output = Answer> {
    forwarded::handle::<AlterConfigs>(shard, request)
}

impl Forwarded for AlterConfigs {
    type Request<'a> = AlterConfigsRequest<'a>;
    type Response<'a> = AlterConfigsResponse<'a>;
    type Outcome = AlterConfigsResourceResponse<'static>;

    fn take_denied(
        shard: &Shard,
        request: &Request,
        asked: &mut AlterConfigsRequest<'_>,
    ) -> Vec<Self::Outcome> {
        let alter = Operation::AlterConfigs;
        take_refused(&mut asked.resources, |resource| {
            let (resource_type, name) = (resource.resource_type, &resource.resource_name);
            let checked = authorized_configs::check(shard, request, alter, resource_type, name);
            let (error, words) = checked.err()?;
            Some(outcome(resource, error, Some(words)))
        })
    }

    fn failed(asked: &AlterConfigsRequest<'_>, error: ErrorCode) -> Vec<Self::Outcome> {
        asked.resources.iter().map(|resource| outcome(resource, error, None)).collect()
    }

    fn add(response: &mut AlterConfigsResponse<'_>, outcomes: Vec<Self::Outcome>) {
        response.responses.extend(outcomes);
    }
}

fn outcome(
    resource: &AlterConfigsResource<'_>,
    error: ErrorCode,
    words: Option<&'static str>,
) -> AlterConfigsResourceResponse<'static> {
    AlterConfigsResourceResponse {
        error_code: error.code(),
        error_message: words.map(Into::into),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.to_string().into(),
    }
}
