//! OffsetDelete (key 47): forgets what a group has committed of topics it does not read any more.

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::offset_delete_request::{
    OffsetDeleteRequest, OffsetDeleteRequestTopic,
};
use ringlog_wire::messages::offset_delete_response::{
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use crate::authorizer::{Operation, Resource};
use crate::handlers::group_routing::{decode_again, on_coordinator};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<OffsetDeleteRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let failed = |error: ErrorCode| {
        request.respond(&OffsetDeleteResponse { error_code: error.code(), ..Default::default() })
    };
    let group = Resource::Group(&asked.group_id);
    if !request.authorize(shard.node.authorizer, Operation::Delete, group) {
        return failed(ErrorCode::GroupAuthorizationFailed);
    }
    let mut refused = Vec::new();
    let wanted: Vec<bool> = asked
        .topics
        .iter()
        .map(|topic| match check(&shard, &request, topic) {
            Ok(()) => true,
            Err(error) => {
                refused.push(answer_all(topic, error));
                false
            }
        })
        .collect();
    let (body, version) = (request.body.clone(), request.version);
    let deleted = on_coordinator(&shard, &asked.group_id, move |groups| {
        let mut asked: OffsetDeleteRequest = decode_again(&body, version);
        let mut wanted = wanted.into_iter();
        asked.topics.retain(|_| wanted.next().unwrap_or(false));
        groups.decide(|groups, _| groups.delete_offsets(&asked)).committed()
    });
    match deleted.await {
        Ok(mut response) => {
            if response.error_code == 0 {
                response.topics.append(&mut refused);
            }
            request.respond(&response)
        }
        Err(error) => failed(error),
    }
}

fn check(
    shard: &Shard,
    request: &Request,
    topic: &OffsetDeleteRequestTopic<'_>,
) -> Result<(), ErrorCode> {
    let resource = Resource::Topic(&topic.name);
    if !request.authorize(shard.node.authorizer, Operation::Read, resource) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    match shard.replicas.topics.by_name(&topic.name) {
        Some(_) => Ok(()),
        None => Err(ErrorCode::UnknownTopicOrPartition),
    }
}

fn answer_all(
    topic: &OffsetDeleteRequestTopic<'_>,
    error: ErrorCode,
) -> OffsetDeleteResponseTopic<'static> {
    let partitions = topic.partitions.iter().map(|partition| OffsetDeleteResponsePartition {
        partition_index: partition.partition_index,
        error_code: error.code(),
    });
    OffsetDeleteResponseTopic {
        name: topic.name.to_string().into(),
        partitions: partitions.collect(),
    }
}
