//! ListGroups (key 16): all groups of this broker, of the states and types that are asked for.

use std::rc::Rc;

use ringlog_coordinator::group::ListFilter;
use ringlog_types::ErrorCode;
use ringlog_wire::messages::list_groups_request::ListGroupsRequest;
use ringlog_wire::messages::list_groups_response::{ListGroupsResponse, ListedGroup};

use crate::authorizer::{Operation, Resource};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<ListGroupsRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let owned = |names: &[std::borrow::Cow<'_, str>]| -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    };
    let (states, types) = (owned(&asked.states_filter), owned(&asked.types_filter));
    let listed = shard.on_every_shard(move |shard| {
        let listed = list(shard, &states, &types);
        async move { listed }
    });
    let mut response = ListGroupsResponse::default();
    for listed in listed.await {
        match listed {
            Ok(groups) => response.groups.extend(groups),
            // Kafka answers what it has, beside the error.
            Err(error) => response.error_code = error.code(),
        }
    }
    let authorizer = shard.node.authorizer;
    if !request.authorize(authorizer, Operation::Describe, Resource::Cluster) {
        response.groups.retain(|group| {
            request.authorize(authorizer, Operation::Describe, Resource::Group(&group.group_id))
        });
    }
    request.respond(&response)
}

/// The groups of a shard's coordinators.
fn list(
    shard: &Shard,
    states: &[String],
    types: &[String],
) -> Result<Vec<ListedGroup<'static>>, ErrorCode> {
    let filter = ListFilter {
        states: states.iter().map(String::as_str).collect(),
        types: types.iter().map(String::as_str).collect(),
    };
    let mut groups = Vec::new();
    for coordinator in shard.coordinators.all_of_groups() {
        groups.extend(coordinator.read(|groups| groups.list(&filter))?);
    }
    Ok(groups)
}
