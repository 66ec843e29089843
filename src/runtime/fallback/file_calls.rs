//! The blocking file calls themselves, as the pool's threads make them.
//!
//! Each does all of its work or fails: short transfers and interruptions are retried here.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use bytes::Bytes;
use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

use crate::{DirEntry, shortage};

/// The most slices one call takes (`IOV_MAX`).
const SLICES_MAX: usize = 1024;

/// Opens a file. `O_DIRECT` is dropped where the file system refuses it (tmpfs before Linux 6.6,
/// some network and overlay ones): slower caching is better than no service.
pub(super) fn open(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o644);
    match rustix::fs::open(path, flags, mode) {
        Ok(fd) => Ok(fd),
        Err(Errno::INVAL) if flags.contains(OFlags::DIRECT) => {
            // A refused O_DIRECT may have created the file already.
            let again = flags - OFlags::DIRECT - OFlags::EXCL;
            Ok(rustix::fs::open(path, again, mode)?)
        }
        Err(e) => Err(e.into()),
    }
}

/// Reads until `out` is full or the file ends; returns how many bytes were filled.
pub(super) fn read_at(fd: impl AsFd, out: &mut [u8], pos: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < out.len() {
        match rustix::io::pread(&fd, &mut out[done..], pos + done as u64) {
            Ok(0) => break,
            Ok(n) => {
                done += n;
                // A direct read that stops off a block has met the end of the file; going on from
                // there would be an unaligned read.
                if !n.is_multiple_of(512) {
                    break;
                }
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(done)
}

/// Writes all the parts one after another from `pos`; durable ones are on the disk on return.
pub(super) fn write_at(
    fd: impl AsFd,
    parts: &[Bytes],
    mut pos: u64,
    durable: bool,
) -> io::Result<()> {
    let flags = if durable { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
    let mut slices: Vec<IoSlice<'_>> =
        parts.iter().filter(|p| !p.is_empty()).map(|p| IoSlice::new(p)).collect();
    let mut left = slices.as_mut_slice();
    while !left.is_empty() {
        let batch = &left[..left.len().min(SLICES_MAX)];
        let written = match rustix::io::pwritev2(&fd, batch, pos, flags) {
            // Sandboxes without the call or the flag: write, then flush.
            Err(Errno::NOSYS | Errno::OPNOTSUPP) => write_then_flush(&fd, batch, pos, durable),
            other => other,
        };
        match written {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                pos += n as u64;
                IoSlice::advance_slices(&mut left, n);
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn write_then_flush(
    fd: impl AsFd,
    slices: &[IoSlice<'_>],
    pos: u64,
    durable: bool,
) -> Result<usize, Errno> {
    let n = rustix::io::pwritev(&fd, slices, pos)?;
    if durable {
        rustix::fs::fdatasync(&fd)?;
    }
    Ok(n)
}

/// `fallocate(0)`: the length covers the range afterwards. Where the file system cannot, the
/// range is left a hole and only the length set: writes then allocate, and may find no space.
pub(super) fn allocate(fd: impl AsFd, pos: u64, len: u64) -> io::Result<()> {
    match retry(|| rustix::fs::fallocate(&fd, FallocateFlags::empty(), pos, len)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let have = rustix::fs::fstat(&fd)?.st_size as u64;
            Ok(retry(|| rustix::fs::ftruncate(&fd, have.max(pos + len)))?)
        }
        other => Ok(other?),
    }
}

/// Repeats an interrupted call.
pub(super) fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty())?;
    retry(|| rustix::fs::fsync(&dir)).map_err(of_flush)
}

/// The error of a flush that was made: even of `ECANCELED`, it was begun.
pub(super) fn of_flush(error: Errno) -> io::Error {
    match error {
        Errno::CANCELED => io::Error::other("the flush failed: it was cancelled"),
        error => shortage::of_flush(error.into()),
    }
}

/// The entries of a directory. One that goes away meanwhile is left out.
pub(super) fn read_dir(path: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let Ok(meta) = entry.metadata() else { continue };
        // Names we made are UTF-8; others are none of ours.
        let Ok(name) = entry.file_name().into_string() else { continue };
        entries.push(DirEntry { name, is_dir: meta.is_dir(), len: meta.len() });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::{allocate, open, read_at, sync_dir, write_at};
    use bytes::Bytes;
    use rustix::fs::OFlags;

    #[test]
    fn writes_all_parts_and_reads_them_back_up_to_the_end() {
        let dir = std::env::temp_dir().join(format!("ringlog-calls-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("f");
        let file = open(&path, OFlags::RDWR | OFlags::CREATE).unwrap();
        let parts: Vec<Bytes> =
            (0..1_500u32).map(|i| Bytes::from(vec![i as u8; (i % 7) as usize])).collect();
        for (pos, durable) in [(0, false), (10, true)] {
            write_at(&file, &parts, pos, durable).unwrap();
            let want = parts.concat();
            let mut out = vec![0; want.len() + 100];
            let n = read_at(&file, &mut out, pos).unwrap();
            let got = std::fs::read(&path).unwrap();
            assert_eq!(n, want.len());
            assert_eq!(got[pos as usize..], want);
        }
        allocate(&file, 0, 1 << 20).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 1 << 20);
        sync_dir(&dir).unwrap();
        let new = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        assert!(open(&path, new).is_err());
        open(&dir.join("direct"), new | OFlags::DIRECT).expect("with O_DIRECT or without");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
