//! The open connections of one shard, and who of them has to go.
//!
//! A sweep looks at all of them about once a second, more often while memory is short:
//!
//! - who was silent for `connections.max.idle.ms`, and waits for nothing of ours, is closed;
//! - who holds answers that others need the memory of, and hardly takes them (`pace`), is closed;
//! - a peer that has ended while its connection is not received from is noticed, so that its long
//!   poll ends and what it holds is given back.
//!
//! Frames that arrive too slowly are dealt with where they are received (`frames`).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ringlog_runtime::{Instant, Progress, Stream};
use slab::Slab;

use crate::network::answers::{AnswerQueue, Sending};
use crate::network::connection::Peer;
use crate::network::pace;

/// How often connections are looked at.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// The same while somebody waits for memory.
pub(crate) const SWEEP_INTERVAL_SHORT: Duration = Duration::from_millis(250);

/// A connection as the registry knows it.
pub(crate) struct Open {
    stream: Stream,
    last_used: Rc<Cell<Instant>>,
    answers: Rc<AnswerQueue>,
    peer: Rc<Peer>,
    /// How far it had come when it was last looked at.
    progress: Cell<Progress>,
    /// The send that was under way when it was looked at: its number, the time, and what the peer
    /// had by then.
    send_seen: Cell<Option<(u64, Instant, u64)>>,
}

impl Open {
    pub(crate) fn new(
        stream: Stream,
        last_used: Rc<Cell<Instant>>,
        answers: Rc<AnswerQueue>,
        peer: Rc<Peer>,
    ) -> Open {
        Open {
            stream,
            last_used,
            answers,
            peer,
            progress: Cell::default(),
            send_seen: Cell::default(),
        }
    }

    /// How long nothing has happened on it. Bytes that have moved count as something.
    fn idle(&self, now: Instant) -> Duration {
        let progress = self.stream.progress();
        if self.progress.replace(progress) != progress {
            self.last_used.set(now);
        }
        now - self.last_used.get()
    }

    /// Whether it was silent for too long while it waits for nothing of ours.
    fn is_idle(&self, now: Instant, idle_max: Duration) -> bool {
        let may_be = self.answers.sending().is_some() || self.answers.is_idle();
        may_be && now - self.last_used.get() > idle_max && self.idle(now) > idle_max
    }

    /// Whether it hardly takes the answers that it is sent.
    fn is_too_slow(&self, now: Instant) -> bool {
        let Some(Sending { number, bytes }) = self.answers.sending() else {
            self.send_seen.set(None);
            return false;
        };
        let sent = self.stream.progress().sent;
        let seen = self.send_seen.get().filter(|(known, ..)| *known == number);
        let (_, since, had) = seen.unwrap_or((number, now, sent));
        self.send_seen.set(Some((number, since, had)));
        let moved = sent.saturating_sub(had);
        pace::is_too_slow(self.peer.record.standing(), bytes, now - since, moved)
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

    pub(crate) fn insert(&self, open: Open) -> usize {
        self.open.borrow_mut().insert(open)
    }

    pub(crate) fn remove(&self, key: usize) {
        self.open.borrow_mut().remove(key);
    }

    /// Takes no more requests; what is in work is answered, and then the connections end.
    pub(crate) fn shut_down_reading(&self) {
        for (_, connection) in self.open.borrow().iter() {
            connection.stream.shutdown_read();
            connection.peer.mute.end();
        }
    }

    /// Shuts every connection down; their tasks end by themselves.
    pub(crate) fn shut_down_all(&self) {
        for (_, connection) in self.open.borrow().iter() {
            connection.stream.shutdown();
            connection.peer.mute.end();
        }
    }

    /// Looks at all of them; `is_short` says that somebody waits for memory.
    pub(crate) fn sweep(&self, now: Instant, idle_max: Duration, is_short: bool) {
        for (_, connection) in self.open.borrow().iter() {
            let address = connection.stream.peer_addr();
            if connection.is_idle(now, idle_max) {
                tracing::debug!(peer = %address, "hung up on a silent peer");
                connection.stream.shutdown();
            } else if is_short && connection.is_too_slow(now) {
                tracing::warn!(
                    peer = %address,
                    "hung up on a peer that hardly takes its answers while others wait for memory"
                );
                connection.stream.shutdown();
            }
            if connection.peer.is_unread() && connection.stream.has_peer_ended() {
                connection.peer.ended.set();
            }
        }
    }
}
