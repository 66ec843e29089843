//! Where a broker setting's value comes from.
//!
//! Four layers, the first that has the key wins: set for this broker while running, set for all
//! brokers while running, set at start, the table's default.

use std::collections::BTreeMap;

use crate::error::ConfigError;
use crate::setting::{Setting, Value};
use crate::table::broker_setting;

/// Keys and their values as text.
pub type RawSettings = BTreeMap<String, String>;

/// The source of a value; the numbers are those of DescribeConfigs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
#[allow(missing_docs, reason = "Kafka's own names")]
pub enum ConfigSource {
    DynamicTopicConfig = 1,
    DynamicBrokerConfig = 2,
    DynamicDefaultBrokerConfig = 3,
    StaticBrokerConfig = 4,
    DefaultConfig = 5,
    DynamicClientMetricsConfig = 7,
    DynamicGroupConfig = 8,
}

impl ConfigSource {
    /// The number in DescribeConfigs.
    pub fn code(self) -> i8 {
        self as i8
    }
}

/// What was set, layer by layer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layers {
    /// At start: the file and the flags.
    pub file: RawSettings,
    /// While running, for all brokers (resource BROKER with an empty name).
    pub cluster: RawSettings,
    /// While running, for this broker.
    pub broker: RawSettings,
}

impl Layers {
    /// The layers that were set, the strongest first.
    pub(crate) fn set(&self) -> [(ConfigSource, &RawSettings); 3] {
        [
            (ConfigSource::DynamicBrokerConfig, &self.broker),
            (ConfigSource::DynamicDefaultBrokerConfig, &self.cluster),
            (ConfigSource::StaticBrokerConfig, &self.file),
        ]
    }

    /// The text in force for a key, and its source; `None` when it is nowhere, or null.
    pub(crate) fn effective(&self, key: &str) -> Option<(&str, ConfigSource)> {
        for (source, layer) in self.set() {
            if let Some(value) = layer.get(key) {
                return Some((value, source));
            }
        }
        let default = broker_setting(key)?.default?;
        Some((default, ConfigSource::DefaultConfig))
    }

    fn setting(key: &str) -> &'static Setting {
        broker_setting(key).unwrap_or_else(|| panic!("no broker setting {key}"))
    }

    /// The value in force for a key of the table.
    pub(crate) fn value(&self, key: &str) -> Result<Option<Value>, ConfigError> {
        let setting = Layers::setting(key);
        self.effective(key).map(|(text, _)| setting.parse(text)).transpose()
    }
}

/// Reads of one type each; asking a key for a type it does not have is a bug.
impl Layers {
    pub(crate) fn int(&self, key: &str) -> Result<i32, ConfigError> {
        match self.value(key)? {
            Some(Value::Int(value)) => Ok(value),
            other => panic!("{key} is {other:?}"),
        }
    }

    pub(crate) fn long(&self, key: &str) -> Result<i64, ConfigError> {
        match self.value(key)? {
            Some(Value::Long(value)) => Ok(value),
            other => panic!("{key} is {other:?}"),
        }
    }

    pub(crate) fn double(&self, key: &str) -> Result<f64, ConfigError> {
        match self.value(key)? {
            Some(Value::Double(value)) => Ok(value),
            other => panic!("{key} is {other:?}"),
        }
    }

    pub(crate) fn boolean(&self, key: &str) -> Result<bool, ConfigError> {
        match self.value(key)? {
            Some(Value::Boolean(value)) => Ok(value),
            other => panic!("{key} is {other:?}"),
        }
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<String>, ConfigError> {
        match self.value(key)? {
            Some(Value::Text(value)) => Ok(Some(value)),
            None => Ok(None),
            other => panic!("{key} is {other:?}"),
        }
    }

    pub(crate) fn list(&self, key: &str) -> Result<Option<Vec<String>>, ConfigError> {
        match self.value(key)? {
            Some(Value::List(value)) => Ok(Some(value)),
            None => Ok(None),
            other => panic!("{key} is {other:?}"),
        }
    }
}
