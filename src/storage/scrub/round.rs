//! What is due, the longest unchecked first.
//!
//! A round is a list, made of all logs at once and then worked off. It holds so many of the oldest;
//! those that do not fit come with the next round.

use std::cell::{Cell, RefCell};
use std::collections::{BinaryHeap, VecDeque};
use std::rc::{Rc, Weak};
use std::time::Duration;

use ringlog_runtime::Instant;
use ringlog_types::{Offset, TimestampMs};

use crate::log::Log;
use crate::scrub::WRITE_INTERVAL_MS;
use crate::segment::Stage;
use crate::shard::StorageShard;

/// How many segments a round has at most.
const SEGMENTS_MAX: usize = 1024;
/// How long there is no other round after the first, and after a late one; it doubles each time.
/// While a node starts, not all of its logs are there yet.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(64)];

/// See the head of this file.
#[derive(Default)]
pub(super) struct Round {
    due: RefCell<VecDeque<(Weak<Log>, Offset)>>,
    next_begin: Cell<Option<Instant>>,
    pause: Cell<Option<Duration>>,
}

impl Round {
    /// Whether all of it was worked off, and the next one may begin.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.due.borrow().is_empty() && self.next_begin.get().is_none_or(|next| next <= now)
    }

    /// The next segment, by its base offset.
    pub(super) fn next(&self) -> Option<(Rc<Log>, Offset)> {
        loop {
            let (log, base_offset) = self.due.borrow_mut().pop_front()?;
            if let Some(log) = log.upgrade() {
                return Some((log, base_offset));
            }
        }
    }

    /// Lists what is due. Returns for how long the segment that was not checked for longest was
    /// not, in milliseconds.
    pub(super) async fn begin(
        &self,
        shard: &StorageShard,
        logs: Vec<Rc<Log>>,
        interval_ms: i64,
    ) -> i64 {
        let runtime = shard.runtime();
        let now_ms = runtime.wall_clock_ms();
        let mut oldest = now_ms;
        let mut due: BinaryHeap<(TimestampMs, usize, Offset)> = BinaryHeap::new();
        for (place, log) in logs.iter().enumerate() {
            log.load_checks().await;
            let segments = log.segments.borrow().clone();
            for segment in segments.iter().filter(|s| s.stage.get() == Stage::Sealed) {
                let last_ms = log.last_check(segment).await;
                oldest = oldest.min(last_ms);
                let what = (segment.base_offset, segment.size.get());
                if log.checked.is_due(what, now_ms, interval_ms) {
                    due.push((last_ms, place, segment.base_offset));
                    if due.len() > SEGMENTS_MAX {
                        due.pop();
                    }
                }
            }
            log.write_down_checks(WRITE_INTERVAL_MS).await;
            runtime.yield_now().await;
        }
        let is_cut = due.len() == SEGMENTS_MAX;
        let sorted = due.into_sorted_vec();
        let listed = sorted.into_iter().map(|(_, place, base)| (Rc::downgrade(&logs[place]), base));
        self.due.borrow_mut().extend(listed);
        let pause = self.pause.get().map_or(PAUSES[0], |pause| (2 * pause).min(PAUSES[1]));
        self.pause.set(Some(pause));
        let wait = if is_cut { Duration::ZERO } else { pause };
        self.next_begin.set(Some(runtime.now() + wait));
        now_ms.saturating_sub(oldest)
    }
}
