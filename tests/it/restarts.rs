//! Stops, kills, other shard counts, foreign directories.

use std::sync::Arc;

use ringlog_client::{Acks, ProducerSettings};

use crate::node::{Node, texts, values};

#[tokio::test]
async fn acknowledged_records_survive_kills() {
    let mut node = Node::start();
    node.create("kept", 2, &[]).await;
    let mut expected = [Vec::new(), Vec::new()];
    for round in 0..3 {
        for partition in [0, 1] {
            let acks = if round % 2 == 0 { Acks::All } else { Acks::Leader };
            let settings =
                ProducerSettings { acks, idempotence: false, ..ProducerSettings::default() };
            let sent: Vec<String> =
                values(200, 300).iter().map(|value| format!("{round} {value}")).collect();
            node.produce("kept", partition, &sent, settings).await;
            expected[partition as usize].extend(sent);
        }
        let data = node.kill();
        node = Node::start_with(data, &["--shards", "2"]);
        for partition in [0, 1] {
            let read = node.consume("kept", partition, 0).await;
            assert_eq!(texts(&read), expected[partition as usize], "round {round}");
        }
    }
}

#[tokio::test]
async fn a_directory_opens_with_any_number_of_shards() {
    let data = Arc::new(tempfile::tempdir().unwrap());
    let mut expected = Vec::new();
    for (round, shards) in ["2", "1", "4", "2"].into_iter().enumerate() {
        let node = Node::start_with(data.clone(), &["--shards", shards]);
        if round == 0 {
            node.create("any", 5, &[]).await;
        }
        let sent = values(50, 20);
        for partition in 0..5 {
            node.produce("any", partition, &sent, ProducerSettings::default()).await;
        }
        expected.extend(sent);
        for partition in 0..5 {
            assert_eq!(texts(&node.consume("any", partition, 0).await), expected);
        }
        if round % 2 == 0 {
            node.stop();
        } else {
            node.kill();
        }
    }
}

#[tokio::test]
async fn another_nodes_directory_is_refused_and_left_as_it_is() {
    let node = Node::start();
    node.create("mine", 1, &[]).await;
    let data = node.stop();
    let before = std::fs::read(data.path().join("meta.properties")).unwrap();
    let said = Node::start_refused(data.path(), &["--node-id", "7"]);
    assert!(said.contains("belongs to node 1") && said.contains("--node-id 1"), "{said}");
    let said =
        Node::start_refused(data.path(), &["--set", "ringlog.cluster.id=AAAAAAAAAAAAAAAAAAAAAQ"]);
    assert!(said.contains("belongs to cluster"), "{said}");
    assert_eq!(std::fs::read(data.path().join("meta.properties")).unwrap(), before);
}

#[tokio::test]
async fn a_directory_in_use_is_refused() {
    let node = Node::start();
    let said = Node::start_refused(node.data().path(), &[]);
    assert!(said.contains("another process uses it"), "{said}");
    node.create("still-there", 1, &[]).await;
}

#[tokio::test]
async fn deleted_topics_do_not_come_back() {
    let node = Node::start();
    node.create("gone", 2, &[]).await;
    node.produce("gone", 0, &values(10, 10), ProducerSettings::default()).await;
    node.client().await.delete_topic("gone").await.unwrap();
    node.create("gone", 1, &[]).await;
    assert!(node.consume("gone", 0, 0).await.is_empty(), "a new topic of the same name");
    let node = Node::start_with(node.kill(), &["--shards", "2"]);
    assert!(node.consume("gone", 0, 0).await.is_empty());
    let topics = node.client().await.topics().await.unwrap();
    assert_eq!(topics.len(), 1);
}
