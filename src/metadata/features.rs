//! Features of the cluster, and which record versions they allow.
//!
//! `metadata.version` says which records may stand in the log; a node that does not know it must
//! not read on. The numbers are Kafka's (`MetadataVersion`, `Feature`).

use crate::image::Image;

/// The feature that says which records may stand in the log.
pub const METADATA_VERSION: &str = "metadata.version";

/// The level a new cluster starts with: 4.3-IV0, the newest that Kafka 4.3 calls stable.
pub const METADATA_VERSION_LEVEL: i16 = 30;

/// 3.3-IV3, the oldest level Kafka 4 still reads.
const METADATA_VERSION_MIN: i16 = 7;

// Levels from which a record has a further version.
const LEVEL_3_4_IV0: i16 = 8;
const LEVEL_3_7_IV2: i16 = 17;
const LEVEL_4_0_IV1: i16 = 23;
const LEVEL_4_3_IV0: i16 = 30;

/// A feature and the levels that this node can work at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// Kafka's name.
    pub name: &'static str,
    /// Lowest level.
    pub min_level: i16,
    /// Highest level.
    pub max_level: i16,
}

/// The feature that says whether consumer groups (KIP-848) are coordinated.
pub const GROUP_VERSION: &str = "group.version";

/// From this level on they are.
pub const GROUP_VERSION_CONSUMER: i16 = 1;

/// The features that this node has. `transaction.version` joins when there are transactions:
/// clients use what is offered.
pub const SUPPORTED_FEATURES: &[Feature] = &[
    Feature {
        name: METADATA_VERSION,
        min_level: METADATA_VERSION_MIN,
        max_level: METADATA_VERSION_LEVEL,
    },
    Feature { name: GROUP_VERSION, min_level: 0, max_level: GROUP_VERSION_CONSUMER },
];

/// Which versions records are written in, from the finalized `metadata.version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordVersions {
    level: i16,
}

impl RecordVersions {
    pub(crate) fn of(image: &Image) -> RecordVersions {
        let level = image.feature_level(METADATA_VERSION).unwrap_or(METADATA_VERSION_LEVEL);
        RecordVersions { level }
    }

    pub(crate) fn register_broker(self) -> i16 {
        match self.level {
            LEVEL_4_3_IV0.. => 4,
            LEVEL_3_7_IV2.. => 3,
            LEVEL_3_4_IV0.. => 2,
            _ => 1,
        }
    }

    pub(crate) fn partition(self) -> i16 {
        match self.level {
            LEVEL_4_0_IV1.. => 2,
            LEVEL_3_7_IV2.. => 1,
            _ => 0,
        }
    }
}

impl Image {
    /// The finalized features that this node cannot work at, with their levels. A node that finds
    /// its `metadata.version` here must not start; the others tell of abilities (transactions,
    /// groups) that a log taken over from Apache Kafka has and this node does not offer.
    pub fn unsupported_features(&self) -> Vec<(&str, i16)> {
        let supports = |name: &str, level: i16| {
            SUPPORTED_FEATURES.iter().any(|feature| {
                feature.name == name && (feature.min_level..=feature.max_level).contains(&level)
            })
        };
        let finalized = self.features().iter().map(|(name, level)| (&**name, *level));
        finalized.filter(|(name, level)| !supports(name, *level)).collect()
    }

    /// The finalized features that this node offers to clients, with their levels.
    pub fn offered_features(&self) -> impl Iterator<Item = (&'static str, i16)> {
        let unsupported: Vec<&str> =
            self.unsupported_features().into_iter().map(|(name, _)| name).collect();
        SUPPORTED_FEATURES.iter().filter_map(move |feature| {
            let level = self.feature_level(feature.name)?;
            (!unsupported.contains(&feature.name)).then_some((feature.name, level))
        })
    }
}
