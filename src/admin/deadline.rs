//! A listener whose connections are few and end by themselves: the HTTP thread's bound on peers
//! that connect and then say nothing, or next to nothing.
//!
//! A request's head has to come within [`Limits::head_time_max`], however its bytes drip in. With
//! as many connections as there may be, a new one takes the place of the oldest: whoever asks for
//! the node's health now is answered, and a scraper whose idle connection went connects again.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// After a failed accept (no file descriptor left), so that the thread does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the peers of a listener may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections served at once.
    pub(crate) connections_max: usize,
    /// How long the head of a request may take, from its first byte, and the first one from the
    /// beginning of the connection.
    pub(crate) head_time_max: Duration,
    /// A connection that moves no byte for so long is closed. Above the usual scrape interval.
    pub(crate) silence_max: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 64,
            head_time_max: Duration::from_secs(10),
            silence_max: Duration::from_secs(75),
        }
    }
}

pub(crate) struct BoundedListener {
    listener: TcpListener,
    limits: Limits,
    places: Arc<Semaphore>,
    /// What ends each connection, oldest first; some have ended already.
    open: VecDeque<oneshot::Sender<()>>,
}

impl BoundedListener {
    pub(crate) fn new(listener: TcpListener, limits: Limits) -> BoundedListener {
        let places = Arc::new(Semaphore::new(limits.connections_max));
        BoundedListener { listener, limits, places, open: VecDeque::new() }
    }

    /// A place for one more connection, the oldest one's if there is no other.
    async fn place(&mut self) -> OwnedSemaphorePermit {
        self.open.retain(|connection| !connection.is_closed());
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return place;
        }
        if let Some(oldest) = self.open.pop_front() {
            // It may have ended by itself since.
            oldest.send(()).ok();
        }
        let place = self.places.clone().acquire_owned().await;
        place.expect("the semaphore is never closed")
    }
}

impl axum::serve::Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoundedStream, SocketAddr) {
        let (stream, address) = loop {
            match self.listener.accept().await {
                Ok(accepted) => break accepted,
                Err(error) => {
                    tracing::warn!(%error, "admin: cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        let place = self.place().await;
        let (end, ended) = oneshot::channel();
        self.open.push_back(end);
        (BoundedStream::new(stream, self.limits, ended, place), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// How far a connection has come.
struct HeadProgress {
    /// Since when the head of a request is being received.
    head_since: Option<Instant>,
    moved_at: Instant,
}

impl HeadProgress {
    fn begun(now: Instant) -> HeadProgress {
        HeadProgress { head_since: Some(now), moved_at: now }
    }

    fn received(&mut self, now: Instant) {
        self.moved_at = now;
        self.head_since.get_or_insert(now);
    }

    /// Part of an answer: its request has come whole.
    fn sent(&mut self, now: Instant) {
        self.moved_at = now;
        self.head_since = None;
    }

    /// When the connection is closed if nothing more happens.
    fn deadline(&self, limits: &Limits) -> Instant {
        let silence = self.moved_at + limits.silence_max;
        let head = self.head_since.map(|since| since + limits.head_time_max);
        head.map_or(silence, |head| head.min(silence))
    }
}

pub(crate) struct BoundedStream {
    stream: TcpStream,
    limits: Limits,
    progress: HeadProgress,
    deadline: Pin<Box<Sleep>>,
    /// Told when another connection takes the place.
    ended: oneshot::Receiver<()>,
    _place: OwnedSemaphorePermit,
}

impl BoundedStream {
    fn new(
        stream: TcpStream,
        limits: Limits,
        ended: oneshot::Receiver<()>,
        place: OwnedSemaphorePermit,
    ) -> BoundedStream {
        let progress = HeadProgress::begun(Instant::now());
        let deadline = Box::pin(sleep_until(progress.deadline(&limits)));
        BoundedStream { stream, limits, progress, deadline, ended, _place: place }
    }

    fn note(&mut self, what: impl FnOnce(&mut HeadProgress, Instant)) {
        what(&mut self.progress, Instant::now());
        let deadline = self.progress.deadline(&self.limits);
        self.deadline.as_mut().reset(deadline);
    }

    /// Whether the connection has had its time, or its place is another's. Wakes the task of `cx`
    /// when that is so.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.deadline.as_mut().poll(cx).is_ready() || Pin::new(&mut self.ended).poll(cx).is_ready()
    }
}

/// What a peer whose connection is over gets.
fn timed_out<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Asked first: bytes that come all the time must not put it off.
        if self.is_over(cx) {
            return timed_out();
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.note(HeadProgress::received);
        }
        polled
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if polled.is_ready() {
            self.note(HeadProgress::sent);
            return polled;
        }
        if self.is_over(cx) { timed_out() } else { Poll::Pending }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_head_has_one_deadline_and_a_pause_between_requests_another() {
        let limits = Limits::default();
        let begun = Instant::now();
        let after = |seconds: u64| begun + Duration::from_secs(seconds);
        let mut progress = HeadProgress::begun(begun);
        for seconds in [1, 5, 9] {
            progress.received(after(seconds));
            assert_eq!(progress.deadline(&limits), begun + limits.head_time_max);
        }
        progress.sent(after(9));
        assert_eq!(progress.deadline(&limits), after(9) + limits.silence_max);
        progress.received(after(60));
        progress.received(after(65));
        assert_eq!(progress.deadline(&limits), after(60) + limits.head_time_max);
    }
}
