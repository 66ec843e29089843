//! `ringlog topic delete-records`.

use clap::Args;
use ringlog_types::{Offset, TopicPartition};
use serde::Serialize;

use crate::bootstrap::Bootstrap;
use crate::consume::Selection;
use crate::exit::Failure;
use crate::output::{Output, table};

#[derive(Debug, Args)]
pub(crate) struct DeleteRecordsArgs {
    /// Topics, all partitions or some: TOPIC or TOPIC:0,2-4
    #[arg(required = true, value_name = "TOPIC[:PARTITIONS]")]
    partitions: Vec<Selection>,
    /// Delete the records before this offset, or `end` for all of them
    #[arg(long, value_name = "OFFSET", value_parser = before)]
    before: Offset,
    #[command(flatten)]
    bootstrap: Bootstrap,
}

/// DeleteRecords knows -1 as the end.
const END: Offset = -1;

fn before(text: &str) -> Result<Offset, String> {
    match text.parse() {
        _ if text == "end" => Ok(END),
        Ok(offset) if offset >= 0 => Ok(offset),
        _ => Err("expected an offset from 0 on, or `end`".into()),
    }
}

#[derive(Debug, Serialize)]
struct Left {
    topic: String,
    partition: i32,
    start_offset: Offset,
}

pub(crate) async fn run(args: &DeleteRecordsArgs, output: &mut Output) -> Result<(), Failure> {
    let client = args.bootstrap.connect().await?;
    let mut left = Vec::new();
    for selection in &args.partitions {
        let partitions: Vec<TopicPartition> = selection.resolve(&client).await?;
        for partition in partitions {
            let start_offset = client.delete_records(&partition, args.before).await?;
            let (topic, partition) = (partition.topic.to_string(), partition.partition);
            left.push(Left { topic, partition, start_offset });
        }
    }
    output.print(&left, |left| {
        let mut table = table(&["topic", "partition", "start"]);
        for partition in left {
            let (number, start) = (partition.partition, partition.start_offset);
            table.add_row([partition.topic.clone(), number.to_string(), start.to_string()]);
        }
        table.trim_fmt()
    })
}
