//! The one table: every setting, one row each, in files by area.
//!
//! A row is: name, type, default (`None` is Kafka's null), what it takes, importance, how it may
//! be changed, whether it has an effect here, and what it means. All keys of Kafka 4.3 are rows;
//! a key whose meaning Ringlog does not have yet is `Accepted`: stored and told, never an error.

mod also_known;
mod cluster;
mod groups;
mod log;
mod network;
mod replication;
mod resource;
mod security;
mod synonyms;
mod topic;

use std::collections::HashMap;
use std::sync::LazyLock;

pub(crate) use also_known::{is_about_security, is_known_broker_key, is_known_topic_key};
pub use synonyms::{Synonym, topic_synonyms};
pub(crate) use synonyms::{broker_key_of_topic_key, broker_synonyms};

use crate::setting::Setting;

macro_rules! rows {
    ($($name:literal, $kind:ident, $default:expr, $valid:expr, $importance:ident, $update:ident,
       $status:ident, $doc:literal;)*) => {
        /// The rows of this area.
        pub(in crate::table) const ROWS: &[crate::setting::Setting] = {
            #[allow(unused_imports, reason = "not every area needs every kind of bound")]
            use crate::setting::Valid::*;
            &[$(crate::setting::Setting {
                name: $name,
                kind: crate::setting::ConfigType::$kind,
                default: $default,
                valid: $valid,
                importance: crate::setting::Importance::$importance,
                update: crate::setting::UpdateMode::$update,
                status: crate::setting::Status::$status,
                doc: $doc,
            },)*]
        };
    };
}
use rows;

/// The areas of the broker's settings, in the order in which they are documented.
pub const BROKER_AREAS: &[(&str, &[Setting])] = &[
    ("The node and its cluster", cluster::ROWS),
    ("Network", network::ROWS),
    ("Logs", log::ROWS),
    ("Replication and remote storage", replication::ROWS),
    ("Groups and transactions", groups::ROWS),
    ("Security", security::ROWS),
];

/// The settings of topics.
pub const TOPIC_SETTINGS: &[Setting] = topic::ROWS;

/// The settings of groups.
pub const GROUP_SETTINGS: &[Setting] = resource::group::ROWS;

/// The settings of subscriptions to clients' metrics.
pub const CLIENT_METRICS_SETTINGS: &[Setting] = resource::client_metrics::ROWS;

/// The settings of the broker, area by area.
pub fn broker_settings() -> impl Iterator<Item = &'static Setting> {
    BROKER_AREAS.iter().flat_map(|(_, rows)| rows.iter())
}

/// The broker's setting of this name.
pub fn broker_setting(name: &str) -> Option<&'static Setting> {
    static INDEX: LazyLock<HashMap<&'static str, &'static Setting>> =
        LazyLock::new(|| broker_settings().map(|setting| (setting.name, setting)).collect());
    INDEX.get(name).copied()
}

/// The topics' setting of this name.
pub fn topic_setting(name: &str) -> Option<&'static Setting> {
    TOPIC_SETTINGS.iter().find(|setting| setting.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_every_default_is_valid() {
        let resources = [TOPIC_SETTINGS, GROUP_SETTINGS, CLIENT_METRICS_SETTINGS];
        let resources = resources.iter().map(|rows| rows.iter().collect());
        for rows in resources.chain([broker_settings().collect::<Vec<_>>()]) {
            let names: HashSet<_> = rows.iter().map(|setting| setting.name).collect();
            assert_eq!(names.len(), rows.len());
            for setting in rows {
                if let Some(default) = setting.default {
                    setting.parse(default).unwrap_or_else(|error| panic!("{error}"));
                }
                assert!(setting.doc.ends_with('.'), "{}", setting.name);
            }
        }
    }

    #[test]
    fn synonyms_are_settings_and_share_the_topic_default() {
        for topic in TOPIC_SETTINGS {
            for synonym in topic_synonyms(topic.name) {
                assert!(broker_setting(synonym.name).is_some(), "{}", synonym.name);
            }
        }
    }
}
