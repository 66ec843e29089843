//! DescribeLogDirs (key 35): the log directories, what each partition takes there, and how much
//! room is left.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use ringlog_storage::LogDir;
use ringlog_types::{ErrorCode, TopicPartition};
use ringlog_wire::messages::describe_log_dirs_request::DescribeLogDirsRequest;
use ringlog_wire::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};

use crate::authorizer::{Operation, Resource};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

/// One partition's log.
struct Size {
    dir_index: usize,
    topic_partition: TopicPartition,
    bytes: u64,
}

pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Answer {
    let asked = match request.decode::<DescribeLogDirsRequest>() {
        Ok(asked) => asked,
        Err(close) => return close,
    };
    if !request.authorize(shard.node.authorizer, Operation::Describe, Resource::Cluster) {
        let error_code = ErrorCode::ClusterAuthorizationFailed.code();
        return request.respond(&DescribeLogDirsResponse { error_code, ..Default::default() });
    }
    let named: Option<HashSet<(&str, i32)>> = asked.topics.as_ref().map(|topics| {
        let of_topic = topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|partition| (&*topic.topic, *partition)));
        of_topic.collect()
    });
    let wanted = |partition: &TopicPartition| {
        let name = (&*partition.topic, partition.partition);
        named.as_ref().is_none_or(|named| named.contains(&name))
    };
    let sizes = shard.on_every_shard(|shard| std::future::ready(local_sizes(shard))).await;
    let mut by_dir: BTreeMap<usize, Vec<Size>> = BTreeMap::new();
    for size in sizes.into_iter().flatten().filter(|size| wanted(&size.topic_partition)) {
        by_dir.entry(size.dir_index).or_default().push(size);
    }
    let directories = shard.node.directories();
    let in_use = directories.iter().map(|dir| {
        let sizes = by_dir.remove(&dir.index()).unwrap_or_default();
        result(dir, sizes)
    });
    let unusable = directories.unusable().iter().map(|dir| failed(&dir.path));
    let results = in_use.chain(unusable).collect();
    request.respond(&DescribeLogDirsResponse { results, ..Default::default() })
}

fn local_sizes(shard: &Shard) -> Vec<Size> {
    let partitions = shard.replicas.topics.local_partitions();
    let size = |partition: &Rc<crate::replicas::partition::Partition>| Size {
        dir_index: partition.log.dir().index(),
        topic_partition: partition.topic_partition.clone(),
        bytes: partition.log.size_bytes(),
    };
    partitions.iter().map(size).collect()
}

/// A directory that failed, or that could not be taken into use.
fn failed(path: &Path) -> DescribeLogDirsResult<'static> {
    DescribeLogDirsResult {
        error_code: ErrorCode::KafkaStorageError.code(),
        log_dir: path.display().to_string().into(),
        ..Default::default()
    }
}

fn result(dir: &LogDir, mut sizes: Vec<Size>) -> DescribeLogDirsResult<'static> {
    if dir.is_offline() {
        return failed(dir.path());
    }
    let mut result = DescribeLogDirsResult {
        log_dir: dir.path().display().to_string().into(),
        ..Default::default()
    };
    result.total_bytes = dir.total_bytes() as i64;
    result.usable_bytes = dir.available_bytes() as i64;
    sizes.sort_by(|a, b| a.topic_partition.cmp(&b.topic_partition));
    for size in sizes {
        let TopicPartition { topic, partition } = &size.topic_partition;
        if result.topics.last().is_none_or(|last| *last.name != **topic) {
            let name = topic.to_string().into();
            result.topics.push(DescribeLogDirsTopic { name, ..Default::default() });
        }
        let topic = result.topics.last_mut().expect("pushed above");
        topic.partitions.push(DescribeLogDirsPartition {
            partition_index: *partition,
            partition_size: size.bytes as i64,
            ..Default::default()
        });
    }
    result
}
