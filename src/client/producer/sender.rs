//! The producer's task: sends batches to their leaders and decides what becomes of them.
//!
//! One task owns all decisions; requests, new identities and metadata run beside it and report
//! back. Per broker at most `max.in.flight.requests.per.connection` requests are on their way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ringlog_types::{BrokerId, ErrorCode, Offset, TopicPartition, Uuid};
use ringlog_wire::Records;
use ringlog_wire::messages::init_producer_id_request::InitProducerIdRequest;
use ringlog_wire::messages::init_producer_id_response::InitProducerIdResponse;
use ringlog_wire::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use ringlog_wire::messages::produce_response::ProduceResponse;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::Acks;
use super::accumulator::Accumulator;
use super::batch::SealedBatch;
use super::sequence::Identity;
use crate::client::{Client, Node};
use crate::error::ClientError;
use crate::retry::jittered;

/// The highest version without topic ids (KIP-516).
const PRODUCE_VERSION_BY_NAME: i16 = 12;
/// Version 6 is not stable in any release (trap: brokers that list it may change it).
const INIT_PRODUCER_ID_VERSION_MAX: i16 = 5;
/// Broker, then for each partition the offset or what went wrong.
type Answers = HashMap<TopicPartition, Result<Option<Offset>, ClientError>>;

pub(crate) struct Sender {
    client: Client,
    accumulator: Arc<Accumulator>,
    tasks: JoinSet<Report>,
    in_flight: BTreeMap<BrokerId, usize>,
    identity: IdentityState,
    /// Per broker, done when the last request is in the connection's queue: requests must be
    /// queued in the order in which their batches were taken, whatever thread runs them.
    queued: HashMap<BrokerId, oneshot::Receiver<()>>,
    /// Topics whose leaders are to be asked for.
    stale: BTreeSet<Arc<str>>,
    is_refreshing: bool,
}

enum IdentityState {
    /// The producer is not idempotent.
    Without,
    /// None yet, or the last one was given up: to be asked for when nothing is in flight.
    Wanted,
    Asked,
    Known(Identity),
}

enum Report {
    Produced { broker: BrokerId, batches: Vec<SealedBatch>, answers: Result<Answers, ClientError> },
    Identity(Result<Identity, ClientError>),
    Refreshed,
}

/// A request's place among those to the same broker.
struct Turn {
    before: Option<oneshot::Receiver<()>>,
    /// Dropped when this request is in the connection's queue, or never will be.
    queued: oneshot::Sender<()>,
}

/// What becomes of a batch after an attempt.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Acknowledged(Option<Offset>),
    Again,
    GivenUp,
}

impl Sender {
    pub(crate) fn new(client: Client, accumulator: Arc<Accumulator>) -> Sender {
        let identity = match accumulator.settings().idempotence {
            true => IdentityState::Wanted,
            false => IdentityState::Without,
        };
        Sender {
            client,
            accumulator,
            tasks: JoinSet::new(),
            in_flight: BTreeMap::new(),
            queued: HashMap::new(),
            identity,
            stale: BTreeSet::new(),
            is_refreshing: false,
        }
    }

    /// Runs until it is aborted.
    pub(crate) async fn run(mut self) {
        let accumulator = self.accumulator.clone();
        loop {
            let next = self.send_ready();
            self.refresh();
            let alarm = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                () = accumulator.wake.notified() => {}
                () = sleep_until(alarm), if next.is_some() => {}
                Some(report) = self.tasks.join_next() => match report {
                    Ok(report) => self.take(report),
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
            }
        }
    }

    /// Sends what can be sent; gives the time to look again.
    fn send_ready(&mut self) -> Option<Instant> {
        let identity = match self.identity {
            IdentityState::Without => None,
            IdentityState::Known(identity) => Some(identity),
            IdentityState::Asked => return None,
            IdentityState::Wanted => {
                if self.in_flight.is_empty() && !self.accumulator.is_idle() {
                    self.identity = IdentityState::Asked;
                    self.tasks.spawn(ask_identity(self.client.clone()));
                }
                return None;
            }
        };
        let cluster = self.client.cluster();
        let most = self.accumulator.settings().requests_in_flight_max;
        let (in_flight, stale) = (&self.in_flight, &mut self.stale);
        let drained = self.accumulator.drain(identity, Instant::now(), |partition| {
            match cluster.leader(&partition.topic, partition.partition) {
                Some(leader) => in_flight.get(&leader.id).copied().unwrap_or(0) < most,
                None => {
                    stale.insert(partition.topic.clone());
                    false
                }
            }
        });
        let mut by_leader: BTreeMap<BrokerId, Vec<SealedBatch>> = BTreeMap::new();
        for batch in drained.batches {
            let leader = cluster.leader(&batch.partition.topic, batch.partition.partition);
            let leader = leader.expect("asked for it while draining").id;
            by_leader.entry(leader).or_default().push(batch);
        }
        for (broker, batches) in by_leader {
            self.send_to(broker, batches);
        }
        if drained.has_gap {
            self.identity = IdentityState::Wanted;
            return Some(Instant::now());
        }
        drained.next
    }

    /// Sends batches in requests of at most `max.request.size`.
    fn send_to(&mut self, broker: BrokerId, batches: Vec<SealedBatch>) {
        let settings = self.accumulator.settings();
        let (acks, bytes_max) = (settings.acks, settings.request_bytes_max);
        let (mut group, mut bytes) = (Vec::new(), 0);
        let mut groups = Vec::new();
        for batch in batches {
            if bytes + batch.bytes.len() > bytes_max && !group.is_empty() {
                groups.push(std::mem::take(&mut group));
                bytes = 0;
            }
            bytes += batch.bytes.len();
            group.push(batch);
        }
        groups.push(group);
        for batches in groups {
            *self.in_flight.entry(broker).or_default() += 1;
            let client = self.client.clone();
            let (queued, is_queued) = oneshot::channel();
            let turn = Turn { before: self.queued.insert(broker, is_queued), queued };
            self.tasks.spawn(async move {
                let answers = produce(&client, broker, &batches, acks, turn).await;
                Report::Produced { broker, batches, answers }
            });
        }
    }

    /// Asks for the leaders of topics that need it, one request at a time.
    fn refresh(&mut self) {
        if self.is_refreshing || self.stale.is_empty() {
            return;
        }
        self.is_refreshing = true;
        let topics = std::mem::take(&mut self.stale);
        let client = self.client.clone();
        self.tasks.spawn(async move {
            let names: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
            if let Err(error) = client.fetch_metadata(Some(&names), false).await {
                tracing::debug!(%error, "metadata cannot be read");
            }
            // Not more often than retries go out, however long a leader is missing.
            sleep(client.settings().retry_backoff).await;
            Report::Refreshed
        });
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Refreshed => self.is_refreshing = false,
            Report::Identity(Ok(identity)) => {
                self.accumulator.renumber(identity);
                self.identity = IdentityState::Known(identity);
            }
            Report::Identity(Err(error)) => {
                self.accumulator.fail_all(&error);
                self.identity = IdentityState::Wanted;
                // Whoever sends another record makes us ask again.
            }
            Report::Produced { broker, batches, answers } => {
                self.release(broker);
                for batch in batches {
                    let result = match &answers {
                        Ok(answers) => {
                            answers.get(&batch.partition).cloned().unwrap_or_else(|| {
                                let text = format!("{}: the answer leaves it out", batch.partition);
                                Err(ClientError::Invalid(text))
                            })
                        }
                        Err(error) => Err(error.clone()),
                    };
                    self.settle(batch, result);
                }
            }
        }
    }

    fn release(&mut self, broker: BrokerId) {
        let count = self.in_flight.get_mut(&broker).expect("counted when it was sent");
        *count -= 1;
        if *count == 0 {
            self.in_flight.remove(&broker);
        }
    }

    fn settle(&mut self, mut batch: SealedBatch, result: Result<Option<Offset>, ClientError>) {
        let settings = self.client.settings();
        let has_earlier = self.accumulator.has_earlier(&batch.partition, batch.order);
        if let Err(error) = &result
            && error.asks_for_metadata()
        {
            self.stale.insert(batch.partition.topic.clone());
        }
        let age_max = self.accumulator.settings().delivery_timeout;
        let is_old = batch.created.elapsed() >= age_max;
        match verdict(&result, batch.is_sequenced, has_earlier, is_old) {
            Verdict::Acknowledged(offset) => self.accumulator.complete(batch, Ok(offset)),
            Verdict::Again => {
                let doubled = settings.retry_backoff * 2_u32.pow(batch.attempts.min(10));
                let pause = jittered(doubled.min(settings.retry_backoff_max));
                let error = result.expect_err("what succeeded is not repeated");
                tracing::debug!(partition = %batch.partition, %error, "sending again");
                batch.attempts += 1;
                batch.last_error = Some(error);
                self.accumulator.retry(batch, Instant::now() + pause);
            }
            Verdict::GivenUp => {
                if batch.is_sequenced {
                    self.identity = IdentityState::Wanted;
                }
                let error = result.expect_err("what succeeded is not given up");
                self.accumulator.complete(batch, Err(error));
            }
        }
    }
}

/// What becomes of a batch. `has_earlier`: a batch before it waits to be repeated, so that the
/// broker had to find this one out of order.
fn verdict(
    result: &Result<Option<Offset>, ClientError>,
    is_sequenced: bool,
    has_earlier: bool,
    is_old: bool,
) -> Verdict {
    let error = match result {
        Ok(offset) => return Verdict::Acknowledged(*offset),
        Err(error) => error,
    };
    match error.code() {
        // An earlier attempt was taken, and so long ago that its offset is forgotten.
        Some(ErrorCode::DuplicateSequenceNumber) => Verdict::Acknowledged(None),
        Some(ErrorCode::OutOfOrderSequenceNumber) if is_sequenced && has_earlier && !is_old => {
            Verdict::Again
        }
        _ if error.is_retriable() && !is_old => Verdict::Again,
        _ => Verdict::GivenUp,
    }
}

async fn ask_identity(client: Client) -> Report {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let ask = async || {
        let connection = client.connection(Node::Any).await?;
        let reply = connection.request(&request, INIT_PRODUCER_ID_VERSION_MAX).await?;
        let response: InitProducerIdResponse = reply.decode()?;
        let context = || "asking for a producer id".to_owned();
        match ClientError::from_code(response.error_code, None, context) {
            Some(error) => Err(error),
            None => {
                Ok(Identity { producer_id: response.producer_id, epoch: response.producer_epoch })
            }
        }
    };
    let deadline = Instant::now() + client.settings().operation_timeout;
    let mut retry = crate::retry::Retry::until(client.settings(), deadline);
    loop {
        match ask().await {
            Ok(identity) => return Report::Identity(Ok(identity)),
            Err(error) => {
                if let Err(error) = retry.pause(error).await {
                    return Report::Identity(Err(error));
                }
            }
        }
    }
}

/// Sends one Produce request. The answers are by partition.
async fn produce(
    client: &Client,
    broker: BrokerId,
    batches: &[SealedBatch],
    acks: Acks,
    turn: Turn,
) -> Result<Answers, ClientError> {
    let cluster = client.cluster();
    let id_of = |topic: &str| cluster.topics.get(topic).map_or(Uuid::ZERO, |topic| topic.id);
    let mut topics: Vec<TopicProduceData<'_>> = Vec::new();
    for batch in batches {
        let name = &*batch.partition.topic;
        let data = PartitionProduceData {
            index: batch.partition.partition,
            records: Some(Records::Shared(vec![batch.bytes.clone()])),
        };
        match topics.last_mut().filter(|topic| topic.name == name) {
            Some(topic) => topic.partition_data.push(data),
            None => topics.push(TopicProduceData {
                name: name.into(),
                topic_id: id_of(name),
                partition_data: vec![data],
            }),
        }
    }
    let all_have_ids = topics.iter().all(|topic| topic.topic_id != Uuid::ZERO);
    let version_max = if all_have_ids { i16::MAX } else { PRODUCE_VERSION_BY_NAME };
    let timeout_ms = client.settings().request_timeout.as_millis();
    let request = ProduceRequest {
        transactional_id: None,
        acks: acks.code(),
        timeout_ms: i32::try_from(timeout_ms).unwrap_or(i32::MAX),
        topic_data: topics,
    };
    if let Some(before) = turn.before {
        // An error is the sender's end, which is what is waited for.
        drop(before.await);
    }
    let connection = client.connection(Node::Broker(broker)).await?;
    if acks == Acks::None {
        connection.send(&request, version_max).await?;
        return Ok(batches.iter().map(|batch| (batch.partition.clone(), Ok(None))).collect());
    }
    let pending = connection.begin(&request, version_max).await?;
    drop(turn.queued);
    let reply = pending.answer().await?;
    let by_id: HashMap<Uuid, &Arc<str>> =
        batches.iter().map(|b| (id_of(&b.partition.topic), &b.partition.topic)).collect();
    read_answers(&reply.decode()?, &by_id)
}

fn read_answers(
    response: &ProduceResponse<'_>,
    by_id: &HashMap<Uuid, &Arc<str>>,
) -> Result<Answers, ClientError> {
    let mut answers = Answers::new();
    for topic in &response.responses {
        let name: Arc<str> = match by_id.get(&topic.topic_id) {
            Some(name) if topic.name.is_empty() => Arc::clone(name),
            _ => (*topic.name).into(),
        };
        for answer in &topic.partition_responses {
            let partition = TopicPartition::new(name.clone(), answer.index);
            let first = answer.record_errors.first();
            let record_text = first.and_then(|error| error.batch_index_error_message.as_deref());
            let message = answer.error_message.as_deref().or(record_text);
            let error =
                ClientError::from_code(answer.error_code, message, || partition.to_string());
            let offset = Some(answer.base_offset).filter(|offset| *offset >= 0);
            answers.insert(partition, error.map_or(Ok(offset), Err));
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: ErrorCode) -> Result<Option<Offset>, ClientError> {
        let error = ClientError::from_code(code.code(), None, String::new);
        Err(error.expect("an error"))
    }

    #[test]
    fn verdicts() {
        use Verdict::{Acknowledged, Again, GivenUp};
        let gone = || Err(ClientError::connection("h:1", "reset"));
        let no_leader = || failed(ErrorCode::NotLeaderOrFollower);
        let out_of_order = || failed(ErrorCode::OutOfOrderSequenceNumber);
        // (result, sequenced, earlier one repeats, old) and what is expected.
        for (result, sequenced, earlier, old, expected) in [
            (Ok(Some(5)), true, false, true, Acknowledged(Some(5))),
            (no_leader(), true, false, false, Again),
            (no_leader(), true, false, true, GivenUp),
            (gone(), false, false, false, Again),
            (failed(ErrorCode::MessageTooLarge), true, false, false, GivenUp),
            (failed(ErrorCode::DuplicateSequenceNumber), true, false, false, Acknowledged(None)),
            (out_of_order(), true, true, false, Again),
            (out_of_order(), true, false, false, GivenUp),
        ] {
            let text = format!("{result:?}");
            assert_eq!(verdict(&result, sequenced, earlier, old), expected, "{text}");
        }
    }
}
