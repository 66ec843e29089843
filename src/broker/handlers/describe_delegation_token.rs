//! DescribeDelegationToken (key 41): refused, since there are no tokens to log in with.

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::describe_delegation_token_request::DescribeDelegationTokenRequest;
use ringlog_wire::messages::describe_delegation_token_response::DescribeDelegationTokenResponse;

use crate::handlers::Work;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) fn handle(_shard: &Rc<Shard>, request: Request) -> Work {
    if let Err(close) = request.decode::<DescribeDelegationTokenRequest>() {
        return Work::Done(close);
    }
    Work::Done(request.respond(&DescribeDelegationTokenResponse {
        error_code: ErrorCode::DelegationTokenAuthDisabled.code(),
        ..Default::default()
    }))
}
