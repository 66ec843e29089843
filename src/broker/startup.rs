//! How a node comes up: directories, metadata log, partitions, listeners, in that order. Run by
//! shard 0.
//!
//! There is no formatting step. A fresh directory is made ours by starting on it; another
//! cluster's or node's is refused, and nothing in it is changed but for the `.lock` file.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use ringlog_metadata::{
    BrokerEndpoint, Controller as Decisions, Image, METADATA_VERSION, Registration,
};
use ringlog_storage::{FoundLog, LogDirs, OpenedDirs, RecoveryReport};
use ringlog_types::{TopicPartition, Uuid};

use crate::controller::Controller;
use crate::node::NodeError;
use crate::shard::Shard;
use crate::topic_changes::{self, Found, FoundPartition};
use crate::{housekeeping, listening, metadata_log};

/// Starts the node and returns the address it serves.
pub(crate) async fn start(shard: &Rc<Shard>, address: SocketAddr) -> Result<SocketAddr, NodeError> {
    let config = &shard.node.config;
    let cluster_id = cluster_id(config.cluster_id.as_deref())?;
    let opened = LogDirs::open(&shard.rt, &config.log_dirs, config.node_id, cluster_id).await?;
    let OpenedDirs { dirs: directories, logs: mut found_logs, locks } = opened;
    assert!(shard.directory_locks.set(locks).is_ok(), "a node starts once");
    for error in directories.unusable() {
        shard.node.metrics.set_unready("log.dirs", &error.to_string());
    }
    directories.set_reserve_bytes(config.disk_reserve_bytes);
    directories.check_space(&shard.rt).await;
    let clean = directories.iter().all(|dir| dir.was_clean());
    shard.node.set_directories(directories);
    let directories = shard.node.directories();
    let opened = metadata_log::open(&shard.storage, directories, config, &mut found_logs);
    let (log, image) = opened.await?;
    refuse_unknown_metadata(&image)?;
    let decisions = Decisions::new(image, Arc::new(config.clone()));
    let controller = Rc::new(Controller::new(decisions, log));
    assert!(shard.controller.set(controller.clone()).is_ok(), "a node starts once");

    advertise(shard, address);
    register(shard, &controller, clean).await?;
    install(shard, &controller, found_logs).await;
    for listening in shard.on_every_shard(move |shard| serve(shard.clone(), address)).await {
        let cannot = |error| NodeError::Io(format!("cannot listen on {address}"), error);
        listening.map_err(cannot)?;
    }
    shard.node.metrics.set_serving();
    Ok(address)
}

/// A metadata log of a version that this node does not know may hold records that it would
/// misread.
fn refuse_unknown_metadata(image: &Image) -> Result<(), NodeError> {
    let unsupported = image.unsupported_features();
    match unsupported.iter().find(|(name, _)| *name == METADATA_VERSION) {
        Some((_, level)) => Err(NodeError::Metadata(format!(
            "it is of metadata.version {level}, which this version cannot read; start the version \
             that wrote it, or give another directory"
        ))),
        None => Ok(()),
    }
}

async fn serve(shard: Rc<Shard>, address: SocketAddr) -> std::io::Result<()> {
    listening::start(&shard, address).await?;
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

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".into(),
        name => name.into(),
    }
}

/// Writes the first records of a new cluster, and this start of the broker.
async fn register(
    shard: &Rc<Shard>,
    controller: &Controller,
    stopped_cleanly: bool,
) -> Result<(), NodeError> {
    let failed = |error| NodeError::Metadata(format!("the node cannot register: {error}"));
    controller.change(shard, |decisions, _| decisions.bootstrap()).await.map_err(failed)?;
    let (host, port) = shard.node.advertised();
    let next_offset = controller.log().log_end_offset();
    let config = &shard.node.config;
    let registered = controller.change(shard, |decisions, random| {
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
    registered.await.map_err(failed)?;
    Ok(())
}

/// Gives every shard the image and the directories of the partitions it owns.
async fn install(shard: &Rc<Shard>, controller: &Controller, found_logs: Vec<FoundLog>) {
    let change = controller.first_image();
    let found = Arc::new(match_directories(shard, &change.image, found_logs));
    shard.on_every_shard(move |shard| topic_changes::install(shard.clone(), change, found)).await;
}

/// Which directory belongs to which partition of the image. Others are left alone and named.
fn match_directories(shard: &Shard, image: &Image, found_logs: Vec<FoundLog>) -> Found {
    let mut found = Found::new();
    for log in found_logs {
        let name = &log.topic_partition;
        let Some(dir) = shard.node.directories().get(log.dir_index) else { continue };
        let Some(topic) = image.topic(&name.topic) else {
            tracing::warn!(directory = %name, "no such topic; the directory is left alone");
            continue;
        };
        let is_other_topic = log.topic_id.is_some_and(|id| id != topic.id);
        if is_other_topic || !topic.partitions.contains_key(&name.partition) {
            let known = topic.id;
            tracing::warn!(directory = %name, %known, "of another topic; left alone");
            continue;
        }
        shard.node.count_partition(log.dir_index);
        let place = (topic.id, name.partition);
        found.insert(place, FoundPartition { dir: dir.clone(), hint: log.hint });
    }
    found
}

/// Says what recovery found wrong and what it did about it.
pub(crate) fn tell_recovery(name: &TopicPartition, report: &RecoveryReport) {
    for cut in &report.cuts {
        tracing::warn!(
            partition = %name,
            file = %cut.path.display(),
            position = cut.position,
            bytes = cut.bytes,
            log_end_offset = cut.offset,
            "an unfinished end was cut off"
        );
    }
    for fenced in &report.fenced {
        tracing::error!(
            partition = %name,
            file = %fenced.path.display(),
            reason = fenced.reason,
            "damaged batches were fenced off; what follows them is served"
        );
    }
    if report.scanned_bytes > 0 {
        tracing::info!(partition = %name, scanned_bytes = report.scanned_bytes, "recovered");
    }
}
