//! What the files of a data directory are, by their names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ringlog_types::Offset;

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `<base offset>.log`.
    Log(Offset),
    /// `<base offset>.index`.
    OffsetIndex(Offset),
    /// `<base offset>.timeindex`.
    TimeIndex(Offset),
    /// `<base offset>.txnindex`.
    TransactionIndex(Offset),
    /// `<offset>.snapshot`.
    ProducerSnapshot(Offset),
    /// `leader-epoch-checkpoint`.
    LeaderEpochs,
    /// `partition.metadata`.
    PartitionMetadata,
    /// `recovery-point-offset-checkpoint` and its like.
    OffsetCheckpoint,
    /// `meta.properties`.
    MetaProperties,
    /// `ringlog-fenced-ranges`.
    FencedRanges,
    /// `ringlog-checked-segments`.
    CheckedSegments,
    /// Known, and nothing to look into.
    Other,
    /// Not a file that Kafka or Ringlog writes.
    Unknown,
}

impl Kind {
    pub(crate) fn of(path: &Path) -> Kind {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        match name {
            "leader-epoch-checkpoint" => return Kind::LeaderEpochs,
            "partition.metadata" => return Kind::PartitionMetadata,
            "meta.properties" => return Kind::MetaProperties,
            "ringlog-fenced-ranges" => return Kind::FencedRanges,
            "ringlog-checked-segments" => return Kind::CheckedSegments,
            "recovery-point-offset-checkpoint"
            | "replication-offset-checkpoint"
            | "log-start-offset-checkpoint"
            | "cleaner-offset-checkpoint" => return Kind::OffsetCheckpoint,
            ".lock"
            | ".kafka_cleanshutdown"
            | "quorum-state"
            | "bootstrap.checkpoint"
            | "ringlog-spare" => return Kind::Other,
            name if name.starts_with("ringlog-recovery-point-") => return Kind::Other,
            name if name.starts_with("ringlog-log-start-") => return Kind::Other,
            _ => {}
        }
        let Some((stem, suffix)) = name.split_once('.') else { return Kind::Unknown };
        let is_offset = stem.len() == 20 && stem.bytes().all(|byte| byte.is_ascii_digit());
        let offset = is_offset.then(|| stem.parse::<Offset>().ok()).flatten();
        match (offset, suffix) {
            (Some(offset), "log") => Kind::Log(offset),
            (Some(offset), "index") => Kind::OffsetIndex(offset),
            (Some(offset), "timeindex") => Kind::TimeIndex(offset),
            (Some(offset), "txnindex") => Kind::TransactionIndex(offset),
            (Some(offset), "snapshot") => Kind::ProducerSnapshot(offset),
            _ if name.starts_with("journal-") => Kind::Other,
            _ if suffix.ends_with("tmp")
                || suffix.ends_with("deleted")
                || name.ends_with(".checkpoint") =>
            {
                Kind::Other
            }
            _ => Kind::Unknown,
        }
    }
}

/// The files below `paths`: directories are entered, the order is that of their names.
pub(crate) fn collect(paths: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        collect_into(path, 0, &mut files).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
    }
    Ok(files)
}

/// A data directory holds partition directories, and those hold files; nothing lies deeper.
const DEPTH_MAX: usize = 4;

fn collect_into(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let metadata = match fs::metadata(path) {
        // A running node has removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound && depth > 0 => return Ok(()),
        metadata => metadata?,
    };
    if !metadata.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && depth > 0 => return Ok(()),
        entries => entries?,
    }
    .map(|entry| entry.map(|entry| entry.path()))
    .collect::<io::Result<Vec<PathBuf>>>()?;
    entries.sort();
    for entry in entries.iter().filter(|_| depth < DEPTH_MAX) {
        collect_into(entry, depth + 1, files)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (name, kind) in [
            ("00000000000000000042.log", Kind::Log(42)),
            ("00000000000000000042.timeindex", Kind::TimeIndex(42)),
            ("00000000000000000042.snapshot", Kind::ProducerSnapshot(42)),
            ("00000000000000000042.log.deleted", Kind::Other),
            ("42.log", Kind::Unknown),
            ("leader-epoch-checkpoint", Kind::LeaderEpochs),
            ("ringlog-fenced-ranges", Kind::FencedRanges),
            ("ringlog-recovery-point-7", Kind::Other),
            ("ringlog-checked-segments.tmp", Kind::Other),
            ("log-start-offset-checkpoint", Kind::OffsetCheckpoint),
            ("notes.txt", Kind::Unknown),
        ] {
            assert_eq!(Kind::of(Path::new(name)), kind, "{name}");
        }
    }
}
