//! From the metadata image to what a shard serves: which topics there are, and the logs of the
//! partitions that this shard owns.
//!
//! Every shard applies every change, in the order in which the controller publishes them; the
//! controller waits for all of them before the next, but not for the logs of new partitions
//! (`opening.rs`). A log that cannot be opened or created leaves its partition offline
//! (`KAFKA_STORAGE_ERROR`) and everything else served.
//!
//! A log is created once: when its partition is, or at the next start if the node was killed before
//! it was. A partition whose log could not be opened is never given an empty one in its place.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use ringlog_config::{BrokerConfig, TopicConfig};
use ringlog_metadata::{ConfigResource, Delta, Image, ResourceType, Topic};
use ringlog_storage::{LogDir, OpenHint};
use ringlog_types::{TopicIdPartition, TopicPartition, Uuid};

use crate::replicas::Replicas;
use crate::replicas::opening::{LocalReplica, NO_DIRECTORY, Opening, Place};
use crate::replicas::topics::{PartitionEntry, TopicEntry, owner_of};

/// A published change.
#[derive(Clone)]
pub(crate) struct Change {
    pub(crate) image: Image,
    /// The node's settings with what was set while running: the base of topic settings.
    pub(crate) config: Arc<BrokerConfig>,
    pub(crate) delta: Arc<Delta>,
}

/// A partition's directory that was on disk when the node started.
#[derive(Clone)]
pub(crate) struct FoundPartition {
    pub(crate) dir: Arc<LogDir>,
    pub(crate) hint: OpenHint,
}

/// The logs that were on disk when the node started.
#[derive(Default)]
pub(crate) struct FoundLogs {
    /// The partitions' directories, by topic and partition.
    pub(crate) logs: HashMap<TopicIdPartition, FoundPartition>,
    /// Why a partition may have a log although none was found, so that none is created.
    pub(crate) doubt: Option<String>,
    /// The same of single partitions: their logs are in directories that are away.
    pub(crate) away: HashMap<TopicIdPartition, String>,
}

/// Puts everything of the image in its place, with the logs that were found on disk. Run once, at
/// start. Returns the logs to be opened.
pub(crate) fn install(replicas: &Rc<Replicas>, change: &Change, found: &FoundLogs) -> Vec<Opening> {
    let topics: Vec<Topic> = change.image.topics().cloned().collect();
    put_topics(replicas, change, &topics, found)
}

/// Applies a change to this shard's partitions. Returns the logs to be created.
pub(crate) async fn apply(replicas: &Rc<Replicas>, change: &Change) -> Vec<Opening> {
    for (_, id) in &change.delta.removed_topics {
        remove_topic(replicas, id).await;
    }
    put_topics(replicas, change, &topics_to_update(change), &FoundLogs::default())
}

fn put_topics(
    replicas: &Rc<Replicas>,
    change: &Change,
    topics: &[Topic],
    found: &FoundLogs,
) -> Vec<Opening> {
    let mut openings = Vec::new();
    for topic in topics {
        put_topic(replicas, change, topic, found, &mut openings);
    }
    openings
}

/// Counts the shard's partitions anew: they come, go, and fail to open.
pub(crate) fn count_partitions(replicas: &Replicas) {
    let (mut partitions, mut offline) = (0, 0);
    for topic in replicas.topics.all() {
        for entry in topic.partitions.iter().filter(|entry| entry.owner == replicas.id()) {
            partitions += 1;
            let is_opening = entry.replica.as_ref().is_some_and(|replica| replica.is_opening());
            let is_online = entry.local().is_some_and(|local| !local.is_offline());
            offline += i64::from(!is_online && !is_opening);
        }
    }
    replicas.metrics.partitions.set(partitions);
    replicas.metrics.partitions_offline.set(offline);
}

/// The topics whose partitions or settings changed: all of them when the node's own did.
fn topics_to_update(change: &Change) -> Vec<Topic> {
    let Change { image, delta, .. } = change;
    let is_node = |resource: &ConfigResource| {
        ResourceType::from_code(resource.resource_type) == Some(ResourceType::Broker)
    };
    if delta.configs.iter().any(is_node) {
        return image.topics().cloned().collect();
    }
    let by_id = delta.topics.iter().filter_map(|id| image.topic_by_id(*id));
    let is_topic = |resource: &&ConfigResource| {
        ResourceType::from_code(resource.resource_type) == Some(ResourceType::Topic)
    };
    let by_config = delta.configs.iter().filter(is_topic);
    let by_config = by_config.filter_map(|resource| image.topic(&resource.name));
    let mut topics: Vec<Topic> = by_id.chain(by_config).cloned().collect();
    topics.sort_by_key(|topic| topic.id);
    topics.dedup_by_key(|topic| topic.id);
    topics
}

/// Brings one topic up to date. Adds to `openings` the logs of partitions that are new here.
fn put_topic(
    replicas: &Rc<Replicas>,
    change: &Change,
    topic: &Topic,
    found: &FoundLogs,
    openings: &mut Vec<Opening>,
) {
    let overrides = change.image.configs(&ConfigResource::topic(topic.name.clone()));
    let (config, ignored) = TopicConfig::serve(&change.config.topic_defaults, &overrides);
    for error in ignored {
        // A setting that a newer Kafka accepted may mean nothing here; the topic is served anyhow.
        tracing::warn!(topic = %topic.name, %error, "a setting is ignored");
    }
    let config = Arc::new(config);
    let before = replicas.topics.by_id(&topic.id);
    let mut partitions = Vec::with_capacity(topic.partitions.len());
    for (&index, registered) in &topic.partitions {
        let owner = owner_of(topic.id, index, replicas.shards);
        let known = before.as_ref().and_then(|before| before.partition(index));
        if let Some(known) = known {
            let (from, to) = (known.leader_epoch, registered.leader_epoch);
            assert!(from <= to, "{}-{index} goes from epoch {from} back to {to}", topic.name);
        }
        let mut replica = known.and_then(|entry| entry.replica.clone());
        match replica.as_ref().and_then(|replica| replica.partition()) {
            Some(partition) => {
                partition.log.update_config(config.clone());
                partition.log.begin_epoch(registered.leader_epoch);
            }
            None if owner == replicas.id() && known.is_none() => {
                let opening = opening(replicas, topic, index, found);
                replica = Some(opening.replica.clone());
                openings.push(opening);
            }
            None => {}
        }
        partitions.push(PartitionEntry {
            owner,
            leader: registered.leader,
            leader_epoch: registered.leader_epoch,
            replicas: registered.replicas.clone(),
            isr: registered.isr.clone(),
            replica,
        });
    }
    replicas.topics.put(TopicEntry { name: topic.name.clone(), id: topic.id, config, partitions });
}

/// What to open a partition's log with, or where to create it.
fn opening(replicas: &Replicas, topic: &Topic, index: i32, found: &FoundLogs) -> Opening {
    let name = TopicPartition::new(topic.name.clone(), index);
    let named = TopicIdPartition::new(topic.id, index);
    let doubt = || found.away.get(&named).or(found.doubt.as_ref()).cloned();
    let place = match found.logs.get(&named) {
        Some(found) => Place::Found(found.dir.clone(), found.hint),
        None => match doubt() {
            Some(reason) => Place::Nowhere(reason),
            None => replicas
                .shared
                .pick_directory()
                .map_or_else(|| Place::Nowhere(NO_DIRECTORY.into()), Place::New),
        },
    };
    let found_in = found.logs.get(&named).map(|found| found.dir.index());
    Opening { name, named, place, replica: LocalReplica::opening(found_in) }
}

async fn remove_topic(replicas: &Rc<Replicas>, id: &Uuid) {
    let Some(topic) = replicas.topics.remove(id) else { return };
    replicas.offline.forget(id);
    for (index, entry) in topic.partitions.iter().enumerate() {
        let Some(replica) = &entry.replica else { continue };
        let is_on_disk = replica.give_up().await;
        let Some(partition) = replica.partition() else {
            let name = TopicPartition::new(topic.name.clone(), index as i32);
            if is_on_disk {
                set_aside(replicas, &name).await;
            }
            continue;
        };
        let name = &partition.topic_partition;
        // Fetches that wait for it find the topic gone.
        partition.wake_waiters();
        match partition.log.delete().await {
            Ok(()) => {
                replicas.shared.discount_partition(partition.log.dir().index());
                tracing::info!(partition = %name, "deleted");
            }
            Err(error) => tracing::error!(partition = %name, %error, "not deleted"),
        }
    }
    replicas.metrics.remove_topic(&topic.name);
}

/// What is there of a partition that could not be opened, and whose topic is deleted, makes room
/// for another topic of the name. It is kept: nobody has seen what is in it.
async fn set_aside(replicas: &Rc<Replicas>, name: &TopicPartition) {
    let directories = replicas.shared.directories();
    let places = directories.find(&replicas.rt, name).await;
    let strays: Vec<_> = places.into_iter().map(|dir_index| (dir_index, name.clone())).collect();
    directories.set_aside(&replicas.rt, &strays).await;
    strays.iter().for_each(|(dir_index, _)| replicas.shared.discount_partition(*dir_index));
}
