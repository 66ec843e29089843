//! One client connection: a reader that cuts and dispatches requests, and a writer that sends
//! the answers in order.
//!
//! Both run on the shard that accepted the connection, until it moves to a better one between two
//! requests (`home`). Back-pressure is by bytes (`request_memory`): a request claims memory that
//! its answer holds until it is sent, and a connection whose requests do not fit is simply not
//! read from.
//!
//! Requests that bring records are worked on concurrently, so that one write carries several of
//! them. Any other is taken up when everything before it is answered and sent, as in Kafka, where a
//! connection is muted meanwhile: it sees what was written before it, and a peer that does not read
//! its answers gets no more of them.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ringlog_runtime::sync::Event;
use ringlog_runtime::{HandedOver, Instant, Piece, Progress, ShardId, Stream};
use slab::Slab;
use smallvec::SmallVec;

use crate::authorizer::Principal;
use crate::fetch_session::TakenSession;
use crate::handlers::{self, Work};
use crate::network::answers::{Answer, AnswerQueue, Next};
use crate::network::frames::{Frame, FrameError, FrameReader};
use crate::network::home::Home;
use crate::network::request::Held;
use crate::network::request_memory::{self, STALL_TIME_MAX};
use crate::shard::Shard;

/// How often idle connections are looked for, at least.
const IDLE_SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// What the handlers may know of the connection a request came from, and tell about it.
pub(crate) struct Peer {
    pub(crate) principal: Principal,
    /// The client library's name and version from ApiVersions (KIP-511), for the log.
    pub(crate) software: RefCell<Option<String>>,
    /// The fetch session it used last; 0 is none.
    pub(crate) fetch_session: Cell<i32>,
    /// Set when nothing more comes from it: what waits for news need not wait any longer.
    pub(crate) ended: Event,
    home: RefCell<Home>,
}

impl Peer {
    fn new(software: Option<String>, fetch_session: i32) -> Peer {
        Peer {
            principal: Principal::anonymous(),
            software: RefCell::new(software),
            fetch_session: Cell::new(fetch_session),
            ended: Event::new(),
            home: RefCell::default(),
        }
    }

    /// Notes that a request was for partitions of `owner` alone, or of several shards (`None`),
    /// and how many bytes of records it brought or took.
    pub(crate) fn touched(&self, shard: &Shard, owner: Option<ShardId>, bytes: usize) {
        let shards = shard.mesh.shards();
        if shards > 1 {
            let busy = |shard_number| shard.mesh.busy_percent(ShardId(shard_number as u16));
            let busy_percent: SmallVec<[u8; 32]> = (0..shards).map(busy).collect();
            self.home.borrow_mut().note(shard.id(), owner, bytes, &busy_percent);
        }
    }
}

/// A connection that begins on this shard, or goes on here.
pub(crate) struct Arrival {
    stream: Stream,
    address: SocketAddr,
    peer: Peer,
    /// The request that made it move.
    frame: Option<Bytes>,
}

impl Arrival {
    pub(crate) fn accepted(stream: Stream, address: SocketAddr) -> Arrival {
        Arrival { stream, address, peer: Peer::new(None, 0), frame: None }
    }

    /// Unpacks what left another shard.
    pub(crate) fn moved(shard: &Shard, departure: Departure) -> std::io::Result<Arrival> {
        let Departure { connection, address, software, fetch_session, session, frame } = departure;
        let stream = shard.rt.take_over(connection)?;
        if let Some(session) = session {
            shard.fetch_sessions.borrow_mut().put(session, shard.rt.now());
        }
        let peer = Peer::new(software, fetch_session);
        Ok(Arrival { stream, address, peer, frame: Some(frame) })
    }
}

/// A connection on its way to another shard, with all that is kept about it.
pub(crate) struct Departure {
    connection: HandedOver,
    address: SocketAddr,
    software: Option<String>,
    fetch_session: i32,
    session: Option<TakenSession>,
    /// The request that arrived last and was not taken up.
    frame: Bytes,
}

struct Open {
    stream: Stream,
    last_used: Rc<Cell<Instant>>,
    answers: Rc<AnswerQueue>,
    /// How far it had come when it was last looked at.
    progress: Cell<Progress>,
}

impl Open {
    /// How long nothing has happened on it. Bytes that have moved count as something.
    fn idle(&self, now: Instant) -> Duration {
        let progress = self.stream.progress();
        if self.progress.replace(progress) != progress {
            self.last_used.set(now);
        }
        now - self.last_used.get()
    }
}

/// The open connections of one shard.
#[derive(Default)]
pub(crate) struct Connections {
    open: RefCell<Slab<Open>>,
}

impl Connections {
    pub(crate) fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Takes no more requests; what is in work is answered, and then the connections end.
    pub(crate) fn shut_down_reading(&self) {
        for (_, connection) in self.open.borrow().iter() {
            connection.stream.shutdown_read();
        }
    }

    /// Shuts every connection down; their tasks end by themselves.
    pub(crate) fn shut_down_all(&self) {
        for (_, connection) in self.open.borrow().iter() {
            connection.stream.shutdown();
        }
    }

    /// Shuts down what was not used for `idle_max` and waits for nothing of ours, and what does
    /// not take its answers for `stall_max`.
    fn shut_down_idle(&self, now: Instant, idle_max: Duration, stall_max: Duration) {
        for (_, connection) in self.open.borrow().iter() {
            let sending = connection.answers.is_sending();
            let limit = if sending { idle_max.min(stall_max) } else { idle_max };
            // What is being sent is looked at each time, so that what moves is known.
            if !sending && now - connection.last_used.get() <= limit {
                continue;
            }
            let idle = connection.idle(now);
            if idle <= limit || !(sending || connection.answers.is_idle()) {
                continue;
            }
            if sending {
                let peer = connection.stream.peer_addr();
                tracing::warn!(%peer, ?idle, "hung up on a peer that does not take its answers");
            }
            connection.stream.shutdown();
        }
    }
}

/// Closes connections after `connections.max.idle.ms`, and, while memory is short, those that hold
/// it and do not move; runs as long as the shard.
pub(crate) async fn sweep_idle(shard: Rc<Shard>) {
    let idle_max = match shard.node.config.connections_max_idle_ms {
        ..=0 => Duration::MAX,
        idle_ms => Duration::from_millis(idle_ms as u64),
    };
    loop {
        shard.rt.sleep(IDLE_SWEEP_INTERVAL.min(idle_max)).await;
        let is_short =
            shard.request_memory.is_short() || shard.replicas.storage.is_short_of_memory();
        let stall_max = if is_short { STALL_TIME_MAX } else { idle_max };
        shard.connections.shut_down_idle(shard.rt.now(), idle_max, stall_max);
    }
}

/// Serves one connection until it ends here. If it then goes on elsewhere, says where and how.
pub(crate) async fn serve(shard: Rc<Shard>, arrival: Arrival) -> Option<(ShardId, Departure)> {
    let Arrival { stream, address, peer, frame: mut frame_before } = arrival;
    let peer = Rc::new(peer);
    let answers = Rc::new(AnswerQueue::default());
    let last_used = Rc::new(Cell::new(shard.rt.now()));
    let key = shard.connections.open.borrow_mut().insert(Open {
        stream: stream.clone(),
        last_used: last_used.clone(),
        answers: answers.clone(),
        progress: Cell::default(),
    });
    let writer = write_answers(shard.clone(), stream.clone(), answers.clone(), address);
    let writer = shard.rt.spawn(writer);
    let frame_bytes_max = shard.node.config.socket_request_max_bytes as usize;
    let memory = shard.request_memory.clone();
    let mut frames = FrameReader::new(shard.rt.clone(), stream.clone(), memory, frame_bytes_max);
    let mut departure = None;
    loop {
        answers.wait_for_room().await;
        // Bytes that have arrived can still be received; a client that goes on sending would
        // otherwise be served on.
        if shard.stopping.get() {
            break;
        }
        let next = match frame_before.take() {
            Some(bytes) => Ok(Some(Frame { bytes, claim: None })),
            None => frames.next().await,
        };
        let frame = match next {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            // It was cut short by the stop.
            Err(_) if shard.stopping.get() => break,
            Err(error) => {
                answers.fill(answers.take_place(), Answer::Close(reason(&error)), None);
                break;
            }
        };
        last_used.set(shard.rt.now());
        if frames.is_drained()
            && answers.is_idle()
            && let Some((to, connection)) = hand_over(&shard, &peer, &stream)
        {
            departure = Some((to, connection, frame.bytes));
            break;
        }
        shard.metrics.received(frame.bytes.len() + 4);
        if !take_up(&shard, &peer, &answers, frame).await {
            break;
        }
    }
    peer.ended.set();
    answers.close();
    writer.await;
    shard.connections.open.borrow_mut().remove(key);
    let (to, connection, frame) = departure?;
    let fetch_session = peer.fetch_session.get();
    let session = shard.fetch_sessions.borrow_mut().take(fetch_session);
    let software = peer.software.take();
    Some((to, Departure { connection, address, software, fetch_session, session, frame }))
}

/// The connection for another shard, if it should go there now. Nothing of it is in work.
fn hand_over(shard: &Shard, peer: &Peer, stream: &Stream) -> Option<(ShardId, HandedOver)> {
    let mut home = peer.home.borrow_mut();
    let to = home.wants()?;
    if shard.stopping.get() || !shard.last_given.borrow_mut().give(shard.rt.now()) {
        return None;
    }
    match stream.hand_over() {
        Ok(connection) => Some((to, connection)),
        Err(error) => {
            tracing::debug!(%error, "a connection stays where it is");
            home.stay();
            None
        }
    }
}

/// Starts the work on one request. Returns false when nothing more may be read from this peer.
async fn take_up(
    shard: &Rc<Shard>,
    peer: &Rc<Peer>,
    answers: &Rc<AnswerQueue>,
    frame: Frame,
) -> bool {
    let Frame { bytes, claim } = frame;
    let api_key = api_key(&bytes);
    let brings_records = request_memory::brings_records(api_key);
    if !brings_records {
        answers.wait_until_idle().await;
    }
    let claim = match claim {
        Some(claim) => claim,
        None => shard.request_memory.claim(api_key, bytes.len()).await,
    };
    let held = Held::new(claim);
    let place = answers.take_place();
    let counted = Counted::begin(shard, api_key);
    let mut work = handlers::dispatch(shard, peer, bytes, &held);
    if let Work::First(preparation) = work {
        work = preparation.await;
    }
    let answer_is_small = brings_records;
    let finish = move |answers: &AnswerQueue, answer: Answer| {
        let claim = held.take().filter(|_| !answer_is_small);
        counted.end(&answer);
        answers.fill(place, answer, claim);
    };
    match work {
        Work::Done(answer) => {
            let go_on = !matches!(answer, Answer::Close(_));
            finish(answers, answer);
            go_on
        }
        Work::Later(work) => {
            let answers = answers.clone();
            shard.rt.spawn(async move { finish(&answers, work.await) });
            true
        }
        Work::First(_) => unreachable!("a preparation is followed by the work itself"),
    }
}

/// What a frame begins with; -1 if it is too short for that.
fn api_key(frame: &[u8]) -> i16 {
    frame.first_chunk().map_or(-1, |key| i16::from_be_bytes(*key))
}

/// One request in the metrics.
struct Counted {
    shard: Rc<Shard>,
    api_key: i16,
    begun: Instant,
}

impl Counted {
    fn begin(shard: &Rc<Shard>, api_key: i16) -> Counted {
        shard.metrics.request_begun();
        Counted { shard: shard.clone(), api_key, begun: shard.rt.now() }
    }

    fn end(self, answer: &Answer) {
        let took = self.shard.rt.now() - self.begun;
        let is_error = matches!(answer, Answer::Close(_));
        self.shard.metrics.request_answered(self.api_key, took, is_error);
    }
}

/// Sends the answers as they become ready, until the reader has closed the queue.
async fn write_answers(
    shard: Rc<Shard>,
    stream: Stream,
    answers: Rc<AnswerQueue>,
    address: SocketAddr,
) {
    let mut broken = false;
    loop {
        match answers.next().await {
            Next::Send(..) if broken => {}
            Next::Send(pieces, _claims) => {
                let bytes = pieces.iter().map(Piece::len).sum();
                match stream.send(pieces).await {
                    Ok(()) => shard.metrics.sent(bytes),
                    Err(error) => {
                        tracing::debug!(peer = %address, %error, "the peer is gone");
                        // The reader ends too; what is in work is waited for, not sent.
                        broken = true;
                        stream.shutdown();
                    }
                }
            }
            Next::Close(reason) => {
                if !reason.is_empty() {
                    shard.metrics.protocol_error();
                    tracing::warn!(peer = %address, reason, "connection closed");
                }
                broken = true;
                stream.shutdown();
            }
            Next::Finished => return,
        }
    }
}

/// What to log when a connection ends in the middle; empty for a peer that just went away.
fn reason(error: &FrameError) -> String {
    match error {
        FrameError::Io(_) => String::new(),
        error => error.to_string(),
    }
}
