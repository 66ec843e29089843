//! The cluster, as the coordinators of a shard see it: the topics that the shard serves, and the
//! settings as of the last change that was taken over.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ringlog_config::{BrokerConfig, consumer_group_times};
use ringlog_coordinator::group::{ClusterView, ConsumerTimes, TopicFacts};
use ringlog_metadata::{ConfigResource, Image, ResourceType};
use ringlog_types::Uuid;

use crate::replicas::Replicas;

/// What is known of the cluster on this shard.
pub(super) struct Cluster {
    replicas: Rc<Replicas>,
    image: RefCell<Image>,
    config: RefCell<BrokerConfig>,
    /// Of groups without settings of their own.
    times: Cell<ConsumerTimes>,
}

impl Cluster {
    pub(super) fn new(replicas: Rc<Replicas>, config: &BrokerConfig) -> Cluster {
        Cluster {
            replicas,
            image: RefCell::default(),
            times: Cell::new(times(config, None)),
            config: RefCell::new(config.clone()),
        }
    }

    /// All of a change is served: what it says counts.
    pub(super) fn update(&self, image: &Image, config: &BrokerConfig) {
        self.times.set(times(config, None));
        *self.image.borrow_mut() = image.clone();
        *self.config.borrow_mut() = config.clone();
    }
}

impl ClusterView for Cluster {
    fn by_name(&self, name: &str) -> Option<TopicFacts> {
        let entry = self.replicas.topics.by_name(name)?;
        let partition_count = i32::try_from(entry.partitions.len()).unwrap_or(i32::MAX);
        Some(TopicFacts { id: entry.id, partition_count })
    }

    fn name_of(&self, id: &Uuid) -> Option<Rc<str>> {
        self.replicas.topics.by_id(id).map(|entry| Rc::from(&*entry.name))
    }

    fn names(&self) -> Vec<Rc<str>> {
        self.replicas.topics.all().iter().map(|entry| Rc::from(&*entry.name)).collect()
    }

    fn version(&self) -> i64 {
        self.image.borrow().last_offset()
    }

    fn consumer_times(&self, group_id: &str) -> ConsumerTimes {
        let resource = ConfigResource::new(ResourceType::Group, group_id);
        let own = self.image.borrow().configs(&resource);
        if own.is_empty() {
            return self.times.get();
        }
        times(&self.config.borrow(), Some(&own))
    }
}

fn times(
    config: &BrokerConfig,
    own: Option<&std::collections::BTreeMap<String, String>>,
) -> ConsumerTimes {
    let millis = |value: i32| u64::try_from(value).unwrap_or(0);
    let times = consumer_group_times(config, own);
    ConsumerTimes {
        session_timeout_ms: millis(times.session_timeout_ms),
        heartbeat_interval_ms: millis(times.heartbeat_interval_ms),
        assignment_interval_ms: millis(times.assignment_interval_ms),
    }
}
