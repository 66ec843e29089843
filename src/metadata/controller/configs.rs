//! AlterConfigs and IncrementalAlterConfigs.
//!
//! The older call says what all settings of a resource shall be, the newer one what changes. Both
//! come down to a list of operations on one resource; the refusals are Kafka's
//! (`ConfigAdminManager`, `ConfigurationControlManager`).

use std::collections::{BTreeMap, HashSet};

use ringlog_config::{
    RawSettings, TopicConfig, check_all_dynamic, check_step, describe_broker, describe_topic,
};
use ringlog_types::{BrokerId, ErrorCode};
use ringlog_wire::messages::alter_configs_request::AlterConfigsRequest;
use ringlog_wire::messages::alter_configs_response::{
    AlterConfigsResourceResponse as LegacyResourceResponse, AlterConfigsResponse,
};
use ringlog_wire::messages::config_record::ConfigRecord;
use ringlog_wire::messages::incremental_alter_configs_request::IncrementalAlterConfigsRequest;
use ringlog_wire::messages::incremental_alter_configs_response::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsResponse,
};

use super::api_error::{ApiError, code_and_message};
use super::config_operation::{Operation, check_list, edit_list};
use super::names::check_name;
use super::other_configs::check_other;
use super::{Controller, Decision, RECORDS_PER_BATCH_MAX};
use crate::image::{ConfigResource, ResourceType};
use crate::record::MetadataRecord;

/// One setting of one resource in a request.
struct Change<'r> {
    key: &'r str,
    operation: Option<Operation>,
    value: Option<&'r str>,
}

/// One resource in a request.
struct Alteration<'r> {
    resource_type: i8,
    name: &'r str,
    changes: Vec<Change<'r>>,
    /// Settings that are not named go (the older call).
    replaces: bool,
}

/// The outcome for each resource, in the order of the request.
type Outcomes = Vec<(i16, Option<std::borrow::Cow<'static, str>>)>;

/// The record that sets or removes one setting.
pub(super) fn config_record(
    resource: &ConfigResource,
    key: String,
    value: Option<String>,
) -> MetadataRecord<'static> {
    MetadataRecord::Config(ConfigRecord {
        resource_type: resource.resource_type,
        resource_name: resource.name.to_string().into(),
        name: key.into(),
        value: value.map(Into::into),
    })
}

impl Controller {
    /// Answers IncrementalAlterConfigs 0–1.
    pub fn incremental_alter_configs(
        &self,
        request: &IncrementalAlterConfigsRequest<'_>,
    ) -> Decision<IncrementalAlterConfigsResponse<'static>> {
        let alterations = request.resources.iter().map(|resource| Alteration {
            resource_type: resource.resource_type,
            name: &resource.resource_name,
            changes: resource
                .configs
                .iter()
                .map(|config| Change {
                    key: &config.name,
                    operation: Operation::from_code(config.config_operation),
                    value: config.value.as_deref(),
                })
                .collect(),
            replaces: false,
        });
        let (outcomes, records) = self.alter(alterations.collect(), request.validate_only);
        let responses = request.resources.iter().zip(outcomes).map(
            |(resource, (error_code, error_message))| AlterConfigsResourceResponse {
                error_code,
                error_message,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.to_string().into(),
            },
        );
        let response = IncrementalAlterConfigsResponse {
            responses: responses.collect(),
            ..Default::default()
        };
        Decision::new(response, records, "IncrementalAlterConfigs")
    }

    /// Answers AlterConfigs 0–2: what is not named goes back to its default.
    pub fn alter_configs(
        &self,
        request: &AlterConfigsRequest<'_>,
    ) -> Decision<AlterConfigsResponse<'static>> {
        let alterations = request.resources.iter().map(|resource| Alteration {
            resource_type: resource.resource_type,
            name: &resource.resource_name,
            changes: resource
                .configs
                .iter()
                .map(|config| Change {
                    key: &config.name,
                    operation: Some(Operation::Set),
                    value: config.value.as_deref(),
                })
                .collect(),
            replaces: true,
        });
        let (outcomes, records) = self.alter(alterations.collect(), request.validate_only);
        let responses = request.resources.iter().zip(outcomes).map(
            |(resource, (error_code, error_message))| LegacyResourceResponse {
                error_code,
                error_message,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.to_string().into(),
            },
        );
        let response =
            AlterConfigsResponse { responses: responses.collect(), ..Default::default() };
        Decision::new(response, records, "AlterConfigs")
    }

    fn alter(
        &self,
        alterations: Vec<Alteration<'_>>,
        validate_only: bool,
    ) -> (Outcomes, Vec<MetadataRecord<'static>>) {
        let mut times: BTreeMap<(i8, &str), usize> = BTreeMap::new();
        for alteration in &alterations {
            *times.entry((alteration.resource_type, alteration.name)).or_default() += 1;
        }
        let changes: usize = alterations.iter().map(|alteration| alteration.changes.len()).sum();
        let mut records = Vec::new();
        let mut outcomes = Vec::new();
        for alteration in &alterations {
            if changes > RECORDS_PER_BATCH_MAX {
                let message = "Unable to perform excessively large batch operation.";
                let refused = ApiError::new(ErrorCode::PolicyViolation, message);
                outcomes.push(code_and_message(Err(refused)));
                continue;
            }
            let outcome = match times[&(alteration.resource_type, alteration.name)] {
                1 => self.alter_one(alteration),
                _ => refuse("Each resource must appear at most once."),
            };
            outcomes.push(code_and_message(outcome.map(|changed| {
                if !validate_only {
                    records.extend(changed);
                }
            })));
        }
        (outcomes, records)
    }

    fn alter_one(
        &self,
        alteration: &Alteration<'_>,
    ) -> Result<Vec<MetadataRecord<'static>>, ApiError> {
        check_changes(alteration)?;
        let Some(kind) = ResourceType::from_code(alteration.resource_type) else {
            return refuse(format!("Unknown resource type {}", alteration.resource_type));
        };
        match kind {
            ResourceType::Topic => self.check_topic(alteration.name)?,
            ResourceType::Broker => self.check_broker(alteration.name)?,
            ResourceType::BrokerLogger if alteration.replaces => {
                return refuse(format!("Unknown resource type {}", kind.code()));
            }
            ResourceType::BrokerLogger => {
                self.check_broker(alteration.name)?;
                return refuse_logger(&alteration.changes);
            }
            ResourceType::ClientMetrics if alteration.name.is_empty() => {
                return refuse("Subscription name can't be empty");
            }
            ResourceType::Group if alteration.name.is_empty() => {
                return refuse("Default group resources are not allowed.");
            }
            ResourceType::ClientMetrics | ResourceType::Group => {}
        }
        let resource = ConfigResource::new(kind, alteration.name);
        let current = self.image.configs(&resource);
        let wanted = self.wanted(kind, alteration, &current)?;
        // Appending may have made a list longer than any one request could.
        for change in &alteration.changes {
            check_length(change.key, wanted.get(change.key).map_or("", |value| value))?;
        }
        self.check_wanted(kind, alteration, &wanted)?;
        Ok(records_between(&resource, &current, &wanted, alteration))
    }

    fn check_topic(&self, name: &str) -> Result<(), ApiError> {
        if name.is_empty() {
            return refuse("Default topic resources are not allowed.");
        }
        check_name(name)?;
        match self.image.topic(name) {
            Some(_) => Ok(()),
            None => {
                let message = format!("The topic '{name}' does not exist.");
                Err(ApiError::new(ErrorCode::UnknownTopicOrPartition, message))
            }
        }
    }

    /// This node by its number, or all brokers by the empty name.
    fn check_broker(&self, name: &str) -> Result<(), ApiError> {
        if name.is_empty() {
            return Ok(());
        }
        let own = self.config.node_id;
        match name.parse::<BrokerId>() {
            Ok(id) if id == own => Ok(()),
            Ok(id) => refuse(format!("Unexpected broker id, expected {own}, but received {id}")),
            Err(_) => refuse(format!("Node id must be an integer, but it is: {name}")),
        }
    }

    /// All settings of the resource as they shall be.
    fn wanted(
        &self,
        kind: ResourceType,
        alteration: &Alteration<'_>,
        current: &RawSettings,
    ) -> Result<RawSettings, ApiError> {
        let mut wanted = if alteration.replaces { RawSettings::new() } else { current.clone() };
        for change in &alteration.changes {
            let operation = change.operation.expect("checked before");
            let value = change.value.unwrap_or_default();
            match operation {
                Operation::Set => drop(wanted.insert(change.key.to_owned(), value.to_owned())),
                Operation::Delete => drop(wanted.remove(change.key)),
                Operation::Append | Operation::Subtract => {
                    check_list(kind, change.key, operation)?;
                    let old = self.list_in_force(kind, current, change.key);
                    let new = edit_list(old, operation, value);
                    wanted.insert(change.key.to_owned(), new);
                }
            }
        }
        Ok(wanted)
    }

    /// The list that an append or subtract starts from: the resource's own, else what holds.
    fn list_in_force(&self, kind: ResourceType, current: &RawSettings, key: &str) -> String {
        if let Some(own) = current.get(key) {
            return own.clone();
        }
        let keys = Some(&[key][..]);
        let entries = match kind {
            ResourceType::Topic => describe_topic(&self.config, &RawSettings::new(), keys),
            ResourceType::Broker => describe_broker(&self.config, keys),
            _ => Vec::new(),
        };
        entries.into_iter().next().and_then(|entry| entry.value).unwrap_or_default()
    }

    fn check_wanted(
        &self,
        kind: ResourceType,
        alteration: &Alteration<'_>,
        wanted: &RawSettings,
    ) -> Result<(), ApiError> {
        match kind {
            ResourceType::Topic => {
                match TopicConfig::resolve(&self.config.topic_defaults, wanted) {
                    Ok(_) => Ok(()),
                    Err(error) => Err(ApiError::new(ErrorCode::InvalidConfig, error.to_string())),
                }
            }
            ResourceType::Broker => self.check_wanted_of_broker(alteration, wanted),
            _ => check_other(&self.config, kind, wanted),
        }
    }

    fn check_wanted_of_broker(
        &self,
        alteration: &Alteration<'_>,
        wanted: &RawSettings,
    ) -> Result<(), ApiError> {
        let per_broker = !alteration.name.is_empty();
        let given = |key: &String| alteration.changes.iter().any(|change| change.key == key);
        let changed = wanted.clone().into_iter().filter(|(key, _)| given(key)).collect();
        if let Err(error) = check_all_dynamic(&changed, per_broker) {
            return refuse(error.to_string());
        }
        // Values that are good one by one may still contradict each other.
        let all = self.image.configs(&ConfigResource::all_brokers());
        let own = self.image.configs(&ConfigResource::broker(self.config.node_id));
        let before = self.started_with.with_dynamic(&all, &own).1;
        let (next, after) = match per_broker {
            true => self.started_with.with_dynamic(&all, wanted),
            false => self.started_with.with_dynamic(wanted, &own),
        };
        if let Some(error) = after.iter().find(|error| !before.contains(error)) {
            return refuse(error.to_string());
        }
        check_step(&self.config.layers, &next.layers).or_else(|error| refuse(error.to_string()))
    }
}

/// Longest key and longest value of a setting: what Kafka's own strings hold where they are not
/// compact. Anything longer would sit in every node's memory for good.
const SETTING_BYTES_MAX: usize = i16::MAX as usize;

/// Refuses a setting that is too long to keep.
pub(super) fn check_length(key: &str, value: &str) -> Result<(), ApiError> {
    if key.len() <= SETTING_BYTES_MAX && value.len() <= SETTING_BYTES_MAX {
        return Ok(());
    }
    let message = format!("A setting is longer than {SETTING_BYTES_MAX} bytes.");
    Err(ApiError::new(ErrorCode::InvalidConfig, message))
}

fn refuse<T>(message: impl Into<String>) -> Result<T, ApiError> {
    Err(ApiError::new(ErrorCode::InvalidRequest, message))
}

fn check_changes(alteration: &Alteration<'_>) -> Result<(), ApiError> {
    let mut keys = HashSet::new();
    let mut without_value = Vec::new();
    for change in &alteration.changes {
        if !keys.insert(change.key) {
            return refuse("Error due to duplicate config keys");
        }
        if change.value.is_none() && change.operation != Some(Operation::Delete) {
            without_value.push(change.key);
        }
    }
    if !without_value.is_empty() {
        return refuse(format!("Null value not supported for : {}", without_value.join(",")));
    }
    for change in &alteration.changes {
        check_length(change.key, change.value.unwrap_or_default())?;
    }
    match alteration.changes.iter().find(|change| change.operation.is_none()) {
        Some(change) => refuse(format!("Unknown operation for config key: {}", change.key)),
        None => Ok(()),
    }
}

/// There are no loggers by name here whose level could be set; the words are Kafka's.
fn refuse_logger(changes: &[Change<'_>]) -> Result<Vec<MetadataRecord<'static>>, ApiError> {
    let Some(change) = changes.first() else { return Ok(Vec::new()) };
    match change.operation.expect("checked before") {
        Operation::Append | Operation::Subtract => refuse(format!(
            "{} operation is not allowed for the BROKER_LOGGER resource",
            change.operation.expect("checked before").name()
        )),
        Operation::Delete if change.key == "root" => {
            refuse("Removing the log level of the root logger is not allowed")
        }
        Operation::Set | Operation::Delete => {
            let message = format!("Logger {} does not exist!", change.key);
            Err(ApiError::new(ErrorCode::InvalidConfig, message))
        }
    }
}

/// Kafka writes only what changes, but a broker's setting always: it may name a file whose
/// content changed.
fn records_between(
    resource: &ConfigResource,
    current: &RawSettings,
    wanted: &RawSettings,
    alteration: &Alteration<'_>,
) -> Vec<MetadataRecord<'static>> {
    let always = resource.resource_type == ResourceType::Broker.code();
    let named: HashSet<&str> = alteration.changes.iter().map(|change| change.key).collect();
    let mut records = Vec::new();
    for (key, value) in wanted {
        if current.get(key) != Some(value) || (always && named.contains(key.as_str())) {
            records.push(config_record(resource, key.clone(), Some(value.clone())));
        }
    }
    for key in current.keys().filter(|key| !wanted.contains_key(*key)) {
        records.push(config_record(resource, key.clone(), None));
    }
    records
}
