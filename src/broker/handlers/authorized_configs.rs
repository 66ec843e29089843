//! Whether a request may read or change the settings of a resource (`ControllerApis`,
//! `ConfigHelper`): those of topics and groups are theirs, all others are the cluster's.

use ringlog_metadata::ResourceType;
use ringlog_types::ErrorCode;

use crate::authorizer::{Operation, Resource};
use crate::network::request::Request;
use crate::shard::Shard;

/// The error and Kafka's words for it, if it may not. A type of resource that there is not is
/// nobody's, and refused by others.
pub(crate) fn check(
    shard: &Shard,
    request: &Request,
    operation: Operation,
    resource_type: i8,
    name: &str,
) -> Result<(), (ErrorCode, &'static str)> {
    let (resource, error, words) = match ResourceType::from_code(resource_type) {
        None => return Ok(()),
        Some(ResourceType::Topic) => (
            Resource::Topic(name),
            ErrorCode::TopicAuthorizationFailed,
            "Topic authorization failed.",
        ),
        Some(ResourceType::Group) => (
            Resource::Group(name),
            ErrorCode::GroupAuthorizationFailed,
            "Group authorization failed.",
        ),
        Some(_) => (
            Resource::Cluster,
            ErrorCode::ClusterAuthorizationFailed,
            "Cluster authorization failed.",
        ),
    };
    match request.authorize(shard.node.authorizer, operation, resource) {
        true => Ok(()),
        false => Err((error, words)),
    }
}
