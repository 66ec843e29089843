//! DescribeProducers (key 61): the idempotent producers that partitions remember (KIP-664).
//!
//! A log can remember 262,144 of them. So they are counted before they are told, their memory is
//! claimed, and partitions beyond [`PRODUCERS_MAX`] are refused.

use std::collections::HashSet;
use std::rc::Rc;

use ringlog_runtime::ShardId;
use ringlog_storage::DescribedProducer;
use ringlog_types::{ErrorCode, TopicIdPartition, Uuid, validate_topic_name};
use ringlog_wire::messages::describe_producers_request::DescribeProducersRequest;
use ringlog_wire::messages::describe_producers_response::{
    DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};

use crate::authorizer::{Operation, Resource};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::replicas::topics::TopicEntry;
use crate::shard::Shard;

/// The most producers in one answer: more than one partition can remember.
const PRODUCERS_MAX: usize = 300_000;
/// The words that partitions beyond that are refused with.
const TOO_MANY: &str = "The answer has more than 300000 producers; ask for fewer partitions.";
/// About what a producer takes in an answer, decoded and encoded.
const PRODUCER_BYTES: usize = 80;

const NOT_HERE: &str = "This server does not host this topic-partition.";
const NOT_ALLOWED: &str = "Topic authorization failed.";

/// A partition that is asked about, and its place in the answer.
struct Query {
    asked: TopicIdPartition,
    place: (usize, usize),
}

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<DescribeProducersRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let mut response = DescribeProducersResponse::default();
    let mut queries = Vec::new();
    let mut seen = HashSet::new();
    for topic in &asked.topics {
        let found = find(&shard, &request, &topic.name);
        let mut answered = TopicResponse { name: topic.name.clone(), ..Default::default() };
        for &partition in &topic.partition_indexes {
            // One that is named more than once is answered once.
            if !seen.insert((&*topic.name, partition)) {
                continue;
            }
            let mut answer = PartitionResponse { partition_index: partition, ..Default::default() };
            match route(&found, partition) {
                Ok((owner, topic_id)) => {
                    let place = (response.topics.len(), answered.partitions.len());
                    let asked = TopicIdPartition::new(topic_id, partition);
                    queries.push((owner, Query { asked, place }));
                }
                Err((error, message)) => refuse(&mut answer, error, message),
            }
            answered.partitions.push(answer);
        }
        response.topics.push(answered);
    }
    describe(&shard, &request, queries, &mut response).await;
    request.respond(&response)
}

/// Why a topic's partitions are not described, with Kafka's words for it.
type Refusal = (ErrorCode, String);

fn find(shard: &Shard, request: &Request, name: &str) -> Result<Rc<TopicEntry>, Refusal> {
    if let Err(invalid) = validate_topic_name(name) {
        let message = format!("Topic name is invalid: {invalid}");
        return Err((ErrorCode::InvalidTopicException, message));
    }
    if !request.authorize(shard.node.authorizer, Operation::Read, Resource::Topic(name)) {
        return Err((ErrorCode::TopicAuthorizationFailed, NOT_ALLOWED.to_owned()));
    }
    let unknown = || (ErrorCode::UnknownTopicOrPartition, NOT_HERE.to_owned());
    shard.replicas.topics.by_name(name).ok_or_else(unknown)
}

fn route(
    found: &Result<Rc<TopicEntry>, Refusal>,
    partition: i32,
) -> Result<(ShardId, Uuid), Refusal> {
    let topic = found.as_ref().map_err(Clone::clone)?;
    match topic.partition(partition) {
        Some(entry) => Ok((entry.owner, topic.id)),
        None => Err((ErrorCode::UnknownTopicOrPartition, String::new())),
    }
}

fn refuse(answer: &mut PartitionResponse<'_>, error: ErrorCode, message: String) {
    answer.error_code = error.code();
    answer.error_message = (!message.is_empty()).then(|| message.into());
}

/// Fills the places of the queries.
async fn describe(
    shard: &Rc<Shard>,
    request: &Request,
    queries: Vec<(ShardId, Query)>,
    response: &mut DescribeProducersResponse<'_>,
) {
    let named = queries.iter().map(|(owner, query)| (*owner, query.asked));
    let counts = shard.on_owners(named.collect(), count_all).await;
    let mut total = 0;
    let mut taken = Vec::new();
    let mut places = Vec::new();
    for ((owner, query), count) in queries.into_iter().zip(counts) {
        let answer = &mut response.topics[query.place.0].partitions[query.place.1];
        match count {
            Err(error) => refuse(answer, error, String::new()),
            Ok(count) if total + count > PRODUCERS_MAX => {
                refuse(answer, ErrorCode::PolicyViolation, TOO_MANY.to_owned());
            }
            Ok(count) => {
                total += count;
                places.push(query.place);
                taken.push((owner, (query.asked, count)));
            }
        }
    }
    request.held.claim_answer(&shard.network.memory, total * PRODUCER_BYTES).await;
    let described = shard.on_owners(taken, describe_all).await;
    for ((topic, partition), producers) in places.into_iter().zip(described) {
        let answer = &mut response.topics[topic].partitions[partition];
        match producers {
            Ok(producers) => answer.active_producers = producers.into_iter().map(state).collect(),
            Err(error) => refuse(answer, error, String::new()),
        }
    }
}

async fn count_all(
    shard: Rc<Shard>,
    asked: Vec<TopicIdPartition>,
) -> Vec<Result<usize, ErrorCode>> {
    let count = |TopicIdPartition { topic_id, partition }| {
        let partition = shard.replicas.topics.local_partition(&topic_id, partition);
        partition
            .map(|partition| partition.log.producer_count())
            .ok_or(ErrorCode::KafkaStorageError)
    };
    asked.into_iter().map(count).collect()
}

/// At most as many as were counted of each, the rest has come meanwhile.
async fn describe_all(
    shard: Rc<Shard>,
    asked: Vec<(TopicIdPartition, usize)>,
) -> Vec<Result<Vec<DescribedProducer>, ErrorCode>> {
    let mut results = Vec::with_capacity(asked.len());
    for (TopicIdPartition { topic_id, partition }, count) in asked {
        let partition = shard.replicas.topics.local_partition(&topic_id, partition);
        results.push(match partition {
            Some(partition) => Ok(partition.log.describe_producers(count)),
            None => Err(ErrorCode::KafkaStorageError),
        });
        shard.rt.yield_now().await;
    }
    results
}

fn state(producer: DescribedProducer) -> ProducerState {
    ProducerState {
        producer_id: producer.producer_id,
        producer_epoch: i32::from(producer.epoch),
        last_sequence: producer.last_sequence,
        last_timestamp: producer.last_timestamp,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.transaction_start.unwrap_or(-1),
    }
}
