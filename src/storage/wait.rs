//! Waiting for an offset to be reached, or for a condition to become true.
//!
//! Local to a shard. A future registers its waker each time it is polled without success; whoever
//! changes the state wakes those whom the change concerns, once.
//!
//! Waiting for an offset takes a [`Registration`], which has one place however often its future is
//! polled and gives it up when the future is dropped. The places are ordered by offset, so that
//! registering and waking cost a few comparisons each, however many wait: one connection may have
//! a hundred batches in work, and a log as many thousands.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::task::{Context, Waker};

use ringlog_types::Offset;
use slab::Slab;

/// Tasks that wait until an offset is reached.
#[derive(Default)]
pub(crate) struct OffsetWaiters {
    waiting: RefCell<Waiting>,
}

#[derive(Default)]
struct Waiting {
    places: Slab<Place>,
    /// The place with the lowest offset on top. An entry whose place was given up stays until its
    /// offset is reached, or until most entries are such.
    order: BinaryHeap<Entry>,
    /// The number of the next entry.
    next: u64,
}

struct Place {
    /// The entry that it belongs to; a place is used again.
    number: u64,
    waker: Waker,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    offset: Offset,
    number: u64,
    place: usize,
}

impl Ord for Entry {
    /// The lowest offset is the greatest, because a heap gives out the greatest first.
    fn cmp(&self, other: &Entry) -> Ordering {
        #[cfg(test)]
        tests::COMPARISONS.set(tests::COMPARISONS.get() + 1);
        (other.offset, other.number).cmp(&(self.offset, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl OffsetWaiters {
    /// A place among the waiters for one future. It is taken when it first registers.
    pub(crate) fn registration(&self) -> Registration<'_> {
        Registration { waiters: self, taken: None }
    }

    /// Wakes everyone who waits for `offset` or less.
    pub(crate) fn wake_up_to(&self, offset: Offset) {
        // Waking may run foreign code, so nothing is borrowed meanwhile.
        while let Some(waker) = self.next_up_to(offset) {
            waker.wake();
        }
    }

    fn next_up_to(&self, offset: Offset) -> Option<Waker> {
        let mut waiting = self.waiting.borrow_mut();
        while waiting.order.peek()?.offset <= offset {
            let entry = waiting.order.pop()?;
            if let Some(waker) = waiting.give_up(entry) {
                return Some(waker);
            }
        }
        None
    }

    /// Wakes everyone.
    pub(crate) fn wake_all(&self) {
        self.wake_up_to(Offset::MAX);
    }
}

impl Waiting {
    fn has(&self, entry: Entry) -> bool {
        self.places.get(entry.place).is_some_and(|place| place.number == entry.number)
    }

    /// Frees the entry's place, if it has it still.
    fn give_up(&mut self, entry: Entry) -> Option<Waker> {
        self.has(entry).then(|| self.places.remove(entry.place).waker)
    }

    fn take(&mut self, offset: Offset, waker: Waker) -> Entry {
        let number = self.next;
        self.next += 1;
        let entry = Entry { offset, number, place: self.places.insert(Place { number, waker }) };
        self.order.push(entry);
        entry
    }

    /// Drops the entries of places that were given up, when they are most of all.
    fn sweep(&mut self) {
        if self.order.len() / 2 > self.places.len() + 16 {
            let Waiting { places, order, .. } = self;
            order.retain(|entry| {
                places.get(entry.place).is_some_and(|place| place.number == entry.number)
            });
        }
    }
}

/// The place of one future that waits for an offset. Dropping it gives the place up.
pub(crate) struct Registration<'w> {
    waiters: &'w OffsetWaiters,
    taken: Option<Entry>,
}

impl Registration<'_> {
    /// Wakes the task of `context` when `offset` is reached.
    pub(crate) fn register(&mut self, offset: Offset, context: &Context<'_>) {
        let waiting = &mut *self.waiters.waiting.borrow_mut();
        match self.taken {
            Some(entry) if entry.offset == offset && waiting.has(entry) => {
                waiting.places[entry.place].waker.clone_from(context.waker());
            }
            _ => {
                if let Some(entry) = self.taken {
                    waiting.give_up(entry);
                }
                self.taken = Some(waiting.take(offset, context.waker().clone()));
            }
        }
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.taken {
            let waiting = &mut *self.waiters.waiting.borrow_mut();
            if waiting.give_up(entry).is_some() {
                waiting.sweep();
            }
        }
    }
}

/// Tasks that wait for anything to change.
#[derive(Default)]
pub(crate) struct Waiters(OffsetWaiters);

impl Waiters {
    /// A place among the waiters for one future.
    pub(crate) fn registration(&self) -> ChangeRegistration<'_> {
        ChangeRegistration(self.0.registration())
    }

    /// Wakes everyone.
    pub(crate) fn wake_all(&self) {
        self.0.wake_all();
    }
}

/// The place of one future that waits for a change. Dropping it gives the place up.
pub(crate) struct ChangeRegistration<'w>(Registration<'w>);

impl ChangeRegistration<'_> {
    /// Wakes the task of `context` at the next change.
    pub(crate) fn register(&mut self, context: &Context<'_>) {
        self.0.register(0, context);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};

    use super::{OffsetWaiters, Registration};

    thread_local! {
        pub(super) static COMPARISONS: Cell<u64> = const { Cell::new(0) };
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn waker() -> (Arc<Woken>, Waker) {
        let woken = Arc::<Woken>::default();
        (woken.clone(), woken.into())
    }

    fn times(woken: &Arc<Woken>) -> usize {
        woken.0.load(Ordering::Relaxed)
    }

    fn registered<'w>(waiters: &'w OffsetWaiters, offset: i64, waker: &Waker) -> Registration<'w> {
        let mut registration = waiters.registration();
        registration.register(offset, &Context::from_waker(waker));
        registration
    }

    #[test]
    fn who_waits_for_what_is_reached_is_woken_once() {
        let waiters = OffsetWaiters::default();
        let [(first, one), (second, two), (third, three)] = [waker(), waker(), waker()];
        let _kept = [(7, &one), (3, &two), (9, &three)].map(|(o, w)| registered(&waiters, o, w));
        waiters.wake_up_to(2);
        assert_eq!([times(&first), times(&second), times(&third)], [0, 0, 0]);
        waiters.wake_up_to(7);
        waiters.wake_up_to(8);
        assert_eq!([times(&first), times(&second), times(&third)], [1, 1, 0]);
        waiters.wake_all();
        assert_eq!([times(&first), times(&second), times(&third)], [1, 1, 1]);
    }

    #[test]
    fn a_future_has_one_place_and_its_last_waker_counts() {
        let waiters = OffsetWaiters::default();
        let [(first, one), (second, two)] = [waker(), waker()];
        let mut registration = registered(&waiters, 5, &one);
        for _ in 0..1000 {
            registration.register(5, &Context::from_waker(&two));
        }
        assert_eq!(waiters.waiting.borrow().order.len(), 1);
        waiters.wake_up_to(5);
        assert_eq!([times(&first), times(&second)], [0, 1]);
        registration.register(6, &Context::from_waker(&one));
        registration.register(8, &Context::from_waker(&one));
        waiters.wake_up_to(7);
        assert_eq!(times(&first), 0);
        waiters.wake_up_to(8);
        assert_eq!(times(&first), 1);
    }

    #[test]
    fn who_gives_up_leaves_nothing_behind() {
        let waiters = OffsetWaiters::default();
        let (woken, waker) = waker();
        for offset in 0..10_000 {
            drop(registered(&waiters, 1_000_000 + offset, &waker));
        }
        assert!(waiters.waiting.borrow().places.is_empty());
        assert!(waiters.waiting.borrow().order.len() < 100);
        waiters.wake_all();
        assert_eq!(times(&woken), 0);
    }

    /// Looking through all who wait took 12 million comparisons for 5,000 of them.
    #[test]
    fn waiting_takes_few_comparisons_however_many_wait() {
        const WAITING: i64 = 5000;
        let waiters = OffsetWaiters::default();
        let (woken, waker) = waker();
        COMPARISONS.set(0);
        // From the last to the first is the worst order for this heap.
        let _waiting: Vec<_> =
            (0..WAITING).rev().map(|offset| registered(&waiters, offset, &waker)).collect();
        (0..WAITING).for_each(|offset| waiters.wake_up_to(offset));
        assert_eq!(times(&woken), WAITING as usize);
        assert!(COMPARISONS.get() < 40 * WAITING as u64, "{}", COMPARISONS.get());
    }
}
