//! ListOffsets (key 2): offsets by timestamp, and the special positions.
//!
//! -1 latest, -2 earliest, -3 the record with the highest timestamp (KIP-734), -4 earliest local
//! and -5 latest tiered (KIP-405; nothing is tiered here), -6 earliest not yet uploaded (KIP-1023).

use std::rc::Rc;

use ringlog_storage::Log;
use ringlog_types::{ErrorCode, LeaderEpoch, Offset, TimestampMs, Uuid};
use ringlog_wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest};
use ringlog_wire::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};

use crate::answers::Answer;
use crate::fetch_session::TopicRef;
use crate::fetching::{check_leader_epoch, find_topic};
use crate::partition::Partition;
use crate::request::Request;
use crate::shard::Shard;

const LATEST: TimestampMs = -1;
const EARLIEST: TimestampMs = -2;
const MAX_TIMESTAMP: TimestampMs = -3;
const EARLIEST_LOCAL: TimestampMs = -4;
const LATEST_TIERED: TimestampMs = -5;
const EARLIEST_PENDING_UPLOAD: TimestampMs = -6;

/// From this version the answer tells the leader epoch (KIP-320).
const VERSION_LEADER_EPOCH: i16 = 4;
/// From this version -3 is known.
const VERSION_MAX_TIMESTAMP: i16 = 7;

/// What is asked of one partition.
struct Query {
    topic_id: Uuid,
    partition: i32,
    timestamp: TimestampMs,
}

/// A position in a log.
#[derive(Clone, Copy)]
struct Found {
    offset: Offset,
    timestamp: TimestampMs,
    leader_epoch: LeaderEpoch,
}

const NOT_FOUND: Found = Found { offset: -1, timestamp: -1, leader_epoch: -1 };

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<ListOffsetsRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let mut response = ListOffsetsResponse::default();
    let mut queries = Vec::new();
    // Where the result of each query goes: topic and partition of the response.
    let mut places = Vec::new();
    for topic in &asked.topics {
        let mut answered =
            ListOffsetsTopicResponse { name: topic.name.clone(), ..Default::default() };
        for partition in &topic.partitions {
            let mut answer = ListOffsetsPartitionResponse {
                partition_index: partition.partition_index,
                ..Default::default()
            };
            match route(&shard, &request, &topic.name, partition) {
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
    let found = shard.on_owners(queries, find_all).await;
    for ((topic, partition), found) in places.into_iter().zip(found) {
        let answer = &mut response.topics[topic].partitions[partition];
        match found {
            // Version 0 has a list of segment offsets, of which clients take the first.
            Ok(found) if request.version == 0 => {
                answer.old_style_offsets.extend((found.offset >= 0).then_some(found.offset));
            }
            Ok(found) => {
                answer.offset = found.offset;
                answer.timestamp = found.timestamp;
                if request.version >= VERSION_LEADER_EPOCH {
                    answer.leader_epoch = found.leader_epoch;
                }
            }
            Err(error) => answer.error_code = error.code(),
        }
    }
    request.respond(&response)
}

fn route(
    shard: &Shard,
    request: &Request,
    topic: &str,
    partition: &ListOffsetsPartition,
) -> Result<(ringlog_runtime::ShardId, Query), ErrorCode> {
    let timestamp = partition.timestamp;
    let known = match timestamp {
        MAX_TIMESTAMP => request.version >= VERSION_MAX_TIMESTAMP,
        timestamp => timestamp >= EARLIEST_PENDING_UPLOAD,
    };
    if !known {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let topic = find_topic(shard, &TopicRef::Name(topic.into()))?;
    let index = partition.partition_index;
    let entry = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    check_leader_epoch(partition.current_leader_epoch, entry.leader_epoch)?;
    Ok((entry.owner, Query { topic_id: topic.id, partition: index, timestamp }))
}

async fn find_all(shard: Rc<Shard>, queries: Vec<Query>) -> Vec<Result<Found, ErrorCode>> {
    let mut found = Vec::with_capacity(queries.len());
    for query in queries {
        found.push(match shard.local_partition(&query.topic_id, query.partition) {
            Some(partition) if !partition.is_offline() => find(&partition, query.timestamp).await,
            _ => Err(ErrorCode::KafkaStorageError),
        });
    }
    found
}

/// The epoch of the batch at `offset`, or of the last one before it.
fn epoch_at(log: &Log, offset: Offset) -> LeaderEpoch {
    let epochs = log.epoch_entries();
    let after = epochs.partition_point(|entry| entry.start_offset <= offset);
    after.checked_sub(1).map_or(-1, |at| epochs[at].epoch)
}

async fn find(partition: &Partition, timestamp: TimestampMs) -> Result<Found, ErrorCode> {
    let log = &partition.log;
    let at = |offset: Offset| Found { offset, timestamp: -1, leader_epoch: epoch_at(log, offset) };
    let high_watermark = partition.high_watermark();
    let searched = match timestamp {
        LATEST => {
            let leader_epoch = log.latest_epoch().unwrap_or(-1);
            return Ok(Found { leader_epoch, ..at(high_watermark) });
        }
        EARLIEST | EARLIEST_LOCAL | EARLIEST_PENDING_UPLOAD => {
            return Ok(at(log.log_start_offset()));
        }
        LATEST_TIERED => return Ok(NOT_FOUND),
        MAX_TIMESTAMP => log.max_timestamp_offset().await,
        timestamp => log.offset_for_timestamp(timestamp).await,
    };
    match searched {
        Ok(Some(found)) if found.offset < high_watermark => Ok(Found {
            offset: found.offset,
            timestamp: found.timestamp,
            leader_epoch: found.leader_epoch,
        }),
        Ok(_) => Ok(NOT_FOUND),
        Err(error) => Err(error.error_code()),
    }
}
