//! The settings of the node, typed.
//!
//! Fields are the honoured settings, named as their keys with underscores.

use std::path::PathBuf;

use crate::topic_config::TopicConfig;

/// A `NAME://host:port` of `listeners` or `advertised.listeners`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The listener's name, upper case, such as `PLAINTEXT`.
    pub name: String,
    /// Host name or address without brackets; empty means every interface.
    pub host: String,
    /// The port; 0 lets the system choose.
    pub port: u16,
}

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
    pub node_id: i32,
    pub broker_rack: Option<String>,
    pub log_dirs: Vec<PathBuf>,
    pub listeners: Vec<Listener>,
    pub advertised_listeners: Vec<Listener>,
    /// `ringlog.admin.listener`; `None` when it is empty: no HTTP server.
    pub admin_listener: Option<Listener>,
    /// `ringlog.shards`; 0 means one for each core.
    pub shards: usize,
    pub io: IoBackend,
    pub auto_create_topics_enable: bool,
    pub delete_topic_enable: bool,
    pub num_partitions: i32,
    pub default_replication_factor: i16,
    pub socket_request_max_bytes: i32,
    pub connections_max_idle_ms: i64,
    pub fetch_max_bytes: i32,
    pub max_incremental_fetch_session_cache_slots: i32,
    pub log_retention_check_interval_ms: i64,
    pub log_flush_offset_checkpoint_interval_ms: i32,
    pub log_flush_start_offset_checkpoint_interval_ms: i32,
    pub producer_id_expiration_ms: i32,
    pub replica_lag_time_max_ms: i64,
    /// What a topic has that overrides nothing.
    pub topic_defaults: TopicConfig,
}
