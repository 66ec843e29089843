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
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::Acks;
use super::accumulator::{Accumulator, BLOCKED_INTERVAL};
use super::batch::SealedBatch;
use super::sequence::Identity;
use crate::client::{Client, Node};
use crate::error::ClientError;
use crate::retry::jittered;

/// The highest version without topic ids (KIP-516).
const PRODUCE_VERSION_BY_NAME: i16 = 12;
/// Version 6 is not stable in any release (trap: brokers that list it may change it).
const INIT_PRODUCER_ID_VERSION_MAX: i16 = 5;
/// How soon a topic is looked at again that could not be read anew.
const AGE_INTERVAL_MIN: Duration = Duration::from_millis(100);
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
    /// When to look which topics were read too long ago.
    age_at: Instant,
    /// No new identity is asked for before this.
    identity_at: Instant,
    identity_attempts: u32,
    /// Nothing was acknowledged since an error was told: more of them are no news.
    is_told: bool,
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
    Refreshed(Option<ClientError>),
}

/// A request's place among those to the same broker.
struct Turn {
    before: Option<oneshot::Receiver<()>>,
    /// Dropped when this request is in the connection's queue, or never will be.
    queued: oneshot::Sender<()>,
}

/// What becomes of a batch after an attempt.
#[derive(Debug, PartialEq, Eq)]
enum BatchFate {
    Acknowledged(Option<Offset>),
    Again,
    /// The broker misses what came before: again, with a new identity.
    AgainAnew,
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
            age_at: Instant::now(),
            identity_at: Instant::now(),
            identity_attempts: 0,
            is_told: false,
        }
    }

    /// Runs until it is aborted.
    pub(crate) async fn run(mut self) {
        let accumulator = self.accumulator.clone();
        loop {
            let next = self.send_ready();
            let age_at = self.find_aged();
            self.refresh();
            let alarm = next.map_or(age_at, |next| next.min(age_at));
            tokio::select! {
                () = accumulator.wake.notified() => {}
                () = sleep_until(alarm) => {}
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
            IdentityState::Asked | IdentityState::Wanted => return self.wait_for_identity(),
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

    /// Asks for an identity when it is time; gives the time to look again.
    fn wait_for_identity(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.accumulator.expire(now);
        if self.accumulator.is_idle() {
            return None;
        }
        let is_wanted = matches!(self.identity, IdentityState::Wanted);
        if is_wanted && self.in_flight.is_empty() && now >= self.identity_at {
            self.identity = IdentityState::Asked;
            self.tasks.spawn(ask_identity(self.client.clone()));
        }
        // What waits may get too old meanwhile.
        Some(now + BLOCKED_INTERVAL)
    }

    /// Marks the topics whose partitions were read longer than `metadata.max.age.ms` ago: they
    /// may have got more. Gives the time to look again.
    fn find_aged(&mut self) -> Instant {
        let now = Instant::now();
        if now < self.age_at {
            return self.age_at;
        }
        let age_max = self.client.settings().metadata_age_max;
        let cluster = self.client.cluster();
        self.age_at = now + age_max;
        for topic in self.accumulator.topics() {
            let Some(read_at) = cluster.read_at.get(&topic) else { continue };
            let due = *read_at + age_max;
            if due <= now {
                self.stale.insert(topic);
            }
            self.age_at = self.age_at.min(due.max(now + AGE_INTERVAL_MIN));
        }
        self.age_at
    }

    /// Sends batches in requests of at most `max.request.size`.
    fn send_to(&mut self, broker: BrokerId, batches: Vec<SealedBatch>) {
        let settings = self.accumulator.settings();
        let (acks, bytes_max) = (settings.acks, settings.request_bytes_max);
        let after = settings.delivery_timeout;
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
            let youngest = batches.iter().map(|batch| batch.created).max();
            let deadline = youngest.expect("a request has batches") + after;
            self.tasks.spawn(async move {
                let sending = produce(&client, broker, &batches, acks, turn);
                let answers = timeout_at(deadline, sending).await.unwrap_or_else(|_| {
                    let what = format!("delivering to broker {broker}");
                    Err(ClientError::Timeout { what, after })
                });
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
            let error = match client.fetch_metadata(Some(&names), false).await {
                Ok(errors) => errors.into_values().next(),
                Err(error) => Some(error),
            };
            // Not more often than retries go out, however long a leader is missing.
            sleep(client.settings().retry_backoff).await;
            Report::Refreshed(error)
        });
    }

    /// Says why records have to wait, once until one is acknowledged again.
    fn tell(&mut self, error: &ClientError) {
        if self.accumulator.is_idle() || std::mem::replace(&mut self.is_told, true) {
            tracing::debug!(%error, "trying again");
            return;
        }
        let seconds = self.accumulator.settings().delivery_timeout.as_secs_f64();
        tracing::warn!(%error, "records wait, trying again for up to {seconds} s each");
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Refreshed(error) => {
                self.is_refreshing = false;
                self.accumulator.learn_anew(&self.client.cluster());
                if let Some(error) = error {
                    self.tell(&error);
                }
            }
            Report::Identity(Ok(identity)) => {
                self.accumulator.renumber(identity);
                self.identity = IdentityState::Known(identity);
                self.identity_attempts = 0;
            }
            Report::Identity(Err(error)) => {
                self.identity = IdentityState::Wanted;
                self.identity_at = Instant::now() + self.pause(self.identity_attempts);
                self.identity_attempts += 1;
                match error.is_retriable() {
                    true => self.tell(&error),
                    // Whoever sends another record makes us ask again.
                    false => self.accumulator.fail_all(&error),
                }
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

    /// The pause before a further attempt.
    fn pause(&self, attempts: u32) -> Duration {
        let settings = self.client.settings();
        let doubled = settings.retry_backoff * 2_u32.pow(attempts.min(10));
        jittered(doubled.min(settings.retry_backoff_max))
    }

    fn settle(&mut self, mut batch: SealedBatch, result: Result<Option<Offset>, ClientError>) {
        let has_earlier = self.accumulator.has_earlier(&batch.partition, batch.order);
        if let Err(error) = &result
            && error.asks_for_metadata()
        {
            self.stale.insert(batch.partition.topic.clone());
        }
        let age_max = self.accumulator.settings().delivery_timeout;
        let is_old = batch.created.elapsed() >= age_max;
        let verdict = verdict(&result, batch.is_sequenced, has_earlier, is_old);
        match verdict {
            BatchFate::Acknowledged(offset) => {
                self.is_told = false;
                self.accumulator.complete(batch, Ok(offset));
            }
            BatchFate::Again | BatchFate::AgainAnew => {
                let pause = self.pause(batch.attempts);
                let error = result.expect_err("what succeeded is not repeated");
                if verdict == BatchFate::AgainAnew {
                    tracing::info!(partition = %batch.partition, %error, "a new producer id");
                    self.identity = IdentityState::Wanted;
                    self.accumulator.renew(&batch.partition);
                } else if !has_earlier {
                    self.tell(&error);
                }
                batch.attempts += 1;
                batch.last_error = Some(error);
                self.accumulator.retry(batch, Instant::now() + pause);
            }
            BatchFate::GivenUp => {
                if batch.is_sequenced {
                    self.identity = IdentityState::Wanted;
                    self.accumulator.renew(&batch.partition);
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
) -> BatchFate {
    let error = match result {
        Ok(offset) => return BatchFate::Acknowledged(*offset),
        Err(error) => error,
    };
    match error.code() {
        // An earlier attempt was taken, and so long ago that its offset is forgotten.
        Some(ErrorCode::DuplicateSequenceNumber) => BatchFate::Acknowledged(None),
        // Where no earlier one is missing, the broker has lost what it had acknowledged, or an
        // earlier one was refused (KIP-360).
        Some(ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId)
            if is_sequenced && !is_old =>
        {
            if has_earlier {
                BatchFate::Again
            } else {
                BatchFate::AgainAnew
            }
        }
        _ if error.is_retriable() && !is_old => BatchFate::Again,
        _ => BatchFate::GivenUp,
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
    Report::Identity(ask().await)
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
        use BatchFate::{Acknowledged, Again, AgainAnew, GivenUp};
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
            (out_of_order(), true, false, false, AgainAnew),
            (out_of_order(), true, false, true, GivenUp),
            (out_of_order(), false, false, false, GivenUp),
            (failed(ErrorCode::UnknownProducerId), true, false, false, AgainAnew),
        ] {
            let text = format!("{result:?}");
            assert_eq!(verdict(&result, sequenced, earlier, old), expected, "{text}");
        }
    }
}
