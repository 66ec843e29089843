//! DeleteTopics (key 20): by name or, from version 6, by id.

use std::rc::Rc;

use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::messages::delete_topics_request::DeleteTopicsRequest;
use ringlog_wire::messages::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};

use crate::authorizer::{Operation, Resource};
use crate::handlers::authorized_topics;
use crate::handlers::forwarded::{forward, forward_part, said};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let mut asked = match request.decode::<DeleteTopicsRequest>() {
        Ok(asked) if asked.timeout_ms > 0 => asked,
        // Kafka's controller does not begin what is to be done by now.
        Ok(_) => return failed(&request, ErrorCode::RequestTimedOut),
        Err(close) => return close,
    };
    let denied = take_denied(&shard, &request, &mut asked);
    let failed = |error| failed(&request, error);
    if denied.is_empty() {
        let body = request.body.clone();
        return forward(&shard, &request, body, failed).await;
    }
    let body = match request.encode_body(&asked) {
        Ok(body) => body.bytes,
        Err(close) => return close,
    };
    let add_denied = |body: &[u8]| {
        let mut response: DeleteTopicsResponse<'_> = said(body, request.version);
        response.responses.extend(denied);
        request.respond(&response)
    };
    forward_part(&shard, &request, body, failed, add_denied).await
}

/// Takes the topics out that may not be deleted, and says what they are answered: nothing about
/// those that may not be described (`ControllerApis.deleteTopics`).
fn take_denied(
    shard: &Shard,
    request: &Request,
    asked: &mut DeleteTopicsRequest<'_>,
) -> Vec<DeletableTopicResult<'static>> {
    let mut denied = Vec::new();
    if request.authorize(shard.node.authorizer, Operation::Delete, Resource::Cluster) {
        return denied;
    }
    let may = |operation, name: &str| authorized_topics::may(shard, request, operation, name);
    let mut is_allowed = |name: &str| {
        let exists = || shard.replicas.topics.by_name(name).is_some();
        // One that is not there is told to those who could see it.
        let is_allowed =
            may(Operation::Describe, name) && (!exists() || may(Operation::Delete, name));
        if !is_allowed {
            denied.push(refused(Some(name), Uuid::ZERO));
        }
        is_allowed
    };
    asked.topic_names.retain(|name| is_allowed(name));
    asked.topics.retain(|topic| topic.name.as_ref().is_none_or(|name| is_allowed(name)));
    asked.topics.retain(|topic| {
        let by_id = topic.name.is_none().then(|| shard.replicas.topics.by_id(&topic.topic_id));
        let Some(Some(found)) = by_id else { return true };
        let is_allowed = may(Operation::Delete, &found.name);
        if !is_allowed {
            let name = may(Operation::Describe, &found.name).then_some(&*found.name);
            denied.push(refused(name, found.id));
        }
        is_allowed
    });
    denied
}

fn refused(name: Option<&str>, topic_id: Uuid) -> DeletableTopicResult<'static> {
    DeletableTopicResult {
        name: name.map(|name| name.to_owned().into()),
        topic_id,
        error_code: ErrorCode::TopicAuthorizationFailed.code(),
        error_message: Some("Topic authorization failed.".into()),
    }
}

/// Nothing was written.
fn failed(request: &Request, error: ErrorCode) -> Answer {
    let asked = match request.decode::<DeleteTopicsRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    let named = asked.topic_names.iter().map(|name| (Some(name), Uuid::ZERO));
    let states = asked.topics.iter().map(|topic| (topic.name.as_ref(), topic.topic_id));
    let responses = named.chain(states).map(|(name, topic_id)| DeletableTopicResult {
        name: name.cloned(),
        topic_id,
        error_code: error.code(),
        ..Default::default()
    });
    request.respond(&DeleteTopicsResponse { responses: responses.collect(), ..Default::default() })
}
