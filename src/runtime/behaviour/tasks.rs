//! Tasks and time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::{CpuUse, on_each_backend};
use crate::sync::{Notify, oneshot};
use crate::{Elapsed, Runtime};

on_each_backend!(
    everywhere:
        timeouts,
        results_and_cancelling,
        a_busy_shard_still_sees_timers;
    in_order:
        timers_fire_in_order,
        tasks_take_turns;
    real:
        wakes_from_other_threads,
        who_yields_lets_in_what_has_come,
        an_idle_shard_uses_no_cpu;
);

async fn timers_fire_in_order(rt: Runtime) {
    loop {
        let order = Rc::new(RefCell::new(Vec::new()));
        let first_due = rt.now() + Duration::from_millis(10);
        let sleeping = [30u64, 10, 20, 0, 10].into_iter().enumerate().map(|(i, ms)| {
            let sleep = rt.sleep_until(first_due + Duration::from_millis(ms));
            let order = Rc::clone(&order);
            rt.spawn(async move {
                sleep.await;
                order.borrow_mut().push((ms, i));
            })
        });
        let sleeping: Vec<_> = sleeping.collect();
        // Now each timer is set; one that was set after it was due has no place in the order.
        rt.yield_now().await;
        let all_are_set = rt.now() < first_due;
        for task in sleeping {
            task.await;
        }
        assert!(rt.now() >= first_due + Duration::from_millis(30), "none fires early");
        if all_are_set {
            assert_eq!(*order.borrow(), [(0, 3), (10, 1), (10, 4), (20, 2), (30, 0)]);
            return;
        }
    }
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

/// Long work in steps held its shard for 256 of them before it was looked for what had come.
async fn who_yields_lets_in_what_has_come(rt: Runtime) {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let has_come = Rc::new(Cell::new(false));
    let comes = Rc::clone(&has_come);
    let waiting = rt.spawn(async move {
        receiver.await.unwrap();
        comes.set(true);
    });
    rt.yield_now().await;
    std::thread::spawn(move || sender.send(()).unwrap()).join().unwrap();
    let mut steps = rt.steps(1);
    let mut taken = 0;
    while !has_come.get() {
        taken += 1;
        steps.step().await;
    }
    assert!(taken <= 2, "{taken} steps were taken before what had come was looked for");
    waiting.await;
}

async fn an_idle_shard_uses_no_cpu(rt: Runtime) {
    let before = CpuUse::of_this_thread();
    rt.sleep(Duration::from_secs(1)).await;
    before.assert_idle_since();
}

/// How often the busy task may have its turn between the time of a timer and the timer's task.
const TURNS_LATE_MAX: u32 = 10_000;

async fn a_busy_shard_still_sees_timers(rt: Runtime) {
    let due = rt.now() + Duration::from_millis(5);
    let own = rt.clone();
    let turns_late = Rc::new(Cell::new(0));
    let counted = Rc::clone(&turns_late);
    let busy = rt.spawn(async move {
        loop {
            if own.now() > due {
                counted.set(counted.get() + 1);
                assert!(counted.get() < TURNS_LATE_MAX, "the timer is not seen");
            }
            own.yield_now().await;
        }
    });
    rt.sleep_until(due).await;
    busy.cancel();
}
