//! Consumers: incremental fetch sessions with long polls, from the first record on.

use std::rc::Rc;

use bytes::Bytes;
use ringlog_record::{BatchIter, BatchView, RecordIter};
use ringlog_types::ErrorCode;
use ringlog_wire::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use ringlog_wire::messages::fetch_response::{FetchResponse, PartitionData};

use super::administrator;
use super::ledger::Topic;
use super::wire::{Bench, Connection, Lost};

/// From this version topics are named by id.
const VERSION_TOPIC_IDS: i16 = 13;
const VERSIONS: [i16; 4] = [7, 11, 13, 17];
/// The epoch of a fetch without a session.
const NO_SESSION: i32 = -1;

pub(super) struct Consumer {
    bench: Bench,
    topic: Rc<Topic>,
    positions: Vec<i64>,
    session_id: i32,
    session_epoch: i32,
    /// The positions that the session knows.
    told: Vec<Option<i64>>,
    version: i16,
}

impl Consumer {
    pub(super) fn new(bench: &Bench, topic: &Rc<Topic>) -> Consumer {
        let partitions = topic.partitions();
        Consumer {
            bench: bench.clone(),
            topic: topic.clone(),
            positions: vec![0; partitions],
            session_id: 0,
            session_epoch: 0,
            told: vec![None; partitions],
            version: bench.pick(&VERSIONS),
        }
    }

    /// Follows the topic until nothing more is produced and everything acknowledged is read.
    pub(super) async fn follow(mut self) {
        let ledger = self.bench.ledger.clone();
        while !ledger.is_over() {
            let Ok(mut connection) = Connection::open(&self.bench).await else { continue };
            self.begin_session();
            while !self.is_done() && self.fetch(&mut connection).await.is_ok() {}
            if self.is_done() {
                return;
            }
        }
    }

    fn is_done(&self) -> bool {
        let is_at_end =
            |(index, position): (usize, &i64)| *position >= self.topic.acknowledged_end(index);
        self.bench.ledger.producers_at_work.get() == 0
            && self.positions.iter().enumerate().all(is_at_end)
    }

    /// Reads all there is, which must be all that was acknowledged.
    pub(super) async fn compare_all(mut self) {
        while !self.bench.ledger.is_over() && self.compare().await.is_err() {}
    }

    async fn compare(&mut self) -> Result<(), Lost> {
        let mut connection = Connection::open(&self.bench).await?;
        self.begin_session();
        administrator::is_there(&self.bench, &mut connection, &self.topic).await?;
        let ends = administrator::ends(&self.bench, &mut connection, &self.topic).await?;
        while self.positions.iter().zip(&ends).any(|(position, end)| position < end) {
            self.fetch(&mut connection).await?;
        }
        for (index, position) in self.positions.iter().enumerate() {
            self.bench.check(self.topic.is_whole(index, *position))?;
        }
        Ok(())
    }

    fn begin_session(&mut self) {
        self.session_id = 0;
        self.session_epoch = if self.bench.below(4) == 0 { NO_SESSION } else { 0 };
        self.told.fill(None);
    }

    async fn fetch(&mut self, connection: &mut Connection) -> Result<(), Lost> {
        let request = self.request();
        let partitions = 0..self.positions.len();
        // What is acknowledged before the broker gets this must be seen by it.
        let least: Vec<i64> = partitions.map(|i| self.topic.acknowledged_end(i)).collect();
        let answer = connection.ask(self.version, &request).await?;
        self.take(&answer, &least)
    }

    /// A fetch of what the session does not know yet.
    fn request(&mut self) -> FetchRequest<'static> {
        let max_bytes = self.bench.pick(&[1, 3_000, 20_000, 1 << 20]);
        let mut topic = FetchTopic::default();
        match self.version {
            VERSION_TOPIC_IDS.. => topic.topic_id = self.topic.id,
            _ => topic.topic = self.topic.name.into(),
        }
        for (index, position) in self.positions.iter().enumerate() {
            if self.session_epoch > 0 && self.told[index] == Some(*position) {
                continue;
            }
            self.told[index] = Some(*position);
            topic.partitions.push(FetchPartition {
                partition: index as i32,
                fetch_offset: *position,
                partition_max_bytes: self.bench.pick(&[1, 5_000, 1 << 20]),
                ..Default::default()
            });
        }
        let topics = if topic.partitions.is_empty() { Vec::new() } else { vec![topic] };
        FetchRequest {
            max_wait_ms: self.bench.below(200) as i32,
            min_bytes: self.bench.pick(&[0, 1, 1, 5_000]),
            max_bytes,
            session_id: self.session_id,
            session_epoch: self.session_epoch,
            topics,
            ..Default::default()
        }
    }

    fn take(&mut self, answer: &Bytes, least: &[i64]) -> Result<(), Lost> {
        let answer: FetchResponse<'_> = self.bench.decode(answer, self.version)?;
        match ErrorCode::from_code(answer.error_code) {
            Some(ErrorCode::None) => {}
            error => return self.bench.wrong(format!("a fetch fails: {error:?}")),
        }
        if self.session_epoch != NO_SESSION {
            let is_its = self.session_id == 0 || answer.session_id == self.session_id;
            if answer.session_id == 0 || !is_its {
                return self.bench.wrong(format!("session {} is not kept", self.session_id));
            }
            self.session_id = answer.session_id;
            self.session_epoch += 1;
        }
        for topic in &answer.responses {
            for partition in &topic.partitions {
                self.take_partition(partition, least)?;
            }
        }
        Ok(())
    }

    fn take_partition(&mut self, data: &PartitionData<'_>, least: &[i64]) -> Result<(), Lost> {
        let index = data.partition_index as usize;
        let name = format!("{}-{index}", self.topic.name);
        if data.error_code != 0 {
            let (error, at) = (ErrorCode::from_code(data.error_code), self.positions[index]);
            return self.bench.wrong(format!("lost: {name} at {at}: {error:?}"));
        }
        if data.high_watermark < least[index] {
            let (end, least) = (data.high_watermark, least[index]);
            return self.bench.wrong(format!("lost: {name} ends at {end}, acknowledged {least}"));
        }
        let Some(records) = data.records.as_ref().and_then(|records| records.as_slice()) else {
            return Ok(());
        };
        let mut batches = BatchIter::new(records);
        while !is_cut_short(batches.rest()) {
            let Some(batch) = batches.next() else { break };
            let read = batch
                .and_then(|batch| batch.verify_crc().map(|()| batch))
                .map_err(|error| format!("{name}: a damaged batch: {error}"))
                .and_then(|batch| self.read(index, &batch));
            self.bench.check(read)?;
        }
        Ok(())
    }

    /// Takes the records of a batch from the position on: the next ones, without a gap.
    fn read(&mut self, index: usize, batch: &BatchView<'_>) -> Result<(), String> {
        for record in RecordIter::new(batch, batch.records_bytes()) {
            let record = record.map_err(|error| format!("a damaged record: {error}"))?;
            self.topic.read(index, record.offset, record.value.unwrap_or_default())?;
            let position = &mut self.positions[index];
            if record.offset > *position {
                let (name, at) = (self.topic.name, record.offset);
                return Err(format!("lost: {name}-{index} goes on at {at} after {position}"));
            }
            if record.offset == *position {
                *position += 1;
                let ledger = &self.bench.ledger;
                ledger.reads.set(ledger.reads.get() + 1);
            }
        }
        Ok(())
    }
}

/// The end of an answer of limited size may be the beginning of a batch.
fn is_cut_short(rest: &[u8]) -> bool {
    let size = rest.get(8..12).map(|size| i32::from_be_bytes(size.try_into().expect("four")));
    !rest.is_empty() && size.is_none_or(|size| rest.len() < 12 + size as usize)
}
