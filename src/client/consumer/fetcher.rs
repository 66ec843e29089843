//! The consumer's task: one Fetch on its way to every leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ringlog_types::{BrokerId, ErrorCode, TopicPartition, Uuid};
use ringlog_wire::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use ringlog_wire::messages::fetch_response::{FetchResponse, PartitionData};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::position::Position;
use super::{ConsumerSettings, FetchedRecord, StartFrom, records};
use crate::client::{Client, Node};
use crate::connection::Reply;
use crate::error::ClientError;
use crate::retry::Retry;

/// The highest version without topic ids (KIP-516).
const FETCH_VERSION_BY_NAME: i16 = 12;

pub(crate) struct Fetcher {
    client: Client,
    settings: ConsumerSettings,
    from: StartFrom,
    positions: BTreeMap<TopicPartition, Position>,
    fetched: mpsc::Sender<Result<Vec<FetchedRecord>, ClientError>>,
    /// Brokers that have a Fetch of ours.
    asked: BTreeSet<BrokerId>,
    fetches: JoinSet<(BrokerId, Result<Reply, ClientError>)>,
    /// Attempts since something last went well.
    retry: Option<Retry>,
}

impl Fetcher {
    pub(crate) fn new(
        client: Client,
        settings: ConsumerSettings,
        from: StartFrom,
        positions: BTreeMap<TopicPartition, Position>,
        fetched: mpsc::Sender<Result<Vec<FetchedRecord>, ClientError>>,
    ) -> Fetcher {
        let (asked, fetches) = (BTreeSet::new(), JoinSet::new());
        Fetcher { client, settings, from, positions, fetched, asked, fetches, retry: None }
    }

    /// Runs until everything is read, an error is final, or nobody takes records any more.
    pub(crate) async fn run(mut self) {
        if let Err(error) = self.read_all().await {
            // A receiver that is gone has no use for the error.
            drop(self.fetched.send(Err(error)).await);
        }
    }

    async fn read_all(&mut self) -> Result<(), ClientError> {
        loop {
            self.positions.retain(|_, position| !position.is_done());
            if self.positions.is_empty() || self.fetched.is_closed() {
                return Ok(());
            }
            let has_orphans = self.ask_leaders();
            let Some(fetched) = self.fetches.join_next().await else {
                assert!(has_orphans, "a partition with a leader is asked for");
                let error =
                    ClientError::from_code(ErrorCode::LeaderNotAvailable.code(), None, || {
                        self.orphans().join(", ")
                    });
                self.recover(error.expect("an error")).await?;
                continue;
            };
            let (broker, reply) = fetched.map_err(|_| ClientError::Closed)?;
            self.asked.remove(&broker);
            let taken = match reply {
                Ok(reply) => self.take(&reply).await,
                Err(error) => Err(error),
            };
            match taken {
                Ok(()) => self.retry = None,
                Err(error) => self.recover(error).await?,
            }
            if has_orphans {
                self.refresh_leaders().await;
            }
        }
    }

    /// Sends a Fetch to every leader that has none. Whether some partition has no leader.
    fn ask_leaders(&mut self) -> bool {
        let cluster = self.client.cluster();
        let mut has_orphans = false;
        let mut by_leader: BTreeMap<BrokerId, Vec<FetchTopic<'static>>> = BTreeMap::new();
        for (partition, position) in &self.positions {
            let Some(leader) = cluster.leader(&partition.topic, partition.partition) else {
                has_orphans = true;
                continue;
            };
            if self.asked.contains(&leader.id) {
                continue;
            }
            let topic = &cluster.topics[&partition.topic];
            let known = topic.partition(partition.partition);
            let wanted = FetchPartition {
                partition: partition.partition,
                current_leader_epoch: known.map_or(-1, |known| known.leader_epoch),
                fetch_offset: position.next,
                partition_max_bytes: self.settings.partition_bytes_max,
                ..Default::default()
            };
            let topics = by_leader.entry(leader.id).or_default();
            match topics.last_mut().filter(|last| last.topic == *partition.topic) {
                Some(last) => last.partitions.push(wanted),
                None => topics.push(FetchTopic {
                    topic: partition.topic.to_string().into(),
                    topic_id: topic.id,
                    partitions: vec![wanted],
                }),
            }
        }
        for (broker, topics) in by_leader {
            let request = FetchRequest {
                max_wait_ms: i32::try_from(self.settings.wait_max.as_millis()).unwrap_or(i32::MAX),
                min_bytes: self.settings.bytes_min,
                max_bytes: self.settings.bytes_max,
                topics,
                ..Default::default()
            };
            self.asked.insert(broker);
            let client = self.client.clone();
            self.fetches.spawn(async move { (broker, fetch(&client, broker, &request).await) });
        }
        has_orphans
    }

    /// Takes over an answer: hands on its records and moves the positions.
    async fn take(&mut self, reply: &Reply) -> Result<(), ClientError> {
        let response: FetchResponse<'_> = reply.decode()?;
        let context = || "fetching".to_owned();
        if let Some(error) = ClientError::from_code(response.error_code, None, context) {
            return Err(error);
        }
        let names: BTreeMap<Uuid, Arc<str>> =
            self.client.cluster().topics.values().map(|t| (t.id, t.name.clone())).collect();
        let mut records = Vec::new();
        let mut failed = None;
        for topic in &response.responses {
            let name = match names.get(&topic.topic_id) {
                Some(name) if topic.topic.is_empty() => name.clone(),
                _ => (*topic.topic).into(),
            };
            for data in &topic.partitions {
                let partition = TopicPartition::new(name.clone(), data.partition_index);
                let taken = self.take_partition(reply, &partition, data, &mut records);
                failed = taken.err().or(failed);
            }
        }
        drop(response);
        if !records.is_empty() && self.fetched.send(Ok(records)).await.is_err() {
            return Ok(());
        }
        failed.map_or(Ok(()), Err)
    }

    fn take_partition(
        &mut self,
        reply: &Reply,
        partition: &TopicPartition,
        data: &PartitionData<'_>,
        records: &mut Vec<FetchedRecord>,
    ) -> Result<(), ClientError> {
        let Some(position) = self.positions.get_mut(partition) else { return Ok(()) };
        let out_of_range = data.error_code == ErrorCode::OffsetOutOfRange.code();
        if out_of_range && self.from == StartFrom::Start && position.next < data.log_start_offset {
            let (from, to) = (position.next, data.log_start_offset);
            tracing::warn!(%partition, from, to, "records were deleted before they were read");
            position.next = to;
            return Ok(());
        }
        let context = || format!("{partition} at offset {}", position.next);
        if let Some(error) = ClientError::from_code(data.error_code, None, context) {
            return Err(error);
        }
        let Some(bytes) = data.records.as_ref().and_then(|records| records.as_slice()) else {
            return Ok(());
        };
        records::read(reply, bytes, partition, position, &self.settings, records)
    }

    /// After an error: waits and learns the leaders anew, or gives the error back.
    async fn recover(&mut self, error: ClientError) -> Result<(), ClientError> {
        let retry = self.retry.get_or_insert_with(|| Retry::new(self.client.settings()));
        retry.pause(error).await?;
        self.refresh_leaders().await;
        Ok(())
    }

    async fn refresh_leaders(&self) {
        let topics: BTreeSet<&str> = self.positions.keys().map(|p| &*p.topic).collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        if let Err(error) = self.client.fetch_metadata(Some(&topics), false).await {
            tracing::debug!(%error, "metadata cannot be read");
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn orphans(&self) -> Vec<String> {
        self.positions.keys().map(TopicPartition::to_string).collect()
    }
}

async fn fetch(
    client: &Client,
    broker: BrokerId,
    request: &FetchRequest<'static>,
) -> Result<Reply, ClientError> {
    let all_have_ids = request.topics.iter().all(|topic| topic.topic_id != Uuid::ZERO);
    let version_max = if all_have_ids { i16::MAX } else { FETCH_VERSION_BY_NAME };
    client.connection(Node::Broker(broker)).await?.request(request, version_max).await
}
