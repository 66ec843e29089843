//! What a client may do, as it is told (KIP-430): everything, as Kafka says without an authorizer.
//!
//! The numbers are bit fields of `AclOperation` codes.

/// "They were not asked for."
pub(crate) const OMITTED: i32 = i32::MIN;

/// READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
pub(crate) const OF_TOPIC: i32 = bits(&[3, 4, 5, 6, 7, 8, 10, 11]);

/// CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE.
const OF_CLUSTER: i32 = bits(&[5, 7, 8, 9, 10, 11, 12]);

/// READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
const OF_GROUP: i32 = bits(&[3, 6, 8, 10, 11]);

const fn bits(operations: &[u32]) -> i32 {
    let (mut field, mut at) = (0, 0);
    while at < operations.len() {
        field |= 1 << operations[at];
        at += 1;
    }
    field
}

/// On a topic, if that is asked for.
pub(crate) fn of_topic(asked: bool) -> i32 {
    if asked { OF_TOPIC } else { OMITTED }
}

/// On the cluster, if that is asked for.
pub(crate) fn of_cluster(asked: bool) -> i32 {
    if asked { OF_CLUSTER } else { OMITTED }
}

/// On a group, if that is asked for.
pub(crate) fn of_group(asked: bool) -> i32 {
    if asked { OF_GROUP } else { OMITTED }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_kafka() {
        assert_eq!((of_topic(true), of_cluster(true)), (3576, 8096));
        assert_eq!((of_group(true), of_group(false)), (3400, i32::MIN));
        assert_eq!((of_topic(false), of_cluster(false)), (i32::MIN, i32::MIN));
    }
}
