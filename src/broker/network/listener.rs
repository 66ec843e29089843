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
use ringlog_wire::ListenerKind;
use tokio::sync::oneshot;

use crate::network::Network;
use crate::network::connection::{self, Arrival, Departure};
use crate::network::connection_limits::{Admitted, Refusal};
use crate::network::work::Service;

/// How long to wait after a failed accept: the usual reason, too many open files, passes when
/// connections close.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// How long another shard may take to count a connection: far less, if its thread runs.
const COUNT_RETRY: Duration = Duration::from_micros(50);

/// That connections wait is told this often, however many come.
const FULL_TOLD_EVERY: Duration = Duration::from_secs(30);

/// So many connections that came too soon a shard keeps open for a while.
const TURNED_AWAY_MAX: usize = 1000;
/// And for no longer than this.
const TURNED_AWAY_TIME_MAX: Duration = Duration::from_secs(1);

/// Keeps the shard's listener open. Dropping it closes the listener.
pub(crate) struct Listening(
    #[expect(dead_code, reason = "its drop is the signal")] oneshot::Sender<()>,
);

/// Opens the shard's listener and serves what connects. Returns the address it got.
pub(crate) async fn start(
    network: &Rc<Network>,
    service: Rc<dyn Service>,
    address: SocketAddr,
) -> std::io::Result<SocketAddr> {
    let listener = network.rt.listen(address).await?;
    if let Some(bytes) = network.shared.config.socket_send_buffer_bytes {
        listener.set_send_buffer_bytes(bytes)?;
    }
    let address = listener.local_addr();
    let (open, closed) = oneshot::channel();
    network.listening.set(Some(Listening(open)));
    network.rt.spawn(accept_all(network.clone(), service, listener, closed));
    Ok(address)
}

async fn accept_all(
    network: Rc<Network>,
    service: Rc<dyn Service>,
    listener: Listener,
    closed: oneshot::Receiver<()>,
) {
    let mut closed = pin!(closed);
    let told = Cell::new(None);
    loop {
        match before(closed.as_mut(), network.rt.accept(&listener)).await {
            None => return,
            Some(Ok((stream, peer))) => {
                let early = network.throttle.connected(peer.ip(), network.rt.now());
                if !early.is_zero() {
                    turn_away(&network, stream, peer, early);
                    continue;
                }
                let admitted = before(closed.as_mut(), admit(&network, peer, &told)).await;
                let Some(admitted) = admitted else { return };
                if let Some(admitted) = admitted {
                    network.metrics.connection_opened();
                    let kind = ListenerKind::Broker;
                    let arrival = Arrival::accepted(&network, stream, peer, kind);
                    let serving = serve(network.clone(), service.clone(), arrival, admitted);
                    network.rt.spawn(serving);
                }
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "a connection was not accepted");
                network.rt.sleep(ACCEPT_RETRY).await;
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

/// Closes a connection that its address opens too soon (KIP-612): after a while, so that one who
/// tries again at once is held back, unless too many are held already.
fn turn_away(network: &Rc<Network>, stream: Stream, peer: SocketAddr, early: Duration) {
    network.metrics.connection_refused();
    tracing::debug!(%peer, "refused: its address opens connections faster than its quota");
    let held = network.turned_away.get();
    if held < TURNED_AWAY_MAX {
        network.turned_away.set(held + 1);
        let network = network.clone();
        network.clone().rt.spawn(async move {
            network.rt.sleep(early.min(TURNED_AWAY_TIME_MAX)).await;
            network.turned_away.set(network.turned_away.get() - 1);
            drop(stream);
        });
    }
}

/// Waits until the node may have one connection more, unless its address has too many. `told` is
/// when it was last told that connections wait.
async fn admit(
    network: &Network,
    peer: SocketAddr,
    told: &Cell<Option<Instant>>,
) -> Option<Admitted> {
    let limits = &network.limits;
    loop {
        match limits.admit(peer.ip()) {
            Ok(admitted) => return Some(admitted),
            Err(Refusal::Busy) => network.rt.sleep(COUNT_RETRY).await,
            Err(Refusal::TooManyOfAddress(connections_max)) => {
                network.metrics.connection_refused();
                tracing::warn!(%peer, connections_max, "refused: too many of this address");
                return None;
            }
            Err(Refusal::Full) => {
                let now = network.rt.now();
                if told.get().is_none_or(|told| now >= told + FULL_TOLD_EVERY) {
                    told.set(Some(now));
                    let descriptors_allow = network.shared.descriptors.connections;
                    tracing::warn!(%peer, descriptors_allow, "max.connections is reached, or as \
                        many as RLIMIT_NOFILE allows; new connections wait");
                }
                limits.wait_for_room(network.id()).await;
            }
        }
    }
}

/// A connection on its way to another network, which still counts.
pub(crate) struct Moving {
    departure: Departure,
    admitted: Admitted,
}

/// Serves a connection here, and hands it on when it is to go on elsewhere.
async fn serve(
    network: Rc<Network>,
    service: Rc<dyn Service>,
    arrival: Arrival,
    admitted: Admitted,
) {
    let departure = connection::serve(network.clone(), service.clone(), arrival).await;
    network.metrics.connection_closed();
    if let Some((to, departure)) = departure {
        service.send_on(to, Moving { departure, admitted });
    }
}

/// Serves a connection that another shard had.
pub(crate) fn go_on(network: &Rc<Network>, service: Rc<dyn Service>, moving: Moving) {
    if network.is_stopping() {
        return;
    }
    let Moving { departure, admitted } = moving;
    match Arrival::moved(network, service.clone(), departure) {
        Ok(arrival) => {
            network.metrics.connection_taken_over();
            network.rt.spawn(serve(network.clone(), service, arrival, admitted));
        }
        Err(error) => tracing::warn!(%error, "a connection between two shards was closed"),
    }
}
