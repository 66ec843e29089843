//! The tree of names of a simulated disk: open, rename, remove, list, lock.

use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use rustix::io::Errno;

use super::directory::{Directory, EntryChange, InodeId};
use super::file::{Change, FileContent};
use super::{Body, Disk, Inode, OpenFile, OpenHow};

/// What `stat` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) len: u64,
    pub(crate) is_dir: bool,
    pub(crate) modified_ms: i64,
}

impl Disk {
    pub(crate) fn open(&mut self, path: &Path, how: OpenHow, now_ms: i64) -> io::Result<OpenFile> {
        let (parent, name) = self.parent(path)?;
        let found = self.dir(parent)?.get(&name);
        let id = match found {
            Some(_) if how.create_new => return Err(Errno::EXIST.into()),
            Some(id) if how.write => self.as_file(id)?,
            Some(id) => id,
            None if how.create || how.create_new => {
                self.link(parent, name, Body::File(FileContent::default()), now_ms)?
            }
            None => return Err(Errno::NOENT.into()),
        };
        let file = self.handle(id, how, path);
        if how.truncate && found.is_some() {
            self.set_len(&file, 0, now_ms)?;
        }
        Ok(file)
    }

    pub(crate) fn stat(&self, path: &Path) -> io::Result<Stat> {
        let inode = &self.inodes[self.lookup(path)?];
        let (len, is_dir) = match &inode.body {
            Body::File(content) => (content.current().len(), false),
            Body::Dir(_) => (0, true),
        };
        Ok(Stat { len, is_dir, modified_ms: inode.modified_ms })
    }

    /// The entries of a directory, in the order of their names.
    pub(crate) fn read_dir(&self, path: &Path) -> io::Result<Vec<(String, Stat)>> {
        let dir = self.dir(self.lookup(path)?)?;
        let stat = |id: InodeId| match &self.inodes[id] {
            Inode { body: Body::File(c), modified_ms, .. } => {
                Stat { len: c.current().len(), is_dir: false, modified_ms: *modified_ms }
            }
            inode => Stat { len: 0, is_dir: true, modified_ms: inode.modified_ms },
        };
        Ok(dir.names().map(|(name, id)| (name.to_string(), stat(id))).collect())
    }

    pub(crate) fn create_dir_all(&mut self, path: &Path, now_ms: i64) -> io::Result<()> {
        let mut at = self.root;
        for name in components(path)? {
            at = match self.dir(at)?.get(&name) {
                Some(id) => id,
                None => self.link(at, name, Body::Dir(Directory::default()), now_ms)?,
            };
        }
        self.dir(at).map(|_| ())
    }

    pub(crate) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let id = self.dir(parent)?.get(&name).ok_or(Errno::NOENT)?;
        self.as_file(id)?;
        self.unlink(parent, name, id);
        Ok(())
    }

    pub(crate) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let id = self.dir(parent)?.get(&name).ok_or(Errno::NOENT)?;
        self.empty(id)?;
        self.unlink(parent, name, id);
        Ok(())
    }

    fn empty(&mut self, dir: InodeId) -> io::Result<()> {
        let entries: Vec<(String, InodeId)> =
            self.dir(dir)?.names().map(|(n, id)| (n.to_string(), id)).collect();
        for (name, id) in entries {
            if let Body::Dir(_) = self.inodes[id].body {
                self.empty(id)?;
            }
            self.unlink(dir, name, id);
        }
        Ok(())
    }

    /// Atomic within a directory. Between directories both are made durable at once, because no
    /// file system loses a file by moving it and this one keeps its journal by directory.
    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        let id = self.dir(from_dir)?.get(&from_name).ok_or(Errno::NOENT)?;
        let replaced = self.dir(to_dir)?.get(&to_name).filter(|old| *old != id);
        if let Some(old) = replaced {
            match (&self.inodes[id].body, &self.inodes[old].body) {
                (Body::File(_), Body::File(_)) => {}
                (Body::Dir(_), Body::Dir(dir)) if dir.is_empty() => {}
                (Body::Dir(_), Body::Dir(_)) => return Err(Errno::NOTEMPTY.into()),
                (Body::File(_), Body::Dir(_)) => return Err(Errno::ISDIR.into()),
                (Body::Dir(_), Body::File(_)) => return Err(Errno::NOTDIR.into()),
            }
        }
        let seq = self.next_seq();
        if from_dir == to_dir {
            let change = EntryChange::Rename { from: from_name, to: to_name };
            self.dir_mut(from_dir)?.change(seq, change);
        } else {
            let link = EntryChange::Link { name: to_name, inode: id };
            let target = self.dir_mut(to_dir)?;
            target.change(seq, link);
            target.sync(seq);
            let source = self.dir_mut(from_dir)?;
            source.change(seq, EntryChange::Unlink { name: from_name });
            source.sync(seq);
        }
        if let Some(old) = replaced {
            self.unlinked(old);
        }
        Ok(())
    }

    pub(crate) fn sync_dir(&mut self, path: &Path, submitted: u64) -> io::Result<()> {
        let id = self.lookup(path)?;
        if self.model.refuses_dir_sync {
            return Err(Errno::INVAL.into());
        }
        let lying = self.model.lying;
        let dir = self.dir_mut(id)?;
        if !lying {
            dir.sync(submitted);
        }
        Ok(())
    }

    /// The advisory lock of a file, created if absent; `WouldBlock` while someone holds it.
    pub(crate) fn lock(&mut self, path: &Path, now_ms: i64) -> io::Result<Arc<()>> {
        let how = OpenHow { write: true, create: true, ..OpenHow::default() };
        let file = self.open(path, how, now_ms)?;
        let inode = &mut self.inodes[file.inode];
        if inode.lock.strong_count() > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let held = Arc::new(());
        inode.lock = Arc::downgrade(&held);
        Ok(held)
    }

    fn link(
        &mut self,
        parent: InodeId,
        name: String,
        body: Body,
        now_ms: i64,
    ) -> io::Result<InodeId> {
        if self.inodes.len() >= self.collect_at {
            self.collect();
            self.collect_at = 256.max(self.inodes.len() * 2);
        }
        let mut inode = Inode::new(body, now_ms);
        inode.linked = true;
        let id = self.inodes.insert(inode);
        let seq = self.next_seq();
        self.dir_mut(parent)?.change(seq, EntryChange::Link { name, inode: id });
        Ok(id)
    }

    fn unlink(&mut self, parent: InodeId, name: String, id: InodeId) {
        let seq = self.next_seq();
        let dir = self.dir_mut(parent).expect("the parent was read as a directory");
        dir.change(seq, EntryChange::Unlink { name });
        self.unlinked(id);
    }

    /// Gives the pages of an unlinked file back, now or when it is closed.
    fn unlinked(&mut self, id: InodeId) {
        self.inodes[id].linked = false;
        match self.inodes[id].is_open() {
            true => self.orphans.push(id),
            false => self.discharge(id),
        }
    }

    /// Marks what a program can see, recounts its pages, and drops every inode that is neither
    /// open nor named by any directory, before or after a crash.
    pub(super) fn collect(&mut self) {
        for (_, inode) in self.inodes.iter_mut() {
            inode.linked = false;
            inode.charged = inode.is_open();
        }
        for id in self.walk(|dir| dir.names().map(|(_, id)| id).collect()) {
            self.inodes[id].linked = true;
            self.inodes[id].charged = true;
        }
        let reachable = self.walk(|dir| dir.reachable().collect());
        self.inodes.retain(|id, inode| inode.is_open() || reachable.contains(&id));
        self.orphans.retain(|id| self.inodes.get(*id).is_some_and(|i| !i.linked && i.charged));
        let pages = |inode: &Inode| match &inode.body {
            Body::File(content) if inode.charged => content.current().allocated_pages(),
            _ => 0,
        };
        self.used_pages = self.inodes.iter().map(|(_, inode)| pages(inode)).sum();
    }

    /// Every inode that `children` leads to from the root.
    fn walk(&self, children: impl Fn(&Directory) -> Vec<InodeId>) -> BTreeSet<InodeId> {
        let mut seen = BTreeSet::new();
        let mut next = vec![self.root];
        while let Some(id) = next.pop() {
            if seen.insert(id)
                && let Body::Dir(dir) = &self.inodes[id].body
            {
                next.extend(children(dir));
            }
        }
        seen
    }

    /// A program's view of a path that must exist.
    pub(super) fn lookup(&self, path: &Path) -> io::Result<InodeId> {
        let mut at = self.root;
        for name in components(path)? {
            at = self.dir(at)?.get(&name).ok_or(Errno::NOENT)?;
        }
        Ok(at)
    }

    fn parent(&self, path: &Path) -> io::Result<(InodeId, String)> {
        let mut names = components(path)?;
        let name = names.pop().ok_or(Errno::INVAL)?;
        let mut at = self.root;
        for name in names {
            at = self.dir(at)?.get(&name).ok_or(Errno::NOENT)?;
        }
        self.dir(at)?;
        Ok((at, name))
    }

    pub(super) fn dir(&self, id: InodeId) -> io::Result<&Directory> {
        match &self.inodes[id].body {
            Body::Dir(dir) => Ok(dir),
            Body::File(_) => Err(Errno::NOTDIR.into()),
        }
    }

    fn dir_mut(&mut self, id: InodeId) -> io::Result<&mut Directory> {
        match &mut self.inodes[id].body {
            Body::Dir(dir) => Ok(dir),
            Body::File(_) => Err(Errno::NOTDIR.into()),
        }
    }

    fn as_file(&self, id: InodeId) -> io::Result<InodeId> {
        match self.inodes[id].body {
            Body::File(_) => Ok(id),
            Body::Dir(_) => Err(Errno::ISDIR.into()),
        }
    }

    /// Puts a durable file or directory tree in place without an operation: for tests.
    pub(super) fn plant(&mut self, path: &Path, bytes: Option<&[u8]>) -> io::Result<()> {
        let Some(bytes) = bytes else { return self.plant_dirs(path) };
        self.plant_dirs(path.parent().unwrap_or(Path::new("/")))?;
        let how = OpenHow { write: true, create: true, truncate: true, ..OpenHow::default() };
        let file = self.open(path, how, 1)?;
        let (parent, _) = self.parent(path)?;
        let seq = self.next_seq();
        self.dir_mut(parent)?.sync(seq);
        let content = self.content(&file)?;
        content.apply(seq, Change::SetLen(0));
        let change = Change::Write { pos: 0, bytes: bytes::Bytes::copy_from_slice(bytes) };
        content.apply(seq, change);
        content.sync(seq);
        drop(file);
        self.collect();
        Ok(())
    }

    fn plant_dirs(&mut self, path: &Path) -> io::Result<()> {
        self.create_dir_all(path, 1)?;
        let seq = self.seq;
        let mut at = self.root;
        for name in components(path)? {
            let dir = self.dir_mut(at)?;
            dir.sync(seq);
            at = dir.get(&name).ok_or(Errno::NOENT)?;
        }
        Ok(())
    }
}

/// The names of a path from the root; a relative path starts there too.
fn components(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                names.push(name.to_str().ok_or(Errno::INVAL)?.to_string());
            }
            Component::ParentDir | Component::Prefix(_) => return Err(Errno::INVAL.into()),
        }
    }
    Ok(names)
}
