//! What was used of each limit, for all threads of the node together.
//!
//! A table of fixed size without locks: a slot is the tag of whom it is for, and the bucket's one
//! number (see [`Rate`]). A tag is looked for in a few slots from the place that it hashes to; one
//! that is new takes the first of them that is free, or whose bucket is full again and therefore
//! says nothing. When all of them are in use, the tag shares the last of them with its owner: a
//! limit is then kept too strictly for two rather than for nobody, and memory stays what it is.
//!
//! Two threads that meet a new tag at once may take a slot each. Whoever comes next finds the
//! first of them; the other is forgotten when its bucket is full.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::rate::Rate;

/// In so many slots a tag is looked for.
const PROBES: usize = 16;

/// A bucket that was last used so long ago is full: no burst is longer.
const FULL_AFTER_NS: i64 = 3600 * 1_000_000_000;

#[derive(Default)]
struct Slot {
    /// 0 while it is free.
    tag: AtomicU64,
    paid_at_ns: AtomicI64,
}

/// The buckets of a node.
pub struct Buckets {
    slots: Box<[Slot]>,
    seed: u64,
}

impl Buckets {
    /// A table of `slots` buckets, 16 bytes each. `seed` is no secret of the clients: who knows it
    /// can choose a client id that shares another's bucket.
    ///
    /// # Panics
    /// If `slots` is no power of two, or below 16.
    pub fn new(slots: usize, seed: u64) -> Buckets {
        assert!(slots.is_power_of_two() && slots >= PROBES, "{slots} slots");
        Buckets { slots: (0..slots).map(|_| Slot::default()).collect(), seed }
    }

    /// The tag of whoever `who` stands for.
    pub fn tag(&self, who: impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.seed.hash(&mut hasher);
        who.hash(&mut hasher);
        hasher.finish().max(1)
    }

    /// Charges what was used to the bucket of `tag`; returns how long its owner has to wait.
    pub fn charge(&self, tag: u64, rate: &Rate, now_ns: i64, used: f64) -> Duration {
        let slot = self.slot(tag, now_ns);
        let mut before = slot.paid_at_ns.load(Ordering::Relaxed);
        loop {
            let charge = rate.charge(before, now_ns, used);
            let stored = slot.paid_at_ns.compare_exchange_weak(
                before,
                charge.paid_at_ns,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match stored {
                Ok(_) => return charge.throttle,
                Err(now_there) => before = now_there,
            }
        }
    }

    /// How long the owner of the bucket has to wait already, without using anything more.
    pub fn owed(&self, tag: u64, rate: &Rate, now_ns: i64) -> Duration {
        match self.probes(tag).find(|slot| slot.tag.load(Ordering::Relaxed) == tag) {
            Some(slot) => {
                rate.charge(slot.paid_at_ns.load(Ordering::Relaxed), now_ns, 0.0).throttle
            }
            None => Duration::ZERO,
        }
    }

    /// Gives back what was charged and came to nothing.
    pub fn refund(&self, tag: u64, rate: &Rate, now_ns: i64, used: f64) {
        let slot = self.slot(tag, now_ns);
        let update = |paid_at_ns| Some(rate.refund(paid_at_ns, used));
        let updated = slot.paid_at_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        updated.expect("the update is never refused");
    }

    fn probes(&self, tag: u64) -> impl Iterator<Item = &Slot> {
        let mask = self.slots.len() - 1;
        let first = tag as usize & mask;
        (0..PROBES).map(move |step| &self.slots[(first + step) & mask])
    }

    fn slot(&self, tag: u64, now_ns: i64) -> &Slot {
        if let Some(slot) = self.probes(tag).find(|slot| slot.tag.load(Ordering::Relaxed) == tag) {
            return slot;
        }
        for slot in self.probes(tag) {
            let owner = slot.tag.load(Ordering::Relaxed);
            let paid_at_ns = slot.paid_at_ns.load(Ordering::Relaxed);
            let is_full = paid_at_ns < now_ns.saturating_sub(FULL_AFTER_NS);
            if (owner == 0 || is_full)
                && slot
                    .tag
                    .compare_exchange(owner, tag, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            {
                return slot;
            }
        }
        self.probes(tag).last().expect("there are several")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn rate() -> Rate {
        Rate::new(10.0, Duration::from_secs(1))
    }

    #[test]
    fn each_has_a_bucket_of_its_own() {
        let buckets = Buckets::new(1024, 7);
        let now = 10 * SECOND;
        let (a, b) = (buckets.tag("a"), buckets.tag("b"));
        assert_eq!(buckets.charge(a, &rate(), now, 30.0), Duration::from_secs(2));
        assert_eq!(buckets.owed(a, &rate(), now), Duration::from_secs(2));
        assert_eq!(buckets.owed(b, &rate(), now), Duration::ZERO);
        assert_eq!(buckets.charge(b, &rate(), now, 10.0), Duration::ZERO);
        buckets.refund(a, &rate(), now, 20.0);
        assert_eq!(buckets.owed(a, &rate(), now), Duration::ZERO);
    }

    #[test]
    fn threads_share_a_bucket_and_lose_nothing() {
        let buckets = Arc::new(Buckets::new(64, 1));
        let tag = buckets.tag(("user", "client"));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let buckets = buckets.clone();
                std::thread::spawn(move || {
                    for _ in 0..1000 {
                        buckets.charge(tag, &Rate::new(1.0, Duration::ZERO), SECOND, 0.001);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let owed = buckets.owed(tag, &Rate::new(1.0, Duration::ZERO), SECOND);
        assert_eq!(owed.as_micros(), 4_000_000);
    }

    #[test]
    fn more_owners_than_slots_share_and_full_buckets_are_taken_over() {
        let buckets = Buckets::new(16, 3);
        let now = 10 * SECOND;
        let tags: Vec<u64> = (0..100).map(|owner| buckets.tag(owner)).collect();
        for tag in &tags {
            buckets.charge(*tag, &rate(), now, 1.0);
        }
        let owners = buckets.slots.iter().filter(|slot| slot.tag.load(Ordering::Relaxed) > 0);
        assert_eq!(owners.count(), 16);
        // Somebody shares; nobody goes unlimited.
        for tag in &tags {
            assert!(buckets.charge(*tag, &rate(), now, 30.0) > Duration::ZERO);
        }
        let later = now + 2 * FULL_AFTER_NS;
        let newcomer = buckets.tag("newcomer");
        assert_eq!(buckets.charge(newcomer, &rate(), later, 10.0), Duration::ZERO);
        assert!(buckets.probes(newcomer).any(|slot| slot.tag.load(Ordering::Relaxed) == newcomer));
    }
}
