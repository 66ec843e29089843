//! One client connection: a reader that cuts and dispatches requests, and a writer that sends
//! the answers in order.
//!
//! Both run on the shard that accepted the connection, until it moves to a better one between two
//! requests (`home`). Back-pressure is by bytes (`request_memory`): a request claims memory that
//! its answer holds until it is sent, and a connection whose requests do not fit is simply not
//! read from. The peer's end is noticed meanwhile (`registry`).
//!
//! Requests that bring records are worked on concurrently, so that one write carries several of
//! them. Any other is taken up when everything before it is answered and sent, as in Kafka, where a
//! connection is muted meanwhile: it sees what was written before it, and a peer that does not read
//! its answers gets no more of them.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ringlog_runtime::sync::Event;
use ringlog_runtime::{HandedOver, Instant, Piece, Runtime, ShardId, Stream, WorkOwner};
use ringlog_wire::{ListenerKind, Reader, RequestHeader};

use crate::authorizer::Principal;
use crate::network::Network;
use crate::network::answers::{Answer, AnswerQueue, NextAnswers};
use crate::network::frames::{Frame, FrameError, FrameReader};
use crate::network::home::Home;
use crate::network::pace::Record;
use crate::network::registry::Open;
use crate::network::request::Held;
use crate::network::throttle::{Client, Mute, Used};
use crate::network::turn_metrics;
use crate::network::work::{Luggage, Service, Work};

/// The connection that a request came from, as far as handlers may know it and tell about it.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// The kind of listener that it came through.
    pub(crate) listener: ListenerKind,
    pub(crate) principal: Principal,
    /// In whose name its long computations are made.
    pub(crate) work_owner: WorkOwner,
    /// The client library's name and version from ApiVersions (KIP-511), for the log.
    software: RefCell<Option<String>>,
    /// The fetch session it used last; 0 is none.
    pub(crate) fetch_session: Cell<i32>,
    /// Set when nothing more comes from it: what waits for news need not wait any longer.
    pub(crate) ended: Event,
    /// How it moves what is sent to it and what it sends.
    pub(crate) record: Rc<Record>,
    /// Its quotas may have it wait.
    pub(crate) mute: Mute,
    /// The client id of its last limited request.
    client_id: RefCell<Rc<str>>,
    /// Nothing is received from it just now: its end would not be noticed.
    is_unread: Cell<bool>,
    home: RefCell<Home>,
}

impl Peer {
    fn new(
        network: &Network,
        address: SocketAddr,
        listener: ListenerKind,
        software: Option<String>,
        fetch_session: i32,
        record: Record,
    ) -> Peer {
        Peer {
            address,
            listener,
            principal: Principal::anonymous(),
            work_owner: network.new_work_owner(),
            software: RefCell::new(software),
            fetch_session: Cell::new(fetch_session),
            ended: Event::new(),
            record: Rc::new(record),
            mute: Mute::default(),
            client_id: RefCell::new("".into()),
            is_unread: Cell::new(false),
            home: RefCell::default(),
        }
    }

    /// Whether nothing is received from it just now: its end would not be noticed.
    pub(crate) fn is_unread(&self) -> bool {
        self.is_unread.get()
    }

    /// What the client calls itself in this request: nearly always the same.
    fn client_id(&self, frame: &[u8]) -> Rc<str> {
        let header = RequestHeader::decode(&mut Reader::new(frame)).ok();
        let client_id = header.and_then(|header| header.client_id).unwrap_or_default();
        let mut known = self.client_id.borrow_mut();
        if **known != *client_id {
            *known = (&*client_id).into();
        }
        known.clone()
    }

    /// Notes what the client says of itself.
    pub(crate) fn set_software(&self, software: String) {
        self.software.replace(Some(software));
    }

    /// Notes that a request was for partitions of `owner` alone, or of several shards (`None`),
    /// and how many bytes of records it brought or took. `busy_percent` is how busy each shard is.
    pub(crate) fn touched(
        &self,
        here: ShardId,
        owner: Option<ShardId>,
        bytes: usize,
        busy_percent: &[u8],
    ) {
        self.home.borrow_mut().note(here, owner, bytes, busy_percent);
    }
}

/// A connection that begins on this network, or goes on here.
pub(crate) struct Arrival {
    stream: Stream,
    address: SocketAddr,
    peer: Peer,
    /// The request that made it move.
    frame: Option<Bytes>,
}

impl Arrival {
    pub(crate) fn accepted(
        network: &Network,
        stream: Stream,
        address: SocketAddr,
        listener: ListenerKind,
    ) -> Arrival {
        let peer = Peer::new(network, address, listener, None, 0, Record::default());
        Arrival { stream, address, peer, frame: None }
    }

    /// Unpacks what left another network.
    pub(crate) fn moved(
        network: &Network,
        service: Rc<dyn Service>,
        departure: Departure,
    ) -> std::io::Result<Arrival> {
        let Departure {
            connection,
            address,
            listener,
            software,
            fetch_session,
            luggage,
            record,
            frame,
        } = departure;
        let stream = network.rt.take_over(connection)?;
        if let Some(luggage) = luggage {
            service.arrived(luggage);
        }
        let peer = Peer::new(network, address, listener, software, fetch_session, record);
        Ok(Arrival { stream, address, peer, frame: Some(frame) })
    }
}

/// A connection on its way to another network, with all that is kept about it.
pub(crate) struct Departure {
    connection: HandedOver,
    address: SocketAddr,
    listener: ListenerKind,
    software: Option<String>,
    fetch_session: i32,
    luggage: Option<Luggage>,
    record: Record,
    /// The request that arrived last and was not taken up.
    frame: Bytes,
}

/// Serves one connection until it ends here. If it then goes on elsewhere, says where and how.
pub(crate) async fn serve(
    network: Rc<Network>,
    service: Rc<dyn Service>,
    arrival: Arrival,
) -> Option<(ShardId, Departure)> {
    let Arrival { stream, address, peer, frame: mut frame_before } = arrival;
    let peer = Rc::new(peer);
    let answers = Rc::new(AnswerQueue::default());
    let last_used = Rc::new(Cell::new(network.rt.now()));
    let open = Open::new(stream.clone(), last_used.clone(), answers.clone(), peer.clone());
    let key = network.connections.insert(open);
    let writer = write_answers(network.clone(), stream.clone(), answers.clone(), peer.clone());
    let writer = network.rt.spawn(writer);
    let mut frames = frames_of(&network, &service, &stream, &peer);
    let mut departure = None;
    loop {
        if !answers.has_room() {
            frames.keep_unread();
            unread(&peer, answers.wait_for_room()).await;
        }
        // Bytes that have arrived can still be received; a client that goes on sending would
        // otherwise be served on.
        if network.is_stopping() {
            break;
        }
        let next = match frame_before.take() {
            Some(bytes) => Ok(Some(Frame { bytes, claim: None })),
            None => next_frame(&network, &mut frames, &answers, &peer).await,
        };
        let frame = match next {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            // The frame was cut short by the stop.
            Err(_) if network.is_stopping() => break,
            Err(error) => {
                answers.fill(answers.take_place(), Answer::Close(reason(&error)), None);
                break;
            }
        };
        last_used.set(network.rt.now());
        if frames.is_drained()
            && answers.is_idle()
            && let Some((to, connection)) = hand_over(&network, &peer, &stream)
        {
            departure = Some((to, connection, frame.bytes));
            break;
        }
        network.metrics.received(frame.bytes.len() + 4);
        if !take_up(&network, &service, &peer, &answers, frame).await {
            break;
        }
    }
    peer.ended.set();
    answers.close();
    writer.await;
    network.connections.remove(key);
    let fetch_session = peer.fetch_session.get();
    let luggage = service.ended(&peer);
    let (to, connection, frame) = departure?;
    let (software, record) = (peer.software.take(), Record::clone(&peer.record));
    let departure = Departure {
        connection,
        address,
        listener: peer.listener,
        software,
        fetch_session,
        luggage,
        record,
        frame,
    };
    Some((to, departure))
}

fn frames_of(
    network: &Network,
    service: &Rc<dyn Service>,
    stream: &Stream,
    peer: &Peer,
) -> FrameReader {
    let frame_bytes_max = network.shared.config.socket_request_max_bytes as usize;
    let (rt, memory, record) = (network.rt.clone(), network.memory.clone(), peer.record.clone());
    FrameReader::new(rt, stream.clone(), service.clone(), memory, record, frame_bytes_max)
}

/// The next frame. One that has to wait, for the answers before it or because its client used more
/// than a quota, is not received meanwhile: it would hold memory for as long as that takes.
async fn next_frame(
    network: &Network,
    frames: &mut FrameReader,
    answers: &AnswerQueue,
    peer: &Peer,
) -> Result<Option<Frame>, FrameError> {
    let Some(begun) = frames.begin().await? else { return Ok(None) };
    if !begun.need.brings_records() && !answers.is_idle() {
        frames.keep_unread();
        unread(peer, answers.wait_until_idle()).await;
    }
    if peer.mute.is_muted(network.rt.now()) {
        frames.keep_unread();
        unread(peer, peer.mute.wait(&network.rt, &peer.ended)).await;
    }
    frames.finish(begun).await.map(Some)
}

/// Waits while nothing is received.
async fn unread(peer: &Peer, wait: impl Future<Output = ()>) {
    peer.is_unread.set(true);
    wait.await;
    peer.is_unread.set(false);
}

/// The connection for another network, if it should go there now. Nothing of it is in work.
fn hand_over(network: &Network, peer: &Peer, stream: &Stream) -> Option<(ShardId, HandedOver)> {
    let mut home = peer.home.borrow_mut();
    let to = home.wants()?;
    if network.is_stopping() || !network.last_given.borrow_mut().give(network.rt.now()) {
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
    network: &Rc<Network>,
    service: &Rc<dyn Service>,
    peer: &Rc<Peer>,
    answers: &Rc<AnswerQueue>,
    frame: Frame,
) -> bool {
    let Frame { bytes, claim } = frame;
    let api_key = api_key(&bytes);
    let need = service.memory_need(api_key);
    if !need.brings_records() {
        answers.wait_until_idle().await;
    }
    let standing = peer.record.standing();
    let claim = match claim {
        Some(claim) => {
            claim.grow_to_need(need, bytes.len(), standing).await;
            claim
        }
        None => network.memory.claim(need, bytes.len(), standing).await,
    };
    let held = Held::new(claim, peer.record.clone());
    let place = answers.take_place();
    let counted = Counted::begin(network, peer, api_key, &bytes);
    let tag = turn_metrics::tag(api_key);
    network.rt.set_task_tag(tag);
    let mut work = service.clone().take(peer, bytes, &held);
    let spent = counted.spent.clone();
    spent.add(&network.rt, counted.begun);
    if let Work::First(preparation) = work {
        work = spent.watch(network.rt.clone(), preparation).await;
    }
    let memory = network.memory.clone();
    let finish = move |answers: &AnswerQueue, mut answer: Answer| {
        let claim = held.into_claim_of_answer(&memory);
        counted.end(&mut answer);
        answers.fill(place, answer, claim);
    };
    match work {
        Work::Done(answer) => {
            let go_on = !matches!(answer, Answer::Close(_));
            finish(answers, answer);
            go_on
        }
        Work::Later(mut work) => {
            let (answers, rt) = (answers.clone(), network.rt.clone());
            network.rt.spawn(async move {
                let watched = spent.watch(
                    rt.clone(),
                    poll_fn(|context| {
                        rt.set_task_tag(tag);
                        work.as_mut().poll(context)
                    }),
                );
                finish(&answers, watched.await);
            });
            true
        }
        Work::First(_) => unreachable!("a preparation is followed by the work itself"),
    }
}

/// The API key that a frame begins with; -1 if it is too short for that.
fn api_key(frame: &[u8]) -> i16 {
    frame.first_chunk().map_or(-1, |key| i16::from_be_bytes(*key))
}

/// One request in the metrics, and in what its client is allowed.
struct Counted {
    network: Rc<Network>,
    peer: Rc<Peer>,
    api_key: i16,
    begun: Instant,
    /// Whose quotas it counts for, if there are any.
    client_id: Option<Rc<str>>,
    request_bytes: usize,
    spent: Spent,
}

impl Counted {
    fn begin(network: &Rc<Network>, peer: &Rc<Peer>, api_key: i16, frame: &[u8]) -> Counted {
        network.metrics.request_begun();
        let client_id = network.throttle.is_limited(api_key).then(|| peer.client_id(frame));
        let spent = Spent(client_id.is_some().then(Rc::default));
        let (network, peer, request_bytes) = (network.clone(), peer.clone(), frame.len());
        let begun = network.rt.now();
        Counted { api_key, begun, network, peer, client_id, request_bytes, spent }
    }

    /// The answer is complete, and is told how long its client has to hold back.
    fn end(self, answer: &mut Answer) {
        let Counted { network, peer, api_key, begun, client_id, request_bytes, spent } = self;
        let now = network.rt.now();
        let is_error = matches!(answer, Answer::Close(_));
        network.metrics.request_answered(api_key, now - begun, is_error);
        let throttle = &network.throttle;
        let time = match client_id {
            None => throttle.always(),
            Some(client_id) => {
                let client = Client { user: &peer.principal.name, client_id: &client_id };
                let (answer_bytes, time) = (answer.bytes(), spent.time());
                let used = Used { api_key, request_bytes, answer_bytes, time };
                let time = throttle.time_for(client, used, now);
                peer.mute.mute(now, time);
                time
            }
        };
        answer.set_throttle_time(time);
    }
}

/// The time of the shard's thread that a request takes, if anybody wants to know.
#[derive(Clone)]
struct Spent(Option<Rc<Cell<Duration>>>);

impl Spent {
    fn add(&self, rt: &Runtime, since: Instant) {
        if let Some(time) = &self.0 {
            time.set(time.get() + (rt.now() - since));
        }
    }

    fn time(&self) -> Duration {
        self.0.as_ref().map_or(Duration::ZERO, |time| time.get())
    }

    /// The work, with the time of each of its turns counted.
    async fn watch<T>(&self, rt: Runtime, work: impl Future<Output = T>) -> T {
        if self.0.is_none() {
            return work.await;
        }
        let mut work = pin!(work);
        poll_fn(|context| {
            let begun = rt.now();
            let polled = work.as_mut().poll(context);
            self.add(&rt, begun);
            polled
        })
        .await
    }
}

/// Sends the answers as they become ready, until the reader has closed the queue.
async fn write_answers(
    network: Rc<Network>,
    stream: Stream,
    answers: Rc<AnswerQueue>,
    peer: Rc<Peer>,
) {
    let address = stream.peer_addr();
    let mut broken = false;
    loop {
        match answers.next().await {
            NextAnswers::Send(..) if broken => {}
            NextAnswers::Send(pieces, _claims) => {
                let bytes = pieces.iter().map(Piece::len).sum();
                let begun = network.rt.now();
                match stream.send(pieces).await {
                    Ok(()) => {
                        network.metrics.sent(bytes);
                        peer.record.note(bytes, network.rt.now() - begun);
                    }
                    Err(error) => {
                        tracing::debug!(peer = %address, %error, "the peer is gone");
                        // The reader ends too; what is in work is waited for, not sent.
                        broken = true;
                        stream.shutdown();
                    }
                }
            }
            NextAnswers::Close(reason) => {
                if !reason.is_empty() {
                    network.metrics.protocol_error();
                    tracing::warn!(peer = %address, reason, "connection closed");
                }
                broken = true;
                stream.shutdown();
            }
            NextAnswers::Finished => return,
        }
    }
}

/// The words for the log when a connection ends in the middle; empty for a peer that just left.
fn reason(error: &FrameError) -> String {
    match error {
        FrameError::Io(_) => String::new(),
        error => error.to_string(),
    }
}
