//! CreateDelegationToken (key 38): refused, since there are no tokens to log in with.

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::create_delegation_token_request::CreateDelegationTokenRequest;
use ringlog_wire::messages::create_delegation_token_response::CreateDelegationTokenResponse;

use crate::handlers::Work;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) fn handle(_shard: &Rc<Shard>, request: Request) -> Work {
    if let Err(close) = request.decode::<CreateDelegationTokenRequest>() {
        return Work::Done(close);
    }
    Work::Done(request.respond(&CreateDelegationTokenResponse {
        error_code: ErrorCode::DelegationTokenAuthDisabled.code(),
        issue_timestamp_ms: -1,
        expiry_timestamp_ms: -1,
        max_timestamp_ms: -1,
        ..Default::default()
    }))
}
