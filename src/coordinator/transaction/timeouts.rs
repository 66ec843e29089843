//! Transactions that take too long, and ids that nobody uses.

use std::rc::Rc;

use super::{Effects, TimerKey, TransactionCoordinator, record};
use crate::outcome::Now;

/// Records of one decision at most, and the bytes of their ids: they are one batch. The rest
/// follows in the next, a moment later, also when this one cannot be written.
const RECORDS_MAX: usize = 1_000;
const RECORD_BYTES_MAX: usize = 256 << 10;
const NEXT_PART_MS: u64 = 100;

impl TransactionCoordinator {
    pub(super) fn begin_timers(&mut self, now: Now) {
        let timed_out_ms = self.settings.timed_out_check_interval_ms.max(1);
        let expired_ms = self.settings.expired_check_interval_ms.max(1);
        self.timers.set(TimerKey::TimedOut, now.monotonic_ms + timed_out_ms);
        self.timers.set(TimerKey::Expired, now.monotonic_ms + expired_ms);
    }

    pub(super) fn do_what_is_due(&mut self, now: Now) -> Option<Effects> {
        if let Some(id) = self.timed_out.pop_front() {
            return Some(self.abort_timed_out(&id, now));
        }
        match self.timers.pop_due(now.monotonic_ms)? {
            TimerKey::TimedOut => {
                let interval_ms = self.settings.timed_out_check_interval_ms.max(1);
                self.timers.set(TimerKey::TimedOut, now.monotonic_ms + interval_ms);
                let is_timed_out = |id: &&Rc<str>| {
                    self.newest(id).is_some_and(|known| known.is_timed_out(now.wall_ms))
                };
                self.timed_out = self.ongoing.iter().filter(is_timed_out).cloned().collect();
                Some(Effects::default())
            }
            TimerKey::Expired => Some(self.forget_expired(now)),
        }
    }

    /// Aborts a transaction in the name of its producer, which is fenced.
    fn abort_timed_out(&mut self, id: &str, now: Now) -> Effects {
        // It may have ended while others were aborted.
        match self.newest(id).filter(|known| known.is_timed_out(now.wall_ms)).cloned() {
            Some(known) => self.fence::<()>(id, &known, now).effects,
            None => Effects::default(),
        }
    }

    /// Forgets ids that nobody has used for `transactional.id.expiration.ms`, some at a time.
    fn forget_expired(&mut self, now: Now) -> Effects {
        let expiration_ms = self.settings.transactional_id_expiration_ms;
        let expired = self
            .transactions
            .newest()
            .iter()
            .filter(|(_, known)| known.is_expired(expiration_ms, now.wall_ms));
        let mut bytes = 0;
        let mut ids: Vec<&Rc<str>> = expired.map(|(id, _)| id).collect();
        ids.sort_unstable();
        let all = ids.len();
        let fits = |(at, id): &(usize, &Rc<str>)| {
            bytes += id.len();
            *at < RECORDS_MAX && (*at == 0 || bytes <= RECORD_BYTES_MAX)
        };
        let records = ids.into_iter().enumerate().take_while(fits);
        let records: Vec<_> = records.map(|(_, id)| record::tombstone(id)).collect();
        let next_ms = match records.len() < all {
            true => NEXT_PART_MS,
            false => self.settings.expired_check_interval_ms.max(1),
        };
        self.timers.set(TimerKey::Expired, now.monotonic_ms + next_ms);
        Effects { records, ..Effects::default() }
    }
}
