//! Requests that the metadata source answers: all of a request, or the part of it that its
//! principal may ask for.
//!
//! 1. The parts that the principal may not ask for are taken out, each with its refusal.
//! 2. The rest goes to the source in the request's own version; the request's own bytes, if
//!    nothing was taken out.
//! 3. The refusals are added to what the source says.
//!
//! If the source could change nothing, every part is told so.

use std::rc::Rc;

use ringlog_runtime::WorkOwner;
use ringlog_types::ErrorCode;
use ringlog_wire::{ApiKey, Body, Message, Reader, Writer};

use crate::metadata_source::{AskError, Asked};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::network::throttle::{Client, Mutations};
use crate::publisher;
use crate::shard::Shard;

/// An API whose requests the metadata source answers part by part.
pub(crate) trait Forwarded {
    type Request<'a>: Message<'a>;
    type Response<'a>: Message<'a> + Default;
    /// The answer to one part.
    type Outcome;

    /// Refuses what is not begun, whoever asks.
    fn check(_asked: &Self::Request<'_>) -> Result<(), ErrorCode> {
        Ok(())
    }

    /// About what the answer takes, if that is more than its request stands for.
    fn answer_bytes(_asked: &Self::Request<'_>, _version: i16) -> usize {
        0
    }

    /// Takes the parts out that the request's principal may not ask for, with their refusals.
    fn take_denied(
        shard: &Shard,
        request: &Request,
        asked: &mut Self::Request<'_>,
    ) -> Vec<Self::Outcome>;

    /// The answer to every part when nothing could be changed.
    fn failed(asked: &Self::Request<'_>, error: ErrorCode) -> Vec<Self::Outcome>;

    fn add(response: &mut Self::Response<'_>, outcomes: Vec<Self::Outcome>);

    /// Whether the source may say what this request's principal must not see.
    fn is_reviewed(_shard: &Shard) -> bool {
        false
    }

    /// Hides that.
    fn review(_shard: &Shard, _request: &Request, _response: &mut Self::Response<'_>) {}
}

/// The handler of such an API.
pub(crate) async fn handle<F: Forwarded>(shard: Rc<Shard>, request: Request) -> Answer {
    let is_reviewed = F::is_reviewed(&shard);
    let (denied, body, answer_bytes) = {
        let mut asked = match request.decode::<F::Request<'_>>() {
            Ok(asked) => asked,
            Err(close) => return close,
        };
        if let Err(error) = F::check(&asked) {
            return failed::<F>(&request, error);
        }
        let answer_bytes = F::answer_bytes(&asked, request.version);
        let denied = F::take_denied(&shard, &request, &mut asked);
        match denied.is_empty() {
            true => (denied, request.body.clone(), answer_bytes),
            false => match request.encode_body(&asked) {
                Ok(body) => (denied, body.bytes, answer_bytes),
                Err(close) => return close,
            },
        }
    };
    if answer_bytes > 0 {
        request.held.claim_answer(&shard.network.memory, answer_bytes).await;
    }
    let work_owner = request.peer.work_owner;
    let mutations = mutations(&shard, &request);
    let asked = Asked { api: request.api, version: request.version, body, work_owner, mutations };
    match publisher::ask(&shard, asked).await {
        Ok(body) if denied.is_empty() && !is_reviewed => request.respond_with_body(&body),
        Ok(body) => {
            let mut response: F::Response<'_> = said(&body, request.version);
            F::review(&shard, &request, &mut response);
            F::add(&mut response, denied);
            request.respond(&response)
        }
        Err(AskError::Refused(error)) => failed::<F>(&request, error),
        Err(AskError::Unencodable(error)) => request.unencodable(&error),
    }
}

/// How many partitions the request may create or delete. From the versions on that have a word for
/// it, who used too much is refused; before, only held back (KIP-599).
fn mutations(shard: &Shard, request: &Request) -> Option<Mutations> {
    let strict_from = match request.api {
        ApiKey::CreateTopics => 6,
        ApiKey::DeleteTopics => 5,
        ApiKey::CreatePartitions => 3,
        _ => return None,
    };
    let client = Client { user: &request.peer.principal.name, client_id: &request.client_id() };
    let is_strict = request.version >= strict_from;
    shard.network.throttle.mutations(client, shard.rt.now(), is_strict)
}

fn failed<F: Forwarded>(request: &Request, error: ErrorCode) -> Answer {
    let asked = match request.decode::<F::Request<'_>>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let mut response = F::Response::default();
    F::add(&mut response, F::failed(&asked, error));
    request.respond(&response)
}

/// Takes the elements out that `refuse` refuses, with their refusals; both keep their order.
pub(crate) fn take_refused<P, R>(
    parts: &mut Vec<P>,
    mut refuse: impl FnMut(&P) -> Option<R>,
) -> Vec<R> {
    let mut refused = Vec::new();
    parts.retain(|part| match refuse(part) {
        None => true,
        Some(refusal) => {
            refused.push(refusal);
            false
        }
    });
    refused
}

/// Asks the metadata source on the node's own behalf.
pub(crate) async fn ask<'a, M: Message<'a>>(
    shard: &Rc<Shard>,
    request: &M,
) -> Result<Body, ErrorCode> {
    let api = ApiKey::from_number(M::API_KEY).expect("requests are asked");
    let version = M::MAX_VERSION;
    let mut writer = Writer::new();
    request.encode(&mut writer, version).map_err(|_| ErrorCode::UnknownServerError)?;
    let (body, work_owner) = (writer.into_bytes(), WorkOwner::NOBODY);
    let asked = Asked { api, version, body, work_owner, mutations: None };
    publisher::ask(shard, asked).await.map_err(|error| match error {
        AskError::Refused(error) => error,
        AskError::Unencodable(_) => ErrorCode::UnknownServerError,
    })
}

/// The answer of the metadata source.
pub(crate) fn said<'a, M: Message<'a>>(body: &'a Body, version: i16) -> M {
    let response = M::decode(&mut Reader::new(&body.bytes), version);
    response.expect("the source encodes in the version it is asked in")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_and_what_is_left_keep_their_order() {
        let mut parts = vec![1, 2, 3, 4, 5];
        let refused = take_refused(&mut parts, |part| (part % 2 == 0).then(|| part * 10));
        assert_eq!((parts, refused), (vec![1, 3, 5], vec![20, 40]));
        assert!(take_refused(&mut vec![1], |_| None::<i32>).is_empty());
    }
}
