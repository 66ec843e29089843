//! The answers of one connection, in the order of its requests.
//!
//! Requests are worked on concurrently, but Kafka promises that responses leave in request
//! order. Every request takes a place in the queue when it arrives; its answer is put there when
//! it is ready, and the writer sends what is ready at the front. The queue is bounded: the
//! reader stops reading when [`REQUESTS_IN_FLIGHT_MAX`] places are taken, and takes nothing up but
//! more records before everything is answered and sent. An answer keeps the memory that its
//! request claimed until it is sent.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use ringlog_runtime::Piece;
use ringlog_runtime::sync::Notify;
use smallvec::SmallVec;

use crate::network::request_memory::Claim;

/// How many requests of one connection may be in work. Clients pipeline 1 to 100.
pub(crate) const REQUESTS_IN_FLIGHT_MAX: usize = 128;

/// The answer to one request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A response frame with its length prefix.
    Frame(ResponseFrame),
    /// No response is due (`acks=0`).
    Silent,
    /// The connection must be closed, after the responses before this one.
    Close(String),
}

/// A response, ready to be sent but for how long its client has to hold back.
#[derive(Debug)]
pub(crate) struct ResponseFrame {
    pieces: Vec<Piece>,
    /// Where among the bytes of all pieces the 4 bytes of `throttle_time_ms` stand.
    throttle_time_at: Option<usize>,
}

impl ResponseFrame {
    pub(crate) fn new(pieces: Vec<Piece>, throttle_time_at: Option<usize>) -> ResponseFrame {
        ResponseFrame { pieces, throttle_time_at }
    }

    /// Cuts the piece that has the field, because its bytes may be kept for others.
    fn set_throttle_time_ms(&mut self, throttle_time_ms: i32) {
        let Some(mut at) = self.throttle_time_at else { return };
        let holds_it = |piece: &Piece| {
            let is_here = at < piece.len();
            at -= if is_here { 0 } else { piece.len() };
            is_here
        };
        let index = self.pieces.iter().position(holds_it).expect("it was written");
        let Piece::Bytes(bytes) = &self.pieces[index] else { panic!("records in the place of it") };
        let field = Bytes::copy_from_slice(&throttle_time_ms.to_be_bytes());
        let parts = [bytes.slice(..at), field, bytes.slice(at + 4..)];
        let parts = parts.into_iter().filter(|part| !part.is_empty()).map(Piece::Bytes);
        self.pieces.splice(index..=index, parts);
    }
}

impl Answer {
    /// Bytes that will be sent.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Answer::Frame(frame) => frame.pieces.iter().map(Piece::len).sum(),
            Answer::Silent | Answer::Close(_) => 0,
        }
    }

    /// Says in the answer how long the client has to hold back, if its form has a place for that.
    pub(crate) fn set_throttle_time(&mut self, time: Duration) {
        if let Answer::Frame(frame) = self
            && !time.is_zero()
        {
            let ms = time.as_millis().try_into().unwrap_or(i32::MAX);
            frame.set_throttle_time_ms(ms);
        }
    }
}

/// A place in the queue, given back filled by [`AnswerQueue::fill`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(u64);

#[derive(Default)]
struct Places {
    /// The number of the place at the front.
    front: u64,
    waiting: VecDeque<Option<(Answer, Option<Claim>)>>,
    /// The answers that the writer took last and is still at.
    sending: Option<Sending>,
    /// How often it took something.
    sends: u64,
    closed: bool,
}

/// Answers on their way to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sending {
    /// Each send of a connection has its own.
    pub(crate) number: u64,
    /// Bytes in memory. Pieces of files hold none.
    pub(crate) bytes: usize,
}

/// The queue between the request handlers of a connection and its writer.
#[derive(Default)]
pub(crate) struct AnswerQueue {
    places: RefCell<Places>,
    ready: Notify,
    room: Notify,
}

/// Memory that answers hold until they are sent.
pub(crate) type Claims = SmallVec<[Claim; 2]>;

/// The next thing for the writer to do.
pub(crate) enum NextAnswers {
    /// Send these pieces: one or more whole responses. The claims are theirs.
    Send(Vec<Piece>, Claims),
    /// Everything asked was answered and nothing more will come.
    Finished,
    /// Hang up, for this reason, unless it is empty.
    Close(String),
}

impl AnswerQueue {
    /// Takes the next place. The caller has waited for [`AnswerQueue::wait_for_room`].
    pub(crate) fn take_place(&self) -> Place {
        let mut places = self.places.borrow_mut();
        assert!(places.waiting.len() < REQUESTS_IN_FLIGHT_MAX, "the queue is bounded");
        assert!(!places.closed, "the last request has been taken up");
        places.waiting.push_back(None);
        Place(places.front + places.waiting.len() as u64 - 1)
    }

    /// Puts the answer into its place, with the memory it holds until it is sent.
    pub(crate) fn fill(&self, place: Place, answer: Answer, claim: Option<Claim>) {
        let mut places = self.places.borrow_mut();
        let index = (place.0 - places.front) as usize;
        assert!(places.waiting[index].is_none(), "a request is answered once");
        places.waiting[index] = Some((answer, claim));
        if index == 0 {
            self.ready.notify_one();
        }
    }

    /// Says that no further request will come; the writer ends after the last answer.
    pub(crate) fn close(&self) {
        self.places.borrow_mut().closed = true;
        self.ready.notify_one();
    }

    /// Whether another request may be taken up.
    pub(crate) fn has_room(&self) -> bool {
        self.places.borrow().waiting.len() < REQUESTS_IN_FLIGHT_MAX
    }

    /// Waits until another request may be taken up.
    pub(crate) async fn wait_for_room(&self) {
        while !self.has_room() {
            self.room.notified().await;
        }
    }

    /// Waits until every request is answered and every answer sent.
    pub(crate) async fn wait_until_idle(&self) {
        while !self.is_idle() {
            self.room.notified().await;
        }
    }

    /// Whether every request is answered and every answer sent.
    pub(crate) fn is_idle(&self) -> bool {
        let places = self.places.borrow();
        places.waiting.is_empty() && places.sending.is_none()
    }

    /// Answers on their way to the peer.
    pub(crate) fn sending(&self) -> Option<Sending> {
        self.places.borrow().sending
    }

    /// Waits until the answer at the front is there, and takes it with those ready behind it.
    pub(crate) async fn next(&self) -> NextAnswers {
        self.places.borrow_mut().sending = None;
        loop {
            if let Some(next) = self.take_ready() {
                return next;
            }
            self.ready.notified().await;
        }
    }

    fn take_ready(&self) -> Option<NextAnswers> {
        let mut places = self.places.borrow_mut();
        let (mut pieces, mut claims) = (Vec::new(), Claims::new());
        while let Some(Some(_)) = places.waiting.front() {
            // A close waits for its turn until what is before it has been sent.
            if !pieces.is_empty() && matches!(places.waiting[0], Some((Answer::Close(_), _))) {
                break;
            }
            places.front += 1;
            let (answer, claim) = places.waiting.pop_front().flatten().expect("looked at above");
            claims.extend(claim);
            match answer {
                Answer::Frame(frame) if pieces.is_empty() => pieces = frame.pieces,
                Answer::Frame(frame) => pieces.extend(frame.pieces),
                Answer::Silent => {}
                Answer::Close(reason) => return Some(NextAnswers::Close(reason)),
            }
        }
        self.room.notify_one();
        if !pieces.is_empty() {
            let in_memory = pieces.iter().map(|piece| match piece {
                Piece::Bytes(bytes) => bytes.len(),
                Piece::File { .. } => 0,
            });
            let (number, bytes) = (places.sends, in_memory.sum());
            places.sending = Some(Sending { number, bytes });
            places.sends += 1;
            return Some(NextAnswers::Send(pieces, claims));
        }
        (places.closed && places.waiting.is_empty()).then_some(NextAnswers::Finished)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::network::request_memory::RequestMemory;

    fn poll_now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    fn frame(byte: u8) -> Answer {
        let pieces = vec![Piece::Bytes(Bytes::copy_from_slice(&[byte]))];
        Answer::Frame(ResponseFrame::new(pieces, None))
    }

    fn sent(queue: &AnswerQueue) -> Option<Vec<u8>> {
        match queue.take_ready()? {
            NextAnswers::Send(pieces, _) => Some(
                pieces
                    .iter()
                    .map(|piece| match piece {
                        Piece::Bytes(bytes) => bytes[0],
                        Piece::File { .. } => unreachable!("only bytes in this test"),
                    })
                    .collect(),
            ),
            NextAnswers::Finished => Some(vec![]),
            NextAnswers::Close(_) => Some(vec![0xff]),
        }
    }

    #[test]
    fn answers_leave_in_request_order() {
        let queue = AnswerQueue::default();
        let places: Vec<Place> = (0..4).map(|_| queue.take_place()).collect();
        queue.fill(places[1], frame(1), None);
        assert_eq!(sent(&queue), None, "the first is not answered yet");
        queue.fill(places[0], frame(0), None);
        assert_eq!(sent(&queue), Some(vec![0, 1]));
        queue.fill(places[2], Answer::Silent, None);
        assert_eq!(sent(&queue), None, "silence is not sent");
        queue.fill(places[3], frame(3), None);
        queue.close();
        assert_eq!(sent(&queue), Some(vec![3]));
        assert_eq!(sent(&queue), Some(vec![]), "finished");
    }

    #[test]
    fn a_close_comes_after_the_answers_before_it() {
        let queue = AnswerQueue::default();
        let (first, second) = (queue.take_place(), queue.take_place());
        queue.fill(second, Answer::Close("bad frame".into()), None);
        queue.fill(first, frame(7), None);
        assert_eq!(sent(&queue), Some(vec![7]));
        assert_eq!(sent(&queue), Some(vec![0xff]));
    }

    /// A kept body is not changed for those who get it later.
    #[test]
    fn a_throttle_time_is_set_in_this_answer_alone() {
        let kept = Bytes::from_static(b"abcdefgh");
        for (at, expected) in [
            (3, &[&b"xyz"[..], b"\0\x01\x86\xa0", b"efgh"][..]),
            (4, &[b"xyz", b"a", b"\0\x01\x86\xa0", b"fgh"]),
            (7, &[b"xyz", b"abcd", b"\0\x01\x86\xa0"]),
        ] {
            let pieces = vec![Piece::Bytes(Bytes::from_static(b"xyz")), Piece::Bytes(kept.clone())];
            let mut answer = Answer::Frame(ResponseFrame::new(pieces, Some(at)));
            answer.set_throttle_time(Duration::ZERO);
            assert!(matches!(&answer, Answer::Frame(frame) if frame.pieces.len() == 2));
            answer.set_throttle_time(Duration::from_secs(100));
            let Answer::Frame(frame) = answer else { unreachable!("it was one") };
            let bytes = frame.pieces.iter().map(|piece| match piece {
                Piece::Bytes(bytes) => &bytes[..],
                Piece::File { .. } => unreachable!("only bytes in this test"),
            });
            assert_eq!(bytes.collect::<Vec<_>>(), expected);
        }
        assert_eq!(kept, "abcdefgh");
        let mut none = Answer::Silent;
        none.set_throttle_time(Duration::from_secs(1));
        assert!(matches!(none, Answer::Silent));
    }

    #[test]
    fn an_answer_holds_its_memory_until_it_is_sent() {
        let memory = RequestMemory::new(1 << 20);
        let held = || memory.held().iter().sum::<usize>();
        let queue = AnswerQueue::default();
        let place = queue.take_place();
        assert!(!queue.is_idle() && queue.sending().is_none());
        queue.fill(place, frame(1), Some(memory.force(10)));
        let next = poll_now(queue.next());
        assert!(matches!(&next, Some(NextAnswers::Send(_, claims)) if claims.len() == 1));
        assert!(!queue.is_idle() && held() == 10);
        assert_eq!(queue.sending(), Some(Sending { number: 0, bytes: 1 }));
        assert!(poll_now(queue.wait_until_idle()).is_none());
        drop(next);
        assert!(poll_now(queue.next()).is_none());
        assert!(poll_now(queue.wait_until_idle()).is_some());
        assert_eq!(held(), 0);
    }
}
