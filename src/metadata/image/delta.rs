//! The changes between two images, for those who serve from them.

use std::collections::BTreeSet;
use std::sync::Arc;

use ringlog_types::{BrokerId, Uuid};

use super::ConfigResource;

/// The things some records touched. A thing named here may in the end be as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Topics created, or whose partitions changed.
    pub topics: BTreeSet<Uuid>,
    /// Topics deleted, with the names they had.
    pub removed_topics: Vec<(Arc<str>, Uuid)>,
    /// Resources whose settings changed; a deleted topic's are not told.
    pub configs: BTreeSet<ConfigResource>,
    /// Whether a client quota changed.
    pub client_quotas: bool,
    /// Brokers registered, changed or gone.
    pub brokers: BTreeSet<BrokerId>,
    /// Whether a feature's level changed.
    pub features: bool,
}

impl Delta {
    /// Whether nothing was touched.
    pub fn is_empty(&self) -> bool {
        *self == Delta::default()
    }
}
