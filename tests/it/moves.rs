//! A connection moves to the shard that owns what it asks for, and its client does not notice.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringlog_client::{Producer, ProducerRecord, ProducerSettings};
use ringlog_wire::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use ringlog_wire::messages::fetch_response::FetchResponse;
use ringlog_wire::{ApiKey, RequestHeader};

use crate::metrics::{get, sum};
use crate::node::{Node, PATIENCE, free_address, texts};

/// Of two shards the system chooses one: that all of so many begin on the right one does not
/// happen.
const CONNECTIONS: usize = 16;

fn start() -> (Node, SocketAddr) {
    let admin = free_address();
    let flags = ["--shards", "2", "--admin", &admin.to_string()];
    (Node::start_with(Node::start().kill(), &flags), admin)
}

fn moved(admin: SocketAddr) -> f64 {
    sum(&get(admin, "/metrics").1, "ringlog_connections_taken_over_total")
}

#[tokio::test]
async fn producers_move_and_lose_nothing() {
    let (node, admin) = start();
    node.create("one", 1, &[]).await;
    let mut producers = Vec::new();
    for _ in 0..CONNECTIONS {
        producers.push(Producer::new(node.client().await, ProducerSettings::default()).unwrap());
    }
    let deadline = Instant::now() + PATIENCE;
    let mut sent = Vec::new();
    let mut rounds_left = 20;
    // On for a while after the first has moved.
    while rounds_left > 0 {
        for (index, producer) in producers.iter().enumerate() {
            let value = format!("{index} {}", sent.len());
            let record = ProducerRecord {
                topic: "one".into(),
                partition: Some(0),
                value: Some(Bytes::copy_from_slice(value.as_bytes())),
                ..ProducerRecord::default()
            };
            let delivery = producer.send(record).await.unwrap();
            assert_eq!(delivery.wait().await.unwrap().offset, Some(sent.len() as i64));
            sent.push(value);
        }
        match moved(admin) {
            0.0 => assert!(Instant::now() < deadline, "no connection has moved"),
            _ => rounds_left -= 1,
        }
    }
    assert_eq!(texts(&node.consume("one", 0, 0).await), sent);
    for producer in producers {
        producer.close().await;
    }
    let deadline = Instant::now() + PATIENCE;
    while sum(&get(admin, "/metrics").1, "ringlog_connections") > 0.0 {
        assert!(Instant::now() < deadline, "every connection that was counted is counted out");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

const FETCH_VERSION: i16 = 12;

fn fetch_request(number: i32, session_id: i32, epoch: i32) -> Bytes {
    let header = RequestHeader {
        api: ApiKey::Fetch,
        version: FETCH_VERSION,
        correlation_id: number,
        client_id: None,
    };
    let partitions = vec![FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() }];
    let topic = FetchTopic { topic: "one".into(), partitions, ..Default::default() };
    let topics = if epoch == 0 { vec![topic] } else { Vec::new() };
    let request =
        FetchRequest { session_id, session_epoch: epoch, topics, ..FetchRequest::default() };
    ringlog_wire::frame::concat(&ringlog_wire::frame::encode_request(&header, &request).unwrap())
}

/// Receives a response; returns its session after checks.
fn receive(stream: &mut TcpStream, number: i32) -> i32 {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut frame = vec![0; i32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).unwrap();
    let decoded = ringlog_wire::frame::decode_response(&frame, ApiKey::Fetch, FETCH_VERSION);
    let (answered, response): (i32, FetchResponse<'_>) = decoded.unwrap();
    assert_eq!((answered, response.error_code), (number, 0), "in order, and in its session");
    response.session_id
}

#[tokio::test]
async fn a_fetch_session_moves_along() {
    let (node, admin) = start();
    node.create("one", 1, &[]).await;
    let mut consumers: Vec<(TcpStream, i32)> = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(node.address()).unwrap();
        stream.write_all(&fetch_request(0, 0, 0)).unwrap();
        let session_id = receive(&mut stream, 0);
        assert_ne!(session_id, 0);
        consumers.push((stream, session_id));
    }
    let deadline = Instant::now() + PATIENCE;
    let mut rounds_left = 20;
    let mut epoch = 1;
    while rounds_left > 0 {
        for (stream, session_id) in &mut consumers {
            // Now and then two at once: what has arrived behind a request moves with it, or
            // nothing moves.
            let epochs = epoch..if epoch % 5 == 0 { epoch + 2 } else { epoch + 1 };
            let requests = epochs.clone().map(|epoch| fetch_request(epoch, *session_id, epoch));
            stream.write_all(&requests.collect::<Vec<_>>().concat()).unwrap();
            for epoch in epochs {
                assert_eq!(receive(stream, epoch), *session_id);
            }
        }
        epoch += if epoch % 5 == 0 { 2 } else { 1 };
        match moved(admin) {
            0.0 => assert!(Instant::now() < deadline, "no connection has moved"),
            _ => rounds_left -= 1,
        }
    }
}
