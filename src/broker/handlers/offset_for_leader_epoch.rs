//! OffsetForLeaderEpoch (key 23): where an epoch ended, so that a client finds out whether the
//! log it read is still the log there is (KIP-320).

use std::collections::HashSet;
use std::rc::Rc;

use ringlog_runtime::ShardId;
use ringlog_types::{ErrorCode, LeaderEpoch, Uuid};
use ringlog_wire::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition,
};
use ringlog_wire::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};

use crate::authorizer::{Operation, Resource};
use crate::handlers::authorized_topics;
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::replicas::topics::TopicRef;
use crate::replicas::topics::check_leader_epoch;
use crate::shard::Shard;

struct Query {
    topic_id: Uuid,
    partition: i32,
    leader_epoch: LeaderEpoch,
}

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<OffsetForLeaderEpochRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let mut response = OffsetForLeaderEpochResponse::default();
    let mut queries = Vec::new();
    let mut places = Vec::new();
    let mut seen = HashSet::new();
    let cluster = Resource::Cluster;
    let of_the_cluster =
        request.authorize(shard.node.authorizer, Operation::ClusterAction, cluster);
    for topic in &asked.topics {
        let may_describe = of_the_cluster
            || authorized_topics::may(&shard, &request, Operation::Describe, &topic.topic);
        let mut answered =
            OffsetForLeaderTopicResult { topic: topic.topic.clone(), ..Default::default() };
        for partition in &topic.partitions {
            // One that is named more than once is answered once.
            if !seen.insert((&*topic.topic, partition.partition)) {
                continue;
            }
            let mut answer =
                EpochEndOffset { partition: partition.partition, ..Default::default() };
            let routed = match may_describe {
                true => route(&shard, &topic.topic, partition),
                false => Err(ErrorCode::TopicAuthorizationFailed),
            };
            match routed {
                Ok(query) => {
                    places.push((response.topics.len(), answered.partitions.len()));
                    queries.push(query);
                }
                Err(error) => answer.error_code = error.code(),
            }
            answered.partitions.push(answer);
        }
        response.topics.push(answered);
    }
    let ends = shard.on_owners(queries, find_all).await;
    for ((topic, partition), end) in places.into_iter().zip(ends) {
        let answer = &mut response.topics[topic].partitions[partition];
        match end {
            Ok(Some(end)) => {
                answer.leader_epoch = end.epoch;
                answer.end_offset = end.end_offset;
            }
            // The answer's defaults say it: epoch and offset -1.
            Ok(None) => {}
            Err(error) => answer.error_code = error.code(),
        }
    }
    request.respond(&response)
}

fn route(
    shard: &Shard,
    topic: &str,
    partition: &OffsetForLeaderPartition,
) -> Result<(ShardId, Query), ErrorCode> {
    let topic = shard.replicas.topics.find(&TopicRef::Name(topic.into()))?;
    let index = partition.partition;
    let entry = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    check_leader_epoch(partition.current_leader_epoch, entry.leader_epoch)?;
    let leader_epoch = partition.leader_epoch;
    Ok((entry.owner, Query { topic_id: topic.id, partition: index, leader_epoch }))
}

type EpochEnd = Result<Option<ringlog_storage::EpochEndOffset>, ErrorCode>;

async fn find_all(shard: Rc<Shard>, queries: Vec<Query>) -> Vec<EpochEnd> {
    let find = |query: Query| {
        let partition =
            shard.replicas.topics.serving_partition(&query.topic_id, query.partition)?;
        Ok(partition.log.epoch_end_offset(query.leader_epoch))
    };
    queries.into_iter().map(find).collect()
}
