//! A number for the topics that a group reads: where it changes, the group is assigned anew.
//!
//! It is in the group's record, and the same that Kafka 4.1 computes (`Utils.computeGroupHash`):
//! XXH3 of each topic's id, name and partitions, and XXH3 of those. So a directory that is taken
//! over from Kafka, or given back, costs no rebalance; only where brokers have racks, which Kafka
//! puts in as well.

use std::collections::BTreeSet;
use std::hash::Hasher;
use std::rc::Rc;

use twox_hash::XxHash3_64;

use crate::group::cluster_view::{ClusterView, TopicFacts};

/// What Kafka begins the hash of a topic with.
const TOPIC_VERSION: u8 = 0;

/// The hash of the topics of these names that exist; 0 if none does.
pub(super) fn of_group(names: &BTreeSet<&Rc<str>>, topics: &dyn ClusterView) -> i64 {
    // Java's order of strings is that of their UTF-16 units.
    let mut existing: Vec<(Vec<u16>, i64)> = Vec::new();
    for name in names {
        if let Some(facts) = topics.by_name(name) {
            existing.push((name.encode_utf16().collect(), of_topic(name, facts)));
        }
    }
    if existing.is_empty() {
        return 0;
    }
    existing.sort_unstable();
    let mut hasher = XxHash3_64::new();
    for (_, hash) in existing {
        hasher.write(&hash.to_le_bytes());
    }
    hasher.finish() as i64
}

fn of_topic(name: &str, facts: TopicFacts) -> i64 {
    let mut hasher = XxHash3_64::new();
    hasher.write(&[TOPIC_VERSION]);
    let id = u128::from_be_bytes(facts.id.0);
    hasher.write(&((id >> 64) as u64).to_le_bytes());
    hasher.write(&(id as u64).to_le_bytes());
    let mut units = 0_i32;
    for unit in name.encode_utf16() {
        hasher.write(&unit.to_le_bytes());
        units += 1;
    }
    hasher.write(&units.to_le_bytes());
    hasher.write(&facts.partition_count.to_le_bytes());
    for index in 0..facts.partition_count {
        hasher.write(&index.to_le_bytes());
    }
    hasher.finish() as i64
}

#[cfg(test)]
mod tests {
    use ringlog_types::Uuid;

    use super::*;

    /// Computed with the library that Kafka 4.3 uses (hash4j 0.22).
    #[test]
    fn the_hash_is_kafkas() {
        let id = Uuid::from_u128((1 << 64) | 2);
        let facts = |partition_count| TopicFacts { id, partition_count };
        assert_eq!(of_topic("topic", facts(3)), -8_483_762_276_388_380_808);
        assert_eq!(of_topic("ä-name", facts(100)), 2_450_181_875_360_340_155);
    }
}
