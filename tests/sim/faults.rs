//! What goes wrong in a round, and when.

use std::path::Path;
use std::time::Duration;

use ringlog_runtime::sim::{DiskFaults, Prng};

use crate::history::{self, End, History, PATIENCE, Plan, Round};
use crate::opening;

/// What goes wrong while the program runs, apart from how it ends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    /// Power fails at this disk operation after the start, which may be in recovery.
    CrashAfterStart(u64),
    /// Power fails at this disk operation after the logs are served.
    CrashWhileServing(u64),
    /// The disk is not in order during one phase.
    Errors {
        phase: Phase,
        trouble: Trouble,
    },
    /// The disk has this much room left for a while.
    Full(u64),
    /// Some operations take a thousand times as long.
    Slow,
    /// After the end some stored bytes change, in files whose names end so.
    Rot {
        suffix: &'static str,
        bytes: usize,
    },
}

/// A part of the program's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// From the first operation on, until logs are served.
    Start,
    /// While logs are opened.
    Recovery,
    Serving,
    /// While checkpoint files are written.
    Checkpoint,
    /// While the program stops.
    Close,
}

/// How a disk is not in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Trouble {
    /// Operations fail by chance, with EIO.
    Chance(DiskFaults),
    /// This operation fails with this error, and no other.
    Once { operation: u64, errno: i32 },
    /// There is no more room than this: ENOSPC.
    Full(u64),
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// More than all histories need.
const CAPACITY_BYTES: u64 = 1 << 30;

/// The files that damage is tried on: it may cost the batches whose bytes it changes, and with the
/// others nothing.
const DAMAGED: [&str; 5] = [".log", ".log", ".index", ".timeindex", ".snapshot"];
/// Files without a checksum: what Kafka's format says there is believed.
const CHECKPOINT: &str = "checkpoint";

/// Draws a round. Damaged checkpoints are only for the last: afterwards little can be promised.
pub(crate) fn draw_round(prng: &mut Prng, last: bool) -> Round {
    let fault = match prng.below(14) {
        0..3 => Fault::None,
        3..5 => Fault::CrashAfterStart(1 + prng.below(60)),
        5..8 => Fault::CrashWhileServing(1 + prng.below(400)),
        8 => draw_errors(prng),
        9 | 10 => Fault::Full(prng.between(20_000..=600_000)),
        11 => Fault::Slow,
        12 if last && prng.below(3) == 0 => Fault::Rot { suffix: CHECKPOINT, bytes: 1 },
        _ => Fault::Rot { suffix: DAMAGED[prng.index(DAMAGED.len())], bytes: 1 + prng.index(4) },
    };
    let end = match &fault {
        Fault::Errors { phase: Phase::Close, .. } => End::Clean,
        Fault::Errors { .. } => End::Crash,
        _ => *prng.pick(&[End::Crash, End::Crash, End::Kill, End::Clean]),
    };
    Round { fault, end, millis: prng.between(10..=250) }
}

fn draw_errors(prng: &mut Prng) -> Fault {
    let phases = [Phase::Start, Phase::Recovery, Phase::Serving, Phase::Checkpoint, Phase::Close];
    let phase = *prng.pick(&phases);
    let trouble = match prng.below(4) {
        0 => Trouble::Once { operation: 1 + prng.below(40), errno: EIO },
        1 => Trouble::Once { operation: 1 + prng.below(40), errno: ENOSPC },
        2 => Trouble::Full(prng.below(60_000)),
        _ => Trouble::Chance(DiskFaults {
            read_error: *prng.pick(&[0.0, 0.01]),
            write_error: *prng.pick(&[0.0, 0.01, 0.05]),
            sync_error: *prng.pick(&[0.0, 0.02, 0.1]),
            metadata_error: *prng.pick(&[0.0, 0.0, 0.01]),
            slow: 0.0,
        }),
    };
    Fault::Errors { phase, trouble }
}

impl Trouble {
    fn begin(&self, history: &mut History) {
        let node = history.node;
        match self {
            Trouble::Chance(faults) => history.sim.set_disk_faults(node, *faults),
            Trouble::Once { operation, errno } => {
                history.sim.fail_after_ops(node, *operation, *errno);
            }
            Trouble::Full(spare) => {
                let used = history.sim.disk(node).used_bytes();
                history.sim.disk(node).set_capacity_bytes(used + spare);
            }
        }
    }
}

/// Ends what [`Trouble::begin`] began; an operation that is to fail still may.
fn end_trouble(history: &mut History) {
    history.sim.set_disk_faults(history.node, DiskFaults::default());
    history.sim.disk(history.node).set_capacity_bytes(CAPACITY_BYTES);
}

impl Fault {
    fn trouble_in(&self, when: Phase) -> Option<&Trouble> {
        match self {
            Fault::Errors { phase, trouble } if *phase == when => Some(trouble),
            _ => None,
        }
    }

    pub(crate) fn before_start(&self, history: &mut History) {
        let errors = matches!(self, Fault::Errors { .. } | Fault::Full(_));
        history.shared.errors_expected.set(errors);
    }

    pub(crate) fn at_start(&self, history: &mut History) -> Result<(), String> {
        if let Fault::CrashAfterStart(n) = self {
            history.sim.crash_after_ops(history.node, *n);
        }
        if let Some(trouble) = self.trouble_in(Phase::Start) {
            trouble.begin(history);
        }
        if let Some(trouble) = self.trouble_in(Phase::Recovery) {
            history.run_until(PATIENCE, |shared| shared.recovering.get())?;
            trouble.begin(history);
        }
        Ok(())
    }

    pub(crate) fn at_serving(&self, history: &mut History) {
        end_trouble(history);
        if let Some(trouble) = self.trouble_in(Phase::Serving) {
            trouble.begin(history);
        }
    }

    pub(crate) fn at_stop(&self, history: &mut History) {
        if let Some(trouble) = self.trouble_in(Phase::Close) {
            trouble.begin(history);
        }
    }

    pub(crate) fn while_serving(
        &self,
        history: &mut History,
        time: Duration,
    ) -> Result<(), String> {
        let node = history.node;
        match self {
            Fault::CrashWhileServing(n) => history.sim.crash_after_ops(node, *n),
            Fault::Errors { phase: Phase::Checkpoint, trouble } => {
                return run_checkpoints(history, trouble, time);
            }
            Fault::Slow => {
                let slow = DiskFaults { slow: 0.01, ..DiskFaults::default() };
                history.sim.set_disk_faults(node, slow);
            }
            Fault::Full(spare) => return run_full(history, *spare, time),
            _ => {}
        }
        history.run_for(time)
    }

    pub(crate) fn after_end(&self, history: &mut History) {
        end_trouble(history);
        history.shared.errors_expected.set(false);
        if let Fault::Rot { suffix, bytes } = self {
            rot(history, suffix, *bytes);
        }
    }
}

/// Runs for a time in which the disk is in order but for when checkpoints are written.
fn run_checkpoints(history: &mut History, trouble: &Trouble, time: Duration) -> Result<(), String> {
    let end = history.sim.now() + time;
    while history.sim.now() < end && !history.shared.is_over() {
        history.run_until(end - history.sim.now(), |shared| shared.checkpointing.get())?;
        if history.shared.checkpointing.get() {
            trouble.begin(history);
            history.run_until(PATIENCE, |shared| !shared.checkpointing.get())?;
            end_trouble(history);
        }
        if !history.sim.is_running(history.node) {
            break;
        }
    }
    Ok(())
}

/// The disk fills up, and then there is room again: appends must go on by themselves.
fn run_full(history: &mut History, spare: u64, time: Duration) -> Result<(), String> {
    let node = history.node;
    let used = history.sim.disk(node).used_bytes();
    history.sim.disk(node).set_capacity_bytes(used + spare);
    history.run_for(time)?;
    history.sim.disk(node).set_capacity_bytes(CAPACITY_BYTES);
    let before = history.shared.acknowledged.get();
    let shared = history.shared.clone();
    let resumed = || shared.is_over() || shared.acknowledged.get() > before;
    let resumed = history.sim.run_until(resumed, Duration::from_secs(10));
    if !resumed && history.sim.is_running(node) {
        return Err("appends do not resume although there is room again".to_owned());
    }
    history.run_for(time / 4)
}

fn rot(history: &mut History, suffix: &str, bytes: usize) {
    let files = history.sim.disk(history.node).files(opening::DATA).unwrap_or_default();
    let mut fits: Vec<_> =
        files.into_iter().filter(|path| path.to_string_lossy().ends_with(suffix)).collect();
    let mut prng = Prng::new(history.sim.random_u64());
    // What is on its way out, or was moved out of the way, is nobody's.
    let is_gone = |path: &str| path.contains("-delete/") || path.contains("-stray/");
    fits.retain(|path| !is_gone(&path.to_string_lossy()));
    for _ in 0..bytes {
        if fits.is_empty() {
            return;
        }
        let path = prng.pick(&fits).clone();
        let mut disk = history.sim.disk(history.node);
        let len = disk.read(&path).map_or(0, |stored| stored.len() as u64);
        if len == 0 {
            continue;
        }
        let (position, mask) = (prng.below(len), 1 << prng.below(8));
        disk.corrupt(&path, position, mask).expect("within the file");
        match suffix {
            CHECKPOINT => history.shared.rotted.set(true),
            ".log" => note_rot(history, &path, position),
            _ => history.shared.files_rotted.set(true),
        }
    }
}

/// Tells the model which batch a changed byte of a `.log` is of.
fn note_rot(history: &History, path: &Path, position: u64) {
    history.shared.files_rotted.set(true);
    let mut logs = history.shared.logs.borrow_mut();
    let index =
        (0..logs.len()).find(|index| path.starts_with(opening::directory(&history.plan, *index)));
    let base_offset = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
    if let (Some(index), Some(base_offset)) = (index, base_offset) {
        logs[index].rot(base_offset, position);
    }
}

/// More operations than a start has that repairs a log.
const OPERATIONS_OF_A_START: u64 = 80;

/// Runs a short history once to count its disk operations, and then once for each of them with a
/// loss of power there.
pub(crate) fn crash_everywhere(seed: u64) -> Result<(), String> {
    let mut plan = Plan::from_seed(seed);
    plan.partitions = 1;
    plan.lying_disk = false;
    plan.recreate = false;
    plan.truncate = seed % 2 == 1;
    plan.segment_bytes = 60_000;
    plan.checkpoint_micros = 5_000;
    plan.housekeeping_micros = 5_000;
    let round = |fault, end| Round { fault, end, millis: 25 };
    plan.rounds = vec![round(Fault::None, End::Clean)];
    let whole = history::run(seed, &plan)?;
    for n in 1..=whole.disk_ops {
        plan.rounds = vec![round(Fault::CrashAfterStart(n), End::Crash)];
        history::run(seed, &plan).map_err(|why| format!("crash at operation {n}: {why}"))?;
    }
    // And a second one, while the start after the first repairs what that left.
    for end in [End::Clean, End::Crash] {
        for n in 1..=OPERATIONS_OF_A_START {
            plan.rounds =
                vec![round(Fault::None, end), round(Fault::CrashAfterStart(n), End::Crash)];
            let outcome = history::run(seed, &plan);
            outcome.map_err(|why| format!("{end:?}, crash at operation {n} of a start: {why}"))?;
        }
    }
    println!("seed {seed}: a crash at each of {} operations", whole.disk_ops);
    Ok(())
}
