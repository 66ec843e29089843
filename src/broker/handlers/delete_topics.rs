//! DeleteTopics (key 20): by name or, from version 6, by id.

use std::rc::Rc;

use ringlog_types::{ErrorCode, Uuid};
use ringlog_wire::messages::delete_topics_request::DeleteTopicsRequest;
use ringlog_wire::messages::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};

use crate::authorizer::{Operation, Resource};
use crate::handlers::authorized_topics;
use crate::handlers::forwarded::{self, Forwarded, take_refused};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

struct DeleteTopics;

pub(crate) fn handle(shard: Rc<Shard>, request: Request) -> impl Future<Output = Answer> {
    forwarded::handle::<DeleteTopics>(shard, request)
}

impl Forwarded for DeleteTopics {
    type Request<'a> = DeleteTopicsRequest<'a>;
    type Response<'a> = DeleteTopicsResponse<'a>;
    type Outcome = DeletableTopicResult<'static>;

    fn check(asked: &DeleteTopicsRequest<'_>) -> Result<(), ErrorCode> {
        // Kafka's controller does not begin what is to be done by now.
        if asked.timeout_ms > 0 { Ok(()) } else { Err(ErrorCode::RequestTimedOut) }
    }

    /// Nothing is said about topics that may not be described (`ControllerApis.deleteTopics`).
    fn take_denied(
        shard: &Shard,
        request: &Request,
        asked: &mut DeleteTopicsRequest<'_>,
    ) -> Vec<Self::Outcome> {
        if request.authorize(shard.node.authorizer, Operation::Delete, Resource::Cluster) {
            return Vec::new();
        }
        let may = |operation, name: &str| authorized_topics::may(shard, request, operation, name);
        let refuse = |name: &str| {
            let exists = || shard.replicas.topics.by_name(name).is_some();
            // One that is not there is told to those who could see it.
            let is_allowed =
                may(Operation::Describe, name) && (!exists() || may(Operation::Delete, name));
            (!is_allowed).then(|| refused(Some(name), Uuid::ZERO))
        };
        let mut denied = take_refused(&mut asked.topic_names, |name| refuse(name));
        denied.extend(take_refused(&mut asked.topics, |topic| refuse(topic.name.as_ref()?)));
        denied.extend(take_refused(&mut asked.topics, |topic| {
            let by_id = topic.name.is_none().then_some(&topic.topic_id)?;
            let found = shard.replicas.topics.by_id(by_id)?;
            let is_allowed = may(Operation::Delete, &found.name);
            let is_shown = may(Operation::Describe, &found.name);
            (!is_allowed).then(|| refused(is_shown.then_some(&*found.name), found.id))
        }));
        denied
    }

    fn failed(asked: &DeleteTopicsRequest<'_>, error: ErrorCode) -> Vec<Self::Outcome> {
        let named = asked.topic_names.iter().map(|name| (Some(name), Uuid::ZERO));
        let states = asked.topics.iter().map(|topic| (topic.name.as_ref(), topic.topic_id));
        let outcomes = named.chain(states).map(|(name, topic_id)| DeletableTopicResult {
            name: name.map(|name| name.to_string().into()),
            topic_id,
            error_code: error.code(),
            ..Default::default()
        });
        outcomes.collect()
    }

    fn add(response: &mut DeleteTopicsResponse<'_>, outcomes: Vec<Self::Outcome>) {
        response.responses.extend(outcomes);
    }
}

fn refused(name: Option<&str>, topic_id: Uuid) -> DeletableTopicResult<'static> {
    DeletableTopicResult {
        name: name.map(|name| name.to_owned().into()),
        topic_id,
        error_code: ErrorCode::TopicAuthorizationFailed.code(),
        error_message: Some("Topic authorization failed.".into()),
    }
}
