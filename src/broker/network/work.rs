//! The things that the network asks of the floors above it: work on a frame, and the way to other
//! shards.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use ringlog_runtime::ShardId;

use crate::network::answers::Answer;
use crate::network::connection::Peer;
use crate::network::listener::Moving;
use crate::network::request::Held;
use crate::network::request_memory::MemoryNeed;

/// State of a connection that is kept above the network, while it moves to another shard.
pub(crate) type Luggage = Box<dyn Any + Send>;

/// The worker on what connections bring. Three virtual calls for each frame.
pub(crate) trait Service {
    /// The memory that a request with this key claims before it is taken up.
    fn memory_need(&self, api_key: i16) -> MemoryNeed;

    /// Begins the work on one request frame.
    fn take(self: Rc<Self>, peer: &Rc<Peer>, frame: Bytes, held: &Held) -> Work;

    /// Forgets what is kept about a connection that ends here, and returns it for the case that the
    /// connection goes on elsewhere.
    fn ended(self: Rc<Self>, peer: &Peer) -> Option<Luggage>;

    /// Takes over what another shard kept about a connection that goes on here.
    fn arrived(self: Rc<Self>, luggage: Luggage);

    /// Has another shard go on with a connection.
    fn send_on(self: Rc<Self>, to: ShardId, moving: Moving);
}

/// The work on one request.
pub(crate) enum Work {
    /// The work is done.
    Done(Answer),
    /// The work goes on.
    Later(Pin<Box<dyn Future<Output = Answer>>>),
    /// The work begins later, and nothing else of the connection may begin before it. It is not
    /// `First` again then.
    First(Pin<Box<dyn Future<Output = Work>>>),
}

impl Work {
    pub(crate) fn later(future: impl Future<Output = Answer> + 'static) -> Work {
        Work::Later(Box::pin(future))
    }

    pub(crate) fn first(future: impl Future<Output = Work> + 'static) -> Work {
        Work::First(Box::pin(future))
    }
}
