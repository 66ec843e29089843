//! ConsumerGroupDescribe (key 69): members of consumer groups, what they own and what they are
//! promised. Version 1 says which protocol each of them speaks.

use std::borrow::Cow;
use std::collections::HashSet;
use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::consumer_group_describe_request::ConsumerGroupDescribeRequest;
use ringlog_wire::messages::consumer_group_describe_response::{
    ConsumerGroupDescribeResponse, DescribedGroup,
};

use crate::authorizer::{Operation, Resource};
use crate::handlers::authorized_operations;
use crate::handlers::group_routing::{on_coordinator, serves_consumer_groups};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

const HIDDEN_TOPICS: &str =
    "The described group uses topics that the client is not authorized to describe.";

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<ConsumerGroupDescribeRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let mut response = ConsumerGroupDescribeResponse::default();
    // One that is asked for many times is answered once: an answer is larger than its question.
    let mut seen = HashSet::new();
    for group_id in asked.group_ids.iter().filter(|group_id| seen.insert((*group_id).clone())) {
        let described = describe(&shard, &request, group_id).await;
        let mut described = described.unwrap_or_else(|error| failed(group_id, error, None));
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
    if !serves_consumer_groups(shard) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let authorizer = shard.node.authorizer;
    if !request.authorize(authorizer, Operation::Describe, Resource::Group(group_id)) {
        return Err(ErrorCode::GroupAuthorizationFailed);
    }
    let id = group_id.to_owned();
    let described = on_coordinator(shard, group_id, move |groups| {
        let described = groups.read(|groups| groups.describe_consumer(&id));
        async move { described }
    });
    let described = described.await?;
    let may_see =
        |topic: &str| request.authorize(authorizer, Operation::Describe, Resource::Topic(topic));
    if topics_of(&described).into_iter().all(may_see) {
        return Ok(described);
    }
    Ok(failed(group_id, ErrorCode::TopicAuthorizationFailed, Some(HIDDEN_TOPICS)))
}

/// The topics that a group's members read.
fn topics_of<'a>(group: &'a DescribedGroup<'_>) -> HashSet<&'a str> {
    let members = group.members.iter();
    let topics = members.flat_map(|member| {
        let assignments = [&member.assignment, &member.target_assignment].into_iter();
        let assigned = assignments.flat_map(|assignment| assignment.topic_partitions.iter());
        let assigned = assigned.map(|topic| &*topic.topic_name);
        assigned.chain(member.subscribed_topic_names.iter().map(|name| &**name))
    });
    topics.collect()
}

fn failed(
    group_id: &str,
    error: ErrorCode,
    message: Option<&'static str>,
) -> DescribedGroup<'static> {
    DescribedGroup {
        error_code: error.code(),
        error_message: message.map(Cow::Borrowed),
        group_id: Cow::Owned(group_id.to_owned()),
        authorized_operations: authorized_operations::OMITTED,
        ..Default::default()
    }
}
