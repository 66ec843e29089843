//! When each segment of a log was last checked from end to end, by the scrub.
//!
//! It is kept in a file beside the segments (`docs/storage-format.md`), which may only understate:
//!
//! * It is written now and then, after the fact. What it does not say is checked once more.
//! * An entry counts for a segment of the same base offset and size. Where a segment may get other
//!   bytes, as in a truncation, the file is removed before that.
//! * A file whose checksum is wrong says nothing.
//!
//! Pure, but for whose turn it is to write or remove the file.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use ringlog_record::crc32c;
use ringlog_runtime::sync::{Permit, Semaphore};
use ringlog_types::{Offset, TimestampMs};

/// The only version of the file.
const VERSION: &str = "0";
/// What the last line begins with.
const CHECKSUM: &str = "crc32c ";

/// What is known of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Check {
    bytes: u64,
    /// When it was checked; since when it is there, if it never was.
    at_ms: TimestampMs,
    was_checked: bool,
    /// It could not be read: not before this.
    not_before_ms: TimestampMs,
}

/// See the head of this file.
pub(crate) struct CheckedSegments {
    by_base: RefCell<BTreeMap<Offset, Check>>,
    is_loaded: Cell<bool>,
    /// There is more to say than the file does.
    is_news: Cell<bool>,
    written_ms: Cell<TimestampMs>,
    file_turn: Semaphore,
}

impl Default for CheckedSegments {
    fn default() -> CheckedSegments {
        CheckedSegments {
            by_base: RefCell::default(),
            is_loaded: Cell::new(false),
            is_news: Cell::new(false),
            written_ms: Cell::new(0),
            file_turn: Semaphore::new(1),
        }
    }
}

impl CheckedSegments {
    /// The right to write or remove the file, of which only one is given at a time.
    pub(crate) async fn file_turn(&self) -> Permit {
        self.file_turn.acquire(1).await
    }

    /// Whether the file was read.
    pub(crate) fn is_loaded(&self) -> bool {
        self.is_loaded.get()
    }

    /// Takes what the file says; nothing, if there is none. What is known already goes before.
    pub(crate) fn load(&self, file: &[u8]) {
        self.is_loaded.set(true);
        let mut by_base = self.by_base.borrow_mut();
        for (base_offset, check) in decode(file).unwrap_or_default() {
            by_base.entry(base_offset).or_insert(check);
        }
    }

    /// When a segment was checked, or since when it waits for that.
    pub(crate) fn last(&self, base_offset: Offset, bytes: u64) -> Option<TimestampMs> {
        self.get(base_offset, bytes).map(|check| check.at_ms)
    }

    /// Whether a segment is to be checked: it never was, or that is as long ago as `interval_ms`.
    pub(crate) fn is_due(
        &self,
        (base_offset, bytes): (Offset, u64),
        now_ms: TimestampMs,
        interval_ms: i64,
    ) -> bool {
        let Some(check) = self.get(base_offset, bytes) else { return true };
        let is_recent = check.was_checked && now_ms.saturating_sub(check.at_ms) < interval_ms;
        // A clock that was set back is no reason to wait.
        !(is_recent && check.at_ms <= now_ms) && check.not_before_ms <= now_ms
    }

    fn get(&self, base_offset: Offset, bytes: u64) -> Option<Check> {
        self.by_base.borrow().get(&base_offset).filter(|check| check.bytes == bytes).copied()
    }

    /// Notes that a segment is there and was not checked.
    pub(crate) fn note_unchecked(&self, base_offset: Offset, bytes: u64, since_ms: TimestampMs) {
        let check = Check { bytes, at_ms: since_ms, was_checked: false, not_before_ms: 0 };
        self.by_base.borrow_mut().insert(base_offset, check);
    }

    /// Notes that a segment was checked.
    pub(crate) fn note_checked(&self, base_offset: Offset, bytes: u64, at_ms: TimestampMs) {
        let check = Check { bytes, at_ms, was_checked: true, not_before_ms: 0 };
        self.by_base.borrow_mut().insert(base_offset, check);
        self.is_news.set(true);
    }

    /// Notes that a segment cannot be read, and is not to be tried before `not_before_ms`.
    pub(crate) fn postpone(&self, base_offset: Offset, not_before_ms: TimestampMs) {
        if let Some(check) = self.by_base.borrow_mut().get_mut(&base_offset) {
            check.not_before_ms = not_before_ms;
        }
    }

    /// Forgets segments that are out of the log.
    pub(crate) fn keep(&self, is_there: impl Fn(Offset) -> bool) {
        self.by_base.borrow_mut().retain(|base_offset, _| is_there(*base_offset));
    }

    /// Forgets everything: segments may get other bytes.
    pub(crate) fn forget_all(&self) {
        self.by_base.borrow_mut().clear();
        self.is_news.set(false);
    }

    /// Whether the file is to be written: there is news, and it was not written within
    /// `interval_ms`.
    pub(crate) fn is_write_due(&self, now_ms: TimestampMs, interval_ms: i64) -> bool {
        let since_ms = now_ms.saturating_sub(self.written_ms.get());
        self.is_news.get() && !(0..interval_ms).contains(&since_ms)
    }

    /// The text of the file, which is about to be written.
    pub(crate) fn take_news(&self, now_ms: TimestampMs) -> String {
        self.is_news.set(false);
        self.written_ms.set(now_ms);
        let by_base = self.by_base.borrow();
        let checked: Vec<_> = by_base.iter().filter(|(_, check)| check.was_checked).collect();
        let mut text = format!("{VERSION}\n{}\n", checked.len());
        for (base_offset, check) in checked {
            text.push_str(&format!("{base_offset} {} {}\n", check.bytes, check.at_ms));
        }
        let checksum = crc32c(text.as_bytes());
        text.push_str(&format!("{CHECKSUM}{checksum:08x}\n"));
        text
    }
}

/// Reads the file. `None` if it is not whole.
fn decode(file: &[u8]) -> Option<Vec<(Offset, Check)>> {
    let text = std::str::from_utf8(file).ok()?;
    let (entries, checksum) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let checksum = u32::from_str_radix(checksum.strip_prefix(CHECKSUM)?, 16).ok()?;
    if crc32c(&text.as_bytes()[..entries.len() + 1]) != checksum {
        return None;
    }
    let mut lines = entries.lines();
    if lines.next()? != VERSION {
        return None;
    }
    let count: usize = lines.next()?.parse().ok()?;
    let entry = |line: &str| {
        let mut words = line.split(' ');
        let base_offset = words.next()?.parse().ok()?;
        let bytes = words.next()?.parse().ok()?;
        let at_ms = words.next()?.parse().ok()?;
        Some((base_offset, Check { bytes, at_ms, was_checked: true, not_before_ms: 0 }))
    };
    let entries: Vec<_> = lines.map(entry).collect::<Option<_>>()?;
    (entries.len() == count).then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;
    const NOW_MS: TimestampMs = 1_700_000_000_000;

    #[test]
    fn a_segment_is_due_when_it_was_not_checked_for_long() {
        let checked = CheckedSegments::default();
        let is_due = |base, bytes, now_ms| checked.is_due((base, bytes), now_ms, DAY_MS);
        assert!(is_due(0, 100, NOW_MS), "nothing is known of it");
        checked.note_unchecked(0, 100, NOW_MS - 5);
        assert!(is_due(0, 100, NOW_MS));
        assert_eq!(checked.last(0, 100), Some(NOW_MS - 5));
        checked.note_checked(0, 100, NOW_MS);
        assert!(!is_due(0, 100, NOW_MS + DAY_MS - 1) && is_due(0, 100, NOW_MS + DAY_MS));
        assert!(is_due(0, 101, NOW_MS), "of another size, it is another");
        assert!(is_due(0, 100, NOW_MS - 1), "the clock was set back");
        checked.note_unchecked(7, 50, NOW_MS);
        checked.postpone(7, NOW_MS + 10);
        assert!(!is_due(7, 50, NOW_MS + 9) && is_due(7, 50, NOW_MS + 10));
        checked.keep(|base| base != 0);
        assert_eq!(checked.last(0, 100), None);
    }

    /// What it says too little costs a check; what it said too much would hide damage.
    #[test]
    fn a_file_with_a_changed_byte_says_nothing() {
        let checked = CheckedSegments::default();
        checked.note_checked(0, 1 << 30, NOW_MS);
        checked.note_checked(99, 1 << 20, NOW_MS + 1);
        checked.note_unchecked(500, 10, NOW_MS);
        assert!(checked.is_write_due(NOW_MS, 60_000));
        let text = checked.take_news(NOW_MS);
        assert!(!checked.is_write_due(NOW_MS + DAY_MS, 60_000), "there is no news");
        checked.note_checked(99, 1 << 20, NOW_MS + 2);
        assert!(!checked.is_write_due(NOW_MS + 59_999, 60_000));
        assert!(checked.is_write_due(NOW_MS + 60_000, 60_000));
        let loaded = CheckedSegments::default();
        loaded.load(text.as_bytes());
        assert_eq!(loaded.last(0, 1 << 30), Some(NOW_MS));
        assert_eq!(loaded.last(99, 1 << 20), Some(NOW_MS + 1));
        assert_eq!(loaded.last(500, 10), None);
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut damaged = text.clone().into_bytes();
                damaged[at] ^= 1 << bit;
                let loaded = CheckedSegments::default();
                loaded.load(&damaged);
                // Hexadecimal digits may be of either case.
                if loaded.last(99, 1 << 20).is_some() {
                    assert!(damaged.eq_ignore_ascii_case(text.as_bytes()), "byte {at}, bit {bit}");
                }
            }
        }
        for end in 0..text.len() {
            assert_eq!(decode(&text.as_bytes()[..end]), None);
        }
    }
}
