//! Reading ahead of those who read an unsealed segment from front to back.
//!
//! Such a segment is read around the page cache, so nobody but us reads ahead of a consumer that
//! follows it from its beginning. A *window* is a stretch of a segment in memory that nobody has
//! asked for yet. The windows of a shard have one budget: what was read is given up first, what
//! nobody came for in time next, and when all of it is fresh, nothing more is read ahead and
//! readers read for themselves. So too many readers cost nothing but the gain.
//!
//! Windows hold bytes below the segment's written end, which never change; truncation, the only
//! exception, forgets the segment's windows.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use ringlog_runtime::Instant;
use ringlog_runtime::sync::Event;

use crate::segment::Segment;

/// Who has not come for a window by then has probably gone.
const STALE_AFTER: Duration = Duration::from_secs(1);

/// A stretch of a segment that is in memory, or on its way there.
pub(crate) struct Window {
    segment: Weak<Segment>,
    start: u64,
    end: u64,
    made: Instant,
    /// Somebody has read it to its end.
    used: Cell<bool>,
    /// Present when it was read without an error.
    bytes: RefCell<Option<Bytes>>,
    done: Event,
}

impl Window {
    /// Where the window ends.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The bytes from `position` on, up to `until` or the window's end; `None` if reading failed.
    pub(crate) async fn bytes(&self, position: u64, until: u64) -> Option<Bytes> {
        assert!(self.start <= position && position < self.end);
        self.done.wait().await;
        let bytes = self.bytes.borrow();
        let (from, to) = (position - self.start, until.min(self.end) - self.start);
        Some(bytes.as_ref()?.slice(from as usize..to as usize))
    }

    /// Notes that the window was read up to `until`. Returns whether this was the first time that
    /// it was read to its end.
    pub(crate) fn note_read(&self, until: u64) -> bool {
        until >= self.end && !self.used.replace(true)
    }

    fn is_of(&self, segment: &Rc<Segment>) -> bool {
        std::ptr::eq(self.segment.as_ptr(), Rc::as_ptr(segment))
    }

    fn len(&self) -> usize {
        (self.end - self.start) as usize
    }
}

/// The windows of one shard.
pub(crate) struct ReadAhead {
    bytes_max: usize,
    /// Oldest first.
    windows: RefCell<Vec<Rc<Window>>>,
}

impl ReadAhead {
    pub(crate) fn new(bytes_max: usize) -> ReadAhead {
        ReadAhead { bytes_max, windows: RefCell::default() }
    }

    /// The window that has the byte at `position`.
    pub(crate) fn find(&self, segment: &Rc<Segment>, position: u64) -> Option<Rc<Window>> {
        let windows = self.windows.borrow();
        let found = windows.iter().find(|window| {
            window.start <= position && position < window.end && window.is_of(segment)
        });
        found.cloned()
    }

    /// Where the first window behind `position` starts; the end of time if there is none.
    pub(crate) fn next_start(&self, segment: &Rc<Segment>, position: u64) -> u64 {
        let windows = self.windows.borrow();
        let starts = windows.iter().filter(|window| window.is_of(segment)).map(|w| w.start);
        starts.filter(|start| *start > position).min().unwrap_or(u64::MAX)
    }

    /// Makes a window that is to be filled, if there is room for it.
    pub(crate) fn reserve(
        &self,
        segment: &Rc<Segment>,
        start: u64,
        end: u64,
        now: Instant,
    ) -> Option<Rc<Window>> {
        assert!(start < end);
        let mut windows = self.windows.borrow_mut();
        let wanted = (end - start) as usize;
        let mut held: usize = windows.iter().map(|window| window.len()).sum();
        for only_used in [true, false] {
            windows.retain(|window| {
                let is_stale = now - window.made > STALE_AFTER;
                let goes = window.used.get() || (!only_used && is_stale);
                if held + wanted <= self.bytes_max || !goes {
                    return true;
                }
                held -= window.len();
                false
            });
        }
        if held + wanted > self.bytes_max {
            return None;
        }
        let window = Rc::new(Window {
            segment: Rc::downgrade(segment),
            start,
            end,
            made: now,
            used: Cell::new(false),
            bytes: RefCell::default(),
            done: Event::new(),
        });
        windows.push(Rc::clone(&window));
        Some(window)
    }

    /// Ends the wait of those who found the window already. Without bytes it is forgotten.
    pub(crate) fn fill(&self, window: &Rc<Window>, bytes: Option<Bytes>) {
        match bytes {
            Some(bytes) => {
                assert!(bytes.len() == window.len());
                window.bytes.replace(Some(bytes));
            }
            None => self.windows.borrow_mut().retain(|known| !Rc::ptr_eq(known, window)),
        }
        window.done.set();
    }

    /// Forgets what was read of a segment that is cut.
    pub(crate) fn forget(&self, segment: &Rc<Segment>) {
        self.windows.borrow_mut().retain(|window| !window.is_of(segment));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn segment() -> Rc<Segment> {
        Rc::new(Segment::open(&Rc::from(Path::new("t-0")), 0, 0))
    }

    #[test]
    fn windows_are_found_by_segment_and_position() {
        let (ahead, now) = (ReadAhead::new(100), Instant::from_nanos(0));
        let (one, other) = (segment(), segment());
        ahead.reserve(&one, 10, 20, now).expect("room");
        ahead.reserve(&one, 30, 40, now).expect("room");
        assert!(ahead.find(&one, 9).is_none() && ahead.find(&one, 20).is_none());
        assert_eq!(ahead.find(&one, 19).map(|window| window.end()), Some(20));
        assert!(ahead.find(&other, 15).is_none());
        let starts = [0, 10, 29, 30].map(|position| ahead.next_start(&one, position));
        assert_eq!(starts, [10, 30, 30, u64::MAX]);
        ahead.forget(&one);
        assert!(ahead.find(&one, 15).is_none());
    }

    #[test]
    fn room_is_made_by_what_was_read_and_by_what_nobody_came_for() {
        let (ahead, now) = (ReadAhead::new(20), Instant::from_nanos(0));
        let segment = segment();
        let first = ahead.reserve(&segment, 0, 10, now).expect("room");
        ahead.reserve(&segment, 10, 20, now).expect("room");
        assert!(ahead.reserve(&segment, 20, 30, now).is_none(), "all of it is fresh");
        first.used.set(true);
        let third = ahead.reserve(&segment, 20, 30, now).expect("room");
        assert!(ahead.find(&segment, 5).is_none() && ahead.find(&segment, 15).is_some());
        let later = now + 2 * STALE_AFTER;
        ahead.reserve(&segment, 30, 40, later).expect("room");
        assert!(ahead.find(&segment, 15).is_none() && ahead.find(&segment, 25).is_some());
        ahead.fill(&third, None);
        assert!(ahead.find(&segment, 25).is_none(), "what could not be read is not kept");
        assert!(ahead.reserve(&segment, 40, 61, later + 2 * STALE_AFTER).is_none(), "too large");
    }
}
