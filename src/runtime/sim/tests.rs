//! Whole simulations: the same program on the simulated backend, run, broken and run again.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::{DiskFaults, NodeId, SimOptions, Simulation};
use crate::{Durability, File, Mesh, OpenOptions, Piece, Runtime, ShardId};

const SECOND: Duration = Duration::from_secs(1);
const WRITE: OpenOptions = OpenOptions {
    read: true,
    write: true,
    create: true,
    create_new: false,
    truncate: false,
    direct: false,
};

fn new(seed: u64) -> (Simulation, NodeId) {
    let mut sim = Simulation::new(seed, SimOptions::default());
    let node = sim.add_node("a");
    (sim, node)
}

/// Runs one task on one shard to its end and returns what it gave.
fn run<T: 'static, Fut: Future<Output = T> + 'static>(
    sim: &mut Simulation,
    node: NodeId,
    main: impl Fn(Runtime) -> Fut + 'static,
) -> Option<T> {
    let result: Rc<RefCell<Option<T>>> = Rc::default();
    let slot = Rc::clone(&result);
    sim.start(node, 1, move |rt, _mesh: Mesh<()>| {
        let (slot, main) = (Rc::clone(&slot), main(rt));
        async move {
            let value = main.await;
            *slot.borrow_mut() = Some(value);
        }
    });
    sim.run_until(|| result.borrow().is_some(), 60 * SECOND);
    result.take()
}

async fn write(rt: &Runtime, file: &File, fill: u8, pos: u64, d: Durability) -> io::Result<()> {
    let bytes = Bytes::from(vec![fill; 512]);
    rt.write_at(file, [bytes].into_iter().collect(), pos, d).await
}

/// Appends numbered sectors and counts those that were acknowledged.
fn append(sim: &mut Simulation, node: NodeId, d: Durability) -> Rc<Cell<u64>> {
    let acked: Rc<Cell<u64>> = Rc::default();
    let count = Rc::clone(&acked);
    sim.start(node, 1, move |rt, _mesh: Mesh<()>| {
        let count = Rc::clone(&count);
        async move {
            let Ok(file) = rt.open(Path::new("/log"), &WRITE).await else { return };
            if rt.sync_dir(Path::new("/")).await.is_err() {
                return;
            }
            for i in 0..50 {
                if write(&rt, &file, i as u8 + 1, i * 512, d).await.is_err() {
                    return;
                }
                count.set(i + 1);
            }
        }
    });
    acked
}

/// How many acknowledged sectors a crash at the `n`-th operation loses.
fn lost(seed: u64, n: u64, d: Durability) -> u64 {
    let (mut sim, node) = new(seed);
    let acked = append(&mut sim, node, d);
    sim.crash_after_ops(node, n);
    sim.run_until_idle(60 * SECOND);
    let acked = acked.get();
    let stored = sim.disk(node).read("/log").unwrap_or_default();
    let kept = (0..acked).filter(|i| {
        let at = *i as usize * 512;
        stored.get(at..at + 512).is_some_and(|s| s == [*i as u8 + 1; 512])
    });
    acked - kept.count() as u64
}

#[test]
fn durable_writes_survive_a_crash_at_every_operation() {
    for n in 1..=54 {
        for seed in 0..10 {
            assert_eq!(lost(seed, n, Durability::Durable), 0, "seed {seed}, operation {n}");
        }
    }
}

#[test]
fn acknowledging_before_the_flush_is_found() {
    let found = (0..50).find(|seed| lost(*seed, 2 + seed % 50, Durability::Buffered) > 0);
    assert!(found.is_some_and(|seed| seed < 10), "{found:?}");
}

#[test]
fn a_lying_disk_is_found() {
    let lost = |seed: u64| {
        let (mut sim, node) = new(seed);
        let acked = append(&mut sim, node, Durability::Durable);
        sim.set_lying_disk(node, true);
        sim.crash_after_ops(node, 40);
        sim.run_until_idle(60 * SECOND);
        let stored = sim.disk(node).read("/log").unwrap_or_default();
        acked.get() > 10 && (stored.len() as u64) < acked.get() * 512
    };
    assert!((0..20).any(lost));
}

/// Two nodes that talk, write, sleep and crash: its trace and when it ended.
fn busy(seed: u64) -> (u64, u64) {
    let mut sim = Simulation::new(seed, SimOptions::default());
    let (server, client) = (sim.add_node("server"), sim.add_node("client"));
    let addr = std::net::SocketAddr::new(sim.address(server), 9092);
    sim.start(server, 2, move |rt, mesh: Mesh<u64>| async move {
        let listener = rt.listen(addr).await.unwrap();
        mesh.send(ShardId(1 - mesh.shard().0), rt.random_u64());
        mesh.recv().await;
        let file = rt.open(Path::new("/log"), &WRITE).await.unwrap();
        loop {
            let (stream, _) = rt.accept(&listener).await.unwrap();
            let (rt2, file) = (rt.clone(), file.clone());
            rt.spawn(async move {
                while let Ok(bytes) = stream.recv().await {
                    if bytes.is_empty() {
                        return;
                    }
                    let _ = write(&rt2, &file, bytes[0], 0, Durability::Buffered).await;
                    let echo = Piece::Bytes(Bytes::copy_from_slice(&bytes));
                    if stream.send(vec![echo]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let echoed: Rc<Cell<usize>> = Rc::default();
    let count = Rc::clone(&echoed);
    sim.start(client, 1, move |rt, _mesh: Mesh<()>| {
        let count = Rc::clone(&count);
        async move {
            loop {
                rt.sleep(Duration::from_micros(rt.random_u64() % 900)).await;
                let Ok(stream) = rt.connect(addr).await else { continue };
                for i in 0..5 {
                    let bytes = Bytes::from(vec![i; 3_000]);
                    if stream.send(vec![Piece::Bytes(bytes)]).await.is_err() {
                        break;
                    }
                    let buf = rt.buffers().get(3_000);
                    let (result, buf) = stream.recv_into(buf, 3_000).await;
                    if result.is_err() {
                        break;
                    }
                    assert!(buf.iter().all(|b| *b == i), "another connection's bytes");
                    count.set(count.get() + 1);
                }
            }
        }
    });
    assert!(sim.run_until(|| echoed.get() >= 10, 60 * SECOND), "no echo before the crash");
    sim.crash(server);
    let before = echoed.get();
    sim.run_for(Duration::from_millis(5));
    sim.restart(server);
    assert!(sim.run_until(|| echoed.get() >= before + 10, 60 * SECOND), "no echo after it");
    (sim.trace_hash(), sim.now().as_nanos())
}

#[test]
fn equal_seeds_give_equal_runs() {
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let first = busy(seed);
        assert_eq!(first, busy(seed), "seed {seed}");
        hashes.insert(first.0);
    }
    assert_eq!(hashes.len(), 20, "different seeds give different runs");
}

#[test]
fn virtual_time_jumps_and_timeouts_end() {
    let (mut sim, node) = new(1);
    let start = sim.now();
    let result = run(&mut sim, node, |rt| async move {
        let ms = rt.wall_clock_ms();
        rt.sleep(30 * SECOND).await;
        let late = rt.timeout(SECOND, std::future::pending::<()>()).await;
        (late.is_err(), rt.wall_clock_ms() - ms)
    });
    let (timed_out, ms) = result.expect("ended");
    assert!(timed_out && (31_000..31_100).contains(&ms), "{ms}");
    assert!(sim.now() - start >= 31 * SECOND);
}

#[test]
fn ready_tasks_run_in_orders_that_differ_by_seed() {
    let order = |seed| {
        let (mut sim, node) = new(seed);
        run(&mut sim, node, |rt| async move {
            let seen: Rc<RefCell<Vec<u32>>> = Rc::default();
            let tasks: Vec<_> = (0..4)
                .map(|i| {
                    let seen = Rc::clone(&seen);
                    rt.spawn(async move { seen.borrow_mut().push(i) })
                })
                .collect();
            for task in tasks {
                task.await;
            }
            seen.take()
        })
        .unwrap()
    };
    let orders: std::collections::BTreeSet<Vec<u32>> = (0..100).map(order).collect();
    assert!(orders.len() >= 20, "{} of 24 orders", orders.len());
}

#[test]
fn faults_come_as_errors_of_the_operating_system() {
    let (mut sim, node) = new(1);
    sim.set_disk_faults(node, DiskFaults { write_error: 1.0, ..DiskFaults::default() });
    let kind = run(&mut sim, node, |rt| async move {
        let file = rt.open(Path::new("/f"), &WRITE).await.unwrap();
        write(&rt, &file, 1, 0, Durability::Durable).await.unwrap_err().raw_os_error()
    });
    assert_eq!(kind.flatten(), Some(5), "EIO");
    sim.set_disk_faults(node, DiskFaults::default());
    sim.disk(node).set_capacity_bytes(4096);
    let kind = run(&mut sim, node, |rt| async move {
        let file = rt.open(Path::new("/g"), &WRITE).await.unwrap();
        rt.allocate(&file, 0, 1 << 20).await.unwrap_err().kind()
    });
    assert_eq!(kind, Some(io::ErrorKind::StorageFull));
}

#[test]
#[should_panic(expected = "overlapping direct writes")]
fn overlapping_direct_writes_are_caught() {
    let (mut sim, node) = new(1);
    run(&mut sim, node, |rt| async move {
        let options = OpenOptions { direct: true, ..WRITE };
        let file = rt.open(Path::new("/f"), &options).await.unwrap();
        let (rt2, file2) = (rt.clone(), file.clone());
        let other = rt.spawn(async move { write(&rt2, &file2, 1, 0, Durability::Buffered).await });
        let _ = write(&rt, &file, 2, 0, Durability::Buffered).await;
        let _ = other.await;
    });
}

#[test]
fn a_killed_process_keeps_its_files_and_frees_its_lock() {
    let (mut sim, node) = new(3);
    let program = |rt: Runtime| async move {
        let lock = rt.lock_file(Path::new("/.lock")).await;
        let held = rt.lock_file(Path::new("/.lock")).await;
        let file = rt.open(Path::new("/f"), &WRITE).await.unwrap();
        write(&rt, &file, 7, 0, Durability::Buffered).await.unwrap();
        (lock.is_ok(), held.is_err())
    };
    assert_eq!(run(&mut sim, node, program), Some((true, true)));
    sim.kill(node);
    assert_eq!(sim.disk(node).read("/f").unwrap(), [7; 512]);
    assert!(sim.disk(node).is_dirty());
    assert_eq!(run(&mut sim, node, program), Some((true, true)));
}

#[test]
fn a_disk_moves_to_the_real_file_system_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut sim, a) = new(4);
    let b = sim.add_node("b");
    sim.disk(a).write("/t-0/00.log", &[1, 2, 3]).unwrap();
    sim.disk(a).write("/meta", b"x").unwrap();
    sim.disk(a).export(dir.path()).unwrap();
    assert_eq!(std::fs::read(dir.path().join("t-0/00.log")).unwrap(), [1, 2, 3]);
    sim.disk(b).import(dir.path(), "/data").unwrap();
    assert_eq!(sim.disk(b).list("/data").unwrap(), ["meta", "t-0/"]);
    sim.disk(b).corrupt("/data/meta", 0, 1).unwrap();
    sim.crash(b);
    assert_eq!(sim.disk(b).read("/data/meta").unwrap(), b"y");
    assert_eq!(sim.disk(b).files("/").unwrap().len(), 2);
}
