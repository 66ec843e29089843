//! The settings of one topic, typed.
//!
//! A [`TopicConfig`] is resolved once when a topic's settings change and then shared as
//! `Arc<TopicConfig>` by everything that serves the topic. Field names are Kafka's keys with
//! underscores; a value of `i64::MAX` means "never", -1 "no limit", as in Kafka.
//!
//! What a client asks for is checked ([`TopicConfig::resolve`]); what the metadata say is served
//! ([`TopicConfig::serve`]), because it was accepted once, if only by a Kafka that knows more.

use crate::error::ConfigError;
use crate::layers::{ConfigSource, Layers, RawSettings};
use crate::setting::{Setting, Value};
use crate::suggest::nearest;
use crate::table::{TOPIC_SETTINGS, is_known_topic_key, topic_setting, topic_synonyms};

/// When an append is acknowledged (Ringlog's own key `flush`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Flush {
    /// When its bytes are on disk.
    #[default]
    Sync,
    /// When they are in memory, as Kafka does; `flush.messages` and `flush.ms` bound the tail.
    Async,
}

/// Which timestamps a topic's records carry (`message.timestamp.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TimestampType {
    /// The producer's.
    #[default]
    CreateTime,
    /// The broker's, at the moment of the append.
    LogAppendTime,
}

/// How batches are compressed on disk (`compression.type`, with its level).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TopicCompression {
    /// As the producer sent them.
    #[default]
    Producer,
    /// Not at all.
    Uncompressed,
    /// gzip at a level from 1 to 9, or -1 for the library's own default.
    Gzip(i32),
    /// Snappy.
    Snappy,
    /// LZ4 at a level from 1 to 17.
    Lz4(i32),
    /// Zstandard at a level up to 22.
    Zstd(i32),
}

/// What happens to old records (`cleanup.policy`). Neither keeps everything (KIP-1161).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CleanupPolicy {
    /// Segments beyond `retention.ms` or `retention.bytes` are deleted.
    pub delete: bool,
    /// Only the last record of each key is kept.
    pub compact: bool,
}

/// One topic's settings, complete: what the topic does not override comes from the broker.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "a field is its key in the table of settings, documented there")]
pub struct TopicConfig {
    pub check_records: bool,
    pub cleanup_policy: CleanupPolicy,
    /// `compression.type` with the level that goes with it.
    pub compression: TopicCompression,
    pub compression_gzip_level: i32,
    pub compression_lz4_level: i32,
    pub compression_zstd_level: i32,
    pub delete_retention_ms: i64,
    pub file_delete_delay_ms: i64,
    pub flush: Flush,
    pub flush_messages: i64,
    pub flush_ms: i64,
    pub index_interval_bytes: i32,
    pub max_compaction_lag_ms: i64,
    pub max_message_bytes: i32,
    pub message_timestamp_after_max_ms: i64,
    pub message_timestamp_before_max_ms: i64,
    pub message_timestamp_type: TimestampType,
    pub min_cleanable_dirty_ratio: f64,
    pub min_compaction_lag_ms: i64,
    pub min_insync_replicas: i32,
    pub preallocate: bool,
    pub retention_bytes: i64,
    pub retention_ms: i64,
    pub segment_bytes: i32,
    pub segment_index_bytes: i32,
    pub segment_jitter_ms: i64,
    pub segment_ms: i64,
    pub stop_at_damage: bool,
}

impl Default for TopicConfig {
    /// A topic without overrides on a broker without settings.
    fn default() -> TopicConfig {
        TopicConfig {
            check_records: false,
            cleanup_policy: CleanupPolicy { delete: true, compact: false },
            compression: TopicCompression::Producer,
            compression_gzip_level: -1,
            compression_lz4_level: 9,
            compression_zstd_level: 3,
            delete_retention_ms: 86_400_000,
            file_delete_delay_ms: 60_000,
            flush: Flush::Sync,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            index_interval_bytes: 4096,
            max_compaction_lag_ms: i64::MAX,
            max_message_bytes: 1_048_588,
            message_timestamp_after_max_ms: 3_600_000,
            message_timestamp_before_max_ms: i64::MAX,
            message_timestamp_type: TimestampType::CreateTime,
            min_cleanable_dirty_ratio: 0.5,
            min_compaction_lag_ms: 0,
            min_insync_replicas: 1,
            preallocate: false,
            retention_bytes: -1,
            retention_ms: 604_800_000,
            segment_bytes: 1_073_741_824,
            segment_index_bytes: 10_485_760,
            segment_jitter_ms: 0,
            segment_ms: 604_800_000,
            stop_at_damage: false,
        }
    }
}

impl TopicConfig {
    /// The settings of a topic with `overrides` on a broker with these defaults. Refuses what Kafka
    /// refuses: an unknown key, a value out of bounds, settings that contradict each other.
    pub fn resolve(
        defaults: &TopicConfig,
        overrides: &RawSettings,
    ) -> Result<TopicConfig, ConfigError> {
        let mut config = defaults.clone();
        for (key, text) in overrides {
            config.override_one(key, text)?;
        }
        config.check(overrides)?;
        Ok(config.finish())
    }

    /// The settings of a topic whose `overrides` stand in the metadata: each counts that can be
    /// understood, whatever becomes of the others. Returns also what could not.
    ///
    /// Nothing is checked against anything else: overrides that agreed when they were accepted may
    /// contradict what the node was told since, and that must not make a topic lose its
    /// `retention.ms`. Kafka takes them the same way (`LogConfig.fromProps`).
    pub fn serve(
        defaults: &TopicConfig,
        overrides: &RawSettings,
    ) -> (TopicConfig, Vec<ConfigError>) {
        let mut config = defaults.clone();
        let set = |(key, text): (&String, &String)| config.override_one(key, text).err();
        let ignored = overrides.iter().filter_map(set).collect();
        (config.finish(), ignored)
    }

    fn override_one(&mut self, key: &str, text: &str) -> Result<(), ConfigError> {
        match topic_setting(key) {
            Some(setting) => self.set(key, setting.parse(text)?),
            None if is_known_topic_key(key) => {}
            None => return Err(unknown_topic_key(key)),
        }
        Ok(())
    }

    /// What a topic has that overrides nothing.
    pub(crate) fn of_broker(layers: &Layers) -> Result<TopicConfig, ConfigError> {
        let mut config = TopicConfig::default();
        for setting in TOPIC_SETTINGS {
            if let Some((text, _)) = broker_default(layers, setting.name) {
                let value = setting.parse(&text);
                config.set(setting.name, value.map_err(|error| named(layers, setting, error))?);
            }
        }
        if config.retention_ms == 0 {
            return Err(ConfigError::Conflict(RETENTION_NEEDED.to_owned()));
        }
        config.check(&RawSettings::new())?;
        Ok(config.finish())
    }

    /// Whether the settings agree with each other (`LogConfig.validateValues`).
    fn check(&self, overrides: &RawSettings) -> Result<(), ConfigError> {
        if self.min_compaction_lag_ms > self.max_compaction_lag_ms {
            return Err(ConfigError::Conflict(format!(
                "conflict topic config setting min.compaction.lag.ms ({}) > \
                 max.compaction.lag.ms ({})",
                self.min_compaction_lag_ms, self.max_compaction_lag_ms
            )));
        }
        let remote = overrides.get("remote.storage.enable");
        if remote.is_some_and(|text| text.trim().eq_ignore_ascii_case("true")) {
            return Err(ConfigError::Conflict(
                "Tiered Storage functionality is disabled in the broker. \
                 Topic cannot be configured with remote log storage."
                    .to_owned(),
            ));
        }
        Ok(())
    }

    fn finish(mut self) -> TopicConfig {
        self.compression = match self.compression {
            TopicCompression::Gzip(_) => TopicCompression::Gzip(self.compression_gzip_level),
            TopicCompression::Lz4(_) => TopicCompression::Lz4(self.compression_lz4_level),
            TopicCompression::Zstd(_) => TopicCompression::Zstd(self.compression_zstd_level),
            other => other,
        };
        self
    }

    fn set(&mut self, key: &str, value: Value) {
        match value {
            Value::Boolean(value) => self.set_boolean(key, value),
            Value::Int(value) => self.set_int(key, value),
            Value::Long(value) => self.set_long(key, value),
            Value::Double(value) if key == "min.cleanable.dirty.ratio" => {
                self.min_cleanable_dirty_ratio = value;
            }
            Value::Text(value) => self.set_text(key, &value),
            Value::List(items) => self.set_list(key, &items),
            other => panic!("{key} has no field for {other:?}"),
        }
    }

    fn set_boolean(&mut self, key: &str, value: bool) {
        match key {
            "check.records" => self.check_records = value,
            "preallocate" => self.preallocate = value,
            "stop.at.damage" => self.stop_at_damage = value,
            "unclean.leader.election.enable"
            | "remote.storage.enable"
            | "remote.log.copy.disable"
            | "remote.log.delete.on.disable" => {}
            _ => panic!("no field for {key}"),
        }
    }

    fn set_int(&mut self, key: &str, value: i32) {
        match key {
            "compression.gzip.level" => self.compression_gzip_level = value,
            "compression.lz4.level" => self.compression_lz4_level = value,
            "compression.zstd.level" => self.compression_zstd_level = value,
            "index.interval.bytes" => self.index_interval_bytes = value,
            "max.message.bytes" => self.max_message_bytes = value,
            "min.insync.replicas" => self.min_insync_replicas = value,
            "segment.bytes" => self.segment_bytes = value,
            "segment.index.bytes" => self.segment_index_bytes = value,
            _ => panic!("no field for {key}"),
        }
    }

    fn set_long(&mut self, key: &str, value: i64) {
        match key {
            "delete.retention.ms" => self.delete_retention_ms = value,
            "file.delete.delay.ms" => self.file_delete_delay_ms = value,
            "flush.messages" => self.flush_messages = value,
            "flush.ms" => self.flush_ms = value,
            "max.compaction.lag.ms" => self.max_compaction_lag_ms = value,
            "message.timestamp.after.max.ms" => self.message_timestamp_after_max_ms = value,
            "message.timestamp.before.max.ms" => self.message_timestamp_before_max_ms = value,
            "min.compaction.lag.ms" => self.min_compaction_lag_ms = value,
            "retention.bytes" => self.retention_bytes = value,
            "retention.ms" => self.retention_ms = value,
            "segment.jitter.ms" => self.segment_jitter_ms = value,
            "segment.ms" => self.segment_ms = value,
            "local.retention.bytes" | "local.retention.ms" => {}
            _ => panic!("no field for {key}"),
        }
    }

    /// The table's `OneOf` has already refused other words.
    fn set_text(&mut self, key: &str, value: &str) {
        match (key, value) {
            ("flush", "sync") => self.flush = Flush::Sync,
            ("flush", _) => self.flush = Flush::Async,
            ("message.timestamp.type", "CreateTime") => {
                self.message_timestamp_type = TimestampType::CreateTime;
            }
            ("message.timestamp.type", _) => {
                self.message_timestamp_type = TimestampType::LogAppendTime;
            }
            ("compression.type", codec) => {
                self.compression = match codec {
                    "producer" => TopicCompression::Producer,
                    "uncompressed" => TopicCompression::Uncompressed,
                    "gzip" => TopicCompression::Gzip(self.compression_gzip_level),
                    "snappy" => TopicCompression::Snappy,
                    "lz4" => TopicCompression::Lz4(self.compression_lz4_level),
                    "zstd" => TopicCompression::Zstd(self.compression_zstd_level),
                    other => panic!("no codec {other}"),
                };
            }
            _ => panic!("no field for {key}"),
        }
    }

    fn set_list(&mut self, key: &str, items: &[String]) {
        match key {
            "cleanup.policy" => {
                self.cleanup_policy = CleanupPolicy {
                    delete: items.iter().any(|item| item == "delete"),
                    compact: items.iter().any(|item| item == "compact"),
                };
            }
            "leader.replication.throttled.replicas" | "follower.replication.throttled.replicas" => {
            }
            _ => panic!("no field for {key}"),
        }
    }
}

/// Kafka's words for a broker (a topic may have 0).
const RETENTION_NEEDED: &str = "requirement failed: log.retention.ms must be unlimited (-1) or, \
                                greater than or equal to 1";

/// The error about a topic's setting as one about the setting of the broker that was given, or in
/// Kafka's words where it has its own (`KafkaConfig.validateValues`).
fn named(layers: &Layers, setting: &Setting, error: ConfigError) -> ConfigError {
    let own_words = match setting.name {
        "segment.ms" => "requirement failed: log.roll.ms must be greater than or equal to 1",
        "segment.jitter.ms" => {
            "requirement failed: log.roll.jitter.ms must be greater than or equal to 0"
        }
        _ => "",
    };
    if !own_words.is_empty() {
        return ConfigError::Conflict(own_words.to_owned());
    }
    let mut synonyms = topic_synonyms(setting.name).iter();
    let given = synonyms
        .find_map(|synonym| layers.effective(synonym.name).map(|(text, _)| (synonym.name, text)));
    match (error, given) {
        (ConfigError::InvalidValue { reason, .. }, Some((key, text))) => {
            ConfigError::invalid(key, text, reason)
        }
        (error, _) => error,
    }
}

/// What the broker's settings give a topic for a key: the first synonym that has a value.
pub(crate) fn broker_default(layers: &Layers, topic_key: &str) -> Option<(String, ConfigSource)> {
    for synonym in topic_synonyms(topic_key) {
        if let Some((text, source)) = layers.effective(synonym.name) {
            let text = scale(text, synonym.factor);
            return Some((
                if topic_key == "retention.ms" { without_sign(text) } else { text },
                source,
            ));
        }
    }
    None
}

/// Every negative time of a broker's is -1, for ever (`getLogRetentionTimeMillis`).
fn without_sign(text: String) -> String {
    match text.trim().parse::<i64>() {
        Ok(..0) => "-1".to_owned(),
        _ => text,
    }
}

/// The text times the factor; text that is no number stays as it is and is refused when parsed.
/// -1 means "no limit" in every unit, and a product beyond 64 bits is as good as none.
pub(crate) fn scale(text: &str, factor: i64) -> String {
    match text.trim().parse::<i64>() {
        Ok(number) if factor != 1 && number >= 0 => number.saturating_mul(factor).to_string(),
        Ok(number) if factor != 1 => number.max(-1).to_string(),
        _ => text.to_owned(),
    }
}

fn unknown_topic_key(key: &str) -> ConfigError {
    let names = TOPIC_SETTINGS.iter().map(|setting| setting.name);
    ConfigError::UnknownTopicKey { key: key.to_owned(), suggestion: nearest(key, names) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker_config::BrokerConfig;

    fn resolve(
        broker: &[(&str, &str)],
        topic: &[(&str, &str)],
    ) -> Result<TopicConfig, ConfigError> {
        let own = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<RawSettings>()
        };
        TopicConfig::resolve(&BrokerConfig::from_settings(own(broker))?.topic_defaults, &own(topic))
    }

    #[test]
    fn the_tables_defaults_are_the_structs() {
        assert_eq!(resolve(&[], &[]).unwrap(), TopicConfig::default());
    }

    #[test]
    fn the_most_specific_broker_setting_wins() {
        let retention = |broker: &[(&str, &str)]| resolve(broker, &[]).unwrap().retention_ms;
        assert_eq!(retention(&[("log.retention.hours", "2")]), 7_200_000);
        assert_eq!(
            retention(&[("log.retention.hours", "2"), ("log.retention.minutes", "3")]),
            180_000
        );
        assert_eq!(retention(&[("log.retention.minutes", "3"), ("log.retention.ms", "4")]), 4);
        assert_eq!(retention(&[("log.retention.hours", "-1")]), -1);
        assert_eq!(resolve(&[("log.roll.hours", "1")], &[]).unwrap().segment_ms, 3_600_000);
        let flush = [("log.flush.scheduler.interval.ms", "9")];
        assert_eq!(resolve(&flush, &[]).unwrap().flush_ms, 9);
    }

    /// What Apache Kafka 4.3.1 answers where a broker's setting is less strict than the topic's.
    #[test]
    fn refusals_name_the_brokers_setting() {
        let refused = |key: &str, value: &str, message: &str| {
            assert_eq!(resolve(&[(key, value)], &[]).unwrap_err().to_string(), message);
        };
        for key in ["log.retention.ms", "log.retention.minutes", "log.retention.hours"] {
            refused(key, "0", RETENTION_NEEDED);
            assert_eq!(resolve(&[(key, "-5")], &[]).unwrap().retention_ms, -1);
        }
        let roll = "requirement failed: log.roll.ms must be greater than or equal to 1";
        refused("log.roll.ms", "0", roll);
        let jitter = "requirement failed: log.roll.jitter.ms must be greater than or equal to 0";
        refused("log.roll.jitter.ms", "-1", jitter);
        let flush =
            "Invalid value -1 for configuration log.flush.interval.ms: Value must be at least 0";
        refused("log.flush.interval.ms", "-1", flush);
        assert_eq!(resolve(&[], &[("retention.ms", "0")]).unwrap().retention_ms, 0);
    }

    #[test]
    fn a_topics_own_setting_wins() {
        let broker = [("log.flush", "async"), ("compression.zstd.level", "7")];
        let config = resolve(
            &broker,
            &[("compression.type", "zstd"), ("cleanup.policy", "compact, delete")],
        )
        .unwrap();
        assert_eq!(config.flush, Flush::Async);
        assert_eq!(config.compression, TopicCompression::Zstd(7));
        assert_eq!(config.cleanup_policy, CleanupPolicy { delete: true, compact: true });
        let config =
            resolve(&broker, &[("flush", "sync"), ("compression.gzip.level", "3")]).unwrap();
        assert_eq!(config.flush, Flush::Sync);
        assert_eq!(config.compression, TopicCompression::Producer);
        let none = resolve(&[], &[("cleanup.policy", "")]).unwrap().cleanup_policy;
        assert_eq!(none, CleanupPolicy { delete: false, compact: false });
    }

    #[test]
    fn kafkas_keys_are_taken_and_others_are_not() {
        for key in ["message.format.version", "message.downconversion.enable"] {
            resolve(&[], &[(key, "whatever")]).unwrap();
        }
        let message = |topic: &[(&str, &str)]| resolve(&[], topic).unwrap_err().to_string();
        assert_eq!(message(&[("nosuch.key", "1")]), "Unknown topic config name: nosuch.key");
        assert_eq!(
            message(&[("retention_ms", "1")]),
            "Unknown topic config name: retention_ms; did you mean \"retention.ms\"?"
        );
        assert_eq!(
            message(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "5")]),
            "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"
        );
        assert!(message(&[("remote.storage.enable", "true")]).starts_with("Tiered Storage"));
    }

    /// One override that had come to contradict the node's settings made a topic lose all of them:
    /// its `retention.ms=-1` too, and with it its records.
    #[test]
    fn what_is_served_keeps_every_override_that_can_be_understood() {
        let own = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<RawSettings>()
        };
        let broker = own(&[("log.cleaner.max.compaction.lag.ms", "5000")]);
        let broker = BrokerConfig::from_settings(broker).unwrap();
        let overrides = own(&[
            ("compression.gzip.level", "4"),
            ("compression.type", "gzip"),
            ("min.compaction.lag.ms", "60000"),
            ("nosuch.key", "1"),
            ("remote.storage.enable", "true"),
            ("retention.ms", "-1"),
            ("segment.bytes", "many"),
        ]);
        assert!(TopicConfig::resolve(&broker.topic_defaults, &overrides).is_err());
        let (config, ignored) = TopicConfig::serve(&broker.topic_defaults, &overrides);
        assert_eq!((config.retention_ms, config.min_compaction_lag_ms), (-1, 60_000));
        assert_eq!(config.compression, TopicCompression::Gzip(4));
        assert_eq!(config.segment_bytes, TopicConfig::default().segment_bytes);
        let ignored: Vec<String> = ignored.iter().map(ToString::to_string).collect();
        assert_eq!(ignored.len(), 2, "{ignored:?}");
        assert!(ignored[0].contains("nosuch.key") && ignored[1].contains("segment.bytes"));
    }

    #[test]
    fn every_topic_setting_has_a_field_or_is_known_to_have_none() {
        for setting in TOPIC_SETTINGS {
            if let Some(default) = setting.default {
                resolve(&[], &[(setting.name, default)]).unwrap();
            }
        }
    }
}
