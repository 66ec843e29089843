//! DeleteGroups (key 42): empty groups go, with all that they committed.

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::delete_groups_request::DeleteGroupsRequest;
use ringlog_wire::messages::delete_groups_response::{DeletableGroupResult, DeleteGroupsResponse};

use crate::authorizer::{Operation, Resource};
use crate::handlers::group_routing::on_coordinator;
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<DeleteGroupsRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let mut response = DeleteGroupsResponse::default();
    for group_id in &asked.groups_names {
        let error = delete(&shard, &request, group_id).await;
        response
            .results
            .push(DeletableGroupResult { group_id: group_id.clone(), error_code: error.code() });
    }
    request.respond(&response)
}

async fn delete(shard: &Rc<Shard>, request: &Request, group_id: &str) -> ErrorCode {
    let resource = Resource::Group(group_id);
    if !request.authorize(shard.node.authorizer, Operation::Delete, resource) {
        return ErrorCode::GroupAuthorizationFailed;
    }
    if shard.replicas.topics.by_name(crate::coordinators::GROUP_TOPIC).is_none() {
        // Nobody has ever used a group.
        return ErrorCode::GroupIdNotFound;
    }
    let id = group_id.to_owned();
    let deleted = on_coordinator(shard, group_id, move |groups| {
        groups.decide(|groups, _| groups.delete_group(&id)).committed()
    });
    deleted.await.unwrap_or_else(|error| error)
}
