//! Requests that the metadata source answers: what the handlers of all of them share.

use std::rc::Rc;

use bytes::Bytes;
use ringlog_types::ErrorCode;
use ringlog_wire::{Message, Reader};

use crate::metadata_source::{AskError, Asked};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::publisher;
use crate::shard::Shard;

/// Asks the metadata source what `body` says, which the client asked or a part of it, and answers
/// with what it says. `failed` is the answer when nothing could be changed.
pub(crate) async fn forward(
    shard: &Rc<Shard>,
    request: &Request,
    body: Bytes,
    failed: impl FnOnce(ErrorCode) -> Answer,
) -> Answer {
    let asked = Asked { api: request.api, version: request.version, body };
    match publisher::ask(shard, asked).await {
        Ok(response) => request.respond_encoded(&response),
        Err(AskError::Refused(error)) => failed(error),
        Err(AskError::Unencodable(error)) => request.unencodable(&error),
    }
}

/// Like [`forward`] with what is left of a request some of which was answered here: `complete`
/// makes the answer of that and what the metadata source says.
pub(crate) async fn forward_part(
    shard: &Rc<Shard>,
    request: &Request,
    body: Bytes,
    failed: impl FnOnce(ErrorCode) -> Answer,
    complete: impl FnOnce(&[u8]) -> Answer,
) -> Answer {
    let asked = Asked { api: request.api, version: request.version, body };
    match publisher::ask(shard, asked).await {
        Ok(response) => complete(&response.bytes),
        Err(AskError::Refused(error)) => failed(error),
        Err(AskError::Unencodable(error)) => request.unencodable(&error),
    }
}

/// What the metadata source has said.
pub(crate) fn said<'a, M: Message<'a>>(body: &'a [u8], version: i16) -> M {
    M::decode(&mut Reader::new(body), version).expect("the source encodes in this version")
}
