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
pub(crate) const DELETE_DIRECTORY: &str = "-delete";
/// The epochs of a partition.
pub(crate) const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
/// The topic id of a partition.
pub(crate) const PARTITION_METADATA: &str = "partition.metadata";

/// Damage that was found in a partition; Ringlog's own, which Kafka passes over.
pub(crate) const FENCED_RANGES: &str = "ringlog-fenced-ranges";

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

/// The name under which a partition's directory waits for its removal:
/// `<topic>-<partition>.<32 hex digits>-delete`, the topic cut so that 255 bytes are enough
/// (`LocalLog.logDeleteDirName`).
pub(crate) fn deleted_directory(partition: &TopicPartition, unique: Uuid) -> String {
    let id: String = unique.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let suffix = format!("-{}.{id}{DELETE_DIRECTORY}", partition.partition);
    let room = 255 - suffix.len();
    let topic = &partition.topic[..partition.topic.len().min(room)];
    format!("{topic}{suffix}")
}

/// Whether a directory waits for its removal.
pub(crate) fn is_deleted_directory(name: &str) -> bool {
    let Some(rest) = name.strip_suffix(DELETE_DIRECTORY) else { return false };
    let Some((partition, id)) = rest.rsplit_once('.') else { return false };
    id.len() == 32
        && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        && TopicPartition::from_directory_name(partition).is_some()
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
    fn deleted_directories() {
        let partition = TopicPartition::new("x".repeat(249), 123);
        let name = deleted_directory(&partition, Uuid::METADATA_TOPIC);
        assert_eq!(name.len(), 255);
        assert!(is_deleted_directory(&name));
        assert!(!is_deleted_directory("my.topic-delete"));
        assert!(!is_deleted_directory("a-0"));
        assert!(is_deleted_directory("a-0.0123456789abcdef0123456789abcdef-delete"));
    }
}
