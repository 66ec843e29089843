//! Where replicas are, and what becomes of those that are nowhere.

use ringlog_types::{BrokerId, Uuid};

use super::{Node, topic};
use crate::{DirectoriesAtStart, DirectoryAssignment};

#[test]
fn a_directory_is_recorded_once_and_leads_to_no_new_epoch() {
    let mut node = Node::start();
    node.create(vec![topic("a", 2, 1)]);
    let topic_id = node.controller.image().topic("a").unwrap().id;
    let assign = |partition, directory| DirectoryAssignment { topic_id, partition, directory };
    let moved = Some(Uuid::from_u128(4712));
    let assignments = [assign(0, moved), assign(1, None), assign(7, moved)];
    let decision = node.controller.assign_directories(BrokerId(1), &assignments);
    assert_eq!(decision.records.len(), 2, "there is no partition 7");
    node.commit(decision);
    let topic = node.controller.image().topic("a").unwrap();
    assert_eq!(topic.partitions[&0].directories, [Uuid::from_u128(4712)]);
    assert_eq!(topic.partitions[&1].directory(BrokerId(1)), Uuid::from_u128(1), "DirectoryId.LOST");
    assert_eq!(topic.partitions[&0].directory(BrokerId(2)), Uuid::ZERO, "no replica of broker 2");
    let first = &topic.partitions[&0];
    assert_eq!((first.leader, first.leader_epoch), (BrokerId(1), 0));
    assert!(node.controller.assign_directories(BrokerId(1), &assignments).records.is_empty());
    assert!(node.controller.assign_directories(BrokerId(2), &assignments).records.is_empty());
}

#[test]
fn only_a_log_that_cannot_be_elsewhere_is_made() {
    let id = Uuid::from_u128;
    let (here, away, unknown, lost, migrating) = (id(1000), id(1001), id(0), id(1), id(2));
    for (recorded, one_is_missing, expected) in [
        (here, false, true),
        (here, true, true),
        (away, false, false),
        (away, true, false),
        (unknown, false, true),
        (unknown, true, false),
        (migrating, false, true),
        (migrating, true, false),
        (lost, false, false),
        (lost, true, false),
    ] {
        let directories = DirectoriesAtStart { online: vec![here], one_is_missing };
        let may_create = directories.may_create(recorded);
        assert_eq!(may_create, expected, "{recorded}, {one_is_missing}");
    }
}
