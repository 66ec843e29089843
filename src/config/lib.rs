//! Every setting of a node and of a topic: one table, the typed values that come of it, the
//! files and flags they are read from, and what DescribeConfigs tells of them. Pure.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests look at files and clocks"))]

mod address_limits;
mod broker_config;
mod client_metrics;
pub mod describe;
mod docs;
mod duration;
mod dynamic;
mod error;
mod group_config;
mod layers;
mod listener;
mod properties;
mod setting;
mod settings;
mod suggest;
mod table;
mod toml_file;
mod topic_config;
mod weighty;

pub use broker_config::{BrokerConfig, IoBackend};
pub use client_metrics::{ClientPattern, check_client_metrics, client_patterns};
pub use describe::{
    ConfigEntry, ConfigSynonym, describe_broker, describe_client_metrics, describe_cluster,
    describe_group, describe_topic,
};
pub use docs::settings_markdown;
pub use dynamic::{check_all_dynamic, check_step};
pub use error::ConfigError;
pub use group_config::{ConsumerGroupTimes, check_group, consumer_group_times};
pub use layers::{ConfigSource, Layers, RawSettings};
pub use listener::Listener;
pub use setting::{ConfigType, Importance, Setting, Status, UpdateMode, Valid, Value};
pub use settings::Settings;
pub use table::{
    BROKER_AREAS, CLIENT_METRICS_SETTINGS, GROUP_SETTINGS, Synonym, TOPIC_SETTINGS, broker_setting,
    broker_settings, topic_setting, topic_synonyms,
};
pub use topic_config::{CleanupPolicy, Flush, TimestampType, TopicCompression, TopicConfig};
pub use weighty::WithoutEffect;
