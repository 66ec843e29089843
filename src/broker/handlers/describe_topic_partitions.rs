//! DescribeTopicPartitions (key 75): topics by name, a page at a time (KIP-966). The Java admin
//! client's `describeTopics` asks this first.

use std::rc::Rc;

use ringlog_types::{BrokerId, ErrorCode, validate_topic_name};
use ringlog_wire::messages::describe_topic_partitions_request::{
    Cursor as RequestCursor, DescribeTopicPartitionsRequest,
};
use ringlog_wire::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};

use crate::authorizer::Operation;
use crate::handlers::{authorized_operations, authorized_topics};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::replicas::offline;
use crate::replicas::topics::TopicEntry;
use crate::shard::Shard;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<DescribeTopicPartitionsRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    if asked.cursor.as_ref().is_some_and(|cursor| !is_cursor_good(&asked, cursor)) {
        return request.respond(&refused(&asked));
    }
    let may_describe =
        |name: &str| authorized_topics::may(&shard, &request, Operation::Describe, name);
    let mut names: Vec<String> = match asked.topics.is_empty() {
        true => shard.replicas.topics.all().iter().map(|topic| topic.name.to_string()).collect(),
        false => asked.topics.iter().map(|topic| topic.name.to_string()).collect(),
    };
    names.sort();
    names.dedup();
    let (names, denied): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| may_describe(name));
    let (first_topic, first_partition) = match &asked.cursor {
        Some(cursor) => (cursor.topic_name.to_string(), cursor.partition_index as usize),
        None => (String::new(), 0),
    };
    let partitions_max = shard.node.config.max_request_partition_size_limit.max(1);
    let limit = asked.response_partition_limit.clamp(1, partitions_max) as usize;
    let mut left = limit;
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names.into_iter().filter(|name| *name >= first_topic) {
        let first = if name == first_topic { first_partition } else { 0 };
        if left == 0 {
            response.next_cursor =
                Some(Cursor { topic_name: name.into(), partition_index: first as i32 });
            break;
        }
        let Some(topic) = shard.replicas.topics.by_name(&name) else {
            let operations = authorized_operations::of_topic(&shard, &request, &name);
            response.topics.push(unknown(name, operations));
            continue;
        };
        let count = topic.partitions.len().saturating_sub(first).min(left);
        left -= count;
        let operations = authorized_operations::of_topic(&shard, &request, &name);
        response.topics.push(described(&shard, &topic, first, count, operations));
        if first + count < topic.partitions.len() {
            let partition_index = (first + count) as i32;
            response.next_cursor = Some(Cursor { topic_name: name.into(), partition_index });
            break;
        }
    }
    // Of all topics those are left out that may not be described.
    if !asked.topics.is_empty() {
        response.topics.extend(denied.into_iter().map(forbidden));
    }
    request.respond(&response)
}

/// Whether paging can go on from there (`DescribeTopicPartitionsRequestHandler`).
fn is_cursor_good(asked: &DescribeTopicPartitionsRequest<'_>, cursor: &RequestCursor<'_>) -> bool {
    let is_asked_for = || asked.topics.iter().any(|topic| topic.name == cursor.topic_name);
    cursor.partition_index >= 0 && (asked.topics.is_empty() || is_asked_for())
}

/// `INVALID_REQUEST` for each topic by name.
fn refused<'a>(asked: &DescribeTopicPartitionsRequest<'a>) -> DescribeTopicPartitionsResponse<'a> {
    let topics = asked.topics.iter().map(|topic| DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::InvalidRequest.code(),
        name: Some(topic.name.clone()),
        topic_authorized_operations: authorized_operations::OMITTED,
        ..Default::default()
    });
    DescribeTopicPartitionsResponse { topics: topics.collect(), ..Default::default() }
}

fn forbidden(name: String) -> DescribeTopicPartitionsResponseTopic<'static> {
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::TopicAuthorizationFailed.code(),
        name: Some(name.into()),
        topic_authorized_operations: authorized_operations::OMITTED,
        ..Default::default()
    }
}

fn unknown(name: String, operations: i32) -> DescribeTopicPartitionsResponseTopic<'static> {
    let error = match validate_topic_name(&name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: error.code(),
        name: Some(name.into()),
        topic_authorized_operations: operations,
        ..Default::default()
    }
}

fn described(
    shard: &Shard,
    topic: &TopicEntry,
    first: usize,
    count: usize,
    operations: i32,
) -> DescribeTopicPartitionsResponseTopic<'static> {
    let partitions = topic.partitions.iter().enumerate().skip(first).take(count);
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::None.code(),
        name: Some(topic.name.to_string().into()),
        topic_id: topic.id,
        is_internal: topic.is_internal(),
        partitions: partitions
            .map(|(index, partition)| {
                let leader = offline::leader(&shard.replicas, topic, index);
                DescribeTopicPartitionsResponsePartition {
                    error_code: leader.error.code(),
                    partition_index: index as i32,
                    leader_id: leader.id.0,
                    leader_epoch: partition.leader_epoch,
                    replica_nodes: BrokerId::numbers(&partition.replicas),
                    isr_nodes: BrokerId::numbers(&partition.isr),
                    // The Java admin client does not expect the null that the schema allows.
                    eligible_leader_replicas: Some(Vec::new()),
                    last_known_elr: Some(Vec::new()),
                    offline_replicas: BrokerId::numbers(&leader.offline_replicas),
                }
            })
            .collect(),
        topic_authorized_operations: operations,
    }
}
