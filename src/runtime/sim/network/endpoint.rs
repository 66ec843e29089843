//! One end of a simulated stream: what is on its way to it, what has arrived, who waits.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use rustix::io::Errno;

use super::{Done, EndpointId, NetEvent, Network, NodeIndex, Output, Token};
use crate::Progress;

#[derive(Debug)]
pub(super) enum Segment {
    Data(Bytes),
    /// The peer sends no more.
    Fin,
    Reset,
}

pub(super) struct Endpoint {
    pub(super) node: NodeIndex,
    pub(super) peer: EndpointId,
    pub(super) peer_addr: SocketAddr,
    /// On its way here, in the order of arrival, with the time of it.
    transit: VecDeque<(u64, Segment)>,
    inbox: VecDeque<Bytes>,
    /// Bytes in `transit` and `inbox`.
    unread: usize,
    /// Accepted from the program, waiting for room in the peer's window.
    outbox: VecDeque<Bytes>,
    sending: Option<Token>,
    receiving: Option<(Token, usize)>,
    /// What a finished receive got, until its task takes it.
    handed: Option<(Token, Bytes)>,
    finished: bool,
    failed: Option<Errno>,
    shut: bool,
    closed: bool,
    progress: Progress,
}

impl Endpoint {
    pub(super) fn new(node: NodeIndex, peer: EndpointId, peer_addr: SocketAddr) -> Endpoint {
        Endpoint {
            node,
            peer,
            peer_addr,
            transit: VecDeque::new(),
            inbox: VecDeque::new(),
            unread: 0,
            outbox: VecDeque::new(),
            sending: None,
            receiving: None,
            handed: None,
            finished: false,
            failed: None,
            shut: false,
            closed: false,
            progress: Progress::default(),
        }
    }

    pub(super) fn has_transit(&self) -> bool {
        !self.transit.is_empty()
    }
}

impl Network {
    /// Starts a send of all the bytes. One may be in flight at an endpoint.
    pub(crate) fn send(&mut self, id: EndpointId, token: Token, bytes: Vec<Bytes>) {
        let Some(end) = self.endpoints.get_mut(&id) else {
            self.out.push_back(Output::Done(token, Done::Failed(Errno::PIPE)));
            return;
        };
        assert!(end.sending.is_none(), "two sends in flight on one stream");
        if end.shut || end.failed.is_some() {
            let why = end.failed.unwrap_or(Errno::PIPE);
            self.out.push_back(Output::Done(token, Done::Failed(why)));
            return;
        }
        end.sending = Some(token);
        end.outbox.extend(bytes.into_iter().filter(|b| !b.is_empty()));
        self.pump(id);
    }

    /// Moves as much of the outbox as the peer's window takes.
    fn pump(&mut self, id: EndpointId) {
        loop {
            let Some(end) = self.endpoints.get_mut(&id) else { return };
            if end.outbox.is_empty() {
                if let Some(token) = end.sending.take() {
                    self.out.push_back(Output::Done(token, Done::Sent));
                }
                return;
            }
            let peer_id = end.peer;
            // A vanished peer's reset is on its way; until it is here the bytes just go.
            let unread = self.endpoints.get(&peer_id).map_or(0, |p| p.unread);
            let room = self.model.window_bytes.saturating_sub(unread);
            if room == 0 {
                return;
            }
            let chunk = self.segment_bytes().min(room);
            let outbox = &mut self.endpoints.get_mut(&id).expect("found above").outbox;
            let front = outbox.front_mut().expect("not empty");
            let part = match front.len() <= chunk {
                true => outbox.pop_front().expect("not empty"),
                false => front.split_to(chunk),
            };
            self.endpoints.get_mut(&id).expect("found above").progress.sent += part.len() as u64;
            self.transmit(peer_id, Segment::Data(part));
        }
    }

    /// Mostly full segments, now and then tiny ones that split headers and lengths.
    fn segment_bytes(&mut self) -> usize {
        let max = self.model.segment_bytes_max.max(1);
        match self.prng.below(8) {
            0 => 1 + self.prng.index(16.min(max)),
            1 | 2 => 1 + self.prng.index(max),
            _ => max,
        }
    }

    /// Puts a segment on its way to an endpoint.
    pub(super) fn transmit(&mut self, to: EndpointId, segment: Segment) {
        let at = self.now + self.delay();
        let Some(end) = self.endpoints.get_mut(&to) else { return };
        let at = end.transit.back().map_or(at, |(last, _)| at.max(*last));
        if let Segment::Data(bytes) = &segment {
            end.unread += bytes.len();
        }
        end.transit.push_back((at, segment));
        self.out.push_back(Output::At(at, NetEvent::Arrive(to)));
    }

    /// Takes what is due out of transit.
    pub(super) fn arrive(&mut self, id: EndpointId) {
        let now = self.now;
        let Some(end) = self.endpoints.get(&id) else { return };
        let from = self.endpoints.get(&end.peer).map(|peer| peer.node);
        if from.is_some_and(|from| self.partitions.contains(&(from, end.node))) {
            return;
        }
        loop {
            let Some(end) = self.endpoints.get_mut(&id) else { return };
            if end.transit.front().is_none_or(|(at, _)| *at > now) {
                break;
            }
            match end.transit.pop_front().expect("checked above").1 {
                Segment::Data(bytes) if end.shut => {
                    // Nobody will read this: the sender is told so.
                    end.unread -= bytes.len();
                    let peer = end.peer;
                    self.transmit(peer, Segment::Reset);
                }
                Segment::Data(bytes) => {
                    end.progress.received += bytes.len() as u64;
                    end.inbox.push_back(bytes);
                }
                Segment::Fin => end.finished = true,
                Segment::Reset => return self.fail(id, Errno::CONNRESET),
            }
        }
        self.feed(id);
    }

    /// How far the stream has come at this end.
    pub(crate) fn progress(&self, id: EndpointId) -> Progress {
        self.endpoints.get(&id).map(|end| end.progress).unwrap_or_default()
    }

    /// Whether the peer's end, or its reset, has arrived.
    pub(crate) fn has_peer_ended(&self, id: EndpointId) -> bool {
        self.endpoints.get(&id).is_none_or(|end| end.finished || end.failed.is_some())
    }

    /// Asks for some bytes, at most `max`. One may be in flight at an endpoint.
    pub(crate) fn recv(&mut self, id: EndpointId, token: Token, max: usize) {
        let Some(end) = self.endpoints.get_mut(&id) else {
            self.out.push_back(Output::Done(token, Done::Failed(Errno::CONNRESET)));
            return;
        };
        assert!(end.receiving.is_none(), "two receives in flight on one stream");
        end.receiving = Some((token, max));
        self.feed(id);
    }

    /// Completes a waiting receive if there is anything to tell.
    fn feed(&mut self, id: EndpointId) {
        let Some(end) = self.endpoints.get_mut(&id) else { return };
        let Some((token, max)) = end.receiving else { return };
        let done = if let Some(front) = end.inbox.front_mut() {
            let bytes = match front.len() <= max {
                true => end.inbox.pop_front().expect("it has a front"),
                false => front.split_to(max),
            };
            end.unread -= bytes.len();
            end.handed = Some((token, bytes));
            Done::Received
        } else if let Some(why) = end.failed {
            Done::Failed(why)
        } else if end.finished || end.shut {
            Done::Received
        } else {
            return;
        };
        end.receiving = None;
        let peer = end.peer;
        self.out.push_back(Output::Done(token, done));
        self.pump(peer);
    }

    /// The bytes of a finished receive; none mean the end of the stream.
    pub(crate) fn take_received(&mut self, id: EndpointId, token: Token) -> Bytes {
        let handed = self.endpoints.get_mut(&id).and_then(|end| end.handed.take());
        handed.filter(|(t, _)| *t == token).map(|(_, bytes)| bytes).unwrap_or_default()
    }

    /// Gives a receive up; what it got and nobody took is received again next.
    pub(crate) fn cancel_recv(&mut self, id: EndpointId, token: Token) {
        let Some(end) = self.endpoints.get_mut(&id) else { return };
        end.receiving.take_if(|(t, _)| *t == token);
        if let Some((_, bytes)) = end.handed.take_if(|(t, _)| *t == token) {
            self.put_back(id, bytes);
        }
    }

    pub(crate) fn put_back(&mut self, id: EndpointId, bytes: Bytes) {
        if let Some(end) = self.endpoints.get_mut(&id)
            && !end.shut
        {
            end.unread += bytes.len();
            end.inbox.push_front(bytes);
        }
    }

    /// Ends both directions: what waits here finishes, and the peer sees the end of the stream
    /// after what was sent before.
    pub(crate) fn shutdown(&mut self, id: EndpointId) {
        let Some(end) = self.endpoints.get_mut(&id) else { return };
        if std::mem::replace(&mut end.shut, true) {
            return;
        }
        end.unread -= end.inbox.drain(..).map(|b| b.len()).sum::<usize>();
        end.outbox.clear();
        let peer = end.peer;
        if let Some(token) = end.sending.take() {
            self.out.push_back(Output::Done(token, Done::Failed(Errno::PIPE)));
        }
        self.transmit(peer, Segment::Fin);
        self.feed(id);
        self.pump(peer);
    }

    /// Ends the direction that is received, as after the peer's last byte. What arrives later can
    /// still be received, as on Linux.
    pub(crate) fn shutdown_read(&mut self, id: EndpointId) {
        let Some(end) = self.endpoints.get_mut(&id) else { return };
        end.finished = true;
        self.feed(id);
    }

    /// The last handle is gone. The endpoint stays, to answer what is still sent to it, until its
    /// peer is closed too.
    pub(crate) fn close(&mut self, id: EndpointId) {
        self.shutdown(id);
        let Some(end) = self.endpoints.get_mut(&id) else { return };
        end.closed = true;
        let peer = end.peer;
        if self.endpoints.get(&peer).is_none_or(|p| p.closed) {
            self.endpoints.remove(&id);
            self.endpoints.remove(&peer);
        }
    }

    /// The endpoint is gone without a word; its peer learns it when it is told.
    pub(super) fn vanish(&mut self, id: EndpointId) {
        let Some(end) = self.endpoints.remove(&id) else { return };
        match self.endpoints.get(&end.peer).is_some_and(|p| p.closed) {
            true => drop(self.endpoints.remove(&end.peer)),
            false => self.transmit(end.peer, Segment::Reset),
        }
    }

    /// The connection is broken for this end.
    pub(super) fn fail(&mut self, id: EndpointId, why: Errno) {
        let Some(end) = self.endpoints.get_mut(&id) else { return };
        end.failed = Some(why);
        end.inbox.clear();
        end.transit.clear();
        end.outbox.clear();
        end.unread = 0;
        if let Some(token) = end.sending.take() {
            self.out.push_back(Output::Done(token, Done::Failed(why)));
        }
        self.feed(id);
    }
}
