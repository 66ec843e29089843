//! DescribeGroups (key 15): members of classic groups, and what they are assigned.

use std::collections::HashSet;
use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::describe_groups_request::DescribeGroupsRequest;
use ringlog_wire::messages::describe_groups_response::{DescribeGroupsResponse, DescribedGroup};

use crate::authorizer::{Operation, Resource};
use crate::handlers::authorized_operations;
use crate::handlers::group_routing::on_coordinator;
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<DescribeGroupsRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let mut response = DescribeGroupsResponse::default();
    // One that is asked for many times is answered once: an answer is larger than its question.
    let mut seen = HashSet::new();
    for group_id in asked.groups.iter().filter(|group_id| seen.insert((*group_id).clone())) {
        let mut described = match describe(&shard, &request, group_id).await {
            Ok(described) => described,
            Err(error) => failed(group_id, error),
        };
        if described.error_code == 0 {
            let is_asked = asked.include_authorized_operations;
            described.authorized_operations =
                authorized_operations::of_group(&shard, &request, group_id, is_asked);
        }
        response.groups.push(described);
    }
    request.respond(&response)
}

async fn describe(
    shard: &Rc<Shard>,
    request: &Request,
    group_id: &str,
) -> Result<DescribedGroup<'static>, ErrorCode> {
    let resource = Resource::Group(group_id);
    if !request.authorize(shard.node.authorizer, Operation::Describe, resource) {
        return Err(ErrorCode::GroupAuthorizationFailed);
    }
    let (id, version) = (group_id.to_owned(), request.version);
    let described = on_coordinator(shard, group_id, move |groups| {
        let described = groups.read(|groups| groups.describe(&id, version));
        async move { described }
    });
    described.await
}

fn failed(group_id: &str, error: ErrorCode) -> DescribedGroup<'static> {
    let group_id = group_id.to_owned().into();
    let authorized_operations = authorized_operations::OMITTED;
    DescribedGroup {
        error_code: error.code(),
        group_id,
        authorized_operations,
        ..Default::default()
    }
}
