//! The log of the metadata, `__cluster_metadata-0`: opened and read before anything else.
//!
//! It is a partition like any other, in Kafka's format, always flushed before a change counts,
//! and never deleted from. A directory that Apache Kafka wrote may hold snapshots of it
//! (`<offset>-<epoch>.checkpoint`) in place of its beginning.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use ringlog_config::{CleanupPolicy, Flush, TopicConfig};
use ringlog_metadata::{Delta, Image, parse_snapshot_name};
use ringlog_record::leader_change_batch;
use ringlog_runtime::{Piece, Runtime};
use ringlog_storage::{AppendOrigin, FoundLog, Log};
use ringlog_types::{LeaderEpoch, Offset, TopicPartition, Uuid};

use crate::node::NodeError;
use crate::shard::Shard;
use crate::startup;

const METADATA_TOPIC: &str = "__cluster_metadata";
/// How much of the log is read at once.
const READ_BYTES: usize = 1 << 20;
/// A snapshot larger than this is not one.
const SNAPSHOT_BYTES_MAX: u64 = 4 << 30;

/// Opens the log (taking it out of `found`), reads the image, and begins a new leader epoch.
pub(crate) async fn open(
    shard: &Rc<Shard>,
    found: &mut Vec<FoundLog>,
) -> Result<(Rc<Log>, Image, LeaderEpoch), NodeError> {
    let name = TopicPartition::new(METADATA_TOPIC, 0);
    let config = Arc::new(config());
    let at = found.iter().position(|found| found.topic_partition == name);
    let directories = shard.node.directories();
    let log = match at.map(|at| found.remove(at)) {
        Some(found) => {
            let dir = directories.get(found.dir_index).expect("found in a directory in use");
            let id = Some(Uuid::METADATA_TOPIC);
            let opened = Log::open(&shard.storage, dir, name.clone(), id, config, found.hint);
            let (log, report) = opened.await?;
            startup::tell_recovery(&name, &report);
            log
        }
        None => {
            let dir = directories.iter().next().expect("there is at least one directory");
            Log::create(&shard.storage, dir, name, Uuid::METADATA_TOPIC, config).await?
        }
    };
    let mut image = read_snapshot(&shard.rt, &log).await?;
    replay(&shard.rt, &log, &mut image).await?;
    let leader_epoch = image.last_epoch().max(log.latest_epoch().unwrap_or(0)) + 1;
    begin_epoch(shard, &log, leader_epoch, &mut image).await?;
    Ok((log, image, leader_epoch))
}

fn config() -> TopicConfig {
    TopicConfig {
        cleanup_policy: CleanupPolicy { delete: false, compact: false },
        flush: Flush::Sync,
        max_message_bytes: i32::MAX,
        ..TopicConfig::default()
    }
}

/// The newest snapshot, or an empty image.
async fn read_snapshot(rt: &Runtime, log: &Log) -> Result<Image, NodeError> {
    let path = log.dir().path().join(log.topic_partition().to_string());
    let unreadable = |error| NodeError::Io(format!("cannot list {}", path.display()), error);
    let entries = rt.read_dir(&path).await.map_err(unreadable)?;
    let snapshots = entries.iter().filter_map(|entry| {
        parse_snapshot_name(&entry.name).map(|id| (id.end_offset, id.epoch, entry.name.as_str()))
    });
    // A snapshot of offset 0 is Kafka's `bootstrap.checkpoint` and its kind: the log has it all.
    let Some((end_offset, epoch, name)) = snapshots.filter(|(end, ..)| *end > 0).max() else {
        return Ok(Image::default());
    };
    let file = path.join(name);
    let bytes = read(rt, &file).await?;
    Image::from_snapshot(&bytes, end_offset, epoch)
        .map_err(|error| NodeError::Metadata(format!("{}: {error}", file.display())))
}

async fn read(rt: &Runtime, file: &Path) -> Result<Vec<u8>, NodeError> {
    let unreadable = |error| NodeError::Io(format!("cannot read {}", file.display()), error);
    rt.read_file(file, SNAPSHOT_BYTES_MAX).await.map_err(unreadable)
}

/// Applies what the log has beyond the image.
async fn replay(rt: &Runtime, log: &Log, image: &mut Image) -> Result<(), NodeError> {
    let start = log.log_start_offset();
    let mut offset: Offset = start.max(image.last_offset() + 1);
    if start > image.last_offset() + 1 {
        return Err(NodeError::Metadata(format!(
            "it starts at offset {start}, and there is no snapshot of what came before; restore \
             the .checkpoint files of {METADATA_TOPIC}-0"
        )));
    }
    let mut delta = Delta::default();
    while offset < log.log_end_offset() {
        let read = log.read(offset, READ_BYTES, log.log_end_offset(), true).await;
        let read = read.map_err(|error| NodeError::Metadata(error.to_string()))?;
        let bytes = gather(rt, read.pieces).await?;
        image
            .replay(whole_batches(&bytes), &mut delta)
            .map_err(|error| NodeError::Metadata(error.to_string()))?;
        let next = image.last_offset() + 1;
        if next <= offset {
            return Err(NodeError::Metadata(format!("no batch can be read at offset {offset}")));
        }
        offset = next;
    }
    Ok(())
}

/// Cuts off a last batch that is not whole: a read ends where its limit is.
fn whole_batches(bytes: &[u8]) -> &[u8] {
    let mut batches = ringlog_record::BatchIter::new(bytes);
    let mut whole = 0;
    while let Some(Ok(batch)) = batches.next() {
        whole += batch.size();
    }
    &bytes[..whole]
}

/// The bytes of a read, wherever they are.
async fn gather(rt: &Runtime, pieces: Vec<Piece>) -> Result<Vec<u8>, NodeError> {
    let mut bytes = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Bytes(part) => bytes.extend_from_slice(&part),
            Piece::File { file, mut pos, len } => {
                let mut left = len;
                while left > 0 {
                    let (read, buffer) =
                        rt.read_at(&file, rt.buffers().get(left.min(READ_BYTES)), pos).await;
                    let unreadable =
                        |error| NodeError::Io("cannot read the metadata log".into(), error);
                    let count = read.map_err(unreadable)?.min(left);
                    if count == 0 {
                        let end = std::io::ErrorKind::UnexpectedEof.into();
                        return Err(unreadable(end));
                    }
                    bytes.extend_from_slice(&buffer[..count]);
                    pos += count as u64;
                    left -= count;
                }
            }
        }
    }
    Ok(bytes)
}

/// Writes what a quorum's new leader writes first, so that Kafka's own tools see whose records
/// follow.
async fn begin_epoch(
    shard: &Rc<Shard>,
    log: &Log,
    leader_epoch: LeaderEpoch,
    image: &mut Image,
) -> Result<(), NodeError> {
    let now_ms = shard.rt.wall_clock_ms();
    let (batch, summary) = leader_change_batch(shard.node.config.node_id, now_ms);
    let origin = AppendOrigin::Coordinator;
    let appended = log
        .append(&batch, &summary, origin, leader_epoch, now_ms)
        .map_err(|error| NodeError::Metadata(error.to_string()))?;
    log.wait_durable(appended.last_offset + 1).await?;
    image.passed(appended.last_offset, leader_epoch);
    Ok(())
}
