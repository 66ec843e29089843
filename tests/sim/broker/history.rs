//! One history of the node: clients on one machine, the broker on another, and faults between
//! and under them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ringlog_broker::SimulatedNode;
use ringlog_config::{BrokerConfig, Flush, Listener};
use ringlog_metrics::{BuildInfo, NodeMetrics};
use ringlog_runtime::sim::{
    DiskModel, NetworkModel, NodeId, PlantedBug, Prng, SimOptions, Simulation,
};
use ringlog_runtime::{Mesh, Runtime};
use ringlog_types::BrokerId;

use super::administrator;
use super::consumer::Consumer;
use super::ledger::{Ledger, Topic};
use super::producer::Producer;
use super::wire::Bench;

/// Coming up, stopping, and what clients have left to do take less than this.
const PATIENCE: Duration = Duration::from_secs(300);
const PORT: u16 = 9092;
const BATCHES_MAX: u64 = 60;

/// What happens to the broker or to the way there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Every connection breaks.
    Cut,
    /// For so long nothing passes.
    Partition { millis: u64 },
    /// The power fails.
    Crash,
    /// The power fails at this disk operation from now.
    CrashAtOperation(u64),
    /// So too, after the next start begins.
    CrashAtStart(u64),
    /// The process is killed.
    Kill,
    /// It stops orderly.
    Stop,
}

/// Everything about a history but the order of events, which the seed decides.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub shards: usize,
    pub partitions: usize,
    pub producers: usize,
    pub consumers: usize,
    pub pause_micros: u64,
    pub segment_bytes: i32,
    pub directories: usize,
    pub slow_chance: f64,
    pub durable_write_flushes_file: bool,
    pub lying_disk: bool,
    pub planted: Option<PlantedBug>,
    /// Each with how many milliseconds pass before it.
    pub faults: Vec<(u64, Fault)>,
}

impl Plan {
    pub(super) fn from_seed(seed: u64) -> Plan {
        let mut prng = Prng::new(seed ^ 0xb40c_e400);
        let p = &mut prng;
        let faults = 1 + p.index(5);
        Plan {
            shards: 1 + p.index(3),
            partitions: 1 + p.index(3),
            producers: 1 + p.index(3),
            consumers: 1 + p.index(2),
            pause_micros: *p.pick(&[1, 500, 4_000]),
            segment_bytes: *p.pick(&[40_000, 80_000, 1 << 20]),
            directories: 1 + p.index(2),
            slow_chance: *p.pick(&[0.0, 0.01, 0.1]),
            durable_write_flushes_file: p.chance(0.3),
            lying_disk: false,
            planted: None,
            faults: (0..faults).map(|_| (p.below(60), draw_fault(p))).collect(),
        }
    }

    fn sim_options(&self) -> SimOptions {
        let disk = DiskModel {
            durable_write_flushes_file: self.durable_write_flushes_file,
            lying: self.lying_disk,
            ..DiskModel::default()
        };
        let network = NetworkModel { slow_chance: self.slow_chance, ..NetworkModel::default() };
        SimOptions { disk, network, ..SimOptions::default() }
    }

    fn broker_config(&self, host: String) -> BrokerConfig {
        let mut config = BrokerConfig {
            node_id: BrokerId(1),
            shards: self.shards,
            log_dirs: (0..self.directories).map(|i| format!("/var/disk{i}").into()).collect(),
            disk_reserve_bytes: Some(1 << 20),
            // Small enough that reads go to the disk as well.
            tail_cache_bytes: 64 << 10,
            metadata_log_max_record_bytes_between_snapshots: 1_000,
            ..BrokerConfig::default()
        };
        let protocol = config.listeners[0].clone();
        config.listeners = vec![Listener { host, port: PORT, ..protocol }];
        config.advertised_listeners = config.listeners.clone();
        config.topic_defaults.flush = Flush::Sync;
        config.topic_defaults.segment_bytes = self.segment_bytes;
        config
    }
}

fn draw_fault(prng: &mut Prng) -> Fault {
    match prng.below(12) {
        0..3 => Fault::Cut,
        3 => Fault::Partition { millis: 1 + prng.below(2_000) },
        4 | 5 => Fault::Crash,
        6 | 7 => Fault::CrashAtOperation(1 + prng.below(200)),
        8 => Fault::CrashAtStart(1 + prng.below(60)),
        9 | 10 => Fault::Kill,
        _ => Fault::Stop,
    }
}

/// What a history came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub trace_hash: u64,
    pub starts: u32,
    pub acknowledged: u64,
    pub reads: u64,
    pub retries: u64,
    pub topics_deleted: u64,
}

struct History {
    sim: Simulation,
    broker: NodeId,
    node: SimulatedNode,
    clients: NodeId,
    ledger: Rc<Ledger>,
    starts: u32,
}

/// Runs a history to its end or to the first broken promise.
pub(super) fn run(seed: u64, plan: &Plan) -> Result<Summary, String> {
    let mut sim = Simulation::new(seed, plan.sim_options());
    let broker = sim.add_node("broker");
    let clients = sim.add_node("clients");
    let ledger = Rc::new(Ledger::default());
    let node = SimulatedNode::default();
    let address = sim.address(broker);
    if let Some(bug) = plan.planted {
        sim.plant(broker, bug);
    }
    let metrics = || NodeMetrics::new(BuildInfo { version: "sim" });
    node.boot(&mut sim, broker, plan.broker_config(address.to_string()), metrics)
        .map_err(|error| error.to_string())?;
    let kept: Rc<RefCell<Option<Rc<Topic>>>> = Rc::default();
    let shared_plan = Rc::new(plan.clone());
    let mut history = History { sim, broker, node, clients, ledger, starts: 1 };
    let ledger = history.ledger.clone();
    history.sim.start(clients, 1, move |rt: Runtime, _: Mesh<()>| {
        let prng = Rc::new(RefCell::new(Prng::new(rt.random_u64())));
        let (ledger, plan) = (ledger.clone(), shared_plan.clone());
        let bench = Bench { rt, server: (address, PORT).into(), ledger, plan, prng };
        let kept = kept.clone();
        async move {
            let known = kept.borrow().clone();
            match known {
                None => produce_and_consume(bench, kept).await,
                Some(topic) => {
                    Consumer::new(&bench, &topic).compare_all().await;
                    bench.ledger.compared.set(true);
                }
            }
        }
    });
    history.up()?;
    for (millis, fault) in &plan.faults {
        history.run_for(Duration::from_millis(*millis))?;
        history.suffer(*fault)?;
    }
    history.epilogue()?;
    Ok(history.summary())
}

/// The program of the clients' machine: all at work until the end.
async fn produce_and_consume(bench: Bench, kept: Rc<RefCell<Option<Rc<Topic>>>>) {
    let plan = bench.plan.clone();
    let Ok(topic) = administrator::create(&bench, "kept", plan.partitions).await else { return };
    kept.replace(Some(topic.clone()));
    let mut tasks = vec![bench.rt.spawn(administrator::come_and_go(bench.clone()))];
    bench.ledger.producers_at_work.set(plan.producers);
    for number in 0..plan.producers {
        let partition = number % plan.partitions;
        let producer = Producer::new(&bench, &topic, partition, BATCHES_MAX);
        let ledger = bench.ledger.clone();
        tasks.push(bench.rt.spawn(async move {
            producer.run().await;
            ledger.producers_at_work.set(ledger.producers_at_work.get() - 1);
        }));
    }
    for _ in 0..plan.consumers {
        tasks.push(bench.rt.spawn(Consumer::new(&bench, &topic).follow()));
    }
    for task in tasks {
        task.await;
    }
    bench.ledger.finished.set(true);
}

impl History {
    /// What went wrong so far, if anything did.
    fn verdict(&self) -> Result<(), String> {
        if let Some(why) = self.ledger.violation() {
            return Err(why);
        }
        match self.node.refused() {
            Some(why) => Err(format!("the node does not start: {why}")),
            None => Ok(()),
        }
    }

    /// Runs for a time; a broker that lost its power meanwhile gets it back.
    fn run_for(&mut self, time: Duration) -> Result<(), String> {
        let ledger = self.ledger.clone();
        self.sim.run_until(|| ledger.is_over(), time);
        self.verdict()?;
        self.up()
    }

    /// Starts the broker if it is down, as often as it takes until it serves.
    fn up(&mut self) -> Result<(), String> {
        let end = self.sim.now() + PATIENCE;
        while self.sim.now() < end {
            if !self.sim.is_running(self.broker) {
                self.sim.restart(self.broker);
                self.starts += 1;
            }
            let (ledger, node) = (self.ledger.clone(), self.node.clone());
            let done = || ledger.is_over() || node.has_served() || node.refused().is_some();
            // In small steps, because it may lose its power at any of them.
            self.sim.run_until(done, Duration::from_millis(20));
            self.verdict()?;
            if self.node.has_served() && self.sim.is_running(self.broker) {
                return Ok(());
            }
        }
        Err("the node does not come up".to_owned())
    }

    fn suffer(&mut self, fault: Fault) -> Result<(), String> {
        match fault {
            Fault::Cut => self.sim.cut(self.broker, self.clients),
            Fault::Partition { millis } => {
                self.sim.partition(self.broker, self.clients);
                self.run_for(Duration::from_millis(millis))?;
                self.sim.heal();
            }
            Fault::Crash => self.sim.crash(self.broker),
            Fault::CrashAtOperation(nth) => self.sim.crash_after_ops(self.broker, nth),
            Fault::CrashAtStart(nth) => {
                self.sim.crash(self.broker);
                self.sim.restart(self.broker);
                self.starts += 1;
                self.sim.crash_after_ops(self.broker, nth);
            }
            Fault::Kill => self.sim.kill(self.broker),
            Fault::Stop => self.stop()?,
        }
        let down = self.sim.random_u64() % 20;
        let ledger = self.ledger.clone();
        self.sim.run_until(|| ledger.is_over(), Duration::from_millis(down));
        self.up()
    }

    fn stop(&mut self) -> Result<(), String> {
        self.node.stop();
        let end = self.sim.now() + PATIENCE;
        while self.sim.is_running(self.broker) {
            if self.sim.now() > end {
                return Err("the node does not stop".to_owned());
            }
            let ledger = self.ledger.clone();
            self.sim.run_until(|| ledger.is_over(), Duration::from_millis(5));
            self.verdict()?;
        }
        // The process is gone, and its sockets with it.
        self.sim.kill(self.broker);
        Ok(())
    }

    /// Lets the clients finish, and compares everything: while the node runs, after a clean stop,
    /// and after a loss of power.
    fn epilogue(&mut self) -> Result<(), String> {
        self.ledger.draining.set(true);
        self.until("the clients do not finish", |ledger| ledger.finished.get())?;
        self.compare()?;
        self.stop()?;
        // A clean stop leaves nothing to chance.
        self.sim.crash(self.broker);
        self.up()?;
        self.compare()?;
        self.sim.crash(self.broker);
        self.up()?;
        self.compare()
    }

    fn compare(&mut self) -> Result<(), String> {
        self.ledger.compared.set(false);
        self.sim.restart(self.clients);
        self.until("not everything can be read", |ledger| ledger.compared.get())
    }

    fn until(&mut self, else_why: &str, done: impl Fn(&Ledger) -> bool) -> Result<(), String> {
        let end = self.sim.now() + PATIENCE;
        let ledger = self.ledger.clone();
        while !done(&ledger) {
            if self.sim.now() > end {
                return Err(else_why.to_owned());
            }
            let step = Duration::from_millis(200);
            self.sim.run_until(|| ledger.is_over() || done(&ledger), step);
            self.verdict()?;
            self.up()?;
        }
        Ok(())
    }

    fn summary(&self) -> Summary {
        Summary {
            trace_hash: self.sim.trace_hash(),
            starts: self.starts,
            acknowledged: self.ledger.acknowledged.get(),
            reads: self.ledger.reads.get(),
            retries: self.ledger.retries.get(),
            topics_deleted: self.ledger.topics_deleted.get(),
        }
    }
}
