//! DescribeGroups (key 15): there are no groups yet, and one that does not exist is dead, as in
//! Kafka.

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::describe_groups_request::DescribeGroupsRequest;
use ringlog_wire::messages::describe_groups_response::{DescribeGroupsResponse, DescribedGroup};

use crate::authorizer::{Operation, Resource};
use crate::handlers::{Work, authorized_operations};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

/// From this version a group that does not exist is an error (KIP-1043).
const VERSION_NOT_FOUND: i16 = 6;

/// The state of a group that does not exist (`ClassicGroupState.DEAD`).
const DEAD: &str = "Dead";

pub(crate) fn handle(shard: &Rc<Shard>, request: Request) -> Work {
    Work::Done(answer(shard, &request))
}

fn answer(shard: &Shard, request: &Request) -> Answer {
    let asked = match request.decode::<DescribeGroupsRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let groups = asked.groups.iter().map(|group_id| {
        let described = DescribedGroup {
            group_id: group_id.clone(),
            authorized_operations: authorized_operations::OMITTED,
            ..Default::default()
        };
        let resource = Resource::Group(group_id);
        if !request.authorize(shard.node.authorizer, Operation::Describe, resource) {
            let error_code = ErrorCode::GroupAuthorizationFailed.code();
            return DescribedGroup { error_code, ..described };
        }
        if request.version < VERSION_NOT_FOUND {
            let may = authorized_operations::of_group(asked.include_authorized_operations);
            let group_state = DEAD.into();
            return DescribedGroup { group_state, authorized_operations: may, ..described };
        }
        DescribedGroup {
            error_code: ErrorCode::GroupIdNotFound.code(),
            error_message: Some(format!("Group {group_id} not found.").into()),
            group_state: DEAD.into(),
            ..described
        }
    });
    let groups = groups.collect();
    request.respond(&DescribeGroupsResponse { groups, ..Default::default() })
}
