//! Deterministic simulation: several machines in one thread, from one seed, in virtual time.
//!
//! The code under test is the shipped code; only the backend behind [`crate::Runtime`] differs. A
//! disk loses what was not flushed when its node crashes, tears writes, fills up, fails and rots;
//! the network delays, chops, holds back and cuts; ready tasks run in a random order. Equal seeds
//! give equal runs ([`Simulation::trace_hash`]), so a seed is a bug report.
//!
//! ```
//! use ringlog_runtime::sim::{SimOptions, Simulation};
//! use ringlog_runtime::{Durability, OpenOptions};
//! use std::time::Duration;
//!
//! let mut sim = Simulation::new(42, SimOptions::default());
//! let node = sim.add_node("a");
//! sim.start(node, 1, |rt, _mesh: ringlog_runtime::Mesh<()>| async move {
//!     let options = OpenOptions { write: true, create: true, ..OpenOptions::default() };
//!     let file = rt.open("/f".as_ref(), &options).await.unwrap();
//!     let bytes = [bytes::Bytes::from_static(b"hello")].into_iter().collect();
//!     rt.write_at(&file, bytes, 0, Durability::Durable).await.unwrap();
//!     rt.sync_dir("/".as_ref()).await.unwrap();
//! });
//! assert!(sim.run_until_idle(Duration::from_secs(1)));
//! sim.crash(node);
//! assert_eq!(sim.disk(node).read("/f").unwrap(), b"hello");
//! ```

mod disk;
mod driver;
mod events;
mod faults;
mod files;
mod network;
mod options;
mod planted;
mod prng;
mod reply;
mod simulation;
#[cfg(test)]
mod tests;
mod world;

pub use self::disk::{DiskModel, SimDisk};
pub use self::faults::{DirTrouble, DiskFaults, DiskTiming};
pub use self::network::NetworkModel;
pub use self::options::SimOptions;
pub use self::planted::PlantedBug;
pub use self::prng::Prng;
pub use self::simulation::{NodeId, Simulation};

pub(crate) use self::disk::OpenFile;
pub(crate) use self::driver::{SimDriver, SimListener, SimStream};
