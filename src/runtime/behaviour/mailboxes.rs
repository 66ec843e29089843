//! Messages between shards, and from other threads.

use std::sync::mpsc;
use std::time::Duration;

use super::sockets::{pair, piece, recv_exact};
use super::{CpuUse, On, PATIENCE, run_shards};
use crate::{HandedOver, IoChoice, Launch, Mesh, ShardId, launch};

fn ping_pong(on: On) {
    const MESSAGES: u64 = 100_000;
    run_shards(on, 2, |_rt, mesh: Mesh<u64>| async move {
        assert_eq!(mesh.shards(), 2);
        let other = ShardId(1 - mesh.shard().0);
        if mesh.shard() == ShardId(0) {
            mesh.send(other, 0);
        }
        // One shard sends even numbers, the other odd ones.
        for want in (0..MESSAGES).filter(|n| n % 2 == u64::from(other.0)) {
            assert_eq!(mesh.recv().await, want);
            if want + 1 < MESSAGES {
                mesh.send(other, want + 1);
            }
        }
    });
}

fn floods_arrive_in_order(on: On) {
    const MESSAGES: u32 = 100_000;
    run_shards(on, 3, |rt, mesh: Mesh<(u16, u32)>| async move {
        let me = mesh.shard().0;
        let sending = mesh.clone();
        let sender = rt.clone().spawn(async move {
            for n in 0..MESSAGES {
                for to in 0..3 {
                    sending.send(ShardId(to), (me, n));
                }
                if n % 5_000 == 0 {
                    rt.yield_now().await;
                }
            }
        });
        let mut next = [0; 3];
        for _ in 0..3 * MESSAGES {
            let (from, n) = mesh.recv().await;
            assert_eq!(next[usize::from(from)], n, "from {from} to {me}");
            next[usize::from(from)] += 1;
        }
        sender.await;
    });
}

/// A connection that shard 0 accepted goes on on shard 1, in both directions and to its end.
fn connections_are_handed_over(on: On) {
    run_shards(on, 2, |rt, mesh: Mesh<Option<HandedOver>>| async move {
        if mesh.shard() == ShardId(1) {
            let there = rt.take_over(mesh.recv().await.unwrap()).unwrap();
            assert_eq!(recv_exact(&there, 5).await, b"later");
            there.send(piece(b"from the other")).await.unwrap();
            assert!(there.recv().await.unwrap().is_empty());
            mesh.send(ShardId(0), None);
            return;
        }
        let (here, there) = pair(&rt).await;
        here.send(piece(b"now")).await.unwrap();
        assert_eq!(recv_exact(&there, 3).await, b"now");
        // What is on its way and not received yet is for the other shard.
        here.send(piece(b"later")).await.unwrap();
        mesh.send(ShardId(1), Some(there.hand_over().unwrap()));
        drop(there);
        assert_eq!(recv_exact(&here, 14).await, b"from the other");
        drop(here);
        assert!(mesh.recv().await.is_none());
        // One that nobody takes over is closed.
        let (here, there) = pair(&rt).await;
        drop((there.hand_over().unwrap(), there));
        assert!(here.recv().await.unwrap().is_empty());
    });
}

fn other_threads_post(io: IoChoice) {
    let (report, reports) = mpsc::channel();
    let how = Launch { shards: 2, io, pin: false, name: "post".into() };
    let node = launch(how, move |_rt, mesh: Mesh<Option<u32>>| {
        let report = report.clone();
        async move {
            while let Some(n) = mesh.recv().await {
                report.send((mesh.shard().0, n)).unwrap();
            }
        }
    })
    .unwrap();
    let poster = node.poster();
    for n in 0..1_000 {
        poster.post(ShardId((n % 2) as u16), Some(n));
        if n % 100 == 0 {
            // The shards are asleep by then.
            std::thread::sleep(Duration::from_millis(1));
            assert!(reports.recv_timeout(PATIENCE).is_ok());
        }
    }
    (0..2).for_each(|shard| poster.post(ShardId(shard), None));
    node.join().unwrap();
    assert_eq!(reports.into_iter().count(), 990);
    poster.post(ShardId(0), Some(1));
}

fn waiting_is_free(io: IoChoice) {
    let how = Launch { shards: 2, io, pin: true, name: "idle".into() };
    let node = launch(how, move |_rt, mesh: Mesh<()>| async move {
        let before = CpuUse::of_this_thread();
        mesh.recv().await;
        before.assert_idle_since();
    })
    .unwrap();
    std::thread::sleep(Duration::from_secs(1));
    (0..2).for_each(|shard| node.poster().post(ShardId(shard), ()));
    node.join().unwrap();
}

mod uring {
    use crate::IoChoice;
    use crate::behaviour::On;

    #[test]
    fn ping_pong() {
        super::ping_pong(On::Uring);
    }

    #[test]
    fn floods_arrive_in_order() {
        super::floods_arrive_in_order(On::Uring);
    }

    #[test]
    fn other_threads_post() {
        super::other_threads_post(IoChoice::Uring);
    }

    #[test]
    fn connections_are_handed_over() {
        super::connections_are_handed_over(On::Uring);
    }

    #[test]
    fn waiting_is_free() {
        super::waiting_is_free(IoChoice::Uring);
    }
}

mod fallback {
    use crate::IoChoice;
    use crate::behaviour::On;

    #[test]
    fn ping_pong() {
        super::ping_pong(On::Fallback);
    }

    #[test]
    fn floods_arrive_in_order() {
        super::floods_arrive_in_order(On::Fallback);
    }

    #[test]
    fn other_threads_post() {
        super::other_threads_post(IoChoice::Fallback);
    }

    #[test]
    fn connections_are_handed_over() {
        super::connections_are_handed_over(On::Fallback);
    }

    #[test]
    fn waiting_is_free() {
        super::waiting_is_free(IoChoice::Fallback);
    }
}

/// Where connections do not change shards, and no other thread posts.
mod simulation {
    use crate::behaviour::{On, SEEDS};

    fn worlds() -> impl Iterator<Item = On> {
        (0..SEEDS).map(|seed| On::Simulation { seed, in_order: false })
    }

    #[test]
    fn ping_pong() {
        worlds().for_each(super::ping_pong);
    }

    #[test]
    fn floods_arrive_in_order() {
        worlds().for_each(super::floods_arrive_in_order);
    }
}
