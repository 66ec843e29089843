//! The node's end by its own decision: no log directory is left, or the one with the metadata log
//! failed.
//!
//! With another directory left it stays and serves what is there. Without the metadata log no
//! change can be made and no start could read what was decided, so that directory is one too many
//! to lose (Kafka: `ReplicaManager.handleLogDirFailure`, `LogManager.handleLogDirFailure`; both
//! halt with code 1). What can still be closed is closed, as in any clean stop, so that the next
//! start need not recover healthy disks; a stop that hangs on a dead one is not waited for.

use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use ringlog_storage::LogDirs;

use crate::error::NodeError;
use crate::node::shutdown;
use crate::shard::Shard;

/// How long a stop may take that nobody asked for: a clean one takes no longer, if disks answer.
const HALT_TIME_MAX: Duration = Duration::from_secs(30);

/// The news that the thread which waits for the node hears.
pub(crate) enum Event {
    /// The node has begun to stop, for this reason.
    Halting(String),
    /// All its threads have ended.
    Ended(std::io::Result<()>),
}

/// Stops the node if it has to; to be called every second or so, on shard 0.
pub(crate) fn look(shard: &Rc<Shard>) {
    let Some(controller) = shard.controller() else { return };
    let metadata_dir = controller.log().dir().index();
    let Some(reason) = reason(shard.node.directories(), metadata_dir) else { return };
    if shard.node.halt(&reason) {
        tracing::error!(reason, "the node halts");
        shutdown::begin(shard);
    }
}

/// Why a node with these directories cannot go on.
fn reason(directories: &LogDirs, metadata_dir: usize) -> Option<String> {
    if directories.iter().all(|dir| dir.is_offline()) {
        let failures = directories.iter().filter_map(|dir| dir.failure());
        let failures: Vec<String> = failures.map(|failure| failure.to_string()).collect();
        return Some(format!("no log directory is left: {}", failures.join("; ")));
    }
    let dir = directories.get(metadata_dir).filter(|dir| dir.is_offline())?;
    let failure = dir.failure().unwrap_or_default();
    let path = dir.path().display();
    Some(format!("the log directory with the metadata log, {path}, has failed: {failure}"))
}

/// Waits until the node has ended.
pub(crate) fn wait(events: &Receiver<Event>) -> Result<(), NodeError> {
    let ended = |ended: std::io::Result<()>| {
        ended.map_err(|error| NodeError::Io("a shard failed".into(), error))
    };
    let reason = match events.recv() {
        Ok(Event::Ended(outcome)) => return ended(outcome),
        Ok(Event::Halting(reason)) => reason,
        // The thread that joins the shards tells before it ends.
        Err(_) => return Ok(()),
    };
    match events.recv_timeout(HALT_TIME_MAX) {
        Err(RecvTimeoutError::Timeout) => tracing::error!("the stop hangs; it is not waited for"),
        Ok(Event::Ended(outcome)) => ended(outcome)?,
        Ok(Event::Halting(_)) | Err(RecvTimeoutError::Disconnected) => {}
    }
    Err(NodeError::NoLogDirectory(reason))
}
