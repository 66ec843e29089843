//! What is left in a data directory must not become part of a new topic, and a new topic must not
//! overwrite it: checkpoints and directories of deleted topics, directories without the files that
//! say whose they are, logs that cannot be opened or are on a disk that is gone.
//!
//! A node that is killed at a certain moment is made by putting files back as they were then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringlog_client::{ConfigChange, ConfigOperation, ConfigResource, OffsetSpec, ProducerSettings};
use ringlog_types::TopicPartition;
use tempfile::TempDir;

use crate::node::{Node, texts, values};

const FLAGS: [&str; 2] = ["--shards", "2"];
const CHECKPOINTS: [&str; 3] = [
    "recovery-point-offset-checkpoint",
    "log-start-offset-checkpoint",
    "replication-offset-checkpoint",
];

async fn produce(node: &Node, topic: &str, count: usize) -> Vec<String> {
    let sent = values(count, 40);
    node.produce(topic, 0, &sent, ProducerSettings::default()).await;
    sent
}

/// A topic `t` with a start offset of 90 and an end of 100, stopped cleanly.
async fn with_start_offset() -> Arc<TempDir> {
    let node = Node::start();
    node.create("t", 1, &[]).await;
    node.create("other", 1, &[]).await;
    produce(&node, "t", 100).await;
    produce(&node, "other", 30).await;
    for (topic, before) in [("t", 90), ("other", 20)] {
        let partition = TopicPartition::new(topic, 0);
        node.client().await.delete_records(&partition, before).await.unwrap();
    }
    let data = node.stop();
    assert!(entries(data.path()).contains("log-start-offset-checkpoint: t 0 90\n"));
    data
}

/// The entries of all checkpoint files.
fn entries(log_dir: &Path) -> String {
    let mut all = String::new();
    for name in CHECKPOINTS {
        let text = std::fs::read_to_string(log_dir.join(name)).unwrap_or_default();
        text.lines().skip(2).for_each(|line| all.push_str(&format!("{name}: {line}\n")));
    }
    all
}

/// Every file below a directory, but for the lock.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if !path.ends_with(".lock") {
                let bytes = std::fs::read(&path).unwrap();
                found.insert(path.strip_prefix(directory).unwrap().to_owned(), bytes);
            }
        }
    }
    found
}

fn put_back(directory: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for (name, bytes) in files {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// The one directory that is called `<partition>.<id>-stray`.
fn stray(log_dir: &Path, partition: &str) -> PathBuf {
    let names = std::fs::read_dir(log_dir).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_stray =
        |name: &String| name.starts_with(&format!("{partition}.")) && name.ends_with("-stray");
    let found: Vec<String> = names.filter(is_stray).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    let id = found[0].strip_prefix(&format!("{partition}.")).unwrap();
    assert_eq!(id.len(), 32 + "-stray".len(), "{id}");
    log_dir.join(&found[0])
}

#[tokio::test]
async fn a_topic_made_again_does_not_inherit_checkpoints() {
    let node = Node::start_with(with_start_offset().await, &FLAGS);
    node.client().await.delete_topic("t").await.unwrap();
    let left = entries(node.data().path());
    assert!(!left.contains(": t "), "{left}");
    assert!(left.contains("log-start-offset-checkpoint: other 0 20\n"), "{left}");
    node.create("t", 1, &[]).await;
    let sent = produce(&node, "t", 95).await;
    let node = Node::start_with(node.kill(), &FLAGS);
    assert_eq!(texts(&node.consume("t", 0, 0).await), sent);
    assert_eq!(node.consume("other", 0, 20).await.len(), 10);
}

#[tokio::test]
async fn a_deletion_that_was_interrupted_leaves_a_stray() {
    let data = with_start_offset().await;
    let before = files(data.path());
    let is_of_t = |path: &&PathBuf| path.starts_with("t-0");
    let is_checkpoint = |path: &&PathBuf| CHECKPOINTS.iter().any(|name| path.ends_with(name));
    let node = Node::start_with(data, &FLAGS);
    node.client().await.delete_topic("t").await.unwrap();
    let data = node.kill();
    // Killed when the deletion was on disk and nothing was renamed.
    let mut undone = before.clone();
    undone.retain(|path, _| is_of_t(&path) || is_checkpoint(&path));
    put_back(data.path(), &undone);
    let node = Node::start_with(data, &FLAGS);
    assert!(!node.partition_dir("t-0").exists());
    let aside = stray(node.data().path(), "t-0");
    let left = entries(node.data().path());
    assert!(!left.contains(": t "), "{left}");
    assert!(left.contains("log-start-offset-checkpoint: other 0 20\n"), "{left}");
    node.create("t", 1, &[]).await;
    let sent = produce(&node, "t", 5).await;
    let mut node = Node::start_with(node.kill(), &FLAGS);
    for _ in 0..2 {
        assert_eq!(texts(&node.consume("t", 0, 0).await), sent);
        let (data, log) = node.stop_and_tell();
        assert!(log.contains(aside.file_name().unwrap().to_str().unwrap()), "{log}");
        node = Node::start_with(data, &FLAGS);
    }
    undone.retain(|path, _| is_of_t(&path));
    let kept: BTreeMap<PathBuf, Vec<u8>> = files(&aside)
        .into_iter()
        .map(|(path, bytes)| (Path::new("t-0").join(path), bytes))
        .collect();
    assert_eq!(kept, undone, "not a byte of it has changed");
}

#[tokio::test]
async fn an_earlier_topics_directory_is_not_the_new_ones() {
    let node = Node::start();
    node.create("t", 1, &[]).await;
    produce(&node, "t", 100).await;
    let data = node.stop();
    let earlier = files(&data.path().join("t-0"));
    let node = Node::start_with(data, &FLAGS);
    node.client().await.delete_topic("t").await.unwrap();
    node.create("t", 1, &[]).await;
    let data = node.kill();
    // As if the rename had not reached the disk, and the new directory neither.
    std::fs::remove_dir_all(data.path().join("t-0")).unwrap();
    put_back(&data.path().join("t-0"), &earlier);
    let node = Node::start_with(data, &FLAGS);
    let sent = produce(&node, "t", 3).await;
    let node = Node::start_with(node.kill(), &FLAGS);
    assert_eq!(texts(&node.consume("t", 0, 0).await), sent);
    assert_eq!(files(&stray(node.data().path(), "t-0")), earlier);
}

#[tokio::test]
async fn a_topic_of_which_only_the_record_was_written_starts_empty() {
    let node = Node::start();
    node.create("t", 1, &[]).await;
    let data = node.kill();
    // Killed before its directory was made, with what an earlier topic of the name left.
    std::fs::remove_dir_all(data.path().join("t-0")).unwrap();
    for name in CHECKPOINTS {
        std::fs::write(data.path().join(name), "0\n1\nt 0 90\n").unwrap();
    }
    let node = Node::start_with(data, &FLAGS);
    let sent = produce(&node, "t", 95).await;
    let node = Node::start_with(node.kill(), &FLAGS);
    assert_eq!(texts(&node.consume("t", 0, 0).await), sent);
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_is_not_replaced() {
    let data = with_start_offset().await;
    let swap = data.path().join("t-0/00000000000000000000.log.swap");
    std::fs::write(&swap, "").unwrap();
    let node = Node::start_with(data, &FLAGS);
    let change = ConfigChange {
        name: "retention.ms".into(),
        operation: ConfigOperation::Set("7777777".into()),
    };
    let topic = ConfigResource::Topic("t".into());
    node.client().await.alter_configs(&topic, &[change], false).await.unwrap();
    let data = node.stop();
    assert!(entries(data.path()).contains("log-start-offset-checkpoint: t 0 90\n"));
    assert!(!data.path().join(".kafka_cleanshutdown").exists(), "not all of it was looked at");
    let after: Vec<_> = files(&data.path().join("t-0")).into_keys().collect();
    assert!(after.iter().any(|name| name.ends_with("00000000000000000000.log.swap")), "{after:?}");
    std::fs::remove_file(&swap).unwrap();
    let node = Node::start_with(data, &FLAGS);
    let read = node.consume("t", 0, 90).await;
    assert_eq!(texts(&read), values(100, 40)[90..]);
    let partition = TopicPartition::new("t", 0);
    let earliest = [partition.clone()];
    let listed = node.client().await.list_offsets(&earliest, OffsetSpec::Earliest).await.unwrap();
    assert_eq!(listed[&partition].offset, Some(90), "what was deleted is not back");

    let data = node.stop();
    std::fs::write(&swap, "").unwrap();
    let node = Node::start_with(data, &FLAGS);
    node.client().await.delete_topic("t").await.unwrap();
    let aside = files(&stray(node.data().path(), "t-0"));
    assert!(aside.contains_key(Path::new("00000000000000000000.log.swap")));
    node.create("t", 1, &[]).await;
    let sent = produce(&node, "t", 3).await;
    assert_eq!(texts(&node.consume("t", 0, 0).await), sent);
}

/// Two log directories of one node.
fn two_dirs(data: &TempDir) -> (PathBuf, PathBuf, String) {
    let (one, two) = (data.path().join("one"), data.path().join("two"));
    let flag = format!("{},{}", one.display(), two.display());
    (one, two, flag)
}

#[tokio::test]
async fn partitions_of_a_directory_that_is_gone_are_not_made_anew() {
    let data = Arc::new(tempfile::tempdir().unwrap());
    let (one, two, dirs) = two_dirs(&data);
    let flags = ["--shards", "2", "--data", &dirs];
    let away = data.path().join("away");
    let break_it = |directory: &Path| {
        std::fs::rename(directory, &away).unwrap();
        std::fs::write(directory, "not a directory").unwrap();
    };
    let repair = |directory: &Path| {
        std::fs::remove_file(directory).unwrap();
        std::fs::rename(&away, directory).unwrap();
    };
    break_it(&{
        std::fs::create_dir(&two).unwrap();
        two.clone()
    });
    let said = Node::start_refused(data.path(), &flags);
    assert!(said.contains("take it out of log.dirs"), "{said}");
    assert!(!one.join("meta.properties").exists(), "no cluster was begun");
    repair(&two);

    let node = Node::start_with(data.clone(), &flags);
    node.create("t", 2, &[]).await;
    for partition in [0, 1] {
        node.produce("t", partition, &values(10, 10), ProducerSettings::default()).await;
    }
    node.stop();
    let in_two: Vec<i32> =
        [0, 1].into_iter().filter(|index| two.join(format!("t-{index}")).exists()).collect();
    assert_eq!(in_two.len(), 1, "the partitions are spread");
    break_it(&two);
    let node = Node::start_with(data.clone(), &flags);
    assert!(!one.join(format!("t-{}", in_two[0])).exists(), "it is on the disk that is gone");
    let other = 1 - in_two[0];
    assert_eq!(node.consume("t", other, 0).await.len(), 10);
    node.create("new", 1, &[]).await;
    produce(&node, "new", 3).await;
    node.stop();
    repair(&two);
    let node = Node::start_with(data.clone(), &flags);
    for partition in [0, 1] {
        assert_eq!(node.consume("t", partition, 0).await.len(), 10);
    }
    assert_eq!(node.consume("new", 0, 0).await.len(), 3);
    node.stop();

    let metadata = if one.join("__cluster_metadata-0").exists() { &one } else { &two };
    break_it(metadata);
    let said = Node::start_refused(data.path(), &flags);
    assert!(said.contains("__cluster_metadata-0 is in none of the directories"), "{said}");
    repair(metadata);
    let (from, to) = (one.join("t-0"), two.join("t-0"));
    let (from, to) = if from.exists() { (from, to) } else { (to, from) };
    put_back(&to, &files(&from));
    let said = Node::start_refused(data.path(), &flags);
    assert!(said.contains("claim to be the same partition"), "{said}");
    assert!(from.exists() && to.exists());

    // Of a copy nothing says which of the two counts.
    std::fs::copy(one.join("meta.properties"), two.join("meta.properties")).unwrap();
    let said = Node::start_refused(data.path(), &flags);
    assert!(said.contains("it has the directory.id of"), "{said}");
}

#[tokio::test]
async fn a_deletion_reaches_the_checkpoints_of_every_directory() {
    let data = Arc::new(tempfile::tempdir().unwrap());
    let (one, two, dirs) = two_dirs(&data);
    let flags = ["--shards", "2", "--data", &dirs];
    let node = Node::start_with(data.clone(), &flags);
    node.create("t", 4, &[]).await;
    for partition in 0..4 {
        node.produce("t", partition, &values(10, 10), ProducerSettings::default()).await;
    }
    node.stop();
    let node = Node::start_with(data.clone(), &flags);
    for directory in [&one, &two] {
        assert!(entries(directory).contains("recovery-point-offset-checkpoint: t "));
    }
    node.client().await.delete_topic("t").await.unwrap();
    for directory in [&one, &two] {
        assert!(!entries(directory).contains(": t "), "{}", entries(directory));
    }
    let (_, log) = node.stop_and_tell();
    assert!(!log.contains("recovered"), "nothing had to be: {log}");
}

#[tokio::test]
async fn partitions_without_what_says_whose_they_are_are_refused() {
    let node = Node::start();
    node.create("t", 1, &[]).await;
    let sent = produce(&node, "t", 10).await;
    let data = node.stop();
    for (lost, directories_left) in [
        ("meta.properties", vec!["t-0", "__cluster_metadata-0"]),
        ("meta.properties", vec!["t-0"]),
        ("meta.properties", vec!["__cluster_metadata-0"]),
        ("__cluster_metadata-0", vec!["t-0"]),
    ] {
        let case = tempfile::tempdir().unwrap();
        let mut some = files(data.path());
        some.retain(|path, _| {
            let is_kept = path.components().count() == 1
                || directories_left.iter().any(|directory| path.starts_with(directory));
            is_kept && !path.starts_with(lost)
        });
        put_back(case.path(), &some);
        let said = Node::start_refused(case.path(), &FLAGS);
        assert!(said.contains(lost) && said.contains("give an empty directory"), "{said}");
        assert!(said.contains(directories_left[0]), "{said}");
        let mut after = files(case.path());
        if lost != "meta.properties" {
            // It was taken into use before its partitions were looked at.
            some.remove(Path::new(".kafka_cleanshutdown"));
            after.remove(Path::new(".kafka_cleanshutdown"));
        }
        assert_eq!(after, some, "nothing was changed");
    }
    // With the file in place again, by hand, everything is there.
    let meta = std::fs::read_to_string(data.path().join("meta.properties")).unwrap();
    let cluster = meta.lines().find(|line| line.starts_with("cluster.id=")).unwrap();
    let by_hand = format!("version=1\nnode.id=1\n{cluster}\n");
    std::fs::write(data.path().join("meta.properties"), by_hand).unwrap();
    let node = Node::start_with(data, &FLAGS);
    assert_eq!(texts(&node.consume("t", 0, 0).await), sent);
}

#[tokio::test]
async fn directories_that_kafka_set_aside_are_left_alone() {
    let node = Node::start();
    node.create("any", 1, &[]).await;
    let data = node.stop();
    let id = "0123456789abcdef0123456789abcdef";
    for suffix in ["stray", "future", "delete"] {
        let directory = data.path().join(format!("t-0.{id}-{suffix}"));
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("00000000000000000000.log"), suffix).unwrap();
    }
    let node = Node::start_with(data, &FLAGS);
    node.create("t", 1, &[]).await;
    let sent = produce(&node, "t", 3).await;
    assert_eq!(texts(&node.consume("t", 0, 0).await), sent);
    let (data, log) = node.stop_and_tell();
    for (suffix, there) in [("stray", true), ("future", true), ("delete", false)] {
        let file = format!("t-0.{id}-{suffix}/00000000000000000000.log");
        assert_eq!(data.path().join(file).exists(), there, "{suffix}");
        assert_eq!(log.contains(&format!("{id}-{suffix}")), there, "{suffix}: {log}");
    }
}

#[tokio::test]
async fn recovery_is_told_of_where_something_was_recovered() {
    let node = Node::start();
    node.create("busy", 1, &[]).await;
    node.create("idle", 1, &[]).await;
    produce(&node, "idle", 100).await;
    let node = Node::start_with(node.stop(), &FLAGS);
    produce(&node, "busy", 100).await;
    let node = Node::start_with(node.kill(), &FLAGS);
    assert_eq!(node.consume("busy", 0, 0).await.len(), 100);
    let (_, log) = node.stop_and_tell();
    let recovered: Vec<&str> = log.lines().filter(|line| line.contains("recovered")).collect();
    assert!(recovered.iter().any(|line| line.contains("busy-0")), "{log}");
    assert!(!recovered.iter().any(|line| line.contains("idle-0")), "{log}");
}
