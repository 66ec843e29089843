//! The metadata log on a disk with no byte left: a start serves, what frees space is possible as
//! long as there are spare blocks, and everything is once there is space.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ringlog_runtime::sim::{NodeId, SimOptions, Simulation};
use ringlog_runtime::{Mesh, Runtime};

use crate::error::NodeError;
use crate::metadata_source::embedded::spare_file::SPARE_FILE;
use crate::tests::metadata_snapshots::{LOG, Node};

const TOPICS: usize = 20;
/// What is done on a full disk takes no longer, in virtual time.
const SOON: Duration = Duration::from_secs(5);

/// What a life is to do, and how it went.
#[derive(Default)]
struct Script {
    delete: Vec<usize>,
    /// Before anything else there is to be a change that finds no space.
    first_is_refused: bool,
    topics_found: Option<usize>,
    created: usize,
    may_go_on: bool,
    finished: bool,
}

type Shared = Arc<Mutex<Script>>;

fn lock(script: &Shared) -> MutexGuard<'_, Script> {
    script.lock().expect("one thread")
}

fn name(topic: usize) -> String {
    format!("topic-{topic}")
}

async fn live(rt: Runtime, script: Shared) {
    let mut node = Node::open(&rt).await.expect("it opens");
    let found = node.topics().len();
    lock(&script).topics_found = Some(found);
    if found == 0 {
        node.register().await.expect("there is space");
        for topic in 0..TOPICS {
            node.create(&name(topic)).await.expect("there is space");
        }
    }
    if lock(&script).first_is_refused {
        // There may be room in the last block.
        let mut topic = TOPICS;
        let refused = loop {
            match node.create(&name(topic)).await {
                Ok(()) => topic += 1,
                Err(error) => break error,
            }
        };
        lock(&script).created = topic - TOPICS;
        let full = matches!(&refused, NodeError::Storage(error) if error.is_disk_full());
        assert!(full && topic < TOPICS + 100, "{topic}: {refused}");
        assert!(node.log.lacks_space());
        while !lock(&script).may_go_on {
            rt.sleep(Duration::from_millis(100)).await;
        }
    }
    let delete = lock(&script).delete.clone();
    for topic in delete {
        node.delete(&name(topic)).await.expect("there is space for a deletion");
    }
    assert!(!node.log.lacks_space());
    // The log ends where its records do, so that it has no blocks behind them when it is opened
    // again. Its other files may find no space.
    drop(node.log.log.close().await);
    lock(&script).finished = true;
}

struct Test {
    sim: Simulation,
    node: NodeId,
    script: Shared,
}

impl Test {
    /// A node with topics that has stopped, and a disk that is as large as what is on it.
    fn new(seed: u64) -> Test {
        let mut sim = Simulation::new(seed, SimOptions::default());
        let node = sim.add_node("node");
        let script = Shared::default();
        let shared = script.clone();
        sim.start(node, 1, move |rt: Runtime, _: Mesh<()>| live(rt, shared.clone()));
        let mut test = Test { sim, node, script };
        test.run();
        test.sim.kill(node);
        let used = test.sim.disk(node).used_bytes();
        test.sim.disk(node).set_capacity_bytes(used);
        test
    }

    fn run(&mut self) {
        let done = self.script.clone();
        self.sim.run_until(|| lock(&done).finished, SOON);
        assert!(lock(&done).finished, "it waits for space");
    }

    fn live_again(&mut self, script: Script) {
        self.sim.kill(self.node);
        *lock(&self.script) = script;
        self.sim.restart(self.node);
    }

    fn assert_found(&self, topics: usize) {
        assert_eq!(lock(&self.script).topics_found, Some(topics));
    }
}

/// The start waited for the record that begins its epoch, and never served.
#[test]
fn spare_blocks_are_for_a_start_and_for_deletions() {
    for seed in 0..3 {
        let mut test = Test::new(seed);
        test.live_again(Script { delete: (0..10).collect(), ..Script::default() });
        test.run();
        test.assert_found(TOPICS);
        // They are used up, and what is left of them is the log's again after a stop.
        test.live_again(Script { delete: (10..15).collect(), ..Script::default() });
        test.run();
        test.assert_found(TOPICS - 10);
    }
}

#[test]
fn without_spare_blocks_it_serves_and_resumes() {
    for seed in 0..3 {
        let mut test = Test::new(seed);
        let mut disk = test.sim.disk(test.node);
        disk.write(format!("{LOG}/{SPARE_FILE}"), b"").expect("written");
        let used = disk.used_bytes();
        disk.set_capacity_bytes(used);
        drop(disk);
        let first_is_refused = true;
        test.live_again(Script { delete: vec![0, 1], first_is_refused, ..Script::default() });
        let found = test.script.clone();
        test.sim.run_until(|| lock(&found).topics_found.is_some(), SOON);
        test.assert_found(TOPICS);
        test.sim.run_for(SOON);
        test.sim.disk(test.node).set_capacity_bytes(used + (2 << 20));
        lock(&test.script).may_go_on = true;
        test.run();
        let created = lock(&test.script).created;
        test.live_again(Script::default());
        test.run();
        test.assert_found(TOPICS + created - 2);
    }
}
