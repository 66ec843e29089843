//! The simulation itself: nodes with shards, one random step after another.
//!
//! A step either polls one ready task of one shard or lets the next thing happen (an event of the
//! world, a due timer); which, the seed decides. Time passes a little with every poll and jumps
//! when all tasks wait. All of it runs on the caller's thread.

use std::cell::{RefCell, RefMut};
use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::disk::{Disk, SimDisk};
use super::driver::SimDriver;
use super::faults::{DirTrouble, DiskFaults};
use super::network::node_ip;
use super::world::{Event, NodeState, World};
use super::{PlantedBug, Prng, SimOptions};
use crate::driver::Driver;
use crate::executor::Executor;
use crate::{Instant, JoinHandle, Mesh, Poster, Runtime, ShardId, mesh};

/// A simulated machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(usize);

struct Shard {
    runtime: Runtime,
    driver: SimDriver,
    main: JoinHandle<()>,
    /// `main` is done and the other tasks are dropped.
    ended: bool,
}

impl Shard {
    /// Whether a turn of its loop would do anything.
    fn is_runnable(&self) -> bool {
        self.runtime.executor().ready_len() > 0 || self.driver.runnable().load(Ordering::Relaxed)
    }

    /// One turn: a task, then what the hooks have to do. Returns which task it was.
    fn turn(&mut self, choose: impl FnOnce(usize) -> usize) -> usize {
        let executor = self.runtime.executor();
        self.driver.runnable().store(false, Ordering::Relaxed);
        executor.awake();
        let ready = executor.ready_len();
        let mut chosen = 0;
        if ready > 0 && !self.main.is_finished() {
            chosen = choose(ready);
            executor.run_one(chosen);
        }
        // What it has sent and others have not taken keeps a shard from ending, but only that.
        let has_ended = self.main.is_finished() && {
            executor.run_hooks();
            !executor.has_last_words()
        };
        if has_ended {
            if !std::mem::replace(&mut self.ended, true) {
                self.runtime.close();
            }
        } else if !executor.fall_asleep() {
            self.driver.runnable().store(true, Ordering::Relaxed);
        }
        chosen
    }
}

/// Starts the shards of one node again.
type Boot = Rc<dyn Fn(&Rc<RefCell<World>>, usize) -> Vec<Shard>>;

#[derive(Default)]
struct Node {
    shards: Vec<Shard>,
    boot: Option<Boot>,
}

/// A world of nodes, from a seed.
pub struct Simulation {
    world: Rc<RefCell<World>>,
    nodes: Vec<Node>,
    prng: Prng,
    seed: u64,
    shuffle: bool,
    /// Shards with ready tasks; kept to save its allocation.
    ready: Vec<(usize, usize)>,
}

impl Simulation {
    /// A world without nodes. The seed decides everything that happens in it.
    pub fn new(seed: u64, options: SimOptions) -> Simulation {
        let shuffle = options.shuffle_tasks;
        let mut prng = Prng::new(seed ^ 0x5851_f42d_4c95_7f2d);
        let world = World::new(prng.next_u64(), options);
        let world = Rc::new(RefCell::new(world));
        Simulation { world, nodes: Vec::new(), prng, seed, shuffle, ready: Vec::new() }
    }

    /// The seed this world was made from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Adds a machine with an empty disk that runs nothing yet.
    pub fn add_node(&mut self, name: &str) -> NodeId {
        let mut world = self.world.borrow_mut();
        let disk = Disk::new(world.options.disk.clone());
        world.nodes.push(NodeState::new(name, disk));
        self.nodes.push(Node::default());
        NodeId(self.nodes.len() - 1)
    }

    /// What the node was called.
    pub fn name(&self, node: NodeId) -> String {
        self.world.borrow().nodes[node.0].name.clone()
    }

    /// Starts a program on a node, as [`crate::launch`] does: `main` once for each shard.
    ///
    /// # Panics
    /// When the node runs something already.
    pub fn start<M, F, Fut>(&mut self, node: NodeId, shards: usize, main: F)
    where
        M: Send + 'static,
        F: Fn(Runtime, Mesh<M>) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let main = Rc::new(main);
        let boot = move |world: &Rc<RefCell<World>>, node: usize| {
            let (parts, senders) = mesh::parts::<M>(shards);
            let runtimes: Vec<(Runtime, SimDriver)> = (0..shards)
                .map(|i| {
                    let driver = SimDriver::new(world, node);
                    let executor = Executor::new(driver.unparker());
                    let shard = ShardId(i as u16);
                    (Runtime::new(shard, Driver::Sim(driver.clone()), executor), driver)
                })
                .collect();
            let wakers = runtimes.iter().map(|(rt, _)| rt.executor().shared()).collect();
            let poster = Poster::new(senders, wakers);
            let start = |((runtime, driver), part): ((Runtime, SimDriver), _)| {
                let mesh = Mesh::new(runtime.clone(), part, poster.clone());
                let main = runtime.spawn(main(runtime.clone(), mesh));
                Shard { runtime, driver, main, ended: false }
            };
            runtimes.into_iter().zip(parts).map(start).collect()
        };
        self.nodes[node.0].boot = Some(Rc::new(boot));
        self.restart(node);
    }

    /// Starts a node's program again, with the disk as it was left.
    ///
    /// # Panics
    /// When the node runs, or never ran.
    pub fn restart(&mut self, node: NodeId) {
        assert!(!self.is_running(node), "node {} runs already", node.0);
        self.stop(node, false);
        let boot = Rc::clone(self.nodes[node.0].boot.as_ref().expect("a program was started"));
        let mut world = self.world.borrow_mut();
        world.trace.note(0x60, node.0 as u64);
        world.nodes[node.0].up = true;
        world.nodes[node.0].plan.restart();
        drop(world);
        self.nodes[node.0].shards = boot(&self.world, node.0);
    }

    /// The node loses power: its tasks are gone, its connections cut, and its disk keeps what was
    /// durable and a random part of the rest.
    pub fn crash(&mut self, node: NodeId) {
        self.stop(node, true);
    }

    /// The node's process is killed: as a crash, but what it had written stays in the kernel's
    /// cache, readable, and durable once something syncs it.
    pub fn kill(&mut self, node: NodeId) {
        self.stop(node, false);
    }

    fn stop(&mut self, node: NodeId, lose_power: bool) {
        // Down first: destructors must not send farewells.
        self.world.borrow_mut().nodes[node.0].up = false;
        for shard in std::mem::take(&mut self.nodes[node.0].shards) {
            if !shard.ended {
                shard.runtime.close();
            }
        }
        self.world.borrow_mut().take_down(node.0, lose_power);
    }

    /// Whether a program runs on the node: it was started and some shard's `main` is not done.
    pub fn is_running(&self, node: NodeId) -> bool {
        self.nodes[node.0].shards.iter().any(|shard| !shard.ended)
    }

    /// Does one thing. False when nothing is left to happen, now or later.
    pub fn step(&mut self) -> bool {
        self.settle();
        self.ready.clear();
        for (n, node) in self.nodes.iter().enumerate() {
            for (s, shard) in node.shards.iter().enumerate() {
                if shard.is_runnable() {
                    self.ready.push((n, s));
                }
            }
        }
        let now = self.world.borrow().now;
        let next = self.next_moment();
        let due = next.is_some_and(|at| at <= now);
        let event_first = due && self.prng.chance(0.5);
        if !self.ready.is_empty() && !event_first {
            self.turn_one();
            return true;
        }
        match next {
            Some(at) => self.happen(at),
            None => return !self.ready.is_empty(),
        }
        true
    }

    /// When the next event or timer is due.
    fn next_moment(&self) -> Option<u64> {
        let event = self.world.borrow().events.next_at();
        let shards = self.nodes.iter().flat_map(|node| &node.shards);
        let timer = shards.filter_map(|s| s.runtime.executor().next_deadline()).min();
        event.into_iter().chain(timer.map(Instant::as_nanos)).min()
    }

    /// Wakes whom the world has answered, and crashes whom it has condemned.
    fn settle(&mut self) {
        let mut world = self.world.borrow_mut();
        let wakers = std::mem::take(&mut world.wakers);
        let condemned = std::mem::take(&mut world.crash_now);
        drop(world);
        wakers.into_iter().for_each(std::task::Waker::wake);
        for node in condemned {
            self.crash(NodeId(node));
        }
    }

    fn turn_one(&mut self) {
        let (n, s) = *self.prng.pick(&self.ready);
        let (shuffle, prng) = (self.shuffle, &mut self.prng);
        // Before the turn, so that no poll sees the time of the one before.
        self.world.borrow_mut().now += prng.between(100..=1_500);
        let choose = |count| if shuffle { prng.index(count) } else { 0 };
        let chosen = self.nodes[n].shards[s].turn(choose);
        self.world.borrow_mut().trace.note((n << 16 | s) as u64, chosen as u64);
    }

    fn happen(&mut self, at: u64) {
        let mut world = self.world.borrow_mut();
        world.now = world.now.max(at);
        let now = world.now;
        world.trace.note(0x70, now);
        if world.events.next_at().is_some_and(|event| event <= now) {
            let (_, event) = world.events.pop().expect("it has a next one");
            match event {
                Event::Disk(key) => world.complete(key),
                Event::Net(event) => world.with_network(|network| network.event(event)),
                Event::NetDone(token, done) => world.net_done(token, done),
            }
        }
        drop(world);
        for shard in self.nodes.iter().flat_map(|node| &node.shards) {
            shard.runtime.executor().fire_timers(Instant::from_nanos(now));
        }
    }

    /// Runs until `done` says so. False if that did not happen within `limit` of virtual time, or
    /// nothing was left to happen.
    pub fn run_until(&mut self, mut done: impl FnMut() -> bool, limit: Duration) -> bool {
        let end = self.now() + limit;
        loop {
            if done() {
                return true;
            }
            if self.now() >= end || !self.step() {
                return false;
            }
        }
    }

    /// Runs for a while of virtual time.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now() + time;
        while self.now() < end && self.has_next_before(end) && self.step() {}
        let mut world = self.world.borrow_mut();
        world.now = world.now.max(end.as_nanos());
    }

    fn has_next_before(&mut self, end: Instant) -> bool {
        self.settle();
        self.nodes.iter().flat_map(|node| &node.shards).any(Shard::is_runnable)
            || self.next_moment().is_some_and(|at| at <= end.as_nanos())
    }

    /// Runs until nothing is left to happen, at most `limit`. True if that was reached.
    pub fn run_until_idle(&mut self, limit: Duration) -> bool {
        let end = self.now() + limit;
        while self.step() {
            if self.now() >= end {
                return false;
            }
        }
        true
    }

    /// Virtual time.
    pub fn now(&self) -> Instant {
        Instant::from_nanos(self.world.borrow().now)
    }

    /// A hash of everything that happened so far: equal for equal seeds and programs.
    pub fn trace_hash(&self) -> u64 {
        self.world.borrow().trace.hash()
    }

    /// A draw from the world's seed, for the test's own decisions.
    pub fn random_u64(&mut self) -> u64 {
        self.prng.next_u64()
    }

    /// The address other nodes reach this one at. Any of its ports may be listened on.
    pub fn address(&self, node: NodeId) -> IpAddr {
        node_ip(node.0)
    }

    /// The node's disk, to look at or to damage.
    pub fn disk(&self, node: NodeId) -> SimDisk<'_> {
        SimDisk(RefMut::map(self.world.borrow_mut(), |w| &mut w.nodes[node.0].disk))
    }

    /// Sets how likely disk operations of a node fail or are slow, from now on.
    pub fn set_disk_faults(&mut self, node: NodeId, faults: DiskFaults) {
        self.world.borrow_mut().nodes[node.0].plan.chances = faults;
    }

    /// Begins or ends the trouble of a directory of a node and all below it, as of a disk that is
    /// mounted there. What hung goes on when no directory hangs any more.
    pub fn set_dir_trouble(&mut self, node: NodeId, at: &Path, trouble: Option<DirTrouble>) {
        self.world.borrow_mut().set_trouble(node.0, at, trouble);
    }

    /// Disk operations the node has begun since its latest start.
    pub fn disk_ops(&self, node: NodeId) -> u64 {
        self.world.borrow().nodes[node.0].plan.ops
    }

    /// The node crashes at its `n`-th disk operation from now, counted from 1: as it is
    /// submitted or as it completes, as the seed decides.
    pub fn crash_after_ops(&mut self, node: NodeId, n: u64) {
        self.world.borrow_mut().nodes[node.0].plan.crash_after(n);
    }

    /// The `n`-th disk operation from now fails with this error of the operating system.
    pub fn fail_after_ops(&mut self, node: NodeId, n: u64, errno: i32) {
        let why = rustix::io::Errno::from_raw_os_error(errno);
        self.world.borrow_mut().nodes[node.0].plan.fail_after(n, why);
    }

    /// Has a node's disk report flushes that it has not made, or stop it: see
    /// [`super::DiskModel::lying`].
    pub fn set_lying_disk(&mut self, node: NodeId, lying: bool) {
        self.world.borrow_mut().nodes[node.0].disk.model.lying = lying;
    }

    /// Has the program of a node make this mistake from now on, through all its restarts.
    pub fn plant(&mut self, node: NodeId, bug: PlantedBug) {
        self.world.borrow_mut().nodes[node.0].planted = Some(bug);
    }

    /// Stops everything between two nodes until [`Simulation::heal`].
    pub fn partition(&mut self, a: NodeId, b: NodeId) {
        self.world.borrow_mut().network.partition(a.0, b.0);
    }

    /// Ends all partitions; what was on its way arrives.
    pub fn heal(&mut self) {
        self.world.borrow_mut().with_network(|network| network.heal());
    }

    /// Resets every connection between two nodes.
    pub fn cut(&mut self, a: NodeId, b: NodeId) {
        self.world.borrow_mut().with_network(|network| network.cut(a.0, b.0));
    }
}

impl Drop for Simulation {
    /// Tasks hold the world and the world holds their wakers: taking all nodes down parts them.
    fn drop(&mut self) {
        for node in 0..self.nodes.len() {
            self.stop(NodeId(node), false);
        }
    }
}
