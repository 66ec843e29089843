//! How a node comes up: directories, metadata log, partitions, listeners, in that order. Run by
//! shard 0.
//!
//! There is no formatting step. A fresh directory is made ours by starting on it; another
//! cluster's or node's is refused, and nothing in it is changed but for the `.lock` file. So are
//! partitions without the metadata log that says what they are.
//!
//! Directories under a partition's name that the metadata do not know, and checkpoint entries, are
//! what a node leaves that is killed while it deletes a topic. They make room before anything is
//! served, so that no later topic takes them for its own.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringlog_metadata::{BrokerEndpoint, Controller as Decisions, Image, Registration, Topic};
use ringlog_storage::{FoundLog, LogDirs, OpenedDirs};
use ringlog_types::{ErrorCode, TopicIdPartition, TopicPartition, Uuid};

use crate::error::NodeError;
use crate::metadata_source::embedded::controller::Controller;
use crate::metadata_source::embedded::log;
use crate::metadata_source::embedded::log::METADATA_TOPIC;
use crate::network::listener;
use crate::node::housekeeping;
use crate::node::log_directories;
use crate::publisher;
use crate::replicas::apply::{FoundLogs, FoundPartition};
use crate::shard::Shard;

/// How often a node that found no space for its registration tries again.
const REGISTRATION_RETRY: Duration = Duration::from_secs(1);

/// Starts the node and returns the address it serves.
pub(crate) async fn start(shard: &Rc<Shard>, address: SocketAddr) -> Result<SocketAddr, NodeError> {
    let config = &shard.node.config;
    let cluster_id = cluster_id(config.cluster_id.as_deref())?;
    let opened = LogDirs::open(&shard.rt, &config.log_dirs, config.node_id.0, cluster_id).await?;
    let OpenedDirs { dirs: directories, logs: mut found_logs, locks } = opened;
    refuse_doubtful_metadata(&directories, &found_logs)?;
    shard.keep(locks);
    for error in directories.unusable() {
        shard.node.metrics.set_unready("log.dirs", &error.to_string());
    }
    directories.set_reserve_bytes(config.disk_reserve_bytes);
    directories.set_scrub_rate(config.scrub_megabytes_per_second * 1_000_000);
    directories.check_space(&shard.rt).await;
    let clean = directories.iter().all(|dir| dir.was_clean());
    shard.node.set_directories(directories);
    let directories = shard.node.directories();
    let opened = log::open(&shard.replicas.storage, directories, config, &mut found_logs);
    let (log, image) = opened.await?;
    let matched = match_directories(directories, &image, found_logs)?;
    let at_start = log_directories::at_start(directories, &image, config.node_id);
    directories.mark_used(&shard.rt).await;
    let decisions = Decisions::new(image, Arc::new(config.clone()));
    let controller = Rc::new(Controller::new(decisions, log));
    shard.set_controller(controller.clone());

    let begun = publisher::make(shard, &controller, |decisions, _| decisions.bootstrap()).await;
    begun.map_err(cannot_register)?;
    let mut found = settle(shard, directories, matched).await;
    let ids = found.logs.iter().map(|(named, found)| (*named, found.dir.id())).collect();
    // Before the node registers without what is missing, and forgets that it was there.
    found.away = log_directories::compare(shard, &controller, &at_start, &ids).await?;
    advertise(shard, address);
    register_when_possible(shard, &controller, clean).await?;
    publisher::install(shard, &controller, found).await;
    for listening in shard.on_every_shard(move |shard| serve(shard.clone(), address)).await {
        let cannot = |error| NodeError::Io(format!("cannot listen on {address}"), error);
        listening.map_err(cannot)?;
    }
    shard.node.metrics.set_serving();
    Ok(address)
}

/// Without the right metadata log, partitions would be nobody's, or another topic's. If a
/// directory cannot be read, it may be there.
fn refuse_doubtful_metadata(
    directories: &LogDirs,
    found_logs: &[FoundLog],
) -> Result<(), NodeError> {
    let name = TopicPartition::new(METADATA_TOPIC, 0);
    let mut places = found_logs.iter().filter(|log| log.topic_partition == name);
    match (places.next(), places.next()) {
        (Some(one), Some(other)) => return Err(in_two_places(directories, one, other)),
        (Some(_), None) => return Ok(()),
        (None, _) => {}
    }
    if let Some(error) = directories.unusable().first() {
        return Err(NodeError::Metadata(format!(
            "{name} is in none of the directories that can be read; repair the other one: {error}"
        )));
    }
    let empty = directories.iter().find(|dir| !dir.was_used());
    let mount = empty.map_or(String::new(), |dir| {
        format!("; {} is empty: is its disk mounted?", dir.path().display())
    });
    let Some(log) = found_logs.first() else {
        let Some(used) = directories.iter().find(|dir| dir.was_used()) else { return Ok(()) };
        return Err(NodeError::Metadata(format!(
            "there is no {name}, though {} was in use{mount}; put it back, or give empty \
             directories only",
            used.path().display()
        )));
    };
    Err(NodeError::Metadata(format!(
        "there is no {name}, which says what {} and {} more directories of partitions are; put it \
         back from a backup, or give an empty directory{mount}; no partition was changed",
        path_of(directories, log).display(),
        found_logs.len() - 1
    )))
}

fn path_of(directories: &LogDirs, log: &FoundLog) -> PathBuf {
    let dir = directories.get(log.dir_index).expect("found in a directory in use");
    dir.path().join(log.topic_partition.to_string())
}

/// Nothing says which of them counts (Kafka refuses as well, `LogManager.loadLog`).
fn in_two_places(directories: &LogDirs, one: &FoundLog, other: &FoundLog) -> NodeError {
    NodeError::Setting(format!(
        "log.dirs: {} and {} claim to be the same partition; move the older one away",
        path_of(directories, one).display(),
        path_of(directories, other).display()
    ))
}

async fn serve(shard: Rc<Shard>, address: SocketAddr) -> std::io::Result<()> {
    listener::start(&shard.network, shard.clone(), address).await?;
    housekeeping::start(&shard);
    Ok(())
}

fn cluster_id(setting: Option<&str>) -> Result<Option<Uuid>, NodeError> {
    let parse = |id: &str| {
        id.parse().map_err(|error| NodeError::Setting(format!("ringlog.cluster.id: {error}")))
    };
    setting.map(parse).transpose()
}

/// Settles what clients are told: `advertised.listeners`, with the real port where it says 0.
fn advertise(shard: &Shard, address: SocketAddr) {
    let advertised = shard.node.config.advertised_listeners.first();
    let (mut host, mut port) = match advertised {
        Some(listener) => (listener.host.clone(), listener.port),
        None => (String::new(), 0),
    };
    if host.is_empty() || host == "0.0.0.0" || host == "::" {
        host = match address.ip() {
            // Clients cannot connect to "any"; the machine's own name is Kafka's answer too.
            ip if ip.is_unspecified() => host_name(),
            ip => ip.to_string(),
        };
    }
    if port == 0 {
        port = address.port();
    }
    shard.node.set_advertised(host, port);
}

#[expect(clippy::disallowed_methods, reason = "the kernel answers this file at once")]
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".into(),
        name => name.into(),
    }
}

/// Registers the broker. A node that is known already serves although the disk has no space for
/// that, so that it can be read from and topics can be deleted, and registers once there is some.
async fn register_when_possible(
    shard: &Rc<Shard>,
    controller: &Rc<Controller>,
    stopped_cleanly: bool,
) -> Result<(), NodeError> {
    let Err(error) = register(shard, controller, stopped_cleanly).await else { return Ok(()) };
    if !controller.waits_for_space() || !controller.knows_broker(shard.node.config.node_id) {
        return Err(cannot_register(error));
    }
    tracing::error!(%error, "the disk is full: the node serves as it was registered before");
    let (shard, controller) = (shard.clone(), controller.clone());
    shard.rt.clone().spawn(async move {
        while !shard.network.is_stopping() && controller.waits_for_space() {
            shard.rt.sleep(REGISTRATION_RETRY).await;
            if register(&shard, &controller, stopped_cleanly).await.is_ok() {
                tracing::info!("the node is registered");
                return;
            }
        }
    });
    Ok(())
}

fn cannot_register(error: ErrorCode) -> NodeError {
    NodeError::Metadata(format!("the node cannot register: {error}"))
}

/// Writes this start of the broker.
async fn register(
    shard: &Rc<Shard>,
    controller: &Controller,
    stopped_cleanly: bool,
) -> Result<(), ErrorCode> {
    let (host, port) = shard.node.advertised();
    let next_offset = controller.log().log_end_offset();
    let config = &shard.node.config;
    let registered = publisher::make(shard, controller, |decisions, random| {
        let registration = Registration {
            broker_id: config.node_id,
            incarnation_id: Uuid::from_random(random),
            endpoints: vec![BrokerEndpoint {
                name: "PLAINTEXT".into(),
                host,
                port,
                security_protocol: 0,
            }],
            rack: config.broker_rack.clone(),
            log_dirs: shard.node.directories().iter().map(|dir| dir.id()).collect(),
            stopped_cleanly,
        };
        decisions.register_broker(registration, next_offset)
    });
    registered.await?;
    Ok(())
}

/// The directories that were found, sorted out.
struct Matched {
    logs: HashMap<TopicIdPartition, FoundLog>,
    /// Those of no partition, each with the place of its log directory.
    strays: Vec<(usize, TopicPartition)>,
}

/// A topic id on disk that differs from the cluster's in no more bits is the same, damaged: ids
/// are random. Its directory is no other topic's and is not set aside, so that nothing empty takes
/// its place; opening it is refused, and says why.
const DAMAGED_ID_BITS_MAX: u32 = 12;

/// Which directory belongs to which partition of the image. The others are named.
fn match_directories(
    directories: &LogDirs,
    image: &Image,
    found_logs: Vec<FoundLog>,
) -> Result<Matched, NodeError> {
    let mut matched = Matched { logs: HashMap::new(), strays: Vec::new() };
    for log in found_logs {
        let name = &log.topic_partition;
        let topic = image.topic(&name.topic);
        let is_of_another = |topic: &Topic| {
            log.topic_id.is_some_and(|id| id.bits_apart(&topic.id) > DAMAGED_ID_BITS_MAX)
        };
        let why = match topic {
            None => "there is no such topic",
            Some(topic) if is_of_another(topic) => "it is of an earlier topic of this name",
            Some(topic) if !topic.partitions.contains_key(&name.partition) => {
                "the topic has no such partition"
            }
            Some(topic) => {
                let named = TopicIdPartition::new(topic.id, name.partition);
                if let Some(other) = matched.logs.get(&named) {
                    return Err(in_two_places(directories, other, &log));
                }
                matched.logs.insert(named, log);
                continue;
            }
        };
        let directory = path_of(directories, &log);
        tracing::warn!(directory = %directory.display(), why, "stray");
        matched.strays.push((log.dir_index, name.clone()));
    }
    Ok(matched)
}

/// Makes room for the partitions of the image: strays are set aside, and the checkpoints forget
/// what they know of others.
async fn settle(shard: &Rc<Shard>, directories: &LogDirs, matched: Matched) -> FoundLogs {
    directories.set_aside(&shard.rt, &matched.strays).await;
    let mut names: HashSet<(usize, &TopicPartition)> = HashSet::new();
    for log in matched.logs.values() {
        names.insert((log.dir_index, &log.topic_partition));
        shard.node.count_partition(log.dir_index);
    }
    let keep = |dir_index: usize, partition: &TopicPartition| {
        names.contains(&(dir_index, partition)) || &*partition.topic == METADATA_TOPIC
    };
    let kept = directories.keep_checkpoints(&shard.rt, keep).await;
    let doubt = kept.err().map(|error| error.to_string());
    let with_dir = |(named, log): (TopicIdPartition, FoundLog)| {
        let dir = directories.get(log.dir_index).expect("found in a directory in use").clone();
        (named, FoundPartition { dir, hint: log.hint })
    };
    FoundLogs {
        logs: matched.logs.into_iter().map(with_dir).collect(),
        doubt,
        away: HashMap::new(),
    }
}
