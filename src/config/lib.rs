//! Every setting of a node and of a topic: one table, the typed values that come of it, the
//! files and flags they are read from, and what DescribeConfigs tells of them. Pure.

mod address_limits;
mod broker_config;
pub mod describe;
mod docs;
mod error;
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

pub use broker_config::{BrokerConfig, IoBackend, check_dynamic};
pub use describe::{
    ConfigEntry, ConfigSynonym, describe_broker, describe_client_metrics, describe_cluster,
    describe_group, describe_topic,
};
pub use docs::settings_markdown;
pub use error::ConfigError;
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
