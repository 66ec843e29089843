//! A connection moves to the shard that owns what it asks for, and its client does not notice.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringlog_client::{Producer, ProducerRecord, ProducerSettings};
use ringlog_wire::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use ringlog_wire::messages::fetch_response::FetchResponse;

use crate::metrics::{get, sum};
use crate::node::{Node, PATIENCE, free_address, texts};
use crate::raw_client::RawClient;

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

/// The topic's name is only in the first request of a session.
fn fetch_request(session_id: i32, epoch: i32) -> FetchRequest<'static> {
    let partitions = vec![FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() }];
    let topic = FetchTopic { topic: "one".into(), partitions, ..Default::default() };
    let topics = if epoch == 0 { vec![topic] } else { Vec::new() };
    FetchRequest { session_id, session_epoch: epoch, topics, ..FetchRequest::default() }
}

/// Receives the next answer; returns its session.
fn receive(client: &mut RawClient) -> i32 {
    let answer = client.receive::<FetchRequest<'_>>(FETCH_VERSION).expect("nobody hangs up");
    let response: FetchResponse<'_> = answer.decode();
    assert_eq!(response.error_code, 0, "in its session");
    response.session_id
}

#[tokio::test]
async fn a_fetch_session_moves_along() {
    let (node, admin) = start();
    node.create("one", 1, &[]).await;
    let mut consumers: Vec<(RawClient, i32)> = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = RawClient::connect(&node);
        client.send(FETCH_VERSION, &fetch_request(0, 0)).unwrap();
        let session_id = receive(&mut client);
        assert_ne!(session_id, 0);
        consumers.push((client, session_id));
    }
    let deadline = Instant::now() + PATIENCE;
    let mut rounds_left = 20;
    let mut epoch = 1;
    while rounds_left > 0 {
        for (client, session_id) in &mut consumers {
            // Now and then two at once: what has arrived behind a request moves with it, or
            // nothing moves.
            let epochs = epoch..if epoch % 5 == 0 { epoch + 2 } else { epoch + 1 };
            let requests = epochs
                .clone()
                .flat_map(|epoch| client.encode(FETCH_VERSION, &fetch_request(*session_id, epoch)));
            let requests: Vec<u8> = requests.collect();
            client.send_frame(&requests).unwrap();
            for _ in epochs {
                assert_eq!(receive(client), *session_id);
            }
        }
        epoch += if epoch % 5 == 0 { 2 } else { 1 };
        match moved(admin) {
            0.0 => assert!(Instant::now() < deadline, "no connection has moved"),
            _ => rounds_left -= 1,
        }
    }
}
