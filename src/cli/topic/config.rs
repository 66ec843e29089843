//! `ringlog topic config`.

use clap::Args;
use ringlog_client::{ConfigChange, ConfigOperation, ConfigResource, DescribedConfig};
use serde::Serialize;

use super::key_value;
use crate::bootstrap::Bootstrap;
use crate::exit::Failure;
use crate::output::{Output, table};

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The topic's name
    topic: String,
    /// Set a value; repeatable
    #[arg(long, short = 's', value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// Go back to the broker's value; repeatable
    #[arg(long, short = 'd', value_name = "KEY")]
    delete: Vec<String>,
    /// Add to a list, such as cleanup.policy; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    append: Vec<(String, String)>,
    /// Take from a list; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    subtract: Vec<(String, String)>,
    /// Show all settings, not only those that differ from the broker's
    #[arg(long)]
    all: bool,
    /// Only check whether the changes would be taken
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    bootstrap: Bootstrap,
}

impl ConfigArgs {
    fn changes(&self) -> Vec<ConfigChange> {
        let with = |pairs: &[(String, String)], operation: fn(String) -> ConfigOperation| {
            let change = |(name, value): &(String, String)| ConfigChange {
                name: name.clone(),
                operation: operation(value.clone()),
            };
            pairs.iter().map(change).collect::<Vec<_>>()
        };
        let deleted = self
            .delete
            .iter()
            .map(|name| ConfigChange { name: name.clone(), operation: ConfigOperation::Delete });
        let mut changes = with(&self.set, ConfigOperation::Set);
        changes.extend(with(&self.append, ConfigOperation::Append));
        changes.extend(with(&self.subtract, ConfigOperation::Subtract));
        changes.extend(deleted);
        changes
    }
}

#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    value: Option<String>,
    source: &'static str,
    read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    documentation: Option<String>,
}

pub(crate) async fn run(args: &ConfigArgs, output: &mut Output) -> Result<(), Failure> {
    let client = args.bootstrap.connect().await?;
    let resource = ConfigResource::Topic(args.topic.clone());
    let changes = args.changes();
    if !changes.is_empty() {
        client.alter_configs(&resource, &changes, args.validate_only).await?;
    }
    let configs = client.describe_configs(&resource).await?;
    let wanted = |config: &DescribedConfig| {
        args.all || config.is_override || changes.iter().any(|change| change.name == config.name)
    };
    let shown: Vec<Shown> = configs
        .into_iter()
        .filter(wanted)
        .map(|config| Shown {
            name: config.name,
            value: config.value,
            source: config.source,
            read_only: config.read_only,
            documentation: config.documentation,
        })
        .collect();
    output.print(&shown, |shown| {
        if shown.is_empty() {
            return "no setting differs from the broker's; --all shows them all".into();
        }
        let mut table = table(&["setting", "value", "source"]);
        for config in shown {
            let value = config.value.as_deref().unwrap_or("-");
            table.add_row([config.name.as_str(), value, config.source]);
        }
        table.trim_fmt()
    })
}
