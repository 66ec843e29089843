//! Kafka's small text files: offset checkpoints, the leader-epoch checkpoint,
//! `partition.metadata` and `meta.properties`.
//!
//! Pure: text in, text out; byte tables are in `docs/storage-format.md`. A file is written whole,
//! under another name, flushed, and renamed, so a reader meets the old or the new one. A file that
//! cannot be read is an error, not an empty one: an offset forgotten could mean records that come
//! back from the dead.

use std::collections::HashMap;

use ringlog_record::crc32c;
use ringlog_types::{Offset, TopicPartition, Uuid};

use crate::leader_epoch_cache::EpochEntry;
use crate::segment::Fence;

/// The only version of the line-based checkpoints.
const VERSION: &str = "0";

/// Why a text is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct MalformedFile {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

fn malformed(line: usize, reason: impl Into<String>) -> MalformedFile {
    MalformedFile { line, reason: reason.into() }
}

/// Writes version, count, and an entry a line.
fn encode_lines(entries: impl ExactSizeIterator<Item = String>) -> String {
    let mut text = format!("{VERSION}\n{}\n", entries.len());
    for entry in entries {
        text.push_str(&entry);
        text.push('\n');
    }
    text
}

/// Reads version and count, and hands every further line to `parse`. An empty file has no
/// entries: Kafka creates its checkpoints empty.
fn decode_lines<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, MalformedFile> {
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let Some((line, version)) = lines.next() else { return Ok(Vec::new()) };
    if version != VERSION {
        return Err(malformed(line, format!("version {version:?} is not known, only {VERSION}")));
    }
    let count = lines.next().and_then(|(_, count)| count.parse::<usize>().ok());
    let count = count.ok_or_else(|| malformed(2, "the number of entries is missing"))?;
    let mut entries = Vec::new();
    for (line, entry) in lines {
        if entry.is_empty() {
            continue;
        }
        let entry = parse(entry).ok_or_else(|| malformed(line, format!("not an entry: {entry:?}")));
        entries.push(entry?);
    }
    if entries.len() != count {
        let reason = format!("{count} entries announced, {} found", entries.len());
        return Err(malformed(2, reason));
    }
    Ok(entries)
}

/// The text of an offset checkpoint such as `recovery-point-offset-checkpoint`.
pub(crate) fn encode_offsets(offsets: &[(TopicPartition, Offset)]) -> String {
    encode_lines(
        offsets.iter().map(|(partition, offset)| {
            format!("{} {} {offset}", partition.topic, partition.partition)
        }),
    )
}

/// Reads an offset checkpoint. The last entry of a partition counts.
pub(crate) fn decode_offsets(text: &str) -> Result<HashMap<TopicPartition, Offset>, MalformedFile> {
    let entries = decode_lines(text, |line| {
        let mut words = line.split_ascii_whitespace();
        let (topic, partition, offset) = (words.next()?, words.next()?, words.next()?);
        let partition: i32 = partition.parse().ok().filter(|partition| *partition >= 0)?;
        let offset: Offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
        words.next().is_none().then(|| (TopicPartition::new(topic, partition), offset))
    })?;
    Ok(entries.into_iter().collect())
}

/// The text of a `leader-epoch-checkpoint`.
pub(crate) fn encode_epochs(entries: &[EpochEntry]) -> String {
    encode_lines(entries.iter().map(|entry| format!("{} {}", entry.epoch, entry.start_offset)))
}

/// Reads a `leader-epoch-checkpoint`. One whose entries do not ascend was changed by nobody's will.
pub(crate) fn decode_epochs(text: &str) -> Result<Vec<EpochEntry>, MalformedFile> {
    let entries = decode_lines(text, |line| {
        let (epoch, start_offset) = line.split_once(' ')?;
        let entry = EpochEntry {
            epoch: epoch.parse().ok()?,
            start_offset: start_offset.trim().parse().ok()?,
        };
        (entry.epoch >= 0 && entry.start_offset >= 0).then_some(entry)
    })?;
    let ascend = |pair: &[EpochEntry]| {
        pair[0].epoch < pair[1].epoch && pair[0].start_offset < pair[1].start_offset
    };
    match entries.windows(2).position(|pair| !ascend(pair)) {
        // Behind version and count.
        Some(at) => Err(malformed(at + 4, "epochs and offsets do not ascend")),
        None => Ok(entries),
    }
}

/// The text of a `ringlog-fenced-ranges`: the damage, each with its segment's base offset.
pub(crate) fn encode_fences(fences: &[(Offset, Fence)]) -> String {
    encode_lines(fences.iter().map(|(base_offset, fence)| {
        format!(
            "{base_offset} {} {} {} {}",
            fence.position, fence.end_position, fence.first_offset, fence.end_offset
        )
    }))
}

/// Reads a `ringlog-fenced-ranges`.
pub(crate) fn decode_fences(text: &str) -> Result<Vec<(Offset, Fence)>, MalformedFile> {
    decode_lines(text, |line| {
        let mut numbers = line.split_ascii_whitespace().map(|word| word.parse::<i64>().ok());
        let mut next = || numbers.next()?.filter(|number| *number >= 0);
        let base_offset = next()?;
        let fence = Fence {
            position: next()? as u64,
            end_position: next()? as u64,
            first_offset: next()?,
            end_offset: next()?,
        };
        let sane = fence.position <= fence.end_position && fence.first_offset <= fence.end_offset;
        (sane && numbers.next().is_none()).then_some((base_offset, fence))
    })
}

/// The text of a `partition.metadata`.
pub(crate) fn encode_partition_metadata(topic_id: Uuid) -> String {
    format!("version: 0\ntopic_id: {topic_id}")
}

/// Reads the topic id from a `partition.metadata`.
pub(crate) fn decode_partition_metadata(text: &str) -> Result<Uuid, MalformedFile> {
    let mut lines = text.lines();
    if lines.next().map(str::trim) != Some("version: 0") {
        return Err(malformed(1, "\"version: 0\" expected"));
    }
    let id = lines.next().and_then(|line| line.trim().strip_prefix("topic_id: "));
    let id = id.ok_or_else(|| malformed(2, "\"topic_id: <id>\" expected"))?;
    id.parse().map_err(|error| malformed(2, format!("{error}")))
}

/// What a `meta.properties` says about its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaProperties {
    /// The cluster the directory belongs to. Kafka takes any text; so does reading.
    pub cluster_id: String,
    /// The node the directory belongs to.
    pub node_id: i32,
    /// The directory's own id; `None` in files older than Kafka 3.7.
    pub directory_id: Option<Uuid>,
}

/// What the line with the checksum begins with, to Kafka a comment.
const META_CHECKSUM: &str = "# ringlog.checksum=";

/// The CRC-32C of the properties in a text, whatever their order, and comments between them.
fn meta_checksum(text: &str) -> u32 {
    let lines = text.lines().map(str::trim);
    let mut lines: Vec<&str> =
        lines.filter(|line| !line.is_empty() && !line.starts_with(['#', '!'])).collect();
    lines.sort_unstable();
    crc32c(lines.join("\n").as_bytes())
}

/// A `meta.properties` with a checksum, if it has none yet: nothing else would tell that a bit of
/// the cluster's id was changed.
pub(crate) fn with_meta_checksum(text: &str) -> Option<String> {
    let has_one = text.lines().any(|line| line.starts_with(META_CHECKSUM));
    (!has_one).then(|| format!("{META_CHECKSUM}{:08x}\n{text}", meta_checksum(text)))
}

fn check_meta_checksum(text: &str) -> Result<(), MalformedFile> {
    for (at, line) in text.lines().enumerate() {
        let Some(checksum) = line.strip_prefix(META_CHECKSUM) else { continue };
        if checksum.trim() != format!("{:08x}", meta_checksum(text)) {
            let reason = "the checksum does not match: a value was changed. Compare cluster.id, \
                node.id and directory.id with those of a backup or of the node's other \
                directories; remove this line when they are right";
            return Err(malformed(at + 1, reason));
        }
    }
    Ok(())
}

/// The text of a `meta.properties`.
pub(crate) fn encode_meta_properties(meta: &MetaProperties) -> String {
    let mut text = format!("cluster.id={}\n", meta.cluster_id);
    if let Some(id) = meta.directory_id {
        text.push_str(&format!("directory.id={id}\n"));
    }
    text.push_str(&format!("node.id={}\nversion=1\n", meta.node_id));
    with_meta_checksum(&text).unwrap_or(text)
}

/// Reads a `meta.properties` of version 1.
pub(crate) fn decode_meta_properties(text: &str) -> Result<MetaProperties, MalformedFile> {
    let mut values = HashMap::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let (key, value) =
            line.split_once('=').ok_or_else(|| malformed(at + 1, "\"key=value\" expected"))?;
        values.insert(key.trim(), (at + 1, value.trim()));
    }
    check_meta_checksum(text)?;
    let get = |key: &str| {
        values.get(key).copied().ok_or_else(|| malformed(0, format!("{key} is missing")))
    };
    let (line, version) = get("version")?;
    if version != "1" {
        return Err(malformed(line, format!("version {version:?} is not known, only 1")));
    }
    let (line, node_id) = get("node.id")?;
    let node_id = node_id.parse().map_err(|_| malformed(line, "node.id is not a number"))?;
    let directory_id = match values.get("directory.id") {
        Some((line, id)) => Some(id.parse().map_err(|error| malformed(*line, format!("{error}")))?),
        None => None,
    };
    let (line, cluster_id) = get("cluster.id")?;
    if cluster_id.is_empty() {
        return Err(malformed(line, "cluster.id is empty"));
    }
    Ok(MetaProperties { cluster_id: cluster_id.to_owned(), node_id, directory_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_round_trip() {
        let offsets = vec![
            (TopicPartition::new("a.b", 0), 17),
            (TopicPartition::new("logs-eu", 12), 1 << 40),
        ];
        let text = encode_offsets(&offsets);
        assert_eq!(text, "0\n2\na.b 0 17\nlogs-eu 12 1099511627776\n");
        assert_eq!(decode_offsets(&text), Ok(offsets.into_iter().collect()));
        assert_eq!(decode_offsets(""), Ok(HashMap::new()));
        for (bad, line) in [
            ("1\n0\n", 1),
            ("0\n", 2),
            ("0\nx\n", 2),
            ("0\n2\na 0 1\n", 2),
            ("0\n1\na 0\n", 3),
            ("0\n1\na 0 -1\n", 3),
            ("0\n1\na 0 1 2\n", 3),
            ("\0\0\0", 1),
        ] {
            assert_eq!(decode_offsets(bad).map_err(|e| e.line), Err(line), "{bad:?}");
        }
    }

    #[test]
    fn epochs_and_partition_metadata_round_trip() {
        let entries =
            [EpochEntry { epoch: 0, start_offset: 0 }, EpochEntry { epoch: 3, start_offset: 9 }];
        assert_eq!(encode_epochs(&entries), "0\n2\n0 0\n3 9\n");
        assert_eq!(decode_epochs("0\n2\n0 0\n3 9\n"), Ok(entries.to_vec()));
        for bad in ["0\n1\n-1 0\n", "0\n2\n3 0\n1 9\n", "0\n2\n0 9\n1 9\n"] {
            assert!(decode_epochs(bad).is_err(), "{bad:?}");
        }
        let fence = Fence { position: 10, end_position: 20, first_offset: 5, end_offset: 9 };
        assert_eq!(encode_fences(&[(3, fence)]), "0\n1\n3 10 20 5 9\n");
        assert_eq!(decode_fences("0\n1\n3 10 20 5 9\n"), Ok(vec![(3, fence)]));
        let of_offsets_alone = Fence { end_position: 10, ..fence };
        assert_eq!(decode_fences("0\n1\n3 10 10 5 9\n"), Ok(vec![(3, of_offsets_alone)]));
        for bad in ["3 10 9 5 9", "3 10 20 5", "3 10 20 5 9 9", "3 10 20 -5 9"] {
            assert!(decode_fences(&format!("0\n1\n{bad}\n")).is_err(), "{bad}");
        }
        let text = encode_partition_metadata(Uuid::METADATA_TOPIC);
        assert_eq!(text, "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(decode_partition_metadata(&text), Ok(Uuid::METADATA_TOPIC));
        for bad in ["", "version: 1\n", "version: 0\n", "version: 0\ntopic_id: x"] {
            assert!(decode_partition_metadata(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn meta_properties_of_kafka_are_read() {
        let text = "#\n#Mon Nov 23 07:54:18 UTC 2026\nnode.id=1\n\
            directory.id=0TB_iW7APikSi-7NAD-ssQ\nversion=1\ncluster.id=AAAAAAAAAAAAAAAAAAAAAQ\n";
        let meta = decode_meta_properties(text).expect("Kafka wrote it");
        assert_eq!((meta.node_id, meta.cluster_id.as_str()), (1, "AAAAAAAAAAAAAAAAAAAAAQ"));
        assert!(meta.directory_id.is_some());
        assert_eq!(decode_meta_properties(&encode_meta_properties(&meta)), Ok(meta));
        for bad in [
            "",
            "version=0\n",
            "version=1\nnode.id=x\ncluster.id=c\n",
            "version=1\nnode.id=1\ncluster.id=\n",
            "version",
        ] {
            assert!(decode_meta_properties(bad).is_err(), "{bad:?}");
        }
    }

    /// A directory with a changed bit in its cluster's id was another cluster's.
    #[test]
    fn a_changed_bit_in_meta_properties_changes_no_value() {
        let meta = MetaProperties {
            cluster_id: "AAAAAAAAAAAAAAAAAAAAAQ".to_owned(),
            node_id: 11,
            directory_id: Some(Uuid::METADATA_TOPIC),
        };
        let text = encode_meta_properties(&meta);
        let of_kafka = "#\n#Mon Nov 23 07:54:18 UTC 2026\nnode.id=11\n\
            directory.id=AAAAAAAAAAAAAAAAAAAAAQ\nversion=1\ncluster.id=AAAAAAAAAAAAAAAAAAAAAQ\n";
        let adopted = with_meta_checksum(of_kafka).expect("it has none");
        assert_eq!(with_meta_checksum(&adopted), None);
        for text in [text, adopted] {
            assert_eq!(decode_meta_properties(&text), Ok(meta.clone()));
            for at in 0..text.len() {
                for bit in 0..8 {
                    let mut damaged = text.clone().into_bytes();
                    damaged[at] ^= 1 << bit;
                    let damaged = String::from_utf8_lossy(&damaged);
                    if let Ok(read) = decode_meta_properties(&damaged) {
                        assert_eq!(read, meta, "byte {at}, bit {bit}: {damaged}");
                    }
                }
            }
        }
        // Kafka writes the file anew now and then, in another order and without our comment.
        assert_eq!(decode_meta_properties(of_kafka), Ok(meta));
    }
}
