//! Producers: idempotent, with `acks=all` and several requests on their way.
//!
//! What was not acknowledged when a connection breaks is sent again on the next one, in order, as
//! Kafka's producers do; the broker has to know what it has already.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use ringlog_record::BatchBuilder;
use ringlog_types::ErrorCode;
use ringlog_wire::Records;
use ringlog_wire::messages::init_producer_id_request::InitProducerIdRequest;
use ringlog_wire::messages::init_producer_id_response::InitProducerIdResponse;
use ringlog_wire::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use ringlog_wire::messages::produce_response::ProduceResponse;

use super::administrator::{self, LATEST};
use super::ledger::{RecordId, Topic, value};
use super::wire::{Bench, Connection, Lost};

/// What Kafka's producers keep on their way at most, and brokers remember.
const IN_FLIGHT_MAX: u64 = 5;
/// From this version topics are named by id.
const VERSION_TOPIC_IDS: i16 = 13;
const VERSIONS: [i16; 4] = [3, 8, 11, 13];

struct Batch {
    bytes: Bytes,
    first: RecordId,
    records: u64,
    attempts: u32,
}

/// What was asked on a connection and is not answered.
enum Asked {
    Produce,
    /// Where the partition ends; at that time it was acknowledged up to here.
    End(i64),
}

pub(super) struct Producer {
    bench: Bench,
    topic: Rc<Topic>,
    partition: usize,
    /// The id of the next record.
    next: RecordId,
    id: Option<(i64, i16)>,
    next_sequence: i32,
    unacknowledged: VecDeque<Batch>,
    /// Behind its last batch that was acknowledged at an offset.
    own_end: i64,
    batches_left: u64,
    version: i16,
}

impl Producer {
    pub(super) fn new(bench: &Bench, topic: &Rc<Topic>, partition: usize, batches: u64) -> Self {
        Producer {
            bench: bench.clone(),
            topic: topic.clone(),
            partition,
            next: bench.ledger.next_producer() << 32,
            id: None,
            next_sequence: 0,
            unacknowledged: VecDeque::new(),
            own_end: 0,
            batches_left: batches,
            version: bench.pick(&VERSIONS),
        }
    }

    /// Sends until nothing more is to be sent and all of it is acknowledged.
    pub(super) async fn run(mut self) {
        while !self.bench.ledger.is_over() && self.converse().await.is_err() {}
    }

    /// Goes on over one connection. Ends when all is done, or the connection is lost.
    async fn converse(&mut self) -> Result<(), Lost> {
        let mut connection = Connection::open(&self.bench).await?;
        if self.id.is_none() {
            self.id = Some(self.begin(&mut connection).await?);
        }
        let mut asked = VecDeque::new();
        let mut in_flight = 0;
        loop {
            let window = 1 + self.bench.below(IN_FLIGHT_MAX) as usize;
            while in_flight < window && (in_flight < self.unacknowledged.len() || self.make()) {
                self.send(&mut connection, in_flight).await?;
                asked.push_back(Asked::Produce);
                in_flight += 1;
                if self.bench.below(6) == 0 {
                    administrator::ask_offset(&mut connection, &self.topic, self.partition, LATEST)
                        .await?;
                    asked.push_back(Asked::End(self.topic.acknowledged_end(self.partition)));
                }
            }
            let Some(oldest) = asked.pop_front() else { return Ok(()) };
            let answer = connection.receive().await?;
            match oldest {
                Asked::Produce => {
                    self.acknowledged(&answer)?;
                    in_flight -= 1;
                }
                Asked::End(least) => {
                    // It was asked for behind batches that are acknowledged by now.
                    let least = least.max(self.own_end);
                    let end = administrator::offset_of(&self.bench, &answer)?;
                    if end < least {
                        let why = format!("lost: it ends at {end}, acknowledged is {least}");
                        return self.bench.wrong(why);
                    }
                }
            }
            self.bench.pause(self.bench.plan.pause_micros).await;
        }
    }

    async fn begin(&self, connection: &mut Connection) -> Result<(i64, i16), Lost> {
        let request = InitProducerIdRequest { transactional_id: None, ..Default::default() };
        let answer = connection.ask(4, &request).await?;
        let given: InitProducerIdResponse = self.bench.decode(&answer, 4)?;
        if given.error_code != 0 {
            return self.bench.wrong(format!("no producer id: error {}", given.error_code));
        }
        self.bench.ledger.given_producer_id(given.producer_id);
        Ok((given.producer_id, given.producer_epoch))
    }

    /// Makes the next batch, unless there is to be none.
    fn make(&mut self) -> bool {
        if self.batches_left == 0 || self.bench.ledger.draining.get() {
            return false;
        }
        self.batches_left -= 1;
        let (id, epoch) = self.id.expect("asked for first");
        let now_ms = self.bench.rt.wall_clock_ms();
        let mut builder = BatchBuilder::new(now_ms).producer(id, epoch, self.next_sequence);
        let records = 1 + self.bench.below(4);
        for nth in 0..records {
            let fill_bytes = match self.bench.below(10) {
                0 => self.bench.below(9_000),
                _ => self.bench.below(300),
            };
            let value = value(self.next + nth, fill_bytes as usize);
            builder.push(now_ms, None, Some(&value), &[]);
            self.topic.sent(self.partition, self.next + nth);
        }
        let (bytes, _) = builder.build().expect("it has records");
        let (bytes, first) = (bytes.into(), self.next);
        self.unacknowledged.push_back(Batch { bytes, first, records, attempts: 0 });
        self.next += records;
        self.next_sequence += records as i32;
        true
    }

    async fn send(&mut self, connection: &mut Connection, nth: usize) -> Result<(), Lost> {
        let batch = &mut self.unacknowledged[nth];
        batch.attempts += 1;
        let partition = PartitionProduceData {
            index: self.partition as i32,
            records: Some(Records::Borrowed(&batch.bytes)),
        };
        let mut topic = TopicProduceData { partition_data: vec![partition], ..Default::default() };
        match self.version {
            VERSION_TOPIC_IDS.. => topic.topic_id = self.topic.id,
            _ => topic.name = self.topic.name.into(),
        }
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![topic],
            ..Default::default()
        };
        connection.send(self.version, &request).await
    }

    /// Takes the answer to the oldest batch.
    fn acknowledged(&mut self, answer: &Bytes) -> Result<(), Lost> {
        let answer: ProduceResponse<'_> = self.bench.decode(answer, self.version)?;
        let partition =
            answer.responses.first().and_then(|topic| topic.partition_responses.first());
        let Some(partition) = partition else { return self.bench.wrong("an empty answer") };
        let batch = self.unacknowledged.front().expect("it was asked about");
        let again = batch.attempts > 1;
        let base_offset = match ErrorCode::from_code(partition.error_code) {
            Some(ErrorCode::None) => partition.base_offset,
            error => {
                let why = format!("a batch is refused: {error:?} {:?}", partition.error_message);
                return self.bench.wrong(why);
            }
        };
        let (first, records) = (batch.first, batch.records);
        self.own_end = self.own_end.max(base_offset + records as i64);
        let ledger = &self.bench.ledger;
        ledger.acknowledged.set(ledger.acknowledged.get() + records);
        ledger.retries.set(ledger.retries.get() + u64::from(again));
        self.unacknowledged.pop_front();
        self.bench.check(self.topic.acknowledged(self.partition, first, records, base_offset))
    }
}
