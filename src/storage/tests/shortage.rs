//! A process that is out of descriptors or threads for a moment: whatever the log engine is doing
//! then waits, and nothing of it fails.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringlog_config::TopicConfig;
use ringlog_runtime::sim::{SimOptions, Simulation};
use ringlog_runtime::{Mesh, Runtime};

use crate::testing::{BatchSpec, Bench, append, read_all};

/// What an operation is refused with: no descriptor of the process, none of the system, no worker
/// of the kernel.
const SHORTAGES: [i32; 3] = [24, 23, 125];
/// One shortage lasts for so many operations.
const LENGTH: u64 = 5;
const BATCHES: i64 = 30;
/// No life takes longer than this, in virtual time.
const LIFE: Duration = Duration::from_secs(600);

/// Opens a log, writes to it over several segments, deletes, checkpoints, closes; and once more
/// with what is there.
async fn live(runtime: Runtime, done: Arc<Mutex<bool>>) {
    let config =
        TopicConfig { segment_bytes: 40_000, file_delete_delay_ms: 1, ..Default::default() };
    let bench = Bench::new(runtime.clone(), &PathBuf::from("/data"), config);
    for life in 0..2 {
        let opened = bench.try_open().await.expect("it opens");
        let log = opened.log.clone();
        let begin = log.log_end_offset();
        assert_eq!(begin, life * BATCHES, "nothing is lost");
        for end in begin..begin + BATCHES {
            let spec = BatchSpec { value_bytes: 5_000, ..Default::default() };
            append(&log, spec).expect("it is taken");
            log.wait_durable(log.end_at(end + 1)).await.expect("it is written");
        }
        log.delete_records(begin + 10).await.expect("deleted");
        let kept = read_all(&bench, &log).await.len() as i64;
        assert!(kept >= BATCHES - 10, "{kept} can be read");
        let dirs = &opened.dirs.dirs;
        dirs.write_checkpoints(&runtime, &[log.checkpoint()]).await.expect("written");
        log.close().await.expect("closed");
        dirs.mark_clean_shutdown(&runtime, |_| true).await.expect("marked");
        assert!(!log.dir().is_offline());
    }
    *done.lock().expect("one thread") = true;
}

/// How many disk operations it takes, if these fail, and whether it comes to its end.
fn run(fails: impl Fn(&mut Simulation, ringlog_runtime::sim::NodeId)) -> (u64, bool) {
    let mut sim = Simulation::new(7, SimOptions::default());
    let node = sim.add_node("node");
    let done: Arc<Mutex<bool>> = Arc::default();
    let told = done.clone();
    sim.start(node, 1, move |runtime: Runtime, _: Mesh<()>| live(runtime, told.clone()));
    fails(&mut sim, node);
    let finished = done.clone();
    sim.run_until(|| *finished.lock().expect("one thread"), LIFE);
    let done = *done.lock().expect("one thread");
    (sim.disk_ops(node), done)
}

/// `EMFILE` at a roll took the log directory offline until a restart, and at the start whatever
/// partition met it.
#[test]
fn a_shortage_at_any_operation_is_waited_out() {
    let (operations, done) = run(|_, _| {});
    assert!(done && operations > 200, "{operations} operations");
    for errno in SHORTAGES {
        for first in (1..=operations).step_by(LENGTH as usize - 1) {
            let (_, done) = run(|sim, node| {
                (0..LENGTH).for_each(|more| sim.fail_after_ops(node, first + more, errno));
            });
            assert!(done, "{errno} from operation {first} on");
        }
    }
}
