//! A clean stop: no new connections, no new requests, what is in work finishes and is answered,
//! logs close, directories are marked clean. A second request to stop, or a crash at any point of
//! this, costs nothing but a recovery at the next start.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use ringlog_runtime::ShardId;

use crate::node::housekeeping;
use crate::shard::Shard;
use crate::shared::CONTROLLER_SHARD;

/// How long connections may take to finish their requests and to send the answers.
const CONNECTIONS_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the logs of a shard may then take together to write what is in memory; with a full
/// disk none of them ends by itself. The metadata log has as long once more: together that is
/// less than the 30 s after which a service manager kills.
const WRITES_TIME_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether the logs are open that were being opened.
const OPENINGS_INTERVAL: Duration = Duration::from_millis(5);
/// How often connections are looked at.
const CONNECTIONS_INTERVAL: Duration = Duration::from_millis(5);

/// Begins the stop, on shard 0.
pub(crate) fn begin(shard: &Rc<Shard>) {
    assert_eq!(shard.id(), CONTROLLER_SHARD, "stopping is led by the controller's shard");
    if !shard.network.begin_stop() {
        return;
    }
    let shard = shard.clone();
    shard.rt.clone().spawn(async move {
        tracing::info!("stopping");
        shard.on_every_shard(|shard| drain_connections(shard.clone())).await;
        let closed = shard.on_every_shard(|shard| close_logs(shard.clone())).await;
        let unclean = closed.into_iter().flatten().collect();
        let clean = housekeeping::close_directories(&shard, unclean).await;
        tracing::info!(clean, "stopped");
        stop_shards(&shard);
    });
}

/// Ends the job loops of all shards, and with them their threads.
pub(crate) fn stop_shards(shard: &Rc<Shard>) {
    let shards = shard.mesh.shards() as u16;
    // This shard last: it must still pass on what the others need to stop.
    for id in (1..shards).chain([0]) {
        shard.mesh.send(ShardId(id), Box::new(|shard| shard.stop()));
    }
}

async fn drain_connections(shard: Rc<Shard>) {
    shard.network.begin_stop();
    shard.network.close_listener();
    shard.network.connections.shut_down_reading();
    let deadline = shard.rt.now() + CONNECTIONS_TIME_MAX;
    while shard.network.connections.len() > 0 && shard.rt.now() < deadline {
        shard.rt.sleep(CONNECTIONS_INTERVAL).await;
    }
    let left = shard.network.connections.len();
    if left > 0 {
        tracing::warn!(left, "connections still had requests in work, or answers to send");
        shard.network.connections.shut_down_all();
    }
}

/// Closes the logs of this shard. Returns the places of the directories of those that did not
/// close cleanly, or were never open: they have to be recovered.
async fn close_logs(shard: Rc<Shard>) -> HashSet<usize> {
    let deadline = shard.rt.now() + WRITES_TIME_MAX;
    shard.replicas.openings.stop();
    while shard.replicas.topics.are_being_opened() && shard.rt.now() < deadline {
        shard.rt.sleep(OPENINGS_INTERVAL).await;
    }
    // The next start must not believe files that this one has not looked at.
    let mut unclean = shard.replicas.topics.unopened_directories();
    for partition in shard.replicas.topics.local_partitions() {
        let dir_index = partition.log.dir().index();
        if partition.is_offline() {
            unclean.insert(dir_index);
        } else if let Err(error) = partition.log.close_by(deadline).await {
            tracing::error!(partition = %partition.topic_partition, %error, "not closed cleanly");
            unclean.insert(dir_index);
        }
    }
    unclean
}
