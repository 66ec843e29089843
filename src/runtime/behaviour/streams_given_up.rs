//! Futures that are dropped before they are done: no bytes lost, no buffer reused too early,
//! nothing left open.

use std::time::Duration;

use bytes::Bytes;
use smallvec::smallvec;

use super::sockets::{anywhere, pair, piece, recv_exact};
use super::{PATIENCE, TestDir, on_each_backend, pattern};
use crate::{Durability, OpenOptions, Piece, Runtime};

on_each_backend!(
    everywhere:
        a_receive_given_up_loses_nothing,
        a_receive_given_up_then_one_into_a_buffer,
        operations_given_up_shut_the_stream_down,
        an_accept_given_up_loses_no_connection,
        an_idle_connection_given_up_is_closed,
        writes_given_up_still_happen_whole,
        files_given_up_are_harmless;
    in_order:;
    real:;
);

const SOON: Duration = Duration::from_micros(200);

async fn a_receive_given_up_loses_nothing(rt: Runtime) {
    let (here, there) = pair(&rt).await;
    let want = pattern(300_000, 1);
    let sent = want.clone();
    let pauses = rt.clone();
    let sender = rt.spawn(async move {
        for part in sent.chunks(997) {
            here.send(piece(part)).await.unwrap();
            pauses.sleep(Duration::from_micros(part[0].into())).await;
        }
        here
    });
    let (mut got, mut given_up) = (Vec::new(), 0);
    while got.len() < want.len() {
        match rt.timeout(Duration::from_micros(20), there.recv()).await {
            Ok(bytes) => got.extend_from_slice(&bytes.unwrap()),
            Err(_) => given_up += 1,
        }
    }
    assert_eq!(got, want);
    assert!(given_up > 10, "{given_up}");
    drop(sender.await);
}

async fn a_receive_given_up_then_one_into_a_buffer(rt: Runtime) {
    let (here, there) = pair(&rt).await;
    assert!(rt.timeout(SOON, there.recv()).await.is_err());
    let bytes = pattern(10_000, 2);
    here.send(piece(&bytes)).await.unwrap();
    rt.sleep(Duration::from_millis(2)).await;
    let (result, buf) = there.recv_into(rt.buffers().get(100), 100).await;
    result.unwrap();
    assert_eq!(buf[..], bytes[..100]);
    let (result, buf) = there.recv_into(rt.buffers().get(50), 50).await;
    result.unwrap();
    assert_eq!(buf[..], bytes[100..150]);
    assert_eq!(recv_exact(&there, 9_850).await, bytes[150..]);
}

async fn operations_given_up_shut_the_stream_down(rt: Runtime) {
    let (here, there) = pair(&rt).await;
    let large = pattern(16 << 20, 3);
    let sent = here.send(piece(&large));
    assert!(rt.timeout(Duration::from_millis(20), sent).await.is_err());
    assert!(here.send(piece(b"x")).await.is_err());
    let mut got = 0;
    loop {
        // What was on its way may arrive; then the stream ends.
        match there.recv().await {
            Ok(bytes) if !bytes.is_empty() => {
                assert_eq!(bytes[..], large[got..][..bytes.len()]);
                got += bytes.len();
            }
            _ => break,
        }
    }
    assert!(got < large.len());

    let (here, there) = pair(&rt).await;
    here.send(piece(b"abc")).await.unwrap();
    let buf = rt.buffers().get(4096);
    assert!(rt.timeout(Duration::from_millis(5), there.recv_into(buf, 4096)).await.is_err());
    assert!(there.send(piece(b"x")).await.is_err());
    // The buffer is not in use any more, or not handed out: others get their own bytes.
    let (mine, theirs) = pair(&rt).await;
    for i in 0..50 {
        let bytes = pattern(4096, i);
        let _ = here.send(piece(&[0xff; 4096])).await;
        mine.send(piece(&bytes)).await.unwrap();
        let (result, buf) = theirs.recv_into(rt.buffers().get(4096), 4096).await;
        result.unwrap();
        assert_eq!(buf[..], bytes);
    }
}

async fn an_accept_given_up_loses_no_connection(rt: Runtime) {
    let listener = rt.listen(anywhere()).await.unwrap();
    let addr = listener.local_addr();
    let client = rt.clone();
    let connecting = rt.spawn(async move {
        let mut streams = Vec::new();
        for i in 0..20u8 {
            let stream = client.connect(addr).await.unwrap();
            stream.send(piece(&[i])).await.unwrap();
            streams.push(stream);
            client.sleep(Duration::from_micros(u64::from(i) * 20)).await;
        }
        streams
    });
    let mut accepted = Vec::new();
    while accepted.len() < 20 {
        if let Ok(stream) = rt.timeout(Duration::from_micros(50), rt.accept(&listener)).await {
            accepted.push(stream.unwrap().0);
        }
    }
    for (i, stream) in accepted.iter().enumerate() {
        assert_eq!(recv_exact(stream, 1).await, [i as u8]);
    }
    connecting.await;
}

async fn an_idle_connection_given_up_is_closed(rt: Runtime) {
    let (here, there) = pair(&rt).await;
    assert!(rt.timeout(SOON, there.recv()).await.is_err());
    drop(there);
    let ended = rt.timeout(PATIENCE, here.recv()).await;
    assert!(ended.expect("the other end is closed").unwrap().is_empty());
}

async fn writes_given_up_still_happen_whole(rt: Runtime) {
    let dir = TestDir::new(&rt).await;
    let options = OpenOptions { read: true, write: true, create: true, ..Default::default() };
    let path = dir.path("f");
    let file = rt.open(&path, &options).await.unwrap();
    for round in 0..50u64 {
        let bytes = Bytes::from(pattern(100_000, round));
        let pos = round * 100_000;
        let write = rt.write_at(&file, smallvec![bytes], pos, Durability::Durable);
        let _ = rt.timeout(Duration::from_micros(round * 5), write).await;
    }
    rt.sync_data(&file).await.unwrap();
    let deadline = rt.now() + PATIENCE;
    // Those that were given up may still be at it.
    while let Some(round) = torn_round(&rt.read_file(&path, 50 * 100_000).await.unwrap()) {
        assert!(rt.now() < deadline, "round {round} is torn");
        rt.sleep(Duration::from_millis(5)).await;
    }
}

/// The first of the writes of 100,000 bytes that is there in part.
fn torn_round(written: &[u8]) -> Option<usize> {
    written.chunks(100_000).enumerate().position(|(round, part)| {
        part != pattern(100_000, round as u64) && part.iter().any(|byte| *byte != 0)
    })
}

async fn files_given_up_are_harmless(rt: Runtime) {
    let dir = TestDir::new(&rt).await;
    let path = dir.path("f");
    let bytes = pattern(2 << 20, 4);
    rt.write_file_atomic(&path, &bytes).await.unwrap();
    let options = OpenOptions { read: true, ..Default::default() };
    let file = rt.open(&path, &options).await.unwrap();
    for round in 0..100u64 {
        let limit = Duration::from_micros(round % 40);
        let _ = rt.timeout(limit, rt.open(&path, &options)).await;
        let _ = rt.timeout(limit, rt.stat(&path)).await;
        let _ = rt.timeout(limit, rt.read_at(&file, rt.buffers().get(1 << 20), 0)).await;
        let (n, buf) = rt.read_at(&file, rt.buffers().get(1 << 20), 1 << 20).await;
        assert_eq!(n.unwrap(), 1 << 20);
        assert!(buf[..] == bytes[1 << 20..], "another read wrote to this buffer");
    }
    let (here, there) = pair(&rt).await;
    let piece = Piece::File { file: file.clone(), pos: 0, len: 2 << 20 };
    let _ = rt.timeout(Duration::from_micros(100), here.send(vec![piece])).await;
    drop((here, there));
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(open < 2_000, "{open} descriptors are open");
}
