//! What cannot be opened or is not there is offline, says so, and is there again when it can be:
//! nothing empty takes its place.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ringlog_client::{
    ConfigChange, ConfigOperation, ConfigResource, Producer, ProducerRecord, ProducerSettings,
};
use ringlog_record::BatchBuilder;
use ringlog_types::{BrokerId, ErrorCode, TopicPartition};
use ringlog_wire::Records;
use ringlog_wire::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use ringlog_wire::messages::fetch_response::FetchResponse;
use ringlog_wire::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use ringlog_wire::messages::produce_response::ProduceResponse;
use tempfile::TempDir;

use crate::metrics::get;
use crate::node::{Node, PATIENCE, free_address, texts, values};

const FLAGS: [&str; 2] = ["--shards", "2"];
const MARKER: &str = ".kafka_cleanshutdown";

/// The partitions of a topic that have no leader, with their offline replicas.
async fn leaderless(node: &Node, topic: &str) -> Vec<(i32, Vec<i32>)> {
    let topics = node.client().await.topics().await.unwrap();
    let topic = topics.iter().find(|known| *known.name == *topic).unwrap();
    let without = topic.partitions.iter().filter(|partition| partition.leader == BrokerId::NONE);
    let named = without
        .map(|partition| (partition.partition, BrokerId::numbers(&partition.offline_replicas)));
    named.collect()
}

async fn set_retention(node: &Node, resource: &ConfigResource, key: &str) {
    let operation = ConfigOperation::Set("777777777".into());
    let change = ConfigChange { name: key.into(), operation };
    node.client().await.alter_configs(resource, &[change], false).await.unwrap();
}

/// What a produce and a fetch are told by a node that is asked though it does not lead.
async fn produce_and_fetch(node: &Node, topic: &str, partition: i32) -> [i16; 2] {
    let client = node.client().await;
    let topics = client.topics().await.unwrap();
    let topic_id = topics.iter().find(|known| *known.name == *topic).unwrap().id;
    let mut batch = BatchBuilder::new(1_700_000_000_000);
    batch.push(1_700_000_000_000, None, Some(b"value"), &[]);
    let batch = batch.build().unwrap().0;
    let records = Some(Records::Borrowed(&batch));
    let partition_data = vec![PartitionProduceData { index: partition, records }];
    let name = topic.into();
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 5000,
        topic_data: vec![TopicProduceData { name, topic_id, partition_data }],
        ..Default::default()
    };
    let reply = client.request(ringlog_client::Node::Any, &request).await.unwrap();
    let produced: ProduceResponse<'_> = reply.decode().unwrap();
    let fetched = FetchPartition { partition, partition_max_bytes: 1000, ..Default::default() };
    let topic = FetchTopic { topic_id, partitions: vec![fetched], ..Default::default() };
    let request = FetchRequest { max_bytes: 1000, topics: vec![topic], ..Default::default() };
    let reply = client.request(ringlog_client::Node::Any, &request).await.unwrap();
    let fetched: FetchResponse<'_> = reply.decode().unwrap();
    [
        produced.responses[0].partition_responses[0].error_code,
        fetched.responses[0].partitions[0].error_code,
    ]
}

/// A log that had failed to open was replaced by an empty one with the next change of settings,
/// marked clean, and lost its start offset.
#[tokio::test]
async fn a_log_that_cannot_be_opened_stays_offline_and_is_shown() {
    let node = Node::start();
    node.create("t", 2, &[]).await;
    let sent = values(10, 40);
    for partition in [0, 1] {
        node.produce("t", partition, &sent, ProducerSettings::default()).await;
    }
    let partition = TopicPartition::new("t", 0);
    node.client().await.delete_records(&partition, 3).await.unwrap();
    let data = node.stop();
    let metadata = data.path().join("t-0/partition.metadata");
    let before = std::fs::read(&metadata).unwrap();
    std::fs::write(&metadata, "garbage\n").unwrap();

    let admin = free_address();
    let address = admin.to_string();
    let flags = ["--shards", "2", "--admin", &address];
    let node = Node::start_with(data, &flags);
    for _ in 0..2 {
        assert_eq!(leaderless(&node, "t").await, [(0, vec![1])]);
        let (status, said) = get(admin, "/health/ready");
        assert_eq!(status, 503, "{said}");
        assert!(said.contains("partition t-0 is offline") && said.contains("line 1"), "{said}");
        assert_eq!(
            produce_and_fetch(&node, "t", 0).await,
            [ErrorCode::KafkaStorageError.code(); 2]
        );
        assert_eq!(texts(&node.consume("t", 1, 0).await), sent);
        set_retention(&node, &ConfigResource::Topic("t".into()), "retention.ms").await;
        set_retention(&node, &ConfigResource::Broker(Some(BrokerId(1))), "log.retention.ms").await;
        node.client().await.create_partitions("t", 3).await.ok();
    }
    let data = node.stop();
    assert!(!data.path().join(MARKER).exists(), "t-0 was not closed");
    let starts = data.path().join("log-start-offset-checkpoint");
    assert!(std::fs::read_to_string(starts).unwrap().contains("t 0 3\n"));

    std::fs::write(&metadata, before).unwrap();
    let node = Node::start_with(data, &flags);
    assert_eq!(leaderless(&node, "t").await, []);
    assert_eq!(get(admin, "/health/ready").0, 200);
    assert_eq!(texts(&node.consume("t", 0, 3).await), sent[3..]);
    let earliest = node.consume("t", 0, 3).await[0].offset;
    assert_eq!(earliest, 3);
    let data = node.stop();
    assert!(data.path().join(MARKER).exists());
}

/// Two log directories of one node, and what stands aside of them.
struct TwoDirs {
    data: Arc<TempDir>,
    one: PathBuf,
    two: PathBuf,
    flag: String,
}

impl TwoDirs {
    fn new() -> TwoDirs {
        let data = Arc::new(tempfile::tempdir().unwrap());
        let (one, two) = (data.path().join("one"), data.path().join("two"));
        let flag = format!("{},{}", one.display(), two.display());
        TwoDirs { data, one, two, flag }
    }

    fn start(&self) -> Node {
        let flags = ["--data", self.flag.as_str(), FLAGS[0], FLAGS[1]];
        Node::start_with(self.data.clone(), &flags)
    }

    fn refused(&self) -> String {
        let flags = ["--data", self.flag.as_str(), FLAGS[0], FLAGS[1]];
        Node::start_refused(self.data.path(), &flags)
    }

    fn aside(&self) -> PathBuf {
        self.data.path().join("aside")
    }

    /// An empty mount point in the place of a directory.
    fn unmount(&self, directory: &Path) {
        std::fs::rename(directory, self.aside()).unwrap();
        std::fs::create_dir(directory).unwrap();
    }

    fn mount(&self, directory: &Path) {
        std::fs::remove_dir_all(directory).unwrap();
        std::fs::rename(self.aside(), directory).unwrap();
    }
}

/// An empty mount point was taken for a new directory, and the partitions of the disk that was
/// away were made anew.
#[tokio::test]
async fn partitions_of_a_directory_that_is_not_mounted_are_offline() {
    let dirs = TwoDirs::new();
    let node = dirs.start();
    node.create("t", 4, &[]).await;
    let sent = values(10, 10);
    for partition in 0..4 {
        node.produce("t", partition, &sent, ProducerSettings::default()).await;
    }
    node.kill();
    let is_in = |directory: &Path, index: i32| directory.join(format!("t-{index}")).exists();
    let away: Vec<_> = (0..4).filter(|index| is_in(&dirs.two, *index)).collect();
    assert_eq!(away.len(), 2, "the partitions are spread");
    let offline: Vec<_> = away.iter().map(|index| (*index, vec![1])).collect();
    dirs.unmount(&dirs.two);
    // By the second start the node has registered without the directory.
    for round in 0..3 {
        let node = dirs.start();
        assert_eq!(leaderless(&node, "t").await, offline);
        for index in 0..4 {
            assert_eq!(is_in(&dirs.one, index), !away.contains(&index));
            assert!(!is_in(&dirs.two, index));
        }
        node.create(&format!("new-{round}"), 2, &[]).await;
        if round == 1 {
            node.kill()
        } else {
            node.stop()
        };
    }
    dirs.mount(&dirs.two);
    let node = dirs.start();
    assert_eq!(leaderless(&node, "t").await, []);
    for partition in 0..4 {
        assert_eq!(texts(&node.consume("t", partition, 0).await), sent, "t-{partition}");
    }
    // What was made in the mount point is away now.
    let gone = [0, 1, 2].map(|round| format!("new-{round}"));
    for name in &gone {
        let in_one = |index: &i32| dirs.one.join(format!("{name}-{index}")).exists();
        let missing: Vec<_> = leaderless(&node, name).await.iter().map(|(at, _)| *at).collect();
        let expected: Vec<_> = [0, 1].into_iter().filter(|index| !in_one(index)).collect();
        assert_eq!(missing, expected, "{name}");
        node.client().await.delete_topic(name).await.unwrap();
        node.create(name, 2, &[]).await;
        assert_eq!(leaderless(&node, name).await, []);
    }
}

/// A second, empty cluster was begun beside the one whose disk was away.
#[tokio::test]
async fn without_the_metadata_log_a_used_directory_begins_no_cluster() {
    for topics in [0, 4] {
        let dirs = TwoDirs::new();
        let node = dirs.start();
        if topics > 0 {
            node.create("t", topics, &[]).await;
        }
        node.kill();
        assert!(dirs.one.join("__cluster_metadata-0").exists());
        dirs.unmount(&dirs.one);
        for _ in 0..2 {
            let said = dirs.refused();
            let hint = format!("{} is empty: is its disk mounted?", dirs.one.display());
            assert!(said.contains("__cluster_metadata-0") && said.contains(&hint), "{said}");
        }
        dirs.mount(&dirs.one);
        let node = dirs.start();
        assert_eq!(node.client().await.topics().await.unwrap().len(), usize::from(topics > 0));
    }
}

/// One partition that could not be opened cost every directory its marker, or none.
#[tokio::test]
async fn the_clean_marker_is_each_directorys_own() {
    let dirs = TwoDirs::new();
    let node = dirs.start();
    node.create("t", 4, &[]).await;
    node.stop();
    assert!(dirs.one.join(MARKER).exists() && dirs.two.join(MARKER).exists());
    let broken = (0..4).map(|index| dirs.two.join(format!("t-{index}")));
    let broken = broken.into_iter().find(|path| path.exists()).unwrap();
    std::fs::write(broken.join("00000000000000000000.log.swap"), "").unwrap();
    dirs.start().stop();
    assert!(dirs.one.join(MARKER).exists() && !dirs.two.join(MARKER).exists());
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_described_as_such() {
    let dirs = TwoDirs::new();
    dirs.start().stop();
    dirs.unmount(&dirs.two);
    std::fs::remove_dir(&dirs.two).unwrap();
    std::fs::write(&dirs.two, "not a directory").unwrap();
    let node = dirs.start();
    let described = node.client().await.log_dirs(BrokerId(1)).await.unwrap();
    let described: Vec<_> =
        described.iter().map(|dir| (PathBuf::from(&*dir.path), dir.error.is_some())).collect();
    assert_eq!(described, [(dirs.one.clone(), false), (dirs.two.clone(), true)]);
}

/// A failed write cost one partition; those beside it, on the same disk, were served on.
#[tokio::test]
async fn a_directory_that_fails_takes_all_its_partitions_along() {
    let dirs = TwoDirs::new();
    let node = dirs.start();
    node.create("t", 8, &[("segment.bytes", "1048576")]).await;
    node.create("idle", 2, &[]).await;
    let in_two = |name: &str| dirs.two.join(name).exists();
    let failing = (0..8).find(|index| in_two(&format!("t-{index}"))).unwrap();
    let expected = |topic: &str, partitions: i32| -> Vec<(i32, Vec<i32>)> {
        let offline = (0..partitions).filter(|index| in_two(&format!("{topic}-{index}")));
        offline.map(|index| (index, vec![1])).collect()
    };
    let (of_t, of_idle) = (expected("t", 8), expected("idle", 2));
    assert_eq!((of_t.len(), of_idle.len()), (4, 1), "the partitions are spread");
    assert_eq!(leaderless(&node, "t").await, []);
    // The next segment cannot be made. The client asks for a leader until it gives up.
    std::fs::remove_dir_all(dirs.two.join(format!("t-{failing}"))).unwrap();
    let values = values(60, 60_000);
    let produced = node.produce("t", failing, &values, ProducerSettings::default());
    let failed = async {
        while leaderless(&node, "t").await != of_t {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        produced = produced => panic!("the log cannot take so much: {produced:?}"),
        () = failed => {}
        () = tokio::time::sleep(PATIENCE) => panic!("{:?}", leaderless(&node, "t").await),
    }
    assert_eq!(leaderless(&node, "idle").await, of_idle);
    let idle = of_idle[0].0;
    assert_eq!(produce_and_fetch(&node, "idle", idle).await, [56; 2], "KAFKA_STORAGE_ERROR");
    assert_eq!(produce_and_fetch(&node, "idle", 1 - idle).await, [0; 2]);
    node.create("new", 2, &[]).await;
    assert!(dirs.one.join("new-0").exists() && dirs.one.join("new-1").exists());
    node.stop();
    assert!(dirs.one.join(MARKER).exists() && !dirs.two.join(MARKER).exists());
}

/// Has the directory of a partition of the topic `t` fail: its next segment cannot be made. What
/// is returned sends as long as it is kept.
async fn fail(node: &Node, partition_dir: &Path, partition: i32) -> Producer {
    std::fs::remove_dir_all(partition_dir).unwrap();
    let values = values(60, 60_000);
    let producer = Producer::new(node.client().await, ProducerSettings::default()).unwrap();
    for value in values {
        let record = ProducerRecord {
            topic: "t".into(),
            partition: Some(partition),
            value: Some(value.into()),
            ..ProducerRecord::default()
        };
        drop(producer.send(record).await);
    }
    producer
}

/// A node without any disk refused everything for ever, and no supervisor saw it.
#[tokio::test]
async fn a_node_without_a_log_directory_ends_with_a_code_of_its_own() {
    let node = Node::start();
    node.create("t", 1, &[("segment.bytes", "1048576")]).await;
    let _producer = fail(&node, &node.partition_dir("t-0"), 0).await;
    let (code, log) = node.wait_for_end().await;
    assert_eq!(code, Some(5), "{log}");
    assert!(log.contains("error: no log directory is left: ") && log.contains("t-0"), "{log}");
}

/// Nothing could be changed any more, and a start would not know of what it had.
#[tokio::test]
async fn without_the_metadata_logs_directory_the_node_halts_and_closes_the_others() {
    let dirs = TwoDirs::new();
    let node = dirs.start();
    node.create("t", 2, &[("segment.bytes", "1048576")]).await;
    let index = i32::from(!dirs.one.join("t-0").exists());
    let sent = values(10, 10);
    node.produce("t", 1 - index, &sent, ProducerSettings::default()).await;
    let _producer = fail(&node, &dirs.one.join(format!("t-{index}")), index).await;
    let (code, log) = node.wait_for_end().await;
    assert_eq!(code, Some(5), "{log}");
    assert!(log.contains("with the metadata log") && log.contains("has failed"), "{log}");
    assert!(!dirs.one.join(MARKER).exists() && dirs.two.join(MARKER).exists(), "{log}");
    // The disk is well again; what was on it is not.
    let node = dirs.start();
    assert_eq!(texts(&node.consume("t", 1 - index, 0).await), sent);
}

#[test]
fn a_start_without_a_usable_directory_has_that_code_too() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (code, said) = Node::start_fails(&file, &FLAGS);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("no log directory can be used"), "{said}");
}
