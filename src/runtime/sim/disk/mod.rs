//! The simulated disk of one node: a tree of files and directories in memory that loses what was
//! not flushed when its node crashes.
//!
//! Operations take effect when they complete; the caller (the simulated driver) decides when
//! that is and which of them fail. Everything here is synchronous, and deterministic given the
//! generator handed in. The model is stricter than any one file system: only what POSIX and
//! Linux promise survives, and of the rest any part may.

mod directory;
mod file;
mod image;
mod inspect;
mod names;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use rustix::io::Errno;
use slab::Slab;

use self::directory::{Directory, InodeId};
use self::file::{Change, FileContent};
use self::image::PAGE_BYTES;
use super::Prng;

pub use self::inspect::SimDisk;
pub(crate) use self::names::Stat;

/// How one simulated disk behaves, apart from its faults.
#[derive(Clone, Debug)]
pub struct DiskModel {
    /// Bytes it can hold; writes and `allocate` fail with `ENOSPC` beyond.
    pub capacity_bytes: u64,
    /// `O_DIRECT` positions, lengths and addresses must be multiples of this, or fail with
    /// `EINVAL`. 512 on most disks, 4096 on some, so the strict value is the default.
    pub direct_alignment: u64,
    /// Whether a durable (`RWF_DSYNC`) write also makes earlier completed writes of its file
    /// durable. Linux writes pure overwrites through (FUA) on devices that can, and then it does
    /// not; false, the strict value, is the default.
    pub durable_write_flushes_file: bool,
    /// A bug of the disk: durable writes and syncs complete without making anything durable,
    /// which is what acknowledging before the flush amounts to.
    pub lying: bool,
    /// Durable writes are taken and are no safer than others, as on FUSE. The system says what
    /// kind of file system it is.
    pub ignores_dsync: bool,
    /// Directories cannot be flushed, as on CIFS.
    pub refuses_dir_sync: bool,
}

impl Default for DiskModel {
    fn default() -> DiskModel {
        DiskModel {
            capacity_bytes: 1 << 40,
            direct_alignment: 4096,
            durable_write_flushes_file: false,
            lying: false,
            ignores_dsync: false,
            refuses_dir_sync: false,
        }
    }
}

enum Body {
    File(FileContent),
    Dir(Directory),
}

struct Inode {
    body: Body,
    modified_ms: i64,
    /// Cloned into every handle: more than one owner means the file is open.
    open: Arc<()>,
    /// Held by the advisory lock while there is one.
    lock: Weak<()>,
    /// Named by a directory a program can see.
    linked: bool,
    /// Its pages count against the capacity.
    charged: bool,
}

/// An open file of a simulated disk.
#[derive(Debug)]
pub(crate) struct OpenFile {
    inode: InodeId,
    incarnation: u64,
    access: OpenHow,
    /// Where it was opened.
    path: PathBuf,
    _open: Arc<()>,
}

impl OpenFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether both are direct handles of one file.
    pub(crate) fn same_direct(&self, other: &OpenFile) -> bool {
        self.access.direct && other.access.direct && self.inode == other.inode
    }
}

/// What `open` was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OpenHow {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) create: bool,
    pub(crate) create_new: bool,
    pub(crate) truncate: bool,
    pub(crate) direct: bool,
}

impl OpenHow {
    /// To look at a file that is there.
    pub(crate) const READ: OpenHow = OpenHow {
        read: true,
        write: false,
        create: false,
        create_new: false,
        truncate: false,
        direct: false,
    };
}

pub(crate) struct Disk {
    pub(crate) model: DiskModel,
    inodes: Slab<Inode>,
    root: InodeId,
    /// Number of the latest completed change; orders changes against syncs.
    seq: u64,
    /// Pages charged against the capacity.
    used_pages: usize,
    /// Unlinked while open: still charged.
    orphans: Vec<InodeId>,
    /// Counts crashes: a handle from before is dead.
    incarnation: u64,
    /// Inodes that make it worth looking for garbage.
    collect_at: usize,
}

impl Disk {
    pub(crate) fn new(model: DiskModel) -> Disk {
        let mut inodes = Slab::new();
        let root = inodes.insert(Inode::new(Body::Dir(Directory::default()), 0));
        inodes[root].linked = true;
        Disk {
            model,
            inodes,
            root,
            seq: 0,
            used_pages: 0,
            orphans: Vec::new(),
            incarnation: 0,
            collect_at: 256,
        }
    }

    /// The number of the latest completed change. A sync covers what is numbered up to the value
    /// this had when it was submitted.
    pub(crate) fn sequence(&self) -> u64 {
        self.seq
    }

    fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    fn handle(&self, inode: InodeId, access: OpenHow, path: &Path) -> OpenFile {
        let open = self.inodes[inode].open.clone();
        let path = path.to_owned();
        OpenFile { inode, incarnation: self.incarnation, access, path, _open: open }
    }

    /// The check Linux makes before it changes a file.
    fn check_writable(file: &OpenFile) -> io::Result<()> {
        match file.access.write {
            true => Ok(()),
            false => Err(Errno::BADF.into()),
        }
    }

    fn content(&mut self, file: &OpenFile) -> io::Result<&mut FileContent> {
        if file.incarnation != self.incarnation {
            return Err(Errno::BADF.into());
        }
        match &mut self.inodes[file.inode].body {
            Body::File(content) => Ok(content),
            Body::Dir(_) => Err(Errno::ISDIR.into()),
        }
    }

    /// The check Linux makes before an `O_DIRECT` transfer.
    pub(crate) fn check_direct(
        &self,
        file: &OpenFile,
        pos: u64,
        parts: &[&[u8]],
    ) -> io::Result<()> {
        let align = self.model.direct_alignment;
        let odd = |n: u64| !n.is_multiple_of(align);
        // Memory need only be aligned as the device demands: 512 is the most that is asked.
        let odd_part =
            |p: &&[u8]| odd(p.len() as u64) || !(p.as_ptr() as usize).is_multiple_of(512);
        match file.access.direct && (odd(pos) || parts.iter().any(odd_part)) {
            true => Err(Errno::INVAL.into()),
            false => Ok(()),
        }
    }

    /// Fills `out` from `pos` and returns how many bytes there were.
    pub(crate) fn read(&mut self, file: &OpenFile, pos: u64, out: &mut [u8]) -> io::Result<usize> {
        self.check_direct(file, pos, &[out])?;
        self.read_cached(file, pos, out)
    }

    /// The same without the demands of a direct transfer: what `sendfile` does.
    pub(crate) fn read_cached(
        &mut self,
        file: &OpenFile,
        pos: u64,
        out: &mut [u8],
    ) -> io::Result<usize> {
        if !file.access.read {
            return Err(Errno::BADF.into());
        }
        let image = self.content(file)?.current();
        let n = image.len().saturating_sub(pos).min(out.len() as u64) as usize;
        if n > 0 {
            image.read(pos, &mut out[..n]);
        }
        Ok(n)
    }

    /// Writes all the parts or fails; `submitted` is [`Disk::sequence`] at the submission.
    pub(crate) fn write(&mut self, file: &OpenFile, w: Write<'_>, now_ms: i64) -> io::Result<()> {
        Disk::check_writable(file)?;
        let views: Vec<&[u8]> = w.parts.iter().map(|b| b.as_ref()).collect();
        self.check_direct(file, w.pos, &views)?;
        let len: u64 = w.parts.iter().map(|b| b.len() as u64).sum();
        let missing = self.content(file)?.current().missing_pages(w.pos, len);
        self.reserve(missing)?;
        let flush_all = self.model.durable_write_flushes_file;
        let durable = w.durable && !self.model.lying && !self.model.ignores_dsync;
        let mut pos = w.pos;
        for bytes in w.parts {
            let change = Change::Write { pos, bytes: bytes.clone() };
            pos += bytes.len() as u64;
            let seq = self.next_seq();
            self.changing(file, now_ms, |content| match durable {
                true => content.apply_durable(seq, change, w.submitted, flush_all),
                false => content.apply(seq, change),
            })?;
        }
        Ok(())
    }

    /// What a failed write leaves: any part of it.
    pub(crate) fn fail_write(&mut self, file: &OpenFile, w: Write<'_>, prng: &mut Prng) {
        let len: u64 = w.parts.iter().map(|b| b.len() as u64).sum();
        let Ok(content) = self.content(file) else { return };
        let missing = content.current().missing_pages(w.pos, len);
        if self.reserve(missing).is_err() {
            return;
        }
        let mut pos = w.pos;
        for bytes in w.parts {
            let seq = self.next_seq();
            let _ = self.changing(file, 0, |content| content.apply_part(seq, pos, bytes, prng));
            pos += bytes.len() as u64;
        }
    }

    pub(crate) fn sync(&mut self, file: &OpenFile, submitted: u64) -> io::Result<()> {
        let lying = self.model.lying;
        let content = self.content(file)?;
        if !lying {
            content.sync(submitted);
        }
        Ok(())
    }

    pub(crate) fn fail_sync(&mut self, file: &OpenFile, submitted: u64, prng: &mut Prng) {
        if let Ok(content) = self.content(file) {
            content.fail_sync(submitted, prng);
        }
    }

    pub(crate) fn allocate(&mut self, file: &OpenFile, pos: u64, len: u64) -> io::Result<()> {
        Disk::check_writable(file)?;
        let missing = self.content(file)?.current().missing_pages(pos, len);
        self.reserve(missing)?;
        let seq = self.next_seq();
        self.changing(file, 0, |content| content.apply(seq, Change::Allocate { pos, len }))
    }

    pub(crate) fn set_len(&mut self, file: &OpenFile, len: u64, now_ms: i64) -> io::Result<()> {
        Disk::check_writable(file)?;
        let seq = self.next_seq();
        self.changing(file, now_ms, |content| content.apply(seq, Change::SetLen(len)))
    }

    pub(crate) fn len(&mut self, file: &OpenFile) -> io::Result<u64> {
        Ok(self.content(file)?.current().len())
    }

    /// Runs a change of a file and keeps the account of used pages.
    fn changing(
        &mut self,
        file: &OpenFile,
        now_ms: i64,
        change: impl FnOnce(&mut FileContent),
    ) -> io::Result<()> {
        let content = self.content(file)?;
        let before = content.current().allocated_pages();
        change(content);
        let after = content.current().allocated_pages();
        let inode = &mut self.inodes[file.inode];
        if now_ms > 0 {
            inode.modified_ms = now_ms;
        }
        if inode.charged {
            self.used_pages = self.used_pages + after - before;
        }
        Ok(())
    }

    fn reserve(&mut self, pages: usize) -> io::Result<()> {
        let capacity = (self.model.capacity_bytes / PAGE_BYTES as u64) as usize;
        if pages > 0 && self.used_pages + pages > capacity {
            self.release_orphans();
            if self.used_pages + pages > capacity {
                return Err(Errno::NOSPC.into());
            }
        }
        Ok(())
    }

    /// Capacity and free space in bytes.
    pub(crate) fn space(&mut self) -> (u64, u64) {
        self.release_orphans();
        let used = self.used_pages as u64 * PAGE_BYTES as u64;
        (self.model.capacity_bytes, self.model.capacity_bytes.saturating_sub(used))
    }

    fn release_orphans(&mut self) {
        let orphans = std::mem::take(&mut self.orphans);
        for id in orphans {
            match self.inodes[id].is_open() {
                true => self.orphans.push(id),
                false => self.discharge(id),
            }
        }
    }

    fn discharge(&mut self, id: InodeId) {
        let inode = &mut self.inodes[id];
        if std::mem::take(&mut inode.charged)
            && let Body::File(content) = &inode.body
        {
            self.used_pages -= content.current().allocated_pages();
        }
    }

    /// The crash of the node: keeps what was durable and a random part of what was not.
    /// `in_flight` are writes that were submitted and did not complete.
    pub(crate) fn crash(&mut self, in_flight: Vec<(Arc<OpenFile>, u64, Bytes)>, prng: &mut Prng) {
        let mut by_inode: Vec<(InodeId, Change)> = in_flight
            .into_iter()
            .filter(|(file, ..)| file.incarnation == self.incarnation)
            .map(|(file, pos, bytes)| (file.inode, Change::Write { pos, bytes }))
            .collect();
        let ordered_journal = prng.chance(0.5);
        let cut = prng.between(0..=self.seq);
        for (id, inode) in self.inodes.iter_mut() {
            match &mut inode.body {
                Body::Dir(dir) => {
                    let pending = dir.pending();
                    let kept = match ordered_journal {
                        true => pending.iter().take_while(|(seq, _)| *seq <= cut).count(),
                        false => prng.index(pending.len() + 1),
                    };
                    dir.crash(kept);
                }
                Body::File(content) => {
                    let mine = by_inode.extract_if(.., |(i, _)| *i == id).map(|(_, c)| c);
                    let mine: Vec<Change> = mine.collect();
                    if content.is_dirty() || !mine.is_empty() {
                        content.crash(mine, prng);
                    }
                }
            }
        }
        self.remount();
    }

    /// The end of the process alone: what completed stays, for now in the kernel's cache.
    pub(crate) fn kill(&mut self) {
        self.remount();
    }

    /// Ends every handle and lock, and finds again what the root reaches.
    fn remount(&mut self) {
        self.incarnation += 1;
        self.orphans.clear();
        for (_, inode) in self.inodes.iter_mut() {
            inode.open = Arc::new(());
            inode.lock = Weak::new();
        }
        self.collect();
    }
}

/// One write: its bytes and when it was submitted.
#[derive(Clone, Copy)]
pub(crate) struct Write<'a> {
    pub(crate) pos: u64,
    pub(crate) parts: &'a [Bytes],
    pub(crate) durable: bool,
    /// [`Disk::sequence`] at the submission.
    pub(crate) submitted: u64,
}

impl Inode {
    fn new(body: Body, modified_ms: i64) -> Inode {
        Inode {
            body,
            modified_ms,
            open: Arc::new(()),
            lock: Weak::new(),
            linked: false,
            charged: true,
        }
    }

    fn is_open(&self) -> bool {
        Arc::strong_count(&self.open) > 1
    }
}

#[cfg(test)]
mod tests;
