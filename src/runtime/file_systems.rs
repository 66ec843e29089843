//! What is known of file systems by their kind.
//!
//! A durable write (`RWF_DSYNC`) is only as good as the file system that makes it: some take the
//! flag with a direct write and hand it on to somebody who ignores it. FUSE does (its daemon sees a
//! flag in a write and has FSYNC for what must be safe), and file systems of other machines may. So
//! the flag is trusted on those alone whose direct writes are known to end in a flush; on all
//! others, the unknown ones too, a flush of its own follows each write.

use std::borrow::Cow;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::FsWord;

/// A kind of file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// What it is called.
    pub name: Cow<'static, str>,
    /// Whether a durable write that has returned is on the disk, also past the page cache.
    pub honours_dsync: bool,
}

impl FileSystem {
    /// The one that an open file is on.
    ///
    /// # Errors
    /// As `fstatfs(2)`.
    pub fn of_file(file: impl AsFd) -> io::Result<FileSystem> {
        Ok(of(rustix::fs::fstatfs(file)?.f_type))
    }
}

/// By their number in `statfs(2)`; what they do with a durable direct write was read in Linux 6.18.
const KNOWN: [(u32, &str, bool); 16] = [
    (0xef53, "ext4", true),
    (0x5846_5342, "xfs", true),
    (0x9123_683e, "btrfs", true),
    (0xf2f5_2010, "f2fs", true),
    (0xca45_1a4e, "bcachefs", true),
    (0x2fc1_2fc1, "zfs", true),
    // It hands the flag on to the file system below, which is one of the others.
    (0x794c_7630, "overlayfs", true),
    // In memory: nothing survives, with a flush or without.
    (0x0102_1994, "tmpfs", true),
    (0x6573_5546, "FUSE", false),
    (0x6969, "NFS", false),
    (0xff53_4d42, "CIFS", false),
    (0xfe53_4d42, "SMB", false),
    (0x0102_1997, "9p", false),
    (0x786f_4256, "vboxsf", false),
    (0x00c3_6400, "Ceph", false),
    (0x5346_414f, "AFS", false),
];

/// What a number of `statfs(2)` stands for.
pub(crate) fn of(number: FsWord) -> FileSystem {
    let number = number as u32;
    let known = KNOWN.iter().find(|(known, ..)| *known == number);
    known.map_or_else(
        || FileSystem { name: format!("of kind {number:#x}").into(), honours_dsync: false },
        |&(_, name, honours_dsync)| FileSystem { name: name.into(), honours_dsync },
    )
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn what_is_not_known_is_not_trusted() {
        assert!(of(0xef53).honours_dsync && of(0x5846_5342).honours_dsync);
        assert!(!of(0x6573_5546).honours_dsync, "FUSE");
        let unknown = of(0x1234);
        assert_eq!((&*unknown.name, unknown.honours_dsync), ("of kind 0x1234", false));
    }
}
