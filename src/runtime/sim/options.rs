//! How a simulated world behaves when nothing goes wrong.

use super::disk::DiskModel;
use super::faults::DiskTiming;
use super::network::NetworkModel;

/// The behaviour of a simulation. The defaults are strict where Linux promises little, and fast
/// disks and a fast network otherwise.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Every node's disk; [`super::Simulation::disk`] changes one node's capacity later.
    pub disk: DiskModel,
    /// How long disk operations take.
    pub timing: DiskTiming,
    /// The network between the nodes.
    pub network: NetworkModel,
    /// Poll ready tasks in a random order instead of the order in which they became ready.
    pub shuffle_tasks: bool,
    /// The wall clock at the beginning, in milliseconds since the Unix epoch.
    pub wall_clock_ms: i64,
}

impl Default for SimOptions {
    fn default() -> SimOptions {
        SimOptions {
            disk: DiskModel::default(),
            timing: DiskTiming::default(),
            network: NetworkModel::default(),
            shuffle_tasks: true,
            wall_clock_ms: 1_800_000_000_000,
        }
    }
}
