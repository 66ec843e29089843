//! LeaveGroup (key 13): members go, by themselves or because an administrator says so (KIP-345).

use std::rc::Rc;

use ringlog_coordinator::group::LeavingMember;
use ringlog_types::ErrorCode;
use ringlog_wire::messages::leave_group_request::LeaveGroupRequest;
use ringlog_wire::messages::leave_group_response::LeaveGroupResponse;

use crate::authorizer::{Operation, Resource};
use crate::handlers::group_routing::{decode_again, on_coordinator};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

/// From this version on several members are named; before, the only one is.
const BATCHED_VERSION: i16 = 3;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let group_id = match request.decode::<LeaveGroupRequest>() {
        Ok(asked) => asked.group_id.to_string(),
        Err(close) => return close,
    };
    let failed =
        |error: ErrorCode| LeaveGroupResponse { error_code: error.code(), ..Default::default() };
    if !request.authorize(shard.node.authorizer, Operation::Read, Resource::Group(&group_id)) {
        return request.respond(&failed(ErrorCode::GroupAuthorizationFailed));
    }
    let (body, version) = (request.body.clone(), request.version);
    let left = on_coordinator(&shard, &group_id, move |groups| {
        let asked: LeaveGroupRequest = decode_again(&body, version);
        groups
            .decide(|groups, now| groups.leave(&asked.group_id, &leaving(&asked, version), now))
            .committed()
    });
    let mut answer = left.await.unwrap_or_else(failed);
    if version < BATCHED_VERSION
        && let Some(only) = answer.members.pop()
    {
        answer.error_code = only.error_code;
        answer.members.clear();
    }
    request.respond(&answer)
}

fn leaving<'a>(asked: &'a LeaveGroupRequest<'_>, version: i16) -> Vec<LeavingMember<'a>> {
    if version < BATCHED_VERSION {
        return vec![LeavingMember { member_id: &asked.member_id, instance_id: None }];
    }
    let members = asked.members.iter();
    let leaving = members.map(|member| LeavingMember {
        member_id: &member.member_id,
        instance_id: member.group_instance_id.as_deref(),
    });
    leaving.collect()
}
