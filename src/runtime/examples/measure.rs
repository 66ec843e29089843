//! What one shard costs: an echo over 64 connections, parts of a file sent without copying, and
//! 1 MiB frames received, copied into an append buffer and written durably.
//!
//! ```sh
//! cargo run --release -p ringlog-runtime --example measure -- [uring|fallback] [seconds] [dir]
//! ```
//!
//! The server's shard and the client's are two nodes of one process, on two cores. CPU time is
//! that of the server's thread alone.

#![allow(clippy::disallowed_methods, reason = "a tool beside the runtime")]

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use ringlog_runtime::{
    AppendBuffer, Durability, IoChoice, Launch, Mesh, OpenOptions, Piece, Runtime, Stream, launch,
};

const CONNECTIONS: usize = 64;
const REQUEST_BYTES: usize = 100;
const FRAME_BYTES: usize = 1 << 20;
const FILE_PART_BYTES: usize = 1 << 20;
const FILE_PARTS: u64 = 32;
const FILE_BYTES: u64 = 256 << 20;

#[derive(Clone)]
struct Setting {
    io: IoChoice,
    time: Duration,
    dir: PathBuf,
}

fn main() {
    let mut args = std::env::args().skip(1);
    let io = match args.next().as_deref() {
        Some("fallback") => IoChoice::Fallback,
        _ => IoChoice::Uring,
    };
    let seconds = args.next().and_then(|s| s.parse().ok()).unwrap_or(3.0);
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let setting = Setting { io, time: Duration::from_secs_f64(seconds), dir };
    measure("echo of 100 bytes, 64 connections", &setting, CONNECTIONS, echo_server, echo_client);
    measure("echo of 100 bytes, 1 connection", &setting, 1, echo_server, echo_client);
    measure("1 MiB parts of a file, 1 connection", &setting, 1, file_server, file_client);
    measure("1 MiB frames, durable, 4 connections", &setting, 4, append_server, append_client);
}

/// Runs a server and a client for a while and prints what the server used.
fn measure<S, C>(
    name: &str,
    setting: &Setting,
    connections: usize,
    server: fn(Runtime, Stream, Rc<Shared>) -> S,
    client: fn(Runtime, Stream, Rc<Cell<bool>>) -> C,
) where
    S: Future<Output = ()> + 'static,
    C: Future<Output = ()> + 'static,
{
    let node = |name: &str| Launch { shards: 1, io: setting.io, pin: false, name: name.into() };
    let (address, addresses) = mpsc::channel();
    let (report, reports) = mpsc::channel();
    let dir = setting.dir.clone();
    let serving = launch(node("server"), move |rt: Runtime, _mesh: Mesh<()>| {
        let (address, report, dir) = (address.clone(), report.clone(), dir.clone());
        async move {
            let listener = rt.listen(([127, 0, 0, 1], 0).into()).await.unwrap();
            address.send(listener.local_addr()).unwrap();
            let shared = Rc::new(Shared { dir, requests: Cell::new(0) });
            let mut tasks = Vec::new();
            for _ in 0..connections {
                let (stream, _) = rt.accept(&listener).await.unwrap();
                tasks.push(rt.spawn(server(rt.clone(), stream, shared.clone())));
            }
            let (cpu, start) = (cpu_nanos(), rt.now());
            for task in tasks {
                task.await;
            }
            report.send((shared.requests.get(), cpu_nanos() - cpu, rt.now() - start)).unwrap();
        }
    })
    .unwrap();
    let addr = addresses.recv().unwrap();
    let time = setting.time;
    launch(node("client"), move |rt: Runtime, _mesh: Mesh<()>| async move {
        let stop = Rc::new(Cell::new(false));
        let mut tasks = Vec::new();
        for _ in 0..connections {
            let stream = rt.connect(addr).await.unwrap();
            tasks.push(rt.spawn(client(rt.clone(), stream, stop.clone())));
        }
        rt.sleep(time).await;
        stop.set(true);
        for task in tasks {
            task.await;
        }
    })
    .unwrap()
    .join()
    .unwrap();
    serving.join().unwrap();
    let (requests, cpu, took) = reports.recv().unwrap();
    let rate = requests as f64 / took.as_secs_f64();
    let each = cpu as f64 / 1e3 / requests as f64;
    println!("{name}: {rate:.0}/s, {each:.2} us of CPU each, {:.1} us each", 1e6 / rate);
}

struct Shared {
    dir: PathBuf,
    requests: Cell<u64>,
}

fn cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

async fn echo_server(_rt: Runtime, stream: Stream, shared: Rc<Shared>) {
    loop {
        let bytes = stream.recv().await.unwrap();
        if bytes.is_empty() {
            return;
        }
        shared.requests.set(shared.requests.get() + 1);
        let answer = Bytes::copy_from_slice(&bytes);
        drop(bytes);
        stream.send(vec![answer.into()]).await.unwrap();
    }
}

async fn echo_client(_rt: Runtime, stream: Stream, stop: Rc<Cell<bool>>) {
    let request = Bytes::from_static(&[7; REQUEST_BYTES]);
    while !stop.get() {
        stream.send(vec![request.clone().into()]).await.unwrap();
        let mut got = 0;
        while got < REQUEST_BYTES {
            got += stream.recv().await.unwrap().len();
        }
    }
}

async fn file_server(rt: Runtime, stream: Stream, shared: Rc<Shared>) {
    let path = shared.dir.join(format!("ringlog-measure-{}", stream.peer_addr().port()));
    std::fs::write(&path, vec![7; FILE_PART_BYTES * FILE_PARTS as usize]).unwrap();
    let options = OpenOptions { read: true, ..Default::default() };
    let file = rt.open(&path, &options).await.unwrap();
    loop {
        let pos = shared.requests.get() % FILE_PARTS * FILE_PART_BYTES as u64;
        let part = Piece::File { file: file.clone(), pos, len: FILE_PART_BYTES };
        if stream.send(vec![part]).await.is_err() {
            break;
        }
        shared.requests.set(shared.requests.get() + 1);
    }
    rt.remove_file(&path).await.unwrap();
}

async fn file_client(rt: Runtime, stream: Stream, stop: Rc<Cell<bool>>) {
    let mut buf = rt.buffers().get(FILE_PART_BYTES);
    while !stop.get() {
        buf.clear();
        let (result, returned) = stream.recv_into(buf, FILE_PART_BYTES).await;
        result.unwrap();
        buf = returned;
    }
}

async fn append_server(rt: Runtime, stream: Stream, shared: Rc<Shared>) {
    let name = format!("ringlog-measure-{}", stream.peer_addr().port());
    let path = shared.dir.join(name);
    let options = OpenOptions { write: true, create: true, direct: true, ..Default::default() };
    let file = rt.open(&path, &options).await.unwrap();
    rt.allocate(&file, 0, FILE_BYTES).await.unwrap();
    let mut pos = 0;
    while let (Ok(()), frame) = stream.recv_into(rt.buffers().get(FRAME_BYTES), FRAME_BYTES).await {
        let mut tail = AppendBuffer::new(rt.buffers(), FRAME_BYTES);
        tail.extend_from_slice(&frame);
        let bufs = [tail.slice(0..FRAME_BYTES)].into_iter().collect();
        rt.write_at(&file, bufs, pos, Durability::Durable).await.unwrap();
        pos = (pos + FRAME_BYTES as u64) % FILE_BYTES;
        shared.requests.set(shared.requests.get() + 1);
        stream.send(vec![Bytes::from_static(&[0; 16]).into()]).await.unwrap();
    }
    rt.remove_file(&path).await.unwrap();
}

async fn append_client(rt: Runtime, stream: Stream, stop: Rc<Cell<bool>>) {
    let frame = Bytes::from(vec![7; FRAME_BYTES]);
    let answers = stream.clone();
    // Two frames in flight.
    let window = Rc::new(ringlog_runtime::sync::Semaphore::new(2));
    let room = window.clone();
    rt.spawn(async move {
        while let Ok(bytes) = answers.recv().await {
            if bytes.is_empty() {
                return;
            }
            room.release(bytes.len() / 16);
        }
    });
    while !stop.get() {
        window.acquire(1).await.forget();
        stream.send(vec![Piece::Bytes(frame.clone())]).await.unwrap();
    }
    window.acquire(2).await.forget();
    stream.shutdown();
}
