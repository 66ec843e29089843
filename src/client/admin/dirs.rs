//! Log directories of a broker, with the size of every partition in them.

use ringlog_types::{BrokerId, TopicPartition};
use ringlog_wire::messages::describe_log_dirs_request::DescribeLogDirsRequest;
use ringlog_wire::messages::describe_log_dirs_response::DescribeLogDirsResponse;

use crate::client::{Client, Node};
use crate::error::ClientError;

/// A log directory of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDir {
    /// Its path on the broker.
    pub path: String,
    /// Why it is offline.
    pub error: Option<ClientError>,
    /// Size of its file system; absent where the broker does not say.
    pub total_bytes: Option<i64>,
    /// What is free of it.
    pub usable_bytes: Option<i64>,
    /// The partitions in it.
    pub partitions: Vec<LogDirPartition>,
}

/// A partition in a log directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDirPartition {
    /// Which one.
    pub partition: TopicPartition,
    /// Size of its segments.
    pub size_bytes: i64,
    /// How far it is behind, for a replica that is being moved.
    pub offset_lag: i64,
}

impl Client {
    /// The log directories of a broker with all partitions.
    ///
    /// # Errors
    /// The broker does not answer or refuses.
    pub async fn log_dirs(&self, broker: BrokerId) -> Result<Vec<LogDir>, ClientError> {
        let request = DescribeLogDirsRequest { topics: None };
        self.retrying(async || {
            let reply = self.request(Node::Broker(broker), &request).await?;
            let response: DescribeLogDirsResponse<'_> = reply.decode()?;
            let context = || format!("log directories of broker {broker}");
            match ClientError::from_code(response.error_code, None, context) {
                Some(error) => Err(error),
                None => Ok(read(&response)),
            }
        })
        .await
    }
}

fn read(response: &DescribeLogDirsResponse<'_>) -> Vec<LogDir> {
    let mut dirs = Vec::new();
    for dir in &response.results {
        let context = || format!("log directory {}", dir.log_dir);
        let mut partitions = Vec::new();
        for topic in &dir.topics {
            for partition in &topic.partitions {
                partitions.push(LogDirPartition {
                    partition: TopicPartition::new(&*topic.name, partition.partition_index),
                    size_bytes: partition.partition_size,
                    offset_lag: partition.offset_lag,
                });
            }
        }
        partitions.sort_by(|a, b| a.partition.cmp(&b.partition));
        dirs.push(LogDir {
            path: dir.log_dir.to_string(),
            error: ClientError::from_code(dir.error_code, None, context),
            total_bytes: Some(dir.total_bytes).filter(|bytes| *bytes >= 0),
            usable_bytes: Some(dir.usable_bytes).filter(|bytes| *bytes >= 0),
            partitions,
        });
    }
    dirs
}
