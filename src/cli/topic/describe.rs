//! `ringlog topic describe`.

use std::collections::BTreeMap;

use clap::Args;
use ringlog_client::{Client, ConfigResource, OffsetSpec, TopicMetadata};
use ringlog_types::{BrokerId, TopicPartition};
use serde::Serialize;

use crate::bootstrap::Bootstrap;
use crate::exit::Failure;
use crate::output::{Output, join, table};
use crate::sizes;

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// Their names
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    #[command(flatten)]
    bootstrap: Bootstrap,
}

#[derive(Debug, Serialize)]
struct Described {
    topic: String,
    id: String,
    internal: bool,
    partitions: Vec<DescribedPartition>,
    /// The settings that differ from the broker's.
    configs: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct DescribedPartition {
    partition: i32,
    leader: i32,
    leader_epoch: i32,
    replicas: Vec<i32>,
    isr: Vec<i32>,
    start_offset: Option<i64>,
    end_offset: Option<i64>,
    size_bytes: Option<i64>,
}

pub(crate) async fn run(args: &DescribeArgs, output: &mut Output) -> Result<(), Failure> {
    let client = args.bootstrap.connect().await?;
    let mut described = Vec::new();
    for name in &args.topics {
        let topic = client.refresh_topic(name, false).await?;
        described.push(describe(&client, &topic).await?);
    }
    output
        .print(&described, |described| described.iter().map(text).collect::<Vec<_>>().join("\n\n"))
}

async fn describe(client: &Client, topic: &TopicMetadata) -> Result<Described, Failure> {
    let name = &topic.name;
    // Only partitions with a leader can be asked for their offsets.
    let led = topic.partitions.iter().filter(|partition| partition.leader != BrokerId::NONE);
    let led: Vec<TopicPartition> =
        led.map(|partition| TopicPartition::new(name.clone(), partition.partition)).collect();
    let starts = client.list_offsets(&led, OffsetSpec::Earliest).await?;
    let ends = client.list_offsets(&led, OffsetSpec::Latest).await?;
    let sizes = sizes_of(client, topic).await?;
    let configs = client.describe_configs(&ConfigResource::Topic(name.to_string())).await?;
    let partitions = topic.partitions.iter().map(|known| {
        let partition = TopicPartition::new(name.clone(), known.partition);
        DescribedPartition {
            partition: known.partition,
            leader: known.leader.0,
            leader_epoch: known.leader_epoch,
            replicas: BrokerId::numbers(&known.replicas),
            isr: BrokerId::numbers(&known.isr),
            start_offset: starts.get(&partition).and_then(|listed| listed.offset),
            end_offset: ends.get(&partition).and_then(|listed| listed.offset),
            size_bytes: sizes.get(&partition).copied(),
        }
    });
    let overrides = configs.into_iter().filter(|config| config.is_override);
    Ok(Described {
        topic: name.to_string(),
        id: topic.id.to_string(),
        internal: topic.is_internal,
        partitions: partitions.collect(),
        configs: overrides.map(|c| (c.name, c.value.unwrap_or_default())).collect(),
    })
}

/// The size of each partition on its leader.
async fn sizes_of(
    client: &Client,
    topic: &TopicMetadata,
) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let mut leaders: Vec<BrokerId> = topic.partitions.iter().map(|p| p.leader).collect();
    leaders.sort_unstable();
    leaders.dedup();
    let mut sizes = BTreeMap::new();
    for leader in leaders.into_iter().filter(|leader| *leader != BrokerId::NONE) {
        for dir in client.log_dirs(leader).await? {
            for found in dir.partitions {
                let partition = topic.partition(found.partition.partition);
                let is_led = partition.is_some_and(|partition| partition.leader == leader);
                if *found.partition.topic == *topic.name && is_led {
                    sizes.insert(found.partition, found.size_bytes);
                }
            }
        }
    }
    Ok(sizes)
}

fn text(topic: &Described) -> String {
    let mut partitions =
        table(&["partition", "leader", "epoch", "replicas", "isr", "start", "end", "size"]);
    let number = |number: Option<i64>| number.map_or("-".into(), |number| number.to_string());
    for partition in &topic.partitions {
        let size = partition.size_bytes.and_then(|bytes| u64::try_from(bytes).ok());
        partitions.add_row([
            partition.partition.to_string(),
            partition.leader.to_string(),
            partition.leader_epoch.to_string(),
            join(&partition.replicas),
            join(&partition.isr),
            number(partition.start_offset),
            number(partition.end_offset),
            size.map_or("-".into(), sizes::bytes),
        ]);
    }
    let mut text = format!("topic {}  id {}\n", topic.topic, topic.id);
    for (name, value) in &topic.configs {
        text.push_str(&format!("  {name}={value}\n"));
    }
    text.push_str(&partitions.trim_fmt());
    text
}
