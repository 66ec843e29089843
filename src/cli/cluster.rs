//! `ringlog cluster`: brokers and their log directories.

use clap::Args;
use serde::Serialize;

use crate::bootstrap::Bootstrap;
use crate::exit::Failure;
use crate::output::{Output, table};
use crate::sizes;

#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    #[command(flatten)]
    bootstrap: Bootstrap,
}

#[derive(Debug, Serialize)]
struct Shown {
    cluster_id: Option<String>,
    controller: Option<i32>,
    brokers: Vec<ShownBroker>,
}

#[derive(Debug, Serialize)]
struct ShownBroker {
    id: i32,
    address: String,
    rack: Option<String>,
    log_dirs: Vec<ShownDir>,
}

#[derive(Debug, Serialize)]
struct ShownDir {
    path: String,
    partitions: usize,
    size_bytes: i64,
    total_bytes: Option<i64>,
    usable_bytes: Option<i64>,
    error: Option<String>,
}

pub(crate) async fn run(args: ClusterArgs, output: &mut Output) -> Result<(), Failure> {
    let client = args.bootstrap.connect().await?;
    let cluster = client.cluster();
    let mut brokers = Vec::new();
    for broker in cluster.brokers.values() {
        let dirs = client.log_dirs(broker.id).await?;
        let shown = dirs.into_iter().map(|dir| ShownDir {
            path: dir.path,
            partitions: dir.partitions.len(),
            size_bytes: dir.partitions.iter().map(|partition| partition.size_bytes).sum(),
            total_bytes: dir.total_bytes,
            usable_bytes: dir.usable_bytes,
            error: dir.error.map(|error| error.to_string()),
        });
        brokers.push(ShownBroker {
            id: broker.id.0,
            address: format!("{}:{}", broker.host, broker.port),
            rack: broker.rack.clone(),
            log_dirs: shown.collect(),
        });
    }
    let cluster_id = cluster.cluster_id.clone();
    let shown = Shown { cluster_id, controller: cluster.controller.map(|id| id.0), brokers };
    output.print(&shown, text)
}

fn text(shown: &Shown) -> String {
    let mut rows = table(&["broker", "address", "log dir", "partitions", "size", "free", "state"]);
    let size = |bytes: Option<i64>| {
        bytes.and_then(|bytes| u64::try_from(bytes).ok()).map_or("-".into(), sizes::bytes)
    };
    for broker in &shown.brokers {
        for dir in &broker.log_dirs {
            rows.add_row([
                broker.id.to_string(),
                broker.address.clone(),
                dir.path.clone(),
                dir.partitions.to_string(),
                size(Some(dir.size_bytes)),
                size(dir.usable_bytes),
                dir.error.clone().unwrap_or_else(|| "online".into()),
            ]);
        }
    }
    let id = shown.cluster_id.as_deref().unwrap_or("without an id");
    format!("cluster {id}\n{}", rows.trim_fmt())
}
