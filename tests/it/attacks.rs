//! Peers that hold a node's memory and do not move: others go on, and what was held comes back.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ringlog_client::{Producer, ProducerRecord, ProducerSettings};
use ringlog_types::ErrorCode;
use ringlog_wire::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use ringlog_wire::messages::fetch_response::FetchResponse;
use ringlog_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};

use crate::node::{Node, PATIENCE, values};
use crate::raw_client::RawClient;

/// A node of one shard, so that everybody meets everybody.
fn start(request_memory_bytes: usize) -> Node {
    let bytes = format!("ringlog.request.memory.bytes={request_memory_bytes}");
    let flags = ["--shards", "1", "--set", &bytes];
    Node::start_with(Arc::new(tempfile::tempdir().unwrap()), &flags)
}

/// A connection for what no client sends.
fn connect(node: &Node) -> TcpStream {
    let stream = TcpStream::connect(node.address()).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Nothing has come, not even the end.
fn is_silent(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut [0]);
    peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// A frame of that many bytes begins: a Produce 9, of which so many bytes follow.
fn begin_frame(stream: &mut TcpStream, announced: usize, sent: usize) -> std::io::Result<()> {
    stream.write_all(&(announced as i32).to_be_bytes())?;
    stream.write_all(&[&[0, 0, 0, 9][..], &vec![0; sent]].concat())
}

/// Senders of one byte at a time, until they are dropped.
struct Dripping {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dripping {
    fn start(mut streams: Vec<TcpStream>) -> Dripping {
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // Those that were hung up on do not matter.
                streams.iter_mut().for_each(|stream| drop(stream.write_all(&[0])));
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        Dripping { stop, thread: Some(thread) }
    }
}

impl Drop for Dripping {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// A producer that was there before, and whose records were taken.
struct Healthy(Producer);

impl Healthy {
    async fn start(node: &Node) -> Healthy {
        let settings = ProducerSettings { linger: Duration::ZERO, ..ProducerSettings::default() };
        let healthy = Healthy(Producer::new(node.client().await, settings).unwrap());
        for _ in 0..5 {
            healthy.send("calm", 30_000).await;
        }
        healthy
    }

    async fn send(&self, topic: &str, bytes: usize) {
        let record = ProducerRecord {
            topic: topic.into(),
            partition: Some(0),
            value: Some(vec![b'x'; bytes].into()),
            ..ProducerRecord::default()
        };
        self.0.send(record).await.unwrap().wait().await.unwrap();
    }
}

/// A Produce of 200 KB waited 114 s behind two that had announced 90 MB and sent a byte now and
/// then.
#[tokio::test]
async fn frames_that_drip_keep_no_other_waiting() {
    let node = start(128 << 20);
    node.create("calm", 1, &[]).await;
    let mut slow: Vec<TcpStream> = (0..2).map(|_| connect(&node)).collect();
    for stream in &mut slow {
        begin_frame(stream, 90_000_000, 200_000).unwrap();
    }
    let watched: Vec<TcpStream> = slow.iter().map(|stream| stream.try_clone().unwrap()).collect();
    let dripping = Dripping::start(slow);
    for bytes in [200_000, 900_000] {
        let value = "x".repeat(bytes);
        node.produce("calm", 0, &[value], ProducerSettings::default()).await;
    }
    // Nobody was in their way, so they may go on.
    assert!(watched.iter().all(is_silent), "hung up on");
    drop(dripping);
}

/// Half a large frame each, of many: they are hung up on when others need the memory.
#[tokio::test]
async fn frames_that_stop_half_way_give_way() {
    let node = start(16 << 20);
    node.create("calm", 1, &[]).await;
    let producer = Healthy::start(&node).await;
    let before = node.peak_memory_mb();
    let stalled: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = connect(&node);
            stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            // Those that get no memory are not read from.
            drop(begin_frame(&mut stream, 1_000_000, 900_000));
            stream
        })
        .collect();
    let dripping = Dripping::start(stalled);
    for _ in 0..10 {
        producer.send("calm", 600_000).await;
    }
    drop(dripping);
    // They were in the way of newcomers like themselves, and gave way.
    let sent = values(10, 60_000);
    node.produce("calm", 0, &sent, ProducerSettings::default()).await;
    let grown = node.peak_memory_mb() - before;
    assert!(grown < 16 + 64, "{grown} MB more");
}

/// Each of 68 KB, and nobody counted them.
#[tokio::test]
async fn small_frames_that_are_not_whole_are_counted() {
    let node = start(16 << 20);
    node.create("calm", 1, &[]).await;
    let producer = Healthy::start(&node).await;
    let before = node.peak_memory_mb();
    let unfinished: Vec<TcpStream> = (0..900)
        .map(|_| {
            let mut stream = connect(&node);
            stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            drop(begin_frame(&mut stream, 65_000, 64_000));
            stream
        })
        .collect();
    for _ in 0..10 {
        producer.send("calm", 50_000).await;
    }
    let grown = node.peak_memory_mb() - before;
    // Without io_uring a connection that is read from holds a buffer, whatever comes.
    let beside = if crate::node::is_fallback() { 64 } else { 20 };
    assert!(grown < 16 + beside, "{grown} MB more for {} frames", unfinished.len());
}

/// A fetch that waits for ten minutes.
fn long_poll() -> FetchRequest<'static> {
    let partition = FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() };
    FetchRequest {
        replica_id: -1,
        max_wait_ms: 600_000,
        min_bytes: 1 << 20,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: "calm".into(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// A request for the topics of so many names, which do not exist.
fn names(count: usize) -> MetadataRequest<'static> {
    let topic = |index| MetadataRequestTopic {
        name: Some(format!("{index:08}-{}", "x".repeat(90)).into()),
        ..Default::default()
    };
    let topics = Some((0..count).map(topic).collect());
    MetadataRequest { topics, ..Default::default() }
}

/// Requests that waited for the long polls before them on their own connections held all memory for
/// large ones meanwhile: ten minutes, and even when their peers were gone.
#[tokio::test]
async fn what_waits_for_its_own_long_poll_holds_nothing() {
    let node = start(16 << 20);
    node.create("calm", 1, &[]).await;
    // Large, but the system can take it in before the node receives it: so the end is seen.
    let large = names(665);
    let mut waiting: Vec<RawClient> = (0..12)
        .map(|_| {
            let mut client = RawClient::connect(&node);
            let both = [client.encode(11, &long_poll()), client.encode(4, &large)];
            assert!((64 << 10..68 << 10).contains(&both[1].len()), "{}", both[1].len());
            client.send_frame(&both.concat()).unwrap();
            client
        })
        .collect();
    RawClient::connect(&node).ask(4, &large);
    assert!(waiting.iter().all(RawClient::is_silent), "their long polls go on");
    // Those that say that they send no more wait for nothing, and all is answered.
    waiting.iter().for_each(RawClient::finish);
    for client in &mut waiting {
        assert!(client.receive::<FetchRequest<'_>>(11).is_some());
        assert!(client.receive::<MetadataRequest<'_>>(4).is_some());
        assert!(client.receive::<MetadataRequest<'_>>(4).is_none());
    }
}

fn fetch_from(topic: &str, fetch_offset: i64, bytes_max: i32) -> FetchRequest<'_> {
    let partition =
        FetchPartition { fetch_offset, partition_max_bytes: bytes_max, ..Default::default() };
    FetchRequest {
        replica_id: -1,
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: bytes_max,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: topic.into(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// 200 sessions that named 87,000 partitions each took 1.2 GB, kept after their connections closed.
#[test]
fn sessions_of_many_partitions_are_bounded_and_end_with_their_connections() {
    const PARTITIONS: i32 = 30_000;
    let node = start(16 << 20);
    let partition = |partition| FetchPartition {
        partition,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let fetch = FetchRequest {
        replica_id: -1,
        max_wait_ms: 0,
        max_bytes: 1 << 20,
        session_epoch: 0,
        topics: vec![FetchTopic {
            topic: "nowhere".into(),
            partitions: (0..PARTITIONS).map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let session = |fetch: &FetchRequest<'_>| {
        let mut client = RawClient::connect(&node);
        let answer = client.ask(11, fetch);
        (client, answer.decode::<FetchResponse<'_>>().session_id)
    };
    session(&fetch);
    let before = node.peak_memory_mb();
    let many: Vec<_> = (0..30).map(|_| session(&fetch)).collect();
    assert!(many.iter().all(|(_, id)| *id == 0), "too large for a session");
    let grown = node.peak_memory_mb() - before;
    assert!(grown < 40, "{grown} MB more");
    // A session of few partitions is taken, and ends with its connection.
    let few = FetchRequest { topics: fetch_from("nowhere", 0, 1).topics, ..fetch };
    let (client, session_id) = session(&few);
    assert!(session_id > 0);
    drop(client);
    let again = FetchRequest { session_id, session_epoch: 1, topics: Vec::new(), ..few };
    let mut client = RawClient::connect(&node);
    let gone = ErrorCode::FetchSessionIdNotFound.code();
    let is_gone = || client.ask(11, &again).decode::<FetchResponse<'_>>().error_code == gone;
    assert!(is_gone_in_time(is_gone), "it is kept without its connection");
}

/// Whether something comes about.
fn is_gone_in_time(mut is_gone: impl FnMut() -> bool) -> bool {
    let looks = PATIENCE.as_millis() / 100;
    (0..looks).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        is_gone()
    })
}
