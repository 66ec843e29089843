//! Whether a file system keeps files in the page cache in pieces larger than a page.
//!
//! Where it does, reading ahead fills them with few, large requests, and sending them costs a
//! reference for each; where it does not, every page of 4 KiB is allocated, charged and given back
//! on its own, which costs more than to copy it. The system does not say, so this goes by the
//! kernel's release and the kind of file system.

use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use rustix::fs::FsWord;

/// `EXT4_SUPER_MAGIC`.
const EXT4: FsWord = 0xef53;
/// `XFS_SUPER_MAGIC`.
const XFS: FsWord = 0x5846_5342;

/// From which release on, as major and minor, files of a file system have large folios.
const SINCE: [(FsWord, (u32, u32)); 2] = [(EXT4, (6, 16)), (XFS, (5, 18))];

/// Whether this file is kept in large folios.
pub(crate) fn are_large(file: BorrowedFd<'_>) -> bool {
    static RELEASE: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    let release =
        RELEASE.get_or_init(|| release(&rustix::system::uname().release().to_string_lossy()));
    let Ok(system) = rustix::fs::fstatfs(file) else { return false };
    release.is_some_and(|release| has_large(system.f_type, release))
}

fn has_large(file_system: FsWord, release: (u32, u32)) -> bool {
    SINCE.iter().any(|(known, since)| *known == file_system && release >= *since)
}

/// Major and minor of a kernel's release such as `6.18.44-1-amd64`.
fn release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{EXT4, XFS, has_large, release};

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(release("6.18.44-fc"), Some((6, 18)));
        assert_eq!(release("5.4-rc1"), Some((5, 4)));
        assert_eq!(release("unknown"), None);
        assert!(has_large(EXT4, (6, 16)) && has_large(EXT4, (7, 0)));
        assert!(!has_large(EXT4, (6, 9)), "nine is less than sixteen");
        assert!(has_large(XFS, (5, 18)) && !has_large(XFS, (5, 4)));
        assert!(!has_large(0x0102_1994, (7, 0)), "tmpfs");
    }
}
