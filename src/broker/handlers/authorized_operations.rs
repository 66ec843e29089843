//! The operations that a client may do, as it is told (KIP-430).
//!
//! The numbers are bit fields of `AclOperation` codes.

use crate::authorizer::{Operation, Resource};
use crate::network::request::Request;
use crate::shard::Shard;

/// "They were not asked for."
pub(crate) const OMITTED: i32 = i32::MIN;

const OF_TOPIC: &[Operation] = &[
    Operation::Read,
    Operation::Write,
    Operation::Create,
    Operation::Delete,
    Operation::Alter,
    Operation::Describe,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
];

const OF_CLUSTER: &[Operation] = &[
    Operation::Create,
    Operation::Alter,
    Operation::Describe,
    Operation::ClusterAction,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
    Operation::IdempotentWrite,
];

const OF_GROUP: &[Operation] = &[
    Operation::Read,
    Operation::Delete,
    Operation::Describe,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
];

/// Those of the operations that the request's principal may do.
fn allowed(shard: &Shard, request: &Request, all: &[Operation], resource: Resource<'_>) -> i32 {
    let authorizer = shard.node.authorizer;
    bits(all, |operation| authorizer.allows(&request.peer.principal, operation, resource))
}

fn bits(all: &[Operation], allows: impl Fn(Operation) -> bool) -> i32 {
    all.iter().filter(|operation| allows(**operation)).fold(0, |bits, op| bits | 1 << *op as u32)
}

/// On a topic.
pub(crate) fn of_topic(shard: &Shard, request: &Request, name: &str) -> i32 {
    allowed(shard, request, OF_TOPIC, Resource::Topic(name))
}

/// On the cluster, if that is asked for: nothing, if it may not even be described.
pub(crate) fn of_cluster(shard: &Shard, request: &Request, asked: bool) -> i32 {
    match asked {
        false => OMITTED,
        true if request.authorize(
            shard.node.authorizer,
            Operation::Describe,
            Resource::Cluster,
        ) =>
        {
            allowed(shard, request, OF_CLUSTER, Resource::Cluster)
        }
        true => 0,
    }
}

/// On a group, if that is asked for.
pub(crate) fn of_group(shard: &Shard, request: &Request, name: &str, asked: bool) -> i32 {
    match asked {
        true => allowed(shard, request, OF_GROUP, Resource::Group(name)),
        false => OMITTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_kafka() {
        assert_eq!((bits(OF_TOPIC, |_| true), bits(OF_CLUSTER, |_| true)), (3576, 8096));
        assert_eq!(bits(OF_GROUP, |_| true), 3400);
        assert_eq!(bits(OF_TOPIC, |_| false), 0);
    }
}
