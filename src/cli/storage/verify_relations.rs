//! Checks what the files of a data directory say of each other: whether a log reaches as far as its
//! checkpoints say, whether a segment is missing between two others, whether directories agree.
//!
//! What is said of a log is gathered before the log is read: on the directory of a running node the
//! log grows meanwhile, and then reaches at least as far.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ringlog_types::{Offset, TopicPartition};

use super::files::Kind;
use super::small_files;

/// A claim of one file about a log: it reaches at least to this offset.
struct Claim {
    file: PathBuf,
    what: &'static str,
    offset: Offset,
}

/// What was read of one log.
#[derive(Default)]
struct Read {
    /// The offset after the last batch.
    end: Offset,
    /// The end may be elsewhere: its last segment is damaged.
    is_cut_short: bool,
    /// There are gaps in its segments, as compaction leaves.
    has_gaps: bool,
    /// Segments before which offsets are missing, and those offsets.
    missing: Vec<(PathBuf, Offset, Offset)>,
}

/// Everything that is compared.
#[derive(Default)]
pub(super) struct Relations {
    /// By partition directory.
    claims: BTreeMap<PathBuf, Vec<Claim>>,
    logs: BTreeMap<PathBuf, Read>,
    /// Partitions that were compacted.
    compacted: Vec<PathBuf>,
    /// The topics' ids, with the file that says so.
    topic_ids: BTreeMap<String, (String, PathBuf)>,
    cluster_id: Option<(String, PathBuf)>,
    /// What does not fit together; the file, and what is wrong with it.
    pub(super) problems: Vec<(PathBuf, String)>,
}

impl Relations {
    /// Reads what the small files among `paths` say of logs.
    pub(super) fn gather(paths: &[PathBuf]) -> Relations {
        let mut relations = Relations::default();
        for path in paths {
            let text = || fs::read_to_string(path).unwrap_or_default();
            match Kind::of(path) {
                Kind::OffsetCheckpoint => relations.gather_checkpoint(path, &text()),
                Kind::LeaderEpochs => {
                    let epochs = small_files::leader_epochs(&text()).unwrap_or_default();
                    if let Some((_, offset)) = epochs.last() {
                        relations.claim(path, path.parent(), "an epoch that begins at", *offset);
                    }
                }
                Kind::ProducerSnapshot(offset) => {
                    relations.claim(path, path.parent(), "the producers at", offset);
                }
                Kind::PartitionMetadata => relations.compare_topic_id(path, &text()),
                Kind::MetaProperties => relations.compare_cluster_id(path, &text()),
                _ => {}
            }
        }
        relations
    }

    fn claim(&mut self, file: &Path, dir: Option<&Path>, what: &'static str, offset: Offset) {
        let Some(dir) = dir else { return };
        let claim = Claim { file: file.to_owned(), what, offset };
        self.claims.entry(dir.to_owned()).or_default().push(claim);
    }

    fn gather_checkpoint(&mut self, path: &Path, text: &str) {
        let what = match path.file_name().and_then(|name| name.to_str()) {
            Some("recovery-point-offset-checkpoint") => "a recovery point of",
            Some("log-start-offset-checkpoint") => "a log start of",
            Some("replication-offset-checkpoint") => "a high watermark of",
            _ => "",
        };
        let Some(parent) = path.parent() else { return };
        for (partition, offset) in small_files::offset_checkpoint(text).unwrap_or_default() {
            let dir = parent.join(partition.to_string());
            match what {
                "" => self.compacted.push(dir),
                what => self.claim(path, Some(&dir), what, offset),
            }
        }
    }

    fn compare_topic_id(&mut self, path: &Path, text: &str) {
        let Ok(id) = small_files::partition_metadata(text) else { return };
        let name = path.parent().and_then(|dir| dir.file_name()?.to_str());
        let Some(partition) = name.and_then(partition_of) else { return };
        let known = self.topic_ids.entry(partition.topic.to_string());
        let (known, from) = known.or_insert_with(|| (id.to_string(), path.to_owned()));
        if *known != id.to_string() {
            let problem = format!("topic id {id}, and {known} in {}", from.display());
            self.problems.push((path.to_owned(), problem));
        }
    }

    fn compare_cluster_id(&mut self, path: &Path, text: &str) {
        let properties = small_files::properties(text);
        let Some((_, id)) = properties.into_iter().find(|(key, _)| key == "cluster.id") else {
            return;
        };
        let (known, from) = self.cluster_id.get_or_insert_with(|| (id.clone(), path.to_owned()));
        if *known != id {
            let problem = format!("cluster id {id}, and {known} in {}", from.display());
            self.problems.push((path.to_owned(), problem));
        }
    }

    /// Takes note of a segment; those of a directory come in order.
    pub(super) fn take_segment(&mut self, path: &Path, base: Offset, segment: SegmentEnds) {
        let Some(dir) = path.parent() else { return };
        let is_first = !self.logs.contains_key(dir);
        let log = self.logs.entry(dir.to_owned()).or_default();
        if !is_first && base > log.end && !log.is_cut_short {
            log.missing.push((path.to_owned(), log.end, base));
        }
        log.end = segment.end_offset.unwrap_or(base);
        log.is_cut_short = segment.is_damaged;
        log.has_gaps |= segment.has_gaps;
    }

    /// Takes note of a segment that a running node has removed: nothing is known of what was in it.
    pub(super) fn note_removed(&mut self, path: &Path) {
        if let Some(log) = path.parent().and_then(|dir| self.logs.get_mut(dir)) {
            log.is_cut_short = true;
        }
    }

    /// Compares, once everything is read.
    pub(super) fn judge(mut self) -> Vec<(PathBuf, String)> {
        for (dir, log) in &self.logs {
            let was_compacted = log.has_gaps || self.compacted.contains(dir);
            for (path, from, to) in log.missing.iter().filter(|_| !was_compacted) {
                let problem = format!("offsets {from} to {to} (exclusive) are missing before it");
                self.problems.push((path.clone(), problem));
            }
            let claims = self.claims.get(dir).map_or(&[][..], Vec::as_slice);
            for claim in claims.iter().filter(|claim| claim.offset > log.end && !log.is_cut_short) {
                let (what, offset, end) = (claim.what, claim.offset, log.end);
                let name = dir.file_name().unwrap_or_default().to_string_lossy();
                let problem = format!("{what} {offset} of {name}, whose log ends at {end}");
                self.problems.push((claim.file.clone(), problem));
            }
        }
        self.problems
    }
}

/// What matters of a segment that was read.
pub(super) struct SegmentEnds {
    /// The offset after its last batch, if it has one.
    pub(super) end_offset: Option<Offset>,
    pub(super) is_damaged: bool,
    pub(super) has_gaps: bool,
}

fn partition_of(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    Some(TopicPartition::new(topic, partition.parse().ok()?))
}
