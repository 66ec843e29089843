//! The coordinators of this shard: each on its partition of an internal topic, whose shard it is.
//!
//! What a coordinator decides is in the crate `ringlog-coordinator`; here decisions are carried to
//! the log and back ([`tenure`]). A coordinator is there from the first request that needs it, or
//! the next sweep, until its partition is not of this shard any more.

mod cluster;
mod loader;
pub(crate) mod tenure;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use ringlog_config::BrokerConfig;
use ringlog_coordinator::Outcome;
use ringlog_coordinator::group::{
    Assignor, ConsumerSettings, GroupCoordinator, GroupSettings, MigrationPolicy,
};
use ringlog_metadata::Image;
use ringlog_runtime::Runtime;
use ringlog_types::{LeaderEpoch, Uuid};

use crate::coordinators::cluster::Cluster;
use crate::coordinators::tenure::Tenure;
use crate::replicas::Replicas;
use crate::replicas::partition::Partition;

/// The topic in which groups and committed offsets are kept.
pub(crate) const GROUP_TOPIC: &str = "__consumer_offsets";

/// A coordinator of groups at work.
pub(crate) type Groups = Tenure<GroupCoordinator>;

/// The coordinators of a shard.
pub(crate) struct Coordinators {
    rt: Runtime,
    group_settings: GroupSettings,
    cluster: Rc<Cluster>,
    groups: RefCell<HashMap<(Uuid, i32), Rc<Groups>>>,
}

impl Coordinators {
    pub(crate) fn new(rt: Runtime, replicas: Rc<Replicas>, config: &BrokerConfig) -> Coordinators {
        let cluster = Rc::new(Cluster::new(replicas, config));
        let group_settings = group_settings(config);
        Coordinators { rt, group_settings, cluster, groups: RefCell::default() }
    }

    /// A change of the metadata is served on this shard. Groups look at their topics again if any
    /// of them may have changed.
    pub(crate) fn changed(&self, image: &Image, config: &BrokerConfig, has_topics: bool) {
        self.cluster.update(image, config);
        if has_topics {
            for tenure in self.all_of_groups() {
                tenure.tell(|groups| groups.topics_changed(true));
            }
        }
    }

    /// The coordinator of the groups of this partition; begins to load it if it is not there.
    pub(crate) fn of_groups(
        &self,
        partition: &Rc<Partition>,
        leader_epoch: LeaderEpoch,
    ) -> Rc<Groups> {
        let place = (partition.log.topic_id(), partition.topic_partition.partition);
        let mut groups = self.groups.borrow_mut();
        // A log that was opened anew is another one, though it has the same name.
        if let Some(tenure) = groups.get(&place).filter(|tenure| tenure.is_of(partition)) {
            return tenure.clone();
        }
        let machine = GroupCoordinator::new(self.group_settings.clone(), self.cluster.clone());
        let tenure = Tenure::begin(&self.rt, partition.clone(), leader_epoch, machine);
        if let Some(before) = groups.insert(place, tenure.clone()) {
            before.end();
        }
        tenure
    }

    /// Those that are there.
    pub(crate) fn all_of_groups(&self) -> Vec<Rc<Groups>> {
        self.groups.borrow().values().cloned().collect()
    }

    /// A topic is deleted: what groups committed of it goes too.
    pub(crate) fn topic_deleted(&self, topic: &str) {
        for tenure in self.all_of_groups() {
            // Nobody waits for it. If it cannot be written, the offsets expire.
            drop(tenure.decide(|groups, _| {
                let effects = groups.topic_deleted(topic);
                Outcome { response: (), effects }
            }));
        }
    }

    /// Ends the coordinators of partitions that are not among `local`, and begins those of the
    /// others: members that fell silent while nobody looked have to be noticed.
    pub(crate) fn sweep(&self, local: &[(Rc<Partition>, LeaderEpoch)]) {
        let is_local = |tenure: &Groups| local.iter().any(|(partition, _)| tenure.is_of(partition));
        self.groups.borrow_mut().retain(|_, tenure| {
            let stays = is_local(tenure);
            if !stays {
                tenure.end();
            }
            stays
        });
        for (partition, leader_epoch) in local {
            self.of_groups(partition, *leader_epoch);
        }
    }
}

fn group_settings(config: &BrokerConfig) -> GroupSettings {
    let millis = |value: i32| u64::try_from(value).unwrap_or(0);
    GroupSettings {
        group_min_session_timeout_ms: millis(config.group_min_session_timeout_ms),
        group_max_session_timeout_ms: millis(config.group_max_session_timeout_ms),
        group_max_size: usize::try_from(config.group_max_size).unwrap_or(0),
        group_initial_rebalance_delay_ms: millis(config.group_initial_rebalance_delay_ms),
        offset_metadata_bytes_max: usize::try_from(config.offset_metadata_max_bytes).unwrap_or(0),
        offsets_retention_ms: i64::from(config.offsets_retention_minutes) * 60_000,
        offsets_retention_check_interval_ms: u64::try_from(
            config.offsets_retention_check_interval_ms,
        )
        .unwrap_or(0),
        consumer: consumer_settings(config),
    }
}

fn consumer_settings(config: &BrokerConfig) -> ConsumerSettings {
    let mut assignors = Vec::new();
    for name in &config.group_consumer_assignors {
        match Assignor::by_name(name) {
            Some(assignor) if !assignors.contains(&assignor) => assignors.push(assignor),
            Some(_) => {}
            None => tracing::warn!(assignor = name, "there is no such assignor of groups"),
        }
    }
    if assignors.is_empty() {
        assignors = Assignor::ALL.to_vec();
    }
    let migration = match &*config.group_consumer_migration_policy {
        "disabled" => MigrationPolicy::Disabled,
        "upgrade" => MigrationPolicy::Upgrade,
        "downgrade" => MigrationPolicy::Downgrade,
        _ => MigrationPolicy::Bidirectional,
    };
    let size_max = usize::try_from(config.group_consumer_max_size).unwrap_or(0);
    ConsumerSettings { size_max, assignors, migration }
}
