//! ListOffsets (key 2): offsets by timestamp, and the special positions.
//!
//! -1 latest, -2 earliest, -3 the record with the highest timestamp (KIP-734), -4 earliest local
//! and -5 latest tiered (KIP-405; nothing is tiered here), -6 earliest not yet uploaded (KIP-1023;
//! nothing is to be).
//!
//! A request may ask for as many partitions as it has room for: they are found in turns, and what
//! has to be unpacked to find a record is so beside the shard, in the connection's name.
//!
//! Version 0 is another API: it asks for the starts of segments written to *before* a time, as a
//! list (Kafka 3.9's `handleListOffsetRequestV0`).

use std::collections::HashMap;
use std::rc::Rc;

use ringlog_runtime::{Steps, WorkOwner};
use ringlog_storage::Log;
use ringlog_types::{ErrorCode, LeaderEpoch, Offset, TimestampMs, Uuid};
use ringlog_wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest};
use ringlog_wire::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};

use crate::authorizer::Operation;
use crate::handlers::authorized_topics;
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::replicas::partition::Partition;
use crate::replicas::topics::TopicRef;
use crate::replicas::topics::check_leader_epoch;
use crate::shard::Shard;

const LATEST: TimestampMs = -1;
const EARLIEST: TimestampMs = -2;
const MAX_TIMESTAMP: TimestampMs = -3;
const EARLIEST_LOCAL: TimestampMs = -4;
const LATEST_TIERED: TimestampMs = -5;
const EARLIEST_PENDING_UPLOAD: TimestampMs = -6;

/// From this version the answer tells the leader epoch (KIP-320).
const VERSION_LEADER_EPOCH: i16 = 4;
/// From this version an answer is one offset and its time.
const VERSION_ONE_OFFSET: i16 = 1;

/// `IsolationLevel.READ_COMMITTED`.
const READ_COMMITTED: i8 = 1;

/// Partitions that are looked at in a turn of the shard.
const TURN_PARTITIONS: u32 = 512;

/// The question to one partition.
struct Query {
    topic_id: Uuid,
    partition: i32,
    timestamp: TimestampMs,
    read_committed: bool,
    /// In version 0: how many offsets of segments are asked for.
    segments_max: Option<usize>,
    /// In whose name records are looked for.
    work_owner: WorkOwner,
}

/// The offset that was found, or those of segments, newest first.
enum Answered {
    One(FoundOffset),
    Segments(Vec<Offset>),
}

/// A position in a log.
#[derive(Clone, Copy)]
struct FoundOffset {
    offset: Offset,
    timestamp: TimestampMs,
    leader_epoch: LeaderEpoch,
}

const NOT_FOUND: FoundOffset = FoundOffset { offset: -1, timestamp: -1, leader_epoch: -1 };

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<ListOffsetsRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let mut response = ListOffsetsResponse::default();
    let mut queries = Vec::new();
    let mut steps = shard.rt.steps(TURN_PARTITIONS);
    let mut times_asked = times_asked(&asked, &mut steps).await;
    // Where the result of each query goes: topic and partition of the response.
    let mut places = Vec::new();
    for topic in &asked.topics {
        let mut answered =
            ListOffsetsTopicResponse { name: topic.name.clone(), ..Default::default() };
        let may_describe =
            authorized_topics::may(&shard, &request, Operation::Describe, &topic.name);
        steps.step().await;
        for partition in &topic.partitions {
            steps.step().await;
            let partition_index = partition.partition_index;
            let Some(times) = times_asked.remove(&(&*topic.name, partition_index)) else {
                continue;
            };
            let mut answer = ListOffsetsPartitionResponse { partition_index, ..Default::default() };
            let routed = match times {
                _ if !may_describe => Err(ErrorCode::TopicAuthorizationFailed),
                1 => route(&shard, &request, &asked, &topic.name, partition),
                _ => Err(ErrorCode::InvalidRequest),
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
    let found = shard.on_owners(queries, find_all).await;
    for ((topic, partition), found) in places.into_iter().zip(found) {
        steps.step().await;
        let answer = &mut response.topics[topic].partitions[partition];
        match found {
            Ok(Answered::Segments(offsets)) => answer.old_style_offsets = offsets,
            Ok(Answered::One(found)) => {
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

/// How often each partition is asked for. One that is more than once is refused, and its answer
/// is there once (`ListOffsetsRequest.duplicatePartitions`).
async fn times_asked<'a>(
    asked: &'a ListOffsetsRequest<'_>,
    steps: &mut Steps,
) -> HashMap<(&'a str, i32), usize> {
    let mut times = HashMap::new();
    for topic in &asked.topics {
        for partition in &topic.partitions {
            steps.step().await;
            *times.entry((&*topic.name, partition.partition_index)).or_default() += 1;
        }
    }
    times
}

/// Whether a timestamp has a meaning in this version
/// (`ReplicaManager.timestampMinSupportedVersion`).
fn is_known(timestamp: TimestampMs, version: i16) -> bool {
    match timestamp {
        MAX_TIMESTAMP => version >= 7,
        EARLIEST_LOCAL => version >= 8,
        LATEST_TIERED => version >= 9,
        EARLIEST_PENDING_UPLOAD => version >= 11,
        timestamp => timestamp >= EARLIEST,
    }
}

fn route(
    shard: &Shard,
    request: &Request,
    asked: &ListOffsetsRequest<'_>,
    topic: &str,
    partition: &ListOffsetsPartition,
) -> Result<(ringlog_runtime::ShardId, Query), ErrorCode> {
    let timestamp = partition.timestamp;
    if !is_known(timestamp, request.version) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let topic = shard.replicas.topics.find(&TopicRef::Name(topic.into()))?;
    let index = partition.partition_index;
    let entry = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    check_leader_epoch(partition.current_leader_epoch, entry.leader_epoch)?;
    let query = Query {
        topic_id: topic.id,
        partition: index,
        timestamp,
        read_committed: asked.isolation_level == READ_COMMITTED,
        segments_max: (request.version < VERSION_ONE_OFFSET)
            .then_some(partition.max_num_offsets.max(0) as usize),
        work_owner: request.peer.work_owner,
    };
    Ok((entry.owner, query))
}

async fn find_all(shard: Rc<Shard>, queries: Vec<Query>) -> Vec<Result<Answered, ErrorCode>> {
    let mut found = Vec::with_capacity(queries.len());
    let mut steps = shard.rt.steps(TURN_PARTITIONS);
    for query in queries {
        steps.step().await;
        found.push(
            match shard.replicas.topics.serving_partition(&query.topic_id, query.partition) {
                Ok(partition) => match query.segments_max {
                    Some(count) => {
                        let now_ms = shard.rt.wall_clock_ms();
                        let offsets =
                            segments_before(&partition, query.timestamp, count, now_ms).await;
                        Ok(Answered::Segments(offsets))
                    }
                    None => find(&partition, &query).await.map(Answered::One),
                },
                Err(error) => Err(error),
            },
        );
    }
    found
}

/// The epoch of the batch at `offset`, or of the last one before it.
fn epoch_at(log: &Log, offset: Offset) -> LeaderEpoch {
    let epochs = log.epoch_entries();
    let after = epochs.partition_point(|entry| entry.start_offset <= offset);
    after.checked_sub(1).map_or(-1, |at| epochs[at].epoch)
}

/// The answer of version 0.
async fn segments_before(
    partition: &Partition,
    timestamp: TimestampMs,
    count_max: usize,
    now_ms: TimestampMs,
) -> Vec<Offset> {
    let log = &partition.log;
    let mut offsets = match timestamp {
        EARLIEST if count_max > 0 => vec![log.log_start_offset()],
        EARLIEST => Vec::new(),
        LATEST => log.offsets_before(TimestampMs::MAX, count_max, now_ms).await,
        timestamp => log.offsets_before(timestamp, count_max, now_ms).await,
    };
    // Records that cannot be read yet are not told of.
    let high_watermark = partition.high_watermark();
    let unreadable = offsets.iter().take_while(|offset| **offset > high_watermark).count();
    if unreadable > 0 {
        offsets.splice(..unreadable, [high_watermark]);
    }
    offsets
}

async fn find(partition: &Partition, query: &Query) -> Result<FoundOffset, ErrorCode> {
    let log = &partition.log;
    let at =
        |offset: Offset| FoundOffset { offset, timestamp: -1, leader_epoch: epoch_at(log, offset) };
    let end = match query.read_committed {
        true => partition.last_stable_offset(),
        false => partition.high_watermark(),
    };
    let searched = match query.timestamp {
        LATEST => {
            let leader_epoch = log.latest_epoch().unwrap_or(-1);
            return Ok(FoundOffset { leader_epoch, ..at(end) });
        }
        EARLIEST | EARLIEST_LOCAL => return Ok(at(log.log_start_offset())),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => return Ok(NOT_FOUND),
        MAX_TIMESTAMP => log.max_timestamp_offset(query.work_owner).await,
        timestamp => log.offset_for_timestamp(timestamp, query.work_owner).await,
    };
    match searched {
        Ok(Some(found)) if found.offset < end => Ok(FoundOffset {
            offset: found.offset,
            timestamp: found.timestamp,
            leader_epoch: found.leader_epoch,
        }),
        Ok(_) => Ok(NOT_FOUND),
        Err(error) => Err(error.error_code()),
    }
}
