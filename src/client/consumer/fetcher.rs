//! The consumer's task: one Fetch on its way to every leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ringlog_types::{BrokerId, ErrorCode, TopicPartition, Uuid};
use ringlog_wire::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use ringlog_wire::messages::fetch_response::{FetchResponse, PartitionData};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::position::Position;
use super::unpack::{self, Piece};
use super::{ConsumerSettings, StartFrom};
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
    /// For the topics whose new partitions are read too, the lowest number that was not seen.
    followed: BTreeMap<Arc<str>, i32>,
    /// When to look for those.
    look_at: Instant,
    fetched: mpsc::Sender<Result<Vec<Piece>, ClientError>>,
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
        fetched: mpsc::Sender<Result<Vec<Piece>, ClientError>>,
    ) -> Fetcher {
        let cluster = client.cluster();
        let topics = positions.keys().filter(|_| settings.new_partitions);
        let count = |topic: &Arc<str>| {
            cluster.topics.get(topic).map_or(i32::MAX, |topic| topic.partitions.len() as i32)
        };
        let followed = topics.map(|p| (p.topic.clone(), count(&p.topic))).collect();
        let look_at = Instant::now() + client.settings().metadata_age_max;
        let (asked, fetches) = (BTreeSet::new(), JoinSet::new());
        let retry = None;
        Fetcher {
            client,
            settings,
            from,
            positions,
            followed,
            look_at,
            fetched,
            asked,
            fetches,
            retry,
        }
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
            let fetched = tokio::select! {
                fetched = self.fetches.join_next() => fetched,
                () = sleep_until(self.look_at), if !self.followed.is_empty() => {
                    self.find_new_partitions().await;
                    continue;
                }
            };
            let Some(fetched) = fetched else {
                assert!(has_orphans, "a partition with a leader is asked for");
                let error = self.no_leader().await;
                self.recover(error).await?;
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
        let mut pieces = Vec::new();
        let mut failed = None;
        for topic in &response.responses {
            let name = match names.get(&topic.topic_id) {
                Some(name) if topic.topic.is_empty() => name.clone(),
                _ => (*topic.topic).into(),
            };
            for data in &topic.partitions {
                let partition = TopicPartition::new(name.clone(), data.partition_index);
                let taken = self.take_partition(reply, &partition, data, &mut pieces);
                failed = taken.err().or(failed);
            }
        }
        drop(response);
        if !pieces.is_empty() && self.fetched.send(Ok(pieces)).await.is_err() {
            return Ok(());
        }
        failed.map_or(Ok(()), Err)
    }

    fn take_partition(
        &mut self,
        reply: &Reply,
        partition: &TopicPartition,
        data: &PartitionData<'_>,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), ClientError> {
        let Some(position) = self.positions.get_mut(partition) else { return Ok(()) };
        let out_of_range = data.error_code == ErrorCode::OffsetOutOfRange.code();
        let from_start = self.from == StartFrom::Start || position.is_new;
        if out_of_range && from_start && position.next < data.log_start_offset {
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
        unpack::walk(bytes, partition, position, |from, end, bytes| {
            pieces.push(Piece {
                partition: partition.clone(),
                bytes: reply.share(bytes),
                from,
                end,
            });
        })
    }

    /// Looks whether the followed topics have got more partitions, and reads these as well.
    async fn find_new_partitions(&mut self) {
        self.look_at = Instant::now() + self.client.settings().metadata_age_max;
        self.refresh_leaders().await;
        let cluster = self.client.cluster();
        let mut new = Vec::new();
        for (name, seen) in &mut self.followed {
            let count = cluster.topics.get(name).map_or(0, |topic| topic.partitions.len() as i32);
            new.extend((*seen..count).map(|number| TopicPartition::new(name.clone(), number)));
            *seen = (*seen).max(count);
        }
        let start = |partition| (partition, Position::at_the_start());
        self.positions.extend(new.into_iter().map(start));
    }

    /// After an error: waits and learns the leaders anew, or gives the error back.
    async fn recover(&mut self, error: ClientError) -> Result<(), ClientError> {
        if self.retry.is_none() {
            let seconds = self.client.settings().operation_timeout.as_secs_f64();
            tracing::warn!(%error, "cannot read, trying again for up to {seconds} s");
        }
        let retry = self.retry.get_or_insert_with(|| Retry::new(self.client.settings()));
        retry.pause(error).await?;
        self.refresh_leaders().await;
        Ok(())
    }

    /// Gives what the cluster says of a topic that it cannot serve, or why it cannot be asked.
    async fn refresh_leaders(&self) -> Option<ClientError> {
        let topics: BTreeSet<&str> = self.positions.keys().map(|p| &*p.topic).collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        match self.client.fetch_metadata(Some(&topics), false).await {
            Ok(errors) => errors.into_values().next(),
            Err(error) => {
                tracing::debug!(%error, "metadata cannot be read");
                sleep(Duration::from_millis(50)).await;
                Some(error)
            }
        }
    }

    /// Why there is nobody to ask for any partition.
    async fn no_leader(&self) -> ClientError {
        let said = self.refresh_leaders().await;
        said.unwrap_or_else(|| {
            let partitions = self.positions.keys().map(TopicPartition::to_string);
            let context = || partitions.collect::<Vec<_>>().join(", ");
            let code = ErrorCode::LeaderNotAvailable.code();
            ClientError::from_code(code, None, context).expect("an error")
        })
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
