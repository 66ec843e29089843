//! File operations.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bytes::{Buf, Bytes};
use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::{Fd, FsyncFlags};
use rustix::fs::StatFs;
use rustix::io::Errno;

use super::Uring;
use super::payload::{Payload, StatOf};
use super::setup;
use crate::file::Unwritten;
use crate::{Durability, File, FileStat, IoBuf, OpenOptions, WriteBufs, file_systems, shortage};

/// The most one transfer moves: below the kernel's limit, and a whole number of blocks.
const TRANSFER_BYTES_MAX: usize = 1 << 30;

/// The most parts one write takes (`IOV_MAX`).
const SLICES_MAX: usize = 1024;

const HERE: Fd = Fd(libc::AT_FDCWD);

impl Uring {
    pub(crate) async fn open(&self, path: &Path, o: &OpenOptions) -> io::Result<File> {
        let mut flags = open_flags(o);
        let mut result = self.open_fd(path, flags).await;
        if o.direct && matches!(&result, Err(e) if e.raw_os_error() == Some(libc::EINVAL)) {
            // The file system cannot; and the attempt may have created the file.
            flags &= !(libc::O_DIRECT | libc::O_EXCL);
            result = self.open_fd(path, flags).await;
        }
        Ok(File::from_fd(result?, self.blocking.closer()))
    }

    async fn open_fd(&self, path: &Path, flags: i32) -> io::Result<OwnedFd> {
        let path = c_path(path)?;
        let address = path.as_ptr();
        let entry = opcode::OpenAt::new(HERE, address).flags(flags).mode(0o644).build();
        let opened = self.ring.start(Payload::Open { _path: path }, |_| entry).await;
        let fd = opened.result? as i32;
        // SAFETY: the kernel has just made this descriptor for us, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    pub(crate) async fn read_at(
        &self,
        file: &File,
        mut buf: IoBuf,
        pos: u64,
    ) -> (io::Result<usize>, IoBuf) {
        buf.clear();
        while buf.len() < buf.capacity() {
            let at = pos + buf.len() as u64;
            let payload = Payload::Read { file: file.clone(), buf };
            let read = self.ring.start(payload, |payload| {
                let Payload::Read { file, buf } = payload else { unreachable!("made above") };
                let spare = buf.spare_mut();
                let len = spare.len().min(TRANSFER_BYTES_MAX) as u32;
                let fd = Fd(file.fd().as_raw_fd());
                opcode::Read::new(fd, spare.as_mut_ptr(), len).offset(at).build()
            });
            let read = read.await;
            let Payload::Read { buf: returned, .. } = read.payload else {
                unreachable!("an operation keeps its payload")
            };
            buf = returned;
            match read.result {
                Ok(0) => break,
                Ok(n) => {
                    buf.advance(n as usize);
                    // A direct read that stops off a sector has met the end of the file, and
                    // could not go on from there anyway.
                    if !n.is_multiple_of(512) {
                        break;
                    }
                }
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
                Err(e) => return (Err(e), buf),
            }
        }
        (Ok(buf.len()), buf)
    }

    pub(crate) async fn write_at(
        &self,
        file: &File,
        left: &mut Unwritten,
        durability: Durability,
    ) -> io::Result<()> {
        let flags = match durability {
            Durability::Buffered => 0,
            Durability::Durable => libc::RWF_DSYNC,
        };
        left.bufs.retain(|bytes| !bytes.is_empty());
        while !left.bufs.is_empty() {
            let (bufs, pos) = (std::mem::take(&mut left.bufs), left.pos);
            let slices = slices_of(&bufs);
            let payload = Payload::Write { file: file.clone(), bufs, slices };
            let wrote = self.ring.start(payload, |payload| write_entry(payload, pos, flags)).await;
            let Payload::Write { bufs: returned, .. } = wrote.payload else {
                unreachable!("an operation keeps its payload")
            };
            left.bufs = returned;
            match wrote.result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    left.pos += u64::from(n);
                    skip(&mut left.bufs, n as usize);
                }
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    pub(crate) async fn sync_data(&self, file: &File) -> io::Result<()> {
        let fd = Fd(file.fd().as_raw_fd());
        let entry = opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build();
        match self.on_file(file, entry).await {
            Ok(()) => Ok(()),
            Err(error) => {
                let file = file.clone();
                Err(self.of_flush(error, move || rustix::fs::fstatfs(file.fd())).await)
            }
        }
    }

    /// The error of a flush, by the kind of file system that `look` sees.
    async fn of_flush(
        &self,
        error: io::Error,
        look: impl FnOnce() -> Result<StatFs, Errno> + Send + 'static,
    ) -> io::Error {
        if error.raw_os_error() != Some(libc::ECANCELED) {
            return shortage::of_flush(error);
        }
        let number = self.blocking.call(move || Ok(look()?.f_type)).await;
        shortage::of_ring_flush(error, number.ok().map(file_systems::of))
    }

    pub(crate) async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let fd = self.open_fd(dir, flags).await?;
        let entry = opcode::Fsync::new(Fd(fd.as_raw_fd())).build();
        let synced = self.ring.start(Payload::Descriptor { _fd: fd }, |_| entry).await;
        match synced.result {
            Ok(_) => Ok(()),
            Err(error) => {
                let dir = dir.to_owned();
                Err(self.of_flush(error, move || rustix::fs::statfs(&dir)).await)
            }
        }
    }

    pub(crate) async fn allocate(&self, file: &File, pos: u64, len: u64) -> io::Result<()> {
        let fd = Fd(file.fd().as_raw_fd());
        let entry = opcode::Fallocate::new(fd, len).offset(pos).mode(0).build();
        match self.on_file(file, entry).await {
            // The file system cannot: the length at least is as promised, and writes allocate.
            Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                let have = self.file_len(file).await?;
                self.set_len(file, have.max(pos + len)).await
            }
            other => other,
        }
    }

    /// Asks only if the last of the bytes is not there: asking for what is costs as much as
    /// sending some of it.
    pub(crate) async fn will_need(&self, file: &File, pos: u64, len: u64) {
        if len == 0 || self.is_cached(file, pos + len - 1).await {
            return;
        }
        let (fd, len) = (Fd(file.fd().as_raw_fd()), i64::try_from(len).unwrap_or(i64::MAX));
        let entry = opcode::Fadvise::new(fd, len, libc::POSIX_FADV_WILLNEED).offset(pos).build();
        drop(self.on_file(file, entry).await);
    }

    pub(crate) async fn wont_need(&self, file: &File, pos: u64, len: u64) {
        let (fd, len) = (Fd(file.fd().as_raw_fd()), i64::try_from(len).unwrap_or(i64::MAX));
        let entry = opcode::Fadvise::new(fd, len, libc::POSIX_FADV_DONTNEED).offset(pos).build();
        drop(self.on_file(file, entry).await);
    }

    /// Whether the byte at `pos` can be read without waiting for the disk.
    pub(crate) async fn is_cached(&self, file: &File, pos: u64) -> bool {
        let payload = Payload::Read { file: file.clone(), buf: self.buffers().get(1) };
        let read = self.ring.start(payload, |payload| {
            let Payload::Read { file, buf } = payload else { unreachable!("made above") };
            let (fd, spare) = (Fd(file.fd().as_raw_fd()), buf.spare_mut());
            let entry = opcode::Read::new(fd, spare.as_mut_ptr(), 1).offset(pos);
            entry.rw_flags(libc::RWF_NOWAIT).build()
        });
        read.await.result.is_ok()
    }

    pub(crate) async fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        if !setup::has_ftruncate() {
            let file = file.clone();
            return self.blocking.call(move || Ok(rustix::fs::ftruncate(file.fd(), len)?)).await;
        }
        let fd = Fd(file.fd().as_raw_fd());
        self.on_file(file, opcode::Ftruncate::new(fd, len).build()).await
    }

    /// An operation that uses nothing but a file.
    async fn on_file(&self, file: &File, entry: Entry) -> io::Result<()> {
        let payload = Payload::File { _file: file.clone() };
        self.ring.start(payload, |_| entry).await.result.map(|_| ())
    }

    pub(crate) async fn file_len(&self, file: &File) -> io::Result<u64> {
        Ok(self.statx(StatOf::File(file.clone())).await?.stx_size)
    }

    pub(crate) async fn stat(&self, path: &Path) -> io::Result<FileStat> {
        let stat = self.statx(StatOf::Path(c_path(path)?)).await?;
        let modified = &stat.stx_mtime;
        Ok(FileStat {
            len: stat.stx_size,
            is_dir: u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFDIR,
            modified_ms: modified.tv_sec * 1_000 + i64::from(modified.tv_nsec / 1_000_000),
        })
    }

    async fn statx(&self, of: StatOf) -> io::Result<Box<libc::statx>> {
        // SAFETY: all-zero is a valid value of this struct of integers.
        let out: Box<libc::statx> = Box::new(unsafe { std::mem::zeroed() });
        let stat = self.ring.start(Payload::Stat { of, out }, |payload| {
            let Payload::Stat { of, out } = payload else { unreachable!("made above") };
            let (dir, path, flags) = match of {
                StatOf::Path(path) => (HERE, path.as_ptr(), 0),
                StatOf::File(file) => {
                    (Fd(file.fd().as_raw_fd()), c"".as_ptr(), libc::AT_EMPTY_PATH)
                }
            };
            let out: *mut libc::statx = &mut **out;
            let mask = libc::STATX_BASIC_STATS;
            opcode::Statx::new(dir, path, out.cast()).flags(flags).mask(mask).build()
        });
        let stat = stat.await;
        stat.result?;
        match stat.payload {
            Payload::Stat { out, .. } => Ok(out),
            _ => unreachable!("an operation keeps its payload"),
        }
    }

    pub(crate) async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (c_path(from)?, c_path(to)?);
        let entry = opcode::RenameAt::new(HERE, from.as_ptr(), HERE, to.as_ptr()).build();
        let payload = Payload::Paths { _from: from, _to: Some(to) };
        self.ring.start(payload, |_| entry).await.result.map(|_| ())
    }

    pub(crate) async fn remove_file(&self, path: &Path) -> io::Result<()> {
        let path = c_path(path)?;
        let entry = opcode::UnlinkAt::new(HERE, path.as_ptr()).build();
        let payload = Payload::Paths { _from: path, _to: None };
        self.ring.start(payload, |_| entry).await.result.map(|_| ())
    }
}

fn write_entry(payload: &mut Payload, pos: u64, flags: i32) -> Entry {
    let Payload::Write { file, slices, .. } = payload else { unreachable!("a write's payload") };
    let fd = Fd(file.fd().as_raw_fd());
    if let [one] = &**slices {
        let entry = opcode::Write::new(fd, one.iov_base.cast(), one.iov_len as u32);
        return entry.offset(pos).rw_flags(flags).build();
    }
    let entry = opcode::Writev::new(fd, slices.as_ptr(), slices.len() as u32);
    entry.offset(pos).rw_flags(flags).build()
}

fn open_flags(o: &OpenOptions) -> i32 {
    let mut flags = libc::O_CLOEXEC;
    flags |= match (o.read, o.write) {
        (_, false) => libc::O_RDONLY,
        (false, true) => libc::O_WRONLY,
        (true, true) => libc::O_RDWR,
    };
    for (wanted, flag) in [
        (o.create || o.create_new, libc::O_CREAT),
        (o.create_new, libc::O_EXCL),
        (o.truncate, libc::O_TRUNC),
        (o.direct, libc::O_DIRECT),
    ] {
        if wanted {
            flags |= flag;
        }
    }
    flags
}

fn c_path(path: &Path) -> io::Result<CString> {
    let refused = |_| io::Error::new(io::ErrorKind::InvalidInput, "a path with a zero byte");
    CString::new(path.as_os_str().as_bytes()).map_err(refused)
}

/// The parts as the kernel wants them: no more than it takes at once.
fn slices_of(bufs: &[Bytes]) -> Box<[libc::iovec]> {
    let mut left = TRANSFER_BYTES_MAX;
    let mut slices = Vec::with_capacity(bufs.len().min(SLICES_MAX));
    for bytes in bufs.iter().take(SLICES_MAX) {
        let len = bytes.len().min(left);
        let base = bytes.as_ptr().cast_mut().cast();
        slices.push(libc::iovec { iov_base: base, iov_len: len });
        left -= len;
        if left == 0 {
            break;
        }
    }
    slices.into_boxed_slice()
}

/// Leaves out the first `n` bytes.
fn skip(bufs: &mut WriteBufs, mut n: usize) {
    let mut whole = 0;
    for bytes in bufs.iter_mut() {
        let here = n.min(bytes.len());
        bytes.advance(here);
        n -= here;
        if !bytes.is_empty() {
            break;
        }
        whole += 1;
    }
    bufs.drain(..whole);
}

#[cfg(test)]
mod tests {
    use super::{skip, slices_of};
    use crate::WriteBufs;
    use bytes::Bytes;

    #[test]
    fn a_short_write_goes_on_where_it_stopped() {
        let parts = ["abc", "d", "efgh"].map(|s| Bytes::from_static(s.as_bytes()));
        for n in 0..=8 {
            let mut bufs: WriteBufs = parts.iter().cloned().collect();
            skip(&mut bufs, n);
            assert_eq!(bufs.concat(), b"abcdefgh"[n..], "{n}");
            assert!(bufs.iter().all(|b| !b.is_empty()));
        }
    }

    #[test]
    fn one_call_takes_a_bounded_number_of_parts() {
        let bufs: Vec<Bytes> = vec![Bytes::from_static(b"x"); 3_000];
        assert_eq!(slices_of(&bufs).len(), 1024);
    }
}
