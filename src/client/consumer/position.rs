//! Where each partition is being read.

use std::collections::BTreeMap;

use ringlog_types::{LeaderEpoch, Offset, TopicPartition};

use super::{OffsetSpec, StartFrom, Until};
use crate::client::Client;
use crate::error::ClientError;

/// A partition's place in the reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    /// The next offset to read.
    pub(crate) next: Offset,
    /// Where to stop, if at all.
    pub(crate) end: Option<Offset>,
    /// The epoch of the last batch read (KIP-320); -1 before the first one.
    pub(crate) last_epoch: LeaderEpoch,
    /// Its topic got it while it was read: it is read from the start, wherever the others began.
    pub(crate) is_new: bool,
}

impl Position {
    /// Of a partition that was just made.
    pub(crate) fn at_the_start() -> Position {
        Position { next: 0, end: None, last_epoch: -1, is_new: true }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }
}

/// Asks the brokers where `partitions` begin and end.
pub(crate) async fn find(
    client: &Client,
    partitions: &[TopicPartition],
    from: StartFrom,
    until: Until,
) -> Result<BTreeMap<TopicPartition, Position>, ClientError> {
    let at = async |spec| client.list_offsets(partitions, spec).await;
    // Where a time is later than every record, and for `until`, the end is needed too.
    let ends = at(OffsetSpec::Latest).await?;
    let starts = match from {
        StartFrom::Start => at(OffsetSpec::Earliest).await?,
        StartFrom::End => ends.clone(),
        StartFrom::Offset(offset) if offset >= 0 => BTreeMap::new(),
        StartFrom::Offset(_) => at(OffsetSpec::Earliest).await?,
        StartFrom::Timestamp(time) => at(OffsetSpec::Timestamp(time)).await?,
    };
    let mut positions = BTreeMap::new();
    for partition in partitions {
        let end = ends.get(partition).and_then(|end| end.offset).unwrap_or(0);
        let listed = starts.get(partition).and_then(|start| start.offset);
        let next = match from {
            StartFrom::Offset(offset) if offset >= 0 => offset,
            StartFrom::Offset(back) => end.saturating_add(back).max(listed.unwrap_or(0)),
            _ => listed.unwrap_or(end),
        };
        let end = (until == Until::End).then_some(end);
        positions.insert(partition.clone(), Position { next, end, last_epoch: -1, is_new: false });
    }
    Ok(positions)
}
