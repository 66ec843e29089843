//! The image: what all records so far add up to.
//!
//! Cloning is cheap (the maps are persistent), so the controller decides on one while readers hold
//! older ones. An image changes only by [`Image::apply`], and equal logs give equal images.

mod apply;
mod broker;
mod client_quotas;
mod config;
mod delta;
mod snapshot;
#[cfg(test)]
mod tests;
mod topic;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use ringlog_types::{BrokerId, Uuid};

pub use broker::{Broker, BrokerEndpoint, BrokerFeature};
pub use client_quotas::{QuotaEntity, QuotaValues};
pub use config::{ConfigResource, ResourceType};
pub use delta::Delta;
pub use topic::{Partition, Topic};

/// A record that is kept as it came, because nothing here reads it yet: ACLs, SCRAM credentials,
/// delegation tokens, controllers. Key: its type, and what it is about.
type KeptKey = (i16, Vec<u8>);

/// Everything the cluster knows.
#[derive(Clone, Default)]
pub struct Image {
    offset: Option<i64>,
    epoch: i32,
    features: OrdMap<Arc<str>, i16>,
    topics: OrdMap<Uuid, Topic>,
    topic_ids: OrdMap<Arc<str>, Uuid>,
    configs: OrdMap<ConfigResource, Arc<BTreeMap<String, String>>>,
    client_quotas: OrdMap<QuotaEntity, Arc<QuotaValues>>,
    brokers: OrdMap<BrokerId, Arc<Broker>>,
    next_producer_id: i64,
    kept: OrdMap<KeptKey, Bytes>,
    /// The newest control record of each type about the quorum itself (KIP-853): its protocol
    /// version and its voters. A snapshot has to hold them, since the log before it may go.
    quorum: OrdMap<i16, Bytes>,
    /// The image before the transaction that is under way; what abort returns to.
    before_transaction: Option<Box<Image>>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image")
            .field("offset", &self.offset)
            .field("epoch", &self.epoch)
            .field("features", &self.features)
            .field("topics", &self.topics)
            .field("configs", &self.configs)
            .field("client_quotas", &self.client_quotas)
            .field("brokers", &self.brokers)
            .field("next_producer_id", &self.next_producer_id)
            .field("kept", &self.kept.len())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Image {
    /// Whether both know the same, from wherever they learned it.
    fn eq(&self, other: &Image) -> bool {
        self.features == other.features
            && self.topics == other.topics
            && self.configs == other.configs
            && self.client_quotas == other.client_quotas
            && self.brokers == other.brokers
            && self.next_producer_id == other.next_producer_id
            && self.kept == other.kept
            && self.quorum == other.quorum
    }
}

impl Image {
    /// The offset of the last record applied; -1 when there is none.
    pub fn last_offset(&self) -> i64 {
        self.offset.unwrap_or(-1)
    }

    /// The leader epoch of the last record applied.
    pub fn last_epoch(&self) -> i32 {
        self.epoch
    }

    /// The quorum's own control records, by their types' numbers.
    pub(crate) fn quorum(&self) -> &OrdMap<i16, Bytes> {
        &self.quorum
    }

    /// Keeps a control record about the quorum.
    pub(crate) fn keep_quorum(&mut self, kind: i16, value: &[u8]) {
        self.quorum.insert(kind, Bytes::copy_from_slice(value));
    }

    /// Whether a transaction is under way, so that this image must not be shown to anybody.
    pub fn in_transaction(&self) -> bool {
        self.before_transaction.is_some()
    }

    /// The image that holds whether or not the transaction under way ends well.
    pub fn settled(&self) -> &Image {
        self.before_transaction.as_deref().unwrap_or(self)
    }

    /// The finalized features and their levels, by name.
    pub fn features(&self) -> &OrdMap<Arc<str>, i16> {
        &self.features
    }

    /// The finalized level of a feature.
    pub fn feature_level(&self, name: &str) -> Option<i16> {
        self.features.get(name).copied()
    }

    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topic_ids.get(name).and_then(|id| self.topics.get(id))
    }

    /// The topic with this id. An id that is not here belongs to a topic that was deleted, or to
    /// another cluster: its directories are strays.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Topic> {
        self.topics.get(&id)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topic_ids.values().filter_map(|id| self.topics.get(id))
    }

    /// The topics from this name on, by name, itself included.
    pub fn topics_from<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Topic> + use<'a> {
        let range = self.topic_ids.range(Arc::<str>::from(name)..);
        range.filter_map(|(_, id)| self.topics.get(id))
    }

    /// Number of topics.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// The settings of a resource; empty when nothing was set.
    pub fn configs(&self, resource: &ConfigResource) -> Arc<BTreeMap<String, String>> {
        self.configs.get(resource).cloned().unwrap_or_default()
    }

    /// Every resource for which something was set.
    pub fn config_resources(&self) -> impl Iterator<Item = &ConfigResource> {
        self.configs.keys()
    }

    /// A registered broker.
    pub fn broker(&self, id: BrokerId) -> Option<&Broker> {
        self.brokers.get(&id).map(|broker| &**broker)
    }

    /// All registered brokers, by id.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values().map(|broker| &**broker)
    }

    /// The first producer id that no broker has been given yet.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }
}
