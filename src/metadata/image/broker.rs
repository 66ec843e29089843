//! Brokers as they registered.

use std::sync::Arc;

use ringlog_types::{BrokerId, Uuid};
use ringlog_wire::messages::register_broker_record::{self, RegisterBrokerRecord};

/// A registered broker (`BrokerRegistration`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its `node.id`.
    pub id: BrokerId,
    /// The offset of its registration: each start is another epoch.
    pub epoch: i64,
    /// Chosen anew at each start.
    pub incarnation_id: Uuid,
    /// Where it listens.
    pub endpoints: Vec<BrokerEndpoint>,
    /// The features that it supports.
    pub features: Vec<BrokerFeature>,
    /// Its rack.
    pub rack: Option<Arc<str>>,
    /// Whether it may not lead.
    pub fenced: bool,
    /// Whether it is stopping.
    pub in_controlled_shutdown: bool,
    /// The ids of its log directories.
    pub log_dirs: Vec<Uuid>,
    /// The directories that get no new partitions; `None` before Kafka 4.3.
    pub cordoned_log_dirs: Option<Vec<Uuid>>,
    /// Whether it was moving from ZooKeeper.
    pub is_migrating_zk_broker: bool,
}

/// One listener of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerEndpoint {
    /// The listener's name.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// 0 for PLAINTEXT (`SecurityProtocol`).
    pub security_protocol: i16,
}

/// One feature of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerFeature {
    /// The feature's name.
    pub name: String,
    /// Lowest level it supports.
    pub min_level: i16,
    /// Highest level it supports.
    pub max_level: i16,
}

impl Broker {
    pub(crate) fn from_record(record: &RegisterBrokerRecord<'_>) -> Broker {
        let endpoint = |endpoint: &register_broker_record::BrokerEndpoint<'_>| BrokerEndpoint {
            name: endpoint.name.to_string(),
            host: endpoint.host.to_string(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
        };
        let feature = |feature: &register_broker_record::BrokerFeature<'_>| BrokerFeature {
            name: feature.name.to_string(),
            min_level: feature.min_supported_version,
            max_level: feature.max_supported_version,
        };
        Broker {
            id: BrokerId(record.broker_id),
            epoch: record.broker_epoch,
            incarnation_id: record.incarnation_id,
            endpoints: record.end_points.iter().map(endpoint).collect(),
            features: record.features.iter().map(feature).collect(),
            rack: record.rack.as_deref().map(Arc::from),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            log_dirs: record.log_dirs.clone(),
            cordoned_log_dirs: record.cordoned_log_dirs.clone(),
            is_migrating_zk_broker: record.is_migrating_zk_broker,
        }
    }

    pub(crate) fn to_record(&self) -> RegisterBrokerRecord<'static> {
        let endpoint = |endpoint: &BrokerEndpoint| register_broker_record::BrokerEndpoint {
            name: endpoint.name.clone().into(),
            host: endpoint.host.clone().into(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
        };
        let feature = |feature: &BrokerFeature| register_broker_record::BrokerFeature {
            name: feature.name.clone().into(),
            min_supported_version: feature.min_level,
            max_supported_version: feature.max_level,
        };
        RegisterBrokerRecord {
            broker_id: self.id.0,
            is_migrating_zk_broker: self.is_migrating_zk_broker,
            incarnation_id: self.incarnation_id,
            broker_epoch: self.epoch,
            end_points: self.endpoints.iter().map(endpoint).collect(),
            features: self.features.iter().map(feature).collect(),
            rack: self.rack.as_ref().map(|rack| rack.to_string().into()),
            fenced: self.fenced,
            in_controlled_shutdown: self.in_controlled_shutdown,
            log_dirs: self.log_dirs.clone(),
            cordoned_log_dirs: self.cordoned_log_dirs.clone(),
        }
    }
}
