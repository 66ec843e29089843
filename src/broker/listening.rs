//! Accepting connections: every shard listens on the same address (`SO_REUSEPORT`), and a
//! connection lives on the shard that accepted it.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use ringlog_runtime::{Listener, Stream};
use tokio::sync::oneshot;

use crate::connection;
use crate::shard::Shard;

/// How long to wait after a failed accept: the usual reason, too many open files, passes when
/// connections close.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Keeps the shard's listener open. Dropping it closes the listener.
pub(crate) struct Listening(
    #[expect(dead_code, reason = "its drop is the signal")] oneshot::Sender<()>,
);

/// Opens the shard's listener and serves what connects. Returns the address it got.
pub(crate) async fn start(shard: &Rc<Shard>, address: SocketAddr) -> std::io::Result<SocketAddr> {
    let listener = shard.rt.listen(address).await?;
    let address = listener.local_addr();
    let (open, closed) = oneshot::channel();
    shard.listening.set(Some(Listening(open)));
    shard.rt.spawn(accept_all(shard.clone(), listener, closed));
    Ok(address)
}

async fn accept_all(shard: Rc<Shard>, listener: Listener, closed: oneshot::Receiver<()>) {
    let mut closed = pin!(closed);
    loop {
        let accepted = {
            let mut accept = pin!(shard.rt.accept(&listener));
            poll_fn(|cx| {
                if closed.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                accept.as_mut().poll(cx).map(Some)
            })
            .await
        };
        match accepted {
            None => return,
            Some(Ok((stream, peer))) => admit(&shard, stream, peer),
            Some(Err(error)) => {
                tracing::warn!(%error, "a connection was not accepted");
                shard.rt.sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Serves the connection unless the shard has as many as it may (`max.connections`, shared out
/// evenly).
fn admit(shard: &Rc<Shard>, stream: Stream, peer: SocketAddr) {
    let connections_max = shard.node.config.max_connections.max(1) as usize;
    let connections_max = connections_max.div_ceil(shard.mesh.shards());
    if shard.connections.len() >= connections_max {
        shard.metrics.connection_refused();
        tracing::warn!(%peer, connections_max, "refused: too many connections");
        return;
    }
    shard.metrics.connection_opened();
    let served = connection::serve(shard.clone(), stream, peer);
    let shard = shard.clone();
    shard.rt.clone().spawn(async move {
        served.await;
        shard.metrics.connection_closed();
    });
}
