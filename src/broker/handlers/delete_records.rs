//! DeleteRecords (key 21): moves the start of partitions forward (KIP-107). -1 means up to the
//! high watermark.
//!
//! Removed records stay removed: the answer comes when the new start survives a crash.

use std::collections::HashMap;
use std::rc::Rc;

use ringlog_runtime::ShardId;
use ringlog_types::{ErrorCode, Offset, Uuid};
use ringlog_wire::messages::delete_records_request::DeleteRecordsRequest;
use ringlog_wire::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsResponse, DeleteRecordsTopicResult,
};

use crate::authorizer::{Operation, Resource};
use crate::checkpoints::settle_log_starts;
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::replicas::topics::TopicRef;
use crate::shard::Shard;
use crate::shared::CONTROLLER_SHARD;

/// "Up to the high watermark."
const TO_HIGH_WATERMARK: Offset = -1;
/// The answer of a failed partition in place of its low watermark.
const INVALID_LOW_WATERMARK: Offset = -1;

struct Deleted {
    low_watermark: Offset,
    /// The place in `log.dirs` of the directory that has to remember it.
    dir_index: usize,
}

struct Deletion {
    topic_id: Uuid,
    partition: i32,
    before: Offset,
}

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<DeleteRecordsRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let mut response = DeleteRecordsResponse::default();
    let mut deletions = Vec::new();
    let mut places = Vec::new();
    let mut offsets = last_offsets(&asked);
    for topic in &asked.topics {
        let mut answered =
            DeleteRecordsTopicResult { name: topic.name.clone(), ..Default::default() };
        let authorizer = shard.node.authorizer;
        let may_delete =
            request.authorize(authorizer, Operation::Delete, Resource::Topic(&topic.name));
        for partition in &topic.partitions {
            let name = (&*topic.name, partition.partition_index);
            let Some(before) = offsets.remove(&name) else { continue };
            let mut answer = DeleteRecordsPartitionResult {
                partition_index: partition.partition_index,
                low_watermark: INVALID_LOW_WATERMARK,
                ..Default::default()
            };
            let routed = match may_delete {
                true => route(&shard, &topic.name, partition.partition_index, before),
                false => Err(ErrorCode::TopicAuthorizationFailed),
            };
            match routed {
                Ok(deletion) => {
                    places.push((response.topics.len(), answered.partitions.len()));
                    deletions.push(deletion);
                }
                Err(error) => answer.error_code = error.code(),
            }
            answered.partitions.push(answer);
        }
        response.topics.push(answered);
    }
    let results = shard.on_owners(deletions, delete_all).await;
    let unsettled = match results.iter().any(Result::is_ok) {
        true => shard.start_on(CONTROLLER_SHARD, |shard| settle_log_starts(shard.clone())).await,
        false => Vec::new(),
    };
    for ((topic, partition), result) in places.into_iter().zip(results) {
        let answer = &mut response.topics[topic].partitions[partition];
        match result {
            Ok(deleted) if unsettled.contains(&deleted.dir_index) => {
                answer.error_code = ErrorCode::KafkaStorageError.code();
            }
            Ok(deleted) => answer.low_watermark = deleted.low_watermark,
            Err(error) => answer.error_code = error.code(),
        }
    }
    request.respond(&response)
}

/// What is asked of each partition: of one that is named more than once, the last counts, as in
/// Kafka (`KafkaApis.handleDeleteRecordsRequest`).
fn last_offsets<'a>(asked: &'a DeleteRecordsRequest<'_>) -> HashMap<(&'a str, i32), Offset> {
    let of_topic = asked.topics.iter().flat_map(|topic| {
        let name = &*topic.name;
        topic.partitions.iter().map(move |asked| ((name, asked.partition_index), asked.offset))
    });
    of_topic.collect()
}

fn route(
    shard: &Shard,
    topic: &str,
    partition: i32,
    before: Offset,
) -> Result<(ShardId, Deletion), ErrorCode> {
    let topic = shard.replicas.topics.find(&TopicRef::Name(topic.into()))?;
    let entry = topic.partition(partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if topic.is_internal() {
        return Err(ErrorCode::InvalidTopicException);
    }
    // Deleting from the front makes no sense where only compaction cleans (Kafka's own rule).
    let policy = topic.config.cleanup_policy;
    if policy.compact && !policy.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    Ok((entry.owner, Deletion { topic_id: topic.id, partition, before }))
}

async fn delete_all(shard: Rc<Shard>, deletions: Vec<Deletion>) -> Vec<Result<Deleted, ErrorCode>> {
    let mut results = Vec::with_capacity(deletions.len());
    for deletion in deletions {
        results.push(delete(&shard, deletion).await);
    }
    results
}

async fn delete(shard: &Shard, deletion: Deletion) -> Result<Deleted, ErrorCode> {
    let partition =
        shard.replicas.topics.serving_partition(&deletion.topic_id, deletion.partition)?;
    let high_watermark = partition.high_watermark();
    let before = match deletion.before {
        TO_HIGH_WATERMARK => high_watermark,
        before if (0..=high_watermark).contains(&before) => before,
        _ => return Err(ErrorCode::OffsetOutOfRange),
    };
    partition.log.delete_records(before).await.map_err(|error| {
        let name = &partition.topic_partition;
        tracing::error!(partition = %name, %error, "delete records failed");
        error.error_code()
    })?;
    let log = &partition.log;
    Ok(Deleted { low_watermark: log.log_start_offset(), dir_index: log.dir().index() })
}
