//! How a directory's disk takes small durable writes: what an acknowledged record costs there.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::ReadWriteFlags;
use serde::Serialize;

/// The block of one write.
const BLOCK: usize = 4096;
/// Blocks written beforehand, so that a commit is one write of blocks that exist.
const BLOCKS: u64 = 256;
/// Commits that are timed.
const COMMITS: u64 = 200;

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DiskReading {
    /// Whether the file system takes `O_DIRECT`.
    pub(crate) direct_io: bool,
    /// Whether it takes `RWF_DSYNC` and is known to honour it; if not, `fdatasync` was timed.
    pub(crate) dsync_writes: bool,
    /// The kind of file system.
    pub(crate) file_system: String,
    /// Why it does not make the names in a directory durable, if it refuses to.
    pub(crate) dir_flush_refusal: Option<String>,
    /// A 4 KiB durable write, in microseconds.
    pub(crate) commit_p50_us: u64,
    /// The slowest but one in a hundred.
    pub(crate) commit_p99_us: u64,
    /// Bytes that are free for us.
    pub(crate) free_bytes: u64,
}

/// Measures in `directory`, with a file that is gone afterwards.
pub(crate) fn measure(directory: &Path) -> io::Result<DiskReading> {
    let path = directory.join(format!(".ringlog-doctor-{}", std::process::id()));
    let reading = measure_in(&path);
    // The file may not even have been made.
    std::fs::remove_file(&path).ok();
    let space = rustix::fs::statvfs(directory)?;
    let mut reading = reading?;
    let flushed = rustix::fs::open(directory, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
        .and_then(rustix::fs::fsync);
    reading.dir_flush_refusal = flushed.err().map(|error| error.to_string());
    reading.free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
    Ok(reading)
}

fn measure_in(path: &Path) -> io::Result<DiskReading> {
    File::create(path)?;
    let open = |flags: OFlags| rustix::fs::open(path, OFlags::WRONLY | flags, Mode::empty());
    let (fd, direct_io) = match open(OFlags::DIRECT) {
        Ok(fd) => (fd, true),
        Err(rustix::io::Errno::INVAL) => (open(OFlags::empty())?, false),
        Err(error) => return Err(error.into()),
    };
    // A direct write needs memory that begins at a block.
    let memory = vec![0x5a_u8; 2 * BLOCK];
    let start = memory.as_ptr().align_offset(BLOCK);
    let block = &memory[start..start + BLOCK];
    for number in 0..BLOCKS {
        write(&fd, block, number, ReadWriteFlags::empty())?;
    }
    rustix::fs::fsync(&fd)?;
    let file_system = ringlog_runtime::FileSystem::of_file(&fd)?;
    let dsync_writes =
        write(&fd, block, 0, ReadWriteFlags::DSYNC).is_ok() && file_system.honours_dsync;
    let mut times = Vec::new();
    for number in 0..COMMITS {
        let begun = Instant::now();
        if dsync_writes {
            write(&fd, block, number % BLOCKS, ReadWriteFlags::DSYNC)?;
        } else {
            write(&fd, block, number % BLOCKS, ReadWriteFlags::empty())?;
            rustix::fs::fdatasync(&fd)?;
        }
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let (commit_p50_us, commit_p99_us) = (us(at(50)), us(at(99)));
    Ok(DiskReading {
        direct_io,
        dsync_writes,
        file_system: file_system.name.into_owned(),
        dir_flush_refusal: None,
        commit_p50_us,
        commit_p99_us,
        free_bytes: 0,
    })
}

fn write(fd: &OwnedFd, block: &[u8], number: u64, flags: ReadWriteFlags) -> io::Result<()> {
    let written = rustix::io::pwritev2(fd, &[IoSlice::new(block)], number * BLOCK as u64, flags)?;
    match written == block.len() {
        true => Ok(()),
        false => Err(io::ErrorKind::WriteZero.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_measured_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let reading = measure(dir.path()).unwrap();
        assert!(reading.commit_p50_us <= reading.commit_p99_us);
        assert!(reading.free_bytes > 0);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(measure(&dir.path().join("none")).is_err());
    }
}
