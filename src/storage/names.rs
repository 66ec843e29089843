//! The names of files and directories, as Kafka spells them (`LogFileUtils`). Pure.
//!
//! Names are made here from numbers and validated topic names, never from bytes of the wire.

use ringlog_types::{Offset, TopicPartition, Uuid};

/// Suffix of a segment's records.
pub(crate) const LOG: &str = "log";
/// Suffix of a segment's offset index.
pub(crate) const INDEX: &str = "index";
/// Suffix of a segment's time index.
pub(crate) const TIME_INDEX: &str = "timeindex";
/// Suffix of a segment's index of aborted transactions.
pub(crate) const TXN_INDEX: &str = "txnindex";
/// Suffix of a producer snapshot.
pub(crate) const SNAPSHOT: &str = "snapshot";
/// Suffix of a file that is to be removed.
pub(crate) const DELETED: &str = ".deleted";
/// Suffix of what the cleaner had not finished.
pub(crate) const CLEANED: &str = ".cleaned";
/// Suffix of a file that was not complete when the process ended.
pub(crate) const TEMPORARY: &str = ".tmp";
/// Suffix of what the cleaner had finished but not put in place.
pub(crate) const SWAP: &str = ".swap";
/// Suffix of a partition's directory that is to be removed.
const DELETE_DIRECTORY: &str = "-delete";
/// Suffix of a directory that was found under a partition's name and is nobody's.
const STRAY_DIRECTORY: &str = "-stray";
/// Suffix of a replica that Kafka is moving to another log directory.
const FUTURE_DIRECTORY: &str = "-future";
/// The epochs of a partition.
pub(crate) const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
/// The topic id of a partition.
pub(crate) const PARTITION_METADATA: &str = "partition.metadata";

/// Damage that was found in a partition; Ringlog's own, which Kafka passes over.
pub(crate) const FENCED_RANGES: &str = "ringlog-fenced-ranges";

/// When the scrub checked each segment of a partition; Ringlog's own.
pub(crate) const CHECKED_SEGMENTS: &str = "ringlog-checked-segments";

/// The name of the segment file that starts at `base_offset`: 20 digits and a suffix.
pub(crate) fn segment_file(base_offset: Offset, suffix: &str) -> String {
    format!("{base_offset:020}.{suffix}")
}

/// Splits a segment file's name; `None` for any other file.
pub(crate) fn parse_segment_file(name: &str) -> Option<(Offset, &str)> {
    let (digits, suffix) = name.split_once('.')?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((digits.parse().ok()?, suffix))
}

/// What a directory in a log directory is, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Directory {
    /// A partition's.
    Partition(TopicPartition),
    /// It waits for its removal.
    Deleted,
    /// It was moved aside because it is no partition's; somebody has to look at it.
    Stray,
    /// Kafka was copying a partition here from another log directory.
    Future,
}

impl Directory {
    /// `None` for what is no partition's and never was.
    pub(crate) fn from_name(name: &str) -> Option<Directory> {
        if let Some(partition) = TopicPartition::from_directory_name(name) {
            return Some(Directory::Partition(partition));
        }
        [
            (DELETE_DIRECTORY, Directory::Deleted),
            (STRAY_DIRECTORY, Directory::Stray),
            (FUTURE_DIRECTORY, Directory::Future),
        ]
        .into_iter()
        .find(|(suffix, _)| name.strip_suffix(suffix).is_some_and(is_partition_and_id))
        .map(|(_, kind)| kind)
    }
}

/// `<topic>-<partition>.<32 hex digits>`.
fn is_partition_and_id(name: &str) -> bool {
    let Some((partition, id)) = name.rsplit_once('.') else { return false };
    id.len() == 32
        && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        && TopicPartition::from_directory_name(partition).is_some()
}

/// The name under which a partition's directory waits for its removal
/// (`LocalLog.logDeleteDirName`).
pub(crate) fn deleted_directory(partition: &TopicPartition, unique: Uuid) -> String {
    with_id(partition, unique, DELETE_DIRECTORY)
}

/// The name under which a directory is kept that is no partition's (`LocalLog.logStrayDirName`).
pub(crate) fn stray_directory(partition: &TopicPartition, unique: Uuid) -> String {
    with_id(partition, unique, STRAY_DIRECTORY)
}

/// `<topic>-<partition>.<32 hex digits><suffix>`, the topic cut so that 255 bytes are enough
/// (`LocalLog.logDirNameWithSuffixCap`).
fn with_id(partition: &TopicPartition, unique: Uuid, suffix: &str) -> String {
    let id: String = unique.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let suffix = format!("-{}.{id}{suffix}", partition.partition);
    let room = 255 - suffix.len();
    let topic = &partition.topic[..partition.topic.len().min(room)];
    format!("{topic}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_files() {
        assert_eq!(segment_file(42, LOG), "00000000000000000042.log");
        for (name, parsed) in [
            ("00000000000000000042.log", Some((42, "log"))),
            ("00000000000000000042.log.deleted", Some((42, "log.deleted"))),
            ("42.log", None),
            ("+0000000000000000042.log", None),
            ("99999999999999999999.log", None),
            ("leader-epoch-checkpoint", None),
        ] {
            assert_eq!(parse_segment_file(name), parsed, "{name}");
        }
    }

    #[test]
    fn directories_of_partitions() {
        let long = TopicPartition::new("x".repeat(249), 123);
        for (name, kind) in [
            (deleted_directory(&long, Uuid::METADATA_TOPIC), Directory::Deleted),
            (stray_directory(&long, Uuid::METADATA_TOPIC), Directory::Stray),
        ] {
            assert_eq!(name.len(), 255);
            assert_eq!(Directory::from_name(&name), Some(kind), "{name}");
        }
        let partition = |topic: &str| Directory::Partition(TopicPartition::new(topic, 0));
        let id = "0123456789abcdef0123456789abcdef";
        for (name, kind) in [
            ("a-0".to_owned(), Some(partition("a"))),
            // A topic may be called like a suffix, or look as if it ended in an id.
            ("x-delete-0".to_owned(), Some(partition("x-delete"))),
            (format!("a-0.{id}-delete-0"), Some(partition(&format!("a-0.{id}-delete")))),
            (format!("a-0.{id}-delete"), Some(Directory::Deleted)),
            (format!("a-0.{id}-stray"), Some(Directory::Stray)),
            (format!("a.b-7.{id}-future"), Some(Directory::Future)),
            (format!("a.{id}-delete"), None),
            (format!("a-0.{}-delete", &id[1..]), None),
            ("my.topic-delete".to_owned(), None),
            ("lost+found".to_owned(), None),
        ] {
            assert_eq!(Directory::from_name(&name), kind, "{name}");
        }
    }
}
