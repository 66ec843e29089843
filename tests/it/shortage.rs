//! A node that is short of descriptors serves on, and writes on.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ringlog_client::{Client, ClientSettings, Producer, ProducerRecord, ProducerSettings};

use crate::node::{API_VERSIONS, Node, PATIENCE, texts, values};

/// Descriptors of the node, and the sockets that ask for more than those.
const OPEN_FILES: u32 = 150;
const IDLE: usize = 200;

/// One segment holds a few of these.
const VALUE_BYTES: usize = 60_000;
const VALUES: usize = 60;

/// Whether something has arrived.
fn is_answered(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    stream.peek(&mut [0]).is_ok_and(|arrived| arrived > 0)
}

/// The sockets took every descriptor, the next segment found none, and its log directory was
/// offline until a restart.
#[tokio::test]
async fn idle_sockets_leave_storage_its_descriptors() {
    let node = Node::start_with_descriptors(OPEN_FILES, &["--shards", "2"]);
    node.create("t", 4, &[("segment.bytes", "1048576")]).await;
    let mut settings = ClientSettings::new(vec![node.address().to_string()]);
    settings.operation_timeout = 2 * PATIENCE;
    let producer =
        Producer::new(Client::connect(settings).await.unwrap(), ProducerSettings::default());
    let producer = producer.unwrap();
    let record = |partition: i32, value: &str| ProducerRecord {
        topic: "t".into(),
        partition: Some(partition),
        value: Some(value.to_owned().into()),
        ..ProducerRecord::default()
    };
    // Connected before the others come.
    producer.send(record(0, "first")).await.unwrap().wait().await.unwrap();
    let mut idle: Vec<TcpStream> =
        (0..IDLE).map(|_| TcpStream::connect(node.address()).unwrap()).collect();
    // One that is served says that those before it on its shard were accepted as far as may be.
    // Which one that is, is open: a shard that is quick takes what the other could have had.
    idle.iter_mut().for_each(|stream| drop(stream.write_all(&API_VERSIONS)));
    let deadline = Instant::now() + PATIENCE;
    while !idle.iter().any(is_answered) {
        assert!(Instant::now() < deadline, "none is served");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let sent = values(VALUES, VALUE_BYTES);
    for value in &sent {
        for partition in 1..4 {
            producer.send(record(partition, value)).await.unwrap().wait().await.unwrap();
        }
    }
    drop(idle);
    producer.close().await;
    for partition in 1..4 {
        assert_eq!(texts(&node.consume("t", partition, 0).await), sent, "t-{partition}");
        let files = std::fs::read_dir(node.partition_dir(&format!("t-{partition}"))).unwrap();
        let logs = files.filter(|file| {
            file.as_ref().unwrap().path().extension().is_some_and(|suffix| suffix == "log")
        });
        assert!(logs.count() > 2, "it has rolled");
    }
    let (_, log) = node.stop_and_tell();
    assert!(!log.contains("offline"), "{log}");
}
