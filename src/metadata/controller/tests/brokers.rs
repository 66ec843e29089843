//! The node's registration, and the producer ids it takes.

use ringlog_types::{BrokerId, ErrorCode};

use super::{Node, topic};

#[test]
fn producer_ids_are_given_once() {
    let mut node = Node::start();
    let epoch = node.controller.image().broker(BrokerId(1)).unwrap().epoch;
    for first in [0, 1000, 2000] {
        let decision = node.controller.allocate_producer_ids(BrokerId(1), epoch).unwrap();
        let block = node.commit(decision);
        assert_eq!((block.first, block.len), (first, 1000));
    }
    let stale = node.controller.allocate_producer_ids(BrokerId(1), epoch - 1);
    assert_eq!(stale.unwrap_err(), ErrorCode::StaleBrokerEpoch);
    let unknown = node.controller.allocate_producer_ids(BrokerId(2), epoch);
    assert_eq!(unknown.unwrap_err(), ErrorCode::BrokerIdNotRegistered);
}

#[test]
fn an_unclean_stop_begins_new_leader_epochs() {
    let mut node = Node::start();
    node.create(vec![topic("a", 2, 1)]);
    let first_epoch = node.controller.image().broker(BrokerId(1)).unwrap().epoch;
    let image = node.controller.image().clone();
    let leader_epoch =
        |node: &Node| node.controller.image().topic("a").unwrap().partitions[&0].leader_epoch;
    let clean = Node::start_with(&[], image.clone(), true);
    assert_eq!(leader_epoch(&clean), 0);
    let unclean = Node::start_with(&[], image, false);
    assert_eq!(leader_epoch(&unclean), 1);
    let broker = unclean.controller.image().broker(BrokerId(1)).unwrap();
    assert!(broker.epoch > first_epoch);
    assert!(!broker.fenced);
}
