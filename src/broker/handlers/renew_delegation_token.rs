//! RenewDelegationToken (key 39): refused, since there are no tokens to log in with.

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::renew_delegation_token_request::RenewDelegationTokenRequest;
use ringlog_wire::messages::renew_delegation_token_response::RenewDelegationTokenResponse;

use crate::handlers::Work;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) fn handle(_shard: &Rc<Shard>, request: Request) -> Work {
    if let Err(close) = request.decode::<RenewDelegationTokenRequest>() {
        return Work::Done(close);
    }
    Work::Done(request.respond(&RenewDelegationTokenResponse {
        error_code: ErrorCode::DelegationTokenAuthDisabled.code(),
        expiry_timestamp_ms: -1,
        ..Default::default()
    }))
}
