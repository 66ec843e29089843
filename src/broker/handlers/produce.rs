//! Produce (key 0): batches in, offsets out, and not before they are where `acks` says.
//!
//! Versions 0 to 2 carry message sets of the old formats, which are converted to one batch on
//! the way in (Apache Kafka 4 hangs up on them). Everything up to the append happens while the
//! request is dispatched, so that the batches of one connection are appended in request order.

use std::future::Future;
use std::rc::Rc;

use bytes::Bytes;
use ringlog_record::BatchSummary;
use ringlog_runtime::ShardId;
use ringlog_storage::{AppendOrigin, Appended};
use ringlog_types::{ErrorCode, LeaderEpoch, Offset, TimestampMs, Uuid};
use ringlog_wire::DecodeError;
use ringlog_wire::messages::produce_response::{
    PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};

use ringlog_wire::produce::{PartitionView, ProduceRequestReader};

use crate::answers::Answer;
use crate::fetch_session::TopicRef;
use crate::fetching::find_topic;
use crate::handlers::Work;
use crate::partition::Partition;
use crate::produce_check;
use crate::request::Request;
use crate::shard::Shard;
use crate::topics::TopicEntry;

/// From this version topics are named by id (KIP-516).
const VERSION_TOPIC_IDS: i16 = 13;

/// A batch on its way to the shard that owns its partition.
struct Append {
    slot: usize,
    topic_id: Uuid,
    partition: i32,
    leader_epoch: LeaderEpoch,
    batch: Bytes,
    summary: BatchSummary,
}

/// What a partition is answered.
#[derive(Clone)]
struct Outcome {
    error: ErrorCode,
    message: Option<String>,
    base_offset: Offset,
    log_append_time: TimestampMs,
    log_start_offset: Offset,
}

impl Outcome {
    fn failed(error: ErrorCode, message: impl Into<Option<String>>) -> Outcome {
        Outcome {
            error,
            message: message.into(),
            base_offset: -1,
            log_append_time: -1,
            log_start_offset: -1,
        }
    }
}

/// The partitions of a request, in its order; a topic's partitions follow each other.
struct Layout {
    topics: Vec<(TopicRef, Vec<i32>)>,
}

/// How a request wants to be acknowledged.
#[derive(Clone, Copy)]
struct Acks {
    /// -1 (all), 0 or 1.
    acks: i16,
}

/// A request whose batches have been checked and sorted by owner. Nothing is appended yet.
struct Prepared {
    acks: Acks,
    layout: Layout,
    /// One for each partition, in request order; empty where an append decides.
    outcomes: Vec<Option<Outcome>>,
    appends: Vec<(ShardId, Vec<Append>)>,
}

pub(crate) fn handle(shard: &Rc<Shard>, request: Request) -> Work {
    let Prepared { acks, layout, mut outcomes, appends } = match prepare_all(shard, &request) {
        Ok(prepared) => prepared,
        Err(error) => return Work::Done(request.undecodable(&error)),
    };
    match appends.as_slice() {
        [] => {}
        [(owner, _)] => request.peer.touched(shard, Some(*owner), request.body.len()),
        [_, _, ..] => request.peer.touched(shard, None, request.body.len()),
    }
    let groups: Vec<_> = appends
        .into_iter()
        .map(|(owner, group)| {
            shard.start_on(owner, move |shard: &Rc<Shard>| append_all(shard, group, acks))
        })
        .collect();
    let request = request.without_body();
    Work::later(async move {
        for group in groups {
            for (slot, outcome) in group.await {
                outcomes[slot] = Some(outcome);
            }
        }
        let outcomes: Vec<Outcome> =
            outcomes.into_iter().map(|outcome| outcome.expect("every slot is filled")).collect();
        if acks.acks == 0 {
            return answer_to_silence(&outcomes);
        }
        request.respond(&response(layout, outcomes))
    })
}

/// Walks the request once. Only when all of it could be read may anything be appended.
fn prepare_all(shard: &Rc<Shard>, request: &Request) -> Result<Prepared, DecodeError> {
    let mut reader = ProduceRequestReader::begin(&request.body, request.version)?;
    let mut prepared = Prepared {
        acks: Acks { acks: reader.acks },
        layout: Layout { topics: Vec::new() },
        outcomes: Vec::new(),
        appends: Vec::new(),
    };
    let refusal = refusal(&reader);
    let mut transactional = false;
    let mut topic: Option<(usize, Result<Rc<TopicEntry>, ErrorCode>)> = None;
    while let Some(partition) = reader.next_partition()? {
        let number = partition.topic.number;
        if topic.as_ref().is_none_or(|(current, _)| *current != number) {
            let named = match request.version {
                VERSION_TOPIC_IDS.. => TopicRef::Id(partition.topic.id),
                _ => TopicRef::Name(partition.topic.name.into()),
            };
            topic = Some((number, find_topic(shard, &named)));
            prepared.layout.topics.push((named, Vec::new()));
        }
        let (_, entry) = topic.as_ref().expect("set above");
        let (_, indexes) = prepared.layout.topics.last_mut().expect("pushed with the topic");
        indexes.push(partition.index);
        let slot = prepared.outcomes.len();
        transactional |= produce_check::is_transactional(partition.records.unwrap_or_default());
        let append = match (refusal, entry) {
            (Some(error), _) => Err(Outcome::failed(error, None)),
            (None, Err(error)) => Err(Outcome::failed(*error, None)),
            (None, Ok(entry)) => {
                prepare(shard, request, entry, &partition, slot, prepared.acks.acks)
            }
        };
        match append {
            Ok((owner, append)) => {
                prepared.outcomes.push(None);
                match prepared.appends.iter_mut().find(|(shard, _)| *shard == owner) {
                    Some((_, group)) => group.push(append),
                    None => prepared.appends.push((owner, vec![append])),
                }
            }
            Err(outcome) => prepared.outcomes.push(Some(outcome)),
        }
    }
    if transactional && refusal.is_none() {
        // One such batch refuses the request (`KafkaApis.handleProduceRequest`): nothing could
        // ever end the transaction that it would open.
        let refused = Outcome::failed(ErrorCode::TransactionalIdAuthorizationFailed, None);
        prepared.appends.clear();
        prepared.outcomes.fill(Some(refused));
    }
    Ok(prepared)
}

/// Why the whole request is refused whatever it carries, if it is.
fn refusal(request: &ProduceRequestReader<'_>) -> Option<ErrorCode> {
    if !(-1..=1).contains(&request.acks) {
        return Some(ErrorCode::InvalidRequiredAcks);
    }
    // A transactional producer has to get its id from a coordinator first, and there is none.
    request.transactional_id.is_some().then_some(ErrorCode::TransactionalIdNotFound)
}

/// Checks one partition's records and finds their owner.
fn prepare(
    shard: &Rc<Shard>,
    request: &Request,
    topic: &TopicEntry,
    partition: &PartitionView<'_>,
    slot: usize,
    acks: i16,
) -> Result<(ShardId, Append), Outcome> {
    let entry = topic
        .partition(partition.index)
        .ok_or_else(|| Outcome::failed(ErrorCode::UnknownTopicOrPartition, None))?;
    if acks == -1 && topic.config.min_insync_replicas > 1 {
        return Err(Outcome::failed(ErrorCode::NotEnoughReplicas, None));
    }
    let records = request.body.slice_ref(partition.records.unwrap_or_default());
    let version = request.version;
    let now_ms = shard.rt.wall_clock_ms();
    let checked = produce_check::check(records, version, &topic.config, now_ms);
    let (batch, summary) = checked.map_err(|refused| {
        tracing::debug!(topic = %topic.name, partition = partition.index, %refused, "refused");
        Outcome::failed(refused.error_code(), refused.to_string())
    })?;
    let append = Append {
        slot,
        topic_id: topic.id,
        partition: partition.index,
        leader_epoch: entry.leader_epoch,
        batch,
        summary,
    };
    Ok((entry.owner, append))
}

/// Appends in order, at once; the future waits until the batches are acknowledged.
fn append_all(
    shard: &Rc<Shard>,
    appends: Vec<Append>,
    acks: Acks,
) -> impl Future<Output = Vec<(usize, Outcome)>> + use<> {
    let now_ms = shard.rt.wall_clock_ms();
    let mut appended = Vec::with_capacity(appends.len());
    for append in appends {
        let partition = shard.local_partition(&append.topic_id, append.partition);
        appended.push((append.slot, append_one(shard, partition, &append, now_ms)));
    }
    async move {
        let mut outcomes = Vec::with_capacity(appended.len());
        for (slot, result) in appended {
            let outcome = match result {
                Ok((partition, appended)) => acknowledge(&partition, appended, acks).await,
                Err(outcome) => outcome,
            };
            outcomes.push((slot, outcome));
        }
        outcomes
    }
}

fn append_one(
    shard: &Shard,
    partition: Option<Rc<Partition>>,
    append: &Append,
    now_ms: TimestampMs,
) -> Result<(Rc<Partition>, Appended), Outcome> {
    let partition = partition
        .filter(|partition| !partition.is_offline())
        .ok_or_else(|| Outcome::failed(ErrorCode::KafkaStorageError, None))?;
    let log = &partition.log;
    let origin = AppendOrigin::Client;
    let appended = log.append(&append.batch, &append.summary, origin, append.leader_epoch, now_ms);
    match appended {
        Ok(appended) => {
            if !appended.duplicate {
                partition.metrics.appended(append.summary.record_count, append.batch.len());
            }
            shard.metrics.appended(append.batch.len());
            Ok((partition, appended))
        }
        Err(error) => {
            let outcome = Outcome::failed(error.error_code(), error.to_string());
            Err(Outcome { log_start_offset: log.log_start_offset(), ..outcome })
        }
    }
}

/// Waits until the append is as safe as the client asked for.
async fn acknowledge(partition: &Partition, appended: Appended, acks: Acks) -> Outcome {
    let log = &partition.log;
    // Producers that do not wait for the disk are slowed down to its speed here.
    log.wait_writable().await;
    if acks.acks != 0 {
        // The timeout of a request bounds the wait for other replicas, and there are none. It never
        // bounds the leader's own disk, as in Kafka, where a `DelayedProduce` that only the leader
        // is part of is complete before it waits: an error for what is there in a moment would make
        // the client send it twice.
        let waited = log.wait_committed(appended.last_offset + 1).await;
        if let Err(error) = waited {
            return Outcome::failed(error.error_code(), error.to_string());
        }
    }
    Outcome {
        error: ErrorCode::None,
        message: None,
        base_offset: appended.base_offset,
        log_append_time: appended.log_append_time,
        log_start_offset: appended.log_start_offset,
    }
}

/// With `acks=0` an error can only be told by hanging up: the client then looks for the reason.
fn answer_to_silence(outcomes: &[Outcome]) -> Answer {
    match outcomes.iter().find(|outcome| outcome.error.is_error()) {
        Some(outcome) => Answer::Close(format!("a produce with acks=0 failed: {}", outcome.error)),
        None => Answer::Silent,
    }
}

fn response(layout: Layout, outcomes: Vec<Outcome>) -> ProduceResponse<'static> {
    let mut outcomes = outcomes.into_iter();
    let mut response = ProduceResponse::default();
    for (topic, indexes) in layout.topics {
        let mut answered = TopicProduceResponse::default();
        match topic {
            TopicRef::Name(name) => answered.name = name.to_string().into(),
            TopicRef::Id(id) => answered.topic_id = id,
        }
        for index in indexes {
            let outcome = outcomes.next().expect("an outcome for every partition");
            answered.partition_responses.push(PartitionProduceResponse {
                index,
                error_code: outcome.error.code(),
                base_offset: outcome.base_offset,
                log_append_time_ms: outcome.log_append_time,
                log_start_offset: outcome.log_start_offset,
                error_message: outcome.message.map(Into::into),
                ..Default::default()
            });
        }
        response.responses.push(answered);
    }
    response
}
