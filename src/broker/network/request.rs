//! One request: its header, its body, and how to answer it.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use ringlog_runtime::{Instant, Piece};
use ringlog_wire::{
    ApiKey, Body, Chunk, DecodeError, EncodeError, Encoded, Message, Reader, RequestHeader, Writer,
    encode_response_header, frame,
};

use crate::authorizer::{Ask, Authorizer, Operation, Resource, ResourceKind};
use crate::network::answers::{Answer, ResponseFrame};
use crate::network::connection::Peer;
use crate::network::pace::Record;
use crate::network::request_memory::{ANSWER_BYTES_UNCOUNTED, Claim, RequestMemory};

/// The memory a request has claimed, held by its handler and its connection.
#[derive(Clone)]
pub(crate) struct Held(Rc<HeldMemory>);

struct HeldMemory {
    claim: Cell<Option<Claim>>,
    /// For an answer that is larger than the request stands for.
    answer_claim: Cell<Option<Claim>>,
    /// Bytes encoded as its answer. Records are counted where their buffers come from, and a
    /// body that is kept for others is nobody's.
    answer_bytes: Cell<usize>,
    /// How its peer moves.
    record: Rc<Record>,
}

impl Held {
    pub(crate) fn new(claim: Claim, record: Rc<Record>) -> Held {
        let claim = Cell::new(Some(claim));
        let (answer_claim, answer_bytes) = (Cell::new(None), Cell::new(0));
        Held(Rc::new(HeldMemory { claim, answer_claim, answer_bytes, record }))
    }

    /// Sees to it that this much is claimed for the answer. A request that has to wait for it holds
    /// what it stands for meanwhile.
    pub(crate) async fn claim_answer(&self, memory: &RequestMemory, bytes: usize) {
        let claim = self.0.claim.take();
        let has_enough = claim.as_ref().is_some_and(|claim| claim.bytes() >= bytes);
        self.0.claim.set(claim);
        drop(self.0.answer_claim.take());
        if !has_enough {
            let claim = memory.claim_answer(bytes, self.0.record.standing()).await;
            self.0.answer_claim.set(Some(claim));
        }
    }

    /// Gives the claim back: hardly anything is held from now on.
    pub(crate) fn release(&self) {
        drop((self.0.claim.take(), self.0.answer_claim.take()));
    }

    /// Holds this much from now on: it is less, or taken already.
    pub(crate) fn shrink_to(&self, bytes: usize) {
        if let Some(claim) = self.0.claim.take() {
            claim.force(bytes);
            self.0.claim.set(Some(claim));
        }
    }

    /// The claim that the answer holds until it is sent; none if that is little.
    pub(crate) fn into_claim_of_answer(self, memory: &RequestMemory) -> Option<Claim> {
        let bytes = self.0.answer_bytes.get();
        let (claim, answer_claim) = (self.0.claim.take(), self.0.answer_claim.take());
        // What was claimed for the answer is the answer's.
        let claim = answer_claim.or(claim);
        if bytes <= ANSWER_BYTES_UNCOUNTED {
            return None;
        }
        match claim {
            Some(claim) => {
                claim.force(bytes);
                Some(claim)
            }
            None => Some(memory.force(bytes)),
        }
    }

    /// Counts bytes that the answer takes, until it is sent.
    pub(crate) fn count_answer(&self, bytes: usize) {
        self.0.answer_bytes.set(self.0.answer_bytes.get() + bytes);
    }
}

/// A request whose header has been read.
pub(crate) struct Request {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    /// The header's own bytes; empty once they are not needed any more.
    header: Bytes,
    /// The bytes that follow the header.
    pub(crate) body: Bytes,
    pub(crate) peer: Rc<Peer>,
    pub(crate) arrived: Instant,
    /// The part of the shard's memory that it holds, until its answer is sent.
    pub(crate) held: Held,
    asks: &'static [Ask],
}

impl Request {
    /// Reads the header. The error is the reason to close the connection with.
    pub(crate) fn parse(
        frame: Bytes,
        peer: Rc<Peer>,
        arrived: Instant,
        held: Held,
    ) -> Result<Request, String> {
        let mut reader = Reader::new(&frame);
        let header = RequestHeader::decode(&mut reader)
            .map_err(|error| format!("a request header that cannot be read: {error}"))?;
        let body_at = frame.len() - reader.remaining();
        Ok(Request {
            api: header.api,
            version: header.version,
            correlation_id: header.correlation_id,
            header: frame.slice(..body_at),
            body: frame.slice(body_at..),
            peer,
            arrived,
            held,
            asks: &[],
        })
    }

    /// Says what its handler may ask the authorizer about, as the table of APIs has it.
    pub(crate) fn may_ask(&mut self, asks: &'static [Ask]) {
        self.asks = asks;
    }

    /// Whether the principal of this request may do that.
    pub(crate) fn authorize(
        &self,
        authorizer: Authorizer,
        operation: Operation,
        resource: Resource<'_>,
    ) -> bool {
        let ask = (operation, resource.kind());
        assert!(self.asks.contains(&ask), "{:?} asks about {ask:?}: not in its row", self.api);
        authorizer.allows(&self.peer.principal, operation, resource)
    }

    /// Whether the principal of this request may do that to topics, to be asked later, and on
    /// another shard.
    pub(crate) fn authorize_topics(
        &self,
        authorizer: Authorizer,
        operation: Operation,
    ) -> impl Fn(&str) -> bool + Send + 'static {
        let ask = (operation, ResourceKind::Topic);
        assert!(self.asks.contains(&ask), "{:?} asks about {ask:?}: not in its row", self.api);
        let principal = self.peer.principal.clone();
        move |topic| authorizer.allows(&principal, operation, Resource::Topic(topic))
    }

    /// The client's name for itself; empty if it does not say. Not to be asked once the request is
    /// [without its bytes](Request::without_body).
    pub(crate) fn client_id(&self) -> Cow<'_, str> {
        let header = RequestHeader::decode(&mut Reader::new(&self.header));
        header.ok().and_then(|header| header.client_id).unwrap_or_default()
    }

    /// Decodes the body; the error is the answer that closes the connection.
    pub(crate) fn decode<'a, M: Message<'a>>(&'a self) -> Result<M, Answer> {
        let mut reader = Reader::new(&self.body);
        M::decode(&mut reader, self.version).map_err(|error| self.undecodable(&error))
    }

    /// The answer to a body that cannot be read: hanging up, with the reason in the log.
    pub(crate) fn undecodable(&self, error: &DecodeError) -> Answer {
        let (api, version) = (self.api, self.version);
        Answer::Close(format!("a {api:?} request (version {version}): {error}"))
    }

    /// The same request without its bytes, for work that no longer needs them.
    pub(crate) fn without_body(mut self) -> Request {
        self.header = Bytes::new();
        self.body = Bytes::new();
        self
    }

    /// The response as a frame.
    pub(crate) fn respond<'a>(&self, response: &impl Message<'a>) -> Answer {
        self.respond_in_version(response, self.version)
    }

    /// A response that `write` writes, as a frame. Records that it leaves out, as external ones,
    /// it adds as pieces; their place in the list is their id.
    pub(crate) fn respond_with_records(
        &self,
        write: impl FnOnce(&mut Writer, &mut Vec<Vec<Piece>>) -> Result<(), EncodeError>,
    ) -> Answer {
        let mut records = Vec::new();
        let frame = frame::encode_with(|writer| {
            encode_response_header(writer, self.api, self.version, self.correlation_id);
            write(writer, &mut records)
        });
        match frame {
            Ok(encoded) => self.answer(encoded, &records),
            Err(error) => self.unencodable(&error),
        }
    }

    /// The response in another version than the request's: only ApiVersions has that.
    pub(crate) fn respond_in_version<'a>(
        &self,
        response: &impl Message<'a>,
        version: i16,
    ) -> Answer {
        match frame::encode_response(self.api, version, self.correlation_id, response) {
            Ok(encoded) => self.answer(encoded, &[]),
            Err(error) => self.unencodable(&error),
        }
    }

    /// An answer that has memory of its own.
    fn answer(&self, encoded: Encoded, records: &[Vec<Piece>]) -> Answer {
        let bytes = encoded.chunks.iter().map(|chunk| match chunk {
            Chunk::Bytes(bytes) => bytes.len(),
            Chunk::External { .. } => 0,
        });
        self.held.count_answer(bytes.sum());
        response_frame(encoded, records)
    }

    /// The body of a response, to be kept and sent more than once.
    pub(crate) fn encode_body<'a>(&self, response: &impl Message<'a>) -> Result<Body, Answer> {
        let mut writer = Writer::new();
        match response.encode(&mut writer, self.version) {
            Ok(()) => Ok(writer.into_body()),
            Err(error) => Err(self.unencodable(&error)),
        }
    }

    /// The frame of a body that is of this answer alone.
    pub(crate) fn respond_with_body(&self, body: &Body) -> Answer {
        self.held.count_answer(body.bytes.len());
        self.respond_encoded(body)
    }

    /// The frame of a body from [`Request::encode_body`].
    pub(crate) fn respond_encoded(&self, body: &Body) -> Answer {
        let frame = frame::encode_with(|writer| {
            encode_response_header(writer, self.api, self.version, self.correlation_id);
            writer.body(body);
            Ok(())
        });
        match frame {
            Ok(encoded) => response_frame(encoded, &[]),
            Err(error) => self.unencodable(&error),
        }
    }

    /// The answer where none can be written: hanging up, with the reason in the log.
    pub(crate) fn unencodable(&self, error: &EncodeError) -> Answer {
        let (api, version) = (self.api, self.version);
        Answer::Close(format!("no {api:?} response in version {version}: {error}"))
    }
}

fn response_frame(encoded: Encoded, records: &[Vec<Piece>]) -> Answer {
    let Encoded { chunks, throttle_time_at } = encoded;
    let mut pieces = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        match chunk {
            Chunk::Bytes(bytes) => pieces.push(Piece::Bytes(bytes)),
            Chunk::External { id, .. } => pieces.extend_from_slice(&records[id as usize]),
        }
    }
    Answer::Frame(ResponseFrame::new(pieces, throttle_time_at))
}
