//! Settings that bound something, seen from outside: connections, free space, answers,
//! checkpoints.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringlog_client::{
    ConfigChange, ConfigOperation, ConfigResource, Producer, ProducerRecord, ProducerSettings,
};
use ringlog_types::TopicPartition;

use crate::metrics::get;
use crate::node::{API_VERSIONS, Node, PATIENCE, free_address, texts, values};

fn start_with(settings: &[&str]) -> Node {
    let mut flags = vec!["--shards", "2"];
    settings.iter().for_each(|setting| flags.extend(["--set", setting]));
    Node::start_with(Arc::new(tempfile::tempdir().unwrap()), &flags)
}

/// What became of a request for ApiVersions.
#[derive(Debug, PartialEq)]
enum Asked {
    Answered,
    HungUp,
    Waits,
}

fn connect(node: &Node) -> TcpStream {
    let mut stream = TcpStream::connect(node.address()).unwrap();
    drop(stream.write_all(&API_VERSIONS));
    stream
}

fn answer(stream: &mut TcpStream, patience: Duration) -> Asked {
    stream.set_read_timeout(Some(patience)).unwrap();
    match stream.read(&mut [0; 4]) {
        Ok(0) => Asked::HungUp,
        Ok(_) => Asked::Answered,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Asked::Waits
        }
        Err(_) => Asked::HungUp,
    }
}

/// A connection that is served; others may take a moment to be gone.
fn served(node: &Node) -> TcpStream {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut stream = connect(node);
        if answer(&mut stream, PATIENCE) == Asked::Answered {
            return stream;
        }
        assert!(Instant::now() < deadline, "no connection is served");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_address_holds_as_many_connections_as_it_may() {
    let node = start_with(&["max.connections.per.ip=100"]);
    let change = |name: &str, value: &str| ConfigChange {
        name: name.into(),
        operation: ConfigOperation::Set(value.into()),
    };
    let change = [
        change("max.connections.per.ip", "1"),
        change("max.connections.per.ip.overrides", "127.0.0.1:2, 10.0.0.9:0"),
    ];
    let resource = ConfigResource::Broker(None);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        node.client().await.alter_configs(&resource, &change, false).await.unwrap();
    });
    // With it go the client's connections.
    drop(runtime);
    let held = [served(&node), served(&node)];
    for _ in 0..10 {
        assert_eq!(answer(&mut connect(&node), PATIENCE), Asked::HungUp);
    }
    drop(held);
    served(&node);
}

#[test]
fn connections_beyond_the_nodes_limit_wait_for_others_to_close() {
    let node = start_with(&["max.connections=2"]);
    let mut held = vec![served(&node), served(&node)];
    // More than one for each shard, so that some wait behind others.
    let mut waiting: Vec<TcpStream> = (0..6).map(|_| connect(&node)).collect();
    for stream in &mut waiting {
        assert_eq!(answer(stream, Duration::from_millis(50)), Asked::Waits);
    }
    held.clear();
    let deadline = Instant::now() + PATIENCE;
    while !waiting.is_empty() {
        assert!(Instant::now() < deadline, "{} still wait", waiting.len());
        // Those that are answered close and make room for the next.
        waiting.retain_mut(|stream| match answer(stream, Duration::from_millis(10)) {
            Asked::Waits => true,
            Asked::Answered => false,
            Asked::HungUp => panic!("nobody is to be hung up on"),
        });
    }
}

#[test]
fn silent_connections_are_closed() {
    let node = start_with(&["connections.max.idle.ms=300"]);
    // Its time begins when it has asked for something, which is later than now.
    let closed_from = Instant::now() + Duration::from_millis(300);
    let mut silent = served(&node);
    // The rest of the answer, then the end.
    silent.read_to_end(&mut Vec::new()).expect("the end comes in time");
    assert!(Instant::now() >= closed_from, "it is closed too early");
}

#[tokio::test]
async fn the_reserve_is_for_administration_only() {
    let admin = free_address().to_string();
    let data = Node::start().kill();
    let reserve = "ringlog.disk.reserve.bytes=9000000000000000000";
    let node = Node::start_with(data, &["--admin", &admin, "--set", reserve]);
    node.create("t", 1, &[]).await;
    let settings = ProducerSettings {
        delivery_timeout: Duration::from_secs(1),
        ..ProducerSettings::default()
    };
    let producer = Producer::new(node.client().await, settings).unwrap();
    let record = ProducerRecord {
        topic: "t".into(),
        partition: Some(0),
        value: Some("v".into()),
        ..ProducerRecord::default()
    };
    let refused = producer.send(record).await.unwrap().wait().await.unwrap_err().to_string();
    let (status, reasons) = get(admin.parse().unwrap(), "/health/ready");
    assert_eq!(status, 503, "{refused}");
    assert!(reasons.contains("too little space"), "{reasons}");
    drop(producer);
    let node = Node::start_with(node.stop(), &["--shards", "1"]);
    let sent = values(3, 10);
    node.produce("t", 0, &sent, ProducerSettings::default()).await;
    assert_eq!(texts(&node.consume("t", 0, 0).await), sent, "what was refused is nowhere");
}

#[tokio::test]
async fn an_answer_describes_as_many_partitions_as_it_may() {
    let node = start_with(&["max.request.partition.size.limit=2"]);
    node.create("t", 5, &[]).await;
    let mut stream = TcpStream::connect(node.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // DescribeTopicPartitions 0: all topics, up to 100 partitions, no cursor.
    let body = [1, 0, 0, 0, 100, 0xff, 0];
    let mut request = vec![0, 0, 0, 18, 0, 75, 0, 0, 0, 0, 0, 7, 0xff, 0xff, 0];
    request.extend_from_slice(&body);
    stream.write_all(&request).unwrap();
    let mut head = [0; 4 + 4 + 1 + 4 + 1 + 2 + 2 + 16 + 1 + 1];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[4..8], [0, 0, 0, 7]);
    assert_eq!(head[13..18], [2, 0, 0, 2, b't'], "one topic, no error, its name");
    assert_eq!(head[35], 3, "two partitions, and one more to say that it is not null");
}

#[tokio::test]
async fn checkpoint_files_have_intervals_of_their_own() {
    let node = start_with(&[
        "log.flush.start.offset.checkpoint.interval.ms=50",
        "log.flush.offset.checkpoint.interval.ms=3600000",
    ]);
    node.create("t", 1, &[]).await;
    node.produce("t", 0, &values(100, 30), ProducerSettings::default()).await;
    node.client().await.delete_records(&TopicPartition::new("t", 0), 40).await.unwrap();
    let file = |name: &str| node.data().path().join(format!("{name}-offset-checkpoint"));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(file("log-start")).unwrap_or_default();
        if text.lines().any(|line| line == "t 0 40") {
            break;
        }
        assert!(Instant::now() < deadline, "{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!file("recovery-point").exists(), "that one is not due");
}
