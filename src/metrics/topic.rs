//! What one shard moves of one topic.

use std::sync::Arc;

use arc_swap::ArcSwap;
use imbl::OrdMap;

use crate::instruments::Counter;

/// How many topics a shard shows by name; what is beyond is counted together.
pub const TOPICS_MAX: usize = 2_000;

/// The label of the topics beyond [`TOPICS_MAX`]; no topic can have this name.
pub(crate) const OTHER_TOPICS: &str = "(other)";

/// The counters of one topic on one shard.
#[derive(Debug, Default)]
pub struct TopicMetrics {
    /// Records appended.
    pub records_in: Counter,
    /// Bytes of batches appended.
    pub bytes_in: Counter,
    /// Bytes of batches sent to consumers.
    pub bytes_out: Counter,
}

impl TopicMetrics {
    /// A batch of `records` and `bytes` was appended.
    pub fn appended(&self, records: impl TryInto<u64>, bytes: usize) {
        self.records_in.add(records.try_into().unwrap_or(0));
        self.bytes_in.add(bytes as u64);
    }

    /// `bytes` of batches go to a consumer. How many records are in them is not known without
    /// reading them.
    pub fn fetched(&self, bytes: usize) {
        self.bytes_out.add(bytes as u64);
    }
}

/// The topics of one shard. Only its thread changes them, and does not wait for the HTTP thread,
/// which reads: a change replaces the map, whose copies share what they have in common.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_name: ArcSwap<OrdMap<String, Arc<TopicMetrics>>>,
}

impl Topics {
    pub(crate) fn register(&self, name: &str) -> Arc<TopicMetrics> {
        let known = self.by_name.load();
        if let Some(topic) = known.get(name) {
            return topic.clone();
        }
        let name = if known.len() < TOPICS_MAX { name } else { OTHER_TOPICS };
        let mut topics = OrdMap::clone(&known);
        let topic = topics.entry(name.to_owned()).or_default().clone();
        self.by_name.store(Arc::new(topics));
        topic
    }

    pub(crate) fn remove(&self, name: &str) {
        let mut topics = OrdMap::clone(&self.by_name.load());
        if topics.remove(name).is_some() {
            self.by_name.store(Arc::new(topics));
        }
    }

    pub(crate) fn list(&self) -> Vec<(String, Arc<TopicMetrics>)> {
        self.by_name.load().iter().map(|(name, topic)| (name.clone(), topic.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_names_is_bounded() {
        let topics = Topics::default();
        for n in 0..TOPICS_MAX + 10 {
            topics.register(&format!("t{n}")).appended(1, 100);
        }
        let list = topics.list();
        assert_eq!(list.len(), TOPICS_MAX + 1);
        assert_eq!(list[0].0, OTHER_TOPICS);
        assert_eq!((list[0].1.records_in.get(), list[0].1.bytes_in.get()), (10, 1000));
    }

    #[test]
    fn one_topic_is_registered_once_and_starts_anew_after_its_deletion() {
        let topics = Topics::default();
        topics.register("a").fetched(10);
        topics.register("a").fetched(10);
        assert_eq!(topics.list()[0].1.bytes_out.get(), 20);
        topics.remove("a");
        assert_eq!(topics.register("a").bytes_out.get(), 0);
    }
}
