//! Accepting connections: every shard listens on the same address (`SO_REUSEPORT`), and a
//! connection begins on the shard that accepted it.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use ringlog_runtime::{Instant, Listener, Stream};
use tokio::sync::oneshot;

use crate::network::connection::{self, Arrival, Departure};
use crate::network::connection_limits::{Admitted, Refusal};
use crate::shard::Shard;

/// How long to wait after a failed accept: the usual reason, too many open files, passes when
/// connections close.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// How long another shard may take to count a connection: far less, if its thread runs.
const COUNT_RETRY: Duration = Duration::from_micros(50);

/// That connections wait is told this often, however many come.
const FULL_TOLD_EVERY: Duration = Duration::from_secs(30);

/// Keeps the shard's listener open. Dropping it closes the listener.
pub(crate) struct Listening(
    #[expect(dead_code, reason = "its drop is the signal")] oneshot::Sender<()>,
);

/// Opens the shard's listener and serves what connects. Returns the address it got.
pub(crate) async fn start(shard: &Rc<Shard>, address: SocketAddr) -> std::io::Result<SocketAddr> {
    let listener = shard.rt.listen(address).await?;
    if let Some(bytes) = shard.node.config.socket_send_buffer_bytes {
        listener.set_send_buffer_bytes(bytes)?;
    }
    let address = listener.local_addr();
    let (open, closed) = oneshot::channel();
    shard.listening.set(Some(Listening(open)));
    shard.rt.spawn(accept_all(shard.clone(), listener, closed));
    Ok(address)
}

async fn accept_all(shard: Rc<Shard>, listener: Listener, closed: oneshot::Receiver<()>) {
    let mut closed = pin!(closed);
    let told = Cell::new(None);
    loop {
        match before(closed.as_mut(), shard.rt.accept(&listener)).await {
            None => return,
            Some(Ok((stream, peer))) => {
                if before(closed.as_mut(), admit(&shard, stream, peer, &told)).await.is_none() {
                    return;
                }
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "a connection was not accepted");
                shard.rt.sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// What `work` gives, unless the listener is closed first.
async fn before<T>(
    mut closed: Pin<&mut oneshot::Receiver<()>>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        work.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Serves the connection as soon as the node may have one more, unless its address has too many.
/// `told` is when it was last told that connections wait.
async fn admit(shard: &Rc<Shard>, stream: Stream, peer: SocketAddr, told: &Cell<Option<Instant>>) {
    let limits = &shard.connection_limits;
    let admitted = loop {
        match limits.admit(peer.ip()) {
            Ok(admitted) => break admitted,
            Err(Refusal::Busy) => shard.rt.sleep(COUNT_RETRY).await,
            Err(Refusal::TooManyOfAddress(connections_max)) => {
                shard.metrics.connection_refused();
                tracing::warn!(%peer, connections_max, "refused: too many of this address");
                return;
            }
            Err(Refusal::Full) => {
                let now = shard.rt.now();
                if told.get().is_none_or(|told| now >= told + FULL_TOLD_EVERY) {
                    told.set(Some(now));
                    let descriptors_allow = shard.node.descriptors.connections;
                    tracing::warn!(%peer, descriptors_allow, "max.connections is reached, or as \
                        many as RLIMIT_NOFILE allows; new connections wait");
                }
                limits.wait_for_room(shard.id()).await;
            }
        }
    };
    shard.metrics.connection_opened();
    shard.rt.spawn(serve(shard.clone(), Arrival::accepted(stream, peer), admitted));
}

/// Serves a connection here, and hands it on when it is to go on elsewhere.
async fn serve(shard: Rc<Shard>, arrival: Arrival, admitted: Admitted) {
    let departure = connection::serve(shard.clone(), arrival).await;
    shard.metrics.connection_closed();
    if let Some((to, departure)) = departure {
        // One that meets a shard which has ended is dropped, and with it closed.
        let job = move |shard: &Rc<Shard>| go_on(shard, departure, admitted);
        shard.mesh.send(to, Box::new(job));
    }
}

/// Serves a connection that another shard had.
fn go_on(shard: &Rc<Shard>, departure: Departure, admitted: Admitted) {
    if shard.stopping.get() {
        return;
    }
    match Arrival::moved(shard, departure) {
        Ok(arrival) => {
            shard.metrics.connection_taken_over();
            shard.rt.spawn(serve(shard.clone(), arrival, admitted));
        }
        Err(error) => tracing::warn!(%error, "a connection between two shards was closed"),
    }
}
