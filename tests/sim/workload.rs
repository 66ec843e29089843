//! The program that runs on the simulated node: logs with producers, readers and housekeeping.
//!
//! Each start opens what is there, compares it with the model, and goes on. Producers keep what
//! was not acknowledged and send it again after a restart, as Kafka's do.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringlog_config::Flush;
use ringlog_runtime::sim::Prng;
use ringlog_runtime::{JoinHandle, Mesh, Runtime};
use ringlog_storage::{
    AppendError, AppendOrigin, Log, LogDirs, LogEnd, OpenedDirs, Scrub, StorageError,
};

use crate::batches::{self, Sender};
use crate::checkers;
use crate::history::Plan;
use crate::model::{Cut, Shared};
use crate::opening;

/// How long a stop waits for what is in work.
const STOP_TIME_MAX: Duration = Duration::from_secs(20);

/// The scrub's, in bytes a second: a segment takes some milliseconds.
const SCRUB_RATE: u64 = 50_000_000;
/// A round of the scrub takes a minute: most of what it checks was sealed just before.
const SCRUB_INTERVAL_MS: i64 = 5;

/// One log, and what its tasks work with.
#[derive(Clone)]
pub(crate) struct Bench {
    pub rt: Runtime,
    pub log: Rc<Log>,
    pub index: usize,
    pub shared: Shared,
    pub plan: Rc<Plan>,
    pub prng: Rc<RefCell<Prng>>,
    pub truncation: Rc<Truncation>,
}

/// What the tasks of a log know of its truncations.
#[derive(Default)]
pub(crate) struct Truncation {
    /// One is under way: nothing may be appended.
    pub under_way: Cell<bool>,
    /// How many there were.
    pub count: Cell<u64>,
}

impl Bench {
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.prng.borrow_mut().below(bound)
    }

    /// Runs something on the model of this log and keeps what it finds.
    pub(crate) fn model<T>(
        &self,
        call: impl FnOnce(&mut crate::model::LogModel) -> Result<T, String>,
    ) -> Option<T> {
        let mut logs = self.shared.logs.borrow_mut();
        let result = call(&mut logs[self.index]);
        let name = self.log.topic_partition();
        let incarnation = self.shared.incarnation.get();
        self.shared.check(result.map_err(|why| format!("{name}, start {incarnation}: {why}")))
    }

    /// Takes the log at its word.
    pub(crate) fn note_promises(&self) {
        let (durable, start) = (self.log.durable_offset(), self.log.log_start_offset());
        self.model(|model| model.promised(durable));
        if self.is_sync() {
            let committed = self.log.committed_offset();
            self.model(|model| model.promised(committed));
        }
        self.model(|model| model.started_at(start));
    }

    /// Whether acknowledgements, and what readers are given, are promises (`flush=sync`).
    pub(crate) fn is_sync(&self) -> bool {
        let config = self.log.config();
        config.flush == Flush::Sync || config.flush_messages <= 1
    }

    /// Where the batch that holds `offset` ends, by the model.
    pub(crate) fn batch_end(&self, offset: i64) -> i64 {
        let logs = self.shared.logs.borrow();
        let model = &logs[self.index];
        model.entries.get(model.position(offset)).map_or(i64::MAX, |entry| entry.end())
    }

    /// An error that only a failing disk explains.
    pub(crate) fn failed(&self, what: &str, error: &dyn std::fmt::Display) {
        let stopping = self.shared.stop.get();
        if !self.shared.errors_expected.get() && !stopping && !self.shared.rotted.get() {
            let why = format!("{what} failed on a sound disk: {error}");
            self.model(|_| Err::<(), String>(why));
        }
    }

    fn is_ending(&self) -> bool {
        self.shared.stop.get() || self.shared.is_over()
    }

    async fn pause(&self, micros: u64) {
        let time = self.below(micros);
        self.rt.sleep(Duration::from_micros(time)).await;
    }
}

/// The program of one incarnation.
pub(crate) async fn run(rt: Runtime, _mesh: Mesh<()>, shared: Shared, plan: Rc<Plan>) {
    let Some((benches, dirs)) = opening::open(&rt, &shared, &plan).await else {
        shared.stopped.set(true);
        return;
    };
    shared.serving.set(true);
    let mut tasks: Vec<JoinHandle<()>> = Vec::new();
    for bench in &benches {
        let epoch = shared.incarnation.get();
        bench.log.begin_epoch(epoch);
        // With damage no offset can be foretold: only reads go on.
        let producers = if shared.rotted.get() { 0 } else { plan.producers };
        for producer in 0..producers {
            tasks.push(rt.spawn(produce(bench.clone(), producer, epoch)));
        }
        tasks.push(rt.spawn(checkers::read_at_random(bench.clone())));
        tasks.push(rt.spawn(keep_house(bench.clone())));
        if plan.scrub {
            tasks.push(rt.spawn(scrub(bench.clone())));
        }
    }
    tasks.push(rt.spawn(checkpoint(benches.clone(), dirs.dirs.clone())));
    wait_for_tasks(&rt, &shared, tasks).await;
    if shared.violation().is_none() {
        stop(&benches, &dirs).await;
    }
    shared.stopped.set(true);
}

/// Waits until all have ended. When the program stops, who still waits for the disk, which may be
/// full, is left behind.
async fn wait_for_tasks(rt: &Runtime, shared: &Shared, tasks: Vec<JoinHandle<()>>) {
    while !shared.stop.get() && !shared.is_over() {
        rt.sleep(Duration::from_millis(1)).await;
    }
    let all = async {
        for task in tasks {
            task.await;
        }
    };
    let _ = rt.timeout(STOP_TIME_MAX, all).await;
}

/// Sends batches until the end, keeping a few unacknowledged.
async fn produce(bench: Bench, producer: usize, epoch: i32) {
    let mut sent = Sent::default();
    while !bench.is_ending() {
        bench.log.wait_writable().await;
        if bench.truncation.under_way.get() {
            bench.pause(1_000).await;
            continue;
        }
        sent.look_for_cuts(&bench);
        let pending = {
            let logs = bench.shared.logs.borrow();
            logs[bench.index].producers[producer].unacknowledged.len()
        };
        if sent.ends.len() == pending {
            make_next(&bench, producer);
        }
        match append(&bench, producer, sent.ends.len(), epoch) {
            Ok(end) => sent.ends.push(end),
            Err(Refused::Full) => bench.pause(20_000).await,
            Err(Refused::Offline) => return,
        }
        let window = 1 + bench.below(3) as usize;
        if sent.ends.len() >= window
            && wait_acknowledged(&bench, producer, &mut sent).await.is_err()
        {
            return;
        }
        bench.pause(bench.plan.pause_micros).await;
    }
    let _ = wait_acknowledged(&bench, producer, &mut sent).await;
}

/// What a producer has appended and not seen acknowledged.
#[derive(Default)]
struct Sent {
    /// Where its oldest unacknowledged batches end.
    ends: Vec<LogEnd>,
    /// How often the log had been truncated.
    cuts: u64,
}

impl Sent {
    /// After a truncation all of it is sent again: perhaps it is gone. What is not is known to be
    /// a duplicate, or stored twice.
    fn look_for_cuts(&mut self, bench: &Bench) {
        if self.cuts != bench.truncation.count.get() {
            *self = Sent { ends: Vec::new(), cuts: bench.truncation.count.get() };
        }
    }
}

fn make_next(bench: &Bench, producer: usize) {
    let now_ms = bench.rt.wall_clock_ms();
    let nested_at = bench.plan.nested_batches.then(|| bench.log.log_end_offset());
    let mut logs = bench.shared.logs.borrow_mut();
    let producer = &mut logs[bench.index].producers[producer];
    let sender = Sender {
        producer_id: producer.id,
        epoch: producer.epoch,
        base_sequence: producer.next_sequence,
    };
    let batch = batches::make(sender, now_ms, nested_at, &mut bench.prng.borrow_mut());
    if producer.id >= 0 {
        producer.next_sequence += batch.records;
    }
    producer.unacknowledged.push_back(batch);
}

enum Refused {
    Full,
    Offline,
}

/// Appends the producer's `nth` unacknowledged batch. Returns where it ends.
fn append(bench: &Bench, producer: usize, nth: usize, epoch: i32) -> Result<LogEnd, Refused> {
    let batch = {
        let logs = bench.shared.logs.borrow();
        logs[bench.index].producers[producer].unacknowledged[nth].clone()
    };
    let now_ms = bench.rt.wall_clock_ms();
    let origin = AppendOrigin::Client;
    match bench.log.append(&batch.bytes, &batch.summary, origin, epoch, now_ms) {
        Ok(appended) => {
            bench.model(|model| model.appended(&appended, &batch, epoch));
            Ok(appended.end)
        }
        Err(AppendError::NoSpace) => Err(Refused::Full),
        Err(AppendError::Storage(error)) => {
            bench.failed("an append", &error);
            Err(Refused::Offline)
        }
        Err(error) => {
            if !bench.shared.rotted.get() {
                bench.model(|_| Err::<(), _>(format!("an append was refused: {error}")));
            }
            Err(Refused::Offline)
        }
    }
}

/// Waits until all that was sent is acknowledged and forgets it.
async fn wait_acknowledged(bench: &Bench, producer: usize, sent: &mut Sent) -> Result<(), ()> {
    sent.look_for_cuts(bench);
    let Some(&end) = sent.ends.last() else { return Ok(()) };
    let was_sync = bench.is_sync();
    let cuts = bench.truncation.count.get();
    let waited = bench.log.wait_committed(end).await;
    let is_cut = bench.truncation.count.get() != cuts;
    match waited {
        Err(StorageError::Truncated { .. }) if is_cut || bench.truncation.under_way.get() => {
            return Ok(());
        }
        Err(error) => {
            bench.failed("a commit", &error);
            return Err(());
        }
        Ok(()) if is_cut => {
            bench.model(|model| match end.offset() <= model.last_cut {
                true => Ok(()),
                false => Err(format!("acknowledged up to {end:?}, which was cut off")),
            });
            return Ok(());
        }
        Ok(()) => {}
    }
    if was_sync && bench.is_sync() {
        bench.model(|model| model.promised(end.offset()));
    }
    bench.note_promises();
    let count = sent.ends.len();
    bench.shared.acknowledged.set(bench.shared.acknowledged.get() + count as u64);
    let mut logs = bench.shared.logs.borrow_mut();
    logs[bench.index].producers[producer].unacknowledged.drain(..count);
    sent.ends.clear();
    Ok(())
}

/// What the broker's timers and administrators do to a log.
async fn keep_house(bench: Bench) {
    while !bench.is_ending() {
        bench.pause(bench.plan.housekeeping_micros).await;
        let now_ms = bench.rt.wall_clock_ms();
        let log = &bench.log;
        let result = match bench.below(8) {
            0 => {
                let before = some_offset(&bench);
                ask_start(&bench, before);
                log.delete_records(before).await.map(|_| ())
            }
            1 | 2 => {
                ask_retention(&bench, now_ms);
                let applied = log.apply_retention(now_ms).await.map(|_| ());
                bench.model(|model| {
                    model.retention_limit_ms = None;
                    model.retains_by_size = false;
                    Ok(())
                });
                applied
            }
            3 => {
                log.roll_if_old(now_ms);
                Ok(())
            }
            4 => match log.wait_durable(log.end()).await {
                Err(StorageError::Truncated { .. }) if bench.plan.truncate => Ok(()),
                waited => waited,
            },
            5 if bench.plan.change_flush => {
                let mut config = (*log.config()).clone();
                config.flush = if bench.below(2) == 0 { Flush::Sync } else { Flush::Async };
                log.update_config(Arc::new(config));
                Ok(())
            }
            6 if bench.plan.truncate && !bench.shared.rotted.get() => truncate(&bench).await,
            _ => Ok(()),
        };
        if let Err(error) = result {
            bench.failed("housekeeping", &error);
            return;
        }
        bench.note_promises();
    }
}

/// Checks what is sealed, again and again.
async fn scrub(bench: Bench) {
    let dir = bench.log.dir().clone();
    dir.scrub_rate().set_bytes_per_second(SCRUB_RATE);
    let scrub = Scrub::new(bench.log.storage_shard(), &dir, SCRUB_INTERVAL_MS);
    while !bench.is_ending() {
        if !scrub.step(|| vec![bench.log.clone()]).await {
            bench.pause(bench.plan.housekeeping_micros).await;
        }
    }
}

/// Cuts off the end of the log, or all of it. A full disk may refuse that.
async fn truncate(bench: &Bench) -> Result<(), StorageError> {
    let (start, end) = (bench.log.log_start_offset(), bench.log.log_end_offset());
    let range = (end - start) as u64;
    bench.truncation.under_way.set(true);
    let result = if bench.below(4) > 0 {
        let reach = if bench.below(4) == 0 { range } else { range / 4 };
        let offset = end - bench.below(reach + 1) as i64;
        bench.model(|model| model.cut_begins(Cut::At(offset)));
        match bench.log.truncate_to(offset).await {
            Ok(end) => bench.model(|model| model.was_cut(end)).map_or(Ok(()), Ok),
            Err(error) => Err(error),
        }
    } else {
        let offset = start + bench.below(2 * range + 2) as i64;
        bench.model(|model| model.cut_begins(Cut::All(offset)));
        let restarted = bench.log.truncate_fully_and_start_at(offset).await;
        restarted.map(|()| {
            bench.model(|model| model.was_restarted(offset));
        })
    };
    if bench.log.failure().is_none() {
        // Otherwise nobody knows what a start will find.
        bench.model(|model| {
            model.cutting = None;
            Ok(())
        });
    }
    bench.truncation.count.set(bench.truncation.count.get() + 1);
    bench.truncation.under_way.set(false);
    match result {
        Err(error) if error.is_disk_full() => Ok(()),
        result => result,
    }
}

/// The start may move up to `offset` from now on, whether or not the call that does it returns.
fn ask_start(bench: &Bench, offset: i64) {
    bench.model(|model| {
        model.start_asked = model.start_asked.max(offset);
        Ok(())
    });
}

/// The start may move up to where retention allows.
fn ask_retention(bench: &Bench, now_ms: i64) {
    let config = bench.log.config();
    if config.retention_bytes >= 0 {
        ask_start(bench, bench.log.log_end_offset());
        bench.model(|model| {
            model.retains_by_size = true;
            Ok(())
        });
    }
    if config.retention_ms >= 0 {
        let limit_ms = now_ms - config.retention_ms;
        let expired = bench.model(|model| {
            model.retention_limit_ms = Some(limit_ms);
            Ok(model.expired_end(limit_ms))
        });
        ask_start(bench, expired.unwrap_or(0));
    }
}

/// An offset that may be deleted up to: near the start, mostly.
fn some_offset(bench: &Bench) -> i64 {
    let (start, end) = (bench.log.log_start_offset(), bench.log.high_watermark());
    let range = (end - start).max(0) as u64;
    let reach = if bench.below(4) == 0 { range } else { range / 3 };
    start + bench.below(reach + 1) as i64
}

/// Writes the checkpoint files now and then, and looks at the free space.
async fn checkpoint(benches: Vec<Bench>, dirs: LogDirs) {
    let Some(first) = benches.first() else { return };
    while !first.is_ending() {
        first.pause(first.plan.checkpoint_micros).await;
        dirs.check_space(&first.rt).await;
        first.shared.checkpointing.set(true);
        // A full disk passes; a failed one is offline and is not written to again.
        let _ = write_checkpoints(&benches, &dirs).await;
        first.shared.checkpointing.set(false);
    }
}

pub(crate) async fn write_checkpoints(
    benches: &[Bench],
    dirs: &LogDirs,
) -> Result<(), StorageError> {
    let Some(first) = benches.first() else { return Ok(()) };
    let cuts = |bench: &Bench| (bench.truncation.under_way.get(), bench.truncation.count.get());
    let before: Vec<_> = benches.iter().map(cuts).collect();
    let checkpoints: Vec<_> = benches.iter().map(|bench| bench.log.checkpoint()).collect();
    match dirs.write_checkpoints(&first.rt, &checkpoints).await {
        Ok(()) => {
            for ((bench, checkpoint), before) in benches.iter().zip(&checkpoints).zip(before) {
                // What was cut off meanwhile goes before what the checkpoint says.
                let is_older = before.0 || before != cuts(bench);
                if bench.log.dir().is_offline() || is_older {
                    continue;
                }
                let (start, end) = (checkpoint.log_start_offset, checkpoint.recovery_point);
                bench.model(|model| {
                    model.checkpointed_start = model.checkpointed_start.max(start);
                    model.checkpointed_end = model.checkpointed_end.max(end);
                    Ok(())
                });
            }
            Ok(())
        }
        Err(error) => {
            first.failed("a checkpoint", &error);
            Err(error)
        }
    }
}

/// A clean stop: closes the logs, writes the checkpoints and leaves the marker.
async fn stop(benches: &[Bench], dirs: &OpenedDirs) {
    let failed = |what: &str, error: &StorageError| {
        let Some(first) = benches.first() else { return };
        if !first.shared.errors_expected.get() && !first.shared.rotted.get() {
            first.model(|_| Err::<(), _>(format!("{what} failed on a sound disk: {error}")));
        }
    };
    for bench in benches {
        if let Err(error) = bench.log.close().await {
            return failed("closing", &error);
        }
        let end = bench.log.log_end_offset();
        bench.model(|model| model.promised(end));
    }
    if write_checkpoints(benches, &dirs.dirs).await.is_err() {
        return;
    }
    let Some(first) = benches.first() else { return };
    match dirs.dirs.mark_clean_shutdown(&first.rt, |_| true).await {
        Ok(()) => {
            for model in first.shared.logs.borrow_mut().iter_mut() {
                model.stopped_clean = true;
            }
        }
        Err(error) => failed("the marker", &error),
    }
}
