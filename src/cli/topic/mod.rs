//! `ringlog topic`: everything about topics.

mod config;
mod describe;
mod records;

use clap::{Args, Subcommand};
use ringlog_client::{Client, ClientError, NewTopic};
use ringlog_types::ErrorCode;
use serde::Serialize;

use crate::bootstrap::Bootstrap;
use crate::exit::{FAILED, Failure};
use crate::output::{Output, table};

const EXAMPLES: &str = "\
Examples:
  ringlog topic create logs --partitions 4 --config retention.ms=86400000
  ringlog topic list
  ringlog topic describe logs
  ringlog topic config logs --set flush=async
  ringlog topic add-partitions logs --total 8
  ringlog topic delete-records logs:0 --before 1000
  ringlog topic delete logs";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TopicArgs {
    #[command(subcommand)]
    command: TopicCommand,
}

#[derive(Debug, Subcommand)]
enum TopicCommand {
    /// Create topics
    Create(CreateArgs),
    /// List topics
    #[command(alias = "ls")]
    List(ListArgs),
    /// Show topics with their partitions, offsets, sizes and settings
    Describe(describe::DescribeArgs),
    /// Delete topics with all their records
    Delete(DeleteArgs),
    /// Show or change a topic's settings
    Config(config::ConfigArgs),
    /// Give a topic more partitions
    AddPartitions(AddPartitionsArgs),
    /// Delete the oldest records of partitions
    DeleteRecords(records::DeleteRecordsArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// Their names
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// How many partitions; the broker's num.partitions if not given
    #[arg(long, short = 'p', value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// How many replicas; the broker's default.replication.factor if not given
    #[arg(long, short = 'r', value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A setting of the topic; repeatable
    #[arg(long = "config", short = 'c', value_name = "KEY=VALUE", value_parser = key_value)]
    configs: Vec<(String, String)>,
    /// Do nothing where a topic exists
    #[arg(long)]
    if_not_exists: bool,
    /// Only check whether they could be created
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    bootstrap: Bootstrap,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Also Kafka's own topics
    #[arg(long)]
    internal: bool,
    #[command(flatten)]
    bootstrap: Bootstrap,
}

#[derive(Debug, Args)]
struct DeleteArgs {
    /// Their names
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Do nothing where a topic does not exist
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    bootstrap: Bootstrap,
}

#[derive(Debug, Args)]
struct AddPartitionsArgs {
    /// Its name
    topic: String,
    /// How many partitions it shall have in all
    #[arg(long, short = 'p', value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    total: i32,
    #[command(flatten)]
    bootstrap: Bootstrap,
}

/// `key=value`, for flags that set something.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err("expected KEY=VALUE".into()),
    }
}

pub(crate) async fn run(args: TopicArgs, output: &mut Output) -> Result<(), Failure> {
    match args.command {
        TopicCommand::Create(args) => create(&args, output).await,
        TopicCommand::List(args) => list(&args, output).await,
        TopicCommand::Describe(args) => describe::run(&args, output).await,
        TopicCommand::Delete(args) => delete(&args, output).await,
        TopicCommand::Config(args) => config::run(&args, output).await,
        TopicCommand::AddPartitions(args) => add_partitions(&args, output).await,
        TopicCommand::DeleteRecords(args) => records::run(&args, output).await,
    }
}

/// What became of one thing of several.
#[derive(Debug, Serialize)]
pub(crate) struct Done {
    topic: String,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// Prints what became of each, and fails if one failed.
fn report(done: &[Done], output: &mut Output) -> Result<(), Failure> {
    output.print(&done, |done| {
        let told = done.iter().filter(|done| done.error.is_none());
        told.map(|done| format!("{} {}\n", done.result, done.topic)).collect()
    })?;
    let errors: Vec<&str> = done.iter().filter_map(|done| done.error.as_deref()).collect();
    match errors.as_slice() {
        [] => Ok(()),
        errors => Err(Failure::new(FAILED, errors.join("\nerror: "))),
    }
}

async fn create(args: &CreateArgs, output: &mut Output) -> Result<(), Failure> {
    let client = args.bootstrap.connect().await?;
    let mut done = Vec::new();
    for name in &args.topics {
        let topic = NewTopic {
            name: name.clone(),
            partitions: args.partitions,
            replication_factor: args.replication_factor,
            configs: args.configs.clone(),
        };
        let created = client.create_topic(&topic, args.validate_only).await;
        let existed = args.if_not_exists && has_code(&created, ErrorCode::TopicAlreadyExists);
        let (result, error, id) = match created {
            Ok(_) if args.validate_only => ("could create", None, None),
            Ok(id) => ("created", None, Some(id).filter(|id| !id.is_zero())),
            Err(_) if existed => ("exists", None, None),
            Err(error) => ("failed", Some(error.to_string()), None),
        };
        let id = id.map(|id| id.to_string());
        done.push(Done { topic: name.clone(), result, error, id });
    }
    report(&done, output)
}

fn has_code<T>(result: &Result<T, ClientError>, code: ErrorCode) -> bool {
    result.as_ref().err().and_then(ClientError::code) == Some(code)
}

async fn delete(args: &DeleteArgs, output: &mut Output) -> Result<(), Failure> {
    let client = args.bootstrap.connect().await?;
    let mut done = Vec::new();
    for name in &args.topics {
        let deleted = client.delete_topic(name).await;
        let unknown = args.if_exists && has_code(&deleted, ErrorCode::UnknownTopicOrPartition);
        let (result, error) = match deleted {
            Ok(()) => ("deleted", None),
            Err(_) if unknown => ("unknown", None),
            Err(error) => ("failed", Some(error.to_string())),
        };
        done.push(Done { topic: name.clone(), result, error, id: None });
    }
    report(&done, output)
}

#[derive(Debug, Serialize)]
struct Listed {
    topic: String,
    id: String,
    partitions: usize,
    replication_factor: usize,
    internal: bool,
}

async fn list(args: &ListArgs, output: &mut Output) -> Result<(), Failure> {
    let client = args.bootstrap.connect().await?;
    let topics = client.topics().await?;
    let topics = topics.iter().filter(|topic| args.internal || !topic.is_internal);
    let listed: Vec<Listed> = topics
        .map(|topic| Listed {
            topic: topic.name.to_string(),
            id: topic.id.to_string(),
            partitions: topic.partitions.len(),
            replication_factor: topic.partitions.first().map_or(0, |p| p.replicas.len()),
            internal: topic.is_internal,
        })
        .collect();
    output.print(&listed, |listed| {
        if listed.is_empty() {
            return String::new();
        }
        let mut table = table(&["topic", "partitions", "replicas"]);
        for topic in listed {
            let (partitions, replicas) = (topic.partitions, topic.replication_factor);
            table.add_row([topic.topic.clone(), partitions.to_string(), replicas.to_string()]);
        }
        table.trim_fmt()
    })
}

async fn add_partitions(args: &AddPartitionsArgs, output: &mut Output) -> Result<(), Failure> {
    let client: Client = args.bootstrap.connect().await?;
    client.create_partitions(&args.topic, args.total).await?;
    let done = Done { topic: args.topic.clone(), result: "extended", error: None, id: None };
    let total = args.total;
    output.print(&done, |done| format!("{} has {total} partitions now", done.topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_values() {
        assert_eq!(key_value("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(key_value(" a ="), Ok(("a".into(), String::new())));
        assert!(key_value("a").is_err());
        assert!(key_value("=b").is_err());
    }
}
