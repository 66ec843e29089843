//! Topic names and partitions.
//!
//! A topic name becomes part of a directory name, so nothing reaches a path that
//! [`validate_topic_name`] has not accepted.

use std::fmt;
use std::sync::Arc;

use crate::Uuid;

/// Longest legal topic name, in bytes: with `-`, a partition and `.<uuid>-delete` the directory
/// name must stay within 255 (`org.apache.kafka.common.internals.Topic`).
const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Why a topic name is refused. The texts are what Kafka's own tools print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopicName {
    /// The name has no characters.
    #[error("the empty string is not allowed")]
    Empty,
    /// The name is `.` or `..`.
    #[error("'.' or '..' is not allowed")]
    Dots,
    /// The name is longer than 249 bytes.
    #[error("the length is longer than the max allowed length 249")]
    TooLong,
    /// The name has a character that Kafka does not allow.
    #[error("it contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")]
    IllegalCharacter,
}

/// Checks a name against Kafka's rule `[a-zA-Z0-9._-]{1,249}`, not `.` or `..`.
pub fn validate_topic_name(name: &str) -> Result<(), InvalidTopicName> {
    if name.is_empty() {
        return Err(InvalidTopicName::Empty);
    }
    if name == "." || name == ".." {
        return Err(InvalidTopicName::Dots);
    }
    if name.len() > TOPIC_NAME_BYTES_MAX {
        return Err(InvalidTopicName::TooLong);
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !name.bytes().all(legal) {
        return Err(InvalidTopicName::IllegalCharacter);
    }
    Ok(())
}

/// One partition of the topic with this id. A topic that is deleted and created again has the same
/// name and another id, so this names one log for ever. As Kafka's `TopicIdPartition`, without the
/// name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicIdPartition {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition's index, from 0.
    pub partition: i32,
}

impl TopicIdPartition {
    /// The partition `partition` of the topic with the id `topic_id`.
    pub fn new(topic_id: Uuid, partition: i32) -> TopicIdPartition {
        TopicIdPartition { topic_id, partition }
    }
}

/// One partition of one topic. Cheap to clone. Displays as Kafka's `topic-0`, which is also the
/// name of its directory.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's index, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }

    /// Reads a directory name such as `logs-eu-3` back into topic and partition; `None` when it
    /// is not one: no dash, a partition that is not a plain number, or an illegal topic name.
    pub fn from_directory_name(name: &str) -> Option<TopicPartition> {
        let (topic, partition) = name.rsplit_once('-')?;
        validate_topic_name(topic).ok()?;
        if !partition.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(TopicPartition::new(topic, partition.parse().ok()?))
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_paths_are_refused() {
        for good in ["a", "logs-eu.1_x", "__consumer_offsets", &"x".repeat(249)] {
            assert_eq!(validate_topic_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "../x", "a b", "é", "a\0", &"x".repeat(250)] {
            assert!(validate_topic_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn directory_names_round_trip() {
        let partition = TopicPartition::new("logs-eu", 3);
        assert_eq!(partition.to_string(), "logs-eu-3");
        assert_eq!(TopicPartition::from_directory_name("logs-eu-3"), Some(partition));
        for bad in ["logs", "-3", "logs-+3", "logs-", "logs-99999999999", "a/b-1"] {
            assert_eq!(TopicPartition::from_directory_name(bad), None, "{bad}");
        }
    }
}
