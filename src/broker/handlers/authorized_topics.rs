//! Topics as a request may use them: what it may not, it does not learn anything about.

use std::collections::HashMap;
use std::rc::Rc;

use ringlog_types::ErrorCode;

use crate::authorizer::{Operation, Resource};
use crate::network::request::Request;
use crate::replicas::topics::{TopicEntry, TopicRef};
use crate::shard::Shard;

/// Finds a topic for an operation on it. One that is asked for by a name that may not be used is
/// refused whether it exists or not; an id that is nobody's has no name to ask about.
pub(crate) fn find(
    shard: &Shard,
    request: &Request,
    operation: Operation,
    topic: &TopicRef,
) -> Result<Rc<TopicEntry>, ErrorCode> {
    let found = shard.replicas.topics.find(topic);
    let name = match (topic, &found) {
        (TopicRef::Name(name), _) => name,
        (TopicRef::Id(_), Ok(entry)) => &entry.name,
        (TopicRef::Id(_), Err(error)) => return Err(*error),
    };
    match may(shard, request, operation, name) {
        true => found,
        false => Err(ErrorCode::TopicAuthorizationFailed),
    }
}

/// Whether the request may do that to a topic of this name.
pub(crate) fn may(shard: &Shard, request: &Request, operation: Operation, name: &str) -> bool {
    request.authorize(shard.node.authorizer, operation, Resource::Topic(name))
}

/// How often each name stands in a request: repeated ones are refused whoever asks.
pub(crate) fn occurrences<'a>(names: impl Iterator<Item = &'a str>) -> HashMap<String, usize> {
    let mut times = HashMap::new();
    for name in names {
        *times.entry(name.to_owned()).or_default() += 1;
    }
    times
}
