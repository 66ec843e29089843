//! The work that a connection asks for: the table of APIs, and the other shards.

use std::rc::Rc;

use bytes::Bytes;
use ringlog_runtime::ShardId;
use ringlog_wire::ApiKey;

use crate::fetch_session::TakenSession;
use crate::handlers::{api_row, api_versions, memory_need};
use crate::network::answers::Answer;
use crate::network::connection::Peer;
use crate::network::listener::{self, Moving};
use crate::network::request::{Held, Request};
use crate::network::request_memory::MemoryNeed;
use crate::network::work::{Luggage, Service, Work};
use crate::shard::Shard;

impl Service for Shard {
    fn memory_need(&self, api_key: i16) -> MemoryNeed {
        memory_need(api_key)
    }

    fn take(self: Rc<Self>, peer: &Rc<Peer>, frame: Bytes, held: &Held) -> Work {
        dispatch(&self, peer, frame, held)
    }

    fn ended(self: Rc<Self>, peer: &Peer) -> Option<Luggage> {
        // With the connection its session ends, unless it goes along.
        let session = self.fetch_sessions.borrow_mut().take(peer.fetch_session.get())?;
        Some(Box::new(session))
    }

    fn arrived(self: Rc<Self>, luggage: Luggage) {
        let session = luggage.downcast::<TakenSession>().expect("packed by `ended`");
        self.fetch_sessions.borrow_mut().put(*session, self.rt.now());
    }

    fn send_on(self: Rc<Self>, to: ShardId, moving: Moving) {
        // One that meets a shard which has ended is dropped, and with it closed.
        let job = |shard: &Rc<Shard>| listener::go_on(&shard.network, shard.clone(), moving);
        self.mesh.send(to, Box::new(job));
    }
}

/// Starts the work on one request frame.
///
/// Produce appends before this returns, or before what comes [`Work::First`] has ended, so that
/// requests of one connection append in order.
fn dispatch(shard: &Rc<Shard>, peer: &Rc<Peer>, frame: Bytes, held: &Held) -> Work {
    let mut request = match Request::parse(frame, peer.clone(), shard.rt.now(), held.clone()) {
        Ok(request) => request,
        Err(reason) => return Work::Done(Answer::Close(reason)),
    };
    let listener = request.peer.listener;
    match api_row(request.api).filter(|row| row.serves(listener, request.version)) {
        Some(row) => {
            request.may_ask(row.asks);
            (row.handle)(shard, request)
        }
        None => Work::Done(unsupported(&request)),
    }
}

/// An ApiVersions request of an unknown version is answered, so that the client can choose
/// another (KIP-511); nothing else can be, since not even the response's form is known.
fn unsupported(request: &Request) -> Answer {
    if request.api == ApiKey::ApiVersions {
        return api_versions::unsupported_version(request);
    }
    let Request { api, version, .. } = request;
    Answer::Close(format!("{api:?} version {version} is not served"))
}
