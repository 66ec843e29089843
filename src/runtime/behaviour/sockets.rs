//! Sockets: streams whole, large, many and broken.

use std::cell::Cell;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::smallvec;

use super::{PATIENCE, TestDir, on_each_backend, pattern};
use crate::driver::Driver;
use crate::executor::Executor;
use crate::uring::Uring;
use crate::{
    Durability, JoinHandle, Listener, OpenOptions, Piece, Runtime, ShardId, Stream, shard_loop,
};

on_each_backend!(
    everywhere:
        echoes,
        large_frames,
        many_connections,
        many_pieces,
        parts_of_files,
        ends_and_resets,
        a_bounded_send_buffer,
        listeners,
        both_address_families,
        more_receives_than_buffers;
    in_order:;
    real:
        peers_that_stop_reading_hold_no_threads;
);

pub(super) fn anywhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

pub(super) fn piece(bytes: &[u8]) -> Vec<Piece> {
    vec![Bytes::copy_from_slice(bytes).into()]
}

/// Both ends of a connection.
pub(super) async fn pair(rt: &Runtime) -> (Stream, Stream) {
    let listener = rt.listen(anywhere()).await.unwrap();
    let here = rt.connect(listener.local_addr()).await.unwrap();
    assert_eq!(here.peer_addr(), listener.local_addr());
    let (there, peer) = rt.accept(&listener).await.unwrap();
    assert_eq!(there.peer_addr(), peer);
    (here, there)
}

/// Receives exactly so many bytes with `recv`.
pub(super) async fn recv_exact(stream: &Stream, len: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < len {
        let bytes = stream.recv().await.unwrap();
        assert!(!bytes.is_empty(), "ended after {} of {len}", got.len());
        got.extend_from_slice(&bytes);
    }
    assert_eq!(got.len(), len);
    got
}

fn serve_echo(rt: &Runtime, listener: Listener, connections: usize) -> JoinHandle<()> {
    let server = rt.clone();
    rt.spawn(async move {
        for _ in 0..connections {
            let (stream, _) = server.accept(&listener).await.unwrap();
            server.spawn(async move {
                loop {
                    let bytes = stream.recv().await.unwrap();
                    if bytes.is_empty() {
                        return;
                    }
                    stream.send(piece(&bytes)).await.unwrap();
                }
            });
        }
    })
}

async fn echoes(rt: Runtime) {
    let listener = rt.listen(anywhere()).await.unwrap();
    let addr = listener.local_addr();
    assert_ne!(addr.port(), 0);
    serve_echo(&rt, listener, 1);
    let stream = rt.connect(addr).await.unwrap();
    for len in [1, 100, 20_000, 1] {
        let bytes = pattern(len, len as u64);
        stream.send(piece(&bytes)).await.unwrap();
        assert_eq!(recv_exact(&stream, len).await, bytes);
    }
    stream.send(vec![]).await.unwrap();
    stream.send(piece(b"")).await.unwrap();
}

async fn large_frames(rt: Runtime) {
    let (here, there) = pair(&rt).await;
    let bytes = pattern(5 << 20, 7);
    let sent = bytes.clone();
    let sender = rt.spawn(async move {
        here.send(piece(&sent)).await.unwrap();
        here
    });
    let mut buf = rt.buffers().get(6 << 20);
    buf.extend_from_slice(b"head");
    let (result, buf) = there.recv_into(buf, 4 + (3 << 20)).await;
    result.unwrap();
    assert_eq!(buf[4..], bytes[..3 << 20]);
    let rest = recv_exact(&there, 2 << 20).await;
    assert_eq!(rest, bytes[3 << 20..]);
    let here = sender.await;
    here.send(piece(b"abc")).await.unwrap();
    drop(here);
    let (result, buf) = there.recv_into(rt.buffers().get(10), 10).await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(&buf[..], b"abc");
}

async fn many_connections(rt: Runtime) {
    const CONNECTIONS: u64 = 64;
    let listener = rt.listen(anywhere()).await.unwrap();
    let addr = listener.local_addr();
    serve_echo(&rt, listener, CONNECTIONS as usize);
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|i| {
            let client = rt.clone();
            rt.spawn(async move {
                let stream = client.connect(addr).await.unwrap();
                for round in 0..50 {
                    let bytes = pattern(1 + (i * 37 + round * 101) as usize % 3_000, i ^ round);
                    stream.send(piece(&bytes)).await.unwrap();
                    assert_eq!(recv_exact(&stream, bytes.len()).await, bytes);
                }
            })
        })
        .collect();
    for client in clients {
        client.await;
    }
}

async fn many_pieces(rt: Runtime) {
    let (here, there) = pair(&rt).await;
    let parts: Vec<Bytes> =
        (0..5_000u64).map(|i| Bytes::from(pattern(i as usize % 700, i))).collect();
    let want = parts.concat();
    let pieces: Vec<Piece> = parts.into_iter().map(Piece::from).collect();
    let sender = rt.spawn(async move { here.send(pieces).await });
    assert_eq!(recv_exact(&there, want.len()).await, want);
    sender.await.unwrap();
}

async fn parts_of_files(rt: Runtime) {
    let dir = TestDir::new(&rt).await;
    let options = OpenOptions { read: true, write: true, create: true, ..Default::default() };
    let file = rt.open(&dir.path("f"), &options).await.unwrap();
    let bytes = pattern((5 << 20) + 4_321, 9);
    let all = smallvec![Bytes::from(bytes.clone())];
    rt.write_at(&file, all, 0, Durability::Buffered).await.unwrap();
    let (here, there) = pair(&rt).await;
    let part = |pos: usize, len: usize| Piece::File { file: file.clone(), pos: pos as u64, len };
    let pieces = vec![
        Bytes::from_static(b"head").into(),
        part(123, 5 << 20),
        part(0, 0),
        Bytes::from_static(b"middle").into(),
        part(4_096, 10),
    ];
    let want = [b"head", &bytes[123..][..5 << 20], b"middle", &bytes[4_096..][..10]].concat();
    let sender = rt.spawn(async move {
        here.send(pieces).await.unwrap();
        here
    });
    assert_eq!(recv_exact(&there, want.len()).await, want);
    assert!(!file.is_unreadable());
    let here = sender.await;
    let error = here.send(vec![part(bytes.len() - 5, 6)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert!(file.is_unreadable());
}

/// Where descriptors are so short that there is no pipe.
#[test]
fn parts_of_files_go_through_memory_without_pipes() {
    let uring = Uring::new("test", 0).unwrap();
    let unparker = uring.unparker();
    let rt = Runtime::new(ShardId(0), Driver::Uring(uring), Executor::new(unparker));
    let main = rt.spawn(parts_of_files(rt.clone()));
    shard_loop::run(&rt, &main, Duration::ZERO);
    rt.close();
}

/// Each held a worker thread that slept in a splice; with enough of them nobody else was served.
async fn peers_that_stop_reading_hold_no_threads(rt: Runtime) {
    const PEERS: usize = 40;
    let dir = TestDir::new(&rt).await;
    let bytes = pattern(3 << 20, 11);
    std::fs::write(dir.path("f"), &bytes).unwrap();
    let options = OpenOptions { read: true, ..Default::default() };
    let file = rt.open(&dir.path("f"), &options).await.unwrap();
    let send = |stream: Stream| {
        let piece = Piece::File { file: file.clone(), pos: 0, len: bytes.len() };
        rt.spawn(async move { stream.send(vec![piece]).await })
    };
    let listener = rt.listen(anywhere()).await.unwrap();
    let mut stalled = Vec::new();
    for _ in 0..PEERS {
        let peer = small_peer(listener.local_addr());
        let (here, _) = rt.accept(&listener).await.unwrap();
        stalled.push((send(here), peer));
        rt.sleep(Duration::from_millis(5)).await;
    }
    let workers = worker_threads();
    assert!(workers < PEERS / 2, "{workers} worker threads");
    let (here, there) = pair(&rt).await;
    let sent = send(here);
    assert!(recv_exact(&there, bytes.len()).await == bytes);
    sent.await.unwrap();
    // One reads on, and gets all of it.
    let (sent, mut peer) = stalled.swap_remove(0);
    let mut got = vec![0; bytes.len()];
    let reader = std::thread::spawn(move || peer.read_exact(&mut got).map(|()| got));
    sent.await.unwrap();
    while !reader.is_finished() {
        rt.sleep(Duration::from_millis(5)).await;
    }
    assert!(reader.join().unwrap().unwrap() == bytes);
}

/// A connection whose other end has next to no room for what it receives.
fn small_peer(addr: SocketAddr) -> socket2::Socket {
    let domain = socket2::Domain::for_address(addr);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&addr.into()).unwrap();
    socket
}

/// How many threads io_uring has for this one.
fn worker_threads() -> usize {
    let name = format!("iou-wrk-{}", rustix::thread::gettid().as_raw_nonzero());
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let comms =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    comms.filter(|comm| comm.trim() == name).count()
}

async fn ends_and_resets(rt: Runtime) {
    let (here, there) = pair(&rt).await;
    here.send(piece(b"last words")).await.unwrap();
    drop(here);
    assert_eq!(recv_exact(&there, 10).await, b"last words");
    assert!(there.recv().await.unwrap().is_empty());
    assert!(there.recv().await.unwrap().is_empty(), "the end stays");

    // Closing with bytes unread resets.
    let (here, there) = pair(&rt).await;
    here.send(piece(b"unread")).await.unwrap();
    there.recv().await.unwrap();
    here.send(piece(b"unread")).await.unwrap();
    rt.sleep(Duration::from_millis(5)).await;
    drop(there);
    let broken = loop {
        if let Err(error) = here.send(piece(&[0; 100_000])).await {
            break error;
        }
    };
    let expected = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(expected.contains(&broken.kind()), "{broken}");

    // One of the receiving direction ends what waits for it, and no more.
    let (here, there) = pair(&rt).await;
    let waiting = rt.spawn({
        let here = here.clone();
        async move { here.recv().await.is_ok_and(|bytes| bytes.is_empty()) }
    });
    rt.sleep(Duration::from_millis(5)).await;
    here.shutdown_read();
    assert!(waiting.await);
    assert!(here.recv().await.unwrap().is_empty());
    here.send(piece(b"last words")).await.unwrap();
    drop(here);
    assert_eq!(recv_exact(&there, 10).await, b"last words");
    assert!(there.recv().await.unwrap().is_empty());

    // A shutdown ends what waits.
    let (here, _there) = pair(&rt).await;
    let waiting = rt.spawn({
        let here = here.clone();
        async move { here.recv().await.is_ok_and(|bytes| bytes.is_empty()) }
    });
    rt.sleep(Duration::from_millis(5)).await;
    here.shutdown();
    assert!(waiting.await);
    assert!(here.send(piece(b"x")).await.is_err());
}

/// What a peer does not read waits here, and not much of it.
async fn a_bounded_send_buffer(rt: Runtime) {
    let listener = rt.listen(anywhere()).await.unwrap();
    listener.set_send_buffer_bytes(64 << 10).unwrap();
    let here = rt.connect(listener.local_addr()).await.unwrap();
    let (there, _) = rt.accept(&listener).await.unwrap();
    let sent = Rc::new(Cell::new(0));
    let sending = rt.spawn({
        let sent = sent.clone();
        async move {
            let bytes = Bytes::from(pattern(16 << 10, 7));
            for _ in 0..256 {
                there.send(vec![bytes.clone().into()]).await.unwrap();
                sent.set(sent.get() + bytes.len());
            }
        }
    });
    rt.sleep(Duration::from_millis(50)).await;
    // The receiver's side has a buffer, too.
    assert!(sent.get() < 1 << 20, "{} bytes were sent and not received", sent.get());
    recv_exact(&here, 4 << 20).await;
    sending.await;
}

/// Where the machine has IPv6.
async fn both_address_families(rt: Runtime) {
    let Ok(listener) = rt.listen((Ipv6Addr::UNSPECIFIED, 0).into()).await else { return };
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.local_addr().port()));
    let _here = rt.connect(to).await.unwrap();
    let (there, peer) = rt.accept(&listener).await.unwrap();
    assert_eq!(peer.ip(), Ipv4Addr::LOCALHOST, "limits go by it");
    assert_eq!(there.peer_addr(), peer);
}

async fn listeners(rt: Runtime) {
    let first = rt.listen(anywhere()).await.unwrap();
    let addr = first.local_addr();
    let second = rt.listen(addr).await.expect("shards share an address");
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(rt.connect(addr).await.unwrap());
    }
    let (mut by_first, mut by_second) = (0, 0);
    let limit = Duration::from_millis(50);
    while let Ok(accepted) = rt.timeout(limit, rt.accept(&first)).await {
        accepted.unwrap();
        by_first += 1;
    }
    while let Ok(accepted) = rt.timeout(limit, rt.accept(&second)).await {
        accepted.unwrap();
        by_second += 1;
    }
    assert_eq!(by_first + by_second, 20);
    assert!(by_first > 0 && by_second > 0, "{by_first} and {by_second}");
    drop((first, second));
    let closed = async {
        loop {
            match rt.connect(addr).await {
                Ok(_) => rt.sleep(Duration::from_millis(1)).await,
                Err(refused) => return refused,
            }
        }
    };
    let refused = rt.timeout(PATIENCE, closed).await.expect("both are closed");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

/// Every lent buffer is held by somebody, and receiving goes on all the same.
async fn more_receives_than_buffers(rt: Runtime) {
    let (here, there) = pair(&rt).await;
    let mut held = Vec::new();
    for i in 0..600u64 {
        let bytes = pattern(50, i);
        here.send(piece(&bytes)).await.unwrap();
        let mut received = 0;
        while received < bytes.len() {
            let got = there.recv().await.unwrap();
            let sent = bytes[received..][..got.len()].to_vec();
            assert_eq!(got[..], sent);
            received += got.len();
            held.push((got, sent));
        }
    }
    for (got, sent) in held {
        assert_eq!(got[..], sent, "nobody wrote to a buffer that is held");
    }
    here.send(piece(b"again")).await.unwrap();
    assert_eq!(recv_exact(&there, 5).await, b"again");
}
