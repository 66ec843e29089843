//! What the client knows of the cluster: brokers, topics, leaders.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ringlog_types::{BrokerId, ErrorCode, LeaderEpoch, Uuid};
use ringlog_wire::messages::metadata_response::{
    MetadataResponse, MetadataResponsePartition, MetadataResponseTopic,
};
use tokio::time::Instant;

use crate::error::ClientError;

/// A broker and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its `node.id`.
    pub id: BrokerId,
    /// The host it advertises.
    pub host: String,
    /// The port it advertises.
    pub port: u16,
    /// Its rack, if it has one.
    pub rack: Option<String>,
}

/// One partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// Its number.
    pub partition: i32,
    /// Its leader; -1 when there is none.
    pub leader: BrokerId,
    /// The leader's epoch; -1 when the broker does not say.
    pub leader_epoch: LeaderEpoch,
    /// All replicas.
    pub replicas: Vec<BrokerId>,
    /// The replicas in sync.
    pub isr: Vec<BrokerId>,
    /// The replicas that are offline.
    pub offline_replicas: Vec<BrokerId>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicMetadata {
    /// Its name.
    pub name: Arc<str>,
    /// Its id; zero from brokers that have no topic ids.
    pub id: Uuid,
    /// Whether it is one of Kafka's own.
    pub is_internal: bool,
    /// Its partitions by number.
    pub partitions: Vec<PartitionMetadata>,
}

impl TopicMetadata {
    /// A partition by its number.
    pub fn partition(&self, partition: i32) -> Option<&PartitionMetadata> {
        let place =
            self.partitions.binary_search_by_key(&partition, |partition| partition.partition);
        place.ok().map(|place| &self.partitions[place])
    }
}

/// The cluster as of the last answers to Metadata.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// The controller; with KRaft, a broker that forwards to it.
    pub controller: Option<BrokerId>,
    /// The brokers by id.
    pub brokers: BTreeMap<BrokerId, Broker>,
    /// The topics that were asked for.
    pub topics: HashMap<Arc<str>, Arc<TopicMetadata>>,
    pub(crate) read_at: HashMap<Arc<str>, Instant>,
}

impl Cluster {
    /// Takes over an answer. Topics that are not in it stay as they were; `errors` are those of
    /// topics that are.
    pub(crate) fn update(
        &mut self,
        response: &MetadataResponse<'_>,
        now: Instant,
    ) -> BTreeMap<String, ClientError> {
        self.cluster_id = response.cluster_id.as_ref().map(|id| id.to_string());
        let controller = response.controller_id;
        self.controller = (controller >= 0).then_some(BrokerId(controller));
        self.brokers = response
            .brokers
            .iter()
            .filter_map(|broker| {
                let port = u16::try_from(broker.port).ok()?;
                let rack = broker.rack.as_ref().map(|rack| rack.to_string());
                let id = BrokerId(broker.node_id);
                Some((id, Broker { id, host: broker.host.to_string(), port, rack }))
            })
            .collect();
        let mut errors = BTreeMap::new();
        for topic in &response.topics {
            let Some(name) = &topic.name else { continue };
            match ClientError::from_code(topic.error_code, None, || format!("topic {name}")) {
                None => self.insert(name, topic, now),
                Some(error) => {
                    if error.code() == Some(ErrorCode::UnknownTopicOrPartition) {
                        self.topics.remove(&**name);
                        self.read_at.remove(&**name);
                    }
                    errors.insert(name.to_string(), error);
                }
            }
        }
        errors
    }

    fn insert(&mut self, name: &str, topic: &MetadataResponseTopic<'_>, now: Instant) {
        let name: Arc<str> = name.into();
        let mut partitions: Vec<_> = topic.partitions.iter().map(partition).collect();
        partitions.sort_by_key(|partition| partition.partition);
        let known = TopicMetadata {
            name: name.clone(),
            id: topic.topic_id,
            is_internal: topic.is_internal,
            partitions,
        };
        self.read_at.insert(name.clone(), now);
        self.topics.insert(name, Arc::new(known));
    }

    /// The leader of a partition, if both are known.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<&Broker> {
        self.brokers.get(&self.topics.get(topic)?.partition(partition)?.leader)
    }
}

fn partition(partition: &MetadataResponsePartition) -> PartitionMetadata {
    PartitionMetadata {
        partition: partition.partition_index,
        leader: BrokerId(partition.leader_id),
        leader_epoch: partition.leader_epoch,
        replicas: BrokerId::all_of(&partition.replica_nodes),
        isr: BrokerId::all_of(&partition.isr_nodes),
        offline_replicas: BrokerId::all_of(&partition.offline_replicas),
    }
}
