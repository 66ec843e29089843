//! Stops, kills, other shard counts, foreign directories.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringlog_client::{Acks, ProducerSettings};
use ringlog_wire::messages::produce_request::ProduceRequest;
use ringlog_wire::messages::produce_response::ProduceResponse;

use crate::node::{Node, PATIENCE, free_address, texts, values};
use crate::raw_client::{RawClient, batch, produce};

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

/// It was written once a minute: nodes that lived for less read all of it at each start.
#[tokio::test]
async fn recovery_points_are_written_soon_after_they_move() {
    let flags = ["--set", "ringlog.recovery.checkpoint.bytes=1048576"];
    let node = Node::start_with(Arc::new(tempfile::tempdir().unwrap()), &flags);
    node.create("moving", 1, &[]).await;
    node.produce("moving", 0, &values(3000, 1000), ProducerSettings::default()).await;
    let file = node.data().path().join("recovery-point-offset-checkpoint");
    let deadline = Instant::now() + PATIENCE;
    let recovery_point = loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let of_partition = text.lines().find_map(|line| line.strip_prefix("moving 0 "));
        match of_partition.map(|offset| offset.parse::<i64>().unwrap()) {
            Some(offset) if offset > 0 => break offset,
            _ => assert!(Instant::now() < deadline, "not written: {text}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(recovery_point <= 3000, "{recovery_point}");
    let node = Node::start_with(node.kill(), &[]);
    assert_eq!(texts(&node.consume("moving", 0, 0).await), values(3000, 1000));
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
async fn the_metadata_survives_as_snapshots() {
    // So small that every change is worth a snapshot, and only the newest is kept.
    let flags = [
        "--set",
        "metadata.log.max.record.bytes.between.snapshots=1",
        "--set",
        "metadata.max.retention.bytes=1",
    ];
    let mut node = Node::start_with(Arc::new(tempfile::tempdir().unwrap()), &flags);
    let mut expected = Vec::new();
    for round in 0..3 {
        for number in 0..3 {
            let name = format!("topic-{round}-{number}");
            node.create(&name, number + 1, &[("retention.ms", "77777")]).await;
            expected.push((name, number as usize + 1));
        }
        node.produce(&expected[0].0, 0, &values(5, 5), ProducerSettings::default()).await;
        let metadata = node.partition_dir("__cluster_metadata-0");
        let first_snapshot = first_in(&metadata, ".checkpoint").await;
        let end = first_snapshot.split_once('-').unwrap().0.to_owned();
        assert!(end > format!("{round:020}"), "{first_snapshot}");
        let data = if round == 1 { node.stop() } else { node.kill() };
        node = Node::start_with(data, &flags);
        let topics = node.client().await.topics().await.unwrap();
        let found = topics.iter().map(|topic| (topic.name.to_string(), topic.partitions.len()));
        let mut found: Vec<_> = found.collect();
        found.sort();
        assert_eq!(found, expected);
        assert_eq!(node.consume(&expected[0].0, 0, 0).await.len(), 5 * (round + 1));
    }
    let metadata = node.partition_dir("__cluster_metadata-0");
    let deadline = Instant::now() + PATIENCE;
    while first_in(&metadata, ".log").await.starts_with("00000000000000000000") {
        assert!(Instant::now() < deadline, "the log's beginning stays");
        expected.push((format!("topic-more-{}", expected.len()), 1));
        node.create(&expected[expected.len() - 1].0, 1, &[]).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let data = node.kill();
    for entry in std::fs::read_dir(&metadata).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "checkpoint") {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[200] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let said = Node::start_refused(data.path(), &[]);
    assert!(said.contains("from a backup") && said.contains(".checkpoint"), "{said}");
}

/// A topic was forgotten when the last batch of the metadata log was damaged, and the records of
/// the next topic of its name were written over its own.
#[tokio::test]
async fn a_damaged_metadata_log_is_refused_and_left_as_it_is() {
    let node = Node::start();
    node.create("early", 1, &[]).await;
    node.create("late", 1, &[]).await;
    let sent = values(20, 20);
    node.produce("late", 0, &sent, ProducerSettings::default()).await;
    let metadata = node.partition_dir("__cluster_metadata-0");
    let data = node.stop();
    let path = metadata.join(first_in(&metadata, ".log").await);
    let whole = std::fs::read(&path).unwrap();
    // In the last batch; then in one with others behind it; then all of the last batch.
    let mut damages = vec![whole.clone(), whole.clone(), whole[..whole.len() - 30].to_vec()];
    damages[0][whole.len() - 10] ^= 4;
    damages[1][whole.len() / 2] ^= 4;
    for damaged in damages {
        std::fs::write(&path, &damaged).unwrap();
        for _ in 0..2 {
            let said = Node::start_refused(data.path(), &[]);
            for part in [&*path.to_string_lossy(), "at position ", "from a backup"] {
                assert!(said.contains(part), "{said}");
            }
            assert_eq!(std::fs::read(&path).unwrap(), damaged, "nothing is changed");
        }
    }
    std::fs::write(&path, &whole).unwrap();
    let node = Node::start_with(data, &[]);
    assert_eq!(texts(&node.consume("late", 0, 0).await), sent);
}

/// The first file of a directory with this ending, by name; waits until there is one.
async fn first_in(directory: &Path, ending: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let entries = std::fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        if let Some(first) = names.filter(|name| name.ends_with(ending)).min() {
            return first;
        }
        assert!(Instant::now() < deadline, "there is no {ending} in {}", directory.display());
        tokio::time::sleep(Duration::from_millis(50)).await;
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

/// With a changed bit in its id, the directory was another cluster's, and was served as that.
#[tokio::test]
async fn a_changed_cluster_id_is_refused() {
    let node = Node::start();
    node.create("mine", 1, &[]).await;
    let data = node.stop();
    let path = data.path().join("meta.properties");
    let sound = std::fs::read_to_string(&path).unwrap();
    let at = sound.find("cluster.id=").unwrap() + "cluster.id=".len() + 3;
    let mut changed = sound.clone().into_bytes();
    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
    std::fs::write(&path, &changed).unwrap();
    let said = Node::start_refused(data.path(), &[]);
    assert!(said.contains("checksum does not match") && said.contains("cluster.id"), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), changed, "nothing is written");
    // Who changes it by hand takes the checksum out, and it is made anew.
    let by_hand: Vec<&str> = sound.lines().filter(|line| !line.starts_with('#')).collect();
    std::fs::write(&path, by_hand.join("\n") + "\n").unwrap();
    let _data = Node::start_with(data, &[]).stop();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), sound);
}

#[tokio::test]
async fn a_directory_in_use_is_refused() {
    let node = Node::start();
    let said = Node::start_refused(node.data().path(), &[]);
    assert!(said.contains("another process uses it"), "{said}");
    node.create("still-there", 1, &[]).await;
}

/// Records that were in work at a stop were written and never acknowledged: their senders sent them
/// once more.
#[tokio::test]
async fn what_is_in_work_at_a_stop_is_answered() {
    const VERSION: i16 = 9;
    const IN_FLIGHT: usize = 20;
    let mut node = Node::start();
    node.create("t", 4, &[]).await;
    let mut answered = [0; 4];
    for _ in 0..3 {
        let senders: Vec<_> = (0..4)
            .map(|partition| {
                let mut client = RawClient::connect(&node);
                let request = produce("t", partition, batch(&values(1, 5_000)), 30_000);
                let receive = move |client: &mut RawClient| {
                    let frame = client.receive::<ProduceRequest<'_>>(VERSION)?;
                    let response: ProduceResponse<'_> = frame.decode();
                    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
                    Some(())
                };
                std::thread::spawn(move || {
                    let (mut sent, mut answers) = (0, 0);
                    loop {
                        if sent - answers < IN_FLIGHT && client.send(VERSION, &request).is_ok() {
                            sent += 1;
                            continue;
                        }
                        match receive(&mut client) {
                            Some(()) => answers += 1,
                            None => return answers,
                        }
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(150)).await;
        let data = node.stop();
        for (answered, sender) in answered.iter_mut().zip(senders) {
            *answered += sender.join().unwrap();
        }
        node = Node::start_with(data, &["--shards", "2"]);
    }
    assert!(answered.iter().all(|answered| *answered > 0));
    for partition in 0..4 {
        let written = node.consume("t", partition, 0).await.len();
        assert_eq!(written, answered[partition as usize], "partition {partition}");
    }
}

/// A killed node's listener outlives it for some milliseconds, and one that is started at once
/// found its address taken.
#[tokio::test]
async fn an_address_that_becomes_free_is_waited_for() {
    let address = free_address();
    let taken = std::net::TcpListener::bind(address).unwrap();
    let data = Arc::new(tempfile::tempdir().unwrap());
    let refused_from = Instant::now() + Duration::from_secs(1);
    let said = Node::start_refused_at(address, data.path(), &[]);
    assert!(Instant::now() >= refused_from, "it may become free");
    assert!(said.contains("cannot listen on") && said.contains("--listen HOST:PORT"), "{said}");
    let freed = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(taken);
    });
    let mut node = Node::start_at(address, data, &[]);
    freed.join().unwrap();
    for _ in 0..5 {
        node = Node::start_at(address, node.kill(), &[]);
    }
    node.create("there", 1, &[]).await;
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
