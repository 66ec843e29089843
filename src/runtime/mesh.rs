//! Mailboxes between shards.
//!
//! Each ordered pair of shards has a bounded ring with one producer and one consumer, so messages
//! of a pair arrive in the order they were sent. A message that finds its ring full waits in a
//! queue of the sender; sending never blocks. Queues are flushed, and sleeping receivers woken,
//! once per turn of the sender's loop. What a sender may have waiting is bounded by its users:
//! every message here stands for a request that holds a permit of some budget.
//!
//! Other threads post into a channel per shard, which is looked at once per turn.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::time::Duration;

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use crate::executor::{Shared, TurnHook};
use crate::{Backend, Runtime, ShardId};

/// Messages a pair's ring holds.
const RING_MESSAGES: usize = 1024;

/// Messages taken from one ring before the next one has its turn.
const BATCH_MESSAGES: usize = 256;

/// Messages a task takes in one turn before the other tasks have theirs.
const TURN_MESSAGES: usize = 256;

/// How often and how long a shard that ends waits for another to take its last messages.
const CLOSE_WAITS_MAX: usize = 10_000;
const CLOSE_WAIT: Duration = Duration::from_millis(1);

/// One shard's mailbox, and its way to those of the others. Clones are the same mailbox.
pub struct Mesh<M>(Rc<Inner<M>>);

impl<M> Clone for Mesh<M> {
    fn clone(&self) -> Mesh<M> {
        Mesh(Rc::clone(&self.0))
    }
}

struct Inner<M> {
    rt: Runtime,
    outgoing: Vec<Option<Outgoing<M>>>,
    incoming: RefCell<Vec<Incoming<M>>>,
    posted: mpsc::Receiver<M>,
    /// What was received, or sent by this shard to itself, and not taken yet.
    received: RefCell<VecDeque<M>>,
    waiting: Cell<Option<Waker>>,
    /// Messages that may still be taken in this turn.
    allowance: Cell<usize>,
    poster: Poster<M>,
}

struct Outgoing<M> {
    ring: RefCell<Producer<M>>,
    overflow: RefCell<VecDeque<M>>,
    /// The ring is full and the sender wants to be woken when it no longer is.
    blocked: Arc<AtomicBool>,
    /// Something was put into the ring since the receiver was last looked after.
    unannounced: Cell<bool>,
    to: Arc<Shared>,
}

struct Incoming<M> {
    ring: Consumer<M>,
    blocked: Arc<AtomicBool>,
    from: Arc<Shared>,
}

/// The ends of the rings that one shard gets; made before the shards are.
pub(crate) struct MeshPart<M> {
    outgoing: Vec<Option<(Producer<M>, Arc<AtomicBool>)>>,
    incoming: Vec<Option<(Consumer<M>, Arc<AtomicBool>)>>,
    posted: mpsc::Receiver<M>,
}

/// All the ends for `shards` shards, and the channels for other threads.
pub(crate) fn parts<M>(shards: usize) -> (Vec<MeshPart<M>>, Vec<mpsc::Sender<M>>) {
    let mut senders = Vec::with_capacity(shards);
    let mut parts: Vec<MeshPart<M>> = Vec::with_capacity(shards);
    for _ in 0..shards {
        let (sender, posted) = mpsc::channel();
        senders.push(sender);
        let ends = || std::iter::repeat_with(|| None).take(shards);
        let (outgoing, incoming) = (ends().collect(), std::iter::repeat_with(|| None));
        let incoming = incoming.take(shards).collect();
        parts.push(MeshPart { outgoing, incoming, posted });
    }
    for from in 0..shards {
        for to in (0..shards).filter(|to| *to != from) {
            let (producer, consumer) = RingBuffer::new(RING_MESSAGES);
            let blocked = Arc::new(AtomicBool::new(false));
            parts[from].outgoing[to] = Some((producer, Arc::clone(&blocked)));
            parts[to].incoming[from] = Some((consumer, blocked));
        }
    }
    (parts, senders)
}

impl<M: 'static> Mesh<M> {
    /// The mailbox of `rt`'s shard, given what wakes each of the shards.
    pub(crate) fn new(rt: Runtime, part: MeshPart<M>, poster: Poster<M>) -> Mesh<M> {
        let shards = Arc::clone(&poster.0.shards);
        let outgoing = part.outgoing.into_iter().zip(shards.iter()).map(|(end, to)| {
            let (ring, blocked) = end?;
            Some(Outgoing {
                ring: RefCell::new(ring),
                overflow: RefCell::default(),
                blocked,
                unannounced: Cell::new(false),
                to: Arc::clone(to),
            })
        });
        let incoming = part.incoming.into_iter().zip(shards.iter()).filter_map(|(end, from)| {
            let (ring, blocked) = end?;
            Some(Incoming { ring, blocked, from: Arc::clone(from) })
        });
        let inner = Rc::new(Inner {
            outgoing: outgoing.collect(),
            incoming: RefCell::new(incoming.collect()),
            posted: part.posted,
            received: RefCell::default(),
            waiting: Cell::new(None),
            allowance: Cell::new(TURN_MESSAGES),
            poster,
            rt: rt.clone(),
        });
        rt.executor().add_hook(Rc::clone(&inner) as Rc<dyn TurnHook>);
        Mesh(inner)
    }

    /// This shard.
    pub fn shard(&self) -> ShardId {
        self.0.rt.shard()
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.0.outgoing.len()
    }

    /// How much of its time a shard lately worked (a tenth of a second, more or less), in percent;
    /// 0 in the simulation.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn busy_percent(&self, shard: ShardId) -> u8 {
        self.0.poster.0.shards[usize::from(shard.0)].busy_percent()
    }

    /// Sends a message. It never waits; messages to one shard arrive in the order they were sent.
    /// One to a shard that has ended is lost.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn send(&self, to: ShardId, message: M) {
        match &self.0.outgoing[usize::from(to.0)] {
            Some(outgoing) => outgoing.send(message),
            None => {
                self.0.received.borrow_mut().push_back(message);
                self.0.wake_receiver();
            }
        }
    }

    /// The next message. One task at a time may wait; giving up loses no message.
    pub async fn recv(&self) -> M {
        std::future::poll_fn(|cx| {
            let inner = &*self.0;
            let allowance = inner.allowance.get();
            if allowance == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            inner.allowance.set(allowance - 1);
            if inner.received.borrow().is_empty() {
                inner.take_incoming();
            }
            match inner.received.borrow_mut().pop_front() {
                Some(message) => Poll::Ready(message),
                None => {
                    inner.waiting.set(Some(cx.waker().clone()));
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// What other threads send with.
    pub fn poster(&self) -> Poster<M> {
        self.0.poster.clone()
    }
}

impl<M> Outgoing<M> {
    fn send(&self, message: M) {
        self.unannounced.set(true);
        let mut overflow = self.overflow.borrow_mut();
        if !overflow.is_empty() {
            overflow.push_back(message);
        } else if let Err(PushError::Full(message)) = self.ring.borrow_mut().push(message) {
            overflow.push_back(message);
        }
    }

    /// Moves what overflowed into the ring, as far as it goes.
    fn flush(&self) {
        let mut overflow = self.overflow.borrow_mut();
        while !overflow.is_empty() && !self.push_front(&mut overflow) {
            if self.blocked.swap(true, Ordering::SeqCst) {
                return;
            }
            // The receiver may have emptied the ring before it could see the flag.
            fence(Ordering::SeqCst);
        }
    }

    /// Whether everything was handed over, or nobody is there to take it.
    fn is_done(&self) -> bool {
        self.overflow.borrow().is_empty() || self.ring.borrow().is_abandoned()
    }

    /// Moves messages until the ring is full or none is left. True if none is.
    fn push_front(&self, overflow: &mut VecDeque<M>) -> bool {
        let mut ring = self.ring.borrow_mut();
        while let Some(message) = overflow.pop_front() {
            if let Err(PushError::Full(message)) = ring.push(message) {
                overflow.push_front(message);
                return false;
            }
            self.unannounced.set(true);
        }
        true
    }
}

impl<M> Inner<M> {
    /// Takes a batch from every ring. Only called when everything received was taken.
    fn take_incoming(&self) {
        let mut received = self.received.borrow_mut();
        for incoming in self.incoming.borrow_mut().iter_mut() {
            let n = incoming.ring.slots().min(BATCH_MESSAGES);
            if n == 0 {
                continue;
            }
            let batch = incoming.ring.read_chunk(n).expect("there are so many");
            received.extend(batch);
            fence(Ordering::SeqCst);
            if incoming.blocked.load(Ordering::Relaxed) {
                incoming.blocked.store(false, Ordering::SeqCst);
                self.wake_shard(&incoming.from);
            }
        }
    }

    fn wake_shard(&self, shard: &Shared) {
        if shard.take_asleep() {
            self.rt.driver().unpark_other(shard.unparker());
        }
    }

    fn wake_receiver(&self) -> bool {
        match self.waiting.take() {
            Some(waker) => {
                waker.wake();
                true
            }
            None => false,
        }
    }

    fn has_received(&self) -> bool {
        !self.received.borrow().is_empty()
            || self.incoming.borrow().iter().any(|incoming| !incoming.ring.is_empty())
    }
}

impl<M: 'static> TurnHook for Inner<M> {
    fn turn(&self) -> bool {
        self.allowance.set(TURN_MESSAGES);
        for outgoing in self.outgoing.iter().flatten() {
            outgoing.flush();
            if outgoing.unannounced.take() {
                self.wake_shard(&outgoing.to);
            }
        }
        while let Ok(message) = self.posted.try_recv() {
            self.received.borrow_mut().push_back(message);
        }
        self.has_received() && self.wake_receiver()
    }

    fn has_last_words(&self) -> bool {
        self.outgoing.iter().flatten().any(|outgoing| !outgoing.is_done())
    }

    fn close(&self) {
        // Whoever waits for room here sees that there will be none.
        self.incoming.borrow_mut().clear();
        self.received.take();
        let patience = match self.rt.backend() {
            Backend::Simulated => 0,
            Backend::Uring | Backend::Fallback => CLOSE_WAITS_MAX,
        };
        for outgoing in self.outgoing.iter().flatten() {
            for _ in 0..patience {
                outgoing.flush();
                outgoing.to.wake();
                if outgoing.is_done() {
                    break;
                }
                std::thread::sleep(CLOSE_WAIT);
            }
            outgoing.to.wake();
            outgoing.overflow.take();
        }
    }
}

/// Sends messages to shards from any thread.
pub struct Poster<M>(Arc<PosterInner<M>>);

struct PosterInner<M> {
    senders: Vec<mpsc::Sender<M>>,
    shards: Arc<[Arc<Shared>]>,
}

impl<M> Clone for Poster<M> {
    fn clone(&self) -> Poster<M> {
        Poster(Arc::clone(&self.0))
    }
}

impl<M> Poster<M> {
    pub(crate) fn new(senders: Vec<mpsc::Sender<M>>, shards: Arc<[Arc<Shared>]>) -> Poster<M> {
        assert_eq!(senders.len(), shards.len());
        Poster(Arc::new(PosterInner { senders, shards }))
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.0.shards.len()
    }

    /// Sends a message; those of one thread to one shard arrive in order. One to a shard that has
    /// ended is lost.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn post(&self, to: ShardId, message: M) {
        let to = usize::from(to.0);
        if self.0.senders[to].send(message).is_ok() {
            self.0.shards[to].wake();
        }
    }
}
