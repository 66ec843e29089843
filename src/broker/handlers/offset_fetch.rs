//! OffsetFetch (key 9): what groups have committed.
//!
//! From version 8 on several groups are asked for at once (KIP-709); before, the only one is, and
//! its answer has another form.

use std::borrow::Cow;
use std::collections::HashSet;
use std::rc::Rc;

use ringlog_coordinator::group::WantedOffsets;
use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::messages::offset_fetch_request::OffsetFetchRequestTopics;
use ringlog_wire::messages::offset_fetch_request::{OffsetFetchRequest, OffsetFetchRequestGroup};
use ringlog_wire::messages::offset_fetch_response::{
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

use crate::authorizer::{Operation, Resource};
use crate::handlers::group_routing::on_coordinator;
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

/// From this version on there is a list of groups.
const BATCHED_VERSION: i16 = 8;
/// From this version on topics are named by id.
const TOPIC_ID_VERSION: i16 = 10;
/// Below this version an error stands with each partition, not with the group.
const GROUP_ERROR_VERSION: i16 = 2;

/// A topic that is asked for: its name and id, and the partitions.
type Wanted = (String, Uuid, Vec<i32>);

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<OffsetFetchRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    if request.version >= BATCHED_VERSION {
        let mut groups = Vec::with_capacity(asked.groups.len());
        let mut seen = HashSet::new();
        for group in asked.groups.iter().filter(|group| seen.insert(group.group_id.clone())) {
            groups.push(fetch(&shard, &request, group).await);
        }
        return request.respond(&OffsetFetchResponse { groups, ..Default::default() });
    }
    let group = of_old_request(&asked);
    let found = fetch(&shard, &request, &group).await;
    request.respond(&old_response(found, request.version))
}

/// The group of a request of one.
fn of_old_request<'a>(asked: &OffsetFetchRequest<'a>) -> OffsetFetchRequestGroup<'a> {
    let topics = asked.topics.as_ref().map(|topics| {
        let topics = topics.iter().map(|topic| OffsetFetchRequestTopics {
            name: topic.name.clone(),
            partition_indexes: topic.partition_indexes.clone(),
            ..Default::default()
        });
        topics.collect()
    });
    OffsetFetchRequestGroup { group_id: asked.group_id.clone(), topics, ..Default::default() }
}

async fn fetch(
    shard: &Rc<Shard>,
    request: &Request,
    group: &OffsetFetchRequestGroup<'_>,
) -> OffsetFetchResponseGroup<'static> {
    let resource = Resource::Group(&group.group_id);
    if !request.authorize(shard.node.authorizer, Operation::Describe, resource) {
        return failed(group, ErrorCode::GroupAuthorizationFailed);
    }
    let mut refused = Vec::new();
    let wanted: Option<Vec<Wanted>> = group.topics.as_ref().map(|topics| {
        let mut seen = HashSet::new();
        let topics = topics.iter().filter(|topic| seen.insert((&topic.name, topic.topic_id)));
        topics.filter_map(|topic| route(shard, request, topic, &mut refused)).collect()
    });
    let group_id = group.group_id.to_string();
    let member_id = group.member_id.as_ref().map(|id| id.to_string());
    let member_epoch = group.member_epoch;
    let found = on_coordinator(shard, &group.group_id, move |groups| {
        let checked =
            groups.read(|groups| groups.check_fetch(&group_id, member_id.as_deref(), member_epoch));
        let found = checked.flatten().and_then(|()| {
            groups.read(|groups| match &wanted {
                Some(wanted) => {
                    let wanted: Vec<WantedOffsets<'_>> = wanted
                        .iter()
                        .map(|(topic, topic_id, partitions)| WantedOffsets {
                            topic,
                            topic_id: *topic_id,
                            partitions,
                        })
                        .collect();
                    groups.fetch_offsets(&group_id, Some(&wanted))
                }
                None => groups.fetch_offsets(&group_id, None),
            })
        });
        async move { found }
    });
    match found.await {
        Ok(mut found) => {
            if group.topics.is_none() {
                hide(shard, request, &mut found);
            }
            found.topics.append(&mut refused);
            found
        }
        Err(error) => failed(group, error),
    }
}

/// What is asked of the coordinator; a topic that is not there, or not to be seen, is answered
/// here.
fn route(
    shard: &Shard,
    request: &Request,
    topic: &OffsetFetchRequestTopics<'_>,
    refused: &mut Vec<OffsetFetchResponseTopics<'static>>,
) -> Option<Wanted> {
    let is_by_id = request.version >= TOPIC_ID_VERSION;
    let entry = match is_by_id {
        true => shard.replicas.topics.by_id(&topic.topic_id),
        false => shard.replicas.topics.by_name(&topic.name),
    };
    let name = entry.as_ref().map_or(&*topic.name, |entry| &*entry.name);
    let may_see =
        request.authorize(shard.node.authorizer, Operation::Describe, Resource::Topic(name));
    let error = match (is_by_id, &entry, may_see) {
        (true, None, _) | (true, _, false) => ErrorCode::UnknownTopicId,
        (false, _, false) => ErrorCode::TopicAuthorizationFailed,
        // Offsets of a topic that was deleted are told as long as they are there.
        _ => {
            let id = entry.as_ref().map_or(Uuid::ZERO, |entry| entry.id);
            // One that is asked for many times is answered once: an answer is larger than its
            // question.
            let mut seen = HashSet::new();
            let mut indexes = topic.partition_indexes.clone();
            indexes.retain(|index| seen.insert(*index));
            return Some((name.to_owned(), id, indexes));
        }
    };
    refused.push(OffsetFetchResponseTopics {
        name: Cow::Owned(topic.name.to_string()),
        topic_id: topic.topic_id,
        partitions: topic.partition_indexes.iter().map(|index| nothing(*index, error)).collect(),
    });
    None
}

/// Of everything that a group has committed, what the client may see, with the topics' ids. By id,
/// what is not there any more cannot be named.
fn hide(shard: &Shard, request: &Request, found: &mut OffsetFetchResponseGroup<'static>) {
    found.topics.retain_mut(|topic| {
        let id = shard.replicas.topics.by_name(&topic.name).map(|entry| entry.id);
        topic.topic_id = id.unwrap_or(Uuid::ZERO);
        let resource = Resource::Topic(&topic.name);
        (id.is_some() || request.version < TOPIC_ID_VERSION)
            && request.authorize(shard.node.authorizer, Operation::Describe, resource)
    });
}

fn nothing(index: i32, error: ErrorCode) -> OffsetFetchResponsePartitions<'static> {
    OffsetFetchResponsePartitions {
        partition_index: index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(Cow::Borrowed("")),
        error_code: error.code(),
    }
}

/// The group's error; each partition asked for stands with it, for versions that need that.
fn failed(
    group: &OffsetFetchRequestGroup<'_>,
    error: ErrorCode,
) -> OffsetFetchResponseGroup<'static> {
    let topics = group.topics.iter().flatten().map(|topic| OffsetFetchResponseTopics {
        name: Cow::Owned(topic.name.to_string()),
        topic_id: topic.topic_id,
        partitions: topic.partition_indexes.iter().map(|index| nothing(*index, error)).collect(),
    });
    OffsetFetchResponseGroup {
        group_id: Cow::Owned(group.group_id.to_string()),
        topics: topics.collect(),
        error_code: error.code(),
    }
}

fn old_response(
    found: OffsetFetchResponseGroup<'static>,
    version: i16,
) -> OffsetFetchResponse<'static> {
    let error_code = found.error_code;
    // With an error of the whole group nothing is listed where it has a place of its own.
    let is_listed = error_code == 0 || version < GROUP_ERROR_VERSION;
    let topics = found.topics.into_iter().filter(|_| is_listed).map(|topic| {
        let partitions =
            topic.partitions.into_iter().map(|partition| OffsetFetchResponsePartition {
                partition_index: partition.partition_index,
                committed_offset: partition.committed_offset,
                committed_leader_epoch: partition.committed_leader_epoch,
                metadata: partition.metadata,
                error_code: partition.error_code,
            });
        OffsetFetchResponseTopic { name: topic.name, partitions: partitions.collect() }
    });
    OffsetFetchResponse { topics: topics.collect(), error_code, ..Default::default() }
}
