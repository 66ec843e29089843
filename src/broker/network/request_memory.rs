//! The memory that requests and their answers may take on one shard
//! (`ringlog.request.memory.bytes`).
//!
//! One rule for all: memory is claimed before it is taken. A frame that does not arrive at once
//! claims what its bytes take, as they come; its length alone claims nothing. A whole request
//! claims what it stands for, as its row of the table of APIs has it ([`MemoryNeed`]): a Produce
//! its size, any other request several times as much, because what is decoded from it and answered
//! to it is larger than itself. The claim lasts until the answer is sent, or until the handler says
//! that nothing much is held any more (a fetch that waits for news). If a handler knows that its
//! answer will be larger than that estimate, it claims the answer's size besides, out of an eighth
//! that is for such answers alone: what it decoded stays counted while it waits, and nobody waits
//! for others who wait for that. What an answer has turned out to take is counted in any case.
//!
//! Small requests have a quarter of the memory to themselves: up to about a megabyte, the largest
//! that a producer sends unless told otherwise, so that large ones never keep them waiting. Frames
//! that arrive in pieces from peers that are not known to move have an eighth for small ones and an
//! eighth for large ones, and nothing else: who only begins keeps nobody waiting who goes on. Who
//! waits, who goes first and what keeps frames from waiting for each other is decided in `lane`;
//! who has to give way because it holds memory and does not move, in `pace`.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ringlog_runtime::BufferPool;
use ringlog_runtime::sync::Notify;

use crate::network::lane::{ClaimId, Lane, Standing};

/// A request that stands for up to so many bytes is small: a megabyte of records and their topics'
/// names, or 64 KiB that bring none.
const SMALL_BYTES_MAX: usize = (1 << 20) + (64 << 10);

/// How much more than its own size a request stands for that brings no records: a topic's name of
/// a few bytes is answered with a hundred.
const ANSWER_FACTOR: usize = 16;

/// The memory that a request takes besides its bytes, about, while it is worked on.
const REQUEST_BYTES: usize = 1 << 10;

/// Answers up to this size (in bytes) are not counted: a connection has hardly more than a hundred.
pub(crate) const ANSWER_BYTES_UNCOUNTED: usize = 256;

/// The largest request (in bytes) that brings no records: the names of 60,000 topics, or a full
/// fetch of as many partitions.
pub(crate) const CONTROL_BYTES_MAX: usize = 2 << 20;

/// The memory that requests and answers may take on one shard.
pub(crate) struct RequestMemory {
    small: Share,
    large: Share,
    /// Of peers that are not known to move, while they arrive.
    small_arriving: Share,
    large_arriving: Share,
    /// For answers that are larger than their requests stand for.
    small_answers: Share,
    large_answers: Share,
    /// Given when somebody begins to wait.
    shortage: Rc<Notify>,
}

/// One lane, with those who wait for it.
#[derive(Clone)]
struct Share {
    lane: Rc<RefCell<Lane<Rc<Waiting>>>>,
    shortage: Rc<Notify>,
}

struct Waiting {
    served: Cell<bool>,
    waker: RefCell<Waker>,
}

impl Share {
    fn new(bytes: usize, shortage: &Rc<Notify>) -> Share {
        Share { lane: Rc::new(RefCell::new(Lane::new(bytes))), shortage: shortage.clone() }
    }

    fn bytes_max(&self) -> usize {
        self.lane.borrow().bytes_max()
    }

    fn open(&self, need: usize) -> Claim {
        let id = self.lane.borrow_mut().open(need);
        Claim { share: self.clone(), id }
    }

    /// Wakes those who need not wait any longer.
    fn serve(&self) {
        if !self.lane.borrow().is_waited_for() {
            return;
        }
        loop {
            // Waking may run foreign code, so nothing is borrowed meanwhile.
            let Some(served) = self.lane.borrow_mut().next_served() else { return };
            served.served.set(true);
            served.waker.borrow().wake_by_ref();
        }
    }
}

/// The memory that a request claims before it is taken up: a column of the table of APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryNeed {
    /// The request brings records, and claims their size.
    Records,
    /// The request brings none, and claims so many times its size.
    Times(usize),
}

impl MemoryNeed {
    /// Of a request whose answer grows with it.
    pub(crate) const CONTROL: MemoryNeed = MemoryNeed::Times(ANSWER_FACTOR);

    pub(crate) fn brings_records(self) -> bool {
        self == MemoryNeed::Records
    }

    /// The memory that a frame of this size stands for, all in all.
    fn bytes(self, frame_bytes: usize) -> usize {
        match self {
            MemoryNeed::Records => BufferPool::block_bytes(frame_bytes),
            MemoryNeed::Times(factor) => frame_bytes.saturating_mul(factor) + REQUEST_BYTES,
        }
    }
}

impl RequestMemory {
    pub(crate) fn new(bytes: usize) -> RequestMemory {
        let shortage = Rc::<Notify>::default();
        let sixteenths = |count: usize| Share::new(bytes / 16 * count, &shortage);
        RequestMemory {
            small: sixteenths(4),
            large: sixteenths(6),
            small_arriving: sixteenths(2),
            large_arriving: sixteenths(2),
            small_answers: sixteenths(1),
            large_answers: sixteenths(1),
            shortage,
        }
    }

    fn share(&self, need: usize) -> &Share {
        match need <= SMALL_BYTES_MAX {
            true => &self.small,
            false => &self.large,
        }
    }

    /// The claim of a frame whose length is known and whose bytes are to come. It holds nothing
    /// until it grows.
    pub(crate) fn arriving(
        &self,
        need: MemoryNeed,
        frame_bytes: usize,
        standing: Standing,
    ) -> Claim {
        let need = need.bytes(frame_bytes);
        let share = match (standing, need <= SMALL_BYTES_MAX) {
            (Standing::Other, true) => &self.small_arriving,
            (Standing::Other, false) if need <= self.large_arriving.bytes_max() => {
                &self.large_arriving
            }
            _ => self.share(need),
        };
        share.open(need)
    }

    fn shares(&self) -> [&Share; 6] {
        [
            &self.small,
            &self.large,
            &self.small_arriving,
            &self.large_arriving,
            &self.small_answers,
            &self.large_answers,
        ]
    }

    /// Waits for the memory of a whole request.
    pub(crate) async fn claim(
        &self,
        need: MemoryNeed,
        frame_bytes: usize,
        standing: Standing,
    ) -> Claim {
        let bytes = match need {
            // The frame was copied to memory of its own size.
            MemoryNeed::Records => frame_bytes + REQUEST_BYTES,
            MemoryNeed::Times(_) => need.bytes(frame_bytes),
        };
        self.claim_bytes(bytes, standing).await
    }

    /// Waits for the memory of an answer that is larger than its request stands for.
    pub(crate) async fn claim_answer(&self, bytes: usize, standing: Standing) -> Claim {
        let share = match bytes <= SMALL_BYTES_MAX {
            true => &self.small_answers,
            false => &self.large_answers,
        };
        let claim = share.open(bytes);
        claim.grow(bytes, standing).await;
        claim
    }

    async fn claim_bytes(&self, bytes: usize, standing: Standing) -> Claim {
        let claim = self.share(bytes).open(bytes);
        claim.grow(bytes, standing).await;
        claim
    }

    /// Counts memory that is taken already.
    pub(crate) fn force(&self, bytes: usize) -> Claim {
        let claim = self.share(bytes).open(bytes);
        claim.force(bytes);
        claim
    }

    /// Whether a request waits for memory that others hold.
    pub(crate) fn is_short(&self) -> bool {
        self.shares().iter().any(|share| share.lane.borrow().is_waited_for())
    }

    /// Waits until somebody has to wait.
    pub(crate) async fn shortage(&self) {
        self.shortage.notified().await;
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> [usize; 6] {
        self.shares().map(|share| share.lane.borrow().held())
    }
}

/// A claim on a shard's memory. Dropping it gives the memory back.
pub(crate) struct Claim {
    share: Share,
    id: ClaimId,
}

impl Claim {
    /// The bytes that the claim holds. One that needs more than there is in all holds all of it.
    pub(crate) fn bytes(&self) -> usize {
        self.share.lane.borrow().bytes(self.id)
    }

    /// Waits until it may hold `to` bytes; what it holds by then it keeps.
    pub(crate) fn grow(&self, to: usize, standing: Standing) -> Grow<'_> {
        Grow { claim: self, to, standing, waiting: None }
    }

    /// Waits until it holds all that its request stands for.
    pub(crate) async fn grow_to_need(
        &self,
        need: MemoryNeed,
        frame_bytes: usize,
        standing: Standing,
    ) {
        self.grow(need.bytes(frame_bytes), standing).await;
        self.share.lane.borrow_mut().complete(self.id);
        self.share.serve();
    }

    /// Holds this much, whether there is room or not: more or less than before.
    pub(crate) fn force(&self, bytes: usize) {
        self.share.lane.borrow_mut().force(self.id, bytes);
        self.share.serve();
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Claim({} bytes)", self.bytes())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.share.lane.borrow_mut().close(self.id);
        self.share.serve();
    }
}

/// Waits until a claim may hold more.
pub(crate) struct Grow<'c> {
    claim: &'c Claim,
    to: usize,
    standing: Standing,
    waiting: Option<Rc<Waiting>>,
}

impl Future for Grow<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Claim { share, id } = self.claim;
        if let Some(waiting) = &self.waiting {
            if waiting.served.get() {
                self.waiting = None;
                return Poll::Ready(());
            }
            waiting.waker.borrow_mut().clone_from(cx.waker());
            return Poll::Pending;
        }
        if share.lane.borrow_mut().grow_now(*id, self.to) {
            return Poll::Ready(());
        }
        let waiting =
            Rc::new(Waiting { served: Cell::new(false), waker: cx.waker().clone().into() });
        share.lane.borrow_mut().wait(*id, self.to, self.standing, waiting.clone());
        // Those before it may only be waiting for what it does not need.
        share.serve();
        if waiting.served.get() {
            return Poll::Ready(());
        }
        share.shortage.notify_one();
        self.waiting = Some(waiting);
        Poll::Pending
    }
}

impl Drop for Grow<'_> {
    fn drop(&mut self) {
        if self.waiting.take_if(|waiting| !waiting.served.get()).is_some() {
            self.claim.share.lane.borrow_mut().give_up(self.claim.id);
            self.claim.share.serve();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::network::request::Held;

    const PRODUCE: MemoryNeed = MemoryNeed::Records;
    const METADATA: MemoryNeed = MemoryNeed::CONTROL;
    const OTHER: Standing = Standing::Other;

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn large_requests_do_not_keep_small_ones_waiting() {
        let memory = RequestMemory::new(64 << 20);
        let all = memory.arriving(PRODUCE, 100 << 20, OTHER);
        now(all.grow(100 << 20, OTHER)).expect("all of the large share");
        assert!(now(memory.claim(PRODUCE, 2 << 20, OTHER)).is_none());
        let claim = || now(memory.claim(PRODUCE, 1 << 20, OTHER));
        let small: Vec<Claim> = (0..15).map(|_| claim().expect("a share of their own")).collect();
        assert!(claim().is_none() && !memory.is_short(), "nobody waits any more");
        drop((all, small));
        assert_eq!(memory.held(), [0; 6]);
        assert!(now(memory.claim(PRODUCE, 2 << 20, OTHER)).is_some());
    }

    #[test]
    fn who_only_begins_keeps_nobody_waiting_who_goes_on() {
        let memory = RequestMemory::new(64 << 20);
        for (bytes, unknown_max) in [(1 << 20, 8), (2 << 20, 4)] {
            let begin = |standing| {
                let claim = memory.arriving(PRODUCE, bytes, standing);
                now(claim.grow(bytes, standing)).map(|()| claim)
            };
            let unknown: Vec<Claim> = std::iter::from_fn(|| begin(OTHER)).take(100).collect();
            assert_eq!(unknown.len(), unknown_max);
            assert!(begin(Standing::Known).is_some());
            assert!(now(memory.claim(PRODUCE, bytes, OTHER)).is_some(), "it is here whole");
        }
    }

    /// A frame of 90 MB whose sender drips holds what it has sent.
    #[test]
    fn what_was_announced_is_not_held() {
        let memory = RequestMemory::new(192 << 20);
        let slow = [(); 2].map(|()| memory.arriving(PRODUCE, 90 << 20, OTHER));
        now(slow[0].grow(8 << 20, OTHER)).expect("free");
        assert!(now(slow[1].grow(8 << 20, OTHER)).is_none(), "both could never be finished");
        assert_eq!(memory.held(), [0, 8 << 20, 0, 0, 0, 0]);
        let other = now(memory.claim(PRODUCE, 20 << 20, OTHER));
        assert!(other.is_some_and(|claim| claim.bytes() > 20 << 20));
    }

    #[test]
    fn an_answer_may_claim_more_than_its_request() {
        let memory = RequestMemory::new(64 << 20);
        let claim = now(memory.claim(METADATA, 100, OTHER)).expect("free");
        let held = Held::new(claim, Rc::default());
        for (bytes, expected) in [
            (1000, [2624, 0, 0, 0, 0, 0]),
            (1 << 20, [2624, 0, 0, 0, 1 << 20, 0]),
            (3 << 20, [2624, 0, 0, 0, 0, 3 << 20]),
            (1 << 40, [2624, 0, 0, 0, 0, 4 << 20]),
        ] {
            now(held.claim_answer(&memory, bytes)).expect("free");
            assert_eq!(memory.held(), expected, "{bytes}");
        }
        held.count_answer(9 << 20);
        let answer = held.into_claim_of_answer(&memory);
        assert_eq!(memory.held(), [0, 0, 0, 0, 0, 9 << 20]);
        drop(answer);
        assert_eq!(memory.held(), [0; 6]);
    }

    /// What was decoded from requests piled up while they waited for the memory of their answers:
    /// they held nothing by then.
    #[test]
    fn who_waits_for_its_answers_memory_holds_its_own() {
        let memory = RequestMemory::new(64 << 20);
        let asking: Vec<Held> = std::iter::from_fn(|| now(memory.claim(METADATA, 1 << 20, OTHER)))
            .take(100)
            .map(|claim| Held::new(claim, Rc::default()))
            .collect();
        assert_eq!(asking.len(), 1, "each stands for 16 MiB, of 24");
        let other = Held::new(memory.force(16 << 20), Rc::default());
        now(asking[0].claim_answer(&memory, 40 << 20)).expect("free");
        let mut waits = pin!(other.claim_answer(&memory, 40 << 20));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waits.as_mut().poll(&mut context).is_pending() && memory.is_short());
        assert!(memory.held()[1] >= 32 << 20, "both hold what they stand for");
        drop(asking);
        assert!(waits.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn what_brings_no_records_stands_for_more() {
        let memory = RequestMemory::new(10 << 20);
        let one = now(memory.claim(METADATA, 64 << 10, OTHER)).expect("free");
        let two = now(memory.claim(METADATA, 64 << 10, OTHER)).expect("free");
        assert_eq!([one.bytes(), two.bytes()], [(1 << 20) + 1024; 2]);
        let mut third = pin!(memory.claim(METADATA, 64 << 10, OTHER));
        let mut context = Context::from_waker(Waker::noop());
        assert!(third.as_mut().poll(&mut context).is_pending() && memory.is_short());
        drop(one);
        assert!(third.as_mut().poll(&mut context).is_ready() && !memory.is_short());
    }

    #[test]
    fn an_answer_is_counted_as_it_turned_out() {
        let memory = RequestMemory::new(8 << 20);
        let claim = now(memory.claim(METADATA, 1000, OTHER)).expect("free");
        claim.force(300);
        assert_eq!(memory.held(), [300, 0, 0, 0, 0, 0]);
        claim.force(20 << 20);
        let other = memory.force(5 << 20);
        assert_eq!(memory.held(), [20 << 20, 5 << 20, 0, 0, 0, 0]);
        assert!(now(memory.claim(PRODUCE, 100, OTHER)).is_none());
        drop((claim, other));
        assert_eq!(memory.held(), [0; 6]);
    }
}
