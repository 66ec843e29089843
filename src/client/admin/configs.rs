//! Settings of topics and brokers: describe, and change one by one (KIP-339).

use ringlog_types::BrokerId;
use ringlog_wire::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use ringlog_wire::messages::describe_configs_response::DescribeConfigsResponse;
use ringlog_wire::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use ringlog_wire::messages::incremental_alter_configs_response::IncrementalAlterConfigsResponse;

use super::topics::only;
use crate::client::{Client, Node};
use crate::error::ClientError;

/// Whose settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigResource {
    /// A topic.
    Topic(String),
    /// A broker; `None` for what is set for all brokers.
    Broker(Option<BrokerId>),
}

impl ConfigResource {
    fn kind(&self) -> i8 {
        match self {
            ConfigResource::Topic(_) => 2,
            ConfigResource::Broker(_) => 4,
        }
    }

    fn name(&self) -> String {
        match self {
            ConfigResource::Topic(name) => name.clone(),
            ConfigResource::Broker(id) => id.map(|id| id.to_string()).unwrap_or_default(),
        }
    }

    fn context(&self) -> String {
        match self {
            ConfigResource::Topic(name) => format!("settings of topic {name}"),
            ConfigResource::Broker(Some(id)) => format!("settings of broker {id}"),
            ConfigResource::Broker(None) => "settings of all brokers".into(),
        }
    }

    /// A broker's settings are asked of that broker, the rest of anyone.
    fn node(&self) -> Node {
        match self {
            ConfigResource::Broker(Some(id)) => Node::Broker(*id),
            _ => Node::Any,
        }
    }
}

/// One setting as the cluster has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedConfig {
    /// Its key.
    pub name: String,
    /// Its value; absent when it is a secret or not set.
    pub value: Option<String>,
    /// Where it comes from: Kafka's `ConfigSource` by name.
    pub source: &'static str,
    /// Whether it is set for this very resource.
    pub is_override: bool,
    /// Whether it can be changed while running.
    pub read_only: bool,
    /// Whether it is a secret.
    pub is_sensitive: bool,
    /// What it is for.
    pub documentation: Option<String>,
}

/// What to do with a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigOperation {
    /// Give it this value.
    Set(String),
    /// Back to what it is by default.
    Delete,
    /// Add to a list.
    Append(String),
    /// Take from a list.
    Subtract(String),
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigChange {
    /// The key.
    pub name: String,
    /// What to do with it.
    pub operation: ConfigOperation,
}

impl Client {
    /// The settings of a resource, by name.
    ///
    /// # Errors
    /// As the broker answers.
    pub async fn describe_configs(
        &self,
        resource: &ConfigResource,
    ) -> Result<Vec<DescribedConfig>, ClientError> {
        if let ConfigResource::Topic(name) = resource {
            // Says within a moment that a topic does not exist; the retries below would wait.
            self.refresh_topic(name, false).await?;
        }
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: resource.kind(),
                resource_name: resource.name().into(),
                configuration_keys: None,
            }],
            include_synonyms: false,
            include_documentation: true,
        };
        self.retrying(async || {
            let reply = self.request(resource.node(), &request).await?;
            let response: DescribeConfigsResponse<'_> = reply.decode()?;
            let result = only(response.results, || resource.context())?;
            let message = result.error_message.as_deref();
            let error = ClientError::from_code(result.error_code, message, || resource.context());
            if let Some(error) = error {
                return Err(error);
            }
            let mut configs: Vec<DescribedConfig> = result
                .configs
                .iter()
                .map(|config| DescribedConfig {
                    name: config.name.to_string(),
                    value: config.value.as_ref().map(|value| value.to_string()),
                    source: source_name(config.config_source),
                    is_override: is_override(resource, config.config_source),
                    read_only: config.read_only,
                    is_sensitive: config.is_sensitive,
                    documentation: config.documentation.as_ref().map(|text| text.to_string()),
                })
                .collect();
            configs.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(configs)
        })
        .await
    }

    /// Changes settings of a resource, all or none, or only checks whether it could.
    ///
    /// # Errors
    /// As the broker answers.
    pub async fn alter_configs(
        &self,
        resource: &ConfigResource,
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Result<(), ClientError> {
        if let ConfigResource::Topic(name) = resource {
            self.refresh_topic(name, false).await?;
        }
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: resource.kind(),
                resource_name: resource.name().into(),
                configs: changes.iter().map(alterable).collect(),
            }],
            validate_only,
        };
        let node = match resource.node() {
            Node::Any => Node::Controller,
            broker => broker,
        };
        self.retrying(async || {
            let reply = self.request(node, &request).await?;
            let response: IncrementalAlterConfigsResponse<'_> = reply.decode()?;
            let result = only(response.responses, || resource.context())?;
            let message = result.error_message.as_deref();
            ClientError::from_code(result.error_code, message, || resource.context())
                .map_or(Ok(()), Err)
        })
        .await
    }
}

fn alterable(change: &ConfigChange) -> AlterableConfig<'_> {
    let (config_operation, value) = match &change.operation {
        ConfigOperation::Set(value) => (0, Some(value)),
        ConfigOperation::Delete => (1, None),
        ConfigOperation::Append(value) => (2, Some(value)),
        ConfigOperation::Subtract(value) => (3, Some(value)),
    };
    let value = value.map(|value| value.as_str().into());
    AlterableConfig { name: change.name.as_str().into(), config_operation, value }
}

/// Kafka's `DescribeConfigsResponse.ConfigSource`.
fn source_name(source: i8) -> &'static str {
    match source {
        1 => "DYNAMIC_TOPIC_CONFIG",
        2 => "DYNAMIC_BROKER_CONFIG",
        3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        4 => "STATIC_BROKER_CONFIG",
        5 => "DEFAULT_CONFIG",
        6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
        7 => "DYNAMIC_CLIENT_METRICS_CONFIG",
        8 => "GROUP_CONFIG",
        _ => "UNKNOWN",
    }
}

fn is_override(resource: &ConfigResource, source: i8) -> bool {
    match resource {
        ConfigResource::Topic(_) => source == 1,
        ConfigResource::Broker(Some(_)) => source == 2 || source == 4,
        ConfigResource::Broker(None) => source == 3,
    }
}
