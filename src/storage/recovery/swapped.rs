//! What a crash leaves of a compaction, ours or Kafka's: a segment that was made and is not, or not
//! quite, in the place of those it was made from (`LogLoader.load`).
//!
//! 1. Files that are `.cleaned` were not finished. As long as there are some, the `.swap` files
//!    from their offsets on are of the same attempt: those go first, and then the `.cleaned`.
//! 2. A `.log.swap` that is left is whole, and was flushed: the segments that begin in what it
//!    holds are removed, the `.log`s last. One that is not, or is empty, is refused before
//!    anything is removed.
//! 3. It gets its name, and then its indexes do. A `.swap` of an index alone means that its `.log`
//!    has its name already.
//!
//! The directory is flushed in between, so a crash here leaves what the next start understands.

use std::path::Path;

use ringlog_runtime::Runtime;
use ringlog_types::Offset;

use crate::error::StorageError;
use crate::names;
use crate::segment::scan::Scanner;

/// The files of a segment.
const SUFFIXES: [&str; 4] = [names::LOG, names::INDEX, names::TIME_INDEX, names::TXN_INDEX];

/// Finishes or undoes what a compaction had begun in a partition's directory.
pub(crate) async fn finish(runtime: &Runtime, directory: &Path) -> Result<(), StorageError> {
    let found = Swap { runtime, directory };
    let (cleaned, mut swapped) =
        (found.files(names::CLEANED).await?, found.files(names::SWAP).await?);
    if let Some(first) = cleaned.iter().map(|(base, _)| *base).min() {
        let (undone, left) = swapped.into_iter().partition(|(base, _)| *base >= first);
        swapped = left;
        found.remove(&undone).await?;
        found.remove(&cleaned).await?;
    }
    if swapped.is_empty() {
        return Ok(());
    }
    let is_log = |name: &str| name.ends_with(&format!(".{}{}", names::LOG, names::SWAP));
    let (logs, indexes): (Vec<_>, Vec<_>) = swapped.into_iter().partition(|(_, name)| is_log(name));
    let mut range: Option<(Offset, Offset)> = None;
    for (base, name) in &logs {
        let end = found.end_of(*base, name).await?;
        let (first, last) = range.unwrap_or((*base, end));
        range = Some((first.min(*base), last.max(end)));
    }
    if let Some(range) = range {
        tracing::warn!(directory = %directory.display(), first_offset = range.0,
            end_offset = range.1, "finishes a compaction that was interrupted");
        found.remove_replaced(range).await?;
    }
    found.give_names(&logs).await?;
    found.give_names(&indexes).await
}

struct Swap<'a> {
    runtime: &'a Runtime,
    directory: &'a Path,
}

type Files = Vec<(Offset, String)>;

impl Swap<'_> {
    /// The files of segments whose names end so.
    async fn files(&self, ending: &str) -> Result<Files, StorageError> {
        let entries = self.runtime.read_dir(self.directory).await;
        let entries = entries.map_err(StorageError::io("list", self.directory))?;
        let of_segment = |name: String| {
            let base = names::parse_segment_file(&name)?.0;
            name.ends_with(ending).then_some((base, name))
        };
        let names = entries.into_iter().filter(|entry| !entry.is_dir).map(|entry| entry.name);
        Ok(names.filter_map(of_segment).collect())
    }

    async fn flush(&self) -> Result<(), StorageError> {
        let flushed = self.runtime.sync_dir(self.directory).await;
        flushed.map_err(StorageError::io("flush", self.directory))
    }

    async fn remove(&self, files: &Files) -> Result<(), StorageError> {
        if files.is_empty() {
            return Ok(());
        }
        for (_, name) in files {
            let path = self.directory.join(name);
            let removed = self.runtime.remove_file(&path).await;
            removed.map_err(StorageError::io("remove", &path))?;
        }
        self.flush().await
    }

    /// The offset behind the last batch of a `.log.swap`, all of which has to be whole: it was
    /// flushed before it got that name.
    async fn end_of(&self, base: Offset, name: &str) -> Result<Offset, StorageError> {
        let path = self.directory.join(name);
        let mut scanner = Scanner::open(self.runtime, &path).await?;
        let (mut position, mut end) = (0, base);
        while position < scanner.length() {
            match scanner.whole_batch(position).await? {
                Ok(header) if header.base_offset >= end => {
                    position += header.size as u64;
                    end = header.next_offset();
                }
                Ok(_) | Err(_) => {
                    let reason = format!(
                        "what a compaction has left is damaged at position {position}; move it \
                         away if the segments that it was made from are still there, and restore \
                         the partition from a copy if they are not"
                    );
                    return Err(StorageError::unusable(&path, reason));
                }
            }
        }
        if end == base {
            let reason = "a compaction was interrupted here, and left nothing; if the segments \
                that it was made from are still there, move it away";
            return Err(StorageError::unusable(&path, reason));
        }
        Ok(end)
    }

    /// Removes the segments that begin in `range`.
    async fn remove_replaced(&self, range: (Offset, Offset)) -> Result<(), StorageError> {
        for suffixes in [&SUFFIXES[1..], &SUFFIXES[..1]] {
            let mut replaced = Files::new();
            for suffix in suffixes {
                let ending = format!(".{suffix}");
                let files = self.files(&ending).await?;
                let is_replaced = |base: Offset| (range.0..range.1).contains(&base);
                replaced.extend(files.into_iter().filter(|(base, _)| is_replaced(*base)));
            }
            self.remove(&replaced).await?;
        }
        Ok(())
    }

    async fn give_names(&self, files: &Files) -> Result<(), StorageError> {
        if files.is_empty() {
            return Ok(());
        }
        for (_, name) in files {
            let from = self.directory.join(name);
            let to = self.directory.join(name.strip_suffix(names::SWAP).unwrap_or(name));
            let renamed = self.runtime.rename(&from, &to).await;
            renamed.map_err(StorageError::io("rename", &from))?;
        }
        self.flush().await
    }
}
