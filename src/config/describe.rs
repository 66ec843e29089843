//! The answers of DescribeConfigs: every setting with its value, source, type and synonyms.

use crate::broker_config::BrokerConfig;
use crate::dynamic::base_setting;
use crate::group_config::broker_key;
use crate::layers::{ConfigSource, RawSettings};
use crate::setting::{ConfigType, Setting, UpdateMode};
use crate::table::{
    CLIENT_METRICS_SETTINGS, GROUP_SETTINGS, TOPIC_SETTINGS, broker_setting, broker_settings,
    broker_synonyms, topic_setting, topic_synonyms,
};
use crate::topic_config::broker_default;

/// One setting as DescribeConfigs tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub name: String,
    /// The value in force; `None` is null, also for secrets.
    pub value: Option<String>,
    /// Whether it cannot be changed while running.
    pub read_only: bool,
    /// The layer the value comes from.
    pub source: ConfigSource,
    /// Whether it is a secret.
    pub is_sensitive: bool,
    /// All layers and spellings that have a value, the one in force first.
    pub synonyms: Vec<ConfigSynonym>,
    /// The type of its value.
    pub config_type: ConfigType,
    /// What it means; empty for keys without a row.
    pub documentation: &'static str,
}

/// A value that was given for a setting, in force or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The key under which it was given.
    pub name: String,
    /// The value; `None` for secrets.
    pub value: Option<String>,
    /// The layer.
    pub source: ConfigSource,
}

/// Keys asked for; `None` asks for all.
type Keys<'a> = Option<&'a [&'a str]>;

fn wanted(keys: Keys<'_>, name: &str) -> bool {
    keys.is_none_or(|keys| keys.contains(&name))
}

/// The settings of a topic with `overrides`.
pub fn describe_topic(
    broker: &BrokerConfig,
    overrides: &RawSettings,
    keys: Keys<'_>,
) -> Vec<ConfigEntry> {
    let rows = TOPIC_SETTINGS.iter().filter(|setting| wanted(keys, setting.name));
    let mut entries: Vec<_> = rows.map(|setting| topic_entry(broker, overrides, setting)).collect();
    for (key, value) in overrides {
        if topic_setting(key).is_none() && wanted(keys, key) {
            entries.push(entry_without_row(key, value, ConfigSource::DynamicTopicConfig));
        }
    }
    entries
}

fn topic_entry(
    broker: &BrokerConfig,
    overrides: &RawSettings,
    setting: &'static Setting,
) -> ConfigEntry {
    let own = overrides.get(setting.name);
    let mut synonyms = Vec::new();
    if let Some(text) = own {
        synonyms.push(ConfigSynonym {
            name: setting.name.to_owned(),
            value: Some(text.clone()),
            source: ConfigSource::DynamicTopicConfig,
        });
    }
    let names: Vec<_> = topic_synonyms(setting.name).iter().map(|synonym| synonym.name).collect();
    synonyms.extend(broker_values(broker, &names));
    let from_broker = broker_default(&broker.layers, setting.name);
    let (text, source) = match (own, from_broker) {
        (Some(text), _) => (Some(text.clone()), ConfigSource::DynamicTopicConfig),
        (None, Some((text, source))) => (Some(text), source),
        (None, None) => (setting.default.map(str::to_owned), ConfigSource::DefaultConfig),
    };
    entry(setting, text, source, synonyms, false)
}

/// The settings of this broker.
pub fn describe_broker(broker: &BrokerConfig, keys: Keys<'_>) -> Vec<ConfigEntry> {
    let rows = broker_settings().filter(|setting| wanted(keys, setting.name));
    let mut entries: Vec<_> = rows.map(|setting| broker_entry(broker, setting)).collect();
    let mut without_row = RawSettings::new();
    for (source, layer) in broker.layers.set() {
        for (key, value) in layer {
            let is_new = !without_row.contains_key(key);
            if is_new && broker_setting(key).is_none() && wanted(keys, key) {
                without_row.insert(key.clone(), value.clone());
                entries.push(match base_setting(key) {
                    Some(base) => listener_entry(broker, base, key),
                    None => entry_without_row(key, value, source),
                });
            }
        }
    }
    entries
}

fn broker_entry(broker: &BrokerConfig, setting: &'static Setting) -> ConfigEntry {
    let mut names = broker_synonyms(setting.name);
    if names.is_empty() {
        names.push(setting.name);
    }
    // As in Kafka, the broader spellings are told only behind the key's own value.
    let mut synonyms = broker_values(broker, &names);
    let own = synonyms.iter().position(|synonym| synonym.name == setting.name);
    synonyms.drain(..own.unwrap_or(synonyms.len()));
    let (text, source) = match broker.layers.effective(setting.name) {
        Some((text, source)) => (Some(text.to_owned()), source),
        None => (None, ConfigSource::DefaultConfig),
    };
    let read_only = setting.update == UpdateMode::ReadOnly;
    entry(setting, text, source, synonyms, read_only)
}

/// The settings that were set for all brokers while running (resource BROKER with no name).
pub fn describe_cluster(broker: &BrokerConfig, keys: Keys<'_>) -> Vec<ConfigEntry> {
    let source = ConfigSource::DynamicDefaultBrokerConfig;
    let set = broker.layers.cluster.iter().filter(|(key, _)| wanted(keys, key));
    set.map(|(key, text)| match broker_setting(key) {
        Some(setting) => {
            let value = (!setting.is_sensitive()).then(|| text.clone());
            let synonym = ConfigSynonym { name: key.clone(), value, source };
            entry(setting, Some(text.clone()), source, vec![synonym], false)
        }
        None => match base_setting(key) {
            Some(base) => {
                let value = (!base.is_sensitive()).then(|| text.clone());
                let synonym = ConfigSynonym { name: key.clone(), value, source };
                let entry = entry(base, Some(text.clone()), source, vec![synonym], true);
                ConfigEntry { name: key.clone(), ..entry }
            }
            None => entry_without_row(key, text, source),
        },
    })
    .collect()
}

/// A setting for one listener: told by the row of the setting for all, which it falls back to.
fn listener_entry(broker: &BrokerConfig, base: &'static Setting, key: &str) -> ConfigEntry {
    let synonyms = broker_values(broker, &[key, base.name]);
    let (text, source) = broker.layers.effective(key).expect("it is set in some layer");
    // Kafka calls these read-only, although it changes them: it looks their names up in a table
    // that has only settings without a listener.
    let entry = entry(base, Some(text.to_owned()), source, synonyms, true);
    ConfigEntry { name: key.to_owned(), ..entry }
}

/// The settings of a group with `overrides`. Behind most of them stands a setting of the broker.
pub fn describe_group(
    broker: &BrokerConfig,
    overrides: &RawSettings,
    keys: Keys<'_>,
) -> Vec<ConfigEntry> {
    let describe = |setting: &'static Setting| {
        let mut synonyms = match broker_key(setting.name) {
            Some(key) => broker_values(broker, &[key]),
            None => {
                setting.default.map(|text| synonym_of_default(setting, text)).into_iter().collect()
            }
        };
        let from_broker = broker_key(setting.name).and_then(|key| broker.layers.effective(key));
        let source = ConfigSource::DynamicGroupConfig;
        let (text, source) = match (overrides.get(setting.name), from_broker) {
            (Some(text), _) => {
                let value = Some(text.clone());
                let own = ConfigSynonym { name: setting.name.to_owned(), value, source };
                synonyms.insert(0, own);
                (Some(text.clone()), source)
            }
            (None, Some((text, source))) => (Some(text.to_owned()), source),
            (None, None) => (setting.default.map(str::to_owned), ConfigSource::DefaultConfig),
        };
        entry(setting, text, source, synonyms, false)
    };
    GROUP_SETTINGS.iter().filter(|setting| wanted(keys, setting.name)).map(describe).collect()
}

fn synonym_of_default(setting: &Setting, text: &str) -> ConfigSynonym {
    let source = ConfigSource::DefaultConfig;
    ConfigSynonym { name: setting.name.to_owned(), value: Some(text.to_owned()), source }
}

/// The settings of a subscription to clients' metrics with `overrides`.
pub fn describe_client_metrics(overrides: &RawSettings, keys: Keys<'_>) -> Vec<ConfigEntry> {
    let source = ConfigSource::DynamicClientMetricsConfig;
    let describe = |setting: &'static Setting| match overrides.get(setting.name) {
        Some(text) => {
            let value = Some(text.clone());
            let synonym = ConfigSynonym { name: setting.name.to_owned(), value, source };
            entry(setting, Some(text.clone()), source, vec![synonym], false)
        }
        None => {
            let text = setting.default.map(str::to_owned);
            entry(setting, text, ConfigSource::DefaultConfig, Vec::new(), false)
        }
    };
    let rows = CLIENT_METRICS_SETTINGS.iter();
    rows.filter(|setting| wanted(keys, setting.name)).map(describe).collect()
}

/// What each layer has for these keys: layer by layer, in each the most specific key first.
fn broker_values(broker: &BrokerConfig, names: &[&str]) -> Vec<ConfigSynonym> {
    let mut found = Vec::new();
    let mut push = |name: &str, text: &str, source| {
        let sensitive = base_setting(name).is_none_or(Setting::is_sensitive);
        let value = (!sensitive).then(|| shown(name, text));
        found.push(ConfigSynonym { name: name.to_owned(), value, source });
    };
    for (source, layer) in broker.layers.set() {
        for name in names {
            if let Some(text) = layer.get(*name) {
                push(name, text, source);
            }
        }
    }
    for name in names {
        if let Some(text) = broker_setting(name).and_then(|setting| setting.default) {
            push(name, text, ConfigSource::DefaultConfig);
        }
    }
    found
}

fn shown(name: &str, text: &str) -> String {
    let parsed = base_setting(name).and_then(|setting| setting.parse(text).ok());
    parsed.map_or_else(|| text.to_owned(), |value| value.to_string())
}

fn entry(
    setting: &'static Setting,
    text: Option<String>,
    source: ConfigSource,
    synonyms: Vec<ConfigSynonym>,
    read_only: bool,
) -> ConfigEntry {
    let is_sensitive = setting.is_sensitive();
    let value = text.filter(|_| !is_sensitive).map(|text| match setting.parse(&text) {
        Ok(value) => value.to_string(),
        Err(_) => text,
    });
    ConfigEntry {
        name: setting.name.to_owned(),
        value,
        read_only,
        source,
        is_sensitive,
        synonyms,
        config_type: setting.kind,
        documentation: setting.doc,
    }
}

/// A key nobody can vouch for is treated as a secret on a broker, as Kafka does; a topic's is
/// known to be none.
fn entry_without_row(key: &str, value: &str, source: ConfigSource) -> ConfigEntry {
    let is_sensitive = source != ConfigSource::DynamicTopicConfig;
    let value = (!is_sensitive).then(|| value.to_owned());
    ConfigEntry {
        name: key.to_owned(),
        value: value.clone(),
        read_only: source == ConfigSource::StaticBrokerConfig,
        source,
        is_sensitive,
        synonyms: vec![ConfigSynonym { name: key.to_owned(), value, source }],
        config_type: ConfigType::Unknown,
        documentation: "",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Told by Apache Kafka 4.3.1 itself.
    const KAFKA: &str = include_str!("testdata/kafka-4.3.1-describe.tsv");

    /// What Ringlog means to answer otherwise: other defaults, so that a node starts without
    /// settings and sends with less effort; synonyms in hours, which Kafka leaves out of some
    /// answers; and listeners cannot be changed while running.
    const DIFFERENT: &[&str] = &[
        "controller.listener.names",
        "flush.ms",
        "listener.security.protocol.map",
        "listeners",
        "log.dir",
        "node.id",
        "process.roles",
        "retention.ms",
        "segment.jitter.ms",
        "segment.ms",
        "socket.send.buffer.bytes",
    ];

    fn line(resource: &str, entry: &ConfigEntry) -> String {
        let synonyms: String = entry
            .synonyms
            .iter()
            .map(|synonym| {
                let value = synonym.value.as_deref().unwrap_or("null");
                format!("{}:{}={value};", source_name(synonym.source), synonym.name)
            })
            .collect();
        format!(
            "{resource}\t{}\t{}\t{}\t{}\t{}\t{}\t{synonyms}",
            entry.name,
            entry.config_type.name(),
            source_name(entry.source),
            entry.read_only,
            entry.is_sensitive,
            entry.value.as_deref().unwrap_or("null"),
        )
    }

    fn source_name(source: ConfigSource) -> &'static str {
        match source {
            ConfigSource::DynamicTopicConfig => "DYNAMIC_TOPIC_CONFIG",
            ConfigSource::DynamicBrokerConfig => "DYNAMIC_BROKER_CONFIG",
            ConfigSource::DynamicDefaultBrokerConfig => "DYNAMIC_DEFAULT_BROKER_CONFIG",
            ConfigSource::StaticBrokerConfig => "STATIC_BROKER_CONFIG",
            ConfigSource::DefaultConfig => "DEFAULT_CONFIG",
            ConfigSource::DynamicClientMetricsConfig => "DYNAMIC_CLIENT_METRICS_CONFIG",
            ConfigSource::DynamicGroupConfig => "DYNAMIC_GROUP_CONFIG",
        }
    }

    fn raw(pairs: &[(&str, &str)]) -> RawSettings {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_answer_is_kafkas() {
        let broker = BrokerConfig::default();
        let topic = raw(&[("retention.ms", "1000"), ("cleanup.policy", "compact,delete")]);
        let mut ours = BTreeMap::new();
        for entry in describe_broker(&broker, None) {
            ours.insert(format!("BROKER {}", entry.name), line("BROKER", &entry));
        }
        for entry in describe_topic(&broker, &topic, None) {
            ours.insert(format!("TOPIC {}", entry.name), line("TOPIC", &entry));
        }
        let mut compared = 0;
        for theirs in KAFKA.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<_> = theirs.split('\t').collect();
            let name = format!("{} {}", fields[0], fields[1]);
            let our = ours.get(&name).unwrap_or_else(|| panic!("{name} is missing"));
            // The broker that was asked had a file of its own and a finalized ELR feature.
            let is_set =
                matches!(fields[3], "STATIC_BROKER_CONFIG" | "DYNAMIC_DEFAULT_BROKER_CONFIG");
            if !is_set && !DIFFERENT.contains(&fields[1]) {
                assert_eq!(our, theirs);
                compared += 1;
            }
        }
        assert!(compared >= 348, "{compared}");
    }

    #[test]
    fn synonyms_are_told_layer_by_layer() {
        let start = BrokerConfig::from_settings(raw(&[("log.retention.hours", "1")])).unwrap();
        let (broker, _) =
            start.with_dynamic(&raw(&[("log.retention.ms", "99")]), &RawSettings::new());
        let entries = describe_topic(&broker, &raw(&[("retention.ms", "5")]), None);
        let entry = entries.iter().find(|entry| entry.name == "retention.ms").unwrap();
        assert_eq!(
            line("T", entry),
            "T\tretention.ms\tLONG\tDYNAMIC_TOPIC_CONFIG\tfalse\tfalse\t5\t\
             DYNAMIC_TOPIC_CONFIG:retention.ms=5;\
             DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=99;\
             STATIC_BROKER_CONFIG:log.retention.hours=1;DEFAULT_CONFIG:log.retention.hours=168;"
        );
        let entries = describe_topic(&start, &RawSettings::new(), Some(&["retention.ms"]));
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].value.as_deref(), Some("3600000"));
        assert_eq!(entries[0].source, ConfigSource::StaticBrokerConfig);
        let cluster = describe_cluster(&broker, None);
        assert_eq!(cluster.len(), 1);
        assert_eq!(cluster[0].value.as_deref(), Some("99"));
    }

    /// Told by Apache Kafka 4.3.1 of a broker with these settings.
    #[test]
    fn groups_fall_back_to_the_broker() {
        let file = raw(&[("group.consumer.session.timeout.ms", "50000")]);
        let broker = BrokerConfig::from_settings(file).unwrap();
        let group =
            raw(&[("share.auto.offset.reset", "earliest"), ("share.delivery.count.limit", "3")]);
        let told: Vec<String> =
            describe_group(&broker, &group, None).iter().map(|entry| line("G", entry)).collect();
        for expected in [
            "G\tconsumer.session.timeout.ms\tINT\tSTATIC_BROKER_CONFIG\tfalse\tfalse\t50000\t\
             STATIC_BROKER_CONFIG:group.consumer.session.timeout.ms=50000;\
             DEFAULT_CONFIG:group.consumer.session.timeout.ms=45000;",
            "G\tshare.delivery.count.limit\tINT\tDYNAMIC_GROUP_CONFIG\tfalse\tfalse\t3\t\
             DYNAMIC_GROUP_CONFIG:share.delivery.count.limit=3;\
             DEFAULT_CONFIG:group.share.delivery.count.limit=5;",
            "G\tshare.auto.offset.reset\tSTRING\tDYNAMIC_GROUP_CONFIG\tfalse\tfalse\tearliest\t\
             DYNAMIC_GROUP_CONFIG:share.auto.offset.reset=earliest;\
             DEFAULT_CONFIG:share.auto.offset.reset=latest;",
            "G\tshare.isolation.level\tSTRING\tDEFAULT_CONFIG\tfalse\tfalse\tread_uncommitted\t\
             DEFAULT_CONFIG:share.isolation.level=read_uncommitted;",
        ] {
            assert!(told.iter().any(|line| line == expected), "{expected} in {told:#?}");
        }
    }

    /// Told by Apache Kafka 4.3.1.
    #[test]
    fn settings_of_a_listener_are_told_by_the_row_behind_them() {
        let key = "listener.name.plaintext.ssl.truststore.type";
        let limit = "listener.name.plaintext.max.connections";
        let secret = "listener.name.plaintext.ssl.keystore.password";
        let (broker, refused) = BrokerConfig::default().with_dynamic(
            &raw(&[(limit, "6")]),
            &raw(&[(key, "PKCS12"), (limit, "5"), (secret, "s3cret")]),
        );
        assert_eq!(refused, []);
        let told = describe_broker(&broker, Some(&[key, limit, secret]));
        let told: Vec<String> = told.iter().map(|entry| line("B", entry)).collect();
        assert_eq!(
            told,
            [
                format!(
                    "B\t{limit}\tINT\tDYNAMIC_BROKER_CONFIG\ttrue\tfalse\t5\t\
                     DYNAMIC_BROKER_CONFIG:{limit}=5;DYNAMIC_DEFAULT_BROKER_CONFIG:{limit}=6;\
                     DEFAULT_CONFIG:max.connections=2147483647;"
                ),
                format!(
                    "B\t{secret}\tPASSWORD\tDYNAMIC_BROKER_CONFIG\ttrue\ttrue\tnull\t\
                     DYNAMIC_BROKER_CONFIG:{secret}=null;"
                ),
                format!(
                    "B\t{key}\tSTRING\tDYNAMIC_BROKER_CONFIG\ttrue\tfalse\tPKCS12\t\
                     DYNAMIC_BROKER_CONFIG:{key}=PKCS12;DEFAULT_CONFIG:ssl.truststore.type=JKS;"
                ),
            ]
        );
        let cluster = describe_cluster(&broker, None);
        assert_eq!(
            line("C", &cluster[0]),
            format!(
                "C\t{limit}\tINT\tDYNAMIC_DEFAULT_BROKER_CONFIG\ttrue\tfalse\t6\t\
                 DYNAMIC_DEFAULT_BROKER_CONFIG:{limit}=6;"
            )
        );
    }

    #[test]
    fn secrets_and_strangers_are_not_told() {
        let file = raw(&[("ssl.keystore.password", "s3cret"), ("rsm.config.key", "s3cret")]);
        let broker = BrokerConfig::from_settings(file).unwrap();
        let told = format!("{:?}", describe_broker(&broker, None));
        assert!(!told.contains("s3cret"));
        assert!(told.contains("rsm.config.key"));
        let topic = raw(&[("message.format.version", "3.0")]);
        let entries = describe_topic(&broker, &topic, Some(&["message.format.version"]));
        assert_eq!(entries[0].value.as_deref(), Some("3.0"));
    }
}
