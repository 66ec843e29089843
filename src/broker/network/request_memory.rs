//! The memory that requests and their answers may take on one shard
//! (`ringlog.request.memory.bytes`).
//!
//! A large request claims memory before it is received, a small one before it is taken up, and the
//! claim lasts until its answer is sent, or until the handler says that nothing much is held any
//! more (a fetch that waits for news); an answer that is known to be larger than its request stands
//! for claims its own. A Produce claims its size. Any other request claims
//! [`ANSWER_FACTOR`] times as much, because what is decoded from it and answered to it is larger
//! than itself.
//!
//! Small requests have a quarter of the memory to themselves: large ones, or some whose senders
//! stall in the middle, do not keep them waiting. Whoever keeps others waiting and moves no byte
//! for [`STALL_TIME_MAX`] is hung up on (`frames` for what comes in, `connection` for what goes
//! out).

use std::time::Duration;

use ringlog_runtime::sync::{Permit, Semaphore};
use ringlog_wire::ApiKey;

/// A request up to this size (in bytes) is small. A large one claims its memory when so much of it
/// is here, if not earlier: who only says that it will be large gets none.
pub(crate) const SMALL_BYTES_MAX: usize = 64 << 10;

/// How much more than its own size a request stands for that brings no records: a topic's name of
/// a few bytes is answered with a hundred.
const ANSWER_FACTOR: usize = 16;

/// The largest request (in bytes) that brings no records: the names of 60,000 topics, or a full
/// fetch of as many partitions.
pub(crate) const CONTROL_BYTES_MAX: usize = 2 << 20;

/// How long nothing may move on a connection that keeps others from memory.
pub(crate) const STALL_TIME_MAX: Duration = Duration::from_secs(5);

/// A claim on a shard's memory. Dropping it gives the memory back.
pub(crate) type Claim = Permit;

/// What requests and answers may take on one shard.
pub(crate) struct RequestMemory {
    small: Share,
    large: Share,
}

struct Share {
    bytes: usize,
    free: Semaphore,
}

impl Share {
    fn new(bytes: usize) -> Share {
        Share { bytes, free: Semaphore::new(bytes) }
    }
}

/// Whether a request of this size claims its memory before it is received.
pub(crate) fn is_large(frame_bytes: usize) -> bool {
    frame_bytes > SMALL_BYTES_MAX
}

/// Whether requests with this key bring records.
pub(crate) fn brings_records(api_key: i16) -> bool {
    api_key == ApiKey::Produce as i16
}

impl RequestMemory {
    pub(crate) fn new(bytes: usize) -> RequestMemory {
        let small = bytes / 4;
        RequestMemory { small: Share::new(small), large: Share::new(bytes - small) }
    }

    /// Waits for the memory of a request. One that stands for more than there is in all waits for
    /// all of it.
    pub(crate) async fn claim(&self, api_key: i16, frame_bytes: usize) -> Claim {
        let share = if is_large(frame_bytes) { &self.large } else { &self.small };
        let factor = if brings_records(api_key) { 1 } else { ANSWER_FACTOR };
        let bytes = frame_bytes.saturating_mul(factor).min(share.bytes);
        share.free.acquire(bytes).await
    }

    /// Waits for the memory of an answer that is larger than its request stands for.
    pub(crate) async fn claim_answer(&self, bytes: usize) -> Claim {
        let share = match bytes > SMALL_BYTES_MAX * ANSWER_FACTOR {
            true => &self.large,
            false => &self.small,
        };
        share.free.acquire(bytes.min(share.bytes)).await
    }

    /// Whether a request waits for memory that others hold.
    pub(crate) fn is_short(&self) -> bool {
        self.small.free.is_waited_for() || self.large.free.is_waited_for()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::network::request::Held;

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn large_requests_do_not_keep_small_ones_waiting() {
        let memory = RequestMemory::new(64 << 20);
        let produce = ApiKey::Produce as i16;
        let all = now(memory.claim(produce, 100 << 20)).expect("all of the large share");
        assert!(now(memory.claim(produce, 1 << 20)).is_none());
        let small: Vec<_> = (0..16 << 4)
            .map(|_| now(memory.claim(produce, SMALL_BYTES_MAX)).expect("a share of their own"))
            .collect();
        assert!(now(memory.claim(produce, 1)).is_none());
        drop((all, small));
        assert!(!memory.is_short());
        assert!(now(memory.claim(produce, 1 << 20)).is_some());
    }

    #[test]
    fn an_answer_may_claim_more_than_its_request() {
        let memory = RequestMemory::new(64 << 20);
        let held = Held::new(now(memory.claim(ApiKey::DescribeConfigs as i16, 100)).expect("free"));
        for (bytes, small_free, large_free) in [
            (1000, (16 << 20) - 1600, 48 << 20),
            (1 << 20, 15 << 20, 48 << 20),
            (8 << 20, 16 << 20, 40 << 20),
            (1 << 40, 16 << 20, 0),
        ] {
            now(held.claim_answer(&memory, bytes)).expect("free");
            let free = (memory.small.free.available(), memory.large.free.available());
            assert_eq!(free, (small_free, large_free), "{bytes}");
        }
    }

    #[test]
    fn what_brings_no_records_stands_for_more() {
        let memory = RequestMemory::new(8 << 20);
        let metadata = ApiKey::Metadata as i16;
        let one = now(memory.claim(metadata, SMALL_BYTES_MAX)).expect("free");
        let two = now(memory.claim(metadata, SMALL_BYTES_MAX)).expect("free");
        assert_eq!((one.permits(), two.permits()), (1 << 20, 1 << 20));
        let mut third = pin!(memory.claim(metadata, 1));
        let mut context = Context::from_waker(Waker::noop());
        assert!(third.as_mut().poll(&mut context).is_pending() && memory.is_short());
        drop(one);
        assert!(third.as_mut().poll(&mut context).is_ready() && !memory.is_short());
    }
}
