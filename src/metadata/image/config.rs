//! The resources that have settings of their own.

use std::sync::Arc;

use ringlog_types::BrokerId;

/// The kinds of resources; the numbers are Kafka's (`ConfigResource.Type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i8)]
pub enum ResourceType {
    /// A topic, by name.
    Topic = 2,
    /// A broker by its number, or all of them by the empty name.
    Broker = 4,
    /// The loggers of a broker.
    BrokerLogger = 8,
    /// A subscription to clients' metrics (KIP-714).
    ClientMetrics = 16,
    /// A group.
    Group = 32,
}

impl ResourceType {
    /// The kind with this number.
    pub fn from_code(code: i8) -> Option<ResourceType> {
        Some(match code {
            2 => ResourceType::Topic,
            4 => ResourceType::Broker,
            8 => ResourceType::BrokerLogger,
            16 => ResourceType::ClientMetrics,
            32 => ResourceType::Group,
            _ => return None,
        })
    }

    /// Its number.
    pub fn code(self) -> i8 {
        self as i8
    }
}

/// A resource with settings of its own. The kind is a plain number, so that settings of kinds
/// that a newer Kafka has survive a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConfigResource {
    /// The kind's number.
    pub resource_type: i8,
    /// The name; what it means depends on the kind.
    pub name: Arc<str>,
}

impl ConfigResource {
    /// A resource of a kind.
    pub fn new(resource_type: ResourceType, name: impl Into<Arc<str>>) -> ConfigResource {
        ConfigResource { resource_type: resource_type.code(), name: name.into() }
    }

    /// A topic.
    pub fn topic(name: impl Into<Arc<str>>) -> ConfigResource {
        ConfigResource::new(ResourceType::Topic, name)
    }

    /// One broker.
    pub fn broker(id: BrokerId) -> ConfigResource {
        ConfigResource::new(ResourceType::Broker, id.to_string())
    }

    /// All brokers.
    pub fn all_brokers() -> ConfigResource {
        ConfigResource::new(ResourceType::Broker, "")
    }
}
