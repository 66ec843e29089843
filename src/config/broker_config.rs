//! The settings of the node, typed.
//!
//! Fields are the honoured settings, named as their keys with underscores. What is only accepted
//! stays in [`BrokerConfig::layers`].

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use ringlog_types::BrokerId;

use crate::address_limits::parse_address_limits;
use crate::dynamic::check_dynamic;
use crate::error::ConfigError;
use crate::layers::{Layers, RawSettings};
use crate::listener::{Listener, parse_listeners, parse_protocol_map, split_address};
use crate::table::{broker_setting, is_known_broker_key};
use crate::topic_config::TopicConfig;
use crate::weighty::{self, WithoutEffect};

/// Which I/O backend a node uses (`ringlog.io`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IoBackend {
    /// io_uring where the kernel allows it, the fallback where not.
    #[default]
    Auto,
    /// io_uring or refuse to start.
    Uring,
    /// The fallback.
    Fallback,
}

/// The node's settings, complete.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "a field is its key in the table of settings, documented there")]
pub struct BrokerConfig {
    pub node_id: BrokerId,
    pub broker_rack: Option<String>,
    /// `ringlog.cluster.id`: the id a new data directory gets, or the one it must have.
    pub cluster_id: Option<String>,
    pub log_dirs: Vec<PathBuf>,
    /// Without those of `controller.listener.names`, which have no meaning here yet.
    pub listeners: Vec<Listener>,
    /// `listeners` where it is not set. An empty host means the machine's own name.
    pub advertised_listeners: Vec<Listener>,
    /// `ringlog.admin.listener` as host and port; `None` when it is empty: no HTTP server.
    pub admin_listener: Option<(String, u16)>,
    /// `ringlog.shards`; 0 means one for each core.
    pub shards: usize,
    /// `ringlog.shards.pin`.
    pub pin_shards: bool,
    /// `ringlog.io`.
    pub io: IoBackend,
    /// `ringlog.disk.reserve.bytes`; `None` where it is not set, for the default that small file
    /// systems lower.
    pub disk_reserve_bytes: Option<u64>,
    /// `ringlog.recovery.checkpoint.bytes`.
    pub recovery_checkpoint_bytes: u64,
    /// `ringlog.scrub.interval.ms`.
    pub scrub_interval_ms: i64,
    /// `ringlog.scrub.megabytes.per.second`.
    pub scrub_megabytes_per_second: u64,
    /// `ringlog.tail.cache.bytes`.
    pub tail_cache_bytes: usize,
    /// `ringlog.unflushed.bytes.max`.
    pub unflushed_bytes_max: usize,
    /// `ringlog.request.memory.bytes`.
    pub request_memory_bytes: usize,
    pub auto_create_topics_enable: bool,
    pub delete_topic_enable: bool,
    pub num_partitions: i32,
    pub default_replication_factor: i32,
    pub socket_request_max_bytes: i32,
    /// `socket.send.buffer.bytes`; `None` leaves it to the system.
    pub socket_send_buffer_bytes: Option<usize>,
    pub connections_max_idle_ms: i64,
    pub max_connections: i32,
    pub max_connections_per_ip: i32,
    pub max_connections_per_ip_overrides: BTreeMap<IpAddr, i32>,
    pub fetch_max_bytes: i32,
    pub quota_window_num: i32,
    pub quota_window_size_seconds: i32,
    pub controller_quota_window_num: i32,
    pub controller_quota_window_size_seconds: i32,
    pub max_incremental_fetch_session_cache_slots: i32,
    pub max_request_partition_size_limit: i32,
    pub log_retention_check_interval_ms: i64,
    pub log_cleaner_enable: bool,
    pub log_cleaner_threads: i32,
    pub log_cleaner_backoff_ms: i64,
    pub log_cleaner_dedupe_buffer_size: i64,
    pub log_cleaner_io_buffer_load_factor: f64,
    pub log_cleaner_io_max_bytes_per_second: f64,
    pub log_flush_offset_checkpoint_interval_ms: i32,
    pub log_flush_start_offset_checkpoint_interval_ms: i32,
    pub metadata_log_max_record_bytes_between_snapshots: i64,
    pub metadata_log_max_snapshot_interval_ms: i64,
    pub metadata_log_segment_bytes: i32,
    pub metadata_log_segment_ms: i64,
    pub metadata_max_retention_bytes: i64,
    pub metadata_max_retention_ms: i64,
    pub producer_id_expiration_ms: i32,
    pub group_min_session_timeout_ms: i32,
    pub group_max_session_timeout_ms: i32,
    pub group_max_size: i32,
    pub group_initial_rebalance_delay_ms: i32,
    pub group_consumer_max_size: i32,
    /// Names, the default first.
    pub group_consumer_assignors: Vec<String>,
    /// In lower case.
    pub group_consumer_migration_policy: String,
    pub group_coordinator_rebalance_protocols: Vec<String>,
    pub offset_metadata_max_bytes: i32,
    pub offsets_retention_minutes: i32,
    pub offsets_retention_check_interval_ms: i64,
    pub offsets_topic_num_partitions: i32,
    /// `offsets.topic.replication.factor`; `None` where it is not set: three, or as many as there
    /// are brokers.
    pub offsets_topic_replication_factor: Option<i16>,
    pub offsets_topic_segment_bytes: i32,
    /// What a topic has that overrides nothing.
    pub topic_defaults: TopicConfig,
    /// Everything that was set, as text, for DescribeConfigs.
    pub layers: Layers,
}

impl Default for BrokerConfig {
    fn default() -> BrokerConfig {
        BrokerConfig::from_settings(RawSettings::new()).expect("the table's defaults are valid")
    }
}

impl BrokerConfig {
    /// The settings of a node that was started with `file`. Keys are taken to be known: see
    /// [`crate::Settings`] for the check of names and places.
    pub fn from_settings(file: RawSettings) -> Result<BrokerConfig, ConfigError> {
        let layers = Layers { file, ..Layers::default() };
        for (key, text) in &layers.file {
            if let Some(setting) = broker_setting(key) {
                setting.parse(text)?;
            }
        }
        BrokerConfig::from_layers(layers)
    }

    /// The same node with what is set while running: for all brokers, and for this one. A value
    /// that is refused is left out and reported; what the broker had stays in force.
    pub fn with_dynamic(
        &self,
        cluster: &RawSettings,
        broker: &RawSettings,
    ) -> (BrokerConfig, Vec<ConfigError>) {
        let mut refused = Vec::new();
        let mut keep = |from: &RawSettings, per_broker: bool| -> RawSettings {
            let mut kept = RawSettings::new();
            for (key, text) in from {
                match check_dynamic(key, text, per_broker) {
                    Ok(()) => drop(kept.insert(key.clone(), text.clone())),
                    Err(error) => refused.push(error),
                }
            }
            kept
        };
        let layers = Layers {
            file: self.layers.file.clone(),
            cluster: keep(cluster, false),
            broker: keep(broker, true),
        };
        match BrokerConfig::from_layers(layers) {
            Ok(config) => (config, refused),
            Err(error) => {
                refused.push(error);
                (self.clone(), refused)
            }
        }
    }

    /// What was set at start without an effect here: worth a line in the log.
    pub fn without_effect(&self) -> WithoutEffect {
        weighty::without_effect(&self.layers)
    }

    #[expect(clippy::too_many_lines, reason = "a line for each setting")]
    fn from_layers(layers: Layers) -> Result<BrokerConfig, ConfigError> {
        let node_id = node_id(&layers)?;
        weighty::check(&layers, node_id)?;
        let listeners = listeners(&layers)?;
        let advertised = advertised_listeners(&layers, &listeners)?;
        let overrides_key = "max.connections.per.ip.overrides";
        let overrides = layers.text(overrides_key)?.unwrap_or_default();
        let max_connections_per_ip_overrides = parse_address_limits(overrides_key, &overrides)?;
        let max_connections_per_ip = layers.int("max.connections.per.ip")?;
        if max_connections_per_ip == 0 && max_connections_per_ip_overrides.is_empty() {
            return Err(ConfigError::Conflict(format!(
                "max.connections.per.ip can be set to zero only if {overrides_key} property is set."
            )));
        }
        let reserve_key = "ringlog.disk.reserve.bytes";
        let reserve_is_set = layers.file.contains_key(reserve_key);
        let size = |key: &str| -> Result<usize, ConfigError> {
            Ok(usize::try_from(layers.long(key)?).unwrap_or(usize::MAX))
        };
        Ok(BrokerConfig {
            node_id,
            broker_rack: layers.text("broker.rack")?,
            cluster_id: layers.text("ringlog.cluster.id")?,
            log_dirs: log_dirs(&layers)?,
            listeners,
            advertised_listeners: advertised,
            admin_listener: admin_listener(&layers)?,
            shards: usize::try_from(layers.int("ringlog.shards")?).unwrap_or(0),
            pin_shards: layers.boolean("ringlog.shards.pin")?,
            io: match layers.text("ringlog.io")?.as_deref() {
                Some("uring") => IoBackend::Uring,
                Some("fallback") => IoBackend::Fallback,
                _ => IoBackend::Auto,
            },
            disk_reserve_bytes: reserve_is_set
                .then(|| size(reserve_key))
                .transpose()?
                .map(|bytes| bytes as u64),
            recovery_checkpoint_bytes: size("ringlog.recovery.checkpoint.bytes")? as u64,
            scrub_interval_ms: layers.long("ringlog.scrub.interval.ms")?,
            scrub_megabytes_per_second: layers
                .int("ringlog.scrub.megabytes.per.second")?
                .unsigned_abs()
                .into(),
            tail_cache_bytes: size("ringlog.tail.cache.bytes")?,
            unflushed_bytes_max: size("ringlog.unflushed.bytes.max")?,
            request_memory_bytes: size("ringlog.request.memory.bytes")?,
            auto_create_topics_enable: layers.boolean("auto.create.topics.enable")?,
            delete_topic_enable: layers.boolean("delete.topic.enable")?,
            num_partitions: layers.int("num.partitions")?,
            default_replication_factor: layers.int("default.replication.factor")?,
            socket_request_max_bytes: layers.int("socket.request.max.bytes")?,
            socket_send_buffer_bytes: usize::try_from(layers.int("socket.send.buffer.bytes")?).ok(),
            connections_max_idle_ms: layers.long("connections.max.idle.ms")?,
            max_connections: layers.int("max.connections")?,
            max_connections_per_ip,
            max_connections_per_ip_overrides,
            fetch_max_bytes: layers.int("fetch.max.bytes")?,
            quota_window_num: layers.int("quota.window.num")?,
            quota_window_size_seconds: layers.int("quota.window.size.seconds")?,
            controller_quota_window_num: layers.int("controller.quota.window.num")?,
            controller_quota_window_size_seconds: layers
                .int("controller.quota.window.size.seconds")?,
            max_incremental_fetch_session_cache_slots: layers
                .int("max.incremental.fetch.session.cache.slots")?,
            max_request_partition_size_limit: layers.int("max.request.partition.size.limit")?,
            log_retention_check_interval_ms: layers.long("log.retention.check.interval.ms")?,
            log_cleaner_enable: layers.boolean("log.cleaner.enable")?,
            log_cleaner_threads: layers.int("log.cleaner.threads")?,
            log_cleaner_backoff_ms: layers.long("log.cleaner.backoff.ms")?,
            log_cleaner_dedupe_buffer_size: layers.long("log.cleaner.dedupe.buffer.size")?,
            log_cleaner_io_buffer_load_factor: layers
                .double("log.cleaner.io.buffer.load.factor")?,
            log_cleaner_io_max_bytes_per_second: layers
                .double("log.cleaner.io.max.bytes.per.second")?,
            log_flush_offset_checkpoint_interval_ms: layers
                .int("log.flush.offset.checkpoint.interval.ms")?,
            log_flush_start_offset_checkpoint_interval_ms: layers
                .int("log.flush.start.offset.checkpoint.interval.ms")?,
            metadata_log_max_record_bytes_between_snapshots: layers
                .long("metadata.log.max.record.bytes.between.snapshots")?,
            metadata_log_max_snapshot_interval_ms: layers
                .long("metadata.log.max.snapshot.interval.ms")?,
            metadata_log_segment_bytes: layers.int("metadata.log.segment.bytes")?,
            metadata_log_segment_ms: layers.long("metadata.log.segment.ms")?,
            metadata_max_retention_bytes: layers.long("metadata.max.retention.bytes")?,
            metadata_max_retention_ms: layers.long("metadata.max.retention.ms")?,
            producer_id_expiration_ms: layers.int("producer.id.expiration.ms")?,
            group_min_session_timeout_ms: layers.int("group.min.session.timeout.ms")?,
            group_max_session_timeout_ms: layers.int("group.max.session.timeout.ms")?,
            group_max_size: layers.int("group.max.size")?,
            group_initial_rebalance_delay_ms: layers.int("group.initial.rebalance.delay.ms")?,
            group_consumer_max_size: layers.int("group.consumer.max.size")?,
            group_consumer_assignors: layers.list("group.consumer.assignors")?.unwrap_or_default(),
            group_consumer_migration_policy: layers
                .text("group.consumer.migration.policy")?
                .unwrap_or_default()
                .to_lowercase(),
            group_coordinator_rebalance_protocols: layers
                .list("group.coordinator.rebalance.protocols")?
                .unwrap_or_default(),
            offset_metadata_max_bytes: layers.int("offset.metadata.max.bytes")?,
            offsets_retention_minutes: layers.int("offsets.retention.minutes")?,
            offsets_retention_check_interval_ms: layers
                .long("offsets.retention.check.interval.ms")?,
            offsets_topic_num_partitions: layers.int("offsets.topic.num.partitions")?,
            offsets_topic_replication_factor: layers
                .file
                .contains_key("offsets.topic.replication.factor")
                .then(|| layers.int("offsets.topic.replication.factor"))
                .transpose()?
                .map(|replicas| i16::try_from(replicas).unwrap_or(i16::MAX)),
            offsets_topic_segment_bytes: layers.int("offsets.topic.segment.bytes")?,
            topic_defaults: TopicConfig::of_broker(&layers)?,
            layers,
        })
    }
}

fn node_id(layers: &Layers) -> Result<BrokerId, ConfigError> {
    let set = |key: &str| layers.file.contains_key(key);
    let (node, broker) = (layers.int("node.id")?, layers.int("broker.id")?);
    if set("node.id") && set("broker.id") && node != broker {
        return Err(ConfigError::Conflict(format!(
            "node.id is {node} and broker.id is {broker}: they are the same setting, keep one"
        )));
    }
    let (key, id) = if set("broker.id") { ("broker.id", broker) } else { ("node.id", node) };
    if id < 0 {
        return Err(ConfigError::invalid(key, &id.to_string(), "Value must be at least 0"));
    }
    Ok(BrokerId(id))
}

fn log_dirs(layers: &Layers) -> Result<Vec<PathBuf>, ConfigError> {
    let dirs = match layers.list("log.dirs")? {
        Some(dirs) => dirs,
        None => layers.list("log.dir")?.unwrap_or_default(),
    };
    if dirs.is_empty() || dirs.iter().any(String::is_empty) {
        let reason = "At least one directory is needed";
        return Err(ConfigError::invalid("log.dirs", &dirs.join(","), reason));
    }
    let mut seen = HashSet::new();
    if !dirs.iter().all(|dir| seen.insert(plain(dir))) {
        let reason = "Each directory can stand there once";
        return Err(ConfigError::invalid("log.dirs", &dirs.join(","), reason));
    }
    let mut dirs: Vec<PathBuf> = dirs.into_iter().map(PathBuf::from).collect();
    if let Some(metadata) = layers.text("metadata.log.dir")?.filter(|dir| !dir.is_empty()) {
        let Some(at) = dirs.iter().position(|dir| dir == Path::new(&metadata)) else {
            let reason = "It is none of log.dirs, and Ringlog keeps the metadata log in one of \
                          these. Add it to log.dirs, and a metadata log that is there is found";
            return Err(ConfigError::invalid("metadata.log.dir", &metadata, reason));
        };
        // A new metadata log is made in the first one; one that exists is found in any.
        dirs[..=at].rotate_right(1);
    }
    Ok(dirs)
}

/// The path without what changes nothing: `./`, and slashes that repeat or end it.
fn plain(dir: &str) -> PathBuf {
    Path::new(dir).components().filter(|part| *part != Component::CurDir).collect()
}

fn listeners(layers: &Layers) -> Result<Vec<Listener>, ConfigError> {
    let items = layers.list("listeners")?.unwrap_or_default();
    let mut all = parse_listeners("listeners", &items)?;
    let controller = layers.list("controller.listener.names")?.unwrap_or_default();
    all.retain(|listener| !controller.iter().any(|name| name.eq_ignore_ascii_case(&listener.name)));
    if all.is_empty() {
        let reason = "At least one listener that is not a controller's is needed";
        return Err(ConfigError::invalid("listeners", &items.join(","), reason));
    }
    let map = layers.text("listener.security.protocol.map")?.unwrap_or_default();
    let map = parse_protocol_map(&map)?;
    for listener in &all {
        match map.get(&listener.name).map(String::as_str) {
            Some("PLAINTEXT") => {}
            Some(protocol) => {
                let reason = format!("Ringlog serves PLAINTEXT only, not yet {protocol}");
                return Err(ConfigError::invalid("listeners", &listener.to_string(), reason));
            }
            None => {
                let reason = format!(
                    "No security protocol defined for listener {}; add \
                     {}:PLAINTEXT to listener.security.protocol.map",
                    listener.name, listener.name
                );
                return Err(ConfigError::invalid("listeners", &listener.to_string(), reason));
            }
        }
    }
    Ok(all)
}

/// Whether a host stands for every interface: nothing a client could connect to.
fn is_wildcard(host: &str) -> bool {
    matches!(host, "" | "0.0.0.0" | "::")
}

fn advertised_listeners(
    layers: &Layers,
    listeners: &[Listener],
) -> Result<Vec<Listener>, ConfigError> {
    let key = "advertised.listeners";
    let Some(items) = layers.list(key)? else {
        let own_name = |listener: &Listener| match is_wildcard(&listener.host) {
            true => Listener { host: String::new(), ..listener.clone() },
            false => listener.clone(),
        };
        return Ok(listeners.iter().map(own_name).collect());
    };
    let controller = layers.list("controller.listener.names")?.unwrap_or_default();
    let mut advertised = parse_listeners(key, &items)?;
    advertised
        .retain(|address| !controller.iter().any(|name| name.eq_ignore_ascii_case(&address.name)));
    for address in &advertised {
        let shown = address.to_string();
        if !listeners.iter().any(|listener| listener.name == address.name) {
            let reason = "Every advertised listener must be one of listeners";
            return Err(ConfigError::invalid(key, &shown, reason));
        }
        if !address.host.is_empty() && is_wildcard(&address.host) {
            let reason = "Clients cannot connect to this address; name one they can reach";
            return Err(ConfigError::invalid(key, &shown, reason));
        }
    }
    Ok(advertised)
}

fn admin_listener(layers: &Layers) -> Result<Option<(String, u16)>, ConfigError> {
    let key = "ringlog.admin.listener";
    let text = layers.text(key)?.unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    match split_address(&text) {
        Some(address) => Ok(Some(address)),
        None => Err(ConfigError::invalid(key, &text, "Expected host:port")),
    }
}

/// Whether a broker key can stand in a file: a row of the table, or one of Kafka's others.
pub(crate) fn is_broker_key(key: &str) -> bool {
    broker_setting(key).is_some() || is_known_broker_key(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(pairs: &[(&str, &str)]) -> RawSettings {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn config(pairs: &[(&str, &str)]) -> Result<BrokerConfig, ConfigError> {
        BrokerConfig::from_settings(raw(pairs))
    }

    #[test]
    fn a_kafka_nodes_file_starts_a_node() {
        let config = config(&[
            ("process.roles", "broker,controller"),
            ("node.id", "7"),
            ("controller.quorum.voters", "7@localhost:9093"),
            ("listeners", "PLAINTEXT://:9092,CONTROLLER://:9093"),
            (
                "advertised.listeners",
                "PLAINTEXT://logs.example:9092,CONTROLLER://logs.example:9093",
            ),
            ("controller.listener.names", "CONTROLLER"),
            ("log.dirs", "/a, /b"),
            ("num.io.threads", "8"),
        ])
        .unwrap();
        assert_eq!(config.node_id, BrokerId(7));
        assert_eq!(config.listeners.len(), 1);
        assert_eq!(config.listeners[0].to_string(), "PLAINTEXT://:9092");
        assert_eq!(config.advertised_listeners[0].to_string(), "PLAINTEXT://logs.example:9092");
        assert_eq!(config.log_dirs, [PathBuf::from("/a"), PathBuf::from("/b")]);
    }

    #[test]
    fn defaults_start_a_node_too() {
        let config = BrokerConfig::default();
        assert_eq!(config.socket_send_buffer_bytes, Some(512 << 10));
        assert_eq!(config.node_id, BrokerId(1));
        assert_eq!(config.log_dirs, [PathBuf::from("./ringlog-data")]);
        assert_eq!(config.listeners[0].to_string(), "PLAINTEXT://127.0.0.1:9092");
        assert_eq!(config.admin_listener, Some(("127.0.0.1".to_owned(), 9644)));
        let left_to_the_system = [("socket.send.buffer.bytes".to_owned(), "-1".to_owned())];
        let config = BrokerConfig::from_settings(left_to_the_system.into()).unwrap();
        assert_eq!(config.socket_send_buffer_bytes, None);
    }

    #[test]
    fn contradictions_are_refused() {
        let cases: &[&[(&str, &str)]] = &[
            &[("node.id", "1"), ("broker.id", "2")],
            &[("node.id", "-1")],
            &[("log.dirs", "")],
            &[("log.dirs", "/a,/b,/a")],
            &[("log.dirs", "a,./a//")],
            &[("listeners", "SSL://:9092")],
            &[("listeners", "LOGS://:9092")],
            &[("listeners", "")],
            &[("advertised.listeners", "OTHER://h:1")],
            &[("advertised.listeners", "PLAINTEXT://0.0.0.0:9092")],
            &[("ringlog.admin.listener", "nine")],
            &[("ringlog.io", "epoll")],
            &[("max.connections.per.ip", "0")],
            &[("max.connections.per.ip.overrides", "localhost:3")],
        ];
        for case in cases {
            assert!(config(case).is_err(), "{case:?}");
        }
        assert_eq!(config(&[("ringlog.admin.listener", "")]).unwrap().admin_listener, None);
        assert_eq!(config(&[("broker.id", "3")]).unwrap().node_id, BrokerId(3));
        let dirs = |metadata: &str| {
            let set = config(&[("log.dirs", "/a,/b,/c"), ("metadata.log.dir", metadata)]);
            set.map(|config| config.log_dirs.iter().map(|dir| dir.display().to_string()).collect())
        };
        assert_eq!(dirs("/b/"), Ok(["/b", "/a", "/c"].map(String::from).to_vec()));
        let elsewhere: Result<Vec<String>, _> = dirs("/d");
        assert!(elsewhere.unwrap_err().to_string().contains("Add it to log.dirs"));
        let limits =
            [("max.connections.per.ip", "0"), ("max.connections.per.ip.overrides", "10.0.0.7:3")];
        assert_eq!(config(&limits).unwrap().max_connections_per_ip_overrides.len(), 1);
        let reserve = |pairs| config(pairs).unwrap().disk_reserve_bytes;
        assert_eq!(reserve(&[]), None);
        assert_eq!(reserve(&[("ringlog.disk.reserve.bytes", "0")]), Some(0));
        let every = config(&[("listeners", "PLAINTEXT://0.0.0.0:9092")]).unwrap();
        assert_eq!(every.advertised_listeners[0].host, "");
    }

    #[test]
    fn settings_change_while_running_layer_over_layer() {
        let start = config(&[("log.retention.ms", "10")]).unwrap();
        let cluster = raw(&[("log.retention.ms", "20"), ("max.connections", "5")]);
        let (config, refused) = start.with_dynamic(&cluster, &raw(&[("log.retention.ms", "30")]));
        assert!(refused.is_empty());
        assert_eq!(config.topic_defaults.retention_ms, 30);
        assert_eq!(config.max_connections, 5);
        let bad = raw(&[("node.id", "9"), ("max.connections", "x"), ("fetch.colour", "red")]);
        let (config, refused) = config.with_dynamic(&bad, &RawSettings::new());
        assert_eq!(refused.len(), 2);
        assert_eq!((config.node_id, config.topic_defaults.retention_ms), (BrokerId(1), 10));
    }
}
