//! Bytes that no client would send: one connection is closed, nobody else notices.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ringlog_client::ProducerSettings;

use crate::metrics::{get, sum};
use crate::node::{Node, PATIENCE, free_address, texts, values};

/// Sends bytes and returns what comes back until the peer closes; `None` when it does not close.
fn exchange(node: &Node, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(node.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => Some(answer),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Some(answer),
        Err(_) => None,
    }
}

/// A frame with a request header (version 1) before `body`.
fn frame(api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&(10 + body.len() as i32).to_be_bytes());
    out.extend_from_slice(&api.to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&7i32.to_be_bytes());
    out.extend_from_slice(&(-1i16).to_be_bytes());
    out.extend_from_slice(body);
    out
}

#[tokio::test]
async fn a_bad_peer_is_hung_up_on_and_nobody_else_notices() {
    let node = Node::start();
    node.create("calm", 1, &[]).await;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a negative length", vec![0xff; 4]),
        ("a frame that is too long", 0x7fff_ffffi32.to_be_bytes().to_vec()),
        ("an empty frame", vec![0; 4]),
        ("no header", vec![0, 0, 0, 2, 0, 3]),
        ("an unknown API", frame(999, 0, &[])),
        ("an unknown version", frame(3, 99, &[])),
        ("a count beyond the frame", frame(3, 1, &[0x7f, 0xff, 0xff, 0xff])),
        ("a produce cut short", frame(0, 3, &[0xff, 0xff, 0, 1])),
        ("a web browser", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
    ];
    for (what, bytes) in cases {
        assert_eq!(exchange(&node, &bytes), Some(Vec::new()), "{what}");
    }
    let sent = values(10, 10);
    node.produce("calm", 0, &sent, ProducerSettings::default()).await;
    assert_eq!(texts(&node.consume("calm", 0, 0).await), sent);
}

/// Standard error is a pipe that nobody reads here, and it holds 64 KiB.
#[tokio::test]
async fn a_log_that_nobody_reads_stops_nobody() {
    let admin = free_address();
    let data = Arc::new(tempfile::tempdir().unwrap());
    let node = Node::start_with(data, &["--shards", "2", "--admin", &admin.to_string()]);
    for bad in 0..2000 {
        assert_eq!(exchange(&node, &[0xff; 4]), Some(Vec::new()), "the {bad}th");
    }
    node.create("calm", 1, &[]).await;
    let sent = values(10, 10);
    node.produce("calm", 0, &sent, ProducerSettings::default()).await;
    assert_eq!(texts(&node.consume("calm", 0, 0).await), sent);
    let page = get(admin, "/metrics").1;
    assert_eq!(sum(&page, "ringlog_log_lines_dropped_total"), 0.0, "they are kept for a while");
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let node = Node::start();
    let mut stream = TcpStream::connect(node.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The header of a flexible version: the tagged fields follow the client id.
    stream.write_all(&frame(18, 99, &[0])).unwrap();
    let mut answer = [0; 4 + 4 + 2 + 4 + 6];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[4..8], 7i32.to_be_bytes(), "the correlation id, and no tagged fields");
    assert_eq!(answer[8..10], 35i16.to_be_bytes(), "UNSUPPORTED_VERSION");
    assert_eq!(answer[10..14], 1i32.to_be_bytes(), "one API is listed");
    assert_eq!(answer[14..20], [0, 18, 0, 0, 0, 4], "ApiVersions 0 to 4");
}

#[test]
fn a_peer_that_stops_in_the_middle_of_a_frame_disturbs_nobody() {
    let node = Node::start();
    let mut stalled: Vec<TcpStream> = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(node.address()).unwrap();
        stream.write_all(&(50_000_000i32).to_be_bytes()).unwrap();
        stream.write_all(&[0; 1000]).unwrap();
        stalled.push(stream);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        node.create("calm", 1, &[]).await;
        let sent = values(10, 10);
        node.produce("calm", 0, &sent, ProducerSettings::default()).await;
        assert_eq!(texts(&node.consume("calm", 0, 0).await), sent);
    });
}

#[tokio::test]
async fn a_long_poll_ends_with_its_peer() {
    let node = Node::start_with(Arc::new(tempfile::tempdir().unwrap()), &["--shards", "2"]);
    node.create("calm", 2, &[]).await;
    // Fetch 4: no replica, a wait of 24 days for a byte, 1 MiB, one topic.
    let mut fetch = (-1i32).to_be_bytes().to_vec();
    fetch.extend([i32::MAX, 1, 1 << 20].iter().flat_map(|field| field.to_be_bytes()));
    fetch.extend([&[0u8][..], &1i32.to_be_bytes(), b"\0\x04calm", &1i32.to_be_bytes()].concat());
    // Connections and partitions on either shard, in all pairs.
    for round in 0..16 {
        let mut body = fetch.clone();
        body.extend([&(round % 2i32).to_be_bytes()[..], &[0; 8], &[0, 16, 0, 0]].concat());
        let mut stream = TcpStream::connect(node.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        stream.write_all(&frame(1, 4, &body)).unwrap();
        assert!(stream.read(&mut [0; 1]).is_err(), "there is nothing to fetch");
        stream.shutdown(Shutdown::Write).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.len() > 40, "{answer:?}");
        assert_eq!(answer[4..8], 7i32.to_be_bytes());
    }
}
