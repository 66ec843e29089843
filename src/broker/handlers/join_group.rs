//! JoinGroup (key 11): a consumer joins its group, and hears of its generation when all have.

use std::borrow::Cow;
use std::rc::Rc;

use ringlog_coordinator::group::{Deferred, Joiner};
use ringlog_types::ErrorCode;
use ringlog_wire::messages::join_group_request::JoinGroupRequest;
use ringlog_wire::messages::join_group_response::JoinGroupResponse;

use crate::authorizer::{Operation, Resource};
use crate::handlers::group_routing::{decode_again, on_coordinator};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

/// Below this version the answer's protocol cannot be null.
const NULL_PROTOCOL_VERSION: i16 = 7;
/// Below this version there is no null protocol name: empty stands for it.
const NO_GENERATION: i32 = -1;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let (group_id, member_id) = match request.decode::<JoinGroupRequest>() {
        Ok(asked) => (asked.group_id.to_string(), asked.member_id.to_string()),
        Err(close) => return close,
    };
    let failed = move |error: ErrorCode| JoinGroupResponse {
        error_code: error.code(),
        generation_id: NO_GENERATION,
        member_id: Cow::Owned(member_id),
        ..Default::default()
    };
    if !request.authorize(shard.node.authorizer, Operation::Read, Resource::Group(&group_id)) {
        return respond(&request, failed(ErrorCode::GroupAuthorizationFailed));
    }
    let (body, version) = (request.body.clone(), request.version);
    let client_id = request.client_id().into_owned();
    let client_host = format!("/{}", request.peer.address.ip());
    let random = (u128::from(shard.rt.random_u64()) << 64) | u128::from(shard.rt.random_u64());
    // A JoinGroup may wait for minutes, and holds nothing meanwhile.
    request.held.release();
    let request = request.without_body();
    let joined = on_coordinator(&shard, &group_id, move |groups| {
        let asked: JoinGroupRequest = decode_again(&body, version);
        let joiner = Joiner { client_id: &client_id, client_host: &client_host, version, random };
        groups.ask(|groups, reply_to, now| groups.join(&asked, joiner, reply_to, now)).answered()
    });
    match joined.await {
        Ok(Deferred::Join(answer)) => respond(&request, answer),
        Ok(Deferred::Sync(_)) => unreachable!("a JoinGroup request is answered as one"),
        Err(error) => respond(&request, failed(error)),
    }
}

fn respond(request: &Request, mut answer: JoinGroupResponse<'_>) -> Answer {
    if request.version < NULL_PROTOCOL_VERSION {
        answer.protocol_name.get_or_insert_default();
    }
    request.respond(&answer)
}
