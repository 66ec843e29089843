//! Produce (key 0): batches in, offsets out, and not before they are where `acks` says.
//!
//! Versions 0 to 2 carry message sets of the old formats, which are converted to one batch on
//! the way in (Apache Kafka 4 hangs up on them). Everything up to the append happens while the
//! request is dispatched, so that the batches of one connection are appended in request order.

mod check;

use std::collections::HashSet;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ringlog_record::{BatchError, BatchSummary, HEADER_BYTES};
use ringlog_runtime::{Instant, JoinHandle, ShardId};
use ringlog_storage::{AppendOrigin, Appended, RoomTurn};
use ringlog_types::{
    ErrorCode, LeaderEpoch, Offset, TimestampMs, TopicIdPartition, TopicPartition, Uuid,
};
use ringlog_wire::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};

use ringlog_wire::produce::{PartitionView, ProduceRequestReader};
use ringlog_wire::text;
use smallvec::SmallVec;

use crate::authorizer::{Operation, Resource};
use crate::handlers::{Work, authorized_topics};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::replicas::partition::Partition;
use crate::replicas::topics::TopicEntry;
use crate::replicas::topics::TopicRef;
use crate::shard::Shard;

/// From this version topics are named by id (KIP-516).
const VERSION_TOPIC_IDS: i16 = 13;

/// Up to so many partitions of a request are looked through one by one.
const FEW_PARTITIONS: usize = 16;

/// So many partitions may be without a batch: names alone take hardly any bytes, and each is
/// answered.
const EMPTY_PARTITIONS_MAX: usize = 1000;

/// A batch on its way to the shard that owns its partition.
struct Append {
    slot: usize,
    topic_id: Uuid,
    partition: i32,
    leader_epoch: LeaderEpoch,
    batch: Bytes,
    summary: BatchSummary,
}

/// The answer for one partition.
#[derive(Clone)]
struct Outcome {
    error: ErrorCode,
    message: Option<String>,
    /// The records that keep the others of their batch out.
    rejected: Vec<BatchIndexAndErrorMessage<'static>>,
    base_offset: Offset,
    log_append_time: TimestampMs,
    log_start_offset: Offset,
}

impl Outcome {
    fn failed(error: ErrorCode, message: impl Into<Option<String>>) -> Outcome {
        Outcome {
            error,
            message: message.into(),
            rejected: Vec::new(),
            base_offset: -1,
            log_append_time: -1,
            log_start_offset: -1,
        }
    }

    /// Nothing was sent that could be appended, and that is no error (Kafka 3.9's answer to an old
    /// message set without a whole message).
    fn nothing() -> Outcome {
        Outcome::failed(ErrorCode::None, None)
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
    /// When its `timeout_ms` is over.
    deadline: Instant,
}

/// A request whose batches have been checked and sorted by owner. Nothing is appended yet.
struct Prepared {
    acks: Acks,
    layout: Layout,
    /// One for each partition, in request order; empty where an append decides.
    outcomes: Vec<Option<Outcome>>,
    appends: Vec<(ShardId, Vec<Append>)>,
    /// Those whose batches are still to be checked, elsewhere.
    heavy: Vec<Unchecked>,
}

/// The records of a partition that were not looked at yet.
struct Unchecked {
    slot: usize,
    owner: ShardId,
    topic: Rc<TopicEntry>,
    partition: i32,
    leader_epoch: LeaderEpoch,
    records: Bytes,
}

impl Unchecked {
    fn append(self, (batch, summary): (Bytes, BatchSummary)) -> (ShardId, Append) {
        let Unchecked { slot, owner, topic, partition, leader_epoch, .. } = self;
        let topic_id = topic.id;
        (owner, Append { slot, topic_id, partition, leader_epoch, batch, summary })
    }

    fn refuse(&self, refused: &BatchError) -> Outcome {
        tracing::debug!(topic = %self.topic.name, partition = self.partition, %refused, "refused");
        let outcome = Outcome::failed(refused.error_code(), refused.to_string());
        let BatchError::Rejected { first, .. } = refused else { return outcome };
        let partition = TopicPartition::new(self.topic.name.clone(), self.partition);
        let rejected = first.iter().map(|record| BatchIndexAndErrorMessage {
            batch_index: record.index,
            batch_index_error_message: Some(record.message(&partition).into()),
        });
        Outcome { rejected: rejected.collect(), ..outcome }
    }
}

impl Prepared {
    fn add(&mut self, (owner, append): (ShardId, Append)) {
        match self.appends.iter_mut().find(|(shard, _)| *shard == owner) {
            Some((_, group)) => group.push(append),
            None => self.appends.push((owner, vec![append])),
        }
    }
}

pub(crate) fn handle(shard: &Rc<Shard>, request: Request) -> Work {
    let mut prepared = match prepare_all(shard, &request) {
        Ok(prepared) => prepared,
        Err(close) => return Work::Done(close),
    };
    if prepared.heavy.is_empty() {
        return append_prepared(shard, request, prepared);
    }
    let shard = shard.clone();
    Work::first(async move {
        check_heavy(&shard, &request, &mut prepared).await;
        append_prepared(&shard, request, prepared)
    })
}

/// Appends what was checked, at once; the rest of the work is to wait until it is acknowledged.
fn append_prepared(shard: &Rc<Shard>, request: Request, prepared: Prepared) -> Work {
    let Prepared { acks, layout, mut outcomes, appends, .. } = prepared;
    match appends.as_slice() {
        [] => {}
        [(owner, _)] => shard.touched(&request.peer, Some(*owner), request.body.len()),
        [_, _, ..] => shard.touched(&request.peer, None, request.body.len()),
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

/// Checks what takes long, one partition after the other: in between, it is others' turn.
async fn check_heavy(shard: &Shard, request: &Request, prepared: &mut Prepared) {
    let (version, owner) = (request.version, request.peer.work_owner);
    for unchecked in std::mem::take(&mut prepared.heavy) {
        let (records, config) = (unchecked.records.clone(), unchecked.topic.config.clone());
        let now_ms = shard.rt.wall_clock_ms();
        let check = move || check::check(records, version, &config, now_ms);
        match shard.rt.compute(owner, check).await {
            Ok(Some(checked)) => prepared.add(unchecked.append(checked)),
            Ok(None) => prepared.outcomes[unchecked.slot] = Some(Outcome::nothing()),
            Err(refused) => {
                prepared.outcomes[unchecked.slot] = Some(unchecked.refuse(&refused));
            }
        }
    }
}

/// Walks the request once. Only when all of it could be read may anything be appended. The error
/// is the answer that closes the connection.
fn prepare_all(shard: &Rc<Shard>, request: &Request) -> Result<Prepared, Answer> {
    let undecodable = |error| request.undecodable(&error);
    let mut reader =
        ProduceRequestReader::begin(&request.body, request.version).map_err(undecodable)?;
    let mut prepared = Prepared {
        acks: Acks {
            acks: reader.acks,
            deadline: request.arrived + Duration::from_millis(reader.timeout_ms.max(0) as u64),
        },
        layout: Layout { topics: Vec::new() },
        outcomes: Vec::new(),
        appends: Vec::new(),
        heavy: Vec::new(),
    };
    let partitions_max = EMPTY_PARTITIONS_MAX + request.body.len() / HEADER_BYTES;
    let refusal = refusal(&reader);
    let mut transactional = false;
    let mut named_twice = Repeated::default();
    let mut topic: Option<(usize, Result<Rc<TopicEntry>, ErrorCode>)> = None;
    while let Some(partition) = reader.next_partition().map_err(undecodable)? {
        let slot = prepared.outcomes.len();
        if slot == partitions_max {
            let reason = "a Produce request with more partitions than it has room for batches";
            return Err(Answer::Close(reason.into()));
        }
        let number = partition.topic.number;
        if topic.as_ref().is_none_or(|(current, _)| *current != number) {
            let named = match request.version {
                VERSION_TOPIC_IDS.. => TopicRef::Id(partition.topic.id),
                _ => TopicRef::Name(text(partition.topic.name).into()),
            };
            let found = authorized_topics::find(shard, request, Operation::Write, &named);
            topic = Some((number, found));
            prepared.layout.topics.push((named, Vec::new()));
        }
        let (_, entry) = topic.as_ref().expect("set above");
        let (_, indexes) = prepared.layout.topics.last_mut().expect("pushed with the topic");
        indexes.push(partition.index);
        transactional |= check::is_transactional(partition.records.unwrap_or_default());
        prepared.outcomes.push(None);
        let outcome = match (refusal, entry) {
            (_, Err(ErrorCode::TopicAuthorizationFailed)) => {
                Err(Outcome::failed(ErrorCode::TopicAuthorizationFailed, None))
            }
            (Some(error), _) => Err(Outcome::failed(error, None)),
            (None, Err(error)) => Err(Outcome::failed(*error, None)),
            // Their records are the coordinators' state. (Kafka lets its own tools write there, by
            // a client id that anyone can have.)
            (None, Ok(entry)) if entry.is_internal() => {
                Err(Outcome::failed(ErrorCode::InvalidTopicException, None))
            }
            (None, Ok(entry)) if named_twice.is_repeated(entry.id, partition.index) => {
                let message = "the request names the partition twice".to_owned();
                Err(Outcome::failed(ErrorCode::InvalidRequest, message))
            }
            (None, Ok(entry)) => prepare(shard, request, entry, &partition, &mut prepared),
        };
        if let Err(outcome) = outcome {
            prepared.outcomes[slot] = Some(outcome);
        }
    }
    if transactional && !may_write_transactions(shard, request, reader.transactional_id) {
        // One such batch refuses the request (`KafkaApis.handleProduceRequest`): nothing could
        // ever end the transaction that it would open.
        let refused = Outcome::failed(ErrorCode::TransactionalIdAuthorizationFailed, None);
        prepared.appends.clear();
        prepared.heavy.clear();
        prepared.outcomes.fill(Some(refused));
    }
    Ok(prepared)
}

fn may_write_transactions(shard: &Shard, request: &Request, id: Option<&[u8]>) -> bool {
    id.is_some_and(|id| {
        let id = text(id);
        let id = Resource::TransactionalId(&id);
        request.authorize(shard.node.authorizer, Operation::Write, id)
    })
}

/// The partitions that a request has named.
#[derive(Default)]
struct Repeated {
    few: SmallVec<[TopicIdPartition; FEW_PARTITIONS]>,
    many: HashSet<TopicIdPartition>,
}

impl Repeated {
    /// Notes the partition, and tells whether it was noted before.
    fn is_repeated(&mut self, topic_id: Uuid, partition: i32) -> bool {
        let named = TopicIdPartition::new(topic_id, partition);
        if self.many.is_empty() && self.few.len() < FEW_PARTITIONS {
            let is_repeated = self.few.contains(&named);
            self.few.push(named);
            return is_repeated;
        }
        self.many.extend(self.few.drain(..));
        !self.many.insert(named)
    }
}

/// Why the whole request is refused whatever it carries, if it is.
fn refusal(request: &ProduceRequestReader<'_>) -> Option<ErrorCode> {
    if !(-1..=1).contains(&request.acks) {
        return Some(ErrorCode::InvalidRequiredAcks);
    }
    // A transactional producer has to get its id from a coordinator first, and there is none.
    request.transactional_id.is_some().then_some(ErrorCode::TransactionalIdNotFound)
}

/// Checks one partition's records, unless that takes long, and finds their owner.
fn prepare(
    shard: &Rc<Shard>,
    request: &Request,
    topic: &Rc<TopicEntry>,
    partition: &PartitionView<'_>,
    prepared: &mut Prepared,
) -> Result<(), Outcome> {
    let entry = topic
        .partition(partition.index)
        .ok_or_else(|| Outcome::failed(ErrorCode::UnknownTopicOrPartition, None))?;
    if prepared.acks.acks == -1 && entry.isr.len() < topic.min_insync_replicas(entry) {
        return Err(Outcome::failed(ErrorCode::NotEnoughReplicas, None));
    }
    let records = request.body.slice_ref(partition.records.unwrap_or_default());
    let version = request.version;
    let now_ms = shard.rt.wall_clock_ms();
    let is_heavy = check::is_heavy(&records, version, &topic.config, now_ms);
    let unchecked = Unchecked {
        slot: prepared.outcomes.len() - 1,
        owner: entry.owner,
        topic: topic.clone(),
        partition: partition.index,
        leader_epoch: entry.leader_epoch,
        records: records.clone(),
    };
    if is_heavy {
        prepared.heavy.push(unchecked);
        return Ok(());
    }
    let checked = check::check(records, version, &topic.config, now_ms);
    match checked.map_err(|refused| unchecked.refuse(&refused))? {
        Some(checked) => prepared.add(unchecked.append(checked)),
        None => return Err(Outcome::nothing()),
    }
    Ok(())
}

/// The fate of a batch when its request was dispatched.
enum Begun {
    Appended(Result<(Rc<Partition>, Appended), Outcome>),
    /// There is no room in memory: it is appended when its turn comes.
    Waits(JoinHandle<Result<(Rc<Partition>, Appended), Outcome>>),
}

/// Appends in order, at once, what there is room for; the future waits until the batches are
/// acknowledged.
fn append_all(
    shard: &Rc<Shard>,
    appends: Vec<Append>,
    acks: Acks,
) -> impl Future<Output = Vec<(usize, Outcome)>> + use<> {
    let now_ms = shard.rt.wall_clock_ms();
    let mut begun = Vec::with_capacity(appends.len());
    for append in appends {
        let partition = shard.replicas.topics.serving_partition(&append.topic_id, append.partition);
        let turn = partition.as_ref().ok().and_then(|at| at.log.queue_for_room(append.batch.len()));
        let slot = append.slot;
        begun.push((
            slot,
            match turn {
                None => Begun::Appended(append_one(shard, partition, &append, now_ms)),
                Some(turn) => Begun::Waits(append_in_turn(shard, append, turn, acks)),
            },
        ));
    }
    async move {
        let mut outcomes = Vec::with_capacity(begun.len());
        for (slot, begun) in begun {
            let appended = match begun {
                Begun::Appended(appended) => appended,
                Begun::Waits(appending) => appending.await,
            };
            let outcome = match appended {
                Ok((partition, appended)) => acknowledge(&partition, appended, acks).await,
                Err(outcome) => outcome,
            };
            outcomes.push((slot, outcome));
        }
        outcomes
    }
}

/// Appends a batch when there is room and those before it have been appended. It is a task of its
/// own, so that the partitions of a request do not wait for each other.
fn append_in_turn(
    shard: &Rc<Shard>,
    append: Append,
    turn: RoomTurn,
    acks: Acks,
) -> JoinHandle<Result<(Rc<Partition>, Appended), Outcome>> {
    let shard = shard.clone();
    shard.rt.clone().spawn(async move {
        if let Err(error) = turn.room_by(acks.deadline).await {
            return Err(Outcome::failed(error.error_code(), error.to_string()));
        }
        // The topic may have gone meanwhile.
        let partition = shard.replicas.topics.serving_partition(&append.topic_id, append.partition);
        let now_ms = shard.rt.wall_clock_ms();
        let appended = append_one(&shard, partition, &append, now_ms);
        drop(turn);
        appended
    })
}

fn append_one(
    shard: &Shard,
    partition: Result<Rc<Partition>, ErrorCode>,
    append: &Append,
    now_ms: TimestampMs,
) -> Result<(Rc<Partition>, Appended), Outcome> {
    let partition = partition.map_err(|error| Outcome::failed(error, None))?;
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
    if acks.acks != 0 {
        // The timeout of a request bounds the wait for other replicas, and there are none. It never
        // bounds a disk of the leader's that works, as in Kafka, where a `DelayedProduce` that only
        // the leader is part of is complete before it waits: an error for what is there in a moment
        // would make the client send it twice. With a disk that takes nothing, it bounds the wait.
        let waited = partition.log.wait_committed_by(appended.end, acks.deadline).await;
        if let Err(error) = waited {
            return Outcome::failed(error.error_code(), error.to_string());
        }
    }
    Outcome {
        error: ErrorCode::None,
        message: None,
        rejected: Vec::new(),
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
                record_errors: outcome.rejected,
                error_message: outcome.message.map(Into::into),
                ..Default::default()
            });
        }
        response.responses.push(answered);
    }
    response
}
