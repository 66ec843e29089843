//! Fetches of clients from before 2017 (Fetch 0 to 3): what is read of a log is converted to
//! message sets before it is sent.
//!
//! A read like that comes into memory, whatever way it would else go, and is bounded: at most
//! [`BYTES_ENOUGH`] or one batch of a partition for each fetch. What is sent obeys the client's
//! limits with two exceptions that let every client on. From version 3 the first message of the
//! first partition is sent whole. Before, a message that is larger than the partition's limit is
//! sent as far as the limit goes, as brokers of those days did: its size is in there, and the
//! client asks for more or says that it cannot. (Kafka 3.9 means to, but finds no whole batch and
//! sends nothing, so that such a client waits for ever.)

use std::io;

use bytes::Bytes;
use ringlog_record::{MessageFormat, MessageSet, MessageSetLimits, down_convert};
use ringlog_runtime::{Piece, Runtime, WorkOwner};
use ringlog_storage::ReadPlan;
use ringlog_types::{ErrorCode, Offset};

use crate::replicas::partition::Partition;
use crate::replicas::read::{PartitionRead, Wanted, plan_over_damage, read_planned};

/// Up to this version the limit of a partition is hard.
const VERSION_HARD_LIMIT_LAST: i16 = 2;
/// Up to this version a client reads messages of format 0 only.
const VERSION_FORMAT_0_LAST: i16 = 1;
/// Up to this version it reads messages of format 1 at most.
const VERSION_FORMAT_1_LAST: i16 = 3;

/// Bytes of a partition after which neither another batch is read nor another message is added.
pub(crate) const BYTES_ENOUGH: usize = 1 << 20;
/// How many stretches with nothing for the client (control batches) one fetch passes over in a
/// partition. A client that meets more would be stuck, but that is 64 MiB of them.
const EMPTY_READS_MAX: usize = 64;

/// The formats that a client of an old version of Fetch can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OldReader {
    format: MessageFormat,
    hard_limit: bool,
}

impl OldReader {
    /// The reader behind this version, unless it reads batches.
    pub(crate) fn of(version: i16) -> Option<OldReader> {
        let format = match version {
            version if version <= VERSION_FORMAT_0_LAST => MessageFormat::V0,
            version if version <= VERSION_FORMAT_1_LAST => MessageFormat::V1,
            _ => return None,
        };
        Some(OldReader { format, hard_limit: version <= VERSION_HARD_LIMIT_LAST })
    }

    /// Whether such a client limits partitions only. What it could take of the first one with data
    /// must then not fail for the broker's own limit, of which it knows nothing.
    pub(crate) fn sets_no_total(self) -> bool {
        self.hard_limit
    }

    fn limits(self, room: Room) -> MessageSetLimits {
        MessageSetLimits {
            bytes_max: room.partition_bytes_max.min(room.left),
            bytes_enough: BYTES_ENOUGH,
            first_whole: room.whole_first,
            torn_beyond: self.hard_limit.then_some(room.partition_bytes_max),
        }
    }
}

/// How much a client takes of one partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// The limit that the request has for the partition.
    pub(crate) partition_bytes_max: usize,
    /// The rest of the limit for all partitions that the others have left.
    pub(crate) left: usize,
    /// Whether the first message is sent whatever its size.
    pub(crate) whole_first: bool,
}

/// What converts for one client.
#[derive(Clone, Copy)]
pub(crate) struct Converter<'r> {
    pub(crate) rt: &'r Runtime,
    /// In whose name it does so beside the shard.
    pub(crate) work_owner: WorkOwner,
    pub(crate) reader: OldReader,
}

/// Reads what was planned from `offset` on and turns it into messages; the rest of the answer is
/// there already.
pub(crate) async fn read(
    converter: Converter<'_>,
    partition: &Partition,
    offset: Offset,
    (mut read, mut plan): (PartitionRead, ReadPlan),
    room: Room,
) -> PartitionRead {
    let Converter { rt, work_owner, reader } = converter;
    let log = &partition.log;
    let high_watermark = read.high_watermark;
    let mut offset = offset;
    for _ in 0..EMPTY_READS_MAX {
        read_planned(partition, plan, &mut read).await;
        let pieces = std::mem::take(&mut read.pieces);
        if std::mem::take(&mut read.bytes) == 0 {
            return read;
        }
        let set = match into_memory(rt, pieces).await {
            Ok(batches) => {
                // A few compressed bytes can take long.
                let limits = reader.limits(room);
                let convert = move || down_convert(&batches, reader.format, offset, &limits);
                rt.compute(work_owner, convert)
                    .await
                    .map_err(|error| refuse(partition, offset, &error))
            }
            Err(error) => Err(unreadable(partition, offset, &error)),
        };
        let MessageSet { bytes, next_offset, cut_short } = match set {
            Ok(set) => set,
            Err(error) => return PartitionRead::failed(error),
        };
        read.cut_short |= cut_short;
        if !bytes.is_empty() || cut_short || !(offset + 1..high_watermark).contains(&next_offset) {
            read.bytes = bytes.len();
            read.pieces = vec![Piece::Bytes(bytes.into())];
            return read;
        }
        offset = next_offset;
        let wanted =
            Wanted { bytes_max: BYTES_ENOUGH, up_to: high_watermark, whole_first_batch: true };
        plan = match plan_over_damage(log, offset, wanted, read.passes_damage).await {
            Ok(plan) => plan,
            Err(error) => return PartitionRead::failed(error.error_code()),
        };
    }
    read
}

fn refuse(partition: &Partition, offset: Offset, error: &ringlog_record::BatchError) -> ErrorCode {
    let name = &partition.topic_partition;
    match error.error_code() {
        code @ ErrorCode::UnsupportedCompressionType => {
            tracing::debug!(partition = %name, offset, %error, "nothing for an old client");
            code
        }
        _ => {
            tracing::warn!(partition = %name, offset, %error, "a batch cannot be converted");
            ErrorCode::CorruptMessage
        }
    }
}

fn unreadable(partition: &Partition, offset: Offset, error: &io::Error) -> ErrorCode {
    let name = &partition.topic_partition;
    tracing::warn!(partition = %name, offset, %error, "a read failed");
    ErrorCode::KafkaStorageError
}

/// The bytes of all pieces, those of files too.
async fn into_memory(rt: &Runtime, pieces: Vec<Piece>) -> io::Result<Bytes> {
    let mut parts = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let (file, pos, len) = match piece {
            Piece::Bytes(bytes) => {
                parts.push(bytes);
                continue;
            }
            Piece::File { file, pos, len } => (file, pos, len),
        };
        let mut filled = 0;
        while filled < len {
            let buffer = rt.buffers().get(len - filled);
            let (read, buffer) = rt.read_at(&file, buffer, pos + filled as u64).await;
            let useful = read?.min(len - filled);
            if useful == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += useful;
            parts.push(buffer.freeze().slice(..useful));
        }
    }
    Ok(match <[Bytes; 1]>::try_from(parts) {
        Ok([whole]) => whole,
        Err(parts) => parts.concat().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_what_they_read() {
        let reader = |version| OldReader::of(version).map(|it| (it.format, it.hard_limit));
        assert_eq!(reader(0), Some((MessageFormat::V0, true)));
        assert_eq!(reader(1), Some((MessageFormat::V0, true)));
        assert_eq!(reader(2), Some((MessageFormat::V1, true)));
        assert_eq!(reader(3), Some((MessageFormat::V1, false)));
        assert_eq!(reader(4), None);
    }
}
