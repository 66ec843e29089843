//! A test's view of a simulated disk: it reads, plants, corrupts and moves files without the
//! node's operations, faults or delays.

use std::cell::RefMut;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::{Body, Disk, OpenHow};

/// The disk of one simulated node, seen from the test. What it shows is what the node's
/// programs see; after a crash that is what survived.
pub struct SimDisk<'a>(pub(crate) RefMut<'a, Disk>);

impl SimDisk<'_> {
    /// The bytes of a file.
    pub fn read(&mut self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let file = self.0.open(path.as_ref(), OpenHow::READ, 0)?;
        let mut out = vec![0; self.0.len(&file)? as usize];
        self.0.read(&file, 0, &mut out)?;
        Ok(out)
    }

    /// Only what is durable of a file: its bytes after the unluckiest crash.
    pub fn read_durable(&mut self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let file = self.0.open(path.as_ref(), OpenHow::READ, 0)?;
        let image = self.0.content(&file)?.durable_image();
        let mut out = vec![0; image.len() as usize];
        image.read(0, &mut out);
        Ok(out)
    }

    /// The names in a directory, sorted; a directory's end in `/`.
    pub fn list(&self, path: impl AsRef<Path>) -> io::Result<Vec<String>> {
        let entries = self.0.read_dir(path.as_ref())?;
        let name = |(name, stat): (String, super::names::Stat)| match stat.is_dir {
            true => name + "/",
            false => name,
        };
        Ok(entries.into_iter().map(name).collect())
    }

    /// Every file below a directory, sorted.
    pub fn files(&self, path: impl AsRef<Path>) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut next = vec![path.as_ref().to_path_buf()];
        while let Some(dir) = next.pop() {
            for (name, stat) in self.0.read_dir(&dir)? {
                match stat.is_dir {
                    true => next.push(dir.join(name)),
                    false => found.push(dir.join(name)),
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Whether a program of the node would find this path.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.0.lookup(path.as_ref()).is_ok()
    }

    /// Puts a file in place, durable, with its directories.
    pub fn write(&mut self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        self.0.plant(path.as_ref(), Some(bytes))
    }

    /// Flips the bits of `mask` in one stored byte, as a failing medium does.
    pub fn corrupt(&mut self, path: impl AsRef<Path>, pos: u64, mask: u8) -> io::Result<()> {
        let file = self.0.open(path.as_ref(), OpenHow::READ, 0)?;
        let content = self.0.content(&file)?;
        if pos >= content.current().len() {
            return Err(Errno::INVAL.into());
        }
        content.flip(pos, mask);
        Ok(())
    }

    /// Copies the tree into an existing directory of the real file system.
    pub fn export(&mut self, to: &Path) -> io::Result<()> {
        let mut next = vec![PathBuf::from("/")];
        while let Some(dir) = next.pop() {
            let real = |path: &Path| to.join(path.strip_prefix("/").unwrap_or(path));
            std::fs::create_dir_all(real(&dir))?;
            for (name, stat) in self.0.read_dir(&dir)? {
                let path = dir.join(name);
                match stat.is_dir {
                    true => next.push(path),
                    false => std::fs::write(real(&path), self.read(&path)?)?,
                }
            }
        }
        Ok(())
    }

    /// Copies a directory of the real file system here, durable, below `at`.
    pub fn import(&mut self, from: &Path, at: impl AsRef<Path>) -> io::Result<()> {
        let mut next = vec![(from.to_path_buf(), at.as_ref().to_path_buf())];
        while let Some((real, here)) = next.pop() {
            self.0.plant(&here, None)?;
            for entry in std::fs::read_dir(real)? {
                let entry = entry?;
                let here = here.join(entry.file_name());
                match entry.file_type()?.is_dir() {
                    true => next.push((entry.path(), here)),
                    false => self.0.plant(&here, Some(&std::fs::read(entry.path())?))?,
                }
            }
        }
        Ok(())
    }

    /// Bytes charged against the capacity.
    pub fn used_bytes(&mut self) -> u64 {
        let (capacity, available) = self.0.space();
        capacity - available
    }

    /// Sets the capacity, as a volume that is filled or grown by someone else.
    pub fn set_capacity_bytes(&mut self, bytes: u64) {
        self.0.model.capacity_bytes = bytes;
    }

    /// Whether anything written is not durable yet.
    pub fn is_dirty(&self) -> bool {
        self.0.inodes.iter().any(|(_, inode)| match &inode.body {
            Body::File(content) => content.is_dirty(),
            Body::Dir(dir) => !dir.pending().is_empty(),
        })
    }
}
