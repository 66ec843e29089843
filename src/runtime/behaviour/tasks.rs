//! Tasks and time.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::on_each_backend;
use crate::sync::{Notify, oneshot};
use crate::{Elapsed, Runtime};

on_each_backend!(
    timers_fire_in_order,
    timeouts,
    tasks_take_turns,
    results_and_cancelling,
    wakes_from_other_threads,
    an_idle_shard_uses_no_cpu,
    a_busy_shard_still_sees_timers,
);

async fn timers_fire_in_order(rt: Runtime) {
    let order = Rc::new(RefCell::new(Vec::new()));
    let tasks: Vec<_> = [30u64, 10, 20, 0, 10]
        .into_iter()
        .enumerate()
        .map(|(i, ms)| {
            let (sleep, order) = (rt.sleep(Duration::from_millis(ms)), Rc::clone(&order));
            rt.spawn(async move {
                sleep.await;
                order.borrow_mut().push((ms, i));
            })
        })
        .collect();
    let start = rt.now();
    for task in tasks {
        task.await;
    }
    let took = rt.now() - start;
    assert_eq!(*order.borrow(), [(0, 3), (10, 1), (10, 4), (20, 2), (30, 0)]);
    assert!(took >= Duration::from_millis(29) && took < Duration::from_secs(2), "{took:?}");
}

async fn timeouts(rt: Runtime) {
    assert_eq!(rt.timeout(Duration::ZERO, async { 5 }).await, Ok(5), "ready is ready");
    let never = std::future::pending::<()>();
    assert_eq!(rt.timeout(Duration::from_millis(3), never).await, Err(Elapsed));
    let late = rt.sleep(Duration::from_secs(100));
    assert_eq!(rt.timeout(Duration::from_millis(3), late).await, Err(Elapsed));
    let early = rt.sleep(Duration::from_millis(1));
    assert_eq!(rt.timeout(Duration::from_secs(100), early).await, Ok(()));
}

async fn tasks_take_turns(rt: Runtime) {
    let log = Rc::new(RefCell::new(Vec::new()));
    let tasks: Vec<_> = (0..3)
        .map(|i| {
            let (log, own) = (Rc::clone(&log), rt.clone());
            rt.spawn(async move {
                for _ in 0..3 {
                    log.borrow_mut().push(i);
                    own.yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await;
    }
    assert_eq!(*log.borrow(), [0, 1, 2, 0, 1, 2, 0, 1, 2]);
}

async fn results_and_cancelling(rt: Runtime) {
    assert_eq!(rt.spawn(async { 7 }).await, 7);
    let (sender, receiver) = oneshot::channel::<()>();
    let held = rt.spawn(async move {
        std::future::pending::<()>().await;
        drop(sender);
    });
    rt.yield_now().await;
    held.cancel();
    assert_eq!(receiver.await, Err(oneshot::Canceled), "what it held is dropped");
    let done = Rc::new(Notify::new());
    let notify = Rc::clone(&done);
    drop(rt.spawn(async move { notify.notify_one() }));
    done.notified().await;
    assert_ne!(rt.random_u64(), rt.random_u64());
}

async fn wakes_from_other_threads(_rt: Runtime) {
    for round in 0..200u64 {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            if round % 3 > 0 {
                std::thread::sleep(Duration::from_micros(round));
            }
            sender.send(round).unwrap();
        });
        assert_eq!(receiver.await, Ok(round));
        thread.join().unwrap();
    }
}

fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos = text.split(' ').next().unwrap().parse().unwrap();
    Duration::from_nanos(nanos)
}

async fn an_idle_shard_uses_no_cpu(rt: Runtime) {
    let before = cpu_time();
    rt.sleep(Duration::from_secs(1)).await;
    let used = cpu_time() - before;
    assert!(used < Duration::from_millis(5), "{used:?}");
}

async fn a_busy_shard_still_sees_timers(rt: Runtime) {
    let own = rt.clone();
    let busy = rt.spawn(async move {
        loop {
            own.yield_now().await;
        }
    });
    let start = rt.now();
    rt.sleep(Duration::from_millis(5)).await;
    assert!(rt.now() - start < Duration::from_secs(2));
    busy.cancel();
}
