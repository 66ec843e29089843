//! What a group coordinator knows of the cluster it is in.

use std::rc::Rc;

use ringlog_types::Uuid;

/// A topic, as far as groups go by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicFacts {
    /// Its id.
    pub id: Uuid,
    /// How many partitions it has.
    pub partition_count: i32,
}

/// Times of a consumer group, from its own settings or the broker's, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerTimes {
    /// `consumer.session.timeout.ms`.
    pub session_timeout_ms: u64,
    /// `consumer.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: u64,
    /// `consumer.assignment.interval.ms`.
    pub assignment_interval_ms: u64,
}

impl Default for ConsumerTimes {
    fn default() -> Self {
        ConsumerTimes {
            session_timeout_ms: 45_000,
            heartbeat_interval_ms: 5_000,
            assignment_interval_ms: 1_000,
        }
    }
}

/// The cluster's metadata as it is now. Decisions look at it, replay does not.
pub trait ClusterView {
    /// The topic of this name.
    fn by_name(&self, name: &str) -> Option<TopicFacts>;

    /// The name of a topic.
    fn name_of(&self, id: &Uuid) -> Option<Rc<str>>;

    /// The names of all topics.
    fn names(&self) -> Vec<Rc<str>>;

    /// Grows with every change of the metadata (the offset of its last record).
    fn version(&self) -> i64;

    /// The times of a consumer group.
    fn consumer_times(&self, group_id: &str) -> ConsumerTimes;
}
