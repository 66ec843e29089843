//! The fallback backend as programs see it: files, sockets, giving up, and sleeping.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;

use crate::behaviour::CpuUse;
use crate::{
    Backend, Durability, IoChoice, Launch, Mesh, OpenOptions, Piece, Runtime, ShardId, Stream,
    launch,
};

const CREATE: OpenOptions = OpenOptions {
    read: true,
    write: true,
    create: true,
    create_new: false,
    truncate: false,
    direct: false,
};

/// Runs a program on one fallback shard and returns what it gave.
fn run<T, Fut>(main: impl Fn(Runtime, PathBuf) -> Fut + Send + Sync + 'static) -> T
where
    T: Send + 'static,
    Fut: Future<Output = T> + 'static,
{
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_path_buf();
    let (send, receive) = mpsc::channel();
    let config = Launch { io: IoChoice::Fallback, ..Launch::default() };
    let node = launch(config, move |rt, _mesh: Mesh<()>| {
        let (send, main) = (send.clone(), main(rt, path.clone()));
        async move { send.send(main.await).unwrap() }
    })
    .unwrap();
    assert_eq!(node.backend(), Backend::Fallback);
    let value = receive.recv().expect("the program ended");
    node.join().unwrap();
    value
}

async fn pair(rt: &Runtime) -> (Stream, Stream) {
    let listener = rt.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let client = rt.connect(listener.local_addr()).await.unwrap();
    let (server, _) = rt.accept(&listener).await.unwrap();
    (client, server)
}

#[test]
fn files_are_written_read_renamed_and_removed() {
    run(|rt, dir| async move {
        let path = dir.join("a");
        let file = rt.open(&path, &OpenOptions { direct: true, ..CREATE }).await.unwrap();
        rt.allocate(&file, 0, 1 << 20).await.unwrap();
        let mut buf = rt.buffers().get(8192);
        buf.extend_from_slice(&[7; 8192]);
        let bufs = [buf.freeze()].into_iter().collect();
        rt.write_at(&file, bufs, 4096, Durability::Durable).await.unwrap();
        rt.sync_data(&file).await.unwrap();
        let (n, buf) = rt.read_at(&file, rt.buffers().get(16384), 0).await;
        assert_eq!(n.unwrap(), 16384);
        assert!(buf[..4096] == [0; 4096] && buf[4096..12288] == [7; 8192]);
        rt.set_len(&file, 12288).await.unwrap();
        assert_eq!(rt.file_len(&file).await.unwrap(), 12288);
        let (n, _) = rt.read_at(&file, rt.buffers().get(16384), 8192).await;
        assert_eq!(n.unwrap(), 4096, "short at the end of the file");

        rt.create_dir_all(&dir.join("d/e")).await.unwrap();
        rt.rename(&path, &dir.join("d/b")).await.unwrap();
        rt.sync_dir(&dir.join("d")).await.unwrap();
        let mut names = rt.read_dir(&dir.join("d")).await.unwrap();
        names.sort_by(|a, b| a.name.cmp(&b.name));
        let names: Vec<_> = names.into_iter().map(|e| (e.name, e.is_dir, e.len)).collect();
        assert_eq!(names[0], ("b".into(), false, 12288));
        assert!(names[1].1);
        let stat = rt.stat(&dir.join("d/b")).await.unwrap();
        assert!((stat.modified_ms - rt.wall_clock_ms()).abs() < 60_000);
        assert!(rt.disk_space(&dir).await.unwrap().available > 0);

        rt.write_file_atomic(&dir.join("c"), b"text").await.unwrap();
        assert_eq!(rt.read_file(&dir.join("c"), 10).await.unwrap(), b"text");
        rt.remove_file(&dir.join("d/b")).await.unwrap();
        rt.remove_dir_all(&dir.join("d")).await.unwrap();
        let gone = rt.open(&dir.join("d/b"), &OpenOptions::default()).await.unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    });
}

#[test]
fn a_lock_is_held_until_it_is_dropped() {
    run(|rt, dir| async move {
        let path = dir.join(".lock");
        let held = rt.lock_file(&path).await.unwrap();
        let refused = rt.lock_file(&path).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(held);
        rt.lock_file(&path).await.unwrap();
    });
}

#[test]
fn many_file_calls_at_once_all_complete() {
    run(|rt, dir| async move {
        let file = Rc::new(rt.open(&dir.join("f"), &CREATE).await.unwrap());
        let write = |i: u64| {
            let (rt, file) = (rt.clone(), Rc::clone(&file));
            rt.clone().spawn(async move {
                let bufs = [Bytes::from(vec![i as u8; 100])].into_iter().collect();
                rt.write_at(&file, bufs, i * 100, Durability::Buffered).await.unwrap();
            })
        };
        for task in (0..200).map(write).collect::<Vec<_>>() {
            task.await;
        }
        let bytes = rt.read_file(&dir.join("f"), 1 << 20).await.unwrap();
        assert!(bytes.chunks(100).enumerate().all(|(i, c)| c == [i as u8; 100]));
    });
}

#[test]
fn bytes_and_files_are_sent_whole_and_in_order_to_a_slow_reader() {
    run(|rt, dir| async move {
        let stored: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        rt.write_file_atomic(&dir.join("f"), &stored).await.unwrap();
        let options = OpenOptions { read: true, ..OpenOptions::default() };
        let file = rt.open(&dir.join("f"), &options).await.unwrap();
        let (client, server) = pair(&rt).await;
        let mut pieces: Vec<Piece> =
            (0..200u8).map(|i| Piece::Bytes(Bytes::from(vec![i; 1000]))).collect();
        pieces.push(Piece::File { file, pos: 1_000, len: 2_500_000 });
        pieces.push(Piece::Bytes(Bytes::from_static(b"end")));
        let want: Vec<u8> = (0..200u8)
            .flat_map(|i| vec![i; 1000])
            .chain(stored[1_000..2_501_000].iter().copied())
            .chain(*b"end")
            .collect();
        let sender = rt.spawn(async move {
            server.send(pieces).await.unwrap();
        });
        let mut got = client.recv().await.unwrap().to_vec();
        rt.sleep(Duration::from_millis(20)).await;
        while got.len() < 1_000_000 {
            got.extend_from_slice(&client.recv().await.unwrap());
        }
        let rest = want.len() - got.len();
        let (result, buf) = client.recv_into(rt.buffers().get(rest), rest).await;
        result.unwrap();
        got.extend_from_slice(&buf);
        assert!(got == want);
        sender.await;
        assert!(client.recv().await.unwrap().is_empty(), "the end of the stream");
    });
}

#[test]
fn a_file_that_ends_too_early_fails_the_send() {
    run(|rt, dir| async move {
        rt.write_file_atomic(&dir.join("f"), b"short").await.unwrap();
        let options = OpenOptions { read: true, ..OpenOptions::default() };
        let file = rt.open(&dir.join("f"), &options).await.unwrap();
        let (_client, server) = pair(&rt).await;
        let error = server.send(vec![Piece::File { file, pos: 0, len: 10 }]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn giving_up_a_receive_loses_nothing_and_shutting_down_ends_it() {
    run(|rt, _| async move {
        let (client, server) = pair(&rt).await;
        assert!(rt.timeout(Duration::from_millis(5), server.recv()).await.is_err());
        client.send(vec![Piece::Bytes(Bytes::from_static(b"abc"))]).await.unwrap();
        assert_eq!(&server.recv().await.unwrap()[..], b"abc");
        let ended = {
            let server = server.clone();
            rt.spawn(async move { server.recv().await.map(|b| b.len()) })
        };
        rt.sleep(Duration::from_millis(5)).await;
        server.shutdown();
        assert_eq!(ended.await.unwrap(), 0);
        assert!(client.recv().await.unwrap().is_empty());
        drop(server);
        let (client, server) = pair(&rt).await;
        let (_, part) = client.recv_into(rt.buffers().get(10), 0).await;
        assert!(part.is_empty());
        let given_up = client.recv_into(rt.buffers().get(10), 10);
        assert!(rt.timeout(Duration::from_millis(5), given_up).await.is_err());
        assert!(server.recv().await.unwrap().is_empty(), "shut down, as promised");
    });
}

#[test]
fn nobody_there_is_refused() {
    run(|rt, _| async move {
        let listener = rt.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = listener.local_addr();
        drop(listener);
        let error = rt.connect(addr).await.map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn shards_share_a_port_and_an_idle_node_uses_no_cpu() {
    let config = Launch { shards: 2, io: IoChoice::Fallback, ..Launch::default() };
    let (send, receive) = mpsc::channel();
    let node = launch(config, move |rt, mesh: Mesh<u16>| {
        let send = send.clone();
        async move {
            let port = match mesh.shard() {
                ShardId(0) => 0,
                _ => mesh.recv().await,
            };
            let addr = std::net::SocketAddr::from(([127, 0, 0, 1], port));
            let listener = rt.listen(addr).await.unwrap();
            mesh.send(ShardId(1), listener.local_addr().port());
            let before = CpuUse::of_this_thread();
            send.send(()).unwrap();
            // A message ends the idle time.
            mesh.recv().await;
            before.assert_idle_since();
        }
    })
    .unwrap();
    (0..2).for_each(|_| receive.recv().unwrap());
    std::thread::sleep(Duration::from_millis(600));
    (0..2).for_each(|shard| node.poster().post(ShardId(shard), 0));
    node.join().unwrap();
}
