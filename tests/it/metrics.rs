//! What an operator sees on the admin listener moves with what the broker does.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use ringlog_client::ProducerSettings;

use crate::node::{Node, free_address, values};

/// The status and body of a page.
pub(crate) fn get(admin: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(admin).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The values of a metric, added up over its labels.
pub(crate) fn sum(page: &str, metric: &str) -> f64 {
    let samples: Vec<f64> = page
        .lines()
        .filter_map(|line| line.strip_prefix(metric))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .map(|rest| rest.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(!samples.is_empty(), "no {metric} in\n{page}");
    samples.iter().sum()
}

#[tokio::test]
async fn counters_move_with_the_work() {
    let admin = free_address();
    let address = admin.to_string();
    let flags = ["--shards", "2", "--admin", &address];
    let node = Node::start_with(Node::start().kill(), &flags);
    let before = get(admin, "/metrics").1;
    node.create("m", 2, &[]).await;
    let sent = values(400, 10_000);
    let payload = (sent.len() * 10_000) as f64;
    for partition in 0..2 {
        node.produce("m", partition, &sent, ProducerSettings::default()).await;
    }
    let produced = get(admin, "/metrics").1;
    let moved = |metric: &str| sum(&produced, metric) - sum(&before, metric);
    assert!(moved("ringlog_flushed_bytes_total") >= 2.0 * payload);
    assert!(moved("ringlog_written_bytes_total") >= 2.0 * payload);
    assert!(moved("ringlog_flush_duration_seconds_count") >= 2.0);
    assert!(moved("ringlog_mailbox_messages_total") > 0.0, "every shard learns of a topic");
    assert!(moved("ringlog_tail_bytes") > 0.0);
    assert_eq!(sum(&produced, "ringlog_dirty_bytes"), 0.0, "acknowledged is written");
    for partition in 0..2 {
        assert_eq!(node.consume("m", partition, 0).await.len(), sent.len());
    }
    let consumed = get(admin, "/metrics").1;
    let moved = |metric: &str| sum(&consumed, metric) - sum(&produced, metric);
    assert!(moved("ringlog_tail_hits_total") >= 2.0);
    assert!(moved("ringlog_tail_read_bytes_total") >= 2.0 * payload);
    assert!(moved("ringlog_topic_out_bytes_total") >= 2.0 * payload);
    assert_eq!(moved("ringlog_file_read_bytes_total"), 0.0, "all of it is in memory");

    assert_eq!(sum(&consumed, "ringlog_partitions"), 2.0);
    node.create("gone", 3, &[]).await;
    assert_eq!(sum(&get(admin, "/metrics").1, "ringlog_partitions"), 5.0);
    node.client().await.delete_topic("gone").await.unwrap();
    let deleted = get(admin, "/metrics").1;
    assert_eq!(sum(&deleted, "ringlog_partitions"), 2.0);
    assert_eq!(sum(&deleted, "ringlog_partitions_offline"), 0.0);

    let node = Node::start_with(node.stop(), &flags);
    let before = get(admin, "/metrics").1;
    assert_eq!(node.consume("m", 0, 0).await.len(), sent.len());
    let after = get(admin, "/metrics").1;
    let moved = |metric: &str| sum(&after, metric) - sum(&before, metric);
    assert!(moved("ringlog_tail_misses_total") >= 1.0);
    assert!(moved("ringlog_file_read_bytes_total") >= payload);
    let windows = moved("ringlog_read_ahead_windows_total");
    let used = moved("ringlog_read_ahead_windows_used_total");
    assert!(used >= 1.0 && used <= windows, "{used} of {windows} windows");
}
