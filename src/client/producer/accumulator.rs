//! Records that wait to be sent, in batches per partition.
//!
//! Shared by the callers, who append, and the sender task, who takes batches out and completes
//! them. The lock is held for one of these steps only, and never across a wait.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringlog_types::{Offset, TimestampMs, TopicPartition};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::batch::{OpenBatch, SealedBatch, Unsealed};
use super::outcome::{Delivery, Promise};
use super::sequence::{self, Identity};
use super::{ProducerRecord, ProducerSettings};
use crate::error::ClientError;
use crate::metadata::{Cluster, TopicMetadata};
use crate::partitioner::TopicPartitioner;

pub(crate) struct Accumulator {
    settings: ProducerSettings,
    queues: Mutex<Queues>,
    memory: Semaphore,
    /// There may be something to send.
    pub(crate) wake: Notify,
    /// Nothing is left to send.
    idle: Notify,
}

#[derive(Default)]
struct Queues {
    topics: HashMap<Arc<str>, Topic>,
    partitions: BTreeMap<TopicPartition, PartitionQueue>,
    /// Batches that are neither acknowledged nor given up, open ones included.
    unfinished: usize,
    /// While somebody flushes, batches do not linger.
    flushing: usize,
    closed: bool,
}

struct Topic {
    name: Arc<str>,
    partitions: i32,
    partitioner: TopicPartitioner,
}

#[derive(Default)]
struct PartitionQueue {
    name: Option<TopicPartition>,
    /// The last one is open, unless it is full.
    batches: VecDeque<OpenBatch>,
    /// Batches to be sent again, by sequence.
    retries: VecDeque<SealedBatch>,
    /// No retry before this.
    retry_at: Option<Instant>,
    /// Orders of the batches that are on their way.
    in_flight: BTreeSet<u64>,
    /// Whose sequence numbers these are: a partition keeps its identity when another one has to
    /// get a new one, so that its repetitions are still recognised.
    identity: Option<Identity>,
    /// The broker misses a sequence number here, and will take none that follows.
    needs_identity: bool,
    next_sequence: i32,
    next_order: u64,
}

/// What there is to send now.
#[derive(Default)]
pub(crate) struct Drained {
    pub(crate) batches: Vec<SealedBatch>,
    /// When to look again, if nothing else happens.
    pub(crate) next: Option<Instant>,
    /// A partition needs a new identity.
    pub(crate) has_gap: bool,
}

/// A batch that is given up: its promise, its memory, and why.
type GivenUp = (Promise, usize, ClientError);

/// How soon to look again when a partition has something to send and cannot: its leader is
/// unknown or busy.
pub(crate) const BLOCKED_INTERVAL: Duration = Duration::from_millis(50);

impl Accumulator {
    pub(crate) fn new(settings: ProducerSettings) -> Accumulator {
        Accumulator {
            memory: Semaphore::new(settings.buffer_bytes),
            settings,
            queues: Mutex::default(),
            wake: Notify::new(),
            idle: Notify::new(),
        }
    }

    pub(crate) fn settings(&self) -> &ProducerSettings {
        &self.settings
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn knows(&self, topic: &str) -> bool {
        self.lock().topics.contains_key(topic)
    }

    /// Takes note of a topic and how many partitions it has.
    pub(crate) fn learn(&self, topic: Arc<TopicMetadata>) {
        let mut queues = self.lock();
        let count = topic.partitions.len() as i32;
        let partitioner = self.settings.partitioner;
        let known = queues.topics.entry(topic.name.clone()).or_insert_with(|| Topic {
            name: topic.name.clone(),
            partitions: count,
            partitioner: TopicPartitioner::new(partitioner),
        });
        known.partitions = count;
    }

    /// Takes over how many partitions the known topics have by now.
    pub(crate) fn learn_anew(&self, cluster: &Cluster) {
        for topic in self.lock().topics.values_mut() {
            if let Some(now) = cluster.topics.get(&topic.name) {
                topic.partitions = now.partitions.len() as i32;
            }
        }
    }

    /// The topics that records were sent to.
    pub(crate) fn topics(&self) -> Vec<Arc<str>> {
        self.lock().topics.keys().cloned().collect()
    }

    /// Waits for `size` bytes of memory; [`Accumulator::append`] must follow.
    pub(crate) async fn reserve(&self, size: usize) -> Result<(), ClientError> {
        let size = self.charge(size);
        let permit = self.memory.acquire_many(size).await.map_err(|_| ClientError::Closed)?;
        permit.forget();
        Ok(())
    }

    /// A record larger than the whole memory is taken when all of it is free.
    fn charge(&self, size: usize) -> u32 {
        u32::try_from(size.min(self.settings.buffer_bytes)).expect("checked with the settings")
    }

    fn release(&self, charged: usize) {
        self.memory.add_permits(charged);
    }

    /// Appends a record for which memory is reserved.
    pub(crate) fn append(
        &self,
        record: ProducerRecord,
        size: usize,
    ) -> Result<Delivery, ClientError> {
        let charged = self.charge(size) as usize;
        let mut queues = self.lock();
        let appended = queues.append(&self.settings, &record, size, charged);
        let wake = appended.as_ref().is_ok_and(|(_, wake)| *wake);
        drop(queues);
        if wake {
            self.wake.notify_one();
        }
        appended.map(|(delivery, _)| delivery).inspect_err(|_| self.release(charged))
    }

    /// Takes out and seals what can be sent now, at most one batch per partition, and only of
    /// those that `may_send`.
    pub(crate) fn drain(
        &self,
        identity: Option<Identity>,
        now: Instant,
        mut may_send: impl FnMut(&TopicPartition) -> bool,
    ) -> Drained {
        let mut queues = self.lock();
        let hurry = queues.flushing > 0 || queues.closed;
        let mut drained = Drained::default();
        let (mut failed, has_gap) = queues.take_expired(&self.settings, now);
        drained.has_gap = has_gap;
        let mut look_at = |when: Instant| {
            drained.next = Some(drained.next.map_or(when, |next| next.min(when)));
        };
        for (partition, queue) in &mut queues.partitions {
            if queue.needs_identity {
                continue;
            }
            match queue.ready(&self.settings, hurry, now) {
                Ready::No => continue,
                Ready::At(when) => {
                    look_at(when);
                    continue;
                }
                Ready::Yes if may_send(partition) => {}
                Ready::Yes => {
                    look_at(now + BLOCKED_INTERVAL);
                    continue;
                }
            }
            match queue.take(partition, identity) {
                Ok(batch) => drained.batches.push(batch),
                Err((batch, error)) => failed.push((batch.promise, batch.charged, error)),
            }
        }
        drop(queues);
        self.give_up(failed);
        drained
    }

    /// Gives up what has waited too long, while nothing can be sent.
    pub(crate) fn expire(&self, now: Instant) {
        let (failed, _) = self.lock().take_expired(&self.settings, now);
        self.give_up(failed);
    }

    fn give_up(&self, batches: Vec<GivenUp>) {
        for (promise, charged, error) in batches {
            self.finish(charged, || promise.keep(Err(error)));
        }
    }

    /// A batch was acknowledged, or is given up.
    pub(crate) fn complete(&self, batch: SealedBatch, result: Result<Option<Offset>, ClientError>) {
        self.lock().queue(&batch.partition).in_flight.remove(&batch.order);
        self.finish(batch.charged, || batch.promise.keep(result));
    }

    /// A batch is to be sent again, not before `at`.
    pub(crate) fn retry(&self, batch: SealedBatch, at: Instant) {
        let mut queues = self.lock();
        let queue = queues.queue(&batch.partition);
        queue.in_flight.remove(&batch.order);
        queue.retry_at = Some(at);
        let place = queue.retries.partition_point(|earlier| earlier.order < batch.order);
        queue.retries.insert(place, batch);
    }

    /// Whether a batch of the partition that was sealed before `order` is not yet acknowledged.
    pub(crate) fn has_earlier(&self, partition: &TopicPartition, order: u64) -> bool {
        let mut queues = self.lock();
        let queue = queues.queue(partition);
        queue.retries.front().is_some_and(|batch| batch.order < order)
            || queue.in_flight.first().is_some_and(|earlier| *earlier < order)
    }

    /// Whether everything is acknowledged or given up.
    pub(crate) fn is_idle(&self) -> bool {
        self.lock().unfinished == 0
    }

    /// The partition can only go on with another identity.
    pub(crate) fn renew(&self, partition: &TopicPartition) {
        self.lock().queue(partition).needs_identity = true;
    }

    /// Begins anew with another identity where it is needed: sequences start at 0, and what is to
    /// be repeated gets new ones. Nothing may be in flight there.
    pub(crate) fn renumber(&self, identity: Identity) {
        let mut queues = self.lock();
        for queue in queues.partitions.values_mut().filter(|queue| queue.needs_identity) {
            assert!(queue.in_flight.is_empty(), "a batch in flight cannot be renumbered");
            queue.needs_identity = false;
            queue.identity = Some(identity);
            queue.next_sequence = 0;
            for batch in &mut queue.retries {
                batch.renumber(identity, queue.next_sequence);
                queue.next_sequence = sequence::advance(queue.next_sequence, batch.count);
            }
        }
    }

    /// Gives up everything that waits.
    pub(crate) fn fail_all(&self, error: &ClientError) {
        let mut queues = self.lock();
        let mut waiting = Vec::new();
        for queue in queues.partitions.values_mut() {
            queue.needs_identity |= !queue.retries.is_empty();
            let retries = queue.retries.drain(..).map(|batch| (batch.promise, batch.charged));
            waiting.extend(retries);
            waiting.extend(queue.batches.drain(..).map(|batch| (batch.promise, batch.charged)));
        }
        drop(queues);
        for (promise, charged) in waiting {
            self.finish(charged, || promise.keep(Err(error.clone())));
        }
    }

    /// Ends: nothing is taken any more, and nobody waits for what the sender, which must be gone,
    /// had taken out.
    pub(crate) fn abandon(&self) {
        self.close();
        self.memory.close();
        self.fail_all(&ClientError::Closed);
        self.lock().unfinished = 0;
        self.idle.notify_waiters();
    }

    fn finish(&self, charged: usize, set: impl FnOnce()) {
        set();
        self.release(charged);
        let mut queues = self.lock();
        queues.unfinished -= 1;
        if queues.unfinished == 0 {
            self.idle.notify_waiters();
        }
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    pub(crate) async fn flush(&self) {
        self.lock().flushing += 1;
        self.wake.notify_one();
        loop {
            let idle = self.idle.notified();
            if self.lock().unfinished == 0 {
                break;
            }
            idle.await;
        }
        self.lock().flushing -= 1;
    }
}

impl Queues {
    fn queue(&mut self, partition: &TopicPartition) -> &mut PartitionQueue {
        self.partitions.get_mut(partition).expect("a queue stays once it was there")
    }

    /// Takes out what has waited too long; whether a partition needs a new identity for it.
    fn take_expired(&mut self, settings: &ProducerSettings, now: Instant) -> (Vec<GivenUp>, bool) {
        let (mut failed, mut has_gap) = (Vec::new(), false);
        for queue in self.partitions.values_mut() {
            for batch in queue.take_expired(settings, now) {
                queue.needs_identity |= batch.is_sequenced;
                has_gap |= batch.is_sequenced;
                let error = expired(&batch, settings.delivery_timeout);
                failed.push((batch.promise, batch.charged, error));
            }
        }
        (failed, has_gap)
    }

    /// Gives the delivery, and whether the sender should look.
    fn append(
        &mut self,
        settings: &ProducerSettings,
        record: &ProducerRecord,
        size: usize,
        charged: usize,
    ) -> Result<(Delivery, bool), ClientError> {
        if self.closed {
            return Err(ClientError::Closed);
        }
        let topic = self.topics.get_mut(&record.topic).expect("learned before appending");
        let partition = topic.choose(record)?;
        let partition = TopicPartition::new(topic.name.clone(), partition);
        let queue = self.partitions.entry(partition.clone()).or_default();
        queue.name.get_or_insert_with(|| partition.clone());
        let fits = queue.batches.back().is_some_and(|batch| batch.has_room(size, settings));
        let mut wake = settings.linger.is_zero();
        if !fits {
            // The sender sets an alarm for the first batch, and sends the one before this.
            wake = true;
            queue.batches.push_back(OpenBatch::new(settings, Instant::now()));
            self.unfinished += 1;
        }
        let batch = queue.batches.back_mut().expect("just made sure of it");
        let timestamp = record.timestamp.unwrap_or_else(now_ms);
        let place = batch.append(record, timestamp, charged);
        let outcome = batch.promise.outcome();
        if batch.is_full(settings) {
            wake = true;
        }
        let (number, partitions) = (partition.partition, topic.partitions);
        topic.partitioner.appended(number, partitions, size, settings.batch_bytes);
        Ok((Delivery { outcome, partition, place }, wake || self.flushing > 0))
    }
}

impl Topic {
    fn choose(&mut self, record: &ProducerRecord) -> Result<i32, ClientError> {
        let count = self.partitions;
        let name = &self.name;
        if count <= 0 {
            return Err(ClientError::Invalid(format!("topic {name} has no partitions")));
        }
        match record.partition {
            Some(partition) if (0..count).contains(&partition) => Ok(partition),
            Some(partition) => {
                let last = count - 1;
                let text = format!("topic {name} has partitions 0 to {last}, not {partition}");
                Err(ClientError::Invalid(text))
            }
            None => Ok(self.partitioner.choose(record.key.as_deref(), count)),
        }
    }
}

/// Whether a partition has something to send.
enum Ready {
    Yes,
    /// It will have then.
    At(Instant),
    No,
}

impl PartitionQueue {
    fn ready(&self, settings: &ProducerSettings, hurry: bool, now: Instant) -> Ready {
        if !self.retries.is_empty() {
            // One at a time: whatever was behind the failed batch waits for it.
            return match self.retry_at {
                _ if !self.in_flight.is_empty() => Ready::No,
                Some(at) if at > now => Ready::At(at),
                _ => Ready::Yes,
            };
        }
        let Some(batch) = self.batches.front() else { return Ready::No };
        if self.in_flight.len() >= settings.requests_in_flight_max {
            return Ready::No;
        }
        let due = batch.created + settings.linger;
        let waits = self.batches.len() == 1 && !batch.is_full(settings) && due > now;
        if waits && !hurry { Ready::At(due) } else { Ready::Yes }
    }

    /// The next batch to send, when there is one.
    fn take(
        &mut self,
        partition: &TopicPartition,
        identity: Option<Identity>,
    ) -> Result<SealedBatch, (Unsealed, ClientError)> {
        let batch = match self.retries.pop_front() {
            Some(batch) => batch,
            None => {
                let batch = self.batches.pop_front().expect("looked before");
                let sequence = self.next_sequence;
                let identity = identity.map(|identity| *self.identity.get_or_insert(identity));
                let identity = identity.map(|identity| (identity, sequence));
                let batch = batch.seal(partition, identity, self.next_order)?;
                self.next_order += 1;
                self.next_sequence = sequence::advance(sequence, batch.count);
                batch
            }
        };
        self.in_flight.insert(batch.order);
        Ok(batch)
    }

    /// Takes out the batches that have waited too long to be sent or repeated.
    fn take_expired(&mut self, settings: &ProducerSettings, now: Instant) -> Vec<Expired> {
        let is_old = |created: Instant| now >= created + settings.delivery_timeout;
        let mut expired = Vec::new();
        while self.retries.front().is_some_and(|batch| is_old(batch.created)) {
            let batch = self.retries.pop_front().expect("just seen");
            let SealedBatch { partition, promise, charged, is_sequenced, last_error, .. } = batch;
            expired.push(Expired { partition, promise, charged, is_sequenced, last_error });
        }
        while self.batches.front().is_some_and(|batch| is_old(batch.created)) {
            let batch = self.batches.pop_front().expect("just seen");
            let partition = self.name.clone().expect("set with the first batch");
            let (promise, charged) = (batch.promise, batch.charged);
            let (is_sequenced, last_error) = (false, None);
            expired.push(Expired { partition, promise, charged, is_sequenced, last_error });
        }
        expired
    }
}

/// A batch that was not delivered in time.
struct Expired {
    partition: TopicPartition,
    promise: Promise,
    charged: usize,
    is_sequenced: bool,
    last_error: Option<ClientError>,
}

fn expired(batch: &Expired, after: Duration) -> ClientError {
    let why = match &batch.last_error {
        Some(error) => format!(" (last error: {error})"),
        None => " (its leader cannot be reached)".into(),
    };
    ClientError::Timeout { what: format!("delivering to {}{why}", batch.partition), after }
}

#[expect(clippy::disallowed_methods, reason = "a client runs on no shard")]
fn now_ms() -> TimestampMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as TimestampMs)
}
